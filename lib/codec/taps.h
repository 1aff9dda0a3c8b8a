#pragma once
/* Taps: for one axis of a resize, which input pixels make an output pixel and with what weights. */
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "codec/transform.h"

#define AMB_TAPS_BITS   22u /* fraction of a weight: Pillow's 32 - 8 - 2                             */
#define AMB_TAPS_SPLIT  12u /* weight = high * 4096 + low: both fit the 16-bit multipliers of vectors */
#define AMB_TAPS_SLOTS  8u  /* axes kept: four sizes of picture; not tuned                            */

/* Outputs [first, first + n) of an axis that is resized from in_size to out_size pixels. */
struct amb_axis {
    uint32_t in_size, out_size, first, n;
};

struct amb_taps {
    struct amb_axis axis;
    enum amb_resample resample;
    uint32_t stride;    /* weights an output, a multiple of 4; unused ones are 0                   */
    bool inside;        /* start + stride <= in_size for all outputs: a whole stride may be read   */
    uint32_t *starts;   /* first input pixel of an output                                          */
    uint32_t *counts;   /* input pixels used from there                                            */
    int32_t *weights;   /* n x stride                                                              */
    int16_t *parts;     /* n x stride x 2: of each four weights the high parts, then the low parts */
    uint64_t used;      /* when; the longest unused gives way                                      */
    struct amb_buf buf; /* holds the four arrays                                                   */
};

struct amb_taps_cache {
    struct amb_taps slots[AMB_TAPS_SLOTS];
    uint64_t n_gets;
};

/**
 * Taps of an axis, from the cache or computed as Pillow does, to the bit.
 *
 * axis:   1 <= in_size, out_size; first + n <= out_size; n >= 1.
 * *out:   borrowed; valid until AMB_TAPS_SLOTS - 1 other axes were asked for.
 * Errors: -ENOMEM.
 * Thread: worker, one cache each.
 */
int amb_taps_get(const struct amb_taps **out, struct amb_taps_cache *cache, const struct amb_axis *axis,
                 enum amb_resample resample, struct amb_error *err);

void amb_taps_cache_deinit(struct amb_taps_cache *cache); /* idempotent */
