/* One release for each process: AMBIENTD_TEST_ORT names the library (the build passes what setup.sh installed). */
#include "base/test.h"

#include <errno.h>
#include <glob.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "annotate/model.h"
#include "annotate/ort.h"
#include "annotate/test-data.h"

#ifndef TEST_ROOT
#define TEST_ROOT "."
#endif

/* y = Identity(x), x f32 [N, 2, 1]: the smallest model that runs; 83 bytes, as onnx.helper makes them. */
static const uint8_t identity[] = {
    0x08, 0x08, 0x3a, 0x49, 0x0a, 0x10, 0x0a, 0x01, 0x78, 0x12, 0x01, 0x79, 0x22, 0x08, 0x49, 0x64, 0x65, 0x6e,
    0x74, 0x69, 0x74, 0x79, 0x12, 0x01, 0x67, 0x5a, 0x18, 0x0a, 0x01, 0x78, 0x12, 0x13, 0x0a, 0x11, 0x08, 0x01,
    0x12, 0x0d, 0x0a, 0x03, 0x12, 0x01, 0x4e, 0x0a, 0x02, 0x08, 0x02, 0x0a, 0x02, 0x08, 0x01, 0x62, 0x18, 0x0a,
    0x01, 0x79, 0x12, 0x13, 0x0a, 0x11, 0x08, 0x01, 0x12, 0x0d, 0x0a, 0x03, 0x12, 0x01, 0x4e, 0x0a, 0x02, 0x08,
    0x02, 0x0a, 0x02, 0x08, 0x01, 0x42, 0x04, 0x0a, 0x00, 0x10, 0x0d};

#define OK(call)                                                                                             \
    do {                                                                                                     \
        amb_ort_result result_ = (call);                                                                     \
        if (result_ != NULL) {                                                                               \
            fprintf(stderr, "%s: %s\n", #call, ort->GetErrorMessage(result_));                               \
            _exit(1);                                                                                        \
        }                                                                                                    \
    } while (0)
#define SURE(condition)                                                                                      \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "line %d: %s\n", __LINE__, #condition);                                          \
            _exit(1);                                                                                        \
        }                                                                                                    \
    } while (0)

static void exercise_session(const struct amb_ort *ort, struct amb_ort_session *session, struct amb_ort_memory *memory) {
    static const char *const inputs[] = {"x"}, *const outputs[] = {"y"};
    const int64_t shape[] = {3, 2, 1};
    float x[6] = {1, 2, 3, 4, 5, 6}, *y;
    struct amb_ort_value *value = NULL, *result = NULL;
    struct amb_ort_allocator *allocator = NULL;
    const struct amb_ort_tensor *borrowed = NULL;
    struct amb_ort_tensor *info = NULL;
    struct amb_ort_type *type = NULL;
    int64_t dims[3] = {0};
    size_t n = 0;
    int dtype = 0;
    void *data = NULL;
    char *name = NULL;

    OK(ort->GetAllocatorWithDefaultOptions(&allocator));
    OK(ort->SessionGetInputCount(session, &n));
    SURE(n == 1);
    OK(ort->SessionGetOutputCount(session, &n));
    SURE(n == 1);
    OK(ort->SessionGetInputName(session, 0, allocator, &name));
    SURE(strcmp(name, "x") == 0);
    OK(ort->AllocatorFree(allocator, name));
    OK(ort->SessionGetOutputName(session, 0, allocator, &name));
    SURE(strcmp(name, "y") == 0);
    OK(ort->AllocatorFree(allocator, name));
    OK(ort->SessionGetInputTypeInfo(session, 0, &type));
    OK(ort->CastTypeInfoToTensorInfo(type, &borrowed));
    OK(ort->GetTensorElementType(borrowed, &dtype));
    OK(ort->GetDimensionsCount(borrowed, &n));
    SURE(dtype == AMB_ORT_F32 && n == 3);
    OK(ort->GetDimensions(borrowed, dims, 3));
    SURE(dims[0] == -1 && dims[1] == 2 && dims[2] == 1);
    ort->ReleaseTypeInfo(type);
    OK(ort->SessionGetOutputTypeInfo(session, 0, &type));
    ort->ReleaseTypeInfo(type);
    OK(ort->CreateTensorWithDataAsOrtValue(memory, x, sizeof x, shape, 3, AMB_ORT_F32, &value));
    OK(ort->Run(session, NULL, inputs, (const struct amb_ort_value *const *)&value, 1, outputs, 1, &result));
    OK(ort->GetTensorTypeAndShape(result, &info));
    OK(ort->GetDimensions(info, dims, 3));
    SURE(dims[0] == 3);
    ort->ReleaseTensorTypeAndShapeInfo(info);
    OK(ort->GetTensorMutableData(result, &data));
    y = data;
    SURE(y[0] == 1 && y[5] == 6);
    ort->ReleaseValue(value);
    ort->ReleaseValue(result);
}

/* Of CUDA's library that is not there, of the build that lacks it, or of an option that only it has. */
static bool says_cuda(const char *message) {
    bool says = strcasestr(message, "cuda") != NULL || strstr(message, "external_data_loader_pinned") != NULL ||
                strstr(message, "onnxruntime_providers_") != NULL; /* what a sanitizer makes of its loading */

    if (!says) {
        fprintf(stderr, "'%s' does not speak of CUDA\n", message);
    }
    return says;
}

static void exercise_providers(const struct amb_ort *ort, struct amb_ort_options *options) {
    static const char *const keys[] = {"device_id"}, *const values[] = {"0"};
    static _Alignas(16) uint8_t blank[4096]; /* in place of options that such a build cannot make */
    struct amb_ort_cuda *cuda = NULL;
    char **providers = NULL;
    bool has_cpu = false, has_cuda = false;
    amb_ort_result result;
    int n = 0;

    OK(ort->GetAvailableProviders(&providers, &n));
    for (int i = 0; i < n; i++) {
        has_cpu = has_cpu || strcmp(providers[i], "CPUExecutionProvider") == 0;
        has_cuda = has_cuda || strcmp(providers[i], "CUDAExecutionProvider") == 0;
    }
    SURE(has_cpu);
    OK(ort->ReleaseAvailableProviders(providers, n));
    result = ort->CreateCUDAProviderOptions(&cuda);
    if (result != NULL) { /* a CPU build: each slot but Release answers that CUDA is not in it */
        SURE(!has_cuda && strstr(ort->GetErrorMessage(result), "CUDA") != NULL);
        ort->ReleaseStatus(result);
        result = ort->SessionOptionsAppendExecutionProvider_CUDA_V2(options, (const struct amb_ort_cuda *)(void *)blank);
        SURE(result != NULL && says_cuda(ort->GetErrorMessage(result)));
        ort->ReleaseStatus(result);
        result = ort->UpdateCUDAProviderOptions((struct amb_ort_cuda *)(void *)blank, keys, values, 1);
        SURE(result != NULL && says_cuda(ort->GetErrorMessage(result)));
        ort->ReleaseStatus(result);
        ort->ReleaseCUDAProviderOptions(NULL);
        return;
    }
    printf("  this build makes options of CUDA: providers %s it\n", has_cuda ? "have" : "lack");
    result = ort->SessionOptionsAppendExecutionProvider_CUDA_V2(options, cuda);
    SURE(has_cuda || result != NULL);
    if (result != NULL) {
        ort->ReleaseStatus(result);
    }
    ort->ReleaseCUDAProviderOptions(cuda);
}

/* Every slot of the table once, in a process of its own. */
static void exercise(const char *library) {
    const struct amb_ort *ort = NULL;
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_ort_options *options = NULL;
    struct amb_ort_session *session = NULL;
    struct amb_ort_memory *memory = NULL;
    struct amb_ort_env *env = NULL;
    amb_ort_result result;
    char path[] = "/tmp/test-ort-XXXXXX";
    int fd;

    if (amb_ort_get(&ort, library, &err) < 0) {
        fprintf(stderr, "%s\n", err.message);
        _exit(1);
    }
    printf("  %s: %s\n", ort->version, library);
    OK(ort->CreateEnv(AMB_ORT_LOG_ERROR, "test", &env));
    ort->ReleaseEnv(env);
    OK(ort->CreateSessionOptions(&options));
    OK(ort->SetIntraOpNumThreads(options, 1));
    OK(ort->SetInterOpNumThreads(options, 1));
    OK(ort->SetSessionExecutionMode(options, AMB_ORT_SEQUENTIAL));
    OK(ort->SetSessionLogSeverityLevel(options, AMB_ORT_LOG_ERROR));
    OK(ort->SetSessionGraphOptimizationLevel(options, AMB_ORT_OPTIMISE_ALL));
    OK(ort->AddSessionConfigEntry(options, "session.intra_op.allow_spinning", "0"));
    OK(ort->CreateCpuMemoryInfo(AMB_ORT_ARENA_ALLOCATOR, AMB_ORT_MEMORY_DEFAULT, &memory));
    OK(ort->CreateSessionFromArray(ort->env, identity, sizeof identity, options, &session));
    exercise_session(ort, session, memory);
    ort->ReleaseSession(session);
    fd = mkstemp(path);
    SURE(fd >= 0 && write(fd, identity, sizeof identity) == (ssize_t)sizeof identity);
    OK(ort->CreateSession(ort->env, path, options, &session));
    exercise_session(ort, session, memory);
    ort->ReleaseSession(session);
    close(fd);
    unlink(path);
    result = ort->CreateSessionFromArray(ort->env, identity, 5, options, &session);
    SURE(result != NULL && ort->GetErrorMessage(result)[0] != '\0');
    ort->ReleaseStatus(result);
    exercise_providers(ort, options);
    ort->ReleaseMemoryInfo(memory);
    ort->ReleaseSessionOptions(options);
    fflush(stdout);
    _exit(0);
}

static unsigned exercise_all(const char *pattern) {
    unsigned n = 0;
    glob_t found;

    if (glob(pattern, 0, NULL, &found) != 0) {
        return 0;
    }
    for (size_t i = 0; i < found.gl_pathc; i++) {
        pid_t pid = fork();
        int status = 0;

        if (pid == 0) {
            exercise(found.gl_pathv[i]);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
            fail_msg("%s: status %d", found.gl_pathv[i], status);
        }
        n++;
    }
    globfree(&found);
    return n;
}

/* In the newest release and in 1.19.2, as tests/setup.sh installs them: a wrong index would call another function. */
TEST(every_slot_answers_in_old_and_new_releases) {
    unsigned n;

#ifdef __SANITIZE_THREAD__
    printf("skipped: the runtime's threads are not known to the thread sanitizer\n");
    skip();
#endif
    n = exercise_all(TEST_ROOT "/build/venv/lib/python3*/site-packages/onnxruntime/capi/libonnxruntime.so.*");

    n += exercise_all(TEST_ROOT "/build/onnxruntime-1.19.2/onnxruntime/capi/libonnxruntime.so.*");
    n += exercise_all("/usr/lib/*-linux-gnu/libonnxruntime.so.1");
    if (n == 0) {
        printf("skipped: no libonnxruntime below build/ or in the system; tests/setup.sh --tests installs two\n");
        skip();
    }
    printf("  %u releases\n", n);
}

static void open_in_child(const char *path, uint32_t side, int expected, const char *text) {
    pid_t pid = fork();
    int status = 0;

    if (pid == 0) {
        const struct amb_model_options options = {.path = path, .channels = 3, .height = side, .width = side};
        struct amb_model *model = NULL;
        struct amb_error err = AMB_ERROR_NULL;
        int r = amb_model_open(&model, &options, &err);

        if (r != expected || strstr(err.message, text) == NULL) {
            fprintf(stderr, "%d, expected %d: %s\n", r, expected, err.message);
            _exit(1);
        }
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

TEST(bad_models_and_libraries_are_named) {
    char path[] = "/tmp/test-ort-XXXXXX";
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    open_in_child("/nonexistent.onnx", 8, -ENOENT, "/nonexistent.onnx");
    open_in_child("/", 8, AMB_ERR_FORMAT, "no regular file");
    open_in_child(path, 8, AMB_ERR_FORMAT, "no graph");
    assert_int_equal(write(fd, identity, 40), 40);
    open_in_child(path, 8, AMB_ERR_FORMAT, "cut off");
    setenv("AMBIENTD_ONNXRUNTIME", "/nonexistent.so", 1);
    assert_int_equal(pwrite(fd, identity, sizeof identity, 0), (ssize_t)sizeof identity);
    open_in_child(path, 8, AMB_ERR_NOT_FOUND, "AMBIENTD_ONNXRUNTIME");
    unsetenv("AMBIENTD_ONNXRUNTIME");
    close(fd);
    unlink(path);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(every_slot_answers_in_old_and_new_releases),
    cmocka_unit_test(bad_models_and_libraries_are_named),
};

TEST_MAIN(tests)
