#pragma once
/* Uniform: a sample drawn exactly uniformly, weighted by repeat, from those that admit a level. */
#include <stdint.h>

#include "sampler/orders.h"
#include "sampler/rank.h"

#define AMB_UNIFORM_NONE UINT32_MAX /* no sample admits the level */

/* One draw: Philox(key, block, counter) decides. */
struct amb_uniform {
    double s;
    uint64_t block, counter;
};

/* ids[i] = sample of draws[i], or AMB_UNIFORM_NONE; n <= AMB_RANK_N_MAX. Thread: any. */
void amb_uniform_draw(uint32_t *ids, const struct amb_orders *orders, uint64_t key, const struct amb_uniform *draws,
                      unsigned n);
