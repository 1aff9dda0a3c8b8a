/*
 * Search: one sample's questions and answers, for any mode.
 *
 * A search never calls a model: it says what it wants to know, and somebody who has many searches fills the model's
 * batches with the questions of all. What comes out is a function of options, seed and answers; of the order in which
 * answers come only the last bit of sums may depend, so an examiner keeps an order.
 *
 * Not here: what to ask (dense.c, adaptive.c), and the noise of a probe (examiner.c).
 */
#include "annotate/search.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "annotate/search-private.h"
#include "base/alloc.h"

static const char *const mode_names[AMB_SEARCH_MODE_N] = {"dense", "adaptive"};

const char *amb_search_mode_name(enum amb_search_mode mode) {
    assert((unsigned)mode < AMB_SEARCH_MODE_N);
    return mode_names[mode];
}

bool amb_search_mode_parse(enum amb_search_mode *out, const char *name) {
    for (int i = 0; i < AMB_SEARCH_MODE_N; i++) {
        if (strcmp(name, mode_names[i]) == 0) {
            *out = (enum amb_search_mode)i;
            return true;
        }
    }
    return false;
}

static int options_check(const struct amb_search_options *options, struct amb_error *err) {
    if ((unsigned)options->mode >= AMB_SEARCH_MODE_N) {
        return amb_fail(err, AMB_ERR_CONFIG, "search mode %d, allowed: dense, adaptive", (int)options->mode);
    }
    if (options->grid == NULL || options->grid->n < 1 || options->grid->n > AMB_GRID_MAX) {
        return amb_fail(err, AMB_ERR_CONFIG, "grid of %zu sigmas, allowed: 1 to %u",
                        options->grid != NULL ? options->grid->n : 0, AMB_GRID_MAX);
    }
    if (options->n_trials < 1 || options->n_trials > 1024) {
        return amb_fail(err, AMB_ERR_CONFIG, "%u trials, allowed: 1 to 1024", options->n_trials);
    }
    if (options->span < 1 || options->span > 1u << 20) {
        return amb_fail(err, AMB_ERR_CONFIG, "span %u, allowed: 1 to 1048576", options->span);
    }
    if (!(options->epsilon > -0.5 && options->epsilon < 0.5)) {
        return amb_fail(err, AMB_ERR_CONFIG, "epsilon %g, allowed: between -0.5 and 0.5", options->epsilon);
    }
    return 0;
}

int amb_search_init(struct amb_search *search, const struct amb_search_ops *ops,
                    const struct amb_search_options *options, struct amb_error *err) {
    const size_t n = options->grid->n;

    search->ops = ops;
    search->options = *options;
    search->threshold = 0.5 + options->epsilon;
    search->sums = amb_calloc(n, sizeof *search->sums);
    search->counts = amb_calloc(n, sizeof *search->counts);
    search->curve_sigmas = options->keep_curve ? amb_calloc(n, sizeof *search->curve_sigmas) : NULL;
    search->curve_p = options->keep_curve ? amb_calloc(n, sizeof *search->curve_p) : NULL;
    if (search->sums == NULL || search->counts == NULL ||
        (options->keep_curve && (search->curve_sigmas == NULL || search->curve_p == NULL))) {
        return amb_fail(err, -ENOMEM, "no memory for a search over %zu sigmas", n);
    }
    return 0;
}

void amb_search_deinit(struct amb_search *search) {
    amb_free(search->sums);
    amb_free(search->counts);
    amb_free(search->curve_sigmas);
    amb_free(search->curve_p);
}

int amb_search_new(struct amb_search **out, const struct amb_search_options *options, struct amb_error *err) {
    int r = options_check(options, err);

    if (r < 0) {
        return r;
    }
    return options->mode == AMB_SEARCH_DENSE ? amb_dense_new(out, options, err) : amb_adaptive_new(out, options, err);
}

struct amb_search *amb_search_free(struct amb_search *search) {
    if (search != NULL) {
        search->ops->free(search);
    }
    return NULL;
}

void amb_search_begin(struct amb_search *search, uint64_t seed) {
    const size_t n = search->options.grid->n;

    search->done = false;
    search->result = (struct amb_search_result){0};
    search->n_curve = 0;
    memset(search->sums, 0, n * sizeof *search->sums);
    memset(search->counts, 0, n * sizeof *search->counts);
    search->ops->begin(search, seed);
}

size_t amb_search_ask(struct amb_probe *out, size_t n_max, struct amb_search *search) {
    return search->done || n_max == 0 ? 0 : search->ops->ask(out, n_max, search);
}

void amb_search_tell(struct amb_search *search, const struct amb_probe *probes, const float *p, size_t n) {
    for (size_t i = 0; i < n; i++) {
        assert(p[i] >= 0 && p[i] <= 1 && probes[i].i_grid < search->options.grid->n);
        search->sums[probes[i].i_grid] += (double)p[i];
        search->counts[probes[i].i_grid]++;
        search->result.n_evaluations++;
        if (!search->done) {
            search->ops->tell(search, &probes[i], (double)p[i]);
        }
    }
}

bool amb_search_is_done(const struct amb_search *search) {
    return search->done;
}

void amb_search_finish(struct amb_search *search, double sigma_min, double lo, double hi) {
    search->done = true;
    search->result.sigma_min = sigma_min;
    search->result.lo = lo;
    search->result.hi = hi;
}

void amb_search_get(struct amb_search_result *out, const struct amb_search *search) {
    assert(search->done);
    *out = search->result;
}

size_t amb_search_peek_curve(const double **sigmas, const double **p, struct amb_search *search) {
    const struct amb_grid *grid = search->options.grid;

    assert(search->done && search->options.keep_curve);
    if (search->n_curve == 0) {
        for (size_t i = 0; i < grid->n; i++) {
            if (search->counts[i] > 0) {
                search->curve_sigmas[search->n_curve] = grid->sigmas[i];
                search->curve_p[search->n_curve++] = search->sums[i] / search->counts[i];
            }
        }
    }
    *sigmas = search->curve_sigmas;
    *p = search->curve_p;
    return search->n_curve;
}
