#include "base/test.h"

#include <math.h>

#include "base/real.h"
#include "noise/normal.h"

/*
 * Goodness of fit on 2^27 normals: 32 arrays of 2^22, as many samples' noise would be. Keys are fixed, so a
 * result is the same at every run; limits are at about 1e-5 two-sided each, and a control shows that each of
 * them can bite.
 */
#define N_ARRAYS 32u
#define N_ARRAY  (1u << 22)
#define CHUNK    4096u

#define BIN_HALF  4096 /* bins of 1/512 over [-8, 8) */
#define N_BINS    (2 * BIN_HALF)
#define BIN_SCALE 512.0f

/* Distances within an array: neighbours; the sine to a cosine (16); other words of the block (32, 48); the
 * next group. */
static const unsigned lags[] = {1, 2, 3, 16, 32, 48, 64};
#define N_LAGS (sizeof lags / sizeof lags[0])

struct statistics {
    double n;
    double sum[4];                          /* of x to the powers 1 to 4 */
    double place_sum[64], place_square[64]; /* by place in the group of 64 */
    double lag[N_LAGS], lag_square[N_LAGS]; /* of x y, and of (x^2 - 1)(y^2 - 1) */
    double across;                          /* x y of arrays under neighbouring counters */
    uint64_t bins[N_BINS];
    float most;
};

static struct statistics stats;
static float chunk[2][CHUNK + 64];

static void add_bins(struct statistics *s, const float *x) {
    for (unsigned i = 0; i < CHUNK; i++) {
        float place = floorf(x[i] * BIN_SCALE);
        int bin = (int)place + BIN_HALF;

        s->bins[bin < 0 ? 0 : bin >= N_BINS ? N_BINS - 1 : bin]++;
        s->most = fabsf(x[i]) > s->most ? fabsf(x[i]) : s->most;
    }
}

static void add_moments(struct statistics *s, const float *x) {
    for (unsigned i = 0; i < CHUNK; i += 64) {
        double third = 0, fourth = 0;

        for (unsigned j = 0; j < 64; j++) {
            double v = (double)x[i + j], square = v * v;

            s->place_sum[j] += v;
            s->place_square[j] += square;
            third += square * v;
            fourth += square * square;
        }
        s->sum[2] += third;
        s->sum[3] += fourth;
    }
    s->n += CHUNK;
}

/* x has 64 elements behind its chunk */
static void add_lags(struct statistics *s, const float *x, const float *other) {
    for (size_t l = 0; l < N_LAGS; l++) {
        double sum = 0, squares = 0;

        for (unsigned i = 0; i < CHUNK; i++) {
            double a = (double)x[i], b = (double)x[i + lags[l]];

            sum += a * b;
            squares += (a * a - 1) * (b * b - 1);
        }
        s->lag[l] += sum;
        s->lag_square[l] += squares;
    }
    for (unsigned i = 0; i < CHUNK; i++) {
        s->across += (double)x[i] * (double)other[i];
    }
}

static void scale(float *x, float by) {
    for (unsigned i = 0; i < CHUNK + 64; i++) {
        x[i] *= by;
    }
}

/* by: 1, or what a control does to the normals. */
static void collect(struct statistics *s, unsigned n_arrays, float by) {
    *s = (struct statistics){0};
    for (unsigned array = 0; array < n_arrays; array++) {
        for (size_t first = 0; first < N_ARRAY; first += CHUNK) {
            amb_normal_fill(chunk[0], first, CHUNK + 64, 0x5eed0003, array);
            amb_normal_fill(chunk[1], first, CHUNK, 0x5eed0003, array + n_arrays);
            if (by != 1) {
                scale(chunk[0], by);
            }
            add_bins(s, chunk[0]);
            add_moments(s, chunk[0]);
            add_lags(s, chunk[0], chunk[1]);
        }
    }
    for (unsigned i = 0; i < 64; i++) {
        s->sum[0] += s->place_sum[i];
        s->sum[1] += s->place_square[i];
    }
}

/* Standardised: each is N(0, 1) if the claim holds. */
static double z_of(double sum, double n, double mean, double variance) {
    return (sum - n * mean) / sqrt(n * variance);
}

/* Upper edge of bin i, and Phi there. */
static double edge_cdf(int i) {
    return amb_real_normal_cdf((double)(i + 1 - BIN_HALF) / (double)BIN_SCALE);
}

/* Kolmogorov-Smirnov at the edges of the bins, times sqrt(n): above 2.4 with probability 2e-5. */
static double kolmogorov(const struct statistics *s) {
    double seen = 0, worst = 0;

    for (int i = 0; i < N_BINS - 1; i++) {
        double distance;

        seen += (double)s->bins[i];
        distance = fabs(seen / s->n - edge_cdf(i));
        worst = distance > worst ? distance : worst;
    }
    return worst * sqrt(s->n);
}

/* Anderson-Darling, its integral as a sum over the bins: above 9 with probability below 5e-5. */
static double anderson(const struct statistics *s) {
    double seen = 0, sum = 0, before = 0;

    for (int i = 0; i < N_BINS - 1; i++) {
        double p = edge_cdf(i), middle = (p + before) / 2, distance;

        distance = (seen + (double)s->bins[i] / 2) / s->n - middle;
        sum += middle > 0 && middle < 1 ? distance * distance / (middle * (1 - middle)) * (p - before) : 0;
        seen += (double)s->bins[i];
        before = p;
    }
    return sum * s->n;
}

/* Chi-square over bins, those that expect fewer than 20 taken together; standardised. */
static double chi_square(const struct statistics *s) {
    double sum = 0, expected = 0, seen = 0, before = 0;
    unsigned n = 0;

    for (int i = 0; i < N_BINS; i++) {
        double p = i == N_BINS - 1 ? 1 : edge_cdf(i);

        expected += (p - before) * s->n;
        seen += (double)s->bins[i];
        before = p;
        if (expected >= 20) {
            sum += (seen - expected) * (seen - expected) / expected;
            n++;
            expected = seen = 0;
        }
    }
    return (sum - (n - 1)) / sqrt(2.0 * (n - 1));
}

static double tail_z(const struct statistics *s, double from, int side) {
    int first = (int)(from * (double)BIN_SCALE);
    double seen = 0, expected = s->n * amb_real_normal_cdf(-from);

    for (int i = first; i < BIN_HALF; i++) {
        seen += (double)s->bins[side > 0 ? BIN_HALF + i : BIN_HALF - 1 - i];
    }
    printf("  beyond %+.1f: %.0f, expected %.1f\n", side * from, seen, expected);
    return (seen - expected) / sqrt(expected);
}

#define Z_LIMIT 4.5 /* two-sided 7e-6 */

static void expect_z(const char *what, double z) {
    printf("  %-28s z = %+.2f\n", what, z);
    if (!(fabs(z) < Z_LIMIT)) {
        fail_msg("%s: z = %.2f, allowed %.1f", what, z, Z_LIMIT);
    }
}

TEST(normals_fit) {
    char name[64];

    collect(&stats, N_ARRAYS, 1);
    printf("%.0f normals on path %s, largest %.3f\n", stats.n, amb_path_name(amb_path_get()),
           (double)stats.most);
    assert_true(stats.n >= 1e8);
    expect_z("mean", z_of(stats.sum[0], stats.n, 0, 1));
    expect_z("variance", z_of(stats.sum[1], stats.n, 1, 2));
    expect_z("third moment", z_of(stats.sum[2], stats.n, 0, 15));
    expect_z("fourth moment", z_of(stats.sum[3], stats.n, 3, 96));
    expect_z("chi-square of bins", chi_square(&stats));
    printf("  Kolmogorov-Smirnov %.3f, Anderson-Darling %.3f\n", kolmogorov(&stats), anderson(&stats));
    assert_true(kolmogorov(&stats) < 2.4 && anderson(&stats) < 9);
    for (size_t l = 0; l < N_LAGS; l++) {
        snprintf(name, sizeof name, "correlation at lag %u", lags[l]);
        expect_z(name, z_of(stats.lag[l], stats.n, 0, 1));
        snprintf(name, sizeof name, "  of squares at lag %u", lags[l]);
        expect_z(name, z_of(stats.lag_square[l], stats.n, 0, 4));
    }
    expect_z("neighbouring counters", z_of(stats.across, stats.n, 0, 1));
    for (double from = 2; from <= 5; from += 1) {
        assert_true(fabs(tail_z(&stats, from, 1)) < Z_LIMIT && fabs(tail_z(&stats, from, -1)) < Z_LIMIT);
    }
    assert_true(stats.most > 5.3f && stats.most < 6.765f);
}

/* Each of the 64 places in a group by itself: a fault in one lane would drown in the whole. */
TEST(every_place_of_the_group_fits) {
    for (unsigned i = 0; i < 64; i++) {
        double mean = z_of(stats.place_sum[i], stats.n / 64, 0, 1);
        double variance = z_of(stats.place_square[i], stats.n / 64, 1, 2);

        if (!(fabs(mean) < Z_LIMIT && fabs(variance) < Z_LIMIT)) {
            fail_msg("place %u: z of mean %.2f, of variance %.2f", i, mean, variance);
        }
    }
}

/* Control: the same tests reject normals that are 0.6 % too wide, on an eighth of the number. */
TEST(a_slight_misfit_is_found) {
    collect(&stats, N_ARRAYS / 8, 1.006f);
    assert_true(fabs(z_of(stats.sum[1], stats.n, 1, 2)) > Z_LIMIT);
    assert_true(fabs(z_of(stats.sum[3], stats.n, 3, 96)) > Z_LIMIT);
    assert_true(chi_square(&stats) > Z_LIMIT);
    assert_true(anderson(&stats) > 9);
    assert_true(kolmogorov(&stats) > 2.4);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(normals_fit),
    cmocka_unit_test(every_place_of_the_group_fits),
    cmocka_unit_test(a_slight_misfit_is_found),
};

TEST_MAIN(tests)
