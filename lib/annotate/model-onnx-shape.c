/*
 * Model onnx shape: inputs are found by name: `x` and `sigma` must be there, `labels` may be; anything else cannot be given.
 * The first output counts: [N] or [N,1] is one logit a row, [N,K] K logits of which a softmax takes one.
 */
#include <stdio.h>
#include <string.h>

#include "annotate/model-onnx.h"

const char *const amb_onnx_input_names[AMB_ONNX_INPUT_N] = {"x", "sigma", "labels"};

int amb_onnx_tensor_load(struct amb_onnx_tensor *out, const struct amb_ort *ort, const struct amb_ort_tensor *info,
                       struct amb_error *err) {
    amb_ort_result result = ort->GetDimensionsCount(info, &out->n_dims);

    result = result != NULL ? result : ort->GetTensorElementType(info, &out->dtype);
    if (result == NULL && out->n_dims <= AMB_ONNX_DIMS_MAX) {
        result = ort->GetDimensions(info, out->dims, out->n_dims);
    }
    return result == NULL ? 0 : amb_ort_fail(ort, result, AMB_ERR_FORMAT, "shape of a tensor", err);
}

static int tensor_load_type(struct amb_onnx_tensor *out, const struct amb_ort *ort, struct amb_ort_type *type,
                            struct amb_error *err) {
    const struct amb_ort_tensor *info = NULL; /* inside of type */
    amb_ort_result result = ort->CastTypeInfoToTensorInfo(type, &info);
    int r = 0;

    *out = (struct amb_onnx_tensor){0};
    if (result != NULL) {
        r = amb_ort_fail(ort, result, AMB_ERR_FORMAT, "type of a tensor", err);
    } else if (info != NULL) { /* else a map or a sequence */
        r = amb_onnx_tensor_load(out, ort, info, err);
    }
    ort->ReleaseTypeInfo(type);
    return r;
}

static void tensor_print(char *out, size_t bytes, const struct amb_onnx_tensor *tensor) {
    size_t n = (size_t)snprintf(out, bytes, "%s[",
                                tensor->dtype == AMB_ORT_F32   ? "f32"
                                : tensor->dtype == AMB_ORT_I64 ? "i64"
                                                               : "another type");

    for (size_t i = 0; i < tensor->n_dims && i < AMB_ONNX_DIMS_MAX && n < bytes; i++) {
        const char *comma = i > 0 ? "," : "";

        n += tensor->dims[i] < 0 ? (size_t)snprintf(out + n, bytes - n, "%sN", comma)
                                 : (size_t)snprintf(out + n, bytes - n, "%s%lld", comma, (long long)tensor->dims[i]);
    }
    if (n < bytes) {
        snprintf(out + n, bytes - n, "]");
    }
}

int amb_onnx_tensor_fail(const struct amb_onnx_tensor *tensor, const char *path, const char *what, const char *name,
                       const char *allowed, struct amb_error *err) {
    char text[96];

    tensor_print(text, sizeof text, tensor);
    return amb_fail(err, AMB_ERR_FORMAT, "model %s: %s '%.40s' is %s, allowed: %s", path, what, name, text, allowed);
}

static bool onnx_take_batch(struct amb_onnx *onnx, int64_t n) {
    uint32_t batch = n > 0 && n <= UINT32_MAX ? (uint32_t)n : 0;
    bool fits = onnx->base.info.batch == 0 || batch == 0 || onnx->base.info.batch == batch;

    onnx->base.info.batch = batch != 0 ? batch : onnx->base.info.batch;
    return fits && n != 0;
}

static uint32_t dim_u32(int64_t n) {
    return n > 0 && n <= UINT32_MAX ? (uint32_t)n : 0;
}

static int onnx_take_input(struct amb_onnx *onnx, const char *path, const char *name, const struct amb_onnx_tensor *tensor,
                           bool found[AMB_ONNX_INPUT_N], struct amb_error *err) {
    struct amb_model_info *info = &onnx->base.info;

    if (strcmp(name, "x") == 0) {
        if (tensor->dtype != AMB_ORT_F32 || tensor->n_dims != 4 || !onnx_take_batch(onnx, tensor->dims[0])) {
            return amb_onnx_tensor_fail(tensor, path, "input", name, "f32 [N,C,H,W]", err);
        }
        info->channels = tensor->dims[1] > 0 ? dim_u32(tensor->dims[1]) : info->channels;
        info->height = tensor->dims[2] > 0 ? dim_u32(tensor->dims[2]) : info->height;
        info->width = tensor->dims[3] > 0 ? dim_u32(tensor->dims[3]) : info->width;
        found[AMB_ONNX_X] = true;
    } else if (strcmp(name, "sigma") == 0) {
        if (tensor->dtype != AMB_ORT_F32 || tensor->n_dims < 1 || tensor->n_dims > 2 ||
            (tensor->n_dims == 2 && tensor->dims[1] != 1) || !onnx_take_batch(onnx, tensor->dims[0])) {
            return amb_onnx_tensor_fail(tensor, path, "input", name, "f32 [N] or [N,1]", err);
        }
        onnx->sigma_dims = (unsigned)tensor->n_dims;
        found[AMB_ONNX_SIGMA] = true;
    } else if (strcmp(name, "labels") == 0) {
        bool integer = tensor->dtype == AMB_ORT_I64 && tensor->n_dims == 1;
        bool vector = tensor->dtype == AMB_ORT_F32 && tensor->n_dims == 2 && dim_u32(tensor->dims[1]) != 0;

        if ((!integer && !vector) || !onnx_take_batch(onnx, tensor->dims[0])) {
            return amb_onnx_tensor_fail(tensor, path, "input", name, "i64 [N] or f32 [N,D]", err);
        }
        info->labels = integer ? AMB_MODEL_LABELS_INTEGER : AMB_MODEL_LABELS_VECTOR;
        info->label_width = integer ? 0 : dim_u32(tensor->dims[1]);
        found[AMB_ONNX_LABELS] = true;
    } else {
        return amb_onnx_tensor_fail(tensor, path, "input", name, "inputs x, sigma and optionally labels", err);
    }
    return 0;
}

static int onnx_take_output(struct amb_onnx *onnx, const char *path, const struct amb_onnx_tensor *tensor, struct amb_error *err) {
    bool one = tensor->n_dims == 1, many = tensor->n_dims == 2 && dim_u32(tensor->dims[1]) != 0;

    if (tensor->dtype != AMB_ORT_F32 || (!one && !many) || !onnx_take_batch(onnx, tensor->dims[0])) {
        return amb_onnx_tensor_fail(tensor, path, "output", onnx->output, "f32 [N], [N,1] or [N,K] logits", err);
    }
    onnx->base.info.n_outputs = one ? 1 : dim_u32(tensor->dims[1]);
    if (onnx->base.column >= onnx->base.info.n_outputs) {
        return amb_fail(err, AMB_ERR_CONFIG, "column %u of model %s, allowed: 0 to %u", onnx->base.column, path,
                        onnx->base.info.n_outputs - 1);
    }
    return 0;
}

static int onnx_take_inputs(struct amb_onnx *onnx, const char *path, struct amb_ort_allocator *allocator,
                            struct amb_error *err) {
    const struct amb_ort *ort = onnx->ort;
    bool found[AMB_ONNX_INPUT_N] = {false};
    size_t n = 0;
    amb_ort_result result = ort->SessionGetInputCount(onnx->session, &n);
    int r = 0;

    for (size_t i = 0; i < n && r == 0 && result == NULL; i++) {
        struct amb_ort_type *type = NULL;
        struct amb_onnx_tensor tensor;
        char *name = NULL;

        result = ort->SessionGetInputTypeInfo(onnx->session, i, &type);
        r = result == NULL ? tensor_load_type(&tensor, ort, type, err) : 0;
        result = r == 0 && result == NULL ? ort->SessionGetInputName(onnx->session, i, allocator, &name) : result;
        if (name != NULL) {
            r = onnx_take_input(onnx, path, name, &tensor, found, err);
            result = ort->AllocatorFree(allocator, name);
        }
    }
    if (result != NULL) {
        return amb_ort_fail(ort, result, AMB_ERR_FORMAT, path, err);
    }
    if (r == 0 && (!found[AMB_ONNX_X] || !found[AMB_ONNX_SIGMA])) {
        return amb_fail(err, AMB_ERR_FORMAT, "model %s has no input '%s', allowed: x [N,C,H,W], sigma [N], labels", path,
                        amb_onnx_input_names[found[AMB_ONNX_X] ? AMB_ONNX_SIGMA : AMB_ONNX_X]);
    }
    return r;
}

int amb_onnx_inspect(struct amb_onnx *onnx, const char *path, struct amb_error *err) {
    const struct amb_ort *ort = onnx->ort;
    struct amb_ort_allocator *allocator = NULL;
    struct amb_ort_type *type = NULL;
    struct amb_onnx_tensor tensor;
    size_t n = 0;
    amb_ort_result result = ort->GetAllocatorWithDefaultOptions(&allocator);
    int r = result != NULL ? 0 : onnx_take_inputs(onnx, path, allocator, err);

    result = result != NULL || r < 0 ? result : ort->SessionGetOutputCount(onnx->session, &n);
    if (r == 0 && result == NULL && n == 0) {
        return amb_fail(err, AMB_ERR_FORMAT, "model %s has no output, allowed: logits [N] or [N,K] first", path);
    }
    result = result != NULL || r < 0 ? result : ort->SessionGetOutputName(onnx->session, 0, allocator, &onnx->output);
    result = result != NULL || r < 0 ? result : ort->SessionGetOutputTypeInfo(onnx->session, 0, &type);
    result = result != NULL || r < 0
                 ? result
                 : ort->CreateCpuMemoryInfo(AMB_ORT_ARENA_ALLOCATOR, AMB_ORT_MEMORY_DEFAULT, &onnx->memory);
    result = result != NULL || r < 0 ? result : ort->CreateRunOptions(&onnx->run);
    r = type == NULL ? r : tensor_load_type(&tensor, ort, type, err);
    if (result != NULL) {
        return amb_ort_fail(ort, result, AMB_ERR_FORMAT, path, err);
    }
    return r < 0 ? r : onnx_take_output(onnx, path, &tensor, err);
}
