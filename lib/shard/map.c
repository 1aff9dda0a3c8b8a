/*
 * Map: shards as they lie on disk.
 *
 * Every byte of a shard passes through amb_map_copy: bounds against the size at opening, then the guarded
 * copy or pread. Nobody keeps a pointer into the map, so a file that changes can be noticed but not be read
 * twice with two contents by one decoder.
 *
 * A shard is published by rename: the old inode then lives on below our fd and stays right, but its ctime
 * moves with the loss of the name. So the check before and behind each read compares size and mtime with those
 * of the index; ctime need only be the same in both, which tells of a file that was overwritten and put back
 * in between (shard-read.c). It also belongs to the key of the index cache, where a needless miss costs a scan
 * and nothing else.
 */
#include "shard/map.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/size.h"
#include "shard/guard.h"

#define MAP_FRESH_NS                                                                                         \
    UINT64_C(100000000) /* file times move in ticks of 1 to 10 ms; ten ticks of the slowest */
#define MAP_SKEW_NS     UINT64_C(60000000000) /* times further ahead are no clock of a server, but nonsense */
#define MAP_SPARE_FILES 64u                   /* sockets, pictures of folders, index files being written; not tuned */
#define MAP_WALK_FILES  16u                   /* of them, while others walk folders; not tuned */

/* statfs(2); those that headers of Debian 12 do not name are written out. */
static const uint32_t remote_magics[] = {
    0x6969,     /* NFS    */
    0xFF534D42, /* CIFS   */
    0xFE534D42, /* SMB2   */
    0x517B,     /* SMB    */
    0x65735546, /* FUSE   */
    0x01021997, /* 9p     */
    0x00C36400, /* Ceph   */
    0x5346414F, /* AFS    */
    0x0BD00BD0, /* Lustre */
};

static uint64_t map_ns(const struct timespec *ts) {
    return (uint64_t)ts->tv_sec * UINT64_C(1000000000) + (uint64_t)ts->tv_nsec;
}

void amb_identity_encode(struct amb_identity *out, const struct stat *st) {
    *out = (struct amb_identity){st->st_dev, st->st_ino, (uint64_t)st->st_size, map_ns(&st->st_mtim),
                                 map_ns(&st->st_ctim)};
}

uint64_t amb_identity_hash(const struct amb_identity *identity) {
    const uint64_t words[] = {identity->dev, identity->ino, identity->size, identity->mtime_ns,
                              identity->ctime_ns};

    return amb_hash_words("identity", words, 5);
}

bool amb_identity_fresh(uint64_t mtime_ns) {
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return mtime_ns + MAP_FRESH_NS > map_ns(&now) && mtime_ns < map_ns(&now) + MAP_SKEW_NS;
}

static bool map_is_remote(int fd) {
    struct statfs fs;

    if (fstatfs(fd, &fs) != 0) {
        return true;
    }
    for (size_t i = 0; i < sizeof remote_magics / sizeof *remote_magics; i++) {
        if ((uint32_t)fs.f_type == remote_magics[i]) {
            return true;
        }
    }
    return false;
}

static int map_open(struct amb_map *map, struct amb_error *err) {
    struct stat st;

    /* O_NONBLOCK: a fifo would otherwise wait for a writer */
    map->fd = open(map->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (map->fd < 0 || fstat(map->fd, &st) != 0) {
        return amb_fail(err, -errno, "%s: cannot be opened: %s", map->path, strerror(errno));
    }
    if (!S_ISREG(st.st_mode)) {
        return amb_fail(err, AMB_ERR_FORMAT, "%s: is neither a regular file nor a folder", map->path);
    }
    if (st.st_size == 0) {
        return amb_fail(err, AMB_ERR_FORMAT, "%s: is empty (0 bytes), so it holds no samples", map->path);
    }
    amb_identity_encode(&map->identity, &st);
    return 0;
}

int amb_map_init(struct amb_map *out, const char *path, bool pread, struct amb_error *err) {
    struct amb_map map = AMB_MAP_NULL;
    void *base;
    int r;

    map.path = path;
    r = amb_guard_install(err);
    if (r == 0) {
        r = map_open(&map, err);
    }
    if (r < 0) {
        amb_map_deinit(&map);
        return r;
    }
    if (!pread && !map_is_remote(map.fd)) {
        base = mmap(NULL, map.identity.size, PROT_READ, MAP_SHARED, map.fd, 0);
        map.base = base == MAP_FAILED ? NULL : base; /* no address space left: pread serves as well */
    }
    *out = map;
    return 0;
}

void amb_map_deinit(struct amb_map *map) {
    if (map->base != NULL) {
        munmap((void *)(uintptr_t)map->base, map->identity.size);
    }
    if (map->fd >= 0) {
        close(map->fd);
    }
    *map = AMB_MAP_NULL;
}

int amb_map_check(uint64_t *ctime_ns, const struct amb_map *map, struct amb_error *err) {
    struct amb_identity now;
    struct stat st;

    if (fstat(map->fd, &st) != 0) {
        return amb_fail(err, -EIO, "%s: cannot be examined: %s", map->path, strerror(errno));
    }
    amb_identity_encode(&now, &st);
    if (now.size != map->identity.size) {
        return amb_fail(err, AMB_ERR_CHANGED,
                        "%s: changed in place, %llu bytes now, %llu when it was indexed; "
                        "publish shards by rename and reload",
                        map->path, (unsigned long long)now.size, (unsigned long long)map->identity.size);
    }
    if (now.mtime_ns != map->identity.mtime_ns) {
        return amb_fail(err, AMB_ERR_CHANGED,
                        "%s: written in place since it was indexed; publish shards by rename "
                        "and reload",
                        map->path);
    }
    if (ctime_ns != NULL) {
        *ctime_ns = now.ctime_ns;
    }
    return 0;
}

static int map_pread(uint8_t *dst, const struct amb_map *map, uint64_t offset, size_t bytes,
                     struct amb_error *err) {
    while (bytes > 0) {
        ssize_t n = pread(map->fd, dst, bytes, (off_t)offset);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return amb_fail(err, -EIO, "%s: cannot be read at %llu: %s", map->path,
                            (unsigned long long)offset, strerror(errno));
        }
        if (n == 0) {
            return amb_fail(err, AMB_ERR_CHANGED, "%s: ends at %llu, it had %llu bytes when it was indexed",
                            map->path, (unsigned long long)offset, (unsigned long long)map->identity.size);
        }
        dst += n;
        offset += (uint64_t)n;
        bytes -= (size_t)n;
    }
    return 0;
}

int amb_map_copy(void *dst, const struct amb_map *map, uint64_t offset, size_t bytes, struct amb_error *err) {
    int r;

    if (!amb_span_ok(offset, bytes, map->identity.size)) {
        return amb_fail(err, AMB_ERR_FORMAT, "%s: truncated: bytes [%llu, +%zu) wanted, the file has %llu",
                        map->path, (unsigned long long)offset, bytes, (unsigned long long)map->identity.size);
    }
    if (map->base == NULL) {
        return map_pread(dst, map, offset, bytes, err);
    }
    if (amb_guard_copy(dst, map->base + offset, bytes, map->base, map->identity.size)) {
        return 0;
    }
    r = amb_map_check(NULL, map, err);
    if (r == 0) {
        r = amb_fail(err, -EIO, "%s: the medium failed at [%llu, +%zu)", map->path,
                     (unsigned long long)offset, bytes);
    }
    return r;
}

/* The lowest free number is about the number of open files: an older generation of shards may be among them. Where files
 * were closed below it is too low, and comes up to it as they are filled. */
static rlim_t map_count_open(const struct rlimit *limit) {
    int fd = open("/", O_PATH | O_CLOEXEC);

    if (fd < 0) {
        return errno == EMFILE ? limit->rlim_cur : 0;
    }
    close(fd);
    return (rlim_t)fd;
}

static int map_allow(size_t n, struct amb_error *err) {
    struct rlimit limit;
    rlim_t wanted;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return 0;
    }
    wanted = n + map_count_open(&limit);
    if (limit.rlim_cur >= wanted) {
        return 0;
    }
    if (limit.rlim_max < wanted) {
        return amb_fail(err, -EMFILE,
                        "the shards need %llu open files or more, allowed are at most %llu: raise the hard limit "
                        "(ulimit -Hn, LimitNOFILE=) or make fewer, larger shards",
                        (unsigned long long)wanted, (unsigned long long)limit.rlim_max);
    }
    limit.rlim_cur = wanted;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return amb_fail(err, -errno, "cannot raise the limit of open files to %llu: %s",
                        (unsigned long long)wanted, strerror(errno));
    }
    return 0;
}

int amb_map_allow_files(size_t n, struct amb_error *err) {
    return map_allow(n + MAP_SPARE_FILES, err);
}

int amb_map_spare_files(struct amb_error *err) {
    return map_allow(MAP_SPARE_FILES - MAP_WALK_FILES, err);
}
