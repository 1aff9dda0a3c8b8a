/*
 * Jsonl: one buffer that is refilled when it holds no whole line, and grows only for a line longer than itself.
 *
 * The last line needs no end. Read, not mapped: the file belongs to somebody else and may be cut under us.
 */
#include "annotate/jsonl.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

#define JSONL_CHUNK_BYTES (1u << 20) /* read at a time; not tuned */

int amb_jsonl_init(struct amb_jsonl *jsonl, const char *path, struct amb_error *err) {
    int fd = -1, r = amb_file_open(&fd, path, err);

    if (r < 0) {
        return r;
    }
    *jsonl = AMB_JSONL_NULL;
    jsonl->fd = fd;
    jsonl->path = path;
    jsonl->line_bytes_max = AMB_JSONL_LINE_BYTES;
    return 0;
}

void amb_jsonl_deinit(struct amb_jsonl *jsonl) {
    amb_fd_closep(&jsonl->fd);
    amb_buf_deinit(&jsonl->buf);
    *jsonl = AMB_JSONL_NULL;
}

/* Read one more chunk behind what is there; what was popped is forgotten first. */
static int jsonl_refill(struct amb_jsonl *jsonl, struct amb_error *err) {
    struct amb_buf *buf = &jsonl->buf;
    ssize_t n;

    if (jsonl->begin > 0) {
        memmove(buf->data, buf->data + jsonl->begin, buf->n_bytes - jsonl->begin);
        buf->n_bytes -= jsonl->begin;
        jsonl->begin = 0;
    }
    if (amb_buf_grow(buf, buf->n_bytes + JSONL_CHUNK_BYTES) < 0) {
        return amb_fail(err, -ENOMEM, "out of memory for line %llu of %s", (unsigned long long)jsonl->i_line,
                        jsonl->path);
    }
    do {
        n = read(jsonl->fd, buf->data + buf->n_bytes, buf->capacity_bytes - buf->n_bytes);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return amb_fail(err, -errno, "cannot read %s: %s", jsonl->path, strerror(errno));
    }
    buf->n_bytes += (size_t)n;
    jsonl->ended = n == 0;
    return 0;
}

static int jsonl_fail_length(const struct amb_jsonl *jsonl, struct amb_error *err) {
    return amb_fail(err, AMB_ERR_LIMIT, "line %llu: longer than %zu bytes (%s)", (unsigned long long)jsonl->i_line,
                    jsonl->line_bytes_max, jsonl->path);
}

/* Length of the line at `begin`, its end not counted. */
static int jsonl_find_end(size_t *bytes, struct amb_jsonl *jsonl, struct amb_error *err) {
    size_t n_seen = 0;

    for (;;) {
        const size_t n_ready = jsonl->buf.n_bytes - jsonl->begin;
        const uint8_t *from = n_ready > n_seen ? jsonl->buf.data + jsonl->begin + n_seen : NULL;
        const uint8_t *end = from != NULL ? memchr(from, '\n', n_ready - n_seen) : NULL;
        int r;

        *bytes = end != NULL ? (size_t)(end - from) + n_seen : n_ready;
        if (*bytes > jsonl->line_bytes_max) {
            return jsonl_fail_length(jsonl, err);
        }
        if (end != NULL) {
            return 0;
        }
        if (jsonl->ended) {
            return n_ready > 0 ? 0 : AMB_JSONL_E_END;
        }
        n_seen = n_ready;
        r = jsonl_refill(jsonl, err);
        if (r < 0) {
            return r;
        }
    }
}

static bool jsonl_is_blank(const char *line, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        if (line[i] != ' ' && line[i] != '\t' && line[i] != '\r') {
            return false;
        }
    }
    return true;
}

int amb_jsonl_pop(const char **line, size_t *bytes, struct amb_jsonl *jsonl, struct amb_error *err) {
    const char *text;
    size_t n;

    do {
        int r;

        jsonl->i_line++;
        r = jsonl_find_end(&n, jsonl, err);
        if (r != 0) {
            return r;
        }
        text = (const char *)jsonl->buf.data + jsonl->begin;
        jsonl->begin += n + (jsonl->begin + n < jsonl->buf.n_bytes); /* the last line may have no end */
        if (jsonl->i_line == 1 && n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
            text += 3;
            n -= 3;
        }
        n -= n > 0 && text[n - 1] == '\r';
    } while (jsonl_is_blank(text, n));
    *line = text;
    *bytes = n;
    return 0;
}
