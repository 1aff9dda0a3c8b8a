/*
 * Adaptive: the crossing of the dense rule from some 1 % of its evaluations.
 *
 * Two answers at the first sigma settle samples that are below the threshold from the start. Else 12 probes lie over
 * the whole axis, half a unit of log sigma apart, so that a dip anywhere is seen. Then rounds of 8: all answers so far
 * give a smooth curve with its own uncertainty (curve.c), from which is taken what each noise does by itself
 * (control.c); from both follows where the rule may first cross; the next probes go there, spread over [-0.3, +0.15] in
 * log sigma and at least over the grid points that the EMA averages. At the end the dense rule itself, lag and early
 * crossings included, is carried over the curve as a density (passage.c), and the median of its first crossing is the
 * answer. One answer costs one evaluation at a sigma of the grid with a noise that no other answer of the sample has;
 * nothing depends on other samples, their order or how answers are batched.
 *
 * Tried on 48 pictures (blur 0.4 to 1.5, 35 with a crossing, dense with itself 0.051 median and 0.087 at the 90th
 * percentile of |log ratio|), figures against two dense runs; mean evaluations count samples without a crossing:
 *   local logistic fit, 128 at most            100 evaluations  0.060  0.154, gross errors where p dips and rises
 *   the same with antithetic pairs              98              0.076  0.208: +n and -n agree (correlation +0.39)
 *   this without control, second
 *   differences of sd 0.03                     104              0.052  0.122
 *                                              122              0.050  0.116
 *                                              143              0.049  0.111
 *                                              177              0.046  0.104
 *   ... sd 0.02 or 0.05 instead                122              0.050  0.116 and 0.052  0.118
 *   ... third differences too                  110              0.050  0.118: not worth another prior
 *   ... stop by the crossing's spread          152              0.047  0.109: spends no better than a fixed number
 *   ... mass clamped near the threshold        122              0.051  0.126: the walk must start where e_0 is
 *   a perfect predictor of dense's median        -              0.038  0.083
 * and on 48 others (Gaussian, box and motion blur, half size, JPEG, noise; 35 with a crossing, dense with itself 0.037
 * and 0.112), since that a pool of noises with a control was added:
 *   without control                            176 evaluations  0.045  0.108
 *   pool of 1,024, 130 a crossing               97              0.043  0.104
 *                  100                          74              0.042  0.108
 *                   75                          57              0.043  0.115
 *   ... second differences of sd 0.02 or 0.04   74              0.041  0.106 and 0.044  0.109, but more bias at 0.02
 *   ... slope held back by 1 or 6 answers       74              0.042  0.105 and 0.043  0.107
 *   ... 240 times the share of the variance that the control leaves: 75  0.047  0.110, too few at high sigma
 *   ... 160 times its root                      74              0.044  0.107
 *   ... 180 times its root                      82              0.042  0.102   <- BUDGET: without control still enough
 * A prior from samples annotated before was left out: records would depend on their order.
 *
 * The frozen method, run once on pictures that nothing above was tried on (tests/bench/search-agreement.py, 20 seeds):
 *   the 48 shipped, 34 with a crossing          76 evaluations  0.042  0.108; dense with itself 0.047  0.094
 *   112 made, 66 with a crossing                66              0.044  0.106; dense with itself 0.051  0.094
 *   the 48 shipped with the demo's classifier, 47   164            0.039  0.119; dense with itself 0.034  0.101
 * Of the 112 two go far astray (|log ratio| 1.6 and 3.3, at most seeds or some): p falls to just about the threshold,
 * rises and falls again, and dense, whose average wavers, takes the first place. Three times the budget where the
 * crossing's spread is over 0.25 cost 30 evaluations a sample and mended neither.
 */
#include <errno.h>
#include <math.h>

#include "annotate/control.h"
#include "annotate/curve.h"
#include "annotate/passage.h"
#include "annotate/search-private.h"
#include "base/alloc.h"
#include "base/philox.h"

#define N_START       2u
#define N_SCAN        12u
#define N_ROUND       8u
#define BUDGET        180u /* where the control explains nothing; see above */
#define BUDGET_LOW    48u  /* not fewer, however sure */
#define SURE_SPREAD   0.03 /* of log sigma: half of what dense varies by */
#define START_MARGIN  0.1  /* below the threshold by this much at the first sigma: settled */
#define START_SPREAD  0.05 /* if both answers agree so well */
#define SPREAD_BEFORE 0.3  /* in front of a possible crossing lies what the average is made of */
#define SPREAD_BEHIND 0.15
#define GRID_BEFORE   16u  /* the same in grid points: the time constant of span 32 */
#define GRID_BEHIND   24u
#define INTERVAL_SE   1.3  /* shifts of the curve that go with 5 % and 95 % of the passage */
#define PLACES        192u /* of the crossing's distribution */
#define SIGMA_MIN     1e-6 /* a grid may begin at 0 */

struct adaptive {
    struct amb_search base;
    double *z; /* log sigma of the grid; owned */
    uint64_t seed;
    uint32_t n_draws, n_uniforms, first_draw, draw_step;
    struct amb_curve_point points[AMB_CURVE_POINTS_MAX];
    size_t n_points;
    size_t plan[N_SCAN]; /* grid points to ask */
    size_t n_plan, n_asked, n_answered;
    struct amb_curve curve;
    double shift; /* of the mean, in its own standard errors */
    bool scanned;
};
_Static_assert(N_SCAN >= N_ROUND && N_START + N_SCAN + BUDGET + N_ROUND <= AMB_CURVE_POINTS_MAX, "room for all answers");

static double adaptive_uniform(struct adaptive *a) {
    struct amb_philox_block block = amb_philox(a->seed, a->n_uniforms++, 0);

    return ((double)block.w[0] + 0.5) * 0x1p-32;
}

/* First grid point at or behind z, at most the last. */
static size_t grid_find(const struct adaptive *a, double z) {
    size_t lo = 0, hi = a->base.options.grid->n - 1;

    while (lo < hi) {
        size_t middle = lo + (hi - lo) / 2;

        if (a->z[middle] < z) {
            lo = middle + 1;
        } else {
            hi = middle;
        }
    }
    return lo;
}

static double z_last(const struct adaptive *a) {
    return a->z[a->base.options.grid->n - 1];
}

/* Questions */

static void plan_begin(struct adaptive *a) {
    a->n_plan = a->n_asked = a->n_answered = 0;
}

static void adaptive_begin(struct amb_search *search, uint64_t seed) {
    struct adaptive *a = (struct adaptive *)search;

    a->seed = seed;
    a->n_draws = a->n_uniforms = 0;
    a->first_draw = (uint32_t)(seed >> 32);
    a->draw_step = (uint32_t)seed | 1u;
    a->n_points = 0;
    a->scanned = false;
    plan_begin(a);
    for (unsigned k = 0; k < N_START; k++) {
        a->plan[a->n_plan++] = 0;
    }
}

/* With a pool: each of its noises once, in an order of the sample's own. */
static uint32_t adaptive_draw(struct adaptive *a) {
    const uint32_t k = a->n_draws++;

    return a->base.options.control != NULL ? (a->first_draw + k * a->draw_step) % AMB_CONTROL_DRAWS : k;
}

static size_t adaptive_ask(struct amb_probe *out, size_t n_max, struct amb_search *search) {
    struct adaptive *a = (struct adaptive *)search;
    size_t n = 0;

    for (; n < n_max && a->n_asked < a->n_plan; n++) {
        size_t i = a->plan[a->n_asked++];

        out[n] = (struct amb_probe){search->options.grid->sigmas[i], (uint32_t)i, adaptive_draw(a)};
    }
    return n;
}

/* Evenly in log sigma, but for the grid's outermost points. */
static void plan_scan(struct adaptive *a) {
    const size_t n = a->base.options.grid->n;
    const double lo = a->z[n / 64], hi = a->z[n - 1 - n / 64];

    plan_begin(a);
    for (unsigned k = 0; k < N_SCAN; k++) {
        a->plan[a->n_plan++] = grid_find(a, lo + ((double)k + adaptive_uniform(a)) / N_SCAN * (hi - lo));
    }
    a->scanned = true;
}

static double places_step(const struct adaptive *a) {
    return (z_last(a) - a->z[0]) / (PLACES - 1);
}

/* share[k]: probability that the curve first comes near the threshold at place k, by what is known of it. */
static void places_get(double share[PLACES], const struct adaptive *a) {
    const double weight = 2.0 / (a->base.options.span + 1.0), ema = weight / (2 - weight) / a->base.options.n_trials;
    const double step = places_step(a);
    double alive = 1;

    for (size_t k = 0; k < PLACES; k++) {
        double mean, variance, noise, above;

        amb_curve_get(&mean, &variance, &noise, &a->curve, a->z[0] + (double)k * step);
        above = 0.5 * erfc((a->base.threshold - mean) / sqrt(2 * (variance + noise * ema)));
        share[k] = above < alive ? alive - above : 0;
        alive = above < alive ? above : alive;
    }
    share[PLACES - 1] += alive;
}

static double places_spread(const double share[PLACES], const struct adaptive *a) {
    double sum = 0, squares = 0;

    for (size_t k = 0; k < PLACES; k++) {
        sum += share[k] * (double)k;
        squares += share[k] * (double)k * (double)k;
    }
    return places_step(a) * sqrt(fmax(squares - sum * sum, 0));
}

/* The less is left to chance the fewer answers do. */
static double places_budget(const double share[PLACES], const struct adaptive *a) {
    const double step = places_step(a);
    double unexplained = 0;

    for (size_t k = 0; k < PLACES; k++) {
        unexplained += share[k] * amb_curve_get_unexplained(&a->curve, a->z[0] + (double)k * step);
    }
    return BUDGET * sqrt(unexplained);
}

static void plan_push_near(struct adaptive *a, double z) {
    const size_t n = a->base.options.grid->n, i = grid_find(a, z);
    double before = a->z[i > GRID_BEFORE ? i - GRID_BEFORE : 0];
    double behind = a->z[i + GRID_BEHIND < n ? i + GRID_BEHIND : n - 1];

    before = fmin(before, z - SPREAD_BEFORE);
    behind = fmax(behind, z + SPREAD_BEHIND);
    a->plan[a->n_plan++] = grid_find(a, before + adaptive_uniform(a) * (behind - before));
}

/* Stratified over the distribution of the crossing. */
static void plan_refine(struct adaptive *a, const double share[PLACES]) {
    const double step = places_step(a);
    double sum = 0;
    size_t k = 0;

    plan_begin(a);
    for (unsigned i = 0; i < N_ROUND; i++) {
        double want = ((double)i + adaptive_uniform(a)) / N_ROUND;

        while (k + 1 < PLACES && sum + share[k] < want) {
            sum += share[k++];
        }
        plan_push_near(a, a->z[0] + step * (double)k);
    }
}

/* Answers */

static void adaptive_mean(double *mean, double *variance, void *opaque, size_t i_grid) {
    const struct adaptive *a = opaque;
    double error;

    amb_curve_get(mean, &error, variance, &a->curve, a->z[i_grid]);
    *mean += a->shift * sqrt(error);
}

static void adaptive_pass(struct amb_passage *out, struct adaptive *a, double shift) {
    const struct amb_search_options *options = &a->base.options;

    a->shift = shift;
    amb_passage_get(out, 0, options->grid->n - 1, a->base.threshold, options->span, options->n_trials, adaptive_mean,
                    a);
}

static void adaptive_finish(struct adaptive *a) {
    const double *sigmas = a->base.options.grid->sigmas;
    struct amb_passage middle, early, late;

    adaptive_pass(&middle, a, 0);
    adaptive_pass(&early, a, -INTERVAL_SE);
    adaptive_pass(&late, a, INTERVAL_SE);
    amb_search_finish(&a->base, sigmas[middle.median], sigmas[early.lo < middle.lo ? early.lo : middle.lo],
                      sigmas[late.hi > middle.hi ? late.hi : middle.hi]);
}

static void adaptive_start(struct adaptive *a) {
    const double first = a->base.sums[0] / a->base.counts[0], sigma = a->base.options.grid->sigmas[0];

    if (first < a->base.threshold - START_MARGIN && fabs(a->points[0].p - a->points[1].p) < START_SPREAD) {
        amb_search_finish(&a->base, sigma, sigma, sigma);
    } else {
        plan_scan(a);
    }
}

static void adaptive_next(struct adaptive *a) {
    double share[PLACES];

    if (!a->scanned) {
        adaptive_start(a);
        return;
    }
    amb_curve_apply(&a->curve, a->points, a->n_points);
    places_get(share, a);
    if (a->n_points >= BUDGET_LOW &&
        ((double)a->n_points >= places_budget(share, a) || places_spread(share, a) < SURE_SPREAD)) {
        adaptive_finish(a);
    } else {
        plan_refine(a, share);
    }
}

static void adaptive_tell(struct amb_search *search, const struct amb_probe *probe, double p) {
    struct adaptive *a = (struct adaptive *)search;

    a->points[a->n_points++] = (struct amb_curve_point){
        a->z[probe->i_grid], p,
        a->base.options.control != NULL ? amb_control_get(a->base.options.control, probe->draw) : 0};
    a->n_answered++;
    if (a->n_answered == a->n_plan) {
        adaptive_next(a);
    }
}

static void adaptive_free(struct amb_search *search) {
    struct adaptive *a = (struct adaptive *)search;

    amb_search_deinit(search);
    amb_free(a->z);
    amb_free(a);
}

int amb_adaptive_new(struct amb_search **out, const struct amb_search_options *options, struct amb_error *err) {
    static const struct amb_search_ops ops = {adaptive_begin, adaptive_ask, adaptive_tell, adaptive_free};
    struct adaptive *a = amb_calloc(1, sizeof *a);
    int r;

    if (a == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for a search");
    }
    a->z = amb_calloc(options->grid->n, sizeof *a->z);
    r = amb_search_init(&a->base, &ops, options, err);
    if (r < 0 || a->z == NULL) {
        adaptive_free(&a->base);
        return r < 0 ? r : amb_fail(err, -ENOMEM, "no memory for a search");
    }
    for (size_t i = 0; i < options->grid->n; i++) {
        a->z[i] = log(options->grid->sigmas[i] > SIGMA_MIN ? options->grid->sigmas[i] : SIGMA_MIN);
    }
    amb_curve_init(&a->curve, a->z[0], z_last(a));
    *out = &a->base;
    return 0;
}
