/*
 * Rank: the ladder leaves fewer than 2^shift entries in doubt, the spare bits of their words hardly ever more than one
 * or two of them; a bisection over the annotations settles those.
 *
 * Each of these steps waits for a cache miss, so all levels of a call step together: a miss is paid once for the call.
 */
#include "sampler/rank.h"

#include <assert.h>
#include <stdbool.h>

#include "sampler/key.h"

#define PREFETCH_MAX 64u /* words of a block asked for ahead; longer blocks are bisected through; not tuned */

struct rank_search {
    int32_t bound;
    uint32_t i_line;       /* of the ladder */
    uint32_t lo, hi;       /* entries below lo admit the level, entries from hi on do not */
    uint64_t sure, unsure; /* words below the first surely admit it, words from the second on surely do not */
    double s;
};

static void rank_begin(struct rank_search *search, const struct amb_orders *orders, const struct amb_orders_list *list,
                       enum amb_orders_which which, double s) {
    search->s = s;
    search->bound = which == AMB_ORDERS_BY_MIN ? amb_key_bound_min(s, orders->buffer) : amb_key_bound_max(s);
    search->i_line = amb_ladder_find_line(&list->ladder, search->bound);
    __builtin_prefetch(search->i_line == AMB_LADDER_BELOW
                           ? NULL
                           : list->ladder.keys + (size_t)search->i_line * AMB_LADDER_WIDTH);
}

static void rank_find_block(struct rank_search *search, const struct amb_orders *orders,
                            const struct amb_orders_list *list) {
    const struct amb_ladder *ladder = &list->ladder;
    uint64_t distance;
    uint32_t i, span;
    unsigned loss;
    int32_t base;

    if (search->i_line == AMB_LADDER_BELOW || search->bound >= ladder->last) {
        search->lo = search->hi = search->i_line == AMB_LADDER_BELOW ? 0 : list->n;
        return;
    }
    i = amb_ladder_find(ladder, search->i_line, search->bound);
    search->lo = (i << ladder->shift) + 1;
    search->hi = (uint64_t)(i + 1) << ladder->shift < list->n ? (i + 1) << ladder->shift : list->n;
    span = amb_ladder_span(&base, ladder, i);
    loss = amb_ladder_loss(span, 32 - orders->id_bits);
    distance = (uint64_t)(search->bound - base) >> loss;
    search->unsure = (distance + 1) << orders->id_bits;
    search->sure = loss == 0 ? search->unsure : distance << orders->id_bits;
    for (uint32_t j = search->lo; j < search->hi && j < search->lo + PREFETCH_MAX; j += AMB_LADDER_WIDTH) {
        __builtin_prefetch(&list->words[j]);
    }
    __builtin_prefetch(&list->words[search->hi - 1]);
}

/* First of the entries [lo, hi), fewer than 2 * half, whose word is not below `limit`. No branch on the words: half of
 * them would be predicted wrongly. */
static uint32_t rank_find_word(const uint32_t *words, uint32_t lo, uint32_t hi, uint64_t limit, uint32_t half) {
    for (; half > 0; half >>= 1) {
        uint32_t middle = lo + half - 1;
        unsigned below = words[middle < hi ? middle : hi - 1] < limit;

        lo += half & -(below & (unsigned)(middle < hi));
    }
    return lo;
}

static void rank_narrow(struct rank_search *search, const struct amb_orders_list *list) {
    uint32_t half = ((uint32_t)1 << list->ladder.shift) >> 1;

    if (search->lo >= search->hi) {
        return;
    }
    search->lo = rank_find_word(list->words, search->lo, search->hi, search->sure, half);
    search->hi = search->lo < search->hi && list->words[search->lo] < search->unsure
                     ? rank_find_word(list->words, search->lo, search->hi, search->unsure, half)
                     : search->lo;
}

static const struct amb_annotation *rank_get_middle(const struct rank_search *search, const struct amb_orders *orders,
                                                    const struct amb_orders_list *list) {
    uint32_t middle = search->lo + (search->hi - search->lo) / 2;

    return &orders->annotations->values[list->words[middle] & orders->id_mask];
}

static void rank_step(struct rank_search *search, const struct amb_orders *orders, const struct amb_orders_list *list,
                      enum amb_orders_which which) {
    struct amb_annotation value = *rank_get_middle(search, orders, list);
    double m = amb_key_m(value, orders->buffer);
    bool admits = which == AMB_ORDERS_BY_MIN ? search->s > m || (double)value.sigma_max > m
                                             : search->s < (double)value.sigma_max;

    if (admits) {
        search->lo += (search->hi - search->lo) / 2 + 1;
    } else {
        search->hi = search->lo + (search->hi - search->lo) / 2;
    }
}

/* One step for each level that is still in doubt; returns how many were. */
static unsigned rank_step_all(struct rank_search *searches, const struct amb_orders *orders,
                              const struct amb_orders_list *list, enum amb_orders_which which, unsigned n) {
    unsigned n_open = 0;

    for (unsigned i = 0; i < n; i++) {
        if (searches[i].lo < searches[i].hi) {
            __builtin_prefetch(rank_get_middle(&searches[i], orders, list));
            n_open++;
        }
    }
    for (unsigned i = 0; n_open > 0 && i < n; i++) {
        if (searches[i].lo < searches[i].hi) {
            rank_step(&searches[i], orders, list, which);
        }
    }
    return n_open;
}

/* Search one list, or all lists of a source together: the more levels step together, the more misses overlap. */
static void rank_search(struct rank_search searches[AMB_ORDERS_N][AMB_RANK_N_MAX], const struct amb_orders *orders,
                        uint32_t i_part, unsigned first, unsigned end, const double *s, unsigned n) {
    const struct amb_orders_list *lists = orders->parts[i_part].lists;
    unsigned n_open;

    assert(n <= AMB_RANK_N_MAX);
    for (unsigned w = first; w < end; w++) {
        for (unsigned i = 0; i < n; i++) {
            rank_begin(&searches[w][i], orders, &lists[w], (enum amb_orders_which)w, s[i]);
        }
    }
    for (unsigned w = first; w < end; w++) {
        for (unsigned i = 0; i < n; i++) {
            rank_find_block(&searches[w][i], orders, &lists[w]);
        }
    }
    for (unsigned w = first; w < end; w++) {
        for (unsigned i = 0; i < n; i++) {
            rank_narrow(&searches[w][i], &lists[w]);
        }
    }
    do {
        n_open = 0;
        for (unsigned w = first; w < end; w++) {
            n_open += rank_step_all(searches[w], orders, &lists[w], (enum amb_orders_which)w, n);
        }
    } while (n_open > 0);
}

void amb_rank_get(uint32_t *counts, const struct amb_orders *orders, uint32_t i_part, enum amb_orders_which which,
                  const double *s, unsigned n) {
    struct rank_search searches[AMB_ORDERS_N][AMB_RANK_N_MAX];

    rank_search(searches, orders, i_part, which, which + 1, s, n);
    for (unsigned i = 0; i < n; i++) {
        counts[i] = searches[which][i].lo;
    }
}

void amb_rank_get_both(uint32_t *by_min, uint32_t *by_max, const struct amb_orders *orders, uint32_t i_part,
                       const double *s, unsigned n) {
    struct rank_search searches[AMB_ORDERS_N][AMB_RANK_N_MAX];

    rank_search(searches, orders, i_part, 0, AMB_ORDERS_N, s, n);
    for (unsigned i = 0; i < n; i++) {
        by_min[i] = searches[AMB_ORDERS_BY_MIN][i].lo;
        by_max[i] = searches[AMB_ORDERS_BY_MAX][i].lo;
    }
}
