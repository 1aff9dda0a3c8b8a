#pragma once
/* Search: at which grid sigma one sample's smoothed probability first falls below the threshold. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "annotate/grid.h"
#include "base/error.h"

enum amb_search_mode {
    AMB_SEARCH_DENSE,    /* the published method: every grid sigma, every trial */
    AMB_SEARCH_ADAPTIVE, /* the same crossing from far fewer evaluations        */
    AMB_SEARCH_MODE_N,
};
const char *amb_search_mode_name(enum amb_search_mode mode); /* "dense", "adaptive" */
bool amb_search_mode_parse(enum amb_search_mode *out, const char *name);

struct amb_control;

struct amb_search_options {
    enum amb_search_mode mode;
    const struct amb_grid *grid; /* borrowed for the life of the search; sorted */
    unsigned n_trials;           /* dense: at each sigma; adaptive: what it imitates */
    unsigned span;               /* EMA */
    double epsilon;              /* threshold is 0.5 + epsilon */
    bool keep_curve;
    const struct amb_control *control; /* adaptive; borrowed; complete before the first answer. Draws are of its pool */
};
#define AMB_SEARCH_TRIALS 4u /* of the published annotations */

/* One question to the model: the picture plus sigma times the noise of that number. */
struct amb_probe {
    double sigma;
    uint32_t i_grid; /* whose sigma it is */
    uint32_t draw;
};

struct amb_search_result {
    double sigma_min;
    double lo, hi;          /* interval in which the rule's crossing lies with some 90 %; lo <= sigma_min <= hi */
    uint32_t n_evaluations;
};

struct amb_search; /* one sample at a time; reused, allocates nothing once warm; one owner */

/* Errors: AMB_ERR_CONFIG an option out of range; -ENOMEM. Thread: any. */
int amb_search_new(struct amb_search **out, const struct amb_search_options *options, struct amb_error *err);
struct amb_search *amb_search_free(struct amb_search *search); /* NULL ok; returns NULL */

/* Begin a sample. seed: decides what the search itself draws (which grid points); not the noise. */
void amb_search_begin(struct amb_search *search, uint64_t seed);

/* Up to n_max further questions. 0: it is done, or waits for answers. */
size_t amb_search_ask(struct amb_probe *out, size_t n_max, struct amb_search *search);

/* Answers to questions asked, in any order and split. p in [0, 1]: who gets NaN gives the sample up. */
void amb_search_tell(struct amb_search *search, const struct amb_probe *probes, const float *p, size_t n);

bool amb_search_is_done(const struct amb_search *search);

/* Of a search that is done. */
void amb_search_get(struct amb_search_result *out, const struct amb_search *search);

/* The curve, where keep_curve is set: mean probability at each sigma asked, rising in sigma. Valid until begin. */
size_t amb_search_peek_curve(const double **sigmas, const double **p, struct amb_search *search);
