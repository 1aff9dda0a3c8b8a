/*
 * Uniform: one rank below the weighted number of admissible entries, looked up in the lists; nothing is tried twice.
 *
 * r = floor(U W / 2^128) with U the 128 bits of a Philox block and W the sum over sources of weight * (a + b), below
 * 2^62: an entry is off its share by less than 2^-64 of it. Source by source, r falls into one entry of list 1 or 2.
 *
 * A call works on a few levels at once so that cache misses overlap: counts, then places, then sample numbers.
 */
#include "sampler/uniform.h"

#include <assert.h>

#include "base/philox.h"

struct uniform_counts {
    uint32_t by_min[AMB_ORDERS_SOURCES_MAX][AMB_RANK_N_MAX], by_max[AMB_ORDERS_SOURCES_MAX][AMB_RANK_N_MAX];
};

static uint64_t uniform_scale(const struct amb_philox_block *block, uint64_t total) {
    unsigned __int128 low = (unsigned __int128)amb_philox_u64(block, 0) * total;
    unsigned __int128 high = (unsigned __int128)amb_philox_u64(block, 1) * total;

    return (uint64_t)((high + (uint64_t)(low >> 64)) >> 64);
}

/* Where entry r lies; NULL if there is none. */
static const uint32_t *uniform_place(const struct amb_orders *orders, const struct uniform_counts *counts, unsigned i,
                                     const struct amb_philox_block *block) {
    uint64_t total = 0, rank;

    for (uint32_t j = 0; j < orders->n_parts; j++) {
        total += orders->parts[j].weight * ((uint64_t)counts->by_min[j][i] + counts->by_max[j][i]);
    }
    if (total == 0) {
        return NULL;
    }
    rank = uniform_scale(block, total);
    for (uint32_t j = 0; j < orders->n_parts; j++) {
        const struct amb_orders_part *part = &orders->parts[j];
        uint32_t a = counts->by_min[j][i];
        uint64_t share = part->weight * ((uint64_t)a + counts->by_max[j][i]);

        if (rank < share) {
            rank /= part->weight;
            return rank < a ? &part->lists[AMB_ORDERS_BY_MIN].words[rank] : &part->lists[AMB_ORDERS_BY_MAX].words[rank - a];
        }
        rank -= share;
    }
    assert(false); /* rank < total */
    return NULL;
}

void amb_uniform_draw(uint32_t *ids, const struct amb_orders *orders, uint64_t key, const struct amb_uniform *draws,
                      unsigned n) {
    struct uniform_counts counts;
    const uint32_t *places[AMB_RANK_N_MAX];
    double s[AMB_RANK_N_MAX];

    assert(n <= AMB_RANK_N_MAX);
    for (unsigned i = 0; i < n; i++) {
        s[i] = draws[i].s;
    }
    for (uint32_t j = 0; j < orders->n_parts; j++) {
        amb_rank_get_both(counts.by_min[j], counts.by_max[j], orders, j, s, n);
    }
    for (unsigned i = 0; i < n; i++) {
        struct amb_philox_block block = amb_philox(key, draws[i].block, draws[i].counter);

        places[i] = uniform_place(orders, &counts, i, &block);
        __builtin_prefetch(places[i]);
    }
    for (unsigned i = 0; i < n; i++) {
        ids[i] = places[i] != NULL ? *places[i] & orders->id_mask : AMB_UNIFORM_NONE;
        __builtin_prefetch(places[i] != NULL ? &orders->annotations->values[ids[i]] : NULL);
    }
}
