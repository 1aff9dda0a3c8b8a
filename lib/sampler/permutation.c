/*
 * Permutation: cycle-walking Feistel network (Black and Rogaway, Ciphers with Arbitrary Finite Domains, CT-RSA 2002).
 *
 * Walking stays a bijection because a permutation of [0, 2^bits) has cycles: who leaves [0, n) comes back to the first
 * member of [0, n) on his cycle. The two halves are of bits/2 and the rest, so a domain is never more than twice n.
 *
 * Not here: any claim of secrecy. The rounds are chosen for statistics (test-permutation.c).
 */
#include "sampler/permutation.h"

#include "base/philox.h"

void amb_permutation_init(struct amb_permutation *out, uint64_t key, uint64_t n) {
    unsigned bits = n < 2 ? 0 : 64 - (unsigned)__builtin_clzll(n - 1);

    out->n = n;
    out->low_bits = bits - bits / 2;
    out->low_mask = (UINT64_C(1) << out->low_bits) - 1;
    out->high_mask = (UINT64_C(1) << (bits / 2)) - 1;
    out->n_rounds = n < AMB_PERMUTATION_SMALL ? AMB_PERMUTATION_ROUNDS_SMALL : AMB_PERMUTATION_ROUNDS;
    for (unsigned i = 0; i < out->n_rounds / 2; i++) {
        struct amb_philox_block block = amb_philox(key, i, 0);

        out->keys[2 * i] = amb_philox_u64(&block, 0);
        out->keys[2 * i + 1] = amb_philox_u64(&block, 1);
    }
}
