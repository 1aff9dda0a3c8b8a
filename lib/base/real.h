#pragma once
/* Real: f64 functions that decide draws; our own polynomials, so that no libm version changes a byte. */

/*
 * Each uses only + - * / sqrt and fma in one written order: bit-identical on every IEEE 754 machine.
 * Accuracy of each is stated beside its polynomial in real.c and tested against libm and golden values.
 * Thread: any.
 */
double amb_real_log(double x);             /* x > 0; 0 -> -inf, inf -> inf, x < 0 or NaN -> NaN     */
double amb_real_exp(double x);             /* overflow -> inf, underflow -> 0 (subnormals included) */
double amb_real_normal_cdf(double x);      /* Phi(x) = P(N(0,1) < x)                                */
double amb_real_normal_quantile(double p); /* Phi^-1(p), p in [0, 1]; 0 -> -inf, 1 -> inf           */

/*
 * Word to a uniform in the open interval (0, 1): (top 53 bits + 1/2) / 2^53, rounded; the one word that would round
 * up to 1 gives the largest number below it.
 */
static inline double amb_real_uniform(unsigned long long word) {
    double u = ((double)(word >> 11) + 0.5) * 0x1p-53;

    return u < 1 ? u : 0x1.fffffffffffffp-1;
}
