#pragma once
/* Kernels: the inner loops of resize and split, scalar and vector; every set gives the same bytes. */
#include <stddef.h>
#include <stdint.h>

#include "codec/taps.h"

#define AMB_KERNELS_ROWS 4u  /* rows that one call of `across` takes: as many as AVX2 has registers for     */
#define AMB_KERNELS_PAD  16u /* bytes past the last pixel of a row that `across` may read, and may write in dst */

/* Thread: any; pure. */
struct amb_kernels {
    const char *name;
    /* Resize four rows of `channels` bytes a pixel along x. taps->inside, or the scalar set. */
    void (*across)(uint8_t *const dst[AMB_KERNELS_ROWS], const uint8_t *const src[AMB_KERNELS_ROWS],
                   const struct amb_taps *taps, uint32_t channels);
    /* Output row i of a resize along y: src is input row starts[i], rows row_bytes apart, n_bytes each. */
    void (*down)(uint8_t *dst, const uint8_t *src, size_t row_bytes, const struct amb_taps *taps, uint32_t i,
                 size_t n_bytes);
    /* n RGB pixels to three planes, plane_bytes apart. */
    void (*split)(uint8_t *dst, size_t plane_bytes, const uint8_t *src, size_t n);
    /* Two rows of 2n pixels to one of n, the box filter at exactly one half: two rounded means. */
    void (*halve)(uint8_t *dst, const uint8_t *upper, const uint8_t *lower, size_t n, uint32_t channels);
};

extern const struct amb_kernels amb_kernels_scalar; /* the reference */

/* The fastest set that this processor can run; maybe the scalar one. Static. */
const struct amb_kernels *amb_kernels_get(void);

/* A vector set of this architecture, or NULL where the processor has none. Static. */
const struct amb_kernels *amb_kernels_vector(void);
