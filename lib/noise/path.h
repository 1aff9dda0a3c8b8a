#pragma once
/* Path: the kernels of one instruction set; inside the noise folder only. */
#include <stddef.h>
#include <stdint.h>

#include "base/image.h"
#include "noise/apply.h"
#include "noise/normal.h"

/* What all Philox blocks of one call share, and what rounds 1 to 3 therefore need not compute per block. */
struct amb_normal_run {
    uint64_t counter;        /* words 2 and 3 of every block's counter                            */
    uint32_t block_high;     /* word 1                                                            */
    uint32_t k0[10], k1[10]; /* round keys                                                        */
    uint32_t r1_x2;          /* round 1: x2 = hi(M0 x0) ^ this; x0 and x1 are the same in all     */
    uint32_t r2_x0, r2_x2;   /* round 2: x0 = hi(M1 x2) ^ this, x2 = lo(M0 x0 of round 1) ^ this  */
    uint32_t r3_x2;          /* round 3: x2 = hi(M0 x0) ^ this                                    */
};

/* Coefficients in f32 and fields of one job. A term whose coefficient is 0 is left out; see apply.c. */
struct amb_apply_plan {
    float alpha_n, tn, a, b, minus_alpha_t, t;
    bool with_b; /* b != 0                 */
    bool with_a; /* a != 0                 */
    bool with_t; /* t != 0, else noise = e */
    enum amb_dtype dtype[4];
};

enum { AMB_APPLY_X_T, AMB_APPLY_X_TN, AMB_APPLY_X0, AMB_APPLY_NOISE, AMB_APPLY_N };

/* A run of elements: all pointers at its first one, in the order of the output. */
struct amb_apply_run {
    const struct amb_apply_plan *plan;
    const uint8_t *u8; /* or */
    const float *x;
    const float *n_i, *e;   /* NULL where not needed */
    void *out[AMB_APPLY_N]; /* NULL: not asked for */
    size_t n;
};

struct amb_path_ops {
    /* n_groups groups of 64 from Philox block (run->block_high, block) on */
    void (*fill)(float *out, uint32_t block, size_t n_groups, const struct amb_normal_run *run);
    void (*apply)(const struct amb_apply_run *run);
    void (*multiply_add)(float *x, const float *a, const float *b, size_t n); /* x = fma(a, b, x)         */
    void (*affine)(float *x, float scale, float shift, size_t n);             /* x = fma(x, scale, shift) */
    void (*reverse)(float *out, const float *in, size_t n);                   /* out[i] = in[n - 1 - i]   */
};

extern const struct amb_path_ops amb_path_scalar;
extern const struct amb_path_ops amb_path_avx2;
extern const struct amb_path_ops amb_path_avx512;
extern const struct amb_path_ops amb_path_neon;

/* Kernels of the path in use. */
const struct amb_path_ops *amb_path_ops_get(void);
