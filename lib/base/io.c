/*
 * Io: direct calls. Each row is the system call with errno turned into the answer, and nothing else: no retry, no
 * message, no policy, so that what a test's table does to a caller is what a kernel could do.
 */
#include "base/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define IO_UNUSED  __attribute__((unused))
#define IO_RETRIES 100 /* of an interrupted call; a signal comes once, not for ever; not tuned */

static int io_result(int r) {
    return r < 0 ? -errno : r;
}

static int system_open(void *opaque IO_UNUSED, const char *path, int flags, unsigned mode) {
    return io_result(open(path, flags | O_CLOEXEC | O_NONBLOCK, (mode_t)mode)); /* a pipe in its place is not waited for */
}

static int system_close(void *opaque IO_UNUSED, int fd) {
    return io_result(close(fd));
}

static ssize_t system_pread(void *opaque IO_UNUSED, int fd, void *data, size_t bytes, uint64_t offset) {
    ssize_t n = pread(fd, data, bytes, (off_t)offset);

    return n < 0 ? -errno : n;
}

static ssize_t system_pwrite(void *opaque IO_UNUSED, int fd, const void *data, size_t bytes, uint64_t offset) {
    ssize_t n = pwrite(fd, data, bytes, (off_t)offset);

    return n < 0 ? -errno : n;
}

static int system_fdatasync(void *opaque IO_UNUSED, int fd) {
    return io_result(fdatasync(fd));
}

static int system_fsync(void *opaque IO_UNUSED, int fd) {
    return io_result(fsync(fd));
}

static int system_ftruncate(void *opaque IO_UNUSED, int fd, uint64_t bytes) {
    return io_result(ftruncate(fd, (off_t)bytes));
}

static int system_fallocate(void *opaque IO_UNUSED, int fd, uint64_t offset, uint64_t bytes) {
    return io_result(fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)bytes));
}

static int system_size(void *opaque IO_UNUSED, uint64_t *out, int fd) {
    struct stat st;

    if (fstat(fd, &st) != 0) {
        return -errno;
    }
    if (!S_ISREG(st.st_mode)) {
        return -EINVAL;
    }
    *out = (uint64_t)st.st_size;
    return 0;
}

static int system_flock(void *opaque IO_UNUSED, int fd) {
    return io_result(flock(fd, LOCK_EX | LOCK_NB));
}

static int system_mmap(void *opaque IO_UNUSED, uint8_t **out, int fd, size_t bytes) {
    void *map = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);

    if (map == MAP_FAILED) {
        return -errno;
    }
    *out = map;
    return 0;
}

static int system_munmap(void *opaque IO_UNUSED, uint8_t *map, size_t bytes) {
    return io_result(munmap(map, bytes));
}

static int system_rename(void *opaque IO_UNUSED, const char *from, const char *to) {
    return io_result(rename(from, to));
}

static int system_unlink(void *opaque IO_UNUSED, const char *path) {
    return io_result(unlink(path));
}

static int system_mkdir(void *opaque IO_UNUSED, const char *path, unsigned mode) {
    return io_result(mkdir(path, (mode_t)mode));
}

static int system_list(void *opaque IO_UNUSED, const char *path, int (*visit)(void *arg, const char *name),
                       void *arg) {
    DIR *dir = opendir(path);
    int r = 0;

    if (dir == NULL) {
        return -errno;
    }
    while (r == 0) {
        struct dirent *entry;

        errno = 0;
        entry = readdir(dir);
        if (entry == NULL) {
            r = -errno;
            break;
        }
        r = visit(arg, entry->d_name);
    }
    closedir(dir);
    return r;
}

static int system_random(void *opaque IO_UNUSED, void *data, size_t bytes) {
    ssize_t n = getrandom(data, bytes, 0);

    return n < 0 ? -errno : (size_t)n != bytes ? -EIO : 0; /* up to 256 bytes come whole */
}

const struct amb_io amb_io_system = {
    .open = system_open,
    .close = system_close,
    .pread = system_pread,
    .pwrite = system_pwrite,
    .fdatasync = system_fdatasync,
    .fsync = system_fsync,
    .ftruncate = system_ftruncate,
    .fallocate = system_fallocate,
    .size = system_size,
    .flock = system_flock,
    .mmap = system_mmap,
    .munmap = system_munmap,
    .rename = system_rename,
    .unlink = system_unlink,
    .mkdir = system_mkdir,
    .list = system_list,
    .random = system_random,
};

/* Nothing was read at `offset`: is the end there? Some network file systems say so while the file goes on. */
static int io_check_end(const struct amb_io *io, int fd, uint64_t offset) {
    uint64_t size = 0;
    int r = io->size(io->opaque, &size, fd);

    return r < 0 ? r : size > offset ? -EIO : 0;
}

int amb_io_read(size_t *got, const struct amb_io *io, int fd, void *data, size_t bytes, uint64_t offset) {
    uint8_t *p = data;
    size_t done = 0;
    bool is_early = false;
    int n_tries = 0;

    while (done < bytes) {
        ssize_t n = io->pread(io->opaque, fd, p + done, bytes - done, offset + done);

        if (n == -EINTR && n_tries++ < IO_RETRIES) {
            continue;
        }
        if (n < 0) {
            return (int)n;
        }
        if (n == 0) {
            int r = io_check_end(io, fd, offset + done);

            if (r == -EIO && !is_early) { /* or who writes it wrote more between the two calls */
                is_early = true;
                continue;
            }
            if (r < 0) {
                return r;
            }
            break;
        }
        is_early = false;
        done += (size_t)n;
    }
    *got = done;
    return 0;
}

int amb_io_write(const struct amb_io *io, int fd, const void *data, size_t bytes, uint64_t offset) {
    const uint8_t *p = data;
    size_t done = 0;
    int n_tries = 0;

    while (done < bytes) {
        ssize_t n = io->pwrite(io->opaque, fd, p + done, bytes - done, offset + done);

        if (n == -EINTR && n_tries++ < IO_RETRIES) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? (int)n : -EIO; /* a regular file takes at least a byte or says why not */
        }
        done += (size_t)n;
    }
    return 0;
}

int amb_io_sync_dir(const struct amb_io *io, const char *path) {
    int fd = io->open(io->opaque, path, O_RDONLY | O_DIRECTORY, 0);
    int r;

    if (fd < 0) {
        return fd;
    }
    r = io->fsync(io->opaque, fd);
    io->close(io->opaque, fd);
    return r;
}
