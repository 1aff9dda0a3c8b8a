/*
 * Every slot that ort.h declares is called, and judged by what only that function does: a neighbour in the table would
 * answer otherwise, crash, or leave memory or threads behind. Runs once for each release (AMBIENTD_TEST_ORT).
 */
#include "base/test.h"

#include <errno.h>
#include <malloc.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <unistd.h>

#include "annotate/ort.h"
#include "annotate/test-onnx.h"

#define SLOT_NUMBER(slot, type, name, arguments) SLOT_##name = slot,
enum { AMB_ORT_SLOTS(SLOT_NUMBER) SLOTS_END = 512 };

static const struct amb_ort *ort;
static bool called[SLOTS_END];
#define CALL(name) (called[SLOT_##name] = true, ort->name)

/* Sanitizers and valgrind bring an allocator of their own, and a leak check. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define COUNTS_HEAP false
#else
#define COUNTS_HEAP (mallinfo2().uordblks > 0)
#endif
#define MANY 2000

static void get_ort(void) {
    struct amb_error err = AMB_ERROR_NULL;

    assert_ok(amb_ort_get(&ort, test_ort_library(), &err), err);
}

/* The message of a result that must be a failure. */
static const char *message_of(amb_ort_result result) {
    static char text[512];

    assert_non_null(result);
    snprintf(text, sizeof text, "%s", CALL(GetErrorMessage)(result));
    CALL(ReleaseStatus)(result);
    return text;
}

#define assert_says(result, part)                                                                            \
    do {                                                                                                     \
        const char *text_ = message_of(result);                                                              \
        if (strcasestr(text_, part) == NULL) {                                                               \
            fail_msg("'%s' says nothing of '%s'", text_, part);                                              \
        }                                                                                                    \
    } while (0)

#define assert_went(call)                                                                                    \
    do {                                                                                                     \
        amb_ort_result went_ = (call);                                                                       \
        if (went_ != NULL) {                                                                                 \
            fail_msg("%s: %s", #call, message_of(went_));                                                    \
        }                                                                                                    \
    } while (0)

static struct amb_ort_options *options_new(void) {
    struct amb_ort_options *options = NULL;

    assert_went(CALL(CreateSessionOptions)(&options));
    assert_non_null(options);
    assert_went(CALL(SetIntraOpNumThreads)(options, 1));
    return options;
}

/* Sessions over made bytes. Takes the options. */
static amb_ort_result session_create(struct amb_ort_session **out, const struct made *made,
                                     struct amb_ort_options *options) {
    struct amb_buf bytes = made_encode(made);
    amb_ort_result result = CALL(CreateSessionFromArray)(ort->env, bytes.data, bytes.n_bytes, options, out);

    amb_buf_deinit(&bytes);
    CALL(ReleaseSessionOptions)(options);
    return result;
}

static struct amb_ort_session *session_new(const struct made *made) {
    struct amb_ort_session *session = NULL;

    assert_went(session_create(&session, made, options_new()));
    assert_non_null(session);
    return session;
}

static int count_threads(void) {
    int n = 0;
    DIR *dir = opendir("/proc/self/task");

    assert_non_null(dir);
    while (readdir(dir) != NULL) {
        n++;
    }
    closedir(dir);
    return n - 2;
}

TEST(version_is_one_that_is_allowed) {
    unsigned major = 0, minor = 0;

    get_ort();
    assert_int_equal(sscanf(ort->version, "%u.%u", &major, &minor), 2);
    assert_int_equal(major, 1);
    assert_true(minor >= AMB_ORT_API_VERSION);
    print_message("ONNX Runtime %s at %s\n", ort->version, ort->path);
}

/* Garbage makes a status; its text is the parser's. */
TEST(status_has_a_message) {
    struct amb_ort_options *options;
    struct amb_ort_session *session = NULL;
    struct amb_error err = AMB_ERROR_NULL;

    get_ort();
    options = options_new();
    assert_says(CALL(CreateSessionFromArray)(ort->env, "garbage", 7, options, &session), "protobuf");
    assert_int_equal(amb_ort_fail(ort, CALL(CreateSessionFromArray)(ort->env, "garbage", 7, options, &session), -EIO,
                                  "a model", &err),
                     -EIO);
    assert_non_null(strstr(err.message, "a model: "));
    CALL(ReleaseSessionOptions)(options);
}

/* The environment is counted by the library: one more and one less leaves ours in use. */
TEST(environment_is_created_and_released) {
    struct amb_ort_env *env = NULL;
    struct amb_ort_session *session;

    get_ort();
    assert_went(CALL(CreateEnv)(AMB_ORT_LOG_ERROR, "again", &env));
    assert_non_null(env);
    CALL(ReleaseEnv)(env);
    session = session_new(&(struct made){0});
    CALL(ReleaseSession)(session);
}

/* In a child, whose environment nobody needs: the last release frees what the first creation made. */
TEST(last_release_frees_the_environment) {
    int status = 0;
    pid_t child;

    get_ort();
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        size_t before = mallinfo2().uordblks;

        CALL(ReleaseEnv)(ort->env);
        _exit(COUNTS_HEAP && mallinfo2().uordblks >= before ? 1 : 0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* A file and its bytes make the same session; a path that is none names itself. */
TEST(session_is_created_from_a_path) {
    const struct made made = {.labels = AMB_MODEL_LABELS_INTEGER};
    struct test_folder folder;
    struct amb_ort_options *options;
    struct amb_ort_session *session = NULL;
    size_t n = 0;

    get_ort();
    folder = folder_new();
    options = options_new();
    assert_went(CALL(CreateSession)(ort->env, folder_store_made(&folder, "m.onnx", &made), options, &session));
    assert_went(CALL(SessionGetInputCount)(session, &n));
    assert_int_equal(n, 3);
    CALL(ReleaseSession)(session);
    assert_says(CALL(CreateSession)(ort->env, folder_path(&folder, "absent.onnx"), options, &session), "absent.onnx");
    CALL(ReleaseSessionOptions)(options);
    folder_free(&folder);
}

/* Counts of inputs and outputs differ, so that one cannot pass for the other. */
TEST(inputs_and_outputs_are_counted_and_named) {
    static const char *const inputs[] = {"sigma", "x", "labels"}, *const outputs[] = {"logits", "difference"};
    struct amb_ort_allocator *allocator = NULL;
    struct amb_ort_session *session;
    size_t n_inputs = 0, n_outputs = 0;
    char *name = NULL;

    get_ort();
    session = session_new(&(struct made){.labels = AMB_MODEL_LABELS_INTEGER});
    assert_went(CALL(SessionGetInputCount)(session, &n_inputs));
    assert_went(CALL(SessionGetOutputCount)(session, &n_outputs));
    assert_int_equal(n_inputs, 3);
    assert_int_equal(n_outputs, 2);
    assert_went(CALL(GetAllocatorWithDefaultOptions)(&allocator));
    for (size_t i = 0; i < 3; i++) {
        assert_went(CALL(SessionGetInputName)(session, i, allocator, &name));
        assert_string_equal(name, inputs[i]);
        assert_went(CALL(AllocatorFree)(allocator, name));
    }
    for (size_t i = 0; i < 2; i++) {
        assert_went(CALL(SessionGetOutputName)(session, i, allocator, &name));
        assert_string_equal(name, outputs[i]);
        assert_went(CALL(AllocatorFree)(allocator, name));
    }
    CALL(ReleaseSession)(session);
}

static void assert_type(struct amb_ort_type *type, int dtype, const int64_t *dims, size_t n_dims) {
    const struct amb_ort_tensor *tensor = NULL;
    int64_t got[8];
    size_t n = 0;
    int found = 0;

    assert_went(CALL(CastTypeInfoToTensorInfo)(type, &tensor));
    assert_non_null(tensor);
    assert_went(CALL(GetTensorElementType)(tensor, &found));
    assert_int_equal(found, dtype);
    assert_went(CALL(GetDimensionsCount)(tensor, &n));
    assert_int_equal(n, n_dims);
    assert_went(CALL(GetDimensions)(tensor, got, n));
    assert_memory_equal(got, dims, n * sizeof *dims);
    CALL(ReleaseTypeInfo)(type);
}

TEST(types_and_shapes_are_told) {
    static const int64_t x[] = {-1, 3, 4, 5}, row[] = {-1}, logits[] = {-1, 7};
    struct amb_ort_session *session;
    struct amb_ort_type *type = NULL;

    get_ort();
    session = session_new(&(struct made){.labels = AMB_MODEL_LABELS_INTEGER, .n_outputs = 7});
    assert_went(CALL(SessionGetInputTypeInfo)(session, 1, &type));
    assert_type(type, AMB_ORT_F32, x, 4);
    assert_went(CALL(SessionGetInputTypeInfo)(session, 2, &type));
    assert_type(type, AMB_ORT_I64, row, 1);
    assert_went(CALL(SessionGetOutputTypeInfo)(session, 0, &type));
    assert_type(type, AMB_ORT_F32, logits, 2);
    CALL(ReleaseSession)(session);
}

/* The tensor is the memory that was given; a result is one of the library. */
TEST(model_runs_on_borrowed_memory) {
    static const char *const inputs[] = {"x", "sigma"}, *const outputs[] = {"logits"};
    static const int64_t shape[] = {2, 3, 4, 5}, rows[] = {2};
    float x[120], sigma[] = {0.25f, 0.5f}, *p = NULL;
    struct amb_ort_value *values[2] = {NULL, NULL}, *result = NULL;
    struct amb_ort_memory *memory = NULL;
    struct amb_ort_tensor *tensor = NULL;
    struct amb_ort_session *session;
    void *data = NULL;
    int64_t n_rows = 0;
    size_t n = 0;

    get_ort();
    session = session_new(&(struct made){0});
    for (size_t i = 0; i < 120; i++) {
        x[i] = i < 60 ? 1 : -1;
    }
    assert_went(CALL(CreateCpuMemoryInfo)(AMB_ORT_ARENA_ALLOCATOR, AMB_ORT_MEMORY_DEFAULT, &memory));
    assert_went(CALL(CreateTensorWithDataAsOrtValue)(memory, x, sizeof x, shape, 4, AMB_ORT_F32, &values[0]));
    assert_went(CALL(CreateTensorWithDataAsOrtValue)(memory, sigma, sizeof sigma, rows, 1, AMB_ORT_F32, &values[1]));
    assert_went(CALL(GetTensorMutableData)(values[0], &data));
    assert_ptr_equal(data, x);
    assert_says(CALL(CreateTensorWithDataAsOrtValue)(memory, x, 4, shape, 4, AMB_ORT_F32, &result), "expected 480");
    assert_went(CALL(Run)(session, NULL, inputs, (const struct amb_ort_value *const *)values, 2, outputs, 1, &result));
    assert_went(CALL(GetTensorTypeAndShape)(result, &tensor));
    assert_went(CALL(GetDimensionsCount)(tensor, &n));
    assert_int_equal(n, 1);
    assert_went(CALL(GetDimensions)(tensor, &n_rows, 1));
    assert_int_equal(n_rows, 2);
    CALL(ReleaseTensorTypeAndShapeInfo)(tensor);
    assert_went(CALL(GetTensorMutableData)(result, &data));
    p = data;
    assert_true(p[0] == 0.75f && p[1] == -1.5f);
    CALL(ReleaseValue)(result);
    CALL(ReleaseValue)(values[1]);
    CALL(ReleaseValue)(values[0]);
    CALL(ReleaseMemoryInfo)(memory);
    CALL(ReleaseSession)(session);
}

/* A run whose options say so ends before its first node. */
TEST(run_is_broken_off_by_its_options) {
    static const char *const inputs[] = {"x", "sigma"}, *const outputs[] = {"logits"};
    static const int64_t shape[] = {1, 3, 4, 5}, rows[] = {1};
    float x[60] = {0}, sigma = 1;
    struct amb_ort_value *values[2] = {NULL, NULL}, *result = NULL;
    struct amb_ort_memory *memory = NULL;
    struct amb_ort_run *run = NULL;
    struct amb_ort_session *session;

    get_ort();
    session = session_new(&(struct made){0});
    assert_went(CALL(CreateCpuMemoryInfo)(AMB_ORT_ARENA_ALLOCATOR, AMB_ORT_MEMORY_DEFAULT, &memory));
    assert_went(CALL(CreateTensorWithDataAsOrtValue)(memory, x, sizeof x, shape, 4, AMB_ORT_F32, &values[0]));
    assert_went(CALL(CreateTensorWithDataAsOrtValue)(memory, &sigma, sizeof sigma, rows, 1, AMB_ORT_F32, &values[1]));
    assert_went(CALL(CreateRunOptions)(&run));
    assert_went(CALL(Run)(session, run, inputs, (const struct amb_ort_value *const *)values, 2, outputs, 1, &result));
    CALL(ReleaseValue)(result);
    result = NULL;
    assert_went(CALL(RunOptionsSetTerminate)(run));
    assert_says(CALL(Run)(session, run, inputs, (const struct amb_ort_value *const *)values, 2, outputs, 1, &result), "terminate");
    CALL(ReleaseRunOptions)(run);
    CALL(ReleaseValue)(values[1]);
    CALL(ReleaseValue)(values[0]);
    CALL(ReleaseMemoryInfo)(memory);
    CALL(ReleaseSession)(session);
}

/* Threads: n inside an operator are n - 1 more of the process; those between operators come in parallel mode only. */
static int count_session_threads(int n_intra, int n_inter, int mode) {
    struct amb_ort_session *session = NULL;
    struct amb_ort_options *options = options_new();
    int before = count_threads(), n;

    assert_went(CALL(SetIntraOpNumThreads)(options, n_intra));
    assert_went(CALL(SetInterOpNumThreads)(options, n_inter));
    assert_went(CALL(SetSessionExecutionMode)(options, mode));
    assert_went(session_create(&session, &(struct made){0}, options));
    n = count_threads() - before;
    CALL(ReleaseSession)(session);
    for (int i = 0; i < 1000 && count_threads() != before; i++) {
        usleep(1000); /* the kernel takes a thread off the list a moment after it was joined */
    }
    assert_int_equal(count_threads(), before);
    return n;
}

TEST(threads_are_as_many_as_asked_for_and_end_with_the_session) {
    int between;

    get_ort();
    test_thread_once();
    assert_int_equal(count_session_threads(1, 1, AMB_ORT_SEQUENTIAL), 0);
    assert_int_equal(count_session_threads(4, 1, AMB_ORT_SEQUENTIAL), 3);
    assert_int_equal(count_session_threads(1, 5, AMB_ORT_SEQUENTIAL), 0);
    between = count_session_threads(1, 5, 1);
    assert_true(between == 4 || between == 5);
}

/* stderr is a file meanwhile. */
static long session_log_bytes(int level) {
    struct amb_ort_options *options = options_new();
    struct amb_ort_session *session = NULL;
    FILE *file = tmpfile();
    int kept = dup(STDERR_FILENO);
    amb_ort_result result;
    long n;

    assert_non_null(file);
    assert_went(CALL(SetSessionLogSeverityLevel)(options, level));
    fflush(stderr);
    dup2(fileno(file), STDERR_FILENO);
    result = session_create(&session, &(struct made){0}, options);
    n = lseek(STDERR_FILENO, 0, SEEK_CUR); /* the offset is shared by the copies */
    dup2(kept, STDERR_FILENO);
    close(kept);
    fclose(file);
    assert_went(result);
    CALL(ReleaseSession)(session);
    return n;
}

TEST(log_is_silent_below_its_level) {
    get_ort();
    assert_int_equal(session_log_bytes(AMB_ORT_LOG_ERROR), 0);
    assert_true(session_log_bytes(0) > 100);
}

TEST(levels_and_entries_of_options_are_checked_by_the_library) {
    struct amb_ort_options *options;
    struct amb_ort_session *session = NULL;

    get_ort();
    options = options_new();
    assert_went(CALL(SetSessionGraphOptimizationLevel)(options, AMB_ORT_OPTIMISE_ALL));
    assert_says(CALL(SetSessionGraphOptimizationLevel)(options, 12345), "optimization_level");
    assert_says(CALL(SetSessionExecutionMode)(options, 12345), "execution_mode");
    assert_went(CALL(AddSessionConfigEntry)(options, "session.intra_op.allow_spinning", "0"));
    assert_says(CALL(AddSessionConfigEntry)(options, "", "0"), "key");
    assert_went(CALL(AddSessionConfigEntry)(options, "session.load_model_format", "ORT"));
    assert_non_null(message_of(session_create(&session, &(struct made){0}, options))); /* the entry took effect */
}

TEST(providers_are_listed) {
    char **providers = NULL;
    bool cpu = false;
    int n = 0;

    get_ort();
    assert_went(CALL(GetAvailableProviders)(&providers, &n));
    assert_true(n >= 1);
    for (int i = 0; i < n; i++) {
        cpu = cpu || strcmp(providers[i], "CPUExecutionProvider") == 0;
    }
    assert_true(cpu);
    assert_went(CALL(ReleaseAvailableProviders)(providers, n));
}

static void cuda_options(struct amb_ort_options *options, struct amb_ort_cuda *cuda) {
    static const char *const keys[] = {"device_id"}, *const values[] = {"0"}, *const bad[] = {"no_such_option"};
    amb_ort_result result;

    assert_non_null(cuda);
    result = CALL(UpdateCUDAProviderOptions)(cuda, keys, values, 1);
    if (result != NULL) { /* built with it, but the provider's own library does not load: no driver, or no CUDA */
        assert_says(result, "libonnxruntime_providers_cuda");
        assert_says(CALL(SessionOptionsAppendExecutionProvider_CUDA_V2)(options, cuda), "CUDA");
    } else {
        assert_says(CALL(UpdateCUDAProviderOptions)(cuda, bad, values, 1), "no_such_option");
        result = CALL(SessionOptionsAppendExecutionProvider_CUDA_V2)(options, cuda);
        assert_true(result == NULL || strcasestr(message_of(result), "CUDA") != NULL); /* no device, perhaps */
    }
    CALL(ReleaseCUDAProviderOptions)(cuda);
}

/* A build without CUDA answers in words of its own; appending reads the options first, so they are a block of zeros. */
static void cuda_options_absent(struct amb_ort_options *options, amb_ort_result result) {
    static const char *const keys[] = {"device_id"}, *const values[] = {"0"};
    static _Alignas(16) uint8_t zeros[4096];
    const char *text;

    assert_says(result, "CUDA execution provider is not enabled");
    assert_says(CALL(UpdateCUDAProviderOptions)(NULL, keys, values, 1), "CUDA execution provider is not enabled");
    text = message_of(CALL(SessionOptionsAppendExecutionProvider_CUDA_V2)(options, (const struct amb_ort_cuda *)zeros));
    assert_null(strstr(text, "not enabled"));
    if (strstr(text, "libonnxruntime_providers_") == NULL && strstr(text, "must be") == NULL) {
        fail_msg("%s", text);
    }
    CALL(ReleaseCUDAProviderOptions)(NULL);
}

TEST(cuda_slots_speak_of_cuda) {
    struct amb_ort_options *options;
    struct amb_ort_cuda *cuda = NULL;
    amb_ort_result result;

    get_ort();
    options = options_new();
    result = CALL(CreateCUDAProviderOptions)(&cuda);
    if (result == NULL) {
        cuda_options(options, cuda);
    } else {
        cuda_options_absent(options, result);
    }
    CALL(ReleaseSessionOptions)(options);
}

static void one_round(void) {
    static const int64_t rows[] = {1};
    float sigma = 1;
    struct amb_ort_options *options = NULL;
    struct amb_ort_memory *memory = NULL;
    struct amb_ort_value *value = NULL;
    struct amb_ort_tensor *tensor = NULL;
    struct amb_ort_run *run = NULL;

    assert_went(ort->CreateRunOptions(&run));
    ort->ReleaseRunOptions(run);
    assert_went(ort->CreateSessionOptions(&options));
    assert_says(ort->SetSessionExecutionMode(options, 12345), "execution_mode");
    assert_went(ort->CreateCpuMemoryInfo(AMB_ORT_ARENA_ALLOCATOR, AMB_ORT_MEMORY_DEFAULT, &memory));
    assert_went(ort->CreateTensorWithDataAsOrtValue(memory, &sigma, sizeof sigma, rows, 1, AMB_ORT_F32, &value));
    assert_went(ort->GetTensorTypeAndShape(value, &tensor));
    ort->ReleaseTensorTypeAndShapeInfo(tensor);
    ort->ReleaseValue(value);
    ort->ReleaseMemoryInfo(memory);
    ort->ReleaseSessionOptions(options);
}

static void many_rounds(struct amb_ort_session *session) {
    struct amb_ort_allocator *allocator = NULL;

    assert_went(ort->GetAllocatorWithDefaultOptions(&allocator));
    for (int i = 0; i < MANY; i++) {
        struct amb_ort_type *type = NULL;
        char **providers = NULL, *name = NULL;
        int n = 0;

        one_round();
        assert_went(ort->SessionGetInputTypeInfo(session, 0, &type));
        ort->ReleaseTypeInfo(type);
        assert_went(ort->SessionGetInputName(session, 0, allocator, &name));
        assert_went(ort->AllocatorFree(allocator, name));
        assert_went(ort->GetAvailableProviders(&providers, &n));
        assert_went(ort->ReleaseAvailableProviders(providers, n));
    }
}

/* What each Release is for: thousands of objects leave no memory behind (eight bytes each would show). */
TEST(releases_give_memory_back) {
    struct amb_ort_session *session;
    size_t before, after;

    get_ort();
    session = session_new(&(struct made){0});
    many_rounds(session);
    before = mallinfo2().uordblks;
    many_rounds(session);
    after = mallinfo2().uordblks;
    CALL(ReleaseSession)(session);
    if (COUNTS_HEAP && after > before + MANY * 8) {
        fail_msg("%zu bytes in use before %d rounds, %zu after", before, MANY, after);
    }
}

/* Last: a slot that somebody declares and nobody tests fails here. */
TEST(every_declared_slot_was_called) {
    get_ort();
#define WAS_CALLED(slot, type, name, arguments)                                                              \
    if (!called[slot]) {                                                                                     \
        fail_msg("slot %d, %s, was not called", slot, #name);                                                \
    }
    AMB_ORT_SLOTS(WAS_CALLED)
}

int main(int argc, char **argv) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_is_one_that_is_allowed),
        cmocka_unit_test(status_has_a_message),
        cmocka_unit_test(environment_is_created_and_released),
        cmocka_unit_test(last_release_frees_the_environment),
        cmocka_unit_test(session_is_created_from_a_path),
        cmocka_unit_test(inputs_and_outputs_are_counted_and_named),
        cmocka_unit_test(types_and_shapes_are_told),
        cmocka_unit_test(model_runs_on_borrowed_memory),
        cmocka_unit_test(run_is_broken_off_by_its_options),
        cmocka_unit_test(threads_are_as_many_as_asked_for_and_end_with_the_session),
        cmocka_unit_test(log_is_silent_below_its_level),
        cmocka_unit_test(levels_and_entries_of_options_are_checked_by_the_library),
        cmocka_unit_test(providers_are_listed),
        cmocka_unit_test(cuda_slots_speak_of_cuda),
        cmocka_unit_test(releases_give_memory_back),
        cmocka_unit_test(every_declared_slot_was_called),
    };

    if (test_ort_find() == NULL) {
        return 77;
    }
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
