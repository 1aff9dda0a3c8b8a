#pragma once
/* Rank: a(s) and b(s), the numbers of entries of a list that admit a level, for many levels at once. */
#include <stdint.h>

#include "sampler/orders.h"

#define AMB_RANK_N_MAX 32u /* levels a call: about as many cache misses as a core keeps in flight, twice */

/* counts[i] = number of entries of the list that admit s[i], i < n <= AMB_RANK_N_MAX. Thread: any. */
void amb_rank_get(uint32_t *counts, const struct amb_orders *orders, uint32_t i_part, enum amb_orders_which which,
                  const double *s, unsigned n);

/* The same for both lists of a source, in less time than one after the other. */
void amb_rank_get_both(uint32_t *by_min, uint32_t *by_max, const struct amb_orders *orders, uint32_t i_part,
                       const double *s, unsigned n);
