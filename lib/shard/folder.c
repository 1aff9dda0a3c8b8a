/*
 * Folder: the walk, and opening files below the folder.
 *
 * A file is opened by a name that came from the walk, much later, so it is opened beneath the folder's fd
 * with links forbidden (openat2), or component by component where the kernel or a filter has no openat2; then
 * its identity (device, inode, size, both times) must be the one that was indexed.
 */
#include "shard/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/hash.h"
#include "base/size.h"
#include "proto/wire.h"
#include "shard/payload.h"

#define OPEN_TRIES 100 /* not tuned */

int amb_folder_init(struct amb_folder *out, const char *path, struct amb_error *err) {
    struct amb_folder folder = AMB_FOLDER_NULL;

    folder.path = path;
    folder.fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder.fd < 0) {
        return amb_fail(err, -errno, "%s: cannot be opened: %s", path, strerror(errno));
    }
    *out = folder;
    return 0;
}

void amb_folder_forget(struct amb_folder *folder) {
    amb_free(folder->files);
    folder->files = NULL;
    folder->n_files = folder->capacity = 0;
    amb_buf_deinit(&folder->names);
    folder->labels = amb_labels_free(folder->labels);
}

void amb_folder_deinit(struct amb_folder *folder) {
    amb_folder_forget(folder);
    if (folder->fd >= 0) {
        close(folder->fd);
    }
    *folder = AMB_FOLDER_NULL;
}

static int folder_push(struct amb_folder *folder, const char *name, size_t name_bytes, const struct stat *st,
                       struct amb_error *err) {
    struct amb_identity identity;

    if (folder->n_files == AMB_INDEX_SAMPLES_MAX) {
        return amb_fail(err, AMB_ERR_LIMIT, "%s: more than %u files; split the folder", folder->path,
                        AMB_INDEX_SAMPLES_MAX);
    }
    if (folder->n_files == folder->capacity) {
        size_t capacity = folder->capacity == 0 ? 1024 : folder->capacity * 2;
        struct amb_folder_file *grown = amb_realloc(folder->files, capacity * sizeof *grown);

        if (grown == NULL) {
            return amb_fail(err, -ENOMEM, "%s: out of memory after %zu files", folder->path, folder->n_files);
        }
        folder->files = grown;
        folder->capacity = capacity;
    }
    amb_identity_encode(&identity, st);
    if (identity.mtime_ns > folder->newest_ns) { /* where an older one is fresh, this one was when it was looked at */
        folder->newest_ns = identity.mtime_ns;
        folder->is_fresh = folder->is_fresh || amb_identity_fresh(identity.mtime_ns);
    }
    folder->files[folder->n_files++] = (struct amb_folder_file){
        folder->names.n_bytes, (uint32_t)name_bytes, UINT32_MAX, amb_identity_hash(&identity), identity.size};
    if (amb_buf_push(&folder->names, name, name_bytes) < 0) {
        return amb_fail(err, -ENOMEM, "%s: out of memory", folder->path);
    }
    return 0;
}

static int folder_walk_below(struct amb_folder *folder, int fd, char *name, size_t name_bytes, unsigned depth,
                             struct amb_error *err);

/* One directory entry; name already holds its path of name_bytes. */
static int folder_take(struct amb_folder *folder, int fd, char *name, size_t name_bytes, const char *base,
                       unsigned depth, struct amb_error *err) {
    struct stat st;
    int sub;

    if (fstatat(fd, base, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno == ENOENT) {
            return 0; /* removed while we walk */
        }
        return amb_fail(err, -errno, "%s/%.200s: cannot be examined: %s", folder->path, name,
                        strerror(errno));
    }
    if (S_ISREG(st.st_mode)) {
        return folder_push(folder, name, name_bytes, &st, err);
    }
    if (S_ISLNK(st.st_mode)) {
        folder->n_symlinks++;
        return 0;
    }
    if (!S_ISDIR(st.st_mode)) {
        return 0;
    }
    sub = openat(fd, base, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (sub < 0) {
        return amb_fail(err, -errno, "%s/%.200s: cannot be opened: %s", folder->path, name, strerror(errno));
    }
    name[name_bytes] = '/';
    return folder_walk_below(folder, sub, name, name_bytes + 1, depth + 1, err);
}

/* Takes fd over. name: buffer of AMB_KEY_BYTES_MAX + 2, with the path of this folder and a slash. */
static int folder_walk_below(struct amb_folder *folder, int fd, char *name, size_t name_bytes, unsigned depth,
                             struct amb_error *err) {
    DIR *dir = fdopendir(fd);
    struct dirent *entry;
    int r = 0;

    if (dir == NULL) {
        r = -errno;
        close(fd);
        return amb_fail(err, r, "%s: cannot be listed: %s", folder->path, strerror(-r));
    }
    if (depth > AMB_FOLDER_DEPTH_MAX) {
        closedir(dir);
        return amb_fail(err, AMB_ERR_LIMIT, "%s: folders more than %u deep", folder->path,
                        AMB_FOLDER_DEPTH_MAX);
    }
    while (r == 0) {
        size_t n;

        r = amb_rest_step(folder->rest, err);
        if (r < 0) {
            break;
        }
        errno = 0;
        entry = readdir(dir);
        if (entry == NULL) {
            r = errno == 0 ? 0
                           : amb_fail(err, -errno, "%s: cannot be listed: %s", folder->path, strerror(errno));
            break;
        }
        if (entry->d_name[0] == '.') {
            continue;
        }
        n = strlen(entry->d_name);
        if (name_bytes + n > AMB_KEY_BYTES_MAX) {
            r = amb_fail(err, AMB_ERR_LIMIT, "%s: a path of %zu bytes, allowed are %u", folder->path,
                         name_bytes + n, AMB_KEY_BYTES_MAX);
            break;
        }
        memcpy(name + name_bytes, entry->d_name, n + 1);
        r = folder_take(folder, fd, name, name_bytes + n, entry->d_name, depth, err);
    }
    closedir(dir);
    return r;
}

static int folder_compare(const void *a, const void *b, void *opaque) {
    const struct amb_folder_file *x = a, *y = b;
    const uint8_t *names = opaque;
    size_t n = x->name_bytes < y->name_bytes ? x->name_bytes : y->name_bytes;
    int order = memcmp(names + x->name, names + y->name, n);

    return order != 0 ? order : (x->name_bytes > y->name_bytes) - (x->name_bytes < y->name_bytes);
}

/* Identity of the walk: names and identities of all files, in order. */
static int folder_seal(struct amb_folder *folder, struct amb_error *err) {
    struct amb_hasher *hasher = amb_hasher_new();
    struct amb_hash128 sum;
    struct stat st;

    if (hasher == NULL || fstat(folder->fd, &st) != 0) {
        amb_hasher_free(hasher);
        return amb_fail(err, -ENOMEM, "%s: out of memory", folder->path);
    }
    for (size_t i = 0; i < folder->n_files; i++) {
        const struct amb_folder_file *f = &folder->files[i];
        uint8_t words[16];

        ambp_store_u64le(words, f->identity);
        ambp_store_u64le(words + 8, f->name_bytes);
        amb_hasher_push(hasher, words, sizeof words);
        amb_hasher_push(hasher, folder->names.data + f->name, f->name_bytes);
    }
    sum = amb_hasher_get(hasher);
    amb_hasher_free(hasher);
    folder->identity = (struct amb_identity){st.st_dev, st.st_ino, folder->n_files,
                                             ambp_load_u64le(sum.bytes), ambp_load_u64le(sum.bytes + 8)};
    return 0;
}

int amb_folder_walk(struct amb_folder *folder, struct amb_error *err) {
    char name[AMB_KEY_BYTES_MAX + 2];
    int fd = openat(folder->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r;

    if (fd < 0) {
        return amb_fail(err, -errno, "%s: cannot be listed: %s", folder->path, strerror(errno));
    }
    r = folder_walk_below(folder, fd, name, 0, 0, err);
    if (r < 0) {
        return r;
    }
    if (folder->n_files != 0) {
        qsort_r(folder->files, folder->n_files, sizeof *folder->files, folder_compare, folder->names.data);
    }
    return folder_seal(folder, err);
}

/* Without openat2: each component by itself, links refused. */
static int folder_open_slowly(int fd, const char *name) {
    int at = dup(fd);

    while (at >= 0) {
        const char *slash = strchr(name, '/');
        char part[256]; /* NAME_MAX and the end */
        size_t n = slash == NULL ? strlen(name) : (size_t)(slash - name);
        int next;

        if (n == 0 || n >= sizeof part || (n <= 2 && strncmp(name, "..", n) == 0)) {
            close(at);
            errno = EXDEV;
            return -1;
        }
        memcpy(part, name, n);
        part[n] = '\0';
        next =
            openat(at, part,
                   O_CLOEXEC | O_NOFOLLOW | (slash == NULL ? O_RDONLY | O_NONBLOCK : O_PATH | O_DIRECTORY));
        close(at);
        if (slash == NULL) {
            return next;
        }
        name = slash + 1;
        at = next;
    }
    return -1;
}

static int folder_open_file(int fd, const char *name) {
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
    long r;
    int n_tries = 0;

    do {
        r = syscall(SYS_openat2, fd, name, &how, sizeof how);
        /* EAGAIN: a rename raced with the check; or somebody has a lease on the file, who may take his time */
    } while (r < 0 && (errno == EINTR || (errno == EAGAIN && ++n_tries < OPEN_TRIES)));
    if (r < 0 && (errno == ENOSYS || errno == EPERM)) {
        return folder_open_slowly(fd, name);
    }
    return (int)r;
}

/* Is it still the file that was indexed? ctime is part of an identity, so times that were put back are no cover. */
static int folder_check_fd(struct amb_identity *out, int fd, const char *folder_path, const char *name,
                           uint64_t identity, struct amb_error *err) {
    struct stat st;

    if (fstat(fd, &st) != 0) {
        return amb_fail(err, -EIO, "%s/%.200s: cannot be examined: %s", folder_path, name, strerror(errno));
    }
    amb_identity_encode(out, &st);
    if (!S_ISREG(st.st_mode) || amb_identity_hash(out) != identity) {
        return amb_fail(err, AMB_ERR_CHANGED, "%s/%.200s: changed since it was indexed; reload", folder_path,
                        name);
    }
    return 0;
}

/* Bytes count if the file is the indexed one before and after. */
static int folder_read_fd(struct amb_buf *out, int fd, const char *folder_path, const char *name,
                          uint64_t identity, struct amb_error *err) {
    struct amb_map map = {.fd = fd, .path = name};
    int checked, r = folder_check_fd(&map.identity, fd, folder_path, name, identity, err);

    if (r < 0) {
        return r;
    }
    r = amb_payload_copy(out, &map, 0, map.identity.size, err);
    checked = folder_check_fd(&map.identity, fd, folder_path, name, identity, err);
    return checked < 0 ? checked : r;
}

int amb_folder_read(struct amb_buf *out, int folder_fd, const char *folder_path, const char *name,
                    size_t name_bytes, uint64_t identity, struct amb_error *err) {
    AMB_CLEANUP(amb_fd_closep) int fd = -1;
    char path[AMB_KEY_BYTES_MAX + 1];

    if (name_bytes > AMB_KEY_BYTES_MAX) {
        return amb_fail(err, AMB_ERR_LIMIT, "%s: a path of %zu bytes, allowed are %u", folder_path,
                        name_bytes, AMB_KEY_BYTES_MAX);
    }
    memcpy(path, name, name_bytes);
    path[name_bytes] = '\0';
    fd = folder_open_file(folder_fd, path);
    if (fd < 0) {
        bool gone = errno == ENOENT || errno == ENOTDIR || errno == ELOOP || errno == EXDEV;

        return amb_fail(err, gone ? AMB_ERR_CHANGED : -EIO, "%s/%.200s: cannot be opened any more: %s",
                        folder_path, path, strerror(errno));
    }
    return folder_read_fd(out, fd, folder_path, path, identity, err);
}
