/*
 * Normals, AVX-512: one group of sixteen Philox blocks at a time in two sets of eight 64-bit lanes.
 *
 * As normal-avx2.c, with three-way xor. Lanes hold the blocks 0 1 4 5 8 9 12 13 and 2 3 6 7 10 11 14 15.
 */
#include "noise/path.h"

#include "base/philox.h"

#include "noise/vector-avx512.inc"

#include "noise/normal-body.inc"

struct set {
    vi x0, x1, x2, x3;
};

static inline vi high_half(vi x) {
    return _mm512_srli_epi64(x, 32);
}

static inline vi xor3(vi a, vi b, vi c) {
    return _mm512_ternarylogic_epi32(a, b, c, 0x96);
}

static inline struct set set_begin(vi block, const struct amb_normal_run *run) {
    const vi m0 = v_set_u32(AMB_PHILOX_M0), m1 = v_set_u32(AMB_PHILOX_M1);
    vi p0 = _mm512_mul_epu32(block, m0), p1;
    struct set s;

    p1 = _mm512_mul_epu32(v_xor(high_half(p0), v_set_u32(run->r1_x2)), m1);
    s.x0 = v_xor(high_half(p1), v_set_u32(run->r2_x0));
    s.x2 = v_xor(p0, v_set_u32(run->r2_x2));
    s.x1 = p1;
    p0 = _mm512_mul_epu32(s.x0, m0);
    p1 = _mm512_mul_epu32(s.x2, m1);
    s.x0 = xor3(high_half(p1), s.x1, v_set_u32(run->k0[2]));
    s.x2 = v_xor(high_half(p0), v_set_u32(run->r3_x2));
    s.x1 = p1;
    s.x3 = p0;
    return s;
}

static inline void set_round(struct set *s, vi k0, vi k1) {
    vi p0 = _mm512_mul_epu32(s->x0, v_set_u32(AMB_PHILOX_M0));
    vi p1 = _mm512_mul_epu32(s->x2, v_set_u32(AMB_PHILOX_M1));

    s->x0 = xor3(high_half(p1), s->x1, k0);
    s->x2 = xor3(high_half(p0), s->x3, k1);
    s->x1 = p1;
    s->x3 = p0;
}

#define PACK(a, b, pick) v_bits(_mm512_shuffle_ps(v_from_bits(a), v_from_bits(b), pick))
#define LOW              0x88
#define HIGH             0xdd

static inline void sixteen_blocks(float *out, vi block, const struct amb_normal_run *run) {
    const vi m0 = v_set_u32(AMB_PHILOX_M0), m1 = v_set_u32(AMB_PHILOX_M1);
    struct set a = set_begin(block, run), b = set_begin(_mm512_add_epi32(block, v_set_u32(2)), run);
    vi a0, a1, b0, b1, w0, w1, w2, w3;

    for (int i = 3; i < AMB_PHILOX_ROUNDS - 1; i++) {
        vi k0 = v_set_u32(run->k0[i]), k1 = v_set_u32(run->k1[i]);

        set_round(&a, k0, k1);
        set_round(&b, k0, k1);
    }
    a0 = _mm512_mul_epu32(a.x0, m0);
    a1 = _mm512_mul_epu32(a.x2, m1);
    b0 = _mm512_mul_epu32(b.x0, m0);
    b1 = _mm512_mul_epu32(b.x2, m1);
    w0 = xor3(PACK(a1, b1, HIGH), PACK(a.x1, b.x1, LOW), v_set_u32(run->k0[9]));
    w1 = PACK(a1, b1, LOW);
    w2 = xor3(PACK(a0, b0, HIGH), PACK(a.x3, b.x3, LOW), v_set_u32(run->k1[9]));
    w3 = PACK(a0, b0, LOW);
    normal_pair(out, 16, w0, w1);
    normal_pair(out + 32, 16, w2, w3);
}

static void fill(float *out, uint32_t block, size_t n_groups, const struct amb_normal_run *run) {
    vi first = _mm512_add_epi32(v_set_u32(block),
                                _mm512_setr_epi32(0, 0, 1, 0, 4, 0, 5, 0, 8, 0, 9, 0, 12, 0, 13, 0));

    for (size_t i = 0; i < n_groups; i++, out += AMB_NORMAL_GROUP) {
        sixteen_blocks(out, first, run);
        first = _mm512_add_epi32(first, v_set_u32(16));
    }
}

#include "noise/apply-body.inc"

const struct amb_path_ops amb_path_avx512 = {fill, apply, multiply_add, affine, reverse};
