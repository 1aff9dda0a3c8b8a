#pragma once
/* Varint: lengths of names, one byte where they are below 128. Trusted bytes: the index is checksummed. */
#include <stddef.h>
#include <stdint.h>

static inline const uint8_t *amb_varint_load(uint32_t *out, const uint8_t *p) {
    uint32_t v = *p & 0x7Fu;

    for (unsigned shift = 7; (*p++ & 0x80u) != 0; shift += 7) {
        v |= (uint32_t)(*p & 0x7Fu) << shift;
    }
    *out = v;
    return p;
}

/* Returns the bytes written, at most 5. */
static inline size_t amb_varint_store(uint8_t *p, uint32_t v) {
    size_t n = 0;

    while (v >= 0x80) {
        p[n++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    p[n++] = (uint8_t)v;
    return n;
}
