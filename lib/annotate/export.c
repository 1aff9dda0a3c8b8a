/*
 * Export: lines gathered in a buffer and written in large pieces to a temporary file, which replaces the old one only
 * when all of it is on disk.
 *
 * Keys are bytes; what is not printable ASCII or UTF-8 would not be JSON. Well-formed sequences go out as they are;
 * a stray byte becomes the lone surrogate \udcXX, as Python's surrogateescape has it.
 */
#include "annotate/export.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/utf8.h"

#define EXPORT_PIECE_BYTES (1u << 20) /* written at a time; not tuned */
#define EXPORT_NUMBER_BYTES 32u       /* "-3.40282347e+38" and some */

static int export_push_text(struct amb_buf *out, const char *text, size_t bytes) {
    int r = 0;

    for (size_t i = 0; r == 0 && i < bytes;) {
        const unsigned char c = (unsigned char)text[i];
        const size_t n = amb_utf8_peek(text + i, bytes - i);
        char escape[8];

        if (n == 0 || c < 0x20 || c == '"' || c == '\\') {
            snprintf(escape, sizeof escape, n == 0 ? "\\udc%02x" : "\\u00%02x", (unsigned)c);
            r = amb_buf_push(out, escape, 6);
            i++;
        } else {
            r = amb_buf_push(out, text + i, n);
            i += n;
        }
    }
    return r;
}

/* The fewest digits that read back as the same f32. */
static void export_number(char out[EXPORT_NUMBER_BYTES], float value, bool toolbox) {
    if (isinf(value)) {
        snprintf(out, EXPORT_NUMBER_BYTES, toolbox ? "%.1f" : "\"inf\"", AMB_EXPORT_TOOLBOX_INF);
        return;
    }
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(out, EXPORT_NUMBER_BYTES, "%.*g", digits, (double)value);
        if (strtof(out, NULL) == value) {
            return;
        }
    }
}

/* Must the key carry its source's name to mean this sample alone? */
static bool export_needs_source(const struct amb_sample_info *info, const char *source, size_t n_sources) {
    const size_t bytes = strlen(source);

    return n_sources > 1 ||
           (info->key_bytes > bytes && memcmp(info->key, source, bytes) == 0 && info->key[bytes] == '/');
}

static int export_push_filename(struct amb_buf *out, const struct amb_catalog *cat, uint32_t i_sample) {
    size_t bytes;
    const char *path = amb_catalog_peek_path(&bytes, cat, i_sample);
    int r = amb_buf_push(out, "\"filename\": \"", 13);

    r = r < 0 ? r : export_push_text(out, path, bytes);
    return r < 0 ? r : amb_buf_push(out, "\", ", 3);
}

static int export_push_line(struct amb_buf *out, const struct amb_catalog *cat, uint32_t i_sample,
                            struct amb_annotation value, bool toolbox) {
    struct amb_sample_info info;
    uint32_t first, count;
    double repeat;
    const char *source;
    char sigma_min[EXPORT_NUMBER_BYTES], sigma_max[EXPORT_NUMBER_BYTES], rest[96];
    int n, r;

    amb_catalog_get(&info, cat, i_sample);
    source = amb_catalog_source(cat, info.i_source, &first, &count, &repeat);
    r = amb_buf_push(out, "{", 1);
    r = r < 0 || !toolbox ? r : export_push_filename(out, cat, i_sample);
    r = r < 0 ? r : amb_buf_push(out, "\"key\": \"", 8);
    if (r == 0 && export_needs_source(&info, source, amb_catalog_count_sources(cat))) {
        r = export_push_text(out, source, strlen(source));
        r = r < 0 ? r : amb_buf_push(out, "/", 1);
    }
    r = r < 0 ? r : export_push_text(out, info.key, info.key_bytes);
    export_number(sigma_min, value.sigma_min, toolbox);
    export_number(sigma_max, value.sigma_max, toolbox);
    n = snprintf(rest, sizeof rest, "\", \"sigma_min\": %s, \"sigma_max\": %s}\n", sigma_min, sigma_max);
    return r < 0 ? r : amb_buf_push(out, rest, (size_t)n);
}

/* Write out what is gathered. */
static int export_flush(int fd, struct amb_buf *out) {
    for (size_t at = 0; at < out->n_bytes;) {
        ssize_t n = write(fd, out->data + at, out->n_bytes - at);

        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        at += n > 0 ? (size_t)n : 0;
    }
    out->n_bytes = 0;
    return 0;
}

static int export_write(int fd, const struct amb_annotations *annotations, const struct amb_catalog *cat,
                        bool toolbox) {
    AMB_CLEANUP(amb_buf_deinit) struct amb_buf out = AMB_BUF_NULL;
    int r = 0;

    for (uint32_t i = 0; r == 0 && i < annotations->n_samples; i++) {
        r = export_push_line(&out, cat, i, annotations->values[i], toolbox);
        if (r == 0 && out.n_bytes >= EXPORT_PIECE_BYTES) {
            r = export_flush(fd, &out);
        }
    }
    r = r < 0 ? r : export_flush(fd, &out);
    return r < 0 ? r : fsync(fd) < 0 ? -errno : 0;
}

/* A rename is lasting once its directory is synced. */
static int export_sync_folder(const char *path) {
    const char *slash = strrchr(path, '/');
    AMB_CLEANUP(amb_freep) char *folder = NULL;
    AMB_CLEANUP(amb_fd_closep) int fd = -1;

    folder = amb_strdup(slash == NULL ? "." : slash == path ? "/" : path);
    if (folder == NULL) {
        return -ENOMEM;
    }
    if (slash != NULL && slash != path) {
        folder[slash - path] = '\0';
    }
    fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

static int export_replace(const char *path, const char *temporary, const struct amb_annotations *annotations,
                          const struct amb_catalog *cat, bool toolbox) {
    AMB_CLEANUP(amb_fd_closep) int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    int r;

    if (fd < 0) {
        return -errno;
    }
    r = export_write(fd, annotations, cat, toolbox);
    if (r == 0 && rename(temporary, path) < 0) {
        r = -errno;
    }
    if (r < 0) {
        unlink(temporary);
        return r;
    }
    return export_sync_folder(path);
}

int amb_export_jsonl(const char *path, const struct amb_annotations *annotations, const struct amb_catalog *cat,
                     const struct amb_export_options *options, struct amb_error *err) {
    char temporary[4096]; /* PATH_MAX */
    int r;

    assert(annotations->n_samples == amb_catalog_count(cat));
    if (snprintf(temporary, sizeof temporary, "%s.%d.tmp", path, (int)getpid()) >= (int)sizeof temporary) {
        return amb_fail(err, -ENAMETOOLONG, "path of %zu bytes, allowed: %zu", strlen(path), sizeof temporary - 16);
    }
    r = export_replace(path, temporary, annotations, cat, options->toolbox);
    return r < 0 ? amb_fail(err, r, "cannot write %s: %s", path, strerror(-r)) : 0;
}
