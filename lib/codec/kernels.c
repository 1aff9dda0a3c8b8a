/*
 * Kernels: the reference, in C that compilers vectorise where they can.
 *
 * A sum starts at one half (2^21), adds byte x weight in 32 bits, and its top ten bits, clamped, are the
 * result. The order of additions does not matter: integers.
 */
#include "codec/kernels.h"

#define HALF  (1 << (AMB_TAPS_BITS - 1))
#define BLOCK 64u /* columns summed at a time: registers, not memory, hold the sums */

static uint8_t clamp_sum(int32_t sum) {
    int32_t v = sum >> AMB_TAPS_BITS;

    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

static void across_one(uint8_t *dst, const uint8_t *src, const struct amb_taps *taps, uint32_t channels) {
    for (uint32_t i = 0; i < taps->axis.n; i++) {
        const int32_t *weights = taps->weights + (size_t)i * taps->stride;
        const uint8_t *p = src + (size_t)taps->starts[i] * channels;

        for (uint32_t c = 0; c < channels; c++) {
            int32_t sum = HALF;

            for (uint32_t j = 0; j < taps->counts[i]; j++) {
                sum += p[j * channels + c] * weights[j];
            }
            dst[(size_t)i * channels + c] = clamp_sum(sum);
        }
    }
}

static void scalar_across(uint8_t *const dst[AMB_KERNELS_ROWS], const uint8_t *const src[AMB_KERNELS_ROWS],
                          const struct amb_taps *taps, uint32_t channels) {
    for (unsigned i = 0; i < AMB_KERNELS_ROWS; i++) {
        across_one(dst[i], src[i], taps, channels);
    }
}

static void down_block(uint8_t *dst, const uint8_t *src, size_t row_bytes, const int32_t *weights,
                       uint32_t count, size_t n) {
    int32_t sums[BLOCK];

    for (size_t x = 0; x < n; x++) {
        sums[x] = HALF;
    }
    for (uint32_t j = 0; j < count; j++) {
        const uint8_t *row = src + j * row_bytes;

        for (size_t x = 0; x < n; x++) {
            sums[x] += row[x] * weights[j];
        }
    }
    for (size_t x = 0; x < n; x++) {
        dst[x] = clamp_sum(sums[x]);
    }
}

static void scalar_down(uint8_t *dst, const uint8_t *src, size_t row_bytes, const struct amb_taps *taps,
                        uint32_t i, size_t n_bytes) {
    const int32_t *weights = taps->weights + (size_t)i * taps->stride;
    size_t x = 0;

    for (; x + BLOCK <= n_bytes; x += BLOCK) {
        down_block(dst + x, src + x, row_bytes, weights, taps->counts[i], BLOCK);
    }
    down_block(dst + x, src + x, row_bytes, weights, taps->counts[i], n_bytes - x);
}

static void scalar_split(uint8_t *dst, size_t plane_bytes, const uint8_t *src, size_t n) {
    uint8_t *r = dst, *g = dst + plane_bytes, *b = dst + 2 * plane_bytes;

    for (size_t i = 0; i < n; i++) {
        r[i] = src[3 * i];
        g[i] = src[3 * i + 1];
        b[i] = src[3 * i + 2];
    }
}

static uint8_t mean(unsigned a, unsigned b) {
    return (uint8_t)((a + b + 1) >> 1);
}

static void scalar_halve(uint8_t *dst, const uint8_t *upper, const uint8_t *lower, size_t n,
                         uint32_t channels) {
    for (size_t i = 0; i < n; i++) {
        for (uint32_t c = 0; c < channels; c++) {
            size_t at = 2 * i * channels + c;

            dst[i * channels + c] =
                mean(mean(upper[at], upper[at + channels]), mean(lower[at], lower[at + channels]));
        }
    }
}

const struct amb_kernels amb_kernels_scalar = {
    .name = "scalar",
    .across = scalar_across,
    .down = scalar_down,
    .split = scalar_split,
    .halve = scalar_halve,
};

const struct amb_kernels *amb_kernels_get(void) {
    const struct amb_kernels *vector = amb_kernels_vector();

    return vector != NULL ? vector : &amb_kernels_scalar;
}
