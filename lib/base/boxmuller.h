#pragma once
/* Boxmuller: two 32-bit words -> two standard normals, in f32, in one written order of operations. */
#include <math.h>
#include <stdint.h>
#include <string.h>

/*
 * The definition of the product's noise; every vector path and every client must give these bits
 * (proto/noise.md). FMA is one rounding. No operation may be reordered, fused or approximated beyond what is
 * written here.
 *
 *   v  = f32(i32(w0))                      31 bits of radius, u = |v| / 2^31, and a sign
 *   y  = fma(v, v, 1/16)                   u^2 2^62; the 1/16 stands in for the middle of the cell of v = 0
 *   y  = m 2^(62 + k), m in [2/3, 4/3)     by integer arithmetic on the bits of y
 *   R2 = -ln(m 2^k) = -2 ln u              fma(f, Q(f), -k ln 2), f = m - 1
 *   r  = sqrt(R2) with the sign bit of w0
 *   x  = f32(i32(w1)) 2^-32                half a turn, [-1/2, 1/2]: the sign of r makes it a whole one
 *   out[0] = r cos(pi x), out[1] = r sin(pi x)
 *
 * Largest error of each polynomial, coefficients as rounded, over every f32 of its range (test-boxmuller.c):
 *   Q     relative error of -2 ln u < 1.2e-7 (so of r < 6e-8); together with all roundings < 2.3e-7
 *   sin   relative error < 2.9e-8, with roundings < 1.5e-7
 *   cos   absolute error < 5.5e-8, with roundings < 1.5e-7
 * The roundings of v and y move u by at most 2^-25 + 2^-26 of itself.
 *
 * Range: |out| <= sqrt(66 ln 2) = 6.764. r is 0 where |v| rounds to 2^31 (6e-8 of all pairs): nothing is inf
 * or NaN, and nothing but that zero is below 2^-63, so flushing of subnormals would change nothing.
 */
#define AMB_BM_CELL     0x1p-4f     /* 1/16 */
#define AMB_BM_LOG_BASE 0x5e2aaaabu /* bits of 2/3 * 2^62: where the exponent of y counts from */
#define AMB_BM_LOG_MASK 0xff800000u /* sign and exponent */
#define AMB_BM_LOG_UNIT 0x1p-62f
#define AMB_BM_LOG_LN2  -0x1.62e430p-24f /* -ln 2 * 2^-23: the exponent field is used where it stands */

/* Q(f) = -ln(1 + f) / f on [-1/3, 1/3] */
#define AMB_BM_Q0 -0x1.000000p+0f
#define AMB_BM_Q1 0x1.fffebap-2f
#define AMB_BM_Q2 -0x1.55613cp-2f
#define AMB_BM_Q3 0x1.0048b0p-2f
#define AMB_BM_Q4 -0x1.954570p-3f
#define AMB_BM_Q5 0x1.4a752cp-3f
#define AMB_BM_Q6 -0x1.5f9e28p-3f
#define AMB_BM_Q7 0x1.543872p-3f

#define AMB_BM_SIGN       0x80000000u
#define AMB_BM_ANGLE_UNIT 0x1p-32f

/* S(z) = sin(pi x) / x and C(z) = cos(pi x), z = x^2 on [0, 1/4] */
#define AMB_BM_S0 0x1.921fb6p+1f
#define AMB_BM_S1 -0x1.4abbd8p+2f
#define AMB_BM_S2 0x1.466b28p+1f
#define AMB_BM_S3 -0x1.328054p-1f
#define AMB_BM_S4 0x1.407fa8p-4f
#define AMB_BM_C0 0x1.000000p+0f
#define AMB_BM_C1 -0x1.3bd3b0p+2f
#define AMB_BM_C2 0x1.03bd9ap+2f
#define AMB_BM_C3 -0x1.55020ap+0f
#define AMB_BM_C4 0x1.c29304p-3f

/* -2 ln(|v| / 2^31). Thread: any. */
static inline float amb_boxmuller_log(float v) {
    float y = fmaf(v, v, AMB_BM_CELL), f, q;
    uint32_t bits, k;

    memcpy(&bits, &y, sizeof bits);
    k = (bits - AMB_BM_LOG_BASE) & AMB_BM_LOG_MASK;
    bits -= k;
    memcpy(&f, &bits, sizeof f);
    f = fmaf(f, AMB_BM_LOG_UNIT, -1.0f);
    q = fmaf(AMB_BM_Q7, f, AMB_BM_Q6);
    q = fmaf(q, f, AMB_BM_Q5);
    q = fmaf(q, f, AMB_BM_Q4);
    q = fmaf(q, f, AMB_BM_Q3);
    q = fmaf(q, f, AMB_BM_Q2);
    q = fmaf(q, f, AMB_BM_Q1);
    q = fmaf(q, f, AMB_BM_Q0);
    return fmaf(f, q, (float)(int32_t)k * AMB_BM_LOG_LN2);
}

/* cos(pi x) and sin(pi x) / x for |x| <= 1/2. Thread: any. */
static inline void amb_boxmuller_turn(float *cos_out, float *sinx_out, float x) {
    float z = x * x, s, c;

    s = fmaf(AMB_BM_S4, z, AMB_BM_S3);
    s = fmaf(s, z, AMB_BM_S2);
    s = fmaf(s, z, AMB_BM_S1);
    s = fmaf(s, z, AMB_BM_S0);
    c = fmaf(AMB_BM_C4, z, AMB_BM_C3);
    c = fmaf(c, z, AMB_BM_C2);
    c = fmaf(c, z, AMB_BM_C1);
    c = fmaf(c, z, AMB_BM_C0);
    *sinx_out = s;
    *cos_out = c;
}

/* The reference. Thread: any. */
static inline void amb_boxmuller(float out[2], uint32_t w0, uint32_t w1) {
    float r = sqrtf(amb_boxmuller_log((float)(int32_t)w0));
    float x = (float)(int32_t)w1 * AMB_BM_ANGLE_UNIT, c, s;

    r = (w0 & AMB_BM_SIGN) != 0 ? -r : r;
    amb_boxmuller_turn(&c, &s, x);
    out[0] = r * c;
    out[1] = (r * x) * s;
}
