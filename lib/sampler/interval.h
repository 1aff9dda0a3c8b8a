#pragma once
/* Interval: pieces of the s axis in which most entries of the domain are admissible, each with passes of its own. */
#include <stddef.h>
#include <stdint.h>

#define AMB_INTERVALS_MAX 64u /* DESIGN section 2; cursors are part of the state */

struct amb_orders;

/*
 * What a source gives to an interval: the first n_min entries of its list 1, then the first n_max of its list 2. Each
 * entry has one place for every whole copy (entries in order, copy by copy), then n_extra entries have one more.
 */
struct amb_interval_part {
    uint64_t first_place; /* in the interval */
    uint64_t n_extra;
    uint32_t n_min, n_max;
};

/* Interval i is [edges[i], edges[i + 1]); the last ends at inf and holds it. Owned by orders. */
struct amb_intervals {
    uint32_t n, n_parts;
    double edges[AMB_INTERVALS_MAX + 1]; /* edges[0] = 0, rising; behind the last: inf */
    double lasts[AMB_INTERVALS_MAX];     /* the largest level of each interval */
    uint64_t n_places[AMB_INTERVALS_MAX];
    struct amb_interval_part *parts; /* n rows of n_parts; owned */
};

/* Cut the axis for orders whose lists stand. 0 or -ENOMEM. Thread: any. */
int amb_intervals_init(struct amb_intervals *out, const struct amb_orders *orders);
void amb_intervals_deinit(struct amb_intervals *intervals); /* idempotent */

static inline uint32_t amb_intervals_find(const struct amb_intervals *intervals, double s) {
    uint32_t i = 0;

    for (uint32_t j = 1; j < intervals->n; j++) {
        i += intervals->edges[j] <= s;
    }
    return i;
}
