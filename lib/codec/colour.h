#pragma once
/* Colour: the arithmetic of Pillow's convert("RGB") and convert("L"), exactly. */
#include <stddef.h>
#include <stdint.h>

/* n pixels each. Thread: any. */

/* RGB -> luma: (19595 R + 38470 G + 7471 B + 32768) >> 16 (ITU-R 601-2). dst may be src. */
void amb_colour_luma(uint8_t *dst, const uint8_t *src, size_t n);

/* Grey -> RGB, each value thrice. dst may be src: the walk is backwards. */
void amb_colour_spread(uint8_t *dst, const uint8_t *src, size_t n);

/* Inverted CMYK (as every JPEG with four components is taken to be) -> RGB. Apart from each other. */
void amb_colour_cmyk(uint8_t *dst, const uint8_t *src, size_t n);

/* Drop alpha: the first `keep` of `channels` bytes of each pixel. dst may be src. */
void amb_colour_keep(uint8_t *dst, const uint8_t *src, size_t n, uint32_t channels, uint32_t keep);
