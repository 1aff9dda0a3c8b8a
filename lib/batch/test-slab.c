#include "base/test.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "batch/slab.h"

#define SLOT_BYTES ((size_t)3 << 16)
#define N_SLOTS    4u

static struct amb_slab slab_make(void) {
    struct amb_slab slab = AMB_SLAB_NULL;
    struct amb_error err = AMB_ERROR_NULL;

    assert_ok(amb_slab_init(&slab, N_SLOTS, SLOT_BYTES, &err), err);
    return slab;
}

/* What a client holds is this fd, or one re-opened through /proc; none of them may change the size or the
 * seals. */
TEST(seals_refuse_shrink_grow_and_further_seals) {
    struct amb_slab slab = slab_make();
    char path[64];
    int fds[2] = {slab.fd, -1};

    snprintf(path, sizeof path, "/proc/self/fd/%d", slab.fd);
    fds[1] = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fds[1] >= 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(ftruncate(fds[i], (off_t)(N_SLOTS * SLOT_BYTES - 4096)), -1);
        assert_int_equal(errno, EPERM);
        assert_int_equal(ftruncate(fds[i], (off_t)(N_SLOTS * SLOT_BYTES + 4096)), -1);
        assert_int_equal(errno, EPERM);
        assert_int_equal(fallocate(fds[i], 0, 0, (off_t)(N_SLOTS * SLOT_BYTES + 4096)), -1);
        assert_int_equal(pwrite(fds[i], "x", 1, (off_t)(N_SLOTS * SLOT_BYTES)), -1);
        assert_int_equal(fcntl(fds[i], F_ADD_SEALS, F_SEAL_WRITE), -1);
        assert_int_equal(errno, EPERM);
        assert_int_equal(fcntl(fds[i], F_ADD_SEALS, F_SEAL_FUTURE_WRITE), -1);
    }
    assert_int_equal(fcntl(slab.fd, F_GET_SEALS) & (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL),
                     F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    assert_int_equal(fcntl(slab.fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    close(fds[1]);
    amb_slab_deinit(&slab);
}

/* The client's hole gives zeros in its own slot; the next write of the daemon must land, and other slots
 * stay. */
TEST(punched_holes_do_not_hurt_the_writer) {
    struct amb_slab slab = slab_make();

    for (uint32_t i = 0; i < N_SLOTS; i++) {
        memset(amb_slab_get(&slab, i), (int)(i + 1), SLOT_BYTES);
    }
    assert_int_equal(
        fallocate(slab.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)SLOT_BYTES, (off_t)SLOT_BYTES),
        0);
    assert_int_equal(amb_slab_get(&slab, 1)[77], 0);
    memset(amb_slab_get(&slab, 1), 0xA5, SLOT_BYTES);
    for (size_t i = 0; i < SLOT_BYTES; i++) {
        assert_int_equal(amb_slab_get(&slab, 0)[i], 1);
        assert_int_equal(amb_slab_get(&slab, 1)[i], 0xA5);
        assert_int_equal(amb_slab_get(&slab, 2)[i], 3);
    }
    amb_slab_deinit(&slab);
}

/* All pages are there before the first batch: neither the file nor the page tables may grow while slots are
 * written. */
TEST(pages_are_there_before_the_first_write) {
    struct amb_slab slab = slab_make();
    struct stat st;
    struct rusage before, after;

    assert_int_equal(fstat(slab.fd, &st), 0);
    assert_true((size_t)st.st_blocks * 512 >= N_SLOTS * SLOT_BYTES);
    getrusage(RUSAGE_SELF, &before);
    memset(slab.data, 1, slab.total_bytes);
    getrusage(RUSAGE_SELF, &after);
#ifdef __SANITIZE_THREAD__
    printf("skipped: page faults are not counted, the thread sanitizer's shadow memory has its own\n");
#else
    assert_true(after.ru_minflt - before.ru_minflt < 16); /* of 192 pages; a few are the test's own */
#endif
    amb_slab_deinit(&slab);
}

/* A second mapping, as a client makes it, sees what the daemon writes. */
TEST(client_mapping_sees_the_bytes) {
    struct amb_slab slab = slab_make();
    uint8_t *client = mmap(NULL, slab.total_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, slab.fd, 0);

    assert_true(client != MAP_FAILED);
    amb_slab_get(&slab, 3)[5] = 42;
    assert_int_equal(client[3 * SLOT_BYTES + 5], 42);
    munmap(client, slab.total_bytes);
    amb_slab_deinit(&slab);
}

static int slab_try_huge(void) {
    struct amb_slab slab = AMB_SLAB_NULL;
    struct amb_error err = AMB_ERROR_NULL;
    struct rlimit limit = {1 << 20, 1 << 20};

    signal(SIGXFSZ, SIG_IGN);
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) {
        return 10;
    }
    if (amb_slab_init(&slab, 64, (size_t)1 << 20, &err) != -EFBIG ||
        strstr(err.message, "64 slots of 1048576") == NULL) {
        return 11;
    }
    return slab.fd == -1 && slab.data == NULL ? 0 : 12;
}

/* In a child with a limit on file sizes, so that the refusal of the kernel is real and small. */
TEST(refused_memory_is_an_error_with_sizes) {
    struct amb_slab slab = AMB_SLAB_NULL;
    struct amb_error err = AMB_ERROR_NULL;
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        _exit(slab_try_huge());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(amb_slab_init(&slab, 64, (size_t)1 << 60, &err), -EOVERFLOW);
    assert_int_equal(slab.fd, -1);
    amb_slab_deinit(&slab);
    amb_slab_deinit(&slab);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(seals_refuse_shrink_grow_and_further_seals),
    cmocka_unit_test(punched_holes_do_not_hurt_the_writer),
    cmocka_unit_test(pages_are_there_before_the_first_write),
    cmocka_unit_test(client_mapping_sees_the_bytes),
    cmocka_unit_test(refused_memory_is_an_error_with_sizes),
};

TEST_MAIN(tests)
