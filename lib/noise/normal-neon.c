/*
 * Normals, aarch64 Advanced SIMD: four Philox blocks at a time, one vector for each of the block's four
 * words.
 *
 * vmull gives 64-bit products of two lanes; vuzp parts low from high halves and puts the four lanes in order.
 */
#include "noise/path.h"

#include "base/philox.h"

#include "noise/vector-neon.inc"

#include "noise/normal-body.inc"

static inline void multiply(vi *high, vi *low, vi x, uint32_t m) {
    vi first = vreinterpretq_u32_u64(vmull_n_u32(vget_low_u32(x), m));
    vi second = vreinterpretq_u32_u64(vmull_high_n_u32(x, m));

    *low = vuzp1q_u32(first, second);
    *high = vuzp2q_u32(first, second);
}

static inline void four_blocks(float *out, vi block, const struct amb_normal_run *run) {
    vi x0, x1, x2, x3, h0, h1, l0, l1;

    multiply(&h0, &l0, block, AMB_PHILOX_M0);
    multiply(&h1, &l1, v_xor(h0, v_set_u32(run->r1_x2)), AMB_PHILOX_M1);
    x0 = v_xor(h1, v_set_u32(run->r2_x0));
    x1 = l1;
    x2 = v_xor(l0, v_set_u32(run->r2_x2));
    multiply(&h0, &l0, x0, AMB_PHILOX_M0);
    multiply(&h1, &l1, x2, AMB_PHILOX_M1);
    x0 = v_xor(h1, v_xor(x1, v_set_u32(run->k0[2])));
    x1 = l1;
    x2 = v_xor(h0, v_set_u32(run->r3_x2));
    x3 = l0;
    for (int i = 3; i < AMB_PHILOX_ROUNDS; i++) {
        multiply(&h0, &l0, x0, AMB_PHILOX_M0);
        multiply(&h1, &l1, x2, AMB_PHILOX_M1);
        x0 = v_xor(h1, v_xor(x1, v_set_u32(run->k0[i])));
        x1 = l1;
        x2 = v_xor(h0, v_xor(x3, v_set_u32(run->k1[i])));
        x3 = l0;
    }
    normal_pair(out, 16, x0, x1);
    normal_pair(out + 32, 16, x2, x3);
}

static void fill(float *out, uint32_t block, size_t n_groups, const struct amb_normal_run *run) {
    static const uint32_t lanes[V_LANES] = {0, 1, 2, 3};
    vi first = vaddq_u32(vdupq_n_u32(block), vld1q_u32(lanes));

    for (size_t i = 0; i < n_groups; i++, out += AMB_NORMAL_GROUP) {
        for (size_t j = 0; j < 16; j += V_LANES) {
            four_blocks(out + j, first, run);
            first = vaddq_u32(first, vdupq_n_u32(V_LANES));
        }
    }
}

#include "noise/apply-body.inc"

const struct amb_path_ops amb_path_neon = {fill, apply, multiply_add, affine, reverse};
