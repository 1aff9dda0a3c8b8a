#pragma once
/* Permutation: a keyed bijection of [0, n) that stores nothing but its round keys. */
#include <stdint.h>

#define AMB_PERMUTATION_ROUNDS       8u    /* even; measured by test-permutation.c */
#define AMB_PERMUTATION_ROUNDS_SMALL 24u   /* small domains mix slowly: 8 rounds are visibly uneven for n <= 8 */
#define AMB_PERMUTATION_SMALL        1024u /* domains below this are small; not tuned */

struct amb_permutation {
    uint64_t n, low_mask, high_mask;
    unsigned low_bits, n_rounds;
    uint64_t keys[AMB_PERMUTATION_ROUNDS_SMALL];
};

/* A bijection of [0, n), 1 <= n <= 2^63. Philox(key, block i, counter 0) gives round keys 2i and 2i+1. Thread: any. */
void amb_permutation_init(struct amb_permutation *out, uint64_t key, uint64_t n);

/* One Feistel round: 32 bits that depend on every bit of half and key. */
static inline uint64_t amb_permutation_mix(uint64_t half, uint64_t key) {
    uint64_t x = (half ^ key) * UINT64_C(0x9E3779B97F4A7C15);

    x ^= x >> 32;
    return (x * UINT64_C(0xD6E8FEB86659FD93)) >> 32;
}

/**
 * Where i < n goes: a Feistel network over the least power of two that holds n, walked until it falls below n.
 *
 * Fewer than two evaluations on average. Thread: any.
 */
static inline uint64_t amb_permutation_get(const struct amb_permutation *p, uint64_t i) {
    do {
        uint64_t low = i & p->low_mask, high = i >> p->low_bits;

        for (unsigned r = 0; r < p->n_rounds; r += 2) {
            high ^= amb_permutation_mix(low, p->keys[r]) & p->high_mask;
            low ^= amb_permutation_mix(high, p->keys[r + 1]) & p->low_mask;
        }
        i = high << p->low_bits | low;
    } while (i >= p->n);
    return i;
}
