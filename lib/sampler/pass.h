#pragma once
/* Pass: walks through the places of each interval, from the cursors of a state. */
#include <stdint.h>

#include "sampler/orders.h"
#include "sampler/permutation.h"
#include "sampler/state.h"

#define AMB_PASS_SPARSE UINT32_MAX /* no admissible entry among the next AMB_SAMPLER_SPARSE places */

#define AMB_PASS_AHEAD  16u /* places looked up at once, so that their cache misses overlap; measured */
#define AMB_PASS_EXTRAS 16u /* bijections of extra places kept; not tuned */

/* Looked-up places behind the cursor of one interval. */
struct amb_pass_lane {
    struct amb_permutation permutation; /* of pass `pass` */
    uint64_t pass;
    uint32_t ids[AMB_PASS_AHEAD];
    uint16_t from_max; /* bit i: place i is of list 2 */
    uint16_t i, n;
};

struct amb_pass_extra {
    struct amb_permutation permutation; /* of pass `pass`, source i_part and as many entries as an interval has of it */
    uint64_t pass;
    uint32_t i_part;
};

/* What one call of amb_sampler_draw keeps while it walks; nothing in it decides a draw. */
struct amb_pass {
    const struct amb_orders *orders;
    uint64_t seed;
    uint64_t lanes_ready;  /* bit i: lanes[i] holds something */
    uint32_t extras_ready; /* bit i: extras[i] holds something */
    struct amb_pass_lane lanes[AMB_INTERVALS_MAX];
    struct amb_pass_extra extras[AMB_PASS_EXTRAS];
};

/* orders is borrowed while the pass is in use. Thread: any. */
void amb_pass_init(struct amb_pass *pass, const struct amb_orders *orders, uint64_t seed);


/**
 * Walk to the next entry that admits s and leave the cursor of its interval behind it.
 *
 * Returns: the sample, or AMB_PASS_SPARSE.
 */
uint32_t amb_pass_draw(struct amb_pass *pass, struct amb_cursor *cursors, double s);
