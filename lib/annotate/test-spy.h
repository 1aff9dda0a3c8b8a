#pragma once
/* Test spy: a model whose answers are a function of the test and whose questions are kept. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "annotate/model-private.h"
#include "base/test.h"

#define SPY_ROWS_MAX 4096u

/* p of one row. */
typedef float (*spy_answer)(const struct amb_model_info *info, const float *x, float sigma, const void *label);

struct spy {
    struct amb_model base;
    spy_answer answer;
    float *x;    /* n_rows pictures, owned; NULL: not kept */
    float sigma[SPY_ROWS_MAX];
    int64_t labels[SPY_ROWS_MAX];
    size_t n_rows, n_runs, n_max; /* n_max: of the largest batch */
    int fail;    /* result of every run */
};

static inline int spy_run(float *p, struct amb_model *model, const float *x, const float *sigma, const void *labels,
                          size_t n, struct amb_error *err) {
    struct spy *spy = (struct spy *)model;
    const struct amb_model_info *info = &model->info;
    const size_t elements = (size_t)info->channels * info->height * info->width;
    const size_t label_bytes = info->labels == AMB_MODEL_LABELS_VECTOR ? info->label_width * sizeof(float) : 8;

    spy->n_runs++;
    spy->n_max = n > spy->n_max ? n : spy->n_max;
    assert_true((labels != NULL) == (info->labels != AMB_MODEL_LABELS_NONE));
    for (size_t i = 0; i < n; i++) {
        const void *label = labels != NULL ? (const uint8_t *)labels + i * label_bytes : NULL;

        p[i] = spy->answer(info, x + i * elements, sigma[i], label);
        if (spy->x != NULL && spy->n_rows < SPY_ROWS_MAX) {
            memcpy(spy->x + spy->n_rows * elements, x + i * elements, elements * sizeof *x);
            spy->sigma[spy->n_rows] = sigma[i];
            if (info->labels == AMB_MODEL_LABELS_INTEGER) {
                memcpy(&spy->labels[spy->n_rows], label, sizeof(int64_t));
            }
            spy->n_rows++;
        }
    }
    return spy->fail == 0 ? 0 : amb_fail(err, spy->fail, "the spy fails");
}

static inline void spy_close(struct amb_model *model) {
    free(((struct spy *)model)->x);
    free(model);
}

static inline struct spy *spy_new(spy_answer answer, uint32_t channels, uint32_t height, uint32_t width, bool keep) {
    static const struct amb_model_ops ops = {spy_run, spy_close, NULL, NULL};
    struct spy *spy = calloc(1, sizeof *spy);

    assert_non_null(spy);
    spy->base.ops = &ops;
    spy->base.info.channels = channels;
    spy->base.info.height = height;
    spy->base.info.width = width;
    spy->base.info.n_outputs = 1;
    spy->base.info.n_parallel = 1;
    spy->answer = answer;
    if (keep) {
        spy->x = calloc(SPY_ROWS_MAX, (size_t)channels * height * width * sizeof(float));
        assert_non_null(spy->x);
    }
    return spy;
}
