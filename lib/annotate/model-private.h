#pragma once
/* Model: what its kinds share; for model*.c only. */
#include <stdbool.h>

#include "annotate/model.h"
#include "base/buf.h"

struct amb_model_ops {
    int (*run)(float *p, struct amb_model *model, const float *x, const float *sigma, const void *labels, size_t n,
               struct amb_error *err);
    void (*close)(struct amb_model *model);
    void (*stop)(struct amb_model *model); /* NULL: its runs are short */
    /* fill may be NULL. NULL: all rows are filled first, and `run` has them */
    int (*run_filled)(float *p, struct amb_model *model, const float *x, const float *sigma, const void *labels, size_t n,
                      void (*fill)(void *opaque, size_t first, size_t n), void *opaque, struct amb_error *err);
};

struct amb_model {
    const struct amb_model_ops *ops;
    struct amb_model_info info;
    unsigned column;
};

/* Bytes of a model, as hashed and as run. */
struct amb_model_file {
    struct amb_buf bytes;
    bool has_external; /* reads other files, all inside of its folder: only by path, then */
};
#define AMB_MODEL_FILE_NULL ((struct amb_model_file){AMB_BUF_NULL, false})

/* Read, check and hash: info->sha256 and info->bytes. Errors: see amb_model_open. */
int amb_model_file_load(struct amb_model_file *out, struct amb_model_info *info,
                        const struct amb_model_options *options, struct amb_error *err);
void amb_model_file_deinit(struct amb_model_file *file); /* idempotent; also for AMB_CLEANUP */

int amb_model_onnx_open(struct amb_model **out, const struct amb_model_options *options, struct amb_error *err);
int amb_model_fake_open(struct amb_model **out, const struct amb_model_options *options, struct amb_error *err);
