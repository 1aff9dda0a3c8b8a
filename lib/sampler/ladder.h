#pragma once
/* Ladder: every 2^shift-th key of a sorted list, 16 to a rung, so that a search touches a few cache lines. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AMB_LADDER_RUNGS 8u  /* 16^8 = 2^32 */
#define AMB_LADDER_WIDTH 16u /* keys of one cache line */

struct amb_ladder {
    void *memory;      /* owned */
    int32_t *keys;     /* in memory, aligned to cache lines; rung 0, the finest, comes first */
    uint32_t n;        /* entries of the list */
    unsigned shift;
    unsigned n_rungs;  /* 0: the list is empty */
    uint32_t rungs[AMB_LADDER_RUNGS]; /* where each rung begins in keys */
    uint32_t n_keys;   /* of all rungs, padding included */
    int32_t last;      /* the last key of the list */
};

#define AMB_LADDER_NULL ((struct amb_ladder){0})

/* pairs: n sorted words whose high halves are the keys, 0 <= key < INT32_MAX. 0 or -ENOMEM. */
int amb_ladder_init(struct amb_ladder *out, const uint64_t *pairs, uint32_t n, unsigned shift);
void amb_ladder_deinit(struct amb_ladder *ladder); /* idempotent */

/* Four keys at a time: vectors of 16 bytes are what every processor has that we build for. */
typedef int32_t amb_ladder_lanes __attribute__((vector_size(16)));

/* How many keys of a line are <= bound. */
static inline uint32_t amb_ladder_count(const int32_t *line, int32_t bound) {
    const amb_ladder_lanes *keys = (const amb_ladder_lanes *)__builtin_assume_aligned(line, 64);
    amb_ladder_lanes bounds = {bound, bound, bound, bound};
    amb_ladder_lanes n = -((keys[0] <= bounds) + (keys[1] <= bounds) + (keys[2] <= bounds) + (keys[3] <= bounds));

    return (uint32_t)(n[0] + n[1] + n[2] + n[3]);
}

#define AMB_LADDER_BELOW UINT32_MAX

/* The line of rung 0 in which the last key <= bound lies; AMB_LADDER_BELOW if no key is. bound may be -1. */
static inline uint32_t amb_ladder_find_line(const struct amb_ladder *ladder, int32_t bound) {
    uint32_t i = 0;

    if (ladder->n_rungs == 0 || bound < ladder->keys[0]) {
        return AMB_LADDER_BELOW;
    }
    for (unsigned r = ladder->n_rungs - 1; r > 0; r--) {
        const int32_t *line = ladder->keys + ladder->rungs[r] + (size_t)i * AMB_LADDER_WIDTH;

        i = i * AMB_LADDER_WIDTH + amb_ladder_count(line, bound) - 1; /* its first key was counted above */
    }
    return i;
}

/* i of the last key of rung 0 that is <= bound: entry i << shift of the list is the last one that is known to be <= bound,
 * entry (i + 1) << shift is not. i_line: from amb_ladder_find_line, not AMB_LADDER_BELOW. */
static inline uint32_t amb_ladder_find(const struct amb_ladder *ladder, uint32_t i_line, int32_t bound) {
    return i_line * AMB_LADDER_WIDTH + amb_ladder_count(ladder->keys + (size_t)i_line * AMB_LADDER_WIDTH, bound) - 1;
}

/* Keys of the entries of block i, i << shift to (i + 1) << shift, lie in [*base, *base + span]. */
static inline uint32_t amb_ladder_span(int32_t *base, const struct amb_ladder *ladder, uint32_t i) {
    bool end = (uint64_t)(i + 1) << ladder->shift >= ladder->n;

    *base = ladder->keys[i];
    return (uint32_t)((end ? ladder->last : ladder->keys[i + 1]) - *base);
}

/* Bits that a key loses when its distance from the base is put into `spare` bits. */
static inline unsigned amb_ladder_loss(uint32_t span, unsigned spare) {
    unsigned bits = span == 0 ? 0 : 32 - (unsigned)__builtin_clz(span);

    return bits > spare ? bits - spare : 0;
}
