/*
 * Ladder: a static search tree of constant fan-out in plain arrays.
 *
 * Rung 0 holds every 2^shift-th key of the list, rung r+1 every 16th key of rung r, the highest at most 16. Each rung
 * is padded to whole cache lines with a key above every bound. A search reads one line a rung.
 *
 * Not here: the last 2^shift - 1 entries between two keys; rank.c looks at the values themselves.
 */
#include "sampler/ladder.h"

#include <errno.h>

#include "base/alloc.h"

#define LINE_BYTES (AMB_LADDER_WIDTH * sizeof(int32_t))

static uint32_t rung_padded(uint32_t n) {
    return (n + AMB_LADDER_WIDTH - 1) / AMB_LADDER_WIDTH * AMB_LADDER_WIDTH;
}

static void ladder_store_rungs(struct amb_ladder *ladder, const uint64_t *pairs, uint32_t n_pivots) {
    uint64_t stride = (uint64_t)1 << ladder->shift;
    uint32_t n_rung = n_pivots;

    for (unsigned r = 0; r < ladder->n_rungs; r++) {
        int32_t *rung = ladder->keys + ladder->rungs[r];

        for (uint32_t i = 0; i < rung_padded(n_rung); i++) {
            rung[i] = i < n_rung ? (int32_t)(pairs[i * stride] >> 32) : INT32_MAX;
        }
        stride *= AMB_LADDER_WIDTH;
        n_rung = (n_rung + AMB_LADDER_WIDTH - 1) / AMB_LADDER_WIDTH;
    }
}

int amb_ladder_init(struct amb_ladder *out, const uint64_t *pairs, uint32_t n, unsigned shift) {
    uint32_t n_pivots = (uint32_t)(((uint64_t)n + ((uint64_t)1 << shift) - 1) >> shift), n_rung = n_pivots;
    struct amb_ladder ladder = {.n = n, .shift = shift, .last = n > 0 ? (int32_t)(pairs[n - 1] >> 32) : 0};

    while (n_rung > 0) {
        ladder.rungs[ladder.n_rungs++] = ladder.n_keys;
        ladder.n_keys += rung_padded(n_rung);
        n_rung = n_rung > AMB_LADDER_WIDTH ? (n_rung + AMB_LADDER_WIDTH - 1) / AMB_LADDER_WIDTH : 0;
    }
    if (ladder.n_keys > 0) {
        ladder.memory = amb_malloc(ladder.n_keys * sizeof *ladder.keys + LINE_BYTES - 1);
        if (ladder.memory == NULL) {
            return -ENOMEM;
        }
        ladder.keys = (int32_t *)(((uintptr_t)ladder.memory + LINE_BYTES - 1) / LINE_BYTES * LINE_BYTES);
        ladder_store_rungs(&ladder, pairs, n_pivots);
    }
    *out = ladder;
    return 0;
}

void amb_ladder_deinit(struct amb_ladder *ladder) {
    amb_free(ladder->memory);
    *ladder = AMB_LADDER_NULL;
}
