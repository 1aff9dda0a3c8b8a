#pragma once
/* Orders: the two sorted lists of each source that say which samples admit a noise level (DESIGN section 2). */
#include <stddef.h>
#include <stdint.h>

#include "annotate/annotations.h"
#include "base/error.h"

#define AMB_ORDERS_SOURCES_MAX 256u /* a group number is a byte */

/* A source as the sampler sees it: a range of sample numbers and a weight. */
struct amb_orders_source {
    uint32_t first, count;
    double repeat;
};

/*
 * List 1 of a source: samples by m = sigma_min * buffer ascending (m = 0 where they admit every s), without those of
 * m = inf. List 2: by sigma_max descending, without those that admit every s and those of sigma_max = 0.
 * a(s), b(s): number of entries that admit s: the first a(s) of list 1 and the first b(s) of list 2.
 *
 * Immutable, reference counted, shared by all streams of one annotation generation and buffer: 4 bytes an entry,
 * beside the 8 bytes a sample of the annotations. Search tables are bounded, not per sample.
 */
struct amb_orders;

/* Keeps a reference of annotations. buffer >= 1. Thread: any; O(n log n) or better. */
int amb_orders_new(struct amb_orders **out, struct amb_annotations *annotations,
                   const struct amb_orders_source *sources, size_t n_sources, double buffer, struct amb_error *err);
struct amb_orders *amb_orders_ref(struct amb_orders *orders);
struct amb_orders *amb_orders_unref(struct amb_orders *orders); /* NULL ok; returns NULL */

struct amb_annotations *amb_orders_annotations(const struct amb_orders *orders); /* borrowed */
size_t amb_orders_bytes(const struct amb_orders *orders);                        /* resident, annotations apart */

/* a(s) + b(s), unweighted, of one source or (i_source = SIZE_MAX) of all: what `coverage` shows. */
uint64_t amb_orders_count(const struct amb_orders *orders, size_t i_source, double s);

/* The open gap: no sample admits s in [*lo, *hi]. Returns 0 if every s > 0 is admitted, else 1. */
int amb_orders_gap(double *lo, double *hi, const struct amb_orders *orders);
