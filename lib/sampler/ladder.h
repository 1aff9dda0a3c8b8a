#pragma once
/* Ladder: every 2^shift-th key of a sorted list, 16 to a rung, so that a search touches a few cache lines. */
#include <stddef.h>
#include <stdint.h>

#define AMB_LADDER_RUNGS 8u  /* 16^8 = 2^32 */
#define AMB_LADDER_WIDTH 16u /* keys of one cache line */

struct amb_ladder {
    int32_t *keys;     /* owned; rung 0 is the finest */
    uint32_t n;        /* entries of the list */
    unsigned shift;
    unsigned n_rungs;  /* 0: the list is empty */
    uint32_t rungs[AMB_LADDER_RUNGS]; /* where each rung begins in keys */
    uint32_t n_keys;   /* of all rungs, padding included */
};

#define AMB_LADDER_NULL ((struct amb_ladder){0})

/* pairs: n sorted words whose high halves are the keys, 0 <= key < INT32_MAX. 0 or -ENOMEM. */
int amb_ladder_init(struct amb_ladder *out, const uint64_t *pairs, uint32_t n, unsigned shift);
void amb_ladder_deinit(struct amb_ladder *ladder); /* idempotent */

static inline uint32_t amb_ladder_count(const int32_t *rung, int32_t bound) {
    uint32_t n = 0;

    for (unsigned i = 0; i < AMB_LADDER_WIDTH; i++) {
        n += rung[i] <= bound;
    }
    return n;
}

/* The number of keys <= bound lies in [*lo, *hi], *hi - *lo < 2^shift. bound may be -1. Thread: any. */
static inline void amb_ladder_get(uint32_t *lo, uint32_t *hi, const struct amb_ladder *ladder, int32_t bound) {
    uint32_t i = 0;

    for (unsigned r = ladder->n_rungs; r-- > 0;) {
        uint32_t n = amb_ladder_count(ladder->keys + ladder->rungs[r] + (size_t)i * AMB_LADDER_WIDTH, bound);

        if (n == 0) { /* only on the highest rung: on a lower one the first key was counted above */
            *lo = 0;
            *hi = 0;
            return;
        }
        i = i * AMB_LADDER_WIDTH + n - 1;
    }
    *lo = ladder->n_rungs == 0 ? 0 : (i << ladder->shift) + 1;
    *hi = ladder->n_rungs == 0 ? 0
          : (uint64_t)(i + 1) << ladder->shift < ladder->n ? (i + 1) << ladder->shift : ladder->n;
}
