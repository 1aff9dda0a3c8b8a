/*
 * File: opened without waiting, and looked at before it is read. Of what is printed stdio keeps an error until somebody asks,
 * and nobody asks each printf.
 *
 * Not here: shards, which are mapped (shard/map.c), and files that must survive (base/io.h).
 */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

#define FILE_CHUNK_BYTES 65536u /* read at a time; not tuned */

static const char *file_kind(mode_t mode) {
    return S_ISFIFO(mode)                     ? "a pipe"
           : S_ISDIR(mode)                    ? "a folder"
           : S_ISCHR(mode) || S_ISBLK(mode)   ? "a device"
                                              : "no file";
}

int amb_file_open(int *out, const char *path, struct amb_error *err) {
    /* O_NONBLOCK: a pipe would otherwise wait for a writer; of regular files it changes nothing */
    AMB_CLEANUP(amb_fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0) {
        return amb_fail(err, -errno, "cannot open %s: %s", path, strerror(errno));
    }
    if (!S_ISREG(st.st_mode)) {
        return amb_fail(err, AMB_ERR_FORMAT, "%s: is %s, allowed: a regular file; give the path of one", path,
                        file_kind(st.st_mode));
    }
    *out = amb_steal_fd(&fd);
    return 0;
}

int amb_file_load(struct amb_buf *out, const char *path, size_t bytes_max, struct amb_error *err) {
    AMB_CLEANUP(amb_fd_closep) int fd = -1;
    ssize_t n = 1;
    int r = amb_file_open(&fd, path, err);

    out->n_bytes = 0;
    while (r == 0 && n != 0) {
        if (out->n_bytes > bytes_max) {
            return amb_fail(err, AMB_ERR_LIMIT, "%s: longer than %zu bytes", path, bytes_max);
        }
        if (amb_buf_grow(out, out->n_bytes + FILE_CHUNK_BYTES + 1) < 0) {
            return amb_fail(err, -ENOMEM, "%s: out of memory", path);
        }
        n = read(fd, out->data + out->n_bytes, FILE_CHUNK_BYTES);
        if (n < 0 && errno != EINTR) {
            return amb_fail(err, -errno, "cannot read %s: %s", path, strerror(errno));
        }
        out->n_bytes += n > 0 ? (size_t)n : 0;
    }
    if (r == 0) {
        out->data[out->n_bytes] = '\0';
    }
    return r;
}

void amb_file_hold_standard(void) {
    int fd;

    do {
        fd = open("/dev/null", O_RDONLY | O_CLOEXEC); /* writing there is -EBADF, as before */
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO) {
        close(fd);
    }
}

int amb_file_flush(FILE *file, const char *name, struct amb_error *err) {
    errno = 0;
    if (fflush(file) == 0 && !ferror(file)) {
        return 0;
    }
    return amb_fail(err, errno != 0 ? -errno : -EIO, "cannot write %s: %s", name,
                    errno != 0 ? strerror(errno) : "an earlier write failed");
}
