#pragma once
/* Orders: the two sorted lists of each source that say which samples admit a noise level (DESIGN section 2). */
#include <stddef.h>
#include <stdint.h>

#include "annotate/annotations.h"
#include "base/error.h"
#include "sampler/interval.h"
#include "sampler/ladder.h"

#define AMB_ORDERS_SOURCES_MAX 256u    /* a group number is a byte */
#define AMB_ORDERS_REPEAT_MAX  1024.0  /* keeps 2^32 weighted entries below 2^62 */
#define AMB_ORDERS_WEIGHT_BITS 20u     /* repeat is used in steps of 2^-20 */

/* A source as the sampler sees it: a range of sample numbers and a weight. */
struct amb_orders_source {
    uint32_t first, count;
    double repeat; /* in (0, AMB_ORDERS_REPEAT_MAX] */
};

enum amb_orders_which {
    AMB_ORDERS_BY_MIN, /* list 1 */
    AMB_ORDERS_BY_MAX, /* list 2 */
    AMB_ORDERS_N,
};

/*
 * A word holds a sample number in its low orders->id_bits; the bits that this leaves tell how far the key lies between
 * the two ladder keys around it, rounded down. So a search rarely has to look at a sample.
 */
struct amb_orders_list {
    uint32_t *words; /* n of them, in the order of the keys; inside orders->words */
    uint32_t n;
    struct amb_ladder ladder;
};

struct amb_orders_part {
    struct amb_orders_source source;
    uint64_t weight; /* repeat in units of 2^-AMB_ORDERS_WEIGHT_BITS, rounded; at least 1 */
    struct amb_orders_list lists[AMB_ORDERS_N];
};

/*
 * List 1 of a source: samples by m = sigma_min * buffer ascending (first of all those that admit every s), without
 * those of m = inf. List 2: by sigma_max descending, without those that admit every s and those of sigma_max = 0. Equal
 * levels come by sample number. a(s), b(s): number of entries that admit s: the first a(s) of list 1 and the first b(s)
 * of list 2. s is compared as f64 with (double)sigma_min * buffer and (double)sigma_max.
 *
 * Immutable, reference counted, shared by all streams of one annotation generation and buffer: 4 bytes an entry, beside
 * the 8 bytes a sample of the annotations. Search tables are bounded (at most 2 MiB a list), not per sample.
 */
struct amb_orders {
    int n_refs; /* atomic; ref and unref only */
    struct amb_annotations *annotations; /* a reference */
    double buffer;
    uint32_t n_parts;
    struct amb_orders_part *parts; /* by source; owned */
    uint32_t *words;               /* of all lists; owned */
    size_t n_words;
    unsigned id_bits;              /* 1 to 32 */
    uint32_t id_mask;
    struct amb_intervals intervals;
};

/**
 * Sort the samples of each source and cut the s axis into intervals.
 *
 * Keeps a reference of annotations. buffer >= 1. Sources lie side by side in sample numbers or apart, never over each
 * other. Working memory of 16 bytes a sample of the largest source is given back before it returns.
 * Errors:  AMB_ERR_CONFIG repeat out of range; -ENOMEM.
 * Thread:  any; O(n).
 */
int amb_orders_new(struct amb_orders **out, struct amb_annotations *annotations,
                   const struct amb_orders_source *sources, size_t n_sources, double buffer, struct amb_error *err);
struct amb_orders *amb_orders_ref(struct amb_orders *orders);
struct amb_orders *amb_orders_unref(struct amb_orders *orders); /* NULL ok; returns NULL */

struct amb_annotations *amb_orders_annotations(const struct amb_orders *orders); /* borrowed */
size_t amb_orders_bytes(const struct amb_orders *orders);                        /* resident, annotations apart */

/* a(s) + b(s), unweighted, of one source or (i_source = SIZE_MAX) of all: what `coverage` shows. s >= 0, also inf. */
uint64_t amb_orders_count(const struct amb_orders *orders, size_t i_source, double s);

/* The gap: no sample admits s in [*lo, *hi]. Returns 0 if every s > 0 is admitted (*lo and *hi are left alone), else 1. */
int amb_orders_gap(double *lo, double *hi, const struct amb_orders *orders);

/* The same with s = 0 counted in: [0, 0] if only s = 0 is not admitted. Returns 0 if every s >= 0 is admitted. */
int amb_orders_gap_from_zero(double *lo, double *hi, const struct amb_orders *orders);
