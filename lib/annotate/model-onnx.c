/*
 * Model onnx: a session of ONNX Runtime over the bytes that were checked and hashed.
 *
 * Inputs are found by name: `x` and `sigma` must be there, `labels` may be; anything else cannot be given. The first
 * output counts: [N] or [N,1] is one logit a row, [N,K] K logits of which a softmax takes one.
 *
 * On the CPU the rows of a batch go in pieces to threads of ours, each with one thread of the runtime: threads inside
 * of a run meet behind each of the model's layers, which costs much where layers are small, and all where another
 * process takes one of them away. Measured on two cores, evaluations/s, pieces against threads inside: 4,246 and 3,438 (the
 * shipped classifier), 32,203 and 18,501 (the demo's). All threads inherit the scheduling of whoever opens the model and
 * never spin, so that a low-priority owner has a low-priority model.
 *
 * A model with a fixed batch gets its last rows filled up with zeros; of more than one row a run it has its threads inside.
 */
#include <errno.h>
#include <math.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "annotate/model-private.h"
#include "annotate/ort-cuda.h"
#include "annotate/ort.h"
#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/crew.h"
#include "noise/fpenv.h"

#define DIMS_MAX    8u
#define THREADS_MAX 1024 /* not tuned */
#define PIECE_ROWS  16u  /* at most: what a layer makes of them stays in a core's cache; 4 to 64 are alike */

enum input { INPUT_X, INPUT_SIGMA, INPUT_LABELS, INPUT_N };
static const char *const input_names[INPUT_N] = {"x", "sigma", "labels"};

struct onnx {
    struct amb_model base;
    const struct amb_ort *ort;
    struct amb_ort_session *session;
    struct amb_ort_memory *memory;
    struct amb_ort_run *run; /* its flag to terminate is the runtime's own hand-over between threads */
    char *output; /* the library's allocator owns it */
    unsigned sigma_dims; /* 1: [N], 2: [N,1] */
    struct amb_crew *crew; /* NULL: one thread, or those inside of a run */
    _Atomic bool stopped; /* any thread */
    struct amb_buf pad[INPUT_N]; /* of a model with a fixed batch */
};

struct tensor {
    int dtype; /* 0: no tensor */
    size_t n_dims;
    int64_t dims[DIMS_MAX]; /* -1: any */
};

static void onnx_close(struct amb_model *model) {
    struct onnx *onnx = (struct onnx *)model;
    struct amb_ort_allocator *allocator = NULL;
    amb_ort_result result;

    if (onnx->output != NULL) {
        result = onnx->ort->GetAllocatorWithDefaultOptions(&allocator);
        result = result != NULL ? result : onnx->ort->AllocatorFree(allocator, onnx->output);
        if (result != NULL) {
            onnx->ort->ReleaseStatus(result);
        }
    }
    amb_crew_free(onnx->crew);
    if (onnx->session != NULL) {
        onnx->ort->ReleaseSession(onnx->session);
    }
    if (onnx->memory != NULL) {
        onnx->ort->ReleaseMemoryInfo(onnx->memory);
    }
    if (onnx->run != NULL) {
        onnx->ort->ReleaseRunOptions(onnx->run);
    }
    for (unsigned i = 0; i < INPUT_N; i++) {
        amb_buf_deinit(&onnx->pad[i]);
    }
    amb_free(onnx);
}

static void onnx_stop(struct amb_model *model) {
    struct onnx *onnx = (struct onnx *)model;
    amb_ort_result result;

    atomic_store(&onnx->stopped, true);
    result = onnx->ort->RunOptionsSetTerminate(onnx->run);
    if (result != NULL) {
        onnx->ort->ReleaseStatus(result);
    }
}

/* Shapes */

static int tensor_load(struct tensor *out, const struct amb_ort *ort, const struct amb_ort_tensor *info,
                       struct amb_error *err) {
    amb_ort_result result = ort->GetDimensionsCount(info, &out->n_dims);

    result = result != NULL ? result : ort->GetTensorElementType(info, &out->dtype);
    if (result == NULL && out->n_dims <= DIMS_MAX) {
        result = ort->GetDimensions(info, out->dims, out->n_dims);
    }
    return result == NULL ? 0 : amb_ort_fail(ort, result, AMB_ERR_FORMAT, "shape of a tensor", err);
}

static int tensor_load_type(struct tensor *out, const struct amb_ort *ort, struct amb_ort_type *type,
                            struct amb_error *err) {
    const struct amb_ort_tensor *info = NULL; /* inside of type */
    amb_ort_result result = ort->CastTypeInfoToTensorInfo(type, &info);
    int r = 0;

    *out = (struct tensor){0};
    if (result != NULL) {
        r = amb_ort_fail(ort, result, AMB_ERR_FORMAT, "type of a tensor", err);
    } else if (info != NULL) { /* else a map or a sequence */
        r = tensor_load(out, ort, info, err);
    }
    ort->ReleaseTypeInfo(type);
    return r;
}

static void tensor_print(char *out, size_t bytes, const struct tensor *tensor) {
    size_t n = (size_t)snprintf(out, bytes, "%s[",
                                tensor->dtype == AMB_ORT_F32   ? "f32"
                                : tensor->dtype == AMB_ORT_I64 ? "i64"
                                                               : "another type");

    for (size_t i = 0; i < tensor->n_dims && i < DIMS_MAX && n < bytes; i++) {
        const char *comma = i > 0 ? "," : "";

        n += tensor->dims[i] < 0 ? (size_t)snprintf(out + n, bytes - n, "%sN", comma)
                                 : (size_t)snprintf(out + n, bytes - n, "%s%lld", comma, (long long)tensor->dims[i]);
    }
    if (n < bytes) {
        snprintf(out + n, bytes - n, "]");
    }
}

static int tensor_fail(const struct tensor *tensor, const char *path, const char *what, const char *name,
                       const char *allowed, struct amb_error *err) {
    char text[96];

    tensor_print(text, sizeof text, tensor);
    return amb_fail(err, AMB_ERR_FORMAT, "model %s: %s '%.40s' is %s, allowed: %s", path, what, name, text, allowed);
}

static bool onnx_take_batch(struct onnx *onnx, int64_t n) {
    uint32_t batch = n > 0 && n <= UINT32_MAX ? (uint32_t)n : 0;
    bool fits = onnx->base.info.batch == 0 || batch == 0 || onnx->base.info.batch == batch;

    onnx->base.info.batch = batch != 0 ? batch : onnx->base.info.batch;
    return fits && n != 0;
}

static uint32_t dim_u32(int64_t n) {
    return n > 0 && n <= UINT32_MAX ? (uint32_t)n : 0;
}

static int onnx_take_input(struct onnx *onnx, const char *path, const char *name, const struct tensor *tensor,
                           bool found[INPUT_N], struct amb_error *err) {
    struct amb_model_info *info = &onnx->base.info;

    if (strcmp(name, "x") == 0) {
        if (tensor->dtype != AMB_ORT_F32 || tensor->n_dims != 4 || !onnx_take_batch(onnx, tensor->dims[0])) {
            return tensor_fail(tensor, path, "input", name, "f32 [N,C,H,W]", err);
        }
        info->channels = tensor->dims[1] > 0 ? dim_u32(tensor->dims[1]) : info->channels;
        info->height = tensor->dims[2] > 0 ? dim_u32(tensor->dims[2]) : info->height;
        info->width = tensor->dims[3] > 0 ? dim_u32(tensor->dims[3]) : info->width;
        found[INPUT_X] = true;
    } else if (strcmp(name, "sigma") == 0) {
        if (tensor->dtype != AMB_ORT_F32 || tensor->n_dims < 1 || tensor->n_dims > 2 ||
            (tensor->n_dims == 2 && tensor->dims[1] != 1) || !onnx_take_batch(onnx, tensor->dims[0])) {
            return tensor_fail(tensor, path, "input", name, "f32 [N] or [N,1]", err);
        }
        onnx->sigma_dims = (unsigned)tensor->n_dims;
        found[INPUT_SIGMA] = true;
    } else if (strcmp(name, "labels") == 0) {
        bool integer = tensor->dtype == AMB_ORT_I64 && tensor->n_dims == 1;
        bool vector = tensor->dtype == AMB_ORT_F32 && tensor->n_dims == 2 && dim_u32(tensor->dims[1]) != 0;

        if ((!integer && !vector) || !onnx_take_batch(onnx, tensor->dims[0])) {
            return tensor_fail(tensor, path, "input", name, "i64 [N] or f32 [N,D]", err);
        }
        info->labels = integer ? AMB_MODEL_LABELS_INTEGER : AMB_MODEL_LABELS_VECTOR;
        info->label_width = integer ? 0 : dim_u32(tensor->dims[1]);
        found[INPUT_LABELS] = true;
    } else {
        return tensor_fail(tensor, path, "input", name, "inputs x, sigma and optionally labels", err);
    }
    return 0;
}

static int onnx_take_output(struct onnx *onnx, const char *path, const struct tensor *tensor, struct amb_error *err) {
    bool one = tensor->n_dims == 1, many = tensor->n_dims == 2 && dim_u32(tensor->dims[1]) != 0;

    if (tensor->dtype != AMB_ORT_F32 || (!one && !many) || !onnx_take_batch(onnx, tensor->dims[0])) {
        return tensor_fail(tensor, path, "output", onnx->output, "f32 [N], [N,1] or [N,K] logits", err);
    }
    onnx->base.info.n_outputs = one ? 1 : dim_u32(tensor->dims[1]);
    if (onnx->base.column >= onnx->base.info.n_outputs) {
        return amb_fail(err, AMB_ERR_CONFIG, "column %u of model %s, allowed: 0 to %u", onnx->base.column, path,
                        onnx->base.info.n_outputs - 1);
    }
    return 0;
}

static int onnx_take_inputs(struct onnx *onnx, const char *path, struct amb_ort_allocator *allocator,
                            struct amb_error *err) {
    const struct amb_ort *ort = onnx->ort;
    bool found[INPUT_N] = {false};
    size_t n = 0;
    amb_ort_result result = ort->SessionGetInputCount(onnx->session, &n);
    int r = 0;

    for (size_t i = 0; i < n && r == 0 && result == NULL; i++) {
        struct amb_ort_type *type = NULL;
        struct tensor tensor;
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
    if (r == 0 && (!found[INPUT_X] || !found[INPUT_SIGMA])) {
        return amb_fail(err, AMB_ERR_FORMAT, "model %s has no input '%s', allowed: x [N,C,H,W], sigma [N], labels", path,
                        input_names[found[INPUT_X] ? INPUT_SIGMA : INPUT_X]);
    }
    return r;
}

static int onnx_inspect(struct onnx *onnx, const char *path, struct amb_error *err) {
    const struct amb_ort *ort = onnx->ort;
    struct amb_ort_allocator *allocator = NULL;
    struct amb_ort_type *type = NULL;
    struct tensor tensor;
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

/* Sessions */

static bool provider_is_available(const struct amb_ort *ort, const char *name, char *known, size_t bytes) {
    char **providers = NULL;
    bool found = false;
    int n = 0;
    amb_ort_result result = ort->GetAvailableProviders(&providers, &n);

    known[0] = '\0';
    for (int i = 0; result == NULL && i < n; i++) {
        size_t length = strlen(name), used = strlen(known);

        found = found || (strncmp(providers[i], name, length) == 0 &&
                          strcmp(providers[i] + length, "ExecutionProvider") == 0);
        snprintf(known + used, bytes - used, "%s%s", i > 0 ? ", " : "", providers[i]);
    }
    result = result == NULL ? ort->ReleaseAvailableProviders(providers, n) : result;
    if (result != NULL) {
        ort->ReleaseStatus(result);
    }
    return found;
}

static int options_push_cuda(const struct amb_ort *ort, struct amb_ort_options *options, struct amb_error *err) {
    static const char *const keys[] = {"device_id", "arena_extend_strategy"};
    static const char *const values[] = {"0", "kSameAsRequested"};
    struct amb_ort_cuda *cuda = NULL;
    amb_ort_result result;

    amb_ort_load_cuda(ort->path);
    result = ort->CreateCUDAProviderOptions(&cuda);
    result = result != NULL ? result : ort->UpdateCUDAProviderOptions(cuda, keys, values, 2);
    result = result != NULL ? result : ort->SessionOptionsAppendExecutionProvider_CUDA_V2(options, cuda);
    if (cuda != NULL) {
        ort->ReleaseCUDAProviderOptions(cuda);
    }
    return result == NULL ? 0 : amb_ort_fail(ort, result, AMB_ERR_UNSUPPORTED,
                                             "provider CUDA cannot be used (needed: NVIDIA's driver, and the libraries of "
                                             "`pip install onnxruntime-gpu[cuda,cudnn]`)",
                                             err);
}

/* The runtime falls back to its CPU provider by itself: a list without CPU still has it behind, and nothing that stands
 * behind CPU is ever asked. */
static int options_push_providers(const struct amb_ort *ort, struct amb_ort_options *session,
                                  const struct amb_model_options *options, struct amb_model_info *info,
                                  struct amb_error *err) {
    bool ended = false;
    char known[256];

    snprintf(info->runtime, sizeof info->runtime, "onnxruntime %s", ort->version);
    for (size_t i = 0; i < options->n_providers; i++) {
        const char *name = options->providers[i];
        size_t used = strlen(info->runtime);

        if (strcmp(name, "CPU") != 0 && strcmp(name, "CUDA") != 0) {
            return amb_fail(err, AMB_ERR_CONFIG, "provider '%.40s', allowed: CUDA, CPU", name);
        }
        if (ended) {
            continue;
        }
        if (!provider_is_available(ort, name, known, sizeof known)) {
            return amb_fail(err, AMB_ERR_UNSUPPORTED,
                            "provider %s is not in ONNX Runtime %s (%s), which has: %s; install onnxruntime-gpu, or set "
                            "AMBIENTD_ONNXRUNTIME to its library, or leave %s out",
                            name, ort->version, ort->path, known, name);
        }
        if (strcmp(name, "CUDA") == 0) {
            int r = options_push_cuda(ort, session, err);

            if (r < 0) {
                return r;
            }
        }
        snprintf(info->runtime + used, sizeof info->runtime - used, ", %s", name);
        ended = strcmp(name, "CPU") == 0;
    }
    if (options->n_providers == 0) {
        strcat(info->runtime, ", CPU"); /* a version has at most 31 bytes */
    }
    return 0;
}

/* The runtime's own default counts the machine's cores, of which a container or taskset may leave us few. */
static int threads_count(const struct amb_model_options *options) {
    cpu_set_t cores;

    if (options->n_threads != 0) {
        return options->n_threads < THREADS_MAX ? (int)options->n_threads : THREADS_MAX;
    }
    return sched_getaffinity(0, sizeof cores, &cores) == 0 ? CPU_COUNT(&cores) : 1;
}

static int onnx_create(struct onnx *onnx, const struct amb_model_options *options, const struct amb_model_file *file,
                       int n_threads, struct amb_error *err) {
    const struct amb_ort *ort = onnx->ort;
    struct amb_ort_options *session = NULL;
    char what[512];
    amb_ort_result result = ort->CreateSessionOptions(&session);
    int r = 0;

    result = result != NULL ? result : ort->SetIntraOpNumThreads(session, n_threads);
    result = result != NULL ? result : ort->SetInterOpNumThreads(session, 1);
    result = result != NULL ? result : ort->SetSessionExecutionMode(session, AMB_ORT_SEQUENTIAL);
    result = result != NULL ? result : ort->SetSessionLogSeverityLevel(session, AMB_ORT_LOG_ERROR);
    result = result != NULL ? result : ort->SetSessionGraphOptimizationLevel(session, AMB_ORT_OPTIMISE_ALL);
    result = result != NULL ? result : ort->AddSessionConfigEntry(session, "session.intra_op.allow_spinning", "0");
    /* its own format would else be guessed from four bytes, and nobody has looked through that */
    result = result != NULL ? result : ort->AddSessionConfigEntry(session, "session.load_model_format", "ONNX");
    if (result == NULL) {
        r = options_push_providers(ort, session, options, &onnx->base.info, err);
    }
    if (result == NULL && r == 0) {
        result = file->has_external
                     ? ort->CreateSession(ort->env, options->path, session, &onnx->session)
                     : ort->CreateSessionFromArray(ort->env, file->bytes.data, file->bytes.n_bytes, session,
                                                   &onnx->session);
    }
    if (session != NULL) {
        ort->ReleaseSessionOptions(session);
    }
    snprintf(what, sizeof what, "model %s is refused by ONNX Runtime %s", options->path, ort->version);
    return result != NULL ? amb_ort_fail(ort, result, AMB_ERR_FORMAT, what, err) : r;
}

/* Runs */

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

static int onnx_take_p(float *p, struct onnx *onnx, struct amb_ort_value *value, size_t n, size_t n_rows,
                       struct amb_error *err) {
    const struct amb_ort *ort = onnx->ort;
    const unsigned k = onnx->base.info.n_outputs;
    struct amb_ort_tensor *info = NULL;
    struct tensor tensor = {0};
    void *data = NULL;
    amb_ort_result result = ort->GetTensorTypeAndShape(value, &info);
    int r = result == NULL ? tensor_load(&tensor, ort, info, err) : 0;

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
        return tensor_fail(&tensor, "as it ran", "output", onnx->output, "as declared, a row for each of the batch",
                           err);
    }
    for (size_t i = 0; i < n; i++) {
        p[i] = (float)logit_p((const float *)data + i * k, k, onnx->base.column);
    }
    return 0;
}

static int onnx_run_rows(float *p, struct onnx *onnx, const void *const data[INPUT_N], size_t n, size_t n_rows,
                         const uint32_t size[3], struct amb_error *err) {
    const struct amb_ort *ort = onnx->ort;
    const struct amb_model_info *info = &onnx->base.info;
    const int64_t rows = (int64_t)n_rows;
    const int64_t shapes[INPUT_N][4] = {{rows, size[0], size[1], size[2]}, {rows, 1}, {rows, info->label_width}};
    const size_t n_dims[INPUT_N] = {4, onnx->sigma_dims, info->labels == AMB_MODEL_LABELS_VECTOR ? 2 : 1};
    const size_t bytes[INPUT_N] = {
        n_rows * size[0] * size[1] * size[2] * sizeof(float), n_rows * sizeof(float),
        info->labels == AMB_MODEL_LABELS_VECTOR ? n_rows * info->label_width * sizeof(float) : n_rows * sizeof(int64_t)};
    const size_t n_inputs = info->labels != AMB_MODEL_LABELS_NONE ? 3 : 2;
    struct amb_ort_value *values[INPUT_N] = {NULL}, *output = NULL;
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
            i == INPUT_LABELS && info->labels == AMB_MODEL_LABELS_INTEGER ? AMB_ORT_I64 : AMB_ORT_F32, &values[i]);
    }
    result = result != NULL ? result
                            : ort->Run(onnx->session, onnx->run, input_names, (const struct amb_ort_value *const *)values,
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
    struct onnx *onnx;
    float *p;
    const uint8_t *data[INPUT_N]; /* NULL: not given */
    size_t row_bytes[INPUT_N];
    size_t n, step;
    void (*fill)(void *opaque, size_t first, size_t n); /* NULL: they are there */
    void *opaque;
    _Atomic int code;     /* of the piece that failed first */
    struct amb_error err; /* whose piece set `code` writes it */
};

static void batch_run_piece(void *opaque, size_t i_piece) {
    struct batch *batch = opaque;
    struct onnx *onnx = batch->onnx;
    const uint32_t size[3] = {onnx->base.info.channels, onnx->base.info.height, onnx->base.info.width};
    const size_t at = i_piece * batch->step, n = batch->n - at < batch->step ? batch->n - at : batch->step;
    const size_t n_rows = onnx->base.info.batch != 0 ? batch->step : n;
    const void *data[INPUT_N] = {NULL};
    const uint64_t control = amb_fpenv_peek();
    struct amb_error err = AMB_ERROR_NULL;
    int r = 0, none = 0;

    if (atomic_load(&batch->code) != 0) {
        return;
    }
    if (batch->fill != NULL) {
        batch->fill(batch->opaque, at, n);
    }
    for (unsigned i = 0; i < INPUT_N && r == 0; i++) {
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

static size_t batch_step(const struct onnx *onnx, size_t n) {
    size_t step = onnx->base.info.n_parallel > 1 ? n / (2 * (size_t)onnx->base.info.n_parallel) : n;

    if (onnx->base.info.batch != 0) {
        return onnx->base.info.batch;
    }
    return step < 1 ? 1 : step > PIECE_ROWS && onnx->crew != NULL ? PIECE_ROWS : step;
}

static int onnx_run_filled(float *p, struct amb_model *model, const float *x, const float *sigma, const void *labels, size_t n,
                           void (*fill)(void *opaque, size_t first, size_t n), void *opaque, struct amb_error *err) {
    struct onnx *onnx = (struct onnx *)model;
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

static int onnx_run(float *p, struct amb_model *model, const float *x, const float *sigma, const void *labels, size_t n,
                    struct amb_error *err) {
    return onnx_run_filled(p, model, x, sigma, labels, n, NULL, NULL, err);
}

/* control: the caller's own, which threads inherit; the library may have left FTZ and DAZ set. */
static int onnx_share(struct onnx *onnx, const struct amb_model_options *options, const struct amb_model_file *file,
                      int n_threads, uint64_t control, struct amb_error *err) {
    int r;

    if (n_threads == 1) {
        return 0;
    }
    if (onnx->base.info.batch > 1) { /* known only now: once more, with threads inside */
        onnx->ort->ReleaseSession(onnx->session);
        onnx->session = NULL;
        return onnx_create(onnx, options, file, n_threads, err);
    }
    amb_fpenv_put(control);
    r = amb_crew_new(&onnx->crew, (unsigned)n_threads, err);
    onnx->base.info.n_parallel = (unsigned)n_threads;
    return r;
}

int amb_model_onnx_open(struct amb_model **out, const struct amb_model_options *options, struct amb_error *err) {
    static const struct amb_model_ops ops = {onnx_run, onnx_close, onnx_stop, onnx_run_filled};
    AMB_CLEANUP(amb_model_file_deinit) struct amb_model_file file = AMB_MODEL_FILE_NULL;
    struct onnx *onnx = amb_calloc(1, sizeof *onnx);
    const uint64_t control = amb_fpenv_peek();
    const bool on_cpu = options->n_providers == 0 || strcmp(options->providers[0], "CPU") == 0;
    const int n_threads = threads_count(options);
    int r;

    if (onnx == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for a model");
    }
    onnx->base.ops = &ops;
    onnx->base.column = options->column;
    onnx->base.info.n_parallel = 1;
    onnx->base.info.channels = options->channels;
    onnx->base.info.height = options->height;
    onnx->base.info.width = options->width;
    r = amb_model_file_load(&file, &onnx->base.info, options, err);
    r = r < 0 ? r : amb_ort_get(&onnx->ort, options->library, err);
    r = r < 0 ? r : onnx_create(onnx, options, &file, on_cpu ? 1 : n_threads, err);
    r = r < 0 ? r : onnx_inspect(onnx, options->path, err);
    r = r < 0 || !on_cpu ? r : onnx_share(onnx, options, &file, n_threads, control, err);
    amb_fpenv_put(control);
    if (r < 0) {
        onnx_close(&onnx->base);
        return r;
    }
    *out = &onnx->base;
    return 0;
}
