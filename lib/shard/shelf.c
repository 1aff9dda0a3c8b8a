/*
 * Shelf: one file for each index, named by the hash of what it was made of. Nothing is ever updated.
 *
 * There is no fsync: after a power cut a file may be short or hold zeros, its checksum then fails, and the
 * shard is scanned again. A thousand fsyncs at the first start would cost more than that.
 */
#include "shard/shelf.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SHELF_TEMP_S  3600          /* no index takes an hour to write; not tuned */
#define SHELF_TOUCH_S 86400         /* a file in use gets a new time at most daily */
#define SHELF_KEEP_S  (90 * 86400L) /* unused for so long: its shard was replaced; not tuned */

static int shelf_path(char path[PATH_MAX], const char *dir, const struct amb_hash128 *name) {
    char text[AMB_HASH128_TEXT_BYTES];
    int n;

    amb_hash128_text(text, name);
    n = snprintf(path, PATH_MAX, "%s/%s.idx", dir, text);
    return n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

static bool shelf_older(const struct stat *st, time_t seconds) {
    return st->st_mtime + seconds < time(NULL);
}

int amb_shelf_load(uint8_t **image, size_t *image_bytes, const char *dir, const struct amb_hash128 *name) {
    char path[PATH_MAX];
    struct stat st;
    void *map;
    int fd, r = shelf_path(path, dir, name);

    if (r < 0) {
        return r;
    }
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
        return -errno;
    }
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size == 0) {
        close(fd);
        return -EINVAL;
    }
    if (shelf_older(&st, SHELF_TOUCH_S)) {
        futimens(fd, NULL); /* may fail on a cache of somebody else; then he prunes it */
    }
    map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    r = map == MAP_FAILED ? -errno : 0;
    close(fd);
    if (r == 0) {
        *image = map;
        *image_bytes = (size_t)st.st_size;
    }
    return r;
}

static int shelf_write_all(int fd, const uint8_t *p, size_t bytes) {
    while (bytes > 0) {
        ssize_t n = write(fd, p, bytes);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return -errno;
        }
        p += n;
        bytes -= (size_t)n;
    }
    return 0;
}

int amb_shelf_put(const char *dir, const struct amb_hash128 *name, const uint8_t *image, size_t image_bytes,
                  struct amb_error *err) {
    char path[PATH_MAX], temp[PATH_MAX];
    int fd, n, r = shelf_path(path, dir, name);

    n = snprintf(temp, sizeof temp, "%s/tmp-XXXXXX", dir);
    if (r < 0 || n < 0 || n >= PATH_MAX) {
        return amb_fail(err, -ENAMETOOLONG, "index cache: path too long: %s", dir);
    }
    fd = mkostemp(temp, O_CLOEXEC);
    if (fd < 0) {
        return amb_fail(err, -errno, "index cache: cannot write in %s: %s", dir, strerror(errno));
    }
    r = shelf_write_all(fd, image, image_bytes);
    if (close(fd) != 0 && r == 0) {
        r = -errno;
    }
    if (r == 0 && rename(temp, path) != 0) {
        r = -errno;
    }
    if (r < 0) {
        unlink(temp);
        return amb_fail(err, r, "index cache: cannot write %s: %s", path, strerror(-r));
    }
    return 0;
}

static void shelf_prune(const char *path) {
    DIR *dir = opendir(path);
    struct dirent *entry;

    if (dir == NULL) {
        return;
    }
    for (entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        const char *name = entry->d_name, *dot = strrchr(name, '.');
        bool is_temp = strncmp(name, "tmp-", 4) == 0, is_index = dot != NULL && strcmp(dot, ".idx") == 0;
        struct stat st;

        if ((is_temp || is_index) && fstatat(dirfd(dir), name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            shelf_older(&st, is_temp ? SHELF_TEMP_S : SHELF_KEEP_S)) {
            unlinkat(dirfd(dir), name, 0);
        }
    }
    closedir(dir);
}

int amb_shelf_init(const char *dir, struct amb_error *err) {
    char path[PATH_MAX];
    size_t n = strlen(dir);

    if (n == 0 || n >= sizeof path) {
        return amb_fail(err, -ENAMETOOLONG, "index cache: a path of %zu bytes", n);
    }
    memcpy(path, dir, n + 1);
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i] != '\0') {
            continue;
        }
        path[i] = '\0';
        if (mkdir(path, 0700) != 0 && errno != EEXIST) {
            return amb_fail(err, -errno, "index cache: cannot make %s: %s", path, strerror(errno));
        }
        if (i < n) {
            path[i] = '/';
        }
    }
    shelf_prune(dir);
    return 0;
}
