#pragma once
/* Resize: Pillow's two passes over u8 pixels, only as far as the crop needs them. */
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/image.h"
#include "codec/kernels.h"
#include "codec/taps.h"

struct amb_resizer {
    const struct amb_kernels *kernels;
    struct amb_taps_cache taps;
    struct amb_buf narrow;    /* rows after the pass along x                */
    struct amb_buf edge;      /* the last input row, padded                 */
    struct amb_buf row;       /* one row after both passes, before it is split */
    struct amb_buf halves[2]; /* pictures after box halvings, in turn       */
};

void amb_resizer_init(struct amb_resizer *resizer);
void amb_resizer_deinit(struct amb_resizer *resizer); /* idempotent */

/**
 * Resize src to x.out_size by y.out_size and keep the window [x.first, x.first + x.n) x [y.first, y.first + y.n).
 *
 * dst:    src->channels planes of y.n x x.n bytes, contiguous.
 * x, y:   in_size is src's.
 * Errors: -ENOMEM.
 * Thread: worker, one resizer each.
 */
int amb_resize_apply(uint8_t *dst, struct amb_resizer *resizer, const struct amb_image *src,
                     const struct amb_axis *x, const struct amb_axis *y, enum amb_resample resample,
                     struct amb_error *err);

/**
 * Box filter to (width / 2) x (height / 2), rounded down; both sides of src at least 2.
 *
 * out:    interleaved rows in resizer->halves; valid until the second next call. src may be the result before it.
 * Errors: -ENOMEM.
 */
int amb_resize_halve(struct amb_image *out, struct amb_resizer *resizer, const struct amb_image *src,
                     struct amb_error *err);
