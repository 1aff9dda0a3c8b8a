#include "base/test.h"

#include <errno.h>
#include <math.h>

#include "annotate/control.h"
#include "annotate/examiner.h"
#include "annotate/rule.h"
#include "annotate/test-spy.h"
#include "noise/normal.h"
#include "proto/wire.h"

#define CHANNELS 2u
#define HEIGHT 3u
#define WIDTH 5u
#define ELEMENTS (CHANNELS * HEIGHT * WIDTH)
#define N_SUBJECTS 20u
#define SEED 77u

static double grid_sigmas[128];
static const struct amb_grid grid = {grid_sigmas, 128};

static struct amb_examiner_options options_of(enum amb_search_mode mode) {
    for (size_t i = 0; i < grid.n; i++) {
        grid_sigmas[i] = 0.02 * pow(1.05, (double)i); /* to some 10 */
    }
    return (struct amb_examiner_options){
        .search = {mode, &grid, AMB_SEARCH_TRIALS, 8, AMB_RULE_EPSILON, false, NULL},
        .channels = CHANNELS, .height = HEIGHT, .width = WIDTH, .seed = SEED};
}

static float mean_of(const struct amb_model_info *info, const float *x) {
    const size_t n = (size_t)info->channels * info->height * info->width;
    double sum = 0;

    for (size_t i = 0; i < n; i++) {
        sum += (double)x[i];
    }
    return (float)(sum / (double)n);
}

/* Falls through 1/2 at a sigma that the picture decides; the noise itself moves it. */
static float answer_picture(const struct amb_model_info *info, const float *x, float sigma, const void *label) {
    const double own = 0.3 + 0.25 * (double)tanhf(mean_of(info, x));

    (void)label;
    return (float)(1 / (1 + pow((double)sigma / own, 4)));
}

/* Of sigma alone. */
static float answer_sigma(const struct amb_model_info *info, const float *x, float sigma, const void *label) {
    (void)info;
    (void)x;
    (void)label;
    return (float)(1 / (1 + pow((double)sigma / 0.5, 4)));
}

/* No answer for dark pictures at high sigma; the noise has mean 0 and cannot make one of the others dark. */
static float answer_nan(const struct amb_model_info *info, const float *x, float sigma, const void *label) {
    return x[0] < -50 ? (sigma > 0.1f ? NAN : 0.9f) : x[0] > 50 ? 1.5f : answer_sigma(info, x, sigma, label);
}

static struct amb_subject subject_of(uint32_t i, const uint8_t *pixels) {
    struct amb_subject subject = {.i_sample = i, .version = i % 3, .label = -1, .u8 = pixels};

    subject.uid.bytes[0] = (uint8_t)i;
    subject.uid.bytes[9] = (uint8_t)(i * 7);
    return subject;
}

static void pixels_fill(uint8_t pixels[ELEMENTS], uint32_t i) {
    for (size_t k = 0; k < ELEMENTS; k++) {
        pixels[k] = (uint8_t)(i * 12 + k * 3);
    }
}

/* Examine all, in the order given, with the window always full. */
static void examine(struct amb_verdict out[N_SUBJECTS], struct amb_model *model,
                    const struct amb_examiner_options *options, bool reverse) {
    struct amb_examiner *examiner = NULL;
    struct amb_error err = AMB_ERROR_NULL;
    uint32_t n_in = 0, n_out = 0;

    assert_ok(amb_examiner_new(&examiner, model, options, &err), err);
    for (unsigned guard = 0; n_out < N_SUBJECTS; guard++) {
        struct amb_verdict verdict;

        assert_true(guard < 1000000);
        while (n_in < N_SUBJECTS && amb_examiner_has_room(examiner)) {
            uint8_t pixels[ELEMENTS];
            uint32_t i = reverse ? N_SUBJECTS - 1 - n_in : n_in;
            struct amb_subject subject = subject_of(i, pixels);

            pixels_fill(pixels, i);
            assert_ok(amb_examiner_push(examiner, &subject, &err), err);
            memset(pixels, 0, sizeof pixels); /* they were copied */
            n_in++;
        }
        assert_int_equal(amb_examiner_count(examiner), n_in - n_out);
        assert_ok(amb_examiner_step(examiner, &err), err);
        while (amb_examiner_pop(&verdict, examiner) == 0) {
            assert_true(verdict.i_sample < N_SUBJECTS);
            assert_int_equal(verdict.version, verdict.i_sample % 3);
            out[verdict.i_sample] = verdict;
            n_out++;
        }
    }
    assert_int_equal(amb_examiner_count(examiner), 0);
    amb_examiner_free(examiner);
}

/* Bit for bit the same for batches of one, of an odd number and of all, for other windows, and backwards. */
static void assert_independent(enum amb_search_mode mode) {
    static const struct {
        size_t batch, n_subjects;
        bool reverse;
    } ways[] = {{1, 1, false}, {7, 5, false}, {7, 5, true}, {256, 20, false}, {32, 3, true}, {0, 0, false}};
    struct amb_examiner_options options = options_of(mode);
    struct amb_verdict first[N_SUBJECTS], other[N_SUBJECTS];
    unsigned n_different = 0;

    for (size_t k = 0; k < sizeof ways / sizeof ways[0]; k++) {
        struct spy *spy = spy_new(answer_picture, CHANNELS, HEIGHT, WIDTH, false);

        options.batch = ways[k].batch;
        options.n_subjects = ways[k].n_subjects;
        examine(k == 0 ? first : other, &spy->base, &options, ways[k].reverse);
        assert_true(options.batch == 0 || spy->n_max <= options.batch);
        amb_model_close(&spy->base);
        for (uint32_t i = 0; i < N_SUBJECTS && k > 0; i++) {
            assert_int_equal(other[i].error.code, 0);
            assert_int_equal(other[i].result.n_evaluations, first[i].result.n_evaluations);
            assert_true(other[i].result.sigma_min == first[i].result.sigma_min);
            assert_true(other[i].result.lo == first[i].result.lo && other[i].result.hi == first[i].result.hi);
        }
    }
    for (uint32_t i = 1; i < N_SUBJECTS; i++) { /* and not all alike */
        n_different += first[i].result.sigma_min != first[0].result.sigma_min;
    }
    assert_true(n_different > N_SUBJECTS / 2);
}

TEST(dense_answers_depend_on_the_sample_alone) {
    assert_independent(AMB_SEARCH_DENSE);
}

TEST(adaptive_answers_depend_on_the_sample_alone) {
    assert_independent(AMB_SEARCH_ADAPTIVE);
}

TEST(seed_decides_the_noise) {
    struct amb_examiner_options options = options_of(AMB_SEARCH_DENSE);
    struct spy *spy = spy_new(answer_picture, CHANNELS, HEIGHT, WIDTH, false);
    struct amb_verdict first[N_SUBJECTS], other[N_SUBJECTS];
    unsigned n_different = 0;

    examine(first, &spy->base, &options, false);
    options.seed++;
    examine(other, &spy->base, &options, false);
    for (uint32_t i = 0; i < N_SUBJECTS; i++) {
        n_different += other[i].result.lo != first[i].result.lo || other[i].result.sigma_min != first[i].result.sigma_min;
    }
    assert_true(n_different > 0);
    amb_model_close(&spy->base);
}

/* One subject alone, every row of it kept by the spy. */
static struct spy *examine_one(const struct amb_subject *subject, const struct amb_examiner_options *options) {
    struct spy *spy = spy_new(answer_sigma, CHANNELS, HEIGHT, WIDTH, true);
    struct amb_examiner *examiner = NULL;
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_verdict verdict;

    assert_ok(amb_examiner_new(&examiner, &spy->base, options, &err), err);
    assert_int_equal(amb_examiner_pop(&verdict, examiner), AMB_EXAMINER_E_NONE);
    assert_ok(amb_examiner_push(examiner, subject, &err), err);
    while (amb_examiner_pop(&verdict, examiner) == AMB_EXAMINER_E_NONE) {
        assert_ok(amb_examiner_step(examiner, &err), err);
    }
    amb_examiner_free(examiner);
    return spy;
}

/* n of draw number `draw`, by the rule as it is written: of the pool where there is no subject. */
static void noise_of(float n[ELEMENTS], const struct amb_subject *subject, uint64_t draw) {
    const uint64_t seed = SEED;
    uint64_t words[4] = {0, 0, 0, draw};

    if (subject == NULL) {
        amb_normal_fill(n, 0, ELEMENTS, amb_hash_words("annotate", &seed, 1), amb_hash_words("annotate pool", &draw, 1));
        return;
    }
    words[0] = ambp_load_u64le(subject->uid.bytes);
    words[1] = ambp_load_u64le(subject->uid.bytes + 8);
    words[2] = subject->version;
    amb_normal_fill(n, 0, ELEMENTS, amb_hash_words("annotate", &seed, 1), amb_hash_words("annotate draw", words, 4));
}

static float noises[AMB_CONTROL_DRAWS][ELEMENTS];

static void noises_fill(const struct amb_subject *subject) {
    for (size_t draw = 0; draw < AMB_CONTROL_DRAWS; draw++) {
        noise_of(noises[draw], subject, draw);
    }
}

/* Row i_row is base + sigma n for a draw that no earlier row has. */
static void assert_row(const struct spy *spy, size_t i_row, const float *base, bool seen[AMB_CONTROL_DRAWS]) {
    const float *x = spy->x + i_row * ELEMENTS, sigma = spy->sigma[i_row];

    for (size_t draw = 0; draw < AMB_CONTROL_DRAWS; draw++) {
        bool same = true;

        for (size_t i = 0; i < ELEMENTS && same; i++) {
            same = x[i] == fmaf(sigma, noises[draw][i], base[i]);
        }
        if (same) {
            assert_false(seen[draw]);
            seen[draw] = true;
            return;
        }
    }
    fail_msg("row %zu at sigma %g is no draw", i_row, (double)sigma);
}

/* First the whole pool beside a blank picture, at one sigma, then the sample, each noise of the pool once. */
static void assert_rows_of_adaptive(const struct amb_subject *subject, const float *base) {
    static const float blank[ELEMENTS];
    const struct amb_examiner_options options = options_of(AMB_SEARCH_ADAPTIVE);
    struct spy *spy = examine_one(subject, &options);
    bool seen[AMB_CONTROL_DRAWS] = {false};

    noises_fill(NULL);
    assert_true(spy->n_rows > AMB_CONTROL_DRAWS + 8);
    for (size_t i = 0; i < AMB_CONTROL_DRAWS; i++) {
        assert_true(spy->sigma[i] == (float)grid_sigmas[95]); /* of 128: three quarters of the grid lie at or below */
        assert_row(spy, i, blank, seen);
    }
    memset(seen, 0, sizeof seen);
    for (size_t i = AMB_CONTROL_DRAWS; i < spy->n_rows; i++) {
        assert_row(spy, i, base, seen);
    }
    amb_model_close(&spy->base);
}

TEST(pictures_are_noised_by_the_written_rule) {
    uint8_t pixels[ELEMENTS];
    float base[ELEMENTS];
    struct amb_subject subject = subject_of(5, pixels);

    pixels_fill(pixels, 5);
    pixels[0] = 0;
    pixels[1] = 255;
    for (size_t i = 0; i < ELEMENTS; i++) {
        base[i] = (float)pixels[i] / 127.5f - 1.0f;
    }
    assert_true(base[0] == -1 && base[1] == 1);
    assert_rows_of_adaptive(&subject, base);
}

TEST(latents_are_noised_as_they_are) {
    float latent[ELEMENTS];
    struct amb_subject subject = subject_of(9, NULL);

    for (size_t i = 0; i < ELEMENTS; i++) {
        latent[i] = (float)i * 1.75f - 20;
    }
    subject.x = latent;
    assert_rows_of_adaptive(&subject, latent);
}

/* No two samples share a noise there. */
TEST(dense_noise_is_the_samples_own) {
    struct amb_examiner_options options = options_of(AMB_SEARCH_DENSE);
    static const struct amb_grid two = {grid_sigmas, 2};
    uint8_t pixels[ELEMENTS] = {0};
    float base[ELEMENTS];
    struct amb_subject subject = subject_of(6, pixels);
    bool seen[AMB_CONTROL_DRAWS] = {false};
    struct spy *spy;

    for (size_t i = 0; i < ELEMENTS; i++) {
        base[i] = -1;
    }
    options.search.grid = &two;
    spy = examine_one(&subject, &options);
    noises_fill(&subject);
    assert_int_equal(spy->n_rows, 2 * AMB_SEARCH_TRIALS);
    for (size_t i = 0; i < spy->n_rows; i++) {
        assert_row(spy, i, base, seen);
    }
    amb_model_close(&spy->base);
}

/* What the control costs is told once, beside what the verdicts count. */
TEST(overhead_is_the_control) {
    const struct amb_examiner_options options = options_of(AMB_SEARCH_ADAPTIVE);
    struct spy *spy = spy_new(answer_sigma, CHANNELS, HEIGHT, WIDTH, true);
    struct amb_examiner *examiner = NULL;
    struct amb_error err = AMB_ERROR_NULL;
    uint8_t pixels[ELEMENTS] = {0};
    struct amb_subject subject = subject_of(1, pixels);
    struct amb_verdict verdict;

    assert_ok(amb_examiner_new(&examiner, &spy->base, &options, &err), err);
    assert_ok(amb_examiner_push(examiner, &subject, &err), err);
    while (amb_examiner_pop(&verdict, examiner) == AMB_EXAMINER_E_NONE) {
        assert_ok(amb_examiner_step(examiner, &err), err);
    }
    assert_int_equal(amb_examiner_take_overhead(examiner), AMB_CONTROL_DRAWS);
    assert_int_equal(amb_examiner_take_overhead(examiner), 0);
    assert_int_equal(spy->n_rows, AMB_CONTROL_DRAWS + verdict.result.n_evaluations);
    amb_examiner_free(examiner);
    amb_model_close(&spy->base);
}

/* The published rule over every grid sigma, by hand; and the curve that is handed out. */
TEST(dense_verdict_is_the_published_rule) {
    struct amb_examiner_options options = options_of(AMB_SEARCH_DENSE);
    struct spy *spy = spy_new(answer_sigma, CHANNELS, HEIGHT, WIDTH, false);
    struct amb_examiner *examiner = NULL;
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_verdict verdict;
    uint8_t pixels[ELEMENTS] = {0};
    struct amb_subject subject = subject_of(1, pixels);
    double p[128];

    options.search.keep_curve = true;
    assert_ok(amb_examiner_new(&examiner, &spy->base, &options, &err), err);
    assert_ok(amb_examiner_push(examiner, &subject, &err), err);
    while (amb_examiner_pop(&verdict, examiner) == AMB_EXAMINER_E_NONE) {
        assert_ok(amb_examiner_step(examiner, &err), err);
    }
    for (size_t i = 0; i < grid.n; i++) {
        p[i] = (double)answer_sigma(NULL, NULL, (float)grid_sigmas[i], NULL);
    }
    assert_int_equal(verdict.n_curve, grid.n);
    assert_memory_equal(verdict.curve_sigmas, grid_sigmas, sizeof grid_sigmas);
    assert_memory_equal(verdict.curve_p, p, sizeof p);
    amb_rule_smooth(p, grid.n, 8);
    assert_true(verdict.result.sigma_min == amb_rule_sigma_min(p, grid_sigmas, grid.n, AMB_RULE_EPSILON));
    assert_int_equal(verdict.result.n_evaluations, grid.n * AMB_SEARCH_TRIALS);
    amb_examiner_free(examiner);
    amb_model_close(&spy->base);
}

/* Of four latents one gets NaN and one a p of 1.5: those two leave with a reason, the others with a result. */
TEST(sample_without_an_answer_is_given_up_and_the_others_go_on) {
    struct amb_examiner_options options = options_of(AMB_SEARCH_DENSE);
    struct spy *spy = spy_new(answer_nan, CHANNELS, HEIGHT, WIDTH, false);
    struct amb_examiner *examiner = NULL;
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_verdict verdict;
    unsigned n_good = 0, n_bad = 0;

    options.batch = 16;
    options.n_subjects = 4;
    assert_ok(amb_examiner_new(&examiner, &spy->base, &options, &err), err);
    for (uint32_t i = 0; i < 4; i++) {
        float x[ELEMENTS];
        struct amb_subject subject = subject_of(i, NULL);

        for (size_t k = 0; k < ELEMENTS; k++) {
            x[k] = i == 1 ? -1000 : i == 2 ? 1000 : 0;
        }
        subject.x = x;
        assert_ok(amb_examiner_push(examiner, &subject, &err), err);
    }
    assert_false(amb_examiner_has_room(examiner));
    while (n_good + n_bad < 4) {
        assert_ok(amb_examiner_step(examiner, &err), err);
        while (amb_examiner_pop(&verdict, examiner) == 0) {
            if (verdict.i_sample == 1 || verdict.i_sample == 2) {
                assert_int_equal(verdict.error.code, AMB_ERR_FORMAT);
                assert_non_null(strstr(verdict.error.message, verdict.i_sample == 1 ? "nan at sigma 0.1" : "1.5 at sigma"));
                assert_non_null(strstr(verdict.error.message, "allowed: a probability"));
                assert_int_equal(verdict.n_curve, 0);
                n_bad++;
            } else {
                assert_int_equal(verdict.error.code, 0);
                assert_true(verdict.result.sigma_min > 0.4 && verdict.result.sigma_min < 0.6);
                n_good++;
            }
        }
    }
    assert_true(n_good == 2 && n_bad == 2);
    assert_true(amb_examiner_has_room(examiner));
    amb_examiner_free(examiner);
    amb_model_close(&spy->base);
}

static float answer_vector(const struct amb_model_info *info, const float *x, float sigma, const void *label) {
    const float *vector = label;
    float sum = 0;

    for (size_t i = 0; i < info->label_width; i++) {
        sum += vector[i] * (float)(i + 1);
    }
    (void)x;
    (void)sigma;
    return sum / 100;
}

/* p of the first answer, for a label given so or so; the model has 4 classes. */
static int vector_p(double *p, int64_t label, const float *vector, struct amb_error *err) {
    struct amb_examiner_options options = options_of(AMB_SEARCH_DENSE);
    struct spy *spy = spy_new(answer_vector, CHANNELS, HEIGHT, WIDTH, false);
    struct amb_examiner *examiner = NULL;
    struct amb_subject subject = subject_of(0, NULL);
    struct amb_verdict verdict;
    float x[ELEMENTS] = {0};
    int r;

    spy->base.info.labels = AMB_MODEL_LABELS_VECTOR;
    spy->base.info.label_width = 4;
    options.search.keep_curve = true;
    subject.x = x;
    subject.label = label;
    subject.label_vector = vector;
    assert_ok(amb_examiner_new(&examiner, &spy->base, &options, err), *err);
    r = amb_examiner_push(examiner, &subject, err);
    while (r == 0 && amb_examiner_pop(&verdict, examiner) == AMB_EXAMINER_E_NONE) {
        assert_ok(amb_examiner_step(examiner, err), *err);
    }
    *p = r == 0 ? verdict.curve_p[0] : -1;
    assert_int_equal(amb_examiner_count(examiner), 0);
    amb_examiner_free(examiner);
    amb_model_close(&spy->base);
    return r;
}

TEST(label_vectors_are_one_hot_or_as_stored) {
    static const float stored[] = {1, 1, 0, 2};
    struct amb_error err = AMB_ERROR_NULL;
    double p;

    assert_ok(vector_p(&p, 2, NULL, &err), err);
    assert_true(fabs(p - 0.03) < 1e-6);
    assert_ok(vector_p(&p, -1, NULL, &err), err);
    assert_true(p == 0);
    assert_ok(vector_p(&p, 0, stored, &err), err);
    assert_true(fabs(p - 0.11) < 1e-6);
    assert_int_equal(vector_p(&p, 4, NULL, &err), AMB_ERR_FORMAT);
    assert_non_null(strstr(err.message, "label 4"));
    assert_non_null(strstr(err.message, "0 to 3"));
}

TEST(integer_labels_reach_the_model) {
    struct amb_examiner_options options = options_of(AMB_SEARCH_DENSE);
    struct spy *spy = spy_new(answer_sigma, CHANNELS, HEIGHT, WIDTH, true);
    struct amb_examiner *examiner = NULL;
    struct amb_error err = AMB_ERROR_NULL;
    uint8_t pixels[ELEMENTS] = {0};

    spy->base.info.labels = AMB_MODEL_LABELS_INTEGER;
    options.batch = 64;
    options.n_subjects = 2;
    assert_ok(amb_examiner_new(&examiner, &spy->base, &options, &err), err);
    for (uint32_t i = 0; i < 2; i++) {
        struct amb_subject subject = subject_of(i, pixels);

        subject.label = 100 + i;
        assert_ok(amb_examiner_push(examiner, &subject, &err), err);
    }
    for (unsigned i = 0; i < 16 && amb_examiner_count(examiner) == 2; i++) {
        assert_ok(amb_examiner_step(examiner, &err), err);
    }
    assert_true(spy->n_rows > 64);
    for (size_t i = 0, n_seen[2] = {0, 0}; i < spy->n_rows; i++) {
        assert_true(spy->labels[i] == 100 || spy->labels[i] == 101);
        n_seen[spy->labels[i] - 100]++;
        assert_true(i + 1 < spy->n_rows || (n_seen[0] > 0 && n_seen[1] > 0)); /* each has its turn */
    }
    amb_examiner_free(examiner);
    amb_model_close(&spy->base);
}

TEST(model_of_another_size_is_refused_with_both_named) {
    struct amb_examiner_options options = options_of(AMB_SEARCH_DENSE);
    struct spy *spy = spy_new(answer_sigma, CHANNELS, HEIGHT, WIDTH + 1, false);
    struct amb_examiner *examiner = NULL;
    struct amb_error err = AMB_ERROR_NULL;

    assert_int_equal(amb_examiner_new(&examiner, &spy->base, &options, &err), AMB_ERR_CONFIG);
    assert_null(examiner);
    assert_non_null(strstr(err.message, "takes 2 x 3 x 6"));
    assert_non_null(strstr(err.message, "samples are 2 x 3 x 5"));
    assert_null(amb_examiner_free(NULL));
    amb_model_close(&spy->base);
}

TEST(failure_of_the_model_is_forwarded) {
    struct amb_examiner_options options = options_of(AMB_SEARCH_DENSE);
    struct spy *spy = spy_new(answer_sigma, CHANNELS, HEIGHT, WIDTH, false);
    struct amb_examiner *examiner = NULL;
    struct amb_error err = AMB_ERROR_NULL;
    uint8_t pixels[ELEMENTS] = {0};
    struct amb_subject subject = subject_of(0, pixels);
    double rate;
    size_t batch;

    assert_ok(amb_examiner_new(&examiner, &spy->base, &options, &err), err);
    assert_ok(amb_examiner_step(examiner, &err), err); /* nobody there: nothing is run */
    assert_int_equal(spy->n_runs, 0);
    assert_ok(amb_examiner_push(examiner, &subject, &err), err);
    spy->fail = -EIO;
    assert_int_equal(amb_examiner_step(examiner, &err), -EIO);
    assert_string_equal(err.message, "the spy fails");
    assert_int_equal(amb_examiner_tune(&batch, &rate, examiner, &err), -EIO);
    amb_examiner_free(examiner);
    amb_model_close(&spy->base);
}

/* The batch is one of those tried, and steps then have that many; who names a batch has it measured alone. */
TEST(tuned_batch_is_used) {
    struct amb_examiner_options options = options_of(AMB_SEARCH_DENSE);
    struct spy *spy = spy_new(answer_sigma, CHANNELS, HEIGHT, WIDTH, false);
    struct amb_examiner *examiner = NULL;
    struct amb_error err = AMB_ERROR_NULL;
    uint8_t pixels[ELEMENTS] = {0};
    struct amb_subject subject = subject_of(0, pixels);
    double rate = 0;
    size_t batch = 0;

    assert_ok(amb_examiner_new(&examiner, &spy->base, &options, &err), err);
    assert_ok(amb_examiner_tune(&batch, &rate, examiner, &err), err);
    assert_true(batch >= 1 && batch <= 256 && (batch & (batch - 1)) == 0 && rate > 0);
    spy->n_max = 0;
    assert_ok(amb_examiner_push(examiner, &subject, &err), err);
    assert_ok(amb_examiner_step(examiner, &err), err);
    assert_int_equal(spy->n_max, batch); /* the grid has more questions than any batch has room */
    amb_examiner_free(examiner);
    options.batch = 24;
    spy->n_max = 0;
    assert_ok(amb_examiner_new(&examiner, &spy->base, &options, &err), err);
    assert_ok(amb_examiner_tune(&batch, &rate, examiner, &err), err);
    assert_true(batch == 24 && spy->n_max == 24);
    amb_examiner_free(examiner);
    amb_model_close(&spy->base);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(dense_answers_depend_on_the_sample_alone),
    cmocka_unit_test(adaptive_answers_depend_on_the_sample_alone),
    cmocka_unit_test(seed_decides_the_noise),
    cmocka_unit_test(pictures_are_noised_by_the_written_rule),
    cmocka_unit_test(latents_are_noised_as_they_are),
    cmocka_unit_test(dense_noise_is_the_samples_own),
    cmocka_unit_test(overhead_is_the_control),
    cmocka_unit_test(dense_verdict_is_the_published_rule),
    cmocka_unit_test(sample_without_an_answer_is_given_up_and_the_others_go_on),
    cmocka_unit_test(label_vectors_are_one_hot_or_as_stored),
    cmocka_unit_test(integer_labels_reach_the_model),
    cmocka_unit_test(model_of_another_size_is_refused_with_both_named),
    cmocka_unit_test(failure_of_the_model_is_forwarded),
    cmocka_unit_test(tuned_batch_is_used),
};

TEST_MAIN(tests)
