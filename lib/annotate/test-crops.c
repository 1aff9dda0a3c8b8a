#include "base/test.h"

#include <errno.h>
#include <math.h>

#include "annotate/crops.h"
#include "annotate/test-spy.h"

#define CHANNELS 2u
#define HEIGHT 5u
#define WIDTH 7u
#define PLANE (HEIGHT * WIDTH)
#define ELEMENTS (CHANNELS * PLANE)

/* P(low quality) of what lies on the canvas: the share of its elements that are zero. */
static float answer_zeros(const struct amb_model_info *info, const float *x, float sigma, const void *label) {
    const size_t n = (size_t)info->channels * info->height * info->width;
    size_t n_zeros = 0;

    (void)sigma;
    (void)label;
    for (size_t i = 0; i < n; i++) {
        n_zeros += x[i] == 0;
    }
    return (float)n_zeros / (float)n;
}

static float answer_nan(const struct amb_model_info *info, const float *x, float sigma, const void *label) {
    (void)info;
    (void)sigma;
    (void)label;
    return x[ELEMENTS - 1] != 0 ? NAN : 0.5f; /* the last tile alone */
}

static void latent_fill(float x[ELEMENTS]) {
    for (size_t i = 0; i < ELEMENTS; i++) {
        x[i] = (float)(i + 1);
    }
}

static struct amb_crops *crops_with(struct amb_model *model, unsigned size) {
    struct amb_model *models[AMB_RULE_CROPS_N] = {NULL};
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_crops *crops = NULL;

    models[amb_rule_crop_find(size)] = model;
    assert_ok(amb_crops_new(&crops, models, CHANNELS, HEIGHT, WIDTH, &err), err);
    return crops;
}

/* For every size: each pixel of each channel lies on one canvas alone, in its place, and tiles are cut at the border. */
TEST(tiles_cover_the_picture_once_each_in_its_place) {
    float x[ELEMENTS];

    latent_fill(x);
    for (unsigned row = 0; row < AMB_RULE_CROPS_N; row++) {
        const size_t size = amb_rule_crops[row].size, n_across = (WIDTH + size - 1) / size;
        const size_t n_tiles = n_across * ((HEIGHT + size - 1) / size);
        struct spy *spy = spy_new(answer_zeros, CHANNELS, HEIGHT, WIDTH, true);
        struct amb_crops *crops = crops_with(&spy->base, (unsigned)size);
        const struct amb_subject subject = {.x = x};
        struct amb_error err = AMB_ERROR_NULL;
        double q[AMB_RULE_CROPS_N];

        assert_int_equal(amb_crops_count(crops), n_tiles);
        assert_ok(amb_crops_run(q, crops, &subject, &err), err);
        assert_int_equal(spy->n_rows, n_tiles);
        for (size_t tile = 0; tile < n_tiles; tile++) {
            assert_true(spy->sigma[tile] == 0.001f);
            for (size_t i = 0; i < ELEMENTS; i++) {
                size_t y = i % PLANE / WIDTH, column = i % WIDTH;
                bool inside = y / size * n_across + column / size == tile;

                assert_true(spy->x[tile * ELEMENTS + i] == (inside ? x[i] : 0));
            }
        }
        assert_true(fabs(q[row] - 1 / (double)n_tiles) < 1e-6); /* 1 - the mean share of zeros */
        for (unsigned other = 0; other < AMB_RULE_CROPS_N; other++) {
            assert_true(other == row || isnan(q[other]));
        }
        amb_crops_free(crops);
        amb_model_close(&spy->base);
    }
}

TEST(pictures_lie_in_minus_one_to_one) {
    struct spy *spy = spy_new(answer_zeros, CHANNELS, HEIGHT, WIDTH, true);
    struct amb_crops *crops = crops_with(&spy->base, 8);
    uint8_t pixels[ELEMENTS] = {0, 255, 51};
    const struct amb_subject subject = {.u8 = pixels};
    struct amb_error err = AMB_ERROR_NULL;
    double q[AMB_RULE_CROPS_N];

    assert_ok(amb_crops_run(q, crops, &subject, &err), err);
    assert_true(spy->x[0] == -1 && spy->x[1] == 1 && spy->x[2] == 51 / 127.5f - 1);
    assert_int_equal(spy->n_rows, 1); /* the picture is smaller than the patch */
    amb_crops_free(crops);
    amb_model_close(&spy->base);
}

/* Two models: sigma_max is that of the largest size that convinces. */
TEST(several_sizes_are_asked_and_decide_by_the_rule) {
    struct spy *small = spy_new(answer_zeros, CHANNELS, HEIGHT, WIDTH, false);
    struct spy *large = spy_new(answer_zeros, CHANNELS, HEIGHT, WIDTH, false);
    struct amb_model *models[AMB_RULE_CROPS_N] = {NULL};
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_crops *crops = NULL;
    float x[ELEMENTS];
    const struct amb_subject subject = {.x = x};
    double q[AMB_RULE_CROPS_N];

    latent_fill(x);
    models[amb_rule_crop_find(4)] = &small->base;
    models[amb_rule_crop_find(8)] = &large->base;
    assert_ok(amb_crops_new(&crops, models, CHANNELS, HEIGHT, WIDTH, &err), err);
    assert_int_equal(amb_crops_count(crops), 4 + 1);
    assert_ok(amb_crops_run(q, crops, &subject, &err), err);
    assert_true(fabs(q[amb_rule_crop_find(4)] - 0.25) < 1e-6 && q[amb_rule_crop_find(8)] == 1);
    assert_true(amb_rule_sigma_max(q, NULL, AMB_RULE_CROP_THRESHOLD) ==
                amb_rule_crops[amb_rule_crop_find(8)].sigma_max);
    amb_crops_free(crops);
    amb_model_close(&small->base);
    amb_model_close(&large->base);
}

TEST(tiles_of_one_pixel_come_in_batches) {
    struct spy *spy = spy_new(answer_zeros, CHANNELS, HEIGHT, WIDTH, false);
    struct amb_model *models[AMB_RULE_CROPS_N] = {NULL};
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_crops *crops = NULL;
    float x[ELEMENTS];
    const struct amb_subject subject = {.x = x, .label = 3};
    double q[AMB_RULE_CROPS_N];

    latent_fill(x);
    spy->base.info.labels = AMB_MODEL_LABELS_INTEGER; /* the spy asserts that labels come along */
    models[0] = &spy->base;
    assert_ok(amb_crops_new(&crops, models, CHANNELS, HEIGHT, WIDTH, &err), err);
    assert_ok(amb_crops_run(q, crops, &subject, &err), err);
    assert_int_equal(amb_rule_crops[0].size, 1);
    assert_int_equal(spy->n_runs, 2); /* 35 tiles: 32 and 3 */
    assert_int_equal(spy->n_max, 32);
    amb_crops_free(crops);
    amb_model_close(&spy->base);
}

TEST(nan_and_failures_are_told) {
    struct spy *spy = spy_new(answer_nan, CHANNELS, HEIGHT, WIDTH, false);
    struct amb_crops *crops = crops_with(&spy->base, 4);
    struct amb_error err = AMB_ERROR_NULL;
    float x[ELEMENTS];
    const struct amb_subject subject = {.x = x};
    double q[AMB_RULE_CROPS_N];

    latent_fill(x);
    assert_int_equal(amb_crops_run(q, crops, &subject, &err), AMB_ERR_FORMAT);
    assert_non_null(strstr(err.message, "patches of 4 answers NaN"));
    spy->fail = -EIO;
    assert_int_equal(amb_crops_run(q, crops, &subject, &err), -EIO);
    amb_crops_free(crops);
    amb_model_close(&spy->base);
}

TEST(model_that_does_not_fit_is_refused_with_both_named) {
    struct spy *spy = spy_new(answer_zeros, CHANNELS, HEIGHT, WIDTH, false);
    struct amb_model *models[AMB_RULE_CROPS_N] = {NULL};
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_crops *crops = NULL;

    models[amb_rule_crop_find(16)] = &spy->base;
    assert_int_equal(amb_crops_new(&crops, models, CHANNELS, HEIGHT + 1, WIDTH, &err), AMB_ERR_CONFIG);
    assert_non_null(strstr(err.message, "patches of 16 takes 2 x 5 x 7"));
    assert_non_null(strstr(err.message, "2 x 6 x 7"));
    spy->base.info.labels = AMB_MODEL_LABELS_VECTOR;
    assert_int_equal(amb_crops_new(&crops, models, CHANNELS, HEIGHT, WIDTH, &err), AMB_ERR_CONFIG);
    assert_non_null(strstr(err.message, "allowed: none or i64"));
    assert_null(crops);
    assert_null(amb_crops_free(NULL));
    amb_model_close(&spy->base);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(tiles_cover_the_picture_once_each_in_its_place),
    cmocka_unit_test(pictures_lie_in_minus_one_to_one),
    cmocka_unit_test(several_sizes_are_asked_and_decide_by_the_rule),
    cmocka_unit_test(tiles_of_one_pixel_come_in_batches),
    cmocka_unit_test(nan_and_failures_are_told),
    cmocka_unit_test(model_that_does_not_fit_is_refused_with_both_named),
};

TEST_MAIN(tests)
