#pragma once
/* Key: the order of levels in integers, in which the two lists are sorted and searched. */
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "annotate/annotations.h"

/*
 * Levels are not negative, so their bit patterns order as they do. In list 1 a sample has key 0 if it admits every s
 * and 1 + bits(sigma_min) otherwise; in list 2 bits(inf) - bits(sigma_max). `bound` of s is the largest key of an
 * entry that admits s: a(s) and b(s) count keys <= bound. Comparisons are exact: f64 s against (double)sigma_min * buffer.
 */
#define AMB_KEY_INF  INT32_C(0x7f800000) /* bits of +inf */
#define AMB_KEY_NONE INT32_MAX           /* not in this list */

static inline int32_t amb_key_bits(float level) {
    int32_t bits;

    memcpy(&bits, &level, sizeof bits);
    return bits;
}

static inline float amb_key_level(int32_t bits) {
    float level;

    memcpy(&level, &bits, sizeof level);
    return level;
}

static inline double amb_key_m(struct amb_annotation value, double buffer) {
    return (double)value.sigma_min * buffer;
}

static inline bool amb_key_everywhere(struct amb_annotation value, double buffer) {
    return (double)value.sigma_max > amb_key_m(value, buffer);
}

/* True if a sample may be used at s. */
static inline bool amb_key_admits(struct amb_annotation value, double buffer, double s) {
    return s > amb_key_m(value, buffer) || s < (double)value.sigma_max;
}

static inline int32_t amb_key_of_min(struct amb_annotation value, double buffer) {
    if (amb_key_everywhere(value, buffer)) {
        return 0;
    }
    return isinf(value.sigma_min) ? AMB_KEY_NONE : amb_key_bits(value.sigma_min + 0.0f) + 1; /* -0 is 0 */
}

static inline int32_t amb_key_of_max(struct amb_annotation value, double buffer) {
    return amb_key_everywhere(value, buffer) || !(value.sigma_max > 0) ? AMB_KEY_NONE
                                                                      : AMB_KEY_INF - amb_key_bits(value.sigma_max);
}

/* s >= 0, also inf. The quotient is at most an ulp off; the loops settle it against the exact product. */
static inline int32_t amb_key_bound_min(double s, double buffer) {
    double quotient = s / buffer;
    int32_t bits = quotient < (double)__FLT_MAX__ ? amb_key_bits((float)quotient + 0.0f) : AMB_KEY_INF - 1;

    if (!(s > 0)) {
        return 0;
    }
    while (bits >= 0 && !((double)amb_key_level(bits) * buffer < s)) {
        bits--;
    }
    while (bits + 1 < AMB_KEY_INF && (double)amb_key_level(bits + 1) * buffer < s) {
        bits++;
    }
    return bits + 1;
}

static inline int32_t amb_key_bound_max(double s) {
    int32_t bits = s <= (double)__FLT_MAX__ ? amb_key_bits((float)s + 0.0f) : AMB_KEY_INF - (isinf(s) ? 0 : 1);

    while (bits > 0 && (double)amb_key_level(bits) > s) { /* the largest f32 <= s */
        bits--;
    }
    return AMB_KEY_INF - bits - 1;
}
