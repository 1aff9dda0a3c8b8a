/*
 * Model file: the bytes of a model are read once, and what was hashed is what runs.
 *
 * Other files that it names are opened beneath its folder only, through no link, and must have one name: else a
 * model from a stranger could have any file of the machine read into a tensor. Their bytes enter the hash, each
 * behind its name. Between this look and the runtime's own the folder's owner could exchange such a file; who can
 * write there can change the model too.
 */
#include <errno.h>
#include <fcntl.h>
#include <sha256.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "annotate/model-private.h"
#include "annotate/onnx-scan.h"
#include "base/alloc.h"
#include "base/cleanup.h"

#define CHUNK_BYTES     (1u << 20)
#define RUNTIME_ADDRESS "_ORT_MEM_ADDR_" /* in a name: the runtime reads its own memory at the tensor's offset */

void amb_model_file_deinit(struct amb_model_file *file) {
    amb_buf_deinit(&file->bytes);
}

static int file_check(uint64_t *bytes, int fd, const char *path, uint64_t bytes_max, struct amb_error *err) {
    struct stat st;

    if (fstat(fd, &st) < 0) {
        return amb_fail(err, -errno, "%s: %s", path, strerror(errno));
    }
    if (!S_ISREG(st.st_mode)) {
        return amb_fail(err, AMB_ERR_FORMAT, "%s is no regular file, allowed: an .onnx file", path);
    }
    if ((uint64_t)st.st_size > bytes_max) {
        return amb_fail(err, AMB_ERR_LIMIT, "%s has %lld bytes, allowed: %llu", path, (long long)st.st_size,
                        (unsigned long long)bytes_max);
    }
    *bytes = (uint64_t)st.st_size;
    return 0;
}

static int file_read(struct amb_buf *out, int fd, const char *path, uint64_t bytes_max, struct amb_error *err) {
    uint64_t bytes;
    size_t at = 0;
    int r = file_check(&bytes, fd, path, bytes_max, err);

    if (r < 0) {
        return r;
    }
    if (amb_buf_reserve(out, (size_t)bytes) < 0) {
        return amb_fail(err, -ENOMEM, "no memory for %s: %llu bytes", path, (unsigned long long)bytes);
    }
    while (at < bytes) {
        ssize_t n = read(fd, out->data + at, (size_t)bytes - at);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? amb_fail(err, -errno, "%s: %s", path, strerror(errno))
                         : amb_fail(err, AMB_ERR_CHANGED, "%s became shorter while it was read", path);
        }
        at += (size_t)n;
    }
    return 0;
}

struct externals {
    SHA256_CTX *sha;
    struct amb_model_info *info;
    const char *path;
    int folder_fd;
    uint64_t bytes_max;
    char **seen; /* owned */
    size_t n_seen;
};

/* Folder by folder, so that no kernel, container or tool without openat2 opens less or more: what is a link fails. */
static int externals_open(int folder_fd, char *name) {
    AMB_CLEANUP(amb_fd_closep) int folder = -1;
    char *part = name;

    for (char *slash = strchr(part, '/'); slash != NULL; slash = strchr(part, '/')) {
        int next = -1;

        *slash = '\0';
        if (part[0] != '\0' && strcmp(part, "..") != 0) {
            next = openat(folder >= 0 ? folder : folder_fd, part, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        } else {
            errno = EACCES; /* of the root, or upwards */
        }
        *slash = '/';
        if (next < 0) {
            return -1;
        }
        amb_fd_closep(&folder);
        folder = next;
        part = slash + 1;
    }
    if (part[0] == '\0' || strcmp(part, "..") == 0) {
        errno = EACCES;
        return -1;
    }
    return openat(folder >= 0 ? folder : folder_fd, part, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
}

static int externals_hash(struct externals *externals, int fd, const char *name, struct amb_error *err) {
    AMB_CLEANUP(amb_buf_deinit) struct amb_buf chunk = AMB_BUF_NULL;
    struct stat st;
    uint64_t bytes;
    ssize_t n;
    int r = file_check(&bytes, fd, name, externals->bytes_max, err);

    if (r < 0) {
        return r;
    }
    if (fstat(fd, &st) == 0 && st.st_nlink != 1) {
        return amb_fail(err, AMB_ERR_FORMAT, "external data '%s' of %s has %lu names (hard links), allowed: 1", name,
                        externals->path, (unsigned long)st.st_nlink);
    }
    if (amb_buf_reserve(&chunk, CHUNK_BYTES) < 0) {
        return amb_fail(err, -ENOMEM, "no memory to read %s", name);
    }
    SHA256Update(externals->sha, (const uint8_t *)name, strlen(name) + 1);
    for (;;) {
        n = read(fd, chunk.data, CHUNK_BYTES);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            externals->info->bytes += bytes;
            return n < 0 ? amb_fail(err, -errno, "%s: %s", name, strerror(errno)) : 0;
        }
        SHA256Update(externals->sha, chunk.data, (size_t)n);
    }
}

static int externals_visit(void *opaque, const char *location, size_t bytes, struct amb_error *err) {
    struct externals *externals = opaque;
    AMB_CLEANUP(amb_freep) char *name = amb_calloc(1, bytes + 1);
    AMB_CLEANUP(amb_fd_closep) int fd = -1;
    char **seen;

    if (name == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for a name");
    }
    if (bytes > 0) {
        memcpy(name, location, bytes);
    }
    for (size_t i = 0; i < externals->n_seen; i++) {
        if (strcmp(externals->seen[i], name) == 0) {
            return 0;
        }
    }
    if (strstr(name, RUNTIME_ADDRESS) != NULL) {
        return amb_fail(err, AMB_ERR_FORMAT, "external data '%.100s' of %s means an address, allowed: a file's name", name,
                        externals->path);
    }
    fd = strlen(name) == bytes && bytes > 0 ? externals_open(externals->folder_fd, name) : -1;
    if (fd < 0) {
        return amb_fail(err, AMB_ERR_FORMAT,
                        "external data '%.100s' of %s cannot be opened (%s), allowed: a regular file below the model's "
                        "own folder, through no link",
                        name, externals->path, strlen(name) == bytes && bytes > 0 ? strerror(errno) : "no name");
    }
    seen = amb_realloc(externals->seen, (externals->n_seen + 1) * sizeof *seen);
    if (seen == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for a name");
    }
    externals->seen = seen;
    seen[externals->n_seen++] = amb_steal_ptr(name);
    return externals_hash(externals, fd, seen[externals->n_seen - 1], err);
}

static void externals_deinit(struct externals *externals) {
    for (size_t i = 0; i < externals->n_seen; i++) {
        amb_free(externals->seen[i]);
    }
    amb_free(externals->seen);
    amb_fd_closep(&externals->folder_fd);
}

static int folder_open(const char *path) {
    const char *slash = strrchr(path, '/');
    char folder[4096];
    int n = slash == NULL ? snprintf(folder, sizeof folder, ".")
                          : snprintf(folder, sizeof folder, "%.*s/", (int)(slash - path), path);

    return n < (int)sizeof folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
}

int amb_model_file_load(struct amb_model_file *out, struct amb_model_info *info,
                        const struct amb_model_options *options, struct amb_error *err) {
    AMB_CLEANUP(amb_fd_closep) int fd = open(options->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    AMB_CLEANUP(externals_deinit)
    struct externals externals = {.info = info, .path = options->path, .folder_fd = -1};
    SHA256_CTX sha;
    int r;

    externals.bytes_max = options->bytes_max != 0 ? options->bytes_max : AMB_MODEL_BYTES_MAX;
    if (fd < 0) {
        return amb_fail(err, -errno, "model %s: %s", options->path, strerror(errno));
    }
    r = file_read(&out->bytes, fd, options->path, externals.bytes_max, err);
    if (r < 0) {
        return r;
    }
    info->bytes = out->bytes.n_bytes;
    SHA256Init(&sha);
    SHA256Update(&sha, out->bytes.data, out->bytes.n_bytes);
    externals.sha = &sha;
    externals.folder_fd = folder_open(options->path);
    r = amb_onnx_scan(options->path, out->bytes.data, out->bytes.n_bytes, externals_visit, &externals, err);
    if (r < 0) {
        return r;
    }
    out->has_external = externals.n_seen > 0;
    SHA256End(&sha, info->sha256);
    return 0;
}
