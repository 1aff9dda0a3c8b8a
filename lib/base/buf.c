/*
 * Buf: grows by at least half of itself and never shrinks; 64-aligned so that vector loads may assume it.
 */
#include "base/buf.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/size.h"

#define BUF_ALIGN 64u /* one cache line, one AVX-512 register */

/* The raw allocation starts somewhere before data; its address is kept in the word before data. */
static uint8_t *buf_alloc(size_t bytes) {
    size_t raw_bytes;
    uint8_t *raw, *data;

    if (!amb_size_add(&raw_bytes, bytes, BUF_ALIGN + sizeof(void *))) {
        return NULL;
    }
    raw = amb_malloc(raw_bytes);
    if (raw == NULL) {
        return NULL;
    }
    data = (uint8_t *)(((uintptr_t)raw + sizeof(void *) + BUF_ALIGN - 1) & ~(uintptr_t)(BUF_ALIGN - 1));
    memcpy(data - sizeof(void *), &raw, sizeof raw);
    return data;
}

static void buf_release(uint8_t *data) {
    void *raw;

    if (data == NULL) {
        return;
    }
    memcpy(&raw, data - sizeof(void *), sizeof raw);
    amb_free(raw);
}

static int buf_move(struct amb_buf *buf, size_t bytes, size_t keep_bytes) {
    size_t capacity = buf->capacity_bytes + buf->capacity_bytes / 2;
    uint8_t *data;

    if (capacity < bytes) {
        capacity = bytes;
    }
    data = buf_alloc(capacity);
    if (data == NULL) {
        return -ENOMEM;
    }
    if (keep_bytes != 0) {
        memcpy(data, buf->data, keep_bytes);
    }
    buf_release(buf->data);
    buf->data = data;
    buf->capacity_bytes = capacity;
    return 0;
}

int amb_buf_reserve(struct amb_buf *buf, size_t bytes) {
    if (bytes > buf->capacity_bytes || buf->data == NULL) {
        int r = buf_move(buf, bytes, 0);

        if (r < 0) {
            return r;
        }
    }
    buf->n_bytes = bytes;
    return 0;
}

int amb_buf_grow(struct amb_buf *buf, size_t bytes) {
    if (bytes <= buf->capacity_bytes && buf->data != NULL) {
        return 0;
    }
    return buf_move(buf, bytes, buf->n_bytes);
}

int amb_buf_push(struct amb_buf *buf, const void *data, size_t bytes) {
    size_t total;
    int r;

    if (!amb_size_add(&total, buf->n_bytes, bytes)) {
        return -ENOMEM;
    }
    r = amb_buf_grow(buf, total);
    if (r < 0) {
        return r;
    }
    if (bytes != 0) {
        memcpy(buf->data + buf->n_bytes, data, bytes);
    }
    buf->n_bytes = total;
    return 0;
}

void amb_buf_deinit(struct amb_buf *buf) {
    buf_release(buf->data);
    *buf = AMB_BUF_NULL;
}
