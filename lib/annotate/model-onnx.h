#pragma once
/* Model onnx: what its files share: sessions (model-onnx.c), shapes (model-onnx-shape.c), runs (model-onnx-run.c). */
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "annotate/model-private.h"
#include "annotate/ort.h"
#include "base/buf.h"
#include "base/crew.h"

#define AMB_ONNX_DIMS_MAX 8u

enum amb_onnx_input { AMB_ONNX_X, AMB_ONNX_SIGMA, AMB_ONNX_LABELS, AMB_ONNX_INPUT_N };
extern const char *const amb_onnx_input_names[AMB_ONNX_INPUT_N];

struct amb_onnx {
    struct amb_model base;
    const struct amb_ort *ort;
    struct amb_ort_session *session;
    struct amb_ort_memory *memory;
    struct amb_ort_run *run; /* its flag to terminate is the runtime's own hand-over between threads */
    char *output; /* the library's allocator owns it */
    unsigned sigma_dims; /* 1: [N], 2: [N,1] */
    struct amb_crew *crew; /* NULL: one thread, or those inside of a run */
    _Atomic bool stopped; /* any thread */
    struct amb_buf pad[AMB_ONNX_INPUT_N]; /* of a model with a fixed batch */
};

struct amb_onnx_tensor {
    int dtype; /* 0: no tensor */
    size_t n_dims;
    int64_t dims[AMB_ONNX_DIMS_MAX]; /* -1: any */
};

/* Type and shape of what the runtime describes. Errors: AMB_ERR_FORMAT. */
int amb_onnx_tensor_load(struct amb_onnx_tensor *out, const struct amb_ort *ort, const struct amb_ort_tensor *info,
                         struct amb_error *err);

/* AMB_ERR_FORMAT: "model PATH: WHAT 'NAME' is f32[N,3], allowed: ALLOWED". */
int amb_onnx_tensor_fail(const struct amb_onnx_tensor *tensor, const char *path, const char *what, const char *name,
                         const char *allowed, struct amb_error *err);

/* Look at the session's inputs and outputs and fill in base.info, output, memory and run. */
int amb_onnx_inspect(struct amb_onnx *onnx, const char *path, struct amb_error *err);

/* That of amb_model_ops. */
int amb_onnx_run_filled(float *p, struct amb_model *model, const float *x, const float *sigma, const void *labels, size_t n,
                        void (*fill)(void *opaque, size_t first, size_t n), void *opaque, struct amb_error *err);
