#pragma once
/* Philox: Philox4x32-10, the one source of randomness of the product. */
#include <stdint.h>

/* Salmon, Moraes, Dror, Shaw: Parallel Random Numbers: As Easy as 1, 2, 3 (SC11), table 2 and section 3. */
#define AMB_PHILOX_M0 0xD2511F53u
#define AMB_PHILOX_M1 0xCD9E8D57u
#define AMB_PHILOX_W0 0x9E3779B9u
#define AMB_PHILOX_W1 0xBB67AE85u
#define AMB_PHILOX_ROUNDS 10

struct amb_philox_block {
    uint32_t w[4];
};

/**
 * One block of four words.
 *
 * key:      low half is key word 0, high half is key word 1.
 * block:    counter words 0 (low half) and 1.
 * counter:  counter words 2 (low half) and 3: the draw's k, or a hash of (uid, version).
 * Thread:   any.
 */
static inline struct amb_philox_block amb_philox(uint64_t key, uint64_t block, uint64_t counter) {
    uint32_t x0 = (uint32_t)block, x1 = (uint32_t)(block >> 32);
    uint32_t x2 = (uint32_t)counter, x3 = (uint32_t)(counter >> 32);
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);

    for (int i = 0; i < AMB_PHILOX_ROUNDS; i++) {
        uint64_t p0 = (uint64_t)AMB_PHILOX_M0 * x0, p1 = (uint64_t)AMB_PHILOX_M1 * x2;

        x0 = (uint32_t)(p1 >> 32) ^ x1 ^ k0;
        x2 = (uint32_t)(p0 >> 32) ^ x3 ^ k1;
        x1 = (uint32_t)p1;
        x3 = (uint32_t)p0;
        k0 += AMB_PHILOX_W0;
        k1 += AMB_PHILOX_W1;
    }
    return (struct amb_philox_block){{x0, x1, x2, x3}};
}

/* Words 2i and 2i+1 of a block as one 64-bit word, word 2i low. i: 0 or 1. */
static inline uint64_t amb_philox_u64(const struct amb_philox_block *block, unsigned i) {
    return (uint64_t)block->w[2 * i + 1] << 32 | block->w[2 * i];
}
