#pragma once
/* Made: pictures for the tests of this folder, encoded by the libraries themselves. */
#include "base/buf.h"
#include "base/image.h"

/* Fill pixels with waves and edges; the same bytes for the same arguments. */
void made_paint(uint8_t *pixels, uint32_t width, uint32_t height, uint32_t channels, uint32_t seed);

/* Bytes that look random, from a seed. */
void made_noise(uint8_t *data, size_t bytes, uint32_t seed);

struct made_jpeg {
    uint32_t width, height;
    uint32_t channels; /* 1, 3, 4: grey, YCbCr 4:2:0, CMYK      */
    bool progressive;
    bool all_scans;    /* 704 scans: one for each bit of each coefficient; channels 1 */
    unsigned restart;  /* MCUs between restart markers; 0: none */
};
void made_jpeg(struct amb_buf *out, const struct made_jpeg *options);

/* 8-bit PNG; colour_type as in PNG: 0, 2, 4, 6. */
void made_png(struct amb_buf *out, uint32_t width, uint32_t height, int colour_type, int level, bool interlaced);

void made_webp(struct amb_buf *out, uint32_t width, uint32_t height, bool lossless);

/* u8 array; n_dims 2 or 3. */
void made_npy(struct amb_buf *out, uint32_t height, uint32_t width, uint32_t channels, unsigned version);
