#include "base/test.h"

#include "base/alloc.h"
#include "codec/decoder.h"
#include "codec/made.h"
#include "codec/transform.h"

static struct amb_decoder *new_decoder(const struct amb_kernels *kernels) {
    struct amb_decoder *decoder = NULL;
    struct amb_error err = AMB_ERROR_NULL;

    assert_ok(amb_decoder_new(&decoder, &AMB_CODEC_LIMITS_DEFAULT, &err), err);
    if (kernels != NULL) {
        decoder->resizer.kernels = kernels;
    }
    return decoder;
}

/* A painted picture in a heap block of its exact size. */
static struct amb_image new_image(uint32_t width, uint32_t height, uint32_t channels) {
    struct amb_image image = {malloc((size_t)width * height * channels),
                              width,
                              height,
                              channels,
                              (size_t)width * channels,
                              AMB_DTYPE_U8};

    assert_non_null(image.data);
    made_paint(image.data, width, height, channels, width * 7 + height);
    return image;
}

static uint8_t *apply(const struct amb_transform *t, const struct amb_image *image,
                      struct amb_decoder *decoder) {
    uint8_t *planes = malloc((size_t)t->width * t->height * t->channels);
    struct amb_error err = AMB_ERROR_NULL;

    assert_non_null(planes);
    assert_ok(amb_transform_apply(planes, t, image, decoder, &err), err);
    return planes;
}

/* Many sizes, both channel counts, every crop and filter: the processor's vectors and the scalar loops agree.
 */
TEST(vector_kernels_equal_the_scalar_ones) {
    static const uint32_t sizes[][4] = {{500, 375, 256, 256}, {64, 64, 32, 32}, {33, 47, 31, 17},
                                        {7, 5, 40, 9},        {1, 1, 5, 5},     {3, 90, 16, 16},
                                        {260, 130, 64, 64},   {17, 33, 16, 16}};
    struct amb_decoder *scalar, *vector;

    if (amb_kernels_vector() == NULL) {
        skip(); /* no vector set for this processor */
    }
    scalar = new_decoder(&amb_kernels_scalar);
    vector = new_decoder(amb_kernels_vector());
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (unsigned variant = 0; variant < 2 * (AMB_CROP_N - 1) * AMB_RESAMPLE_N; variant++) {
            struct amb_transform t = {.crop = (enum amb_crop)(1 + variant / 2 % (AMB_CROP_N - 1)),
                                      .resample = (enum amb_resample)(variant / 2 / (AMB_CROP_N - 1)),
                                      .width = sizes[i][2],
                                      .height = sizes[i][3],
                                      .channels = variant % 2 == 0 ? 3 : 1};
            struct amb_image image = new_image(sizes[i][0], sizes[i][1], t.channels);
            uint8_t *a = apply(&t, &image, scalar), *b = apply(&t, &image, vector);

            if (memcmp(a, b, (size_t)t.width * t.height * t.channels) != 0) {
                fail_msg("%ux%u -> %ux%u %s %s %u channels: scalar and %s differ", sizes[i][0], sizes[i][1],
                         t.width, t.height, amb_crop_name(t.crop), amb_resample_name(t.resample), t.channels,
                         amb_kernels_vector()->name);
            }
            free(a);
            free(b);
            free(image.data);
        }
    }
    amb_decoder_free(scalar);
    amb_decoder_free(vector);
}

TEST(same_size_is_a_mere_split_into_planes) {
    struct amb_decoder *decoder = new_decoder(NULL);
    struct amb_image image = new_image(37, 21, 3);

    for (unsigned crop = 0; crop < AMB_CROP_N; crop++) {
        struct amb_transform t = {(enum amb_crop)crop, AMB_RESAMPLE_LANCZOS, 37, 21, 3};
        uint8_t *planes = apply(&t, &image, decoder);

        for (size_t i = 0; i < 37 * 21 * 3; i++) {
            assert_int_equal(planes[i % 3 * 37 * 21 + i / 3], image.data[i]);
        }
        free(planes);
    }
    free(image.data);
    amb_decoder_free(decoder);
}

/* A view with other pixels around it: nothing of them may enter, and the result is that of a copy. */
TEST(pixels_around_a_view_do_not_enter) {
    struct amb_decoder *decoder = new_decoder(NULL);
    struct amb_image whole = new_image(120, 90, 3), view, copy = new_image(60, 50, 3);
    struct amb_transform t = {AMB_CROP_SQUASH, AMB_RESAMPLE_LANCZOS, 48, 33, 3};
    uint8_t *a, *b;

    view = (struct amb_image){
        whole.data + 20 * whole.row_bytes + 30 * 3, 60, 50, 3, whole.row_bytes, AMB_DTYPE_U8};
    for (uint32_t y = 0; y < 50; y++) {
        memcpy(copy.data + y * copy.row_bytes, view.data + y * view.row_bytes, copy.row_bytes);
    }
    a = apply(&t, &view, decoder);
    b = apply(&t, &copy, decoder);
    assert_memory_equal(a, b, 48 * 33 * 3);
    free(a);
    free(b);
    free(whole.data);
    free(copy.data);
    amb_decoder_free(decoder);
}

/* The window of shortest+crop is cut from the whole resize: squash to the full size, then cut here. */
TEST(only_the_window_is_computed_but_it_is_the_same) {
    struct amb_decoder *decoder = new_decoder(NULL);
    struct amb_image image = new_image(300, 100, 3);
    struct amb_transform whole = {AMB_CROP_SQUASH, AMB_RESAMPLE_BICUBIC, 192, 64, 3};
    struct amb_transform cut = {AMB_CROP_SHORTEST, AMB_RESAMPLE_BICUBIC, 64, 64, 3};
    uint8_t *a = apply(&whole, &image, decoder), *b = apply(&cut, &image, decoder);

    for (uint32_t c = 0; c < 3; c++) {
        for (uint32_t y = 0; y < 64; y++) {
            assert_memory_equal(b + (c * 64 + y) * 64, a + (c * 64 + y) * 192 + 64, 64);
        }
    }
    free(a);
    free(b);
    free(image.data);
    amb_decoder_free(decoder);
}

/* Even sides go by rounded means, odd ones by the box filter's weights; on even sides both must give the
 * same. */
TEST(halving_is_the_box_filter) {
    struct amb_decoder *decoder = new_decoder(NULL);

    for (uint32_t channels = 1; channels <= 3; channels += 2) {
        struct amb_image image = new_image(86, 42, channels), half;
        struct amb_transform t = {AMB_CROP_SQUASH, AMB_RESAMPLE_BOX, 43, 21, channels};
        struct amb_error err = AMB_ERROR_NULL;
        uint8_t *planes = apply(&t, &image, decoder);

        assert_ok(amb_resize_halve(&half, &decoder->resizer, &image, &err), err);
        assert_int_equal(half.width, 43);
        assert_int_equal(half.height, 21);
        for (size_t i = 0; i < (size_t)43 * 21 * channels; i++) {
            assert_int_equal(half.data[i], planes[i % channels * 43 * 21 + i / channels]);
        }
        free(planes);
        free(image.data);
    }
    amb_decoder_free(decoder);
}

/* A flat picture stays flat under every filter: weights that sum to one, rounding that hurts nobody. */
TEST(flat_pictures_stay_flat) {
    struct amb_decoder *decoder = new_decoder(NULL);
    struct amb_image image = new_image(211, 130, 3);

    for (unsigned value = 0; value < 256; value += 51) {
        memset(image.data, (int)value, image.row_bytes * image.height);
        for (unsigned crop = 1; crop < AMB_CROP_N; crop++) {
            for (unsigned resample = 0; resample < AMB_RESAMPLE_N; resample++) {
                struct amb_transform t = {(enum amb_crop)crop, (enum amb_resample)resample, 64, 48, 3};
                uint8_t *planes = apply(&t, &image, decoder);

                for (size_t i = 0; i < 64 * 48 * 3; i++) {
                    assert_int_equal(planes[i], value);
                }
                free(planes);
            }
        }
    }
    free(image.data);
    amb_decoder_free(decoder);
}

TEST(a_size_that_does_not_fit_is_named) {
    struct amb_decoder *decoder = new_decoder(NULL);
    struct amb_image image = new_image(40, 30, 3);
    struct amb_transform t = {AMB_CROP_NONE, AMB_RESAMPLE_LANCZOS, 32, 31, 3};
    struct amb_error err = AMB_ERROR_NULL;
    uint8_t planes[1];

    assert_int_equal(amb_transform_apply(planes, &t, &image, decoder, &err), AMB_ERR_FORMAT);
    assert_non_null(strstr(err.message, "40 x 30"));
    assert_non_null(strstr(err.message, "32 x 31"));
    free(image.data);
    amb_decoder_free(decoder);
}

/* One pixel wide and 16,383 high, wanted 16,383 wide: the full resize would have 2.7e8 rows; only the window
 * is made. */
TEST(extreme_aspects_cost_only_their_window) {
    struct amb_decoder *decoder = new_decoder(NULL);
    struct amb_image image = new_image(1, 16383, 3);
    struct amb_transform t = {.resample = AMB_RESAMPLE_LANCZOS, .width = 600, .height = 40, .channels = 3};

    for (unsigned crop = 1; crop < AMB_CROP_N; crop++) {
        t.crop = (enum amb_crop)crop;
        free(apply(&t, &image, decoder));
    }
    free(image.data);
    amb_decoder_free(decoder);
}

TEST(warm_transforms_allocate_nothing) {
    struct amb_decoder *decoder = new_decoder(NULL);
    struct amb_image image = new_image(200, 150, 3);
    uint8_t *planes = malloc(64 * 64 * 3);
    struct amb_error err = AMB_ERROR_NULL;
    uint64_t n_allocs = 0;

    assert_non_null(planes);
    for (unsigned round = 0; round < 3; round++) {
        if (round == 1) {
            n_allocs = amb_alloc_count();
        }
        for (unsigned crop = 1; crop < AMB_CROP_N; crop++) {
            struct amb_transform t = {(enum amb_crop)crop, AMB_RESAMPLE_BICUBIC, 64, 64, 3};

            assert_ok(amb_transform_apply(planes, &t, &image, decoder, &err), err);
        }
    }
    assert_int_equal(amb_alloc_count(), n_allocs);
    free(planes);
    free(image.data);
    amb_decoder_free(decoder);
}

TEST(names_are_read_back) {
    for (unsigned i = 0; i < AMB_CROP_N; i++) {
        enum amb_crop crop = AMB_CROP_N;

        assert_true(amb_crop_parse(&crop, amb_crop_name((enum amb_crop)i)));
        assert_int_equal(crop, i);
    }
    for (unsigned i = 0; i < AMB_RESAMPLE_N; i++) {
        enum amb_resample resample = AMB_RESAMPLE_N;

        assert_true(amb_resample_parse(&resample, amb_resample_name((enum amb_resample)i)));
        assert_int_equal(resample, i);
    }
    assert_false(amb_crop_parse(&(enum amb_crop){0}, "center"));
    assert_false(amb_resample_parse(&(enum amb_resample){0}, ""));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(vector_kernels_equal_the_scalar_ones),
    cmocka_unit_test(same_size_is_a_mere_split_into_planes),
    cmocka_unit_test(pixels_around_a_view_do_not_enter),
    cmocka_unit_test(only_the_window_is_computed_but_it_is_the_same),
    cmocka_unit_test(halving_is_the_box_filter),
    cmocka_unit_test(flat_pictures_stay_flat),
    cmocka_unit_test(a_size_that_does_not_fit_is_named),
    cmocka_unit_test(extreme_aspects_cost_only_their_window),
    cmocka_unit_test(warm_transforms_allocate_nothing),
    cmocka_unit_test(names_are_read_back),
};

TEST_MAIN(tests)
