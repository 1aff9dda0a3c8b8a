/*
 * Colour: one loop each; the rules that choose among them stand in decode.c.
 */
#include "codec/colour.h"

#include <string.h>

void amb_colour_luma(uint8_t *dst, const uint8_t *src, size_t n) {
    for (size_t i = 0; i < n; i++) {
        unsigned r = src[3 * i], g = src[3 * i + 1], b = src[3 * i + 2];

        dst[i] = (uint8_t)((19595u * r + 38470u * g + 7471u * b + 32768u) >> 16);
    }
}

void amb_colour_spread(uint8_t *dst, const uint8_t *src, size_t n) {
    for (size_t i = n; i-- > 0;) {
        uint8_t v = src[i];

        dst[3 * i] = v;
        dst[3 * i + 1] = v;
        dst[3 * i + 2] = v;
    }
}

/* With k' = 255 - K and c = 255 - c': Pillow's clip(k' - muldiv255(C, k')), C being what the file has
 * inverted. */
static uint8_t cmyk_mix(unsigned inverted, unsigned light) {
    unsigned product = (255u - inverted) * light + 128u;

    return (uint8_t)(light - (((product >> 8) + product) >> 8));
}

void amb_colour_cmyk(uint8_t *dst, const uint8_t *src, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const uint8_t *p = src + 4 * i;

        dst[3 * i] = cmyk_mix(p[0], p[3]);
        dst[3 * i + 1] = cmyk_mix(p[1], p[3]);
        dst[3 * i + 2] = cmyk_mix(p[2], p[3]);
    }
}

void amb_colour_keep(uint8_t *dst, const uint8_t *src, size_t n, uint32_t channels, uint32_t keep) {
    for (size_t i = 0; i < n; i++) {
        memmove(dst + i * keep, src + i * channels, keep);
    }
}
