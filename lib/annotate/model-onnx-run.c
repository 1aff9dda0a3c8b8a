/*
 * Model onnx run: on the CPU the rows of a batch go in pieces to threads of ours, each with one thread of the runtime: threads
 * inside of a run meet behind each of the model's layers, which costs much where layers are small, and all where another
 * process takes one of them away. Measured on two cores, evaluations/s, pieces against threads inside: 4,246 and 3,438 (the
 * shipped classifier), 32,203 and 18,501 (the demo's).
 *
 * A model with a fixed batch gets its last rows filled up with zeros; of more than one row a run it has its threads inside.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "annotate/model-onnx.h"
#include "noise/fpenv.h"

#define PIECE_ROWS 16u /* at most: what a layer makes of them stays in a core's cache; 4 to 64 are alike */

static double logit_p(const float *logits, unsigned n, unsigned column) {
    double top = (double)logits[0], sum = 0;

    if (n == 1) {
        return 1.0 / (1.0 + exp(-(double)logits[0]));
    }
    for (unsigned i = 1; i < n; i++) {
        top = (double)logits[i] > top ? (double)logits[i] : top;
    }
    for (unsigned i = 0; i < n; i++) {
        sum += exp((double)logits[i] - top); /* NaN anywhere gives NaN */
    }
    return exp((double)logits[column] - top) / sum;
}

static int onnx_take_p(float *p, struct amb_onnx *onnx, struct amb_ort_value *value, size_t n, size_t n_rows,
                       struct amb_error *err) {
    const struct amb_ort *ort = onnx->ort;
    const unsigned k = onnx->base.info.n_outputs;
    struct amb_ort_tensor *info = NULL;
    struct amb_onnx_tensor tensor = {0};
    void *data = NULL;
    amb_ort_result result = ort->GetTensorTypeAndShape(value, &info);
    int r = result == NULL ? amb_onnx_tensor_load(&tensor, ort, info, err) : 0;

    if (info != NULL) {
        ort->ReleaseTensorTypeAndShapeInfo(info);
    }
    result = result != NULL || r < 0 ? result : ort->GetTensorMutableData(value, &data);
    if (result != NULL) {
        return amb_ort_fail(ort, result, -EIO, "output of the model", err);
    }
    if (r < 0) {
        return r;
    }
    if (tensor.dtype != AMB_ORT_F32 || tensor.n_dims < 1 || tensor.n_dims > 2 || tensor.dims[0] != (int64_t)n_rows ||
        (tensor.n_dims == 2 ? tensor.dims[1] : 1) != (int64_t)k) {
        return amb_onnx_tensor_fail(&tensor, "as it ran", "output", onnx->output, "as declared, a row for each of the batch",
                                    err);
    }
    for (size_t i = 0; i < n; i++) {
        p[i] = (float)logit_p((const float *)data + i * k, k, onnx->base.column);
    }
    return 0;
}

static int onnx_run_rows(float *p, struct amb_onnx *onnx, const void *const data[AMB_ONNX_INPUT_N], size_t n, size_t n_rows,
                         const uint32_t size[3], struct amb_error *err) {
    const struct amb_ort *ort = onnx->ort;
    const struct amb_model_info *info = &onnx->base.info;
    const int64_t rows = (int64_t)n_rows;
    const int64_t shapes[AMB_ONNX_INPUT_N][4] = {{rows, size[0], size[1], size[2]}, {rows, 1}, {rows, info->label_width}};
    const size_t n_dims[AMB_ONNX_INPUT_N] = {4, onnx->sigma_dims, info->labels == AMB_MODEL_LABELS_VECTOR ? 2 : 1};
    const size_t bytes[AMB_ONNX_INPUT_N] = {
        n_rows * size[0] * size[1] * size[2] * sizeof(float), n_rows * sizeof(float),
        info->labels == AMB_MODEL_LABELS_VECTOR ? n_rows * info->label_width * sizeof(float) : n_rows * sizeof(int64_t)};
    const size_t n_inputs = info->labels != AMB_MODEL_LABELS_NONE ? 3 : 2;
    struct amb_ort_value *values[AMB_ONNX_INPUT_N] = {NULL}, *output = NULL;
    const char *output_name = onnx->output;
    amb_ort_result result = NULL;
    int r = 0;

    for (size_t i = 0; i < n_inputs && result == NULL; i++) {
        union { /* the runtime reads inputs only; its signature has no const */
            const void *in;
            void *out;
        } pointer = {.in = data[i]};

        result = ort->CreateTensorWithDataAsOrtValue(
            onnx->memory, pointer.out, bytes[i], shapes[i], n_dims[i],
            i == AMB_ONNX_LABELS && info->labels == AMB_MODEL_LABELS_INTEGER ? AMB_ORT_I64 : AMB_ORT_F32, &values[i]);
    }
    result = result != NULL ? result
                            : ort->Run(onnx->session, onnx->run, amb_onnx_input_names, (const struct amb_ort_value *const *)values,
                                       n_inputs, &output_name, 1, &output);
    if (result != NULL) {
        r = amb_ort_fail(ort, result, atomic_load(&onnx->stopped) ? -ECANCELED : -EIO, "ONNX Runtime", err);
    } else {
        r = onnx_take_p(p, onnx, output, n, n_rows, err);
    }
    for (size_t i = 0; i < n_inputs; i++) {
        if (values[i] != NULL) {
            ort->ReleaseValue(values[i]);
        }
    }
    if (output != NULL) {
        ort->ReleaseValue(output);
    }
    return r;
}

/* Fill up to the model's fixed batch. */
static int onnx_pad(const void **out, struct amb_buf *buf, const void *data, size_t n, size_t batch, size_t row_bytes) {
    if (amb_buf_reserve(buf, batch * row_bytes) < 0) {
        return -ENOMEM;
    }
    memcpy(buf->data, data, n * row_bytes);
    memset(buf->data + n * row_bytes, 0, (batch - n) * row_bytes);
    *out = buf->data;
    return 0;
}

/* One run's rows in pieces. */
struct batch {
    struct amb_onnx *onnx;
    float *p;
    const uint8_t *data[AMB_ONNX_INPUT_N]; /* NULL: not given */
    size_t row_bytes[AMB_ONNX_INPUT_N];
    size_t n, step;
    void (*fill)(void *opaque, size_t first, size_t n); /* NULL: they are there */
    void *opaque;
    _Atomic int code;     /* of the piece that failed first */
    struct amb_error err; /* whose piece set `code` writes it */
};

static void batch_run_piece(void *opaque, size_t i_piece) {
    struct batch *batch = opaque;
    struct amb_onnx *onnx = batch->onnx;
    const uint32_t size[3] = {onnx->base.info.channels, onnx->base.info.height, onnx->base.info.width};
    const size_t at = i_piece * batch->step, n = batch->n - at < batch->step ? batch->n - at : batch->step;
    const size_t n_rows = onnx->base.info.batch != 0 ? batch->step : n;
    const void *data[AMB_ONNX_INPUT_N] = {NULL};
    const uint64_t control = amb_fpenv_peek();
    struct amb_error err = AMB_ERROR_NULL;
    int r = 0, none = 0;

    if (atomic_load(&batch->code) != 0) {
        return;
    }
    if (batch->fill != NULL) {
        batch->fill(batch->opaque, at, n);
    }
    for (unsigned i = 0; i < AMB_ONNX_INPUT_N && r == 0; i++) {
        data[i] = batch->data[i] != NULL ? batch->data[i] + at * batch->row_bytes[i] : NULL;
        if (data[i] != NULL && n < n_rows) { /* of the last piece only */
            r = onnx_pad(&data[i], &onnx->pad[i], data[i], n, n_rows, batch->row_bytes[i]);
        }
    }
    r = r < 0 ? amb_fail(&err, r, "no memory for a batch of %zu", n_rows)
              : onnx_run_rows(batch->p + at, onnx, data, n, n_rows, size, &err);
    amb_fpenv_put(control); /* the runtime may leave FTZ and DAZ set */
    if (r < 0 && atomic_compare_exchange_strong(&batch->code, &none, r)) {
        batch->err = err;
    }
}

static size_t batch_step(const struct amb_onnx *onnx, size_t n) {
    size_t step = onnx->base.info.n_parallel > 1 ? n / (2 * (size_t)onnx->base.info.n_parallel) : n;

    if (onnx->base.info.batch != 0) {
        return onnx->base.info.batch;
    }
    return step < 1 ? 1 : step > PIECE_ROWS && onnx->crew != NULL ? PIECE_ROWS : step;
}

int amb_onnx_run_filled(float *p, struct amb_model *model, const float *x, const float *sigma, const void *labels, size_t n,
                        void (*fill)(void *opaque, size_t first, size_t n), void *opaque, struct amb_error *err) {
    struct amb_onnx *onnx = (struct amb_onnx *)model;
    const struct amb_model_info *info = &model->info;
    struct batch batch = {
        .onnx = onnx,
        .p = p,
        .data = {(const uint8_t *)x, (const uint8_t *)sigma, labels},
        .row_bytes = {sizeof(float) * info->channels * info->height * info->width, sizeof(float),
                      info->labels == AMB_MODEL_LABELS_VECTOR ? sizeof(float) * info->label_width : sizeof(int64_t)},
        .n = n,
        .step = batch_step(onnx, n),
        .fill = fill,
        .opaque = opaque,
    };
    const size_t n_pieces = (n + batch.step - 1) / batch.step;

    if (onnx->crew != NULL) {
        amb_crew_run(onnx->crew, n_pieces, batch_run_piece, &batch);
    } else {
        for (size_t i = 0; i < n_pieces; i++) {
            batch_run_piece(&batch, i);
        }
    }
    if (batch.code != 0) {
        *err = batch.err;
    }
    return batch.code;
}
