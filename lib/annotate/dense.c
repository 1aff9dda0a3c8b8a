/*
 * Dense: the published method to the letter: every trial at every grid sigma, mean over trials, EMA, first below the
 * threshold, else the last (get_classifier_trajectory, analyze_classifier_trajectory, apply_ema of the toolbox).
 *
 * The interval is from where the smoothed curve is last within two of its own standard errors above the threshold to
 * where it is first as far below, around the crossing; the error of a mean over trials is taken from their spread.
 *
 * Nothing is left out: questions behind a crossing could not change it, but the curve is the method's product too,
 * and whoever asks for `dense` asks for the reference.
 */
#include <errno.h>
#include <math.h>

#include "annotate/rule.h"
#include "annotate/search-private.h"
#include "base/alloc.h"

struct dense {
    struct amb_search base;
    size_t n_asked, n_answered, n_probes;
    double sum_squares; /* of answers, for the error of a mean */
    double *smoothed;   /* owned */
};

static void dense_begin(struct amb_search *search, uint64_t seed) {
    struct dense *dense = (struct dense *)search;

    (void)seed;
    dense->n_asked = dense->n_answered = 0;
    dense->sum_squares = 0;
}

static size_t dense_ask(struct amb_probe *out, size_t n_max, struct amb_search *search) {
    struct dense *dense = (struct dense *)search;
    size_t n = 0;

    for (; n < n_max && dense->n_asked < dense->n_probes; n++, dense->n_asked++) {
        uint32_t i_grid = (uint32_t)(dense->n_asked / search->options.n_trials);

        out[n] = (struct amb_probe){search->options.grid->sigmas[i_grid], i_grid, (uint32_t)dense->n_asked};
    }
    return n;
}

/* Standard error of the smoothed curve: variance of one answer within its grid point, through the EMA. */
static double dense_error(const struct dense *dense) {
    const struct amb_search *search = &dense->base;
    const double trials = search->options.n_trials, weight = 2.0 / (search->options.span + 1.0);
    double between = 0, variance;

    for (size_t i = 0; i < search->options.grid->n; i++) {
        between += search->sums[i] * search->sums[i] / trials;
    }
    variance = (dense->sum_squares - between) / (double)(dense->n_probes - search->options.grid->n + 1);
    return sqrt(fmax(variance, 0) / trials * weight / (2 - weight));
}

static void dense_finish(struct dense *dense) {
    struct amb_search *search = &dense->base;
    const struct amb_grid *grid = search->options.grid;
    double margin, sigma_min;
    size_t crossing = 0, lo, hi;

    for (size_t i = 0; i < grid->n; i++) {
        dense->smoothed[i] = search->sums[i] / search->options.n_trials;
    }
    amb_rule_smooth(dense->smoothed, grid->n, search->options.span);
    sigma_min = amb_rule_sigma_min(dense->smoothed, grid->sigmas, grid->n, search->options.epsilon);
    while (crossing + 1 < grid->n && dense->smoothed[crossing] >= search->threshold) {
        crossing++;
    }
    margin = 2 * dense_error(dense);
    for (lo = crossing; lo > 0 && dense->smoothed[lo] < search->threshold + margin;) {
        lo--;
    }
    for (hi = crossing; hi + 1 < grid->n && dense->smoothed[hi] > search->threshold - margin;) {
        hi++;
    }
    amb_search_finish(search, sigma_min, grid->sigmas[lo], grid->sigmas[hi]);
}

static void dense_tell(struct amb_search *search, const struct amb_probe *probe, double p) {
    struct dense *dense = (struct dense *)search;

    (void)probe;
    dense->sum_squares += p * p;
    dense->n_answered++;
    if (dense->n_answered == dense->n_probes) {
        dense_finish(dense);
    }
}

static void dense_free(struct amb_search *search) {
    struct dense *dense = (struct dense *)search;

    amb_search_deinit(search);
    amb_free(dense->smoothed);
    amb_free(dense);
}

int amb_dense_new(struct amb_search **out, const struct amb_search_options *options, struct amb_error *err) {
    static const struct amb_search_ops ops = {dense_begin, dense_ask, dense_tell, dense_free};
    struct dense *dense = amb_calloc(1, sizeof *dense);
    int r;

    if (dense == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for a search");
    }
    dense->n_probes = options->grid->n * options->n_trials;
    dense->smoothed = amb_calloc(options->grid->n, sizeof *dense->smoothed);
    r = amb_search_init(&dense->base, &ops, options, err);
    if (r == 0 && dense->smoothed == NULL) {
        r = amb_fail(err, -ENOMEM, "no memory for a search");
    }
    if (r < 0) {
        dense_free(&dense->base);
        return r;
    }
    *out = &dense->base;
    return 0;
}
