#include "base/test.h"

#include <math.h>
#include <string.h>

#include "annotate/crops.h"
#include "annotate/examiner.h"
#include "annotate/onnx-scan.h"
#include "base/alloc.h"

#define SIDE 8u

static struct amb_model *fake_new(const char *path) {
    const struct amb_model_options options = {.path = path, .channels = 3, .height = SIDE, .width = SIDE};
    struct amb_model *model = NULL;
    struct amb_error err = AMB_ERROR_NULL;

    assert_ok(amb_model_open(&model, &options, &err), err);
    return model;
}

static double sigmas[64];

static struct amb_examiner *examiner_new(struct amb_model *model, size_t batch, size_t n_subjects) {
    static struct amb_grid grid = {sigmas, 64};
    const struct amb_examiner_options options = {
        .search = {AMB_SEARCH_ADAPTIVE, &grid, 4, 8, 0.05, true},
        .channels = 3,
        .height = SIDE,
        .width = SIDE,
        .seed = 5,
        .batch = batch,
        .n_subjects = n_subjects,
    };
    struct amb_examiner *examiner = NULL;
    struct amb_error err = AMB_ERROR_NULL;

    for (size_t i = 0; i < 64; i++) {
        sigmas[i] = 0.01 * pow(1.1, (double)i);
    }
    assert_ok(amb_examiner_new(&examiner, model, &options, &err), err);
    return examiner;
}

static void subject_push(struct amb_examiner *examiner, uint32_t i) {
    uint8_t pixels[3 * SIDE * SIDE];
    struct amb_subject subject = {.i_sample = i, .u8 = pixels};
    struct amb_error err = AMB_ERROR_NULL;

    for (size_t k = 0; k < sizeof pixels; k++) {
        pixels[k] = (uint8_t)(128 + (int)(i % 7) * 3 * ((int)(k % 3) - 1)); /* rougher with i % 7 */
    }
    subject.uid.bytes[0] = (uint8_t)i;
    assert_ok(amb_examiner_push(examiner, &subject, &err), err);
}

/* sigma_min of n subjects, by sample number. */
static void examine_all(double *out, struct amb_examiner *examiner, uint32_t n) {
    struct amb_error err = AMB_ERROR_NULL;
    uint32_t next = 0, n_done = 0;

    while (n_done < n) {
        struct amb_verdict verdict;

        while (next < n && amb_examiner_has_room(examiner)) {
            subject_push(examiner, next++);
        }
        assert_ok(amb_examiner_step(examiner, &err), err);
        while (amb_examiner_pop(&verdict, examiner) == 0) {
            assert_int_equal(verdict.error.code, 0);
            assert_true(verdict.n_curve > 0);
            out[verdict.i_sample] = verdict.result.sigma_min;
            n_done++;
        }
    }
    assert_int_equal(amb_examiner_count(examiner), 0);
}

/* Batches of 1, 5 and 256, a window of one and of many: the same verdict for each subject. */
TEST(verdicts_do_not_depend_on_batch_or_window) {
    struct amb_model *model = fake_new("fake:edge");
    static const size_t shapes[][2] = {{1, 1}, {5, 3}, {256, 40}, {32, 0}};
    double first[30], again[30];

    for (size_t i = 0; i < 4; i++) {
        struct amb_examiner *examiner = examiner_new(model, shapes[i][0], shapes[i][1]);

        examine_all(i == 0 ? first : again, examiner, 30);
        if (i > 0) {
            assert_memory_equal(first, again, sizeof first);
        }
        amb_examiner_free(examiner);
    }
    assert_true(first[0] > first[6]); /* the flat one needs more noise than the rough one */
    amb_model_close(model);
}

TEST(nan_gives_one_subject_up_and_the_others_go_on) {
    struct amb_model *model = fake_new("fake:nan=0.3");
    struct amb_examiner *examiner = examiner_new(model, 16, 8);
    struct amb_error err = AMB_ERROR_NULL;
    unsigned n_given_up = 0, n = 0;

    for (uint32_t i = 0; i < 8; i++) {
        subject_push(examiner, i);
    }
    while (n < 8) {
        struct amb_verdict verdict;

        assert_ok(amb_examiner_step(examiner, &err), err);
        for (; amb_examiner_pop(&verdict, examiner) == 0; n++) {
            n_given_up += verdict.error.code != 0;
            assert_true(verdict.error.code == 0 || strstr(verdict.error.message, "nan at sigma") != NULL);
        }
    }
    assert_true(n_given_up > 0);
    amb_examiner_free(examiner);
    amb_model_close(model);
}

TEST(model_of_another_size_is_refused_with_both) {
    struct amb_model *model = fake_new("fake:edge");
    struct amb_grid grid = {sigmas, 64};
    const struct amb_examiner_options options = {
        .search = {AMB_SEARCH_DENSE, &grid, 4, 8, 0.05, false}, .channels = 3, .height = 16, .width = 16};
    struct amb_examiner *examiner = NULL;
    struct amb_error err = AMB_ERROR_NULL;

    assert_int_equal(amb_examiner_new(&examiner, model, &options, &err), AMB_ERR_CONFIG);
    assert_non_null(strstr(err.message, "3 x 8 x 8"));
    assert_non_null(strstr(err.message, "3 x 16 x 16"));
    amb_model_close(model);
}

TEST(tune_takes_a_batch_and_says_its_rate) {
    struct amb_model *model = fake_new("fake:edge");
    struct amb_examiner *examiner = examiner_new(model, 0, 0);
    struct amb_error err = AMB_ERROR_NULL;
    double rate = 0;
    size_t batch = 0;

    assert_ok(amb_examiner_tune(&batch, &rate, examiner, &err), err);
    assert_true(batch >= 1 && batch <= 256 && rate > 0);
    amb_examiner_free(examiner);
    amb_model_close(model);
}

/* A constant model: q of each size is 1 - p, whatever lies at the border; sizes not asked stay NaN. */
TEST(crops_average_over_all_tiles_of_each_size) {
    struct amb_model *model = fake_new("fake:constant=0.25");
    struct amb_model *models[AMB_RULE_CROPS_N] = {NULL, model, NULL, NULL, NULL, model};
    uint8_t pixels[3 * SIDE * SIDE] = {0};
    const struct amb_subject subject = {.u8 = pixels};
    struct amb_crops *crops = NULL;
    struct amb_error err = AMB_ERROR_NULL;
    double q[AMB_RULE_CROPS_N];

    assert_ok(amb_crops_new(&crops, models, 3, SIDE, SIDE, &err), err);
    assert_int_equal(amb_crops_count(crops), 4 + 1); /* 8 x 8: four tiles of 4, one of 32 cut at the border */
    assert_ok(amb_crops_run(q, crops, &subject, &err), err);
    assert_true(q[1] == 0.75 && q[5] == 0.75 && isnan(q[0]) && isnan(q[7]));
    assert_true(amb_rule_sigma_max(q, NULL, 0.25) == 0.55);
    amb_crops_free(crops);
    amb_model_close(model);
}

TEST(unknown_fake_is_refused_with_the_known) {
    const struct amb_model_options options = {.path = "fake:what"};
    struct amb_model *model = NULL;
    struct amb_error err = AMB_ERROR_NULL;

    assert_int_equal(amb_model_open(&model, &options, &err), AMB_ERR_CONFIG);
    assert_non_null(strstr(err.message, "fake:edge"));
}

/* External data */

static int scan_visit(void *opaque, const char *location, size_t bytes, struct amb_error *err) {
    (void)err;
    assert_true(bytes < 64);
    memcpy(opaque, location, bytes);
    ((char *)opaque)[bytes] = '\0';
    return 0;
}

/* model.graph(7).initializer(5).external_data(13) {key(1)="location", value(2)="w.bin"} */
static const uint8_t external[] = {0x3A, 23,  0x2A, 21,  0x6A, 19,  0x0A, 8,    'l', 'o', 'c', 'a',  't',
                                   'i',  'o', 'n',  0x12, 5,    'w', '.',  'b', 'i',  'n', 0x10, 0x01};

TEST(external_data_is_seen_and_every_prefix_is_cut_off) {
    char seen[64] = "";
    struct amb_error err = AMB_ERROR_NULL;

    assert_ok(amb_onnx_scan(external, sizeof external, scan_visit, seen, &err), err);
    assert_string_equal(seen, "w.bin");
    for (size_t n = 0; n < sizeof external; n++) {
        uint8_t *copy = amb_malloc(n); /* so that a byte too far is seen by a sanitizer */
        int r;

        if (n > 0) {
            memcpy(copy, external, n);
        }
        r = amb_onnx_scan(copy, n, scan_visit, seen, &err);
        assert_true(r == AMB_ERR_FORMAT || (r == 0 && n == 25 - 0));
        amb_free(copy);
    }
}

/* Graphs in attributes of nodes of graphs: refused behind 64 levels, not by the stack. */
TEST(deep_nesting_is_refused) {
    uint8_t data[4096];
    size_t begin = sizeof data;
    struct amb_error err = AMB_ERROR_NULL;

    for (int level = 0; level < 201 && begin > 32; level++) {
        static const uint8_t tags[] = {0x0A, 0x2A, 0x32}; /* node, attribute, graph */
        size_t length = sizeof data - begin;

        data[--begin] = (uint8_t)(length >> 7);
        data[--begin] = (uint8_t)((length & 127) | 128);
        data[--begin] = tags[2 - level % 3];
    }
    {
        size_t length = sizeof data - begin;

        data[--begin] = (uint8_t)(length >> 7);
        data[--begin] = (uint8_t)((length & 127) | 128);
        data[--begin] = 0x3A;
    }
    assert_int_equal(amb_onnx_scan(data + begin, sizeof data - begin, scan_visit, NULL, &err), AMB_ERR_LIMIT);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(verdicts_do_not_depend_on_batch_or_window),
    cmocka_unit_test(nan_gives_one_subject_up_and_the_others_go_on),
    cmocka_unit_test(model_of_another_size_is_refused_with_both),
    cmocka_unit_test(tune_takes_a_batch_and_says_its_rate),
    cmocka_unit_test(crops_average_over_all_tiles_of_each_size),
    cmocka_unit_test(unknown_fake_is_refused_with_the_known),
    cmocka_unit_test(external_data_is_seen_and_every_prefix_is_cut_off),
    cmocka_unit_test(deep_nesting_is_refused),
};

TEST_MAIN(tests)
