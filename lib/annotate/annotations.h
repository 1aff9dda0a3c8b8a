#pragma once
/* Annotations: one immutable generation of (sigma_min, sigma_max) for every sample of a catalog. */
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/hash.h"

/* Effective values on the VE scale: a sample may be used at s if s > sigma_min * buffer or s < sigma_max. */
struct amb_annotation {
    float sigma_min, sigma_max;
};

#define AMB_ANNOTATION_EVERYWHERE ((struct amb_annotation){0.0f, __builtin_inff()})
#define AMB_ANNOTATION_NOWHERE    ((struct amb_annotation){__builtin_inff(), 0.0f})

/* Reference counted, immutable; 8 bytes a sample. Thread: any. */
struct amb_annotations {
    int n_refs;                        /* atomic; ref and unref only */
    uint64_t number;                   /* for people; differs between daemons */
    uint32_t n_samples;
    struct amb_annotation *values;     /* by sample number; owned */
    struct amb_hash128 fingerprint;    /* XXH3-128 of the ordered values, little-endian f32 pairs */
    uint64_t n_set;                    /* samples of which somebody set a side */
};

/**
 * Take over `values` and number the generation.
 *
 * values: amb_malloc'ed, n_samples of them, each side >= 0 (inf allowed); on failure (-ENOMEM) the caller still
 *         owns them.
 * Thread: any.
 */
int amb_annotations_new(struct amb_annotations **out, struct amb_annotation *values, uint32_t n_samples, uint64_t n_set,
                        uint64_t number, struct amb_error *err);
struct amb_annotations *amb_annotations_ref(struct amb_annotations *annotations);
struct amb_annotations *amb_annotations_unref(struct amb_annotations *annotations); /* NULL ok; returns NULL */

/* XXH3-128 of the ordered values as little-endian f32 pairs. -ENOMEM. Thread: any. */
int amb_annotations_fingerprint(struct amb_hash128 *out, const struct amb_annotation *values, uint32_t n_samples);
