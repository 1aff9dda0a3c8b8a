#pragma once
/* Examiner: many samples under examination by one model at once: their questions, noised, fill its batches. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "annotate/model.h"
#include "annotate/search.h"
#include "base/error.h"
#include "base/hash.h"

enum amb_examiner_outcome {
    AMB_EXAMINER_E_NONE = 1, /* no verdict is ready */
};

struct amb_examiner_options {
    struct amb_search_options search;
    uint32_t channels, height, width; /* of subjects */
    uint64_t seed;                    /* of the noise */
    size_t batch;                     /* evaluations a run; 0: measured (amb_examiner_tune) */
    size_t n_subjects;                /* under examination at once; 0: chosen from the batch */
};

/* One sample to be examined. */
struct amb_subject {
    uint32_t i_sample;
    struct amb_hash128 uid;
    uint32_t version;
    int64_t label;
    const float *label_vector; /* NULL: from `label`, one-hot */
    const uint8_t *u8;         /* C x H x W planes: x = u8 / 127.5 - 1; or NULL, and */
    const float *x;            /* C x H x W planes of a latent, as the trainer sees them */
};

struct amb_verdict {
    uint32_t i_sample;
    struct amb_hash128 uid;
    uint32_t version;
    struct amb_error error; /* code 0: the result holds; else why the model has no answer ("NaN at sigma 0.3") */
    struct amb_search_result result;
    const double *curve_sigmas, *curve_p; /* valid until the next call of step or push */
    size_t n_curve;
};

struct amb_examiner; /* one owner */

/* model: borrowed. Errors: AMB_ERR_CONFIG the model does not fit the samples, both are named; -ENOMEM. */
int amb_examiner_new(struct amb_examiner **out, struct amb_model *model, const struct amb_examiner_options *options,
                     struct amb_error *err);
struct amb_examiner *amb_examiner_free(struct amb_examiner *examiner);

/* Run made batches of several sizes and take the fastest; some 0.5 s. evaluations_per_s: at that size. */
int amb_examiner_tune(size_t *batch, double *evaluations_per_s, struct amb_examiner *examiner, struct amb_error *err);

bool amb_examiner_has_room(const struct amb_examiner *examiner);
size_t amb_examiner_count(const struct amb_examiner *examiner); /* subjects under examination */

/* Take a subject in; pixels are copied. There must be room. AMB_ERR_FORMAT: its label is none of the model's. */
int amb_examiner_push(struct amb_examiner *examiner, const struct amb_subject *subject, struct amb_error *err);

/* Run one batch (a short one where the subjects have no more questions). Errors of amb_model_run. The first batches of
 * an adaptive examiner are about its control and bring no subject further. */
int amb_examiner_step(struct amb_examiner *examiner, struct amb_error *err);

/* Evaluations since the last call that no verdict counts. */
uint64_t amb_examiner_take_overhead(struct amb_examiner *examiner);

/* Next verdict: 0 or AMB_EXAMINER_E_NONE. Its subject has left. */
int amb_examiner_pop(struct amb_verdict *out, struct amb_examiner *examiner);
