/*
 * Model onnx: a session of ONNX Runtime over the bytes that were checked and hashed.
 *
 * All threads inherit the scheduling of whoever opens the model and never spin, so that a low-priority owner has a
 * low-priority model.
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "annotate/model-onnx.h"
#include "annotate/ort-cuda.h"
#include "base/alloc.h"
#include "base/cleanup.h"
#include "noise/fpenv.h"

#define THREADS_MAX 1024 /* not tuned */

static void onnx_close(struct amb_model *model) {
    struct amb_onnx *onnx = (struct amb_onnx *)model;
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
    for (unsigned i = 0; i < AMB_ONNX_INPUT_N; i++) {
        amb_buf_deinit(&onnx->pad[i]);
    }
    amb_free(onnx);
}

static void onnx_stop(struct amb_model *model) {
    struct amb_onnx *onnx = (struct amb_onnx *)model;
    amb_ort_result result;

    atomic_store(&onnx->stopped, true);
    result = onnx->ort->RunOptionsSetTerminate(onnx->run);
    if (result != NULL) {
        onnx->ort->ReleaseStatus(result);
    }
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

static int onnx_create(struct amb_onnx *onnx, const struct amb_model_options *options, const struct amb_model_file *file,
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

/* control: the caller's own, which threads inherit; the library may have left FTZ and DAZ set. */
static int onnx_share(struct amb_onnx *onnx, const struct amb_model_options *options, const struct amb_model_file *file,
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
    static const struct amb_model_ops ops = {NULL, onnx_close, onnx_stop, amb_onnx_run_filled};
    AMB_CLEANUP(amb_model_file_deinit) struct amb_model_file file = AMB_MODEL_FILE_NULL;
    struct amb_onnx *onnx = amb_calloc(1, sizeof *onnx);
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
    r = r < 0 ? r : amb_onnx_inspect(onnx, options->path, err);
    r = r < 0 || !on_cpu ? r : onnx_share(onnx, options, &file, n_threads, control, err);
    amb_fpenv_put(control);
    if (r < 0) {
        onnx_close(&onnx->base);
        return r;
    }
    *out = &onnx->base;
    return 0;
}
