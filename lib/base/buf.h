#pragma once
/* Buf: a byte buffer that only grows, kept by a worker so that the steady state allocates nothing. */
#include <stddef.h>
#include <stdint.h>

struct amb_buf {
    uint8_t *data; /* owned; aligned to 64 */
    size_t n_bytes;  /* in use */
    size_t capacity_bytes;
};

#define AMB_BUF_NULL ((struct amb_buf){0})

/**
 * Make room for at least `bytes`; contents are lost when the buffer moves. n_bytes is set to `bytes`.
 *
 * Returns: 0 or -ENOMEM (the buffer is unchanged).
 * Thread:  any, one owner.
 */
int amb_buf_reserve(struct amb_buf *buf, size_t bytes);

/* As reserve, but the first n_bytes stay; n_bytes is not changed. Growth is geometric. */
int amb_buf_grow(struct amb_buf *buf, size_t bytes);

/* Append; 0 or -ENOMEM. */
int amb_buf_push(struct amb_buf *buf, const void *data, size_t bytes);

void amb_buf_deinit(struct amb_buf *buf); /* idempotent; also for AMB_CLEANUP */
