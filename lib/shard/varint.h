#pragma once
/* Varint: lengths of names, one byte where they are below 128. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Proven bytes: whoever read them first has used amb_varint_take. */
static inline const uint8_t *amb_varint_load(uint32_t *out, const uint8_t *p) {
    uint32_t v = *p & 0x7Fu;

    for (unsigned shift = 7; (*p++ & 0x80u) != 0; shift += 7) {
        v |= (uint32_t)(*p & 0x7Fu) << shift;
    }
    *out = v;
    return p;
}

/* Move *p, below end, behind one; false where it ends past `end` or is more than 5 bytes or 32 bits long. */
static inline bool amb_varint_take(uint32_t *out, const uint8_t **p, const uint8_t *end) {
    uint64_t v = 0;

    for (unsigned shift = 0; shift < 35 && *p < end; shift += 7) {
        uint8_t b = *(*p)++;

        v |= (uint64_t)(b & 0x7Fu) << shift;
        if ((b & 0x80u) == 0) {
            *out = (uint32_t)v;
            return v <= UINT32_MAX;
        }
    }
    return false;
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
