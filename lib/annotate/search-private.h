#pragma once
/* Search: what its modes share; for search.c, dense.c and adaptive.c only. */
#include "annotate/search.h"

struct amb_search_ops {
    void (*begin)(struct amb_search *search, uint64_t seed);
    size_t (*ask)(struct amb_probe *out, size_t n_max, struct amb_search *search);
    void (*tell)(struct amb_search *search, const struct amb_probe *probe, double p);
    void (*free)(struct amb_search *search);
};

struct amb_search {
    const struct amb_search_ops *ops;
    struct amb_search_options options;
    double threshold; /* 0.5 + epsilon */
    bool done;
    struct amb_search_result result; /* n_evaluations counts answers */
    double *sums;                    /* by grid point, of answers; owned */
    uint32_t *counts;
    double *curve_sigmas, *curve_p; /* n_grid each where the curve is kept */
    size_t n_curve;
};

int amb_dense_new(struct amb_search **out, const struct amb_search_options *options, struct amb_error *err);
int amb_adaptive_new(struct amb_search **out, const struct amb_search_options *options, struct amb_error *err);

/* The part that is common: arrays and options. Errors: -ENOMEM. */
int amb_search_init(struct amb_search *search, const struct amb_search_ops *ops,
                    const struct amb_search_options *options, struct amb_error *err);
void amb_search_deinit(struct amb_search *search);

/* The result is known. */
void amb_search_finish(struct amb_search *search, double sigma_min, double lo, double hi);
