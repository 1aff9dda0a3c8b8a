/*
 * Curve: least squares with a penalty on second differences (Eilers and Marx's P-splines, degree 1), weighed by the
 * answers' own variance, which is estimated along the curve too.
 *
 * The penalty is a prior: second differences are normal with standard deviation SECOND_SD, the level with 1/2 +- 1. So
 * the inverse of the normal matrix is the covariance of the curve, which tells where one knows little. What is fitted
 * is p itself and not its logit: the rule averages p.
 *
 * Answers at low sigma hardly vary, since the model sees almost the same picture each time; there the curve goes
 * through them. Where it matters single answers vary by 0.1 to 0.25.
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
#define NOISE_WIDTH  1.5  /* knots: how far an answer tells of the variance */
#define ITERATIONS   3

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

/* Invert a symmetric positive matrix in place by Gauss-Jordan sweeps; no pivoting is needed. */
static void matrix_invert(double m[AMB_CURVE_KNOTS_MAX][AMB_CURVE_KNOTS_MAX], size_t n) {
    for (size_t k = 0; k < n; k++) {
        double pivot = 1 / m[k][k], factor;

        for (size_t i = 0; i < n; i++) {
            if (i == k) {
                continue;
            }
            factor = m[i][k] * pivot;
            for (size_t j = 0; j < n; j++) {
                m[i][j] -= j == k ? 0 : factor * m[k][j];
            }
            m[i][k] = -factor;
        }
        for (size_t j = 0; j < n; j++) {
            m[k][j] *= j == k ? 0 : pivot;
        }
        m[k][k] = pivot;
    }
}

static void curve_add_prior(struct amb_curve *curve) {
    static const double row[3] = {1, -2, 1};
    const double second = 1 / (SECOND_SD * SECOND_SD), slope = 1 / (SLOPE_SD * SLOPE_SD);
    const size_t n = curve->n_knots;

    for (size_t i = 0; i < n; i++) {
        memset(curve->covariance[i], 0, n * sizeof curve->covariance[i][0]);
    }
    for (size_t i = 0; i < n; i++) {
        curve->covariance[i][i] += 1 / (LEVEL_SD * LEVEL_SD * (double)n);
        for (size_t a = 0; i + 2 < n && a < 3; a++) {
            for (size_t b = 0; b < 3; b++) {
                curve->covariance[i + a][i + b] += second * row[a] * row[b];
            }
        }
        if (i + 1 < n) {
            curve->covariance[i][i] += slope;
            curve->covariance[i + 1][i + 1] += slope;
            curve->covariance[i][i + 1] -= slope;
            curve->covariance[i + 1][i] -= slope;
        }
    }
}

static double knots_mix(const double *values, size_t i, double share) {
    return values[i] * (1 - share) + values[i + 1] * share;
}

static void curve_solve(struct amb_curve *curve, const struct amb_curve_point *points, size_t n) {
    double right[AMB_CURVE_KNOTS_MAX] = {0};

    curve_add_prior(curve);
    for (size_t k = 0; k < n; k++) {
        double share, weight;
        size_t i = curve_place(&share, curve, points[k].z);

        weight = 1 / knots_mix(curve->noise, i, share);
        curve->covariance[i][i] += weight * (1 - share) * (1 - share);
        curve->covariance[i + 1][i + 1] += weight * share * share;
        curve->covariance[i][i + 1] += weight * share * (1 - share);
        curve->covariance[i + 1][i] += weight * share * (1 - share);
        right[i] += weight * (1 - share) * (points[k].p - 0.5);
        right[i + 1] += weight * share * (points[k].p - 0.5);
    }
    matrix_invert(curve->covariance, curve->n_knots);
    for (size_t i = 0; i < curve->n_knots; i++) {
        double sum = 0;

        for (size_t j = 0; j < curve->n_knots; j++) {
            sum += curve->covariance[i][j] * right[j];
        }
        curve->mean[i] = 0.5 + sum;
    }
}

static double spread_prior(double m) {
    m = m < 0.02 ? 0.02 : m > 0.98 ? 0.98 : m;
    return NOISE_PRIOR * m * (1 - m);
}

static void curve_estimate_noise(struct amb_curve *curve, const struct amb_curve_point *points, size_t n) {
    double sums[AMB_CURVE_KNOTS_MAX] = {0}, weights[AMB_CURVE_KNOTS_MAX] = {0};

    for (size_t k = 0; k < n; k++) {
        double share, residual;
        size_t i = curve_place(&share, curve, points[k].z);

        residual = points[k].p - knots_mix(curve->mean, i, share);
        for (size_t j = 0; j < curve->n_knots; j++) {
            double d = ((double)i + share - (double)j) / NOISE_WIDTH, w = exp(-0.5 * d * d);

            sums[j] += w * residual * residual;
            weights[j] += w;
        }
    }
    for (size_t j = 0; j < curve->n_knots; j++) {
        double v = (sums[j] + NOISE_WEIGHT * spread_prior(curve->mean[j])) / (weights[j] + NOISE_WEIGHT);

        curve->noise[j] = v < NOISE_MIN ? NOISE_MIN : v;
    }
}

void amb_curve_apply(struct amb_curve *curve, const struct amb_curve_point *points, size_t n) {
    for (size_t j = 0; j < curve->n_knots; j++) {
        curve->noise[j] = spread_prior(0.5);
    }
    for (int k = 0; k < ITERATIONS; k++) {
        curve_solve(curve, points, n);
        curve_estimate_noise(curve, points, n);
    }
}

void amb_curve_get(double *mean, double *variance, double *noise, const struct amb_curve *curve, double z) {
    double share;
    size_t i = curve_place(&share, curve, z);

    if (mean != NULL) {
        *mean = knots_mix(curve->mean, i, share);
    }
    if (variance != NULL) {
        *variance = (1 - share) * (1 - share) * curve->covariance[i][i] +
                    2 * share * (1 - share) * curve->covariance[i][i + 1] +
                    share * share * curve->covariance[i + 1][i + 1];
    }
    if (noise != NULL) {
        *noise = knots_mix(curve->noise, i, share);
    }
}
