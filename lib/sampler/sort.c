/*
 * Sort: least digit first, three digits of 11 bits; a digit in which all keys agree costs only the counting.
 */
#include "sampler/sort.h"

#include <string.h>

#define SORT_BITS   11u
#define SORT_DIGITS 3u
#define SORT_BINS   (1u << SORT_BITS)

static unsigned sort_digit(uint64_t pair, unsigned i_digit) {
    return (unsigned)(pair >> (32 + SORT_BITS * i_digit)) & (SORT_BINS - 1);
}

uint64_t *amb_sort_pairs(uint64_t *pairs, uint64_t *scratch, uint32_t n) {
    uint32_t bins[SORT_DIGITS][SORT_BINS];

    memset(bins, 0, sizeof bins);
    for (uint32_t i = 0; i < n; i++) {
        for (unsigned d = 0; d < SORT_DIGITS; d++) {
            bins[d][sort_digit(pairs[i], d)]++;
        }
    }
    for (unsigned d = 0; d < SORT_DIGITS; d++) {
        uint32_t sum = 0;
        uint64_t *swap = scratch;

        if (n == 0 || bins[d][sort_digit(pairs[0], d)] == n) {
            continue;
        }
        for (unsigned bin = 0; bin < SORT_BINS; bin++) {
            uint32_t count = bins[d][bin];

            bins[d][bin] = sum;
            sum += count;
        }
        for (uint32_t i = 0; i < n; i++) {
            scratch[bins[d][sort_digit(pairs[i], d)]++] = pairs[i];
        }
        scratch = pairs;
        pairs = swap;
    }
    return pairs;
}
