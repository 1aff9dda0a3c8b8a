/*
 * Interval: the greedy cut of the s axis.
 *
 * From lo an interval reaches to the last level y with a(y) + b(lo) <= 2 (a(lo) + b(y)), counts weighted by repeat. The
 * left side is the domain (entries that admit some s of the interval), and at every s between, a(s) + b(s) is at least
 * a(lo) + b(y): so at least half of the domain is admissible everywhere. The condition holds for parts of an interval
 * that it holds for, so the greedy cut has the fewest pieces; cutting wherever a doubles or b halves would also do, so
 * there are at most about log2 of the entries of each list. Repeats far apart can ask for more than 64 pieces: then the
 * last is the rest, and walks in it may end in the sparse draw.
 *
 * Only counts are compared: no sweep over the entries, no memory.
 */
#include "sampler/interval.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>

#include "base/alloc.h"
#include "sampler/level.h"
#include "sampler/orders.h"
#include "sampler/rank.h"

struct weighted {
    uint64_t by_min, by_max; /* a and b in units of 2^-AMB_ORDERS_WEIGHT_BITS */
};

static struct weighted interval_count(const struct amb_orders *orders, double s) {
    struct weighted sum = {0, 0};

    for (uint32_t i = 0; i < orders->n_parts; i++) {
        uint32_t a, b;

        amb_rank_get(&a, orders, i, AMB_ORDERS_BY_MIN, &s, 1);
        amb_rank_get(&b, orders, i, AMB_ORDERS_BY_MAX, &s, 1);
        sum.by_min += a * orders->parts[i].weight;
        sum.by_max += b * orders->parts[i].weight;
    }
    return sum;
}

static bool interval_holds(const struct amb_orders *orders, const struct weighted *first, double last) {
    struct weighted there = interval_count(orders, last);

    return there.by_min + first->by_max <= 2 * (first->by_min + there.by_max);
}

/* The last level of the interval that begins at lo; the condition, true at lo, turns false once and for good. */
static double interval_reach(const struct amb_orders *orders, double lo) {
    struct weighted first = interval_count(orders, lo);
    uint64_t good = amb_level_bits(lo), bad = amb_level_bits(INFINITY);

    if (interval_holds(orders, &first, INFINITY)) {
        return INFINITY;
    }
    while (bad - good > 1) {
        uint64_t middle = good + (bad - good) / 2;

        if (interval_holds(orders, &first, amb_level_from_bits(middle))) {
            good = middle;
        } else {
            bad = middle;
        }
    }
    return amb_level_from_bits(good);
}

static void interval_store_parts(struct amb_intervals *intervals, uint32_t i, const struct amb_orders *orders) {
    const uint64_t one = UINT64_C(1) << AMB_ORDERS_WEIGHT_BITS;
    uint64_t n_places = 0;

    for (uint32_t j = 0; j < orders->n_parts; j++) {
        struct amb_interval_part *part = &intervals->parts[i * intervals->n_parts + j];
        uint64_t weight = orders->parts[j].weight, n;

        amb_rank_get(&part->n_min, orders, j, AMB_ORDERS_BY_MIN, &intervals->lasts[i], 1);
        amb_rank_get(&part->n_max, orders, j, AMB_ORDERS_BY_MAX, &intervals->edges[i], 1);
        n = (uint64_t)part->n_min + part->n_max;
        part->first_place = n_places;
        part->n_extra = (weight % one * n + one / 2) / one;
        n_places += weight / one * n + part->n_extra;
    }
    intervals->n_places[i] = n_places;
}

int amb_intervals_init(struct amb_intervals *out, const struct amb_orders *orders) {
    struct amb_intervals intervals = {.n_parts = orders->n_parts};
    double lo = 0;

    while (intervals.n < AMB_INTERVALS_MAX) {
        double last = intervals.n + 1 == AMB_INTERVALS_MAX ? INFINITY : interval_reach(orders, lo);

        intervals.edges[intervals.n] = lo;
        intervals.lasts[intervals.n++] = last;
        if (isinf(last)) {
            break;
        }
        lo = amb_level_above(last);
    }
    intervals.edges[intervals.n] = INFINITY;
    intervals.parts = amb_calloc((size_t)intervals.n * intervals.n_parts + 1, sizeof *intervals.parts);
    if (intervals.parts == NULL) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < intervals.n; i++) {
        interval_store_parts(&intervals, i, orders);
    }
    *out = intervals;
    return 0;
}

void amb_intervals_deinit(struct amb_intervals *intervals) {
    amb_free(intervals->parts);
    *intervals = (struct amb_intervals){0};
}
