/*
 * Normals, the reference: Philox and Box-Muller of lib/base, element by element, and apply on vectors of one.
 */
#include "noise/path.h"

#include "base/boxmuller.h"
#include "base/philox.h"

#include "noise/vector-scalar.inc"

/* The counter comes back out of the run, so that nothing here depends on the shortcuts of rounds 1 to 3. */
static void fill(float *out, uint32_t block, size_t n_groups, const struct amb_normal_run *run) {
    uint64_t key = (uint64_t)run->k1[0] << 32 | run->k0[0], high = (uint64_t)run->block_high << 32;

    for (size_t i = 0; i < n_groups; i++, out += AMB_NORMAL_GROUP) {
        for (uint32_t j = 0; j < 16; j++, block++) {
            struct amb_philox_block words = amb_philox(key, high | block, run->counter);
            float pair[2];

            amb_boxmuller(pair, words.w[0], words.w[1]);
            out[j] = pair[0];
            out[j + 16] = pair[1];
            amb_boxmuller(pair, words.w[2], words.w[3]);
            out[j + 32] = pair[0];
            out[j + 48] = pair[1];
        }
    }
}

#include "noise/apply-body.inc"

const struct amb_path_ops amb_path_scalar = {fill, apply, multiply_add, affine, reverse};
