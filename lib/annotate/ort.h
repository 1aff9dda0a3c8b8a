#pragma once
/* Ort: the part of ONNX Runtime's C API that we call, found at run time; no header of the vendor is needed. */
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* API version of release 1.19: what we ask for. The order of the table is a promise of the vendor: a slot never
 * moves, later releases append. */
#define AMB_ORT_API_VERSION 19u

struct amb_ort_env;
struct amb_ort_status;
struct amb_ort_session;
struct amb_ort_options;
struct amb_ort_run; /* options of a run */
struct amb_ort_value;
struct amb_ort_memory;
struct amb_ort_allocator;
struct amb_ort_type;
struct amb_ort_tensor; /* type and shape of a tensor; borrowed where cast from amb_ort_type */
struct amb_ort_cuda;

enum { /* enumerators of the vendor that we pass or compare */
    AMB_ORT_LOG_ERROR = 3,
    AMB_ORT_OPTIMISE_ALL = 99,
    AMB_ORT_SEQUENTIAL = 0,
    AMB_ORT_F32 = 1,
    AMB_ORT_I64 = 7,
    AMB_ORT_ARENA_ALLOCATOR = 1,
    AMB_ORT_MEMORY_DEFAULT = 0,
    AMB_ORT_IS_TENSOR = 1,
};

typedef struct amb_ort_status *amb_ort_result; /* NULL: success; else to be released */

/* X(slot, result type, name, arguments); the slot counts pointers from the begin of the table. */
#define AMB_ORT_SLOTS(X)                                                                                               \
    X(2, const char *, GetErrorMessage, (const struct amb_ort_status *))                                               \
    X(3, amb_ort_result, CreateEnv, (int level, const char *id, struct amb_ort_env **))                                \
    X(7, amb_ort_result, CreateSession,                                                                                \
      (const struct amb_ort_env *, const char *path, const struct amb_ort_options *, struct amb_ort_session **))       \
    X(8, amb_ort_result, CreateSessionFromArray,                                                                       \
      (const struct amb_ort_env *, const void *data, size_t bytes, const struct amb_ort_options *,                     \
       struct amb_ort_session **))                                                                                     \
    X(9, amb_ort_result, Run,                                                                                          \
      (struct amb_ort_session *, const struct amb_ort_run *, const char *const *inputs,                                   \
       const struct amb_ort_value *const *values, size_t n_inputs, const char *const *outputs, size_t n_outputs,       \
       struct amb_ort_value **results))                                                                                \
    X(10, amb_ort_result, CreateSessionOptions, (struct amb_ort_options **))                                           \
    X(13, amb_ort_result, SetSessionExecutionMode, (struct amb_ort_options *, int mode))                               \
    X(22, amb_ort_result, SetSessionLogSeverityLevel, (struct amb_ort_options *, int level))                           \
    X(23, amb_ort_result, SetSessionGraphOptimizationLevel, (struct amb_ort_options *, int level))                     \
    X(24, amb_ort_result, SetIntraOpNumThreads, (struct amb_ort_options *, int n))                                     \
    X(25, amb_ort_result, SetInterOpNumThreads, (struct amb_ort_options *, int n))                                     \
    X(30, amb_ort_result, SessionGetInputCount, (const struct amb_ort_session *, size_t *))                            \
    X(31, amb_ort_result, SessionGetOutputCount, (const struct amb_ort_session *, size_t *))                           \
    X(33, amb_ort_result, SessionGetInputTypeInfo,                                                                     \
      (const struct amb_ort_session *, size_t i, struct amb_ort_type **))                                              \
    X(34, amb_ort_result, SessionGetOutputTypeInfo,                                                                    \
      (const struct amb_ort_session *, size_t i, struct amb_ort_type **))                                              \
    X(36, amb_ort_result, SessionGetInputName,                                                                         \
      (const struct amb_ort_session *, size_t i, struct amb_ort_allocator *, char **))                                 \
    X(37, amb_ort_result, SessionGetOutputName,                                                                        \
      (const struct amb_ort_session *, size_t i, struct amb_ort_allocator *, char **))                                 \
    X(39, amb_ort_result, CreateRunOptions, (struct amb_ort_run **))                                                   \
    X(46, amb_ort_result, RunOptionsSetTerminate, (struct amb_ort_run *))                                              \
    X(49, amb_ort_result, CreateTensorWithDataAsOrtValue,                                                              \
      (const struct amb_ort_memory *, void *data, size_t bytes, const int64_t *shape, size_t n_dims, int dtype,        \
       struct amb_ort_value **))                                                                                       \
    X(51, amb_ort_result, GetTensorMutableData, (struct amb_ort_value *, void **))                                     \
    X(55, amb_ort_result, CastTypeInfoToTensorInfo, (const struct amb_ort_type *, const struct amb_ort_tensor **))     \
    X(60, amb_ort_result, GetTensorElementType, (const struct amb_ort_tensor *, int *dtype))                           \
    X(61, amb_ort_result, GetDimensionsCount, (const struct amb_ort_tensor *, size_t *))                               \
    X(62, amb_ort_result, GetDimensions, (const struct amb_ort_tensor *, int64_t *, size_t n))                         \
    X(65, amb_ort_result, GetTensorTypeAndShape, (const struct amb_ort_value *, struct amb_ort_tensor **))             \
    X(69, amb_ort_result, CreateCpuMemoryInfo, (int allocator, int memory, struct amb_ort_memory **))                  \
    X(76, amb_ort_result, AllocatorFree, (struct amb_ort_allocator *, void *))                                         \
    X(78, amb_ort_result, GetAllocatorWithDefaultOptions, (struct amb_ort_allocator **))                               \
    X(92, void, ReleaseEnv, (struct amb_ort_env *))                                                                    \
    X(93, void, ReleaseStatus, (struct amb_ort_status *))                                                              \
    X(94, void, ReleaseMemoryInfo, (struct amb_ort_memory *))                                                          \
    X(95, void, ReleaseSession, (struct amb_ort_session *))                                                            \
    X(96, void, ReleaseValue, (struct amb_ort_value *))                                                                \
    X(97, void, ReleaseRunOptions, (struct amb_ort_run *))                                                             \
    X(98, void, ReleaseTypeInfo, (struct amb_ort_type *))                                                              \
    X(99, void, ReleaseTensorTypeAndShapeInfo, (struct amb_ort_tensor *))                                              \
    X(100, void, ReleaseSessionOptions, (struct amb_ort_options *))                                                    \
    X(125, amb_ort_result, GetAvailableProviders, (char ***, int *n))                                                  \
    X(126, amb_ort_result, ReleaseAvailableProviders, (char **, int n))                                                \
    X(130, amb_ort_result, AddSessionConfigEntry, (struct amb_ort_options *, const char *key, const char *value))      \
    X(204, amb_ort_result, SessionOptionsAppendExecutionProvider_CUDA_V2,                                              \
      (struct amb_ort_options *, const struct amb_ort_cuda *))                                                         \
    X(205, amb_ort_result, CreateCUDAProviderOptions, (struct amb_ort_cuda **))                                        \
    X(206, amb_ort_result, UpdateCUDAProviderOptions,                                                                  \
      (struct amb_ort_cuda *, const char *const *keys, const char *const *values, size_t n))                           \
    X(208, void, ReleaseCUDAProviderOptions, (struct amb_ort_cuda *))

#define AMB_ORT_MEMBER(slot, type, name, arguments) type(*name) arguments;

/* A library that is loaded stays for the life of the process. Thread: any. */
struct amb_ort {
    AMB_ORT_SLOTS(AMB_ORT_MEMBER)
    struct amb_ort_env *env;
    char version[32];  /* "1.19.2" */
    char path[1024];   /* of the library */
};
#undef AMB_ORT_MEMBER

/**
 * Find and load the library, once in a process: later calls give the same one whatever they name.
 *
 * library: path, or NULL: AMBIENTD_ONNXRUNTIME, the system's libonnxruntime.so.1 (Debian: .so.1.21), then the Python
 *          package `onnxruntime` of the active environment, of ~/.local or of the system. Where it is searched, one that
 *          is too old or does not load is passed over; where none is better, it is the error.
 * Errors:  AMB_ERR_NOT_FOUND where it was looked for and what to install; AMB_ERR_UNSUPPORTED older than 1.19.
 * Thread:  any; blocks.
 */
int amb_ort_get(const struct amb_ort **out, const char *library, struct amb_error *err);

/* Set err from a result that is not NULL and release it; returns code. */
int amb_ort_fail(const struct amb_ort *ort, amb_ort_result result, int code, const char *what, struct amb_error *err);
