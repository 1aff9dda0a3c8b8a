#pragma once
/* Wire: little-endian numbers in foreign bytes, loaded and stored, never cast. */
#include <stdint.h>
#include <string.h>

static inline uint16_t ambp_load_u16le(const uint8_t *p) {
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t ambp_load_u32le(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t ambp_load_u64le(const uint8_t *p) {
    return ambp_load_u32le(p) | (uint64_t)ambp_load_u32le(p + 4) << 32;
}

static inline double ambp_load_f64le(const uint8_t *p) {
    uint64_t bits = ambp_load_u64le(p);
    double value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline void ambp_store_u16le(uint8_t *p, uint16_t v) {
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static inline void ambp_store_u32le(uint8_t *p, uint32_t v) {
    ambp_store_u16le(p, (uint16_t)v);
    ambp_store_u16le(p + 2, (uint16_t)(v >> 16));
}

static inline void ambp_store_u64le(uint8_t *p, uint64_t v) {
    ambp_store_u32le(p, (uint32_t)v);
    ambp_store_u32le(p + 4, (uint32_t)(v >> 32));
}

static inline void ambp_store_f64le(uint8_t *p, double v) {
    uint64_t bits;

    memcpy(&bits, &v, sizeof bits);
    ambp_store_u64le(p, bits);
}
