/*
 * Curve: least squares with a penalty on second differences (Eilers and Marx's P-splines, degree 1), weighed by the
 * answers' own variance, which is estimated along the curve too.
 *
 * The penalty is a prior: second differences are normal with standard deviation SECOND_SD, the level with 1/2 +- 1. So
 * the inverse of the normal matrix is the covariance of the curve, which tells where one knows little. What is fitted
 * is p itself and not its logit: the rule averages p.
 *
 * Answers at low sigma hardly vary, since the model sees almost the same picture each time; there the curve goes
 * through them. Where it matters single answers vary by 0.1 to 0.25, but for what their control explains: its slope is
 * estimated along the curve from the residuals, by turns with the curve, and taken out of the answers.
 */
#include "annotate/curve.h"

#include <math.h>
#include <string.h>

#define STEP         0.2  /* of log sigma between knots; 0.15 to 0.3 are alike */
#define SECOND_SD    0.03 /* of a second difference over STEP; 0.02 biases by 0.03, 0.05 varies more */
#define LEVEL_SD     1.0
#define SLOPE_SD     0.3  /* of a first difference */
#define NOISE_MIN    4e-4 /* an answer is not trusted to better than 0.02 */
#define NOISE_PRIOR  0.08 /* of m (1 - m): NOISE_WEIGHT answers' worth */
#define NOISE_WEIGHT 3.0
#define SLOPE_WEIGHT 3.0 /* answers' worth of a slope of 0 */
#define NOISE_REACH  3u  /* knots: how far an answer tells of variance and slope */
#define ITERATIONS   5

void amb_curve_init(struct amb_curve *curve, double lo, double hi) {
    double step = STEP;

    if ((hi - lo) / step > AMB_CURVE_KNOTS_MAX - 2) {
        step = (hi - lo) / (AMB_CURVE_KNOTS_MAX - 2);
    }
    curve->z0 = lo;
    curve->step = step;
    curve->n_knots = (size_t)ceil((hi - lo) / step - 1e-9) + 1;
    curve->n_knots = curve->n_knots < 3 ? 3 : curve->n_knots;
    amb_curve_apply(curve, NULL, 0);
}

/* Knot to the left of z and the share of the one to the right. */
static size_t curve_place(double *share, const struct amb_curve *curve, double z) {
    double at = (z - curve->z0) / curve->step, last = (double)(curve->n_knots - 1);
    size_t i;

    at = at < 0 ? 0 : at > last ? last : at;
    i = (size_t)at;
    i = i > curve->n_knots - 2 ? curve->n_knots - 2 : i;
    *share = at - (double)i;
    return i;
}

/* Symmetric, with two diagonals beside the main one. */
struct band {
    double a0[AMB_CURVE_KNOTS_MAX], a1[AMB_CURVE_KNOTS_MAX], a2[AMB_CURVE_KNOTS_MAX];
};

static void band_add_prior(struct band *band, size_t n) {
    const double second = 1 / (SECOND_SD * SECOND_SD), slope = 1 / (SLOPE_SD * SLOPE_SD);

    memset(band, 0, sizeof *band);
    for (size_t i = 0; i < n; i++) {
        band->a0[i] += 1 / (LEVEL_SD * LEVEL_SD * (double)n);
        if (i + 1 < n) {
            band->a0[i] += slope;
            band->a0[i + 1] += slope;
            band->a1[i] -= slope;
        }
        if (i + 2 < n) {
            band->a0[i] += second;
            band->a0[i + 1] += 4 * second;
            band->a0[i + 2] += second;
            band->a1[i] -= 2 * second;
            band->a1[i + 1] -= 2 * second;
            band->a2[i] += second;
        }
    }
}

/* In place: a0 = D, a1 and a2 = the lower factor L of L D L'. */
static void band_factor(struct band *band, size_t n) {
    double *d = band->a0, *l1 = band->a1, *l2 = band->a2;

    for (size_t i = 0; i < n; i++) {
        d[i] -= (i > 0 ? l1[i - 1] * l1[i - 1] * d[i - 1] : 0) + (i > 1 ? l2[i - 2] * l2[i - 2] * d[i - 2] : 0);
        l1[i] = (l1[i] - (i > 0 ? l1[i - 1] * l2[i - 1] * d[i - 1] : 0)) / d[i];
        l2[i] /= d[i];
    }
}

static void band_solve(double *x, const struct band *factor, size_t n) {
    for (size_t i = 0; i < n; i++) {
        x[i] -= (i > 0 ? factor->a1[i - 1] * x[i - 1] : 0) + (i > 1 ? factor->a2[i - 2] * x[i - 2] : 0);
    }
    for (size_t i = n; i-- > 0;) {
        x[i] = x[i] / factor->a0[i] - (i + 1 < n ? factor->a1[i] * x[i + 1] : 0) -
               (i + 2 < n ? factor->a2[i] * x[i + 2] : 0);
    }
}

/* The band of the inverse, from below upwards (Takahashi, Fagan and Chen 1973). */
static void band_invert(double *z0, double *z1, const struct band *factor, size_t n) {
    double z2[AMB_CURVE_KNOTS_MAX];

    z1[n - 1] = z2[n - 1] = 0;
    for (size_t i = n; i-- > 0;) {
        z1[i] = i + 1 < n ? -factor->a1[i] * z0[i + 1] - (i + 2 < n ? factor->a2[i] * z1[i + 1] : 0) : 0;
        z2[i] = i + 2 < n ? -factor->a1[i] * z1[i + 1] - factor->a2[i] * z0[i + 2] : 0;
        z0[i] = 1 / factor->a0[i] - factor->a1[i] * z1[i] - factor->a2[i] * z2[i];
    }
}

static double knots_mix(const double *values, size_t i, double share) {
    return values[i] * (1 - share) + values[i + 1] * share;
}

static void curve_solve(struct amb_curve *curve, const struct amb_curve_point *points, size_t n) {
    const size_t n_knots = curve->n_knots;
    struct band band;

    band_add_prior(&band, n_knots);
    memset(curve->mean, 0, sizeof curve->mean);
    for (size_t k = 0; k < n; k++) {
        double share, weight, p;
        size_t i = curve_place(&share, curve, points[k].z);

        weight = 1 / knots_mix(curve->residual, i, share);
        p = points[k].p - knots_mix(curve->slope, i, share) * points[k].control - 0.5;
        band.a0[i] += weight * (1 - share) * (1 - share);
        band.a0[i + 1] += weight * share * share;
        band.a1[i] += weight * share * (1 - share);
        curve->mean[i] += weight * (1 - share) * p;
        curve->mean[i + 1] += weight * share * p;
    }
    band_factor(&band, n_knots);
    band_solve(curve->mean, &band, n_knots);
    band_invert(curve->variance, curve->covariance, &band, n_knots);
    for (size_t i = 0; i < n_knots; i++) {
        curve->mean[i] += 0.5;
    }
}

static double spread_prior(double m) {
    m = m < 0.02 ? 0.02 : m > 0.98 ? 0.98 : m;
    return NOISE_PRIOR * m * (1 - m);
}

/* Of a knot: sums over the answers near it, weighed by how near. */
struct vicinity {
    double weight, squares, products, controls; /* residual^2, residual * control, control^2 */
};

static void curve_estimate_noise(struct amb_curve *curve, const struct amb_curve_point *points, size_t n) {
    struct vicinity near[AMB_CURVE_KNOTS_MAX] = {0};

    for (size_t k = 0; k < n; k++) {
        double share, residual;
        size_t i = curve_place(&share, curve, points[k].z);

        residual = points[k].p - knots_mix(curve->mean, i, share);
        for (size_t j = i > NOISE_REACH ? i - NOISE_REACH : 0; j < curve->n_knots && j <= i + 1 + NOISE_REACH; j++) {
            double d = ((double)i + share - (double)j) / (NOISE_REACH + 1), w = (1 - d * d) * (1 - d * d);

            near[j].weight += w;
            near[j].squares += w * residual * residual;
            near[j].products += w * residual * points[k].control;
            near[j].controls += w * points[k].control * points[k].control;
        }
    }
    for (size_t j = 0; j < curve->n_knots; j++) {
        const double b = near[j].products / (near[j].controls + SLOPE_WEIGHT);
        double v = near[j].squares - 2 * b * near[j].products + b * b * near[j].controls;

        v = (v + NOISE_WEIGHT * spread_prior(curve->mean[j])) / (near[j].weight + NOISE_WEIGHT);
        curve->slope[j] = b;
        curve->residual[j] = v < NOISE_MIN ? NOISE_MIN : v;
    }
}

void amb_curve_apply(struct amb_curve *curve, const struct amb_curve_point *points, size_t n) {
    for (size_t j = 0; j < curve->n_knots; j++) {
        curve->residual[j] = spread_prior(0.5);
        curve->slope[j] = 0;
    }
    for (int k = 0; k < ITERATIONS; k++) {
        curve_solve(curve, points, n);
        curve_estimate_noise(curve, points, n);
    }
}

void amb_curve_get(double *mean, double *variance, double *noise, const struct amb_curve *curve, double z) {
    double share, slope;
    size_t i = curve_place(&share, curve, z);

    if (mean != NULL) {
        *mean = knots_mix(curve->mean, i, share);
    }
    if (variance != NULL) {
        *variance = (1 - share) * (1 - share) * curve->variance[i] + 2 * share * (1 - share) * curve->covariance[i] +
                    share * share * curve->variance[i + 1];
    }
    if (noise != NULL) {
        slope = knots_mix(curve->slope, i, share);
        *noise = knots_mix(curve->residual, i, share) + slope * slope;
    }
}

double amb_curve_get_unexplained(const struct amb_curve *curve, double z) {
    double share, slope, residual;
    size_t i = curve_place(&share, curve, z);

    slope = knots_mix(curve->slope, i, share);
    residual = knots_mix(curve->residual, i, share);
    return residual / (residual + slope * slope);
}
