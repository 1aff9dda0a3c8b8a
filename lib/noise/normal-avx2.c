/*
 * Normals, AVX2: eight Philox blocks at a time in two sets of four 64-bit lanes.
 *
 * The four words of a block live in the low halves of 64-bit lanes, so the product of mul_epu32 is at once
 * the next low word, with garbage above it that no multiplication reads. Lanes hold the blocks 0 1 4 5 and 2
 * 3 6 7: one shuffle in the last round then packs a word of all eight in natural order. Rounds 1 to 3 are
 * shortened by what all blocks share (path.h).
 */
#include "noise/path.h"

#include "base/philox.h"

#include "noise/vector-avx2.inc"

#include "noise/normal-body.inc"

struct set {
    vi x0, x1, x2, x3;
};

/* What amb_normal_run holds, as vectors: xor then takes them straight from memory. */
struct keys {
    vi k0[AMB_PHILOX_ROUNDS], k1[AMB_PHILOX_ROUNDS];
    vi r1_x2, r2_x0, r2_x2, r3_x2;
};

static inline vi high_half(vi x) {
    return _mm256_shuffle_epi32(x, 0xf5);
}

static inline struct set set_begin(vi block, const struct keys *keys) {
    const vi m0 = v_set_u32(AMB_PHILOX_M0), m1 = v_set_u32(AMB_PHILOX_M1);
    vi p0 = _mm256_mul_epu32(block, m0), p1;
    struct set s;

    p1 = _mm256_mul_epu32(v_xor(high_half(p0), keys->r1_x2), m1);
    s.x0 = v_xor(high_half(p1), keys->r2_x0);
    s.x2 = v_xor(p0, keys->r2_x2);
    s.x1 = p1;
    p0 = _mm256_mul_epu32(s.x0, m0);
    p1 = _mm256_mul_epu32(s.x2, m1);
    s.x0 = v_xor(high_half(p1), v_xor(s.x1, keys->k0[2]));
    s.x2 = v_xor(high_half(p0), keys->r3_x2);
    s.x1 = p1;
    s.x3 = p0;
    return s;
}

static inline void set_round(struct set *s, vi k0, vi k1) {
    vi p0 = _mm256_mul_epu32(s->x0, v_set_u32(AMB_PHILOX_M0));
    vi p1 = _mm256_mul_epu32(s->x2, v_set_u32(AMB_PHILOX_M1));

    s->x0 = v_xor(high_half(p1), v_xor(s->x1, k0));
    s->x2 = v_xor(high_half(p0), v_xor(s->x3, k1));
    s->x1 = p1;
    s->x3 = p0;
}

/* The low (or high) halves of both sets' lanes, in the order of the blocks. */
#define PACK(a, b, pick) v_bits(_mm256_shuffle_ps(v_from_bits(a), v_from_bits(b), pick))
#define LOW              0x88
#define HIGH             0xdd

static inline void eight_blocks(float *out, vi block, const struct keys *keys) {
    const vi m0 = v_set_u32(AMB_PHILOX_M0), m1 = v_set_u32(AMB_PHILOX_M1);
    struct set a = set_begin(block, keys), b = set_begin(_mm256_add_epi32(block, v_set_u32(2)), keys);
    vi a0, a1, b0, b1, w0, w1, w2, w3;

    for (int i = 3; i < AMB_PHILOX_ROUNDS - 1; i++) {
        set_round(&a, keys->k0[i], keys->k1[i]);
        set_round(&b, keys->k0[i], keys->k1[i]);
    }
    a0 = _mm256_mul_epu32(a.x0, m0);
    a1 = _mm256_mul_epu32(a.x2, m1);
    b0 = _mm256_mul_epu32(b.x0, m0);
    b1 = _mm256_mul_epu32(b.x2, m1);
    w0 = v_xor(PACK(a1, b1, HIGH), v_xor(PACK(a.x1, b.x1, LOW), keys->k0[9]));
    w1 = PACK(a1, b1, LOW);
    w2 = v_xor(PACK(a0, b0, HIGH), v_xor(PACK(a.x3, b.x3, LOW), keys->k1[9]));
    w3 = PACK(a0, b0, LOW);
    normal_pair(out, 16, w0, w1);
    normal_pair(out + 32, 16, w2, w3);
}

static void fill(float *out, uint32_t block, size_t n_groups, const struct amb_normal_run *run) {
    struct keys keys = {
        .r1_x2 = v_set_u32(run->r1_x2),
        .r2_x0 = v_set_u32(run->r2_x0),
        .r2_x2 = v_set_u32(run->r2_x2),
        .r3_x2 = v_set_u32(run->r3_x2),
    };
    vi first = _mm256_add_epi32(v_set_u32(block), _mm256_setr_epi32(0, 0, 1, 0, 4, 0, 5, 0));

    for (unsigned i = 0; i < AMB_PHILOX_ROUNDS; i++) {
        keys.k0[i] = v_set_u32(run->k0[i]);
        keys.k1[i] = v_set_u32(run->k1[i]);
    }
    for (size_t i = 0; i < n_groups; i++, out += AMB_NORMAL_GROUP) {
        eight_blocks(out, first, &keys);
        eight_blocks(out + 8, _mm256_add_epi32(first, v_set_u32(8)), &keys);
        first = _mm256_add_epi32(first, v_set_u32(16));
    }
}

#include "noise/apply-body.inc"

const struct amb_path_ops amb_path_avx2 = {fill, apply, multiply_add, affine, reverse};
