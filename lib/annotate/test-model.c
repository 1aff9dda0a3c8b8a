/* Models of every allowed form and of many that are not, each run in one release (AMBIENTD_TEST_ORT). */
#include "base/test.h"

#include <errno.h>
#include <math.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

#include "annotate/model.h"
#include "annotate/test-onnx.h"
#include "noise/fpenv.h"

#define ELEMENTS 60u /* 3 x 4 x 5 */
#define N 5u

static const float means[N] = {0.5f, -0.25f, 0, 1, -1}, sigmas[N] = {0.125f, 1, 0, 2, 0.5f};
static const int64_t labels[N] = {0, 3, 9, 1, 4};

/* Pictures whose mean is exact. */
static const float *pictures(void) {
    static float x[N * ELEMENTS];

    for (size_t i = 0; i < N * ELEMENTS; i++) {
        x[i] = means[i / ELEMENTS] + (i % 2 == 0 ? 0.25f : -0.25f);
    }
    return x;
}

static struct amb_model *open_made(const struct made *made, const struct amb_model_options *more) {
    struct amb_model_options options = more != NULL ? *more : (struct amb_model_options){.n_threads = 1};
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_model *model = NULL;
    struct test_folder folder;

    options.library = test_ort_library();
    folder = folder_new();
    options.path = folder_store_made(&folder, "m.onnx", made);
    options.n_threads = 1;
    assert_ok(amb_model_open(&model, &options, &err), err);
    folder_free(&folder);
    return model;
}

static void assert_near(float got, double expected, size_t i) {
    if (!(fabs((double)got - expected) < 1e-6)) {
        fail_msg("row %zu: %.9g, expected %.9g", i, (double)got, expected);
    }
}

static double sigmoid(double logit) {
    return 1 / (1 + exp(-logit));
}

TEST(one_logit_goes_through_a_sigmoid) {
    const struct made made[] = {{0}, {.n_outputs = 1}, {.sigma_column = true}};

    for (size_t k = 0; k < 3; k++) {
        struct amb_model *model = open_made(&made[k], NULL);
        struct amb_error err = AMB_ERROR_NULL;
        float p[N];

        assert_int_equal(amb_model_peek(model)->n_outputs, 1);
        assert_ok(amb_model_run(p, model, pictures(), sigmas, NULL, N, &err), err);
        for (size_t i = 0; i < N; i++) {
            assert_near(p[i], sigmoid((double)means[i] - (double)sigmas[i]), i);
        }
        assert_ok(amb_model_run(NULL, model, NULL, NULL, NULL, 0, &err), err); /* nothing of nothing */
        amb_model_close(model);
    }
}

/* Logits l, -l, l: the middle one is 1 / (1 + 2 exp(2 l)). */
TEST(column_of_a_softmax_is_taken) {
    for (unsigned column = 0; column < 3; column++) {
        struct amb_model *model = open_made(&(struct made){.n_outputs = 3},
                                            &(struct amb_model_options){.column = column});
        struct amb_error err = AMB_ERROR_NULL;
        float p[N];

        assert_int_equal(amb_model_peek(model)->n_outputs, 3);
        assert_ok(amb_model_run(p, model, pictures(), sigmas, NULL, N, &err), err);
        for (size_t i = 0; i < N; i++) {
            double l = (double)means[i] - (double)sigmas[i], middle = 1 / (1 + 2 * exp(2 * l));

            assert_near(p[i], column == 1 ? middle : (1 - middle) / 2, i);
        }
        amb_model_close(model);
    }
}

TEST(labels_are_given_as_the_model_wants_them) {
    float vectors[N * TEST_LABELS] = {0};
    const struct made made[] = {{.labels = AMB_MODEL_LABELS_INTEGER}, {.labels = AMB_MODEL_LABELS_VECTOR}};
    const void *data[] = {labels, vectors};

    for (size_t i = 0; i < N; i++) {
        vectors[i * TEST_LABELS + (size_t)labels[i]] = 1;
    }
    for (size_t k = 0; k < 2; k++) {
        struct amb_model *model = open_made(&made[k], NULL);
        struct amb_error err = AMB_ERROR_NULL;
        float p[N];

        assert_int_equal(amb_model_peek(model)->labels, made[k].labels);
        assert_int_equal(amb_model_peek(model)->label_width, k == 0 ? 0 : TEST_LABELS);
        assert_ok(amb_model_run(p, model, pictures(), sigmas, data[k], N, &err), err);
        for (size_t i = 0; i < N; i++) {
            assert_near(p[i], sigmoid((double)means[i] - (double)sigmas[i] + (double)labels[i] / 2), i);
        }
        amb_model_close(model);
    }
}

/* A batch of 3 takes five rows as three and two, of one as five: the same answers, and none of the filling. */
TEST(fixed_batch_is_kept_by_filling_up) {
    for (int64_t batch = 1; batch <= 8; batch++) {
        struct amb_model *model = open_made(&(struct made){.batch = batch, .labels = AMB_MODEL_LABELS_INTEGER}, NULL);
        struct amb_error err = AMB_ERROR_NULL;
        float p[N + 1];

        p[N] = 7;
        assert_int_equal(amb_model_peek(model)->batch, batch);
        assert_ok(amb_model_run(p, model, pictures(), sigmas, labels, N, &err), err);
        for (size_t i = 0; i < N; i++) {
            assert_near(p[i], sigmoid((double)means[i] - (double)sigmas[i] + (double)labels[i] / 2), i);
        }
        assert_true(p[N] == 7);
        amb_model_close(model);
    }
}

TEST(size_is_the_models_or_where_open_the_callers) {
    const struct amb_model_options options = {.channels = 4, .height = 6, .width = 8};
    struct amb_model *model = open_made(&(struct made){0}, &options);
    const struct amb_model_info *info = amb_model_peek(model);

    assert_true(info->channels == 3 && info->height == 4 && info->width == 5 && info->batch == 0);
    amb_model_close(model);
    model = open_made(&(struct made){.channels = 3, .height = -1, .width = -1}, &options);
    info = amb_model_peek(model);
    assert_true(info->channels == 3 && info->height == 6 && info->width == 8);
    assert_int_equal(strlen(info->sha256), 64);
    assert_non_null(strstr(info->runtime, "onnxruntime 1."));
    assert_non_null(strstr(info->runtime, ", CPU"));
    amb_model_close(model);
}

/* log of a negative number: those rows are NaN, the others are not. */
TEST(rows_without_an_answer_are_nan) {
    const struct made made[] = {{.log = true}, {.log = true, .n_outputs = 2}};

    for (size_t k = 0; k < 2; k++) {
        struct amb_model *model = open_made(&made[k], NULL);
        struct amb_error err = AMB_ERROR_NULL;
        float p[N];

        assert_ok(amb_model_run(p, model, pictures(), sigmas, NULL, N, &err), err);
        for (size_t i = 0; i < N; i++) {
            double difference = (double)means[i] - (double)sigmas[i];

            if (difference < 0) {
                assert_true(isnan(p[i]));
            } else if (difference > 0) {
                assert_near(p[i], sigmoid((k == 0 ? 1 : 2) * log(difference)), i);
            }
        }
        amb_model_close(model);
    }
}

TEST(answers_do_not_depend_on_the_batch) {
    struct amb_model *model = open_made(&(struct made){0}, NULL);
    struct amb_error err = AMB_ERROR_NULL;
    float whole[N], one;

    assert_ok(amb_model_run(whole, model, pictures(), sigmas, NULL, N, &err), err);
    for (size_t i = 0; i < N; i++) {
        assert_ok(amb_model_run(&one, model, pictures() + i * ELEMENTS, sigmas + i, NULL, 1, &err), err);
        assert_near(one, (double)whole[i], i);
    }
    amb_model_close(model);
}

/* A label that the table lacks fails inside the runtime; the model works on afterwards. */
TEST(failure_of_a_run_is_told_and_passes) {
    static const int64_t wild[N] = {0, 99, 0, 0, 0};
    struct amb_model *model = open_made(&(struct made){.labels = AMB_MODEL_LABELS_INTEGER}, NULL);
    struct amb_error err = AMB_ERROR_NULL;
    float p[N];

    assert_int_equal(amb_model_run(p, model, pictures(), sigmas, wild, N, &err), -EIO);
    assert_non_null(strstr(err.message, "ONNX Runtime: "));
    assert_null(strchr(err.message, '\n'));
    assert_ok(amb_model_run(p, model, pictures(), sigmas, labels, N, &err), err);
    amb_model_close(model);
}

TEST(stopped_model_runs_no_more) {
    struct amb_model *model = open_made(&(struct made){0}, NULL);
    struct amb_error err = AMB_ERROR_NULL;
    float p[N];

    assert_ok(amb_model_run(p, model, pictures(), sigmas, NULL, N, &err), err);
    amb_model_stop(model);
    assert_int_equal(amb_model_run(p, model, pictures(), sigmas, NULL, N, &err), -ECANCELED);
    amb_model_close(model);
}

/* FTZ and DAZ as they were before, whether plain or set. */
TEST(floating_point_environment_is_as_it_was) {
    const uint64_t plain = amb_fpenv_peek();
    struct amb_model *model = open_made(&(struct made){0}, NULL);
    struct amb_error err = AMB_ERROR_NULL;
    float p[N];

    assert_true(amb_fpenv_peek() == plain);
    assert_ok(amb_model_run(p, model, pictures(), sigmas, NULL, N, &err), err);
    assert_true(amb_fpenv_peek() == plain);
#if defined(__x86_64__)
    amb_fpenv_put(AMB_FPENV_PLAIN | 0x8040u);
    assert_ok(amb_model_run(p, model, pictures(), sigmas, NULL, N, &err), err);
    assert_true(amb_fpenv_peek() == (AMB_FPENV_PLAIN | 0x8040u));
    amb_fpenv_put(plain);
#endif
    amb_model_close(model);
}

static int count_threads(void) {
    DIR *dir = opendir("/proc/self/task");
    int n = 0;

    assert_non_null(dir);
    while (readdir(dir) != NULL) {
        n++;
    }
    closedir(dir);
    return n - 2;
}

/* One core for us: no thread beside our own, however many the machine has. */
TEST(threads_by_default_are_the_cores_that_we_may_use) {
    struct amb_model_options options = {.library = test_ort_library()};
    struct test_folder folder = folder_new();
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_model *model = NULL;
    cpu_set_t kept, one;
    int first, n_threads;

    test_thread_once();
    assert_int_equal(sched_getaffinity(0, sizeof kept, &kept), 0);
    for (first = 0; !CPU_ISSET((size_t)first, &kept); first++) {
    }
    CPU_ZERO(&one);
    CPU_SET((size_t)first, &one);
    options.path = folder_store_made(&folder, "m.onnx", &(struct made){0});
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    n_threads = count_threads();
    assert_ok(amb_model_open(&model, &options, &err), err);
    n_threads = count_threads() - n_threads;
    assert_int_equal(sched_setaffinity(0, sizeof kept, &kept), 0);
    assert_int_equal(n_threads, 0);
    amb_model_close(model);
    folder_free(&folder);
}

#define MANY 100u

struct many {
    float x[MANY][60], sigma[MANY]; /* 3 x 4 x 5 */
    _Atomic unsigned n_filled[MANY];
};

static void many_fill(void *opaque, size_t first, size_t n) {
    struct many *many = opaque;

    assert_true(amb_fpenv_peek() == AMB_FPENV_PLAIN);
    for (size_t i = first; i < first + n; i++) {
        for (size_t k = 0; k < 60; k++) {
            many->x[i][k] = (float)i / MANY;
        }
        many->sigma[i] = (float)(i % 7) / 8;
        atomic_fetch_add(&many->n_filled[i], 1);
    }
}

/* Four threads, batches of any size, of one and of eight (whose threads are inside): each row filled once, none mixed up. */
TEST(rows_are_shared_among_threads) {
    static const int64_t batches[] = {0, 1, 8};
    static struct many many;

    for (size_t k = 0; k < 3; k++) {
        struct amb_model_options options = {.library = test_ort_library(), .n_threads = 4};
        struct test_folder folder = folder_new();
        struct amb_error err = AMB_ERROR_NULL;
        struct amb_model *model = NULL;
        float p[MANY];

        options.path = folder_store_made(&folder, "m.onnx", &(struct made){.batch = batches[k]});
        assert_ok(amb_model_open(&model, &options, &err), err);
        assert_int_equal(amb_model_peek(model)->n_parallel, k < 2 ? 4 : 1);
        for (size_t n = 1; n <= MANY; n = n * 2 + 5) {
            memset(&many, 0, sizeof many);
            assert_ok(amb_model_run_filled(p, model, many.x[0], many.sigma, NULL, n, many_fill, &many, &err), err);
            for (size_t i = 0; i < MANY; i++) {
                assert_int_equal(atomic_load(&many.n_filled[i]), i < n);
                if (i < n) {
                    assert_near(p[i], sigmoid((double)i / MANY - (double)(i % 7) / 8), i);
                }
            }
        }
        amb_model_close(model);
        folder_free(&folder);
    }
}

static void many_fill_wild(void *opaque, size_t first, size_t n) {
    int64_t *classes = opaque;

    for (size_t i = first; i < first + n; i++) {
        classes[i] = i == 40 ? 1000000 : 0;
    }
}

static struct amb_model *stopped;

static void many_fill_stop(void *opaque, size_t first, size_t n) {
    many_fill_wild(opaque, first + n, 0);
    if (first == 0) {
        amb_model_stop(stopped);
    }
}

/* A row in the middle is refused by the runtime, and once the model is stopped while its threads run. */
TEST(failure_of_one_piece_is_that_of_the_run) {
    struct amb_model_options options = {.library = test_ort_library(), .n_threads = 4};
    struct test_folder folder = folder_new();
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_model *model = NULL;
    static struct many many;
    int64_t classes[MANY] = {0};
    float p[MANY];

    options.path = folder_store_made(&folder, "m.onnx", &(struct made){.labels = AMB_MODEL_LABELS_INTEGER});
    assert_ok(amb_model_open(&model, &options, &err), err);
    for (int k = 0; k < 20; k++) {
        err = AMB_ERROR_NULL;
        assert_int_equal(
            amb_model_run_filled(p, model, many.x[0], many.sigma, classes, MANY, many_fill_wild, classes, &err), -EIO);
        assert_true(err.code == -EIO && err.message[0] != '\0');
        memset(classes, 0, sizeof classes);
        assert_ok(amb_model_run(p, model, many.x[0], many.sigma, classes, MANY, &err), err);
    }
    stopped = model;
    assert_int_equal(amb_model_run_filled(p, model, many.x[0], many.sigma, classes, MANY, many_fill_stop, classes, &err),
                     -ECANCELED);
    amb_model_close(model);
    folder_free(&folder);
}

/* The caller's nice value is that of the threads that a session makes. */
TEST(threads_inherit_the_nice_value_and_end) {
    struct amb_model_options options = {.library = test_ort_library(), .n_threads = 3};
    struct test_folder folder = folder_new();
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_model *model = NULL;
    struct dirent *entry;
    unsigned n_nice = 0;
    char command[256];
    DIR *dir;

    test_thread_once(); /* before: what it begins stays out of the count */
    snprintf(command, sizeof command, "renice -n 7 -p %d >/dev/null 2>&1", (int)getpid());
    assert_int_equal(system(command), 0);
    options.path = folder_store_made(&folder, "m.onnx", &(struct made){0});
    assert_ok(amb_model_open(&model, &options, &err), err);
    dir = opendir("/proc/self/task");
    assert_non_null(dir);
    for (entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        char path[64], line[1024] = "";
        FILE *file;
        long nice_value = 0;

        if (entry->d_name[0] == '.' || atoi(entry->d_name) == (int)getpid()) {
            continue;
        }
        snprintf(path, sizeof path, "/proc/self/task/%.16s/stat", entry->d_name);
        file = fopen(path, "r");
        if (file != NULL) {
            if (fgets(line, sizeof line, file) != NULL) {
                char *at = strrchr(line, ')');

                assert_non_null(at);
                assert_int_equal(
                    sscanf(at, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %ld", &nice_value), 1);
                n_nice += nice_value == 7;
            }
            fclose(file);
        }
    }
    closedir(dir);
    assert_int_equal(n_nice, 2); /* and the caller is the third */
    amb_model_close(model);
    folder_free(&folder);
}

static void assert_refused(const struct made *made, struct amb_model_options options, int code, const char *found,
                           const char *allowed) {
    struct test_folder folder = folder_new();
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_model *model = NULL;
    int r;

    options.library = test_ort_library();
    options.n_threads = 1;
    options.path = folder_store_made(&folder, "m.onnx", made);
    r = amb_model_open(&model, &options, &err);
    folder_free(&folder);
    assert_null(model);
    if (r != code || strstr(err.message, found) == NULL || strstr(err.message, allowed) == NULL) {
        fail_msg("%d '%s', expected %d with '%s' and '%s'", r, err.message, code, found, allowed);
    }
}

TEST(other_inputs_and_outputs_are_refused_with_both_sides_named) {
    const struct amb_model_options none = {.path = NULL};

    assert_refused(&(struct made){.x = "image"}, none, AMB_ERR_FORMAT, "'image' is f32[N,3,4,5]", "x, sigma and optionally");
    assert_refused(&(struct made){.sigma = "t"}, none, AMB_ERR_FORMAT, "'t' is f32[N]", "x, sigma and optionally");
    assert_refused(&(struct made){.more = "mask"}, none, AMB_ERR_FORMAT, "'mask'", "x, sigma and optionally");
    assert_refused(&(struct made){.x_dtype = TEST_F64}, none, AMB_ERR_FORMAT, "", "");
    assert_refused(&(struct made){.output_dtype = TEST_F64}, none, AMB_ERR_FORMAT, "output 'logits' is another type[N]",
                   "f32 [N], [N,1] or [N,K]");
    assert_refused(&(struct made){.output_dtype = TEST_I64}, none, AMB_ERR_FORMAT, "output 'logits' is i64[N]",
                   "f32 [N], [N,1] or [N,K]");
    assert_refused(&(struct made){.n_outputs = 3}, (struct amb_model_options){.column = 3}, AMB_ERR_CONFIG, "column 3",
                   "allowed: 0 to 2");
    assert_refused(&(struct made){0}, (struct amb_model_options){.column = 1}, AMB_ERR_CONFIG, "column 1",
                   "allowed: 0 to 0");
}

/* Labels alone, without x. */
TEST(missing_input_is_named) {
    const int64_t rows[] = {-1};
    struct amb_buf graph = AMB_BUF_NULL, model;
    struct test_folder folder;
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_model_options options = {.library = test_ort_library(), .n_threads = 1};
    struct amb_model *opened = NULL;

    put_value(&graph, GRAPH_INPUT, "sigma", TEST_F32, rows, 1);
    put_node(&graph, "Neg", "sigma", NULL, "logits");
    put_value(&graph, GRAPH_OUTPUT, "logits", TEST_F32, rows, 1);
    model = model_end(&graph);
    folder = folder_new();
    options.path = folder_store(&folder, "m.onnx", model.data, model.n_bytes);
    assert_int_equal(amb_model_open(&opened, &options, &err), AMB_ERR_FORMAT);
    assert_non_null(strstr(err.message, "no input 'x'"));
    assert_non_null(strstr(err.message, "allowed: x [N,C,H,W], sigma [N]"));
    amb_buf_deinit(&model);
    folder_free(&folder);
}

/* What passes for protobuf and is no graph that the runtime can build. */
TEST(graph_that_the_runtime_refuses_is_named_with_its_release) {
    const int64_t rows[] = {-1};
    struct amb_buf graph = AMB_BUF_NULL, model;
    struct amb_model_options options = {.library = test_ort_library(), .n_threads = 1};
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_model *opened = NULL;
    struct test_folder folder;

    put_value(&graph, GRAPH_INPUT, "sigma", TEST_F32, rows, 1);
    put_node(&graph, "NoSuchOperator", "sigma", NULL, "logits");
    put_value(&graph, GRAPH_OUTPUT, "logits", TEST_F32, rows, 1);
    model = model_end(&graph);
    folder = folder_new();
    options.path = folder_store(&folder, "m.onnx", model.data, model.n_bytes);
    assert_int_equal(amb_model_open(&opened, &options, &err), AMB_ERR_FORMAT);
    assert_non_null(strstr(err.message, "refused by ONNX Runtime 1."));
    assert_non_null(strstr(err.message, "NoSuchOperator"));
    amb_buf_deinit(&model);
    folder_free(&folder);
}

TEST(provider_that_is_absent_is_named_with_what_there_is) {
    static const char *const cuda[] = {"CUDA", "CPU"}, *const wild[] = {"TPU"}, *const cpu[] = {"CPU"};
    struct amb_model *model;

    assert_refused(&(struct made){0}, (struct amb_model_options){.providers = wild, .n_providers = 1}, AMB_ERR_CONFIG,
                   "provider 'TPU'", "allowed: CUDA, CPU");
    model = open_made(&(struct made){0}, &(struct amb_model_options){.providers = cpu, .n_providers = 1});
    assert_non_null(strstr(amb_model_peek(model)->runtime, ", CPU"));
    amb_model_close(model);
    if (strstr(test_ort_library(), "gpu") == NULL) {
        assert_refused(&(struct made){0}, (struct amb_model_options){.providers = cuda, .n_providers = 2},
                       AMB_ERR_UNSUPPORTED, "provider CUDA is not in ONNX Runtime 1.", "CPUExecutionProvider");
    }
}

/* In order of preference: CPU is always there, so CUDA behind it must not be used, nor missed. */
TEST(provider_behind_cpu_is_not_asked) {
    static const char *const late[] = {"CPU", "CUDA"};
    struct amb_model *model = open_made(&(struct made){0}, &(struct amb_model_options){.providers = late, .n_providers = 2});

    assert_non_null(strstr(amb_model_peek(model)->runtime, ", CPU"));
    assert_null(strstr(amb_model_peek(model)->runtime, "CUDA"));
    amb_model_close(model);
}

/* Run from the folder, whose file the runtime reads itself. */
TEST(external_data_inside_the_folder_is_read) {
    struct amb_model_options options = {.library = test_ort_library(), .n_threads = 1};
    const struct made made = {.labels = AMB_MODEL_LABELS_INTEGER, .location = "table.bin"};
    struct test_folder folder = folder_new();
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_model *model = NULL;
    float table[TEST_LABELS], p[N];

    for (size_t i = 0; i < TEST_LABELS; i++) {
        table[i] = (float)i * 2;
    }
    folder_store(&folder, "table.bin", table, sizeof table);
    options.path = folder_store_made(&folder, "m.onnx", &made);
    assert_ok(amb_model_open(&model, &options, &err), err);
    assert_ok(amb_model_run(p, model, pictures(), sigmas, labels, N, &err), err);
    for (size_t i = 0; i < N; i++) {
        assert_near(p[i], sigmoid((double)means[i] - (double)sigmas[i] + (double)labels[i] * 2), i);
    }
    amb_model_close(model);
    folder_store(&folder, "table.bin", table, 8); /* shorter than the tensor */
    assert_int_equal(amb_model_open(&model, &options, &err), AMB_ERR_FORMAT);
    folder_free(&folder);
}

/* Fakes need no library. */

static float fake_p(const char *path, double contrast, double sigma) {
    const struct amb_model_options options = {.path = path, .channels = 3, .height = 4, .width = 5};
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_model *model = NULL;
    float x[ELEMENTS], s = (float)sigma, p = -1;

    for (size_t i = 0; i < ELEMENTS; i++) {
        x[i] = (float)(i % 2 == 0 ? contrast : -contrast);
    }
    assert_ok(amb_model_open(&model, &options, &err), err);
    assert_ok(amb_model_run(&p, model, x, &s, NULL, 1, &err), err);
    amb_model_close(model);
    return p;
}

TEST(fake_models_do_as_they_are_called) {
    assert_true(fake_p("fake:constant=0.75", 0, 1) == 0.75f);
    assert_true(fake_p("fake:edge", 0, 0.1) > 0.9f && fake_p("fake:edge", 0, 10) < 0.1f);
    assert_true(fake_p("fake:edge", 0.05, 0.01) < fake_p("fake:edge", 0, 0.01)); /* sharp ones fall earlier */
    assert_true(isnan(fake_p("fake:nan=0.5", 0, 0.5)) && !isnan(fake_p("fake:nan=0.5", 0, 0.4)));
    assert_true(fake_p("fake:slow=1", 0, 0.1) == fake_p("fake:edge", 0, 0.1));
}

TEST(unknown_fake_is_refused_with_those_there_are) {
    const struct amb_model_options options = {.path = "fake:wrong"};
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_model *model = NULL;

    assert_int_equal(amb_model_open(&model, &options, &err), AMB_ERR_CONFIG);
    assert_non_null(strstr(err.message, "fake:wrong"));
    assert_non_null(strstr(err.message, "fake:edge, fake:constant=P"));
    assert_null(amb_model_close(NULL));
}

int main(int argc, char **argv) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(fake_models_do_as_they_are_called),
        cmocka_unit_test(unknown_fake_is_refused_with_those_there_are),
        cmocka_unit_test(one_logit_goes_through_a_sigmoid),
        cmocka_unit_test(column_of_a_softmax_is_taken),
        cmocka_unit_test(labels_are_given_as_the_model_wants_them),
        cmocka_unit_test(fixed_batch_is_kept_by_filling_up),
        cmocka_unit_test(size_is_the_models_or_where_open_the_callers),
        cmocka_unit_test(rows_without_an_answer_are_nan),
        cmocka_unit_test(answers_do_not_depend_on_the_batch),
        cmocka_unit_test(failure_of_a_run_is_told_and_passes),
        cmocka_unit_test(stopped_model_runs_no_more),
        cmocka_unit_test(floating_point_environment_is_as_it_was),
        cmocka_unit_test(other_inputs_and_outputs_are_refused_with_both_sides_named),
        cmocka_unit_test(missing_input_is_named),
        cmocka_unit_test(graph_that_the_runtime_refuses_is_named_with_its_release),
        cmocka_unit_test(provider_that_is_absent_is_named_with_what_there_is),
        cmocka_unit_test(provider_behind_cpu_is_not_asked),
        cmocka_unit_test(external_data_inside_the_folder_is_read),
        cmocka_unit_test(threads_by_default_are_the_cores_that_we_may_use),
        cmocka_unit_test(rows_are_shared_among_threads),
        cmocka_unit_test(failure_of_one_piece_is_that_of_the_run),
        cmocka_unit_test(threads_inherit_the_nice_value_and_end), /* last: niceness cannot be taken back */
    };

    if (test_ort_find() == NULL) {
        return 77;
    }
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
