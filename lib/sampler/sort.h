#pragma once
/* Sort: radix sort of (key, sample) pairs, stable. */
#include <stdint.h>

/* Sort n words by their high halves, keys from 0 to INT32_MAX; `scratch` holds as many. Returns where they lie: one of
 * the two arrays. Thread: any. */
uint64_t *amb_sort_pairs(uint64_t *pairs, uint64_t *scratch, uint32_t n);
