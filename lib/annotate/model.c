/*
 * Model: one of two kinds behind a few functions: ONNX Runtime, or a stand-in that needs no library.
 */
#include "annotate/model.h"

#include <string.h>

#include "annotate/model-private.h"

int amb_model_open(struct amb_model **out, const struct amb_model_options *options, struct amb_error *err) {
    if (strncmp(options->path, "fake:", 5) == 0) {
        return amb_model_fake_open(out, options, err);
    }
    return amb_model_onnx_open(out, options, err);
}

struct amb_model *amb_model_close(struct amb_model *model) {
    if (model != NULL) {
        model->ops->close(model);
    }
    return NULL;
}

const struct amb_model_info *amb_model_peek(const struct amb_model *model) {
    return &model->info;
}

void amb_model_stop(struct amb_model *model) {
    if (model->ops->stop != NULL) {
        model->ops->stop(model);
    }
}

int amb_model_run(float *p, struct amb_model *model, const float *x, const float *sigma, const void *labels, size_t n,
                  struct amb_error *err) {
    return amb_model_run_filled(p, model, x, sigma, labels, n, NULL, NULL, err);
}

int amb_model_run_filled(float *p, struct amb_model *model, const float *x, const float *sigma, const void *labels, size_t n,
                         void (*fill)(void *opaque, size_t first, size_t n), void *opaque, struct amb_error *err) {
    if (n == 0) {
        return 0;
    }
    if (model->ops->run_filled != NULL) {
        return model->ops->run_filled(p, model, x, sigma, labels, n, fill, opaque, err);
    }
    if (fill != NULL) {
        fill(opaque, 0, n);
    }
    return model->ops->run(p, model, x, sigma, labels, n, err);
}
