#pragma once
/* Permutation: a keyed bijection of [0, n) that stores nothing but its round keys. */
#include <stdint.h>

#define AMB_PERMUTATION_ROUNDS 8u /* even; see test-permutation.c for what they are good for */

struct amb_permutation {
    uint64_t keys[AMB_PERMUTATION_ROUNDS];
};

/* Round keys from one key: Philox(key, block i, counter 0) gives keys 2i and 2i+1. Thread: any. */
void amb_permutation_init(struct amb_permutation *out, uint64_t key);

/* One Feistel round: 32 bits that depend on every bit of half and key. */
static inline uint64_t amb_permutation_mix(uint64_t half, uint64_t key) {
    uint64_t x = (half ^ key) * UINT64_C(0x9E3779B97F4A7C15);

    x ^= x >> 32;
    return (x * UINT64_C(0xD6E8FEB86659FD93)) >> 32;
}

/**
 * Where i goes: a Feistel network over the least power of two that holds n, walked until it falls below n.
 *
 * i < n, n >= 1, n <= 2^63. Fewer than two evaluations on average. Thread: any.
 */
static inline uint64_t amb_permutation_get(const struct amb_permutation *p, uint64_t n, uint64_t i) {
    unsigned bits = n < 2 ? 0 : 64 - (unsigned)__builtin_clzll(n - 1);
    unsigned low_bits = bits - bits / 2;
    uint64_t low_mask = (UINT64_C(1) << low_bits) - 1, high_mask = (UINT64_C(1) << (bits / 2)) - 1;

    do {
        uint64_t low = i & low_mask, high = i >> low_bits;

        for (unsigned r = 0; r < AMB_PERMUTATION_ROUNDS; r += 2) {
            high ^= amb_permutation_mix(low, p->keys[r]) & high_mask;
            low ^= amb_permutation_mix(high, p->keys[r + 1]) & low_mask;
        }
        i = high << low_bits | low;
    } while (i >= n);
    return i;
}
