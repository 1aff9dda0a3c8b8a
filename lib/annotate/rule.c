/*
 * Rule: the published way from probabilities to an annotation, in f64 and in the published order of operations.
 *
 * The classifier answers "how likely is this sample of low quality, seen through noise sigma". Smoothed along the
 * grid, the first sigma at which it can no longer tell is where the sample becomes usable. The table of crops is
 * the receptive field that denoising needs at a noise level, turned round: a patch that fools the model at size N
 * is as good as a clean one below that level.
 *
 * Not here: running models, and reading probabilities from files (record.c).
 */
#include "annotate/rule.h"

#include <assert.h>

const struct amb_rule_crop amb_rule_crops[AMB_RULE_CROPS_N] = {
    {1, 0.01}, {4, 0.05}, {8, 0.15}, {16, 0.2}, {24, 0.35}, {32, 0.55}, {48, 0.7}, {64, 1.0},
};

int amb_rule_crop_find(unsigned size) {
    for (unsigned i = 0; i < AMB_RULE_CROPS_N; i++) {
        if (amb_rule_crops[i].size == size) {
            return (int)i;
        }
    }
    return -1;
}

void amb_rule_smooth(double *p, size_t n, unsigned span) {
    const double weight = 2.0 / ((double)span + 1.0);

    assert(span >= 1);
    for (size_t i = 1; i < n; i++) {
        p[i] = p[i - 1] + weight * (p[i] - p[i - 1]);
    }
}

double amb_rule_sigma_min(const double *smoothed, const double *sigmas, size_t n, double epsilon) {
    assert(n >= 1);
    for (size_t i = 0; i < n; i++) {
        if (smoothed[i] < 0.5 + epsilon) {
            return sigmas[i];
        }
    }
    return sigmas[n - 1];
}

double amb_rule_sigma_max(const double q[AMB_RULE_CROPS_N], const double *sigmas, double threshold) {
    unsigned row = 0;

    for (unsigned i = AMB_RULE_CROPS_N; i-- > 1 && row == 0;) {
        row = q[i] > threshold ? i : 0; /* false for NaN: not asked */
    }
    return sigmas != NULL ? sigmas[row] : amb_rule_crops[row].sigma_max;
}
