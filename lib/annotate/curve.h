#pragma once
/* Curve: the mean probability over log sigma, smooth, from single noisy answers, with its own uncertainty. */
#include <stddef.h>

#define AMB_CURVE_KNOTS_MAX  48u
#define AMB_CURVE_POINTS_MAX 512u

/* One answer: z = log sigma. control: what its noise does by itself, of mean 0 and variance 1; 0: not known. */
struct amb_curve_point {
    double z, p, control;
};

/* A piecewise linear curve with knots at z0 + i * step. */
struct amb_curve {
    double z0, step;
    size_t n_knots;
    double mean[AMB_CURVE_KNOTS_MAX];
    double variance[AMB_CURVE_KNOTS_MAX], covariance[AMB_CURVE_KNOTS_MAX]; /* of a knot; with the next one */
    double slope[AMB_CURVE_KNOTS_MAX];    /* of answers over their control, near the knot */
    double residual[AMB_CURVE_KNOTS_MAX]; /* variance of one answer near the knot beyond its control */
};

/* Knots over [lo, hi]; nothing is known. Thread: any. */
void amb_curve_init(struct amb_curve *curve, double lo, double hi);

/* Fit to all answers. Errors: none; no answer gives 1/2 everywhere. Thread: any; no allocation. */
void amb_curve_apply(struct amb_curve *curve, const struct amb_curve_point *points, size_t n);

/* Mean, variance of that mean, and variance of one answer at z; NULL: not wanted. */
void amb_curve_get(double *mean, double *variance, double *noise, const struct amb_curve *curve, double z);

/* Share of the variance of answers at z that their control does not explain; 1 where none is known. */
double amb_curve_get_unexplained(const struct amb_curve *curve, double z);
