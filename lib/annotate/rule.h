#pragma once
/* Rule: from what a model says of a sample to its sigma_min and sigma_max (arXiv 2506.10038; DESIGN section 5). */
#include <stddef.h>

#define AMB_RULE_EPSILON        0.05 /* of the published annotations */
#define AMB_RULE_SPAN           32u  /* of the published annotations */
#define AMB_RULE_CROP_THRESHOLD 0.25 /* DESIGN section 5 */
#define AMB_RULE_CROPS_N        8u

/* Patch size -> sigma_max: below it a patch of this size sees all that the network looks at. Rising in both. */
struct amb_rule_crop {
    unsigned size; /* pixels */
    double sigma_max;
};
extern const struct amb_rule_crop amb_rule_crops[AMB_RULE_CROPS_N];

/* Index of a patch size in amb_rule_crops, or -1. Thread: any. */
int amb_rule_crop_find(unsigned size);

/* EMA in place: e_0 = p_0, e_i = e_{i-1} + 2/(span+1) (p_i - e_{i-1}). span >= 1. Thread: any. */
void amb_rule_smooth(double *p, size_t n, unsigned span);

/* First sigma whose smoothed p is below 0.5 + epsilon, else the last. n >= 1; sigmas rise. Thread: any. */
double amb_rule_sigma_min(const double *smoothed, const double *sigmas, size_t n, double epsilon);

/**
 * sigma_max of the largest patch size whose q is above the threshold, else that of size 1.
 *
 * q:      for each row of amb_rule_crops the mean over patches of P(target); NaN where that size was not asked.
 * sigmas: sigma_max of each row; NULL: those of amb_rule_crops.
 * Thread: any.
 */
double amb_rule_sigma_max(const double q[AMB_RULE_CROPS_N], const double *sigmas, double threshold);
