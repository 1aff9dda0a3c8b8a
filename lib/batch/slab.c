/*
 * Slab: one memfd that the daemon alone writes and a client maps.
 *
 * The order is the whole point: size, real pages (fallocate: a hole found full later would be SIGBUS in the
 * middle of a fill), one mapping, and then the seals, so that no holder of the fd can cut the file under the
 * mapping or add a write seal that the daemon would trip over. What a client may still do is scribble and
 * punch holes; both harm its own slots only, because nothing is ever read back and the next write faults
 * pages in anew.
 *
 * Not here: what the bytes mean (layout.c, fill.c) and who holds which slot (daemon).
 */
#include "batch/slab.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/size.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008u /* linux/memfd.h since 6.3 */
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* linux/mman.h since 5.14 */
#endif

static int slab_open(void) {
    int fd = memfd_create("ambientd-slab", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);

    if (fd < 0 && errno == EINVAL) { /* before 6.3; sealing must survive the retry */
        fd = memfd_create("ambientd-slab", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    }
    return fd < 0 ? -errno : fd;
}

static int slab_allocate(int fd, size_t bytes) {
    int r;

    if (ftruncate(fd, (off_t)bytes) < 0) {
        return -errno;
    }
    do { /* a signal leaves what is allocated already; the next try goes on there */
        r = fallocate(fd, 0, 0, (off_t)bytes) < 0 ? -errno : 0;
    } while (r == -EINTR);
    return r;
}

/* Page tables now, not in the first batches. One write to each page does it where the kernel has no call for
 * it. */
static void slab_populate(uint8_t *data, size_t bytes) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    (void)madvise(data, bytes, MADV_HUGEPAGE); /* a hint; refused where shmem_enabled is never */
    if (madvise(data, bytes, MADV_POPULATE_WRITE) == 0) {
        return;
    }
    for (size_t i = 0; i < bytes; i += page) {
        ((volatile uint8_t *)data)[i] = 0;
    }
}

static int slab_build(struct amb_slab *slab, struct amb_error *err) {
    int r;

    slab->fd = slab_open();
    if (slab->fd < 0) {
        r = slab->fd;
        slab->fd = -1;
        return amb_fail(err, r, "memfd_create: %s", strerror(-r));
    }
    r = slab_allocate(slab->fd, slab->total_bytes);
    if (r < 0) {
        return amb_fail(err, r,
                        "%u slots of %zu bytes of shared memory: %s; take fewer slots or a smaller batch",
                        slab->n_slots, slab->slot_bytes, strerror(-r));
    }
    slab->data = mmap(NULL, slab->total_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, slab->fd, 0);
    if (slab->data == MAP_FAILED) {
        slab->data = NULL;
        return amb_fail(err, -errno, "map of %zu bytes of shared memory: %s", slab->total_bytes,
                        strerror(errno));
    }
    if (fcntl(slab->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
        return amb_fail(err, -errno, "seals of the shared memory: %s", strerror(errno));
    }
    slab_populate(slab->data, slab->total_bytes);
    return 0;
}

int amb_slab_init(struct amb_slab *slab, uint32_t n_slots, size_t slot_bytes, struct amb_error *err) {
    struct amb_slab built = AMB_SLAB_NULL;
    int r;

    assert(n_slots >= 1 && n_slots <= AMB_SLAB_SLOTS_MAX);
    assert(slot_bytes != 0 && slot_bytes % (size_t)sysconf(_SC_PAGESIZE) == 0);
    built.n_slots = n_slots;
    built.slot_bytes = slot_bytes;
    if (!amb_size_mul(&built.total_bytes, n_slots, slot_bytes) || built.total_bytes > PTRDIFF_MAX) {
        return amb_fail(err, -EOVERFLOW, "%u slots of %zu bytes are more than memory can address", n_slots,
                        slot_bytes);
    }
    r = slab_build(&built, err);
    if (r < 0) {
        amb_slab_deinit(&built);
        return r;
    }
    *slab = built;
    return 0;
}

void amb_slab_deinit(struct amb_slab *slab) {
    if (slab->data != NULL) {
        munmap(slab->data, slab->total_bytes);
    }
    if (slab->fd >= 0) {
        close(slab->fd);
    }
    *slab = AMB_SLAB_NULL;
}
