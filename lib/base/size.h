#pragma once
/* Size: checked arithmetic for numbers that come from files, sockets and configuration. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Each returns false, and leaves *out alone, where the true result does not fit. */
static inline bool amb_size_add(size_t *out, size_t a, size_t b) {
    size_t sum;

    if (__builtin_add_overflow(a, b, &sum)) {
        return false;
    }
    *out = sum;
    return true;
}

static inline bool amb_size_mul(size_t *out, size_t a, size_t b) {
    size_t product;

    if (__builtin_mul_overflow(a, b, &product)) {
        return false;
    }
    *out = product;
    return true;
}

/* True if [offset, offset + length) lies inside total. Cannot wrap. */
static inline bool amb_span_ok(uint64_t offset, uint64_t length, uint64_t total) {
    return offset <= total && length <= total - offset;
}

/* Round up to a multiple of align, a power of two; false where that does not fit. */
static inline bool amb_size_align(size_t *out, size_t n, size_t align) {
    size_t padded;

    if (!amb_size_add(&padded, n, align - 1)) {
        return false;
    }
    *out = padded & ~(align - 1);
    return true;
}

static inline size_t amb_size_min(size_t a, size_t b) {
    return a < b ? a : b;
}
