#pragma once
/* Model: a noise-dependent classifier, run in batches: (x, sigma[, labels]) -> P(low quality). */
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define AMB_MODEL_BYTES_MAX    (UINT64_C(2) << 30) /* protobuf's own limit for one message */
#define AMB_MODEL_RUNTIME_TEXT 96u

/* What the model wants in `labels`. */
enum amb_model_labels {
    AMB_MODEL_LABELS_NONE,
    AMB_MODEL_LABELS_INTEGER, /* i64 [N], -1: none                              */
    AMB_MODEL_LABELS_VECTOR,  /* f32 [N, label_width], one-hot or as stored, zeros: none */
    AMB_MODEL_LABELS_N,
};

struct amb_model_options {
    const char *path;             /* of the .onnx, or "fake:NAME": a deterministic stand-in for tests      */
    const char *library;          /* libonnxruntime; NULL: searched (DESIGN section 5)                      */
    const char *const *providers; /* in order of preference, "CUDA", "CPU"; NULL: CPU                      */
    size_t n_providers;
    unsigned n_threads;           /* of a run; 0: the cores that the process may use                       */
    unsigned column;              /* of an [N,K] output: P(low quality) = softmax[column]                  */
    uint64_t bytes_max;           /* 0: AMB_MODEL_BYTES_MAX                                                */
    uint32_t channels, height, width; /* what x will be, where the model leaves it open                     */
};

struct amb_model_info {
    char sha256[65];     /* hex, of the file's bytes, then name, zero byte and bytes of each external file  */
    uint64_t bytes;
    uint32_t channels, height, width; /* of x; those of the options where the model leaves it open */
    uint32_t batch;      /* the only N it takes; 0: any                                     */
    unsigned n_parallel; /* rows of a run that are looked at side by side: a smaller batch leaves threads idle */
    enum amb_model_labels labels;
    uint32_t label_width;
    unsigned n_outputs;  /* K; 1: one logit, sigmoid                                        */
    char runtime[AMB_MODEL_RUNTIME_TEXT]; /* "onnxruntime 1.19.2, CPU"                      */
};

struct amb_model;

/**
 * Load the library (once in a process), then the model; check names, types and shapes of its inputs and outputs.
 *
 * The threads of the model inherit the caller's scheduling class and nice value, and do not spin.
 * options:  borrowed for the call.
 * Errors:   AMB_ERR_NOT_FOUND no library, with what to install; AMB_ERR_UNSUPPORTED library too old, or a provider
 *           that it lacks; -ENOENT and other errno values of the file; AMB_ERR_LIMIT file too large;
 *           AMB_ERR_FORMAT not ONNX, truncated, other inputs or outputs than allowed (both are named), external data
 *           outside of the model's folder.
 * Thread:   any; blocks.
 */
int amb_model_open(struct amb_model **out, const struct amb_model_options *options, struct amb_error *err);
struct amb_model *amb_model_close(struct amb_model *model); /* NULL ok; returns NULL */

const struct amb_model_info *amb_model_peek(const struct amb_model *model); /* valid until close */

/* A run that is under way ends soon, with -ECANCELED, as does every later one. The model is open. Thread: any. */
void amb_model_stop(struct amb_model *model);

/**
 * One batch.
 *
 * p:      n probabilities in [0, 1], or NaN where the model gave none.
 * x:      n x channels x height x width f32, contiguous: picture in [-1, 1] plus sigma times noise.
 * sigma:  n f32, units of x.
 * labels: as info.labels says; NULL where NONE.
 * Errors: -ENOMEM; -EIO what the runtime says; -ECANCELED stopped.
 * Thread: any, one caller at a time; MXCSR is restored behind it.
 */
int amb_model_run(float *p, struct amb_model *model, const float *x, const float *sigma, const void *labels, size_t n,
                  struct amb_error *err);

/* The same, where fill(opaque, first, n) writes rows first to first + n - 1 of x, sigma and labels when it is their turn: on
 * threads of the model, several at once, each row once, before it is looked at. */
int amb_model_run_filled(float *p, struct amb_model *model, const float *x, const float *sigma, const void *labels, size_t n,
                         void (*fill)(void *opaque, size_t first, size_t n), void *opaque, struct amb_error *err);
