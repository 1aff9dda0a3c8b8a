/*
 * Rank: the ladder leaves fewer than 2^shift entries in doubt; a bisection over the values settles them.
 *
 * Each step of a bisection waits for a cache miss (the value of a random sample), so all levels of a call step together:
 * first every line is asked for, then every value is compared. A miss is paid once for the whole call.
 */
#include "sampler/rank.h"

#include <assert.h>

#include "sampler/key.h"

struct rank_search {
    uint32_t lo, hi; /* the count lies in [lo, hi] */
    int32_t bound;
};

static void rank_begin(struct rank_search *search, const struct amb_orders *orders, const struct amb_orders_list *list,
                       enum amb_orders_which which, double s) {
    search->bound = which == AMB_ORDERS_BY_MIN ? amb_key_bound_min(s, orders->buffer) : amb_key_bound_max(s);
    amb_ladder_get(&search->lo, &search->hi, &list->ladder, search->bound);
    if (search->lo < search->hi) {
        __builtin_prefetch(&list->ids[search->lo]);
        __builtin_prefetch(&list->ids[search->hi - 1]);
    }
}

static void rank_step(struct rank_search *search, const struct amb_orders *orders, const struct amb_orders_list *list,
                      enum amb_orders_which which) {
    uint32_t middle = search->lo + (search->hi - search->lo) / 2;
    struct amb_annotation value = orders->annotations->values[list->ids[middle]];
    int32_t key = which == AMB_ORDERS_BY_MIN ? amb_key_of_min(value, orders->buffer)
                                             : amb_key_of_max(value, orders->buffer);

    if (key <= search->bound) {
        search->lo = middle + 1;
    } else {
        search->hi = middle;
    }
}

void amb_rank_get(uint32_t *counts, const struct amb_orders *orders, uint32_t i_part, enum amb_orders_which which,
                  const double *s, unsigned n) {
    const struct amb_orders_list *list = &orders->parts[i_part].lists[which];
    const struct amb_annotation *values = orders->annotations->values;
    struct rank_search searches[AMB_RANK_N_MAX];

    assert(n <= AMB_RANK_N_MAX);
    for (unsigned i = 0; i < n; i++) {
        rank_begin(&searches[i], orders, list, which, s[i]);
    }
    for (unsigned step = 0; step <= list->ladder.shift; step++) {
        for (unsigned i = 0; i < n; i++) {
            if (searches[i].lo < searches[i].hi) {
                uint32_t middle = searches[i].lo + (searches[i].hi - searches[i].lo) / 2;

                __builtin_prefetch(&values[list->ids[middle]]);
            }
        }
        for (unsigned i = 0; i < n; i++) {
            if (searches[i].lo < searches[i].hi) {
                rank_step(&searches[i], orders, list, which);
            }
        }
    }
    for (unsigned i = 0; i < n; i++) {
        counts[i] = searches[i].lo;
    }
}
