#include "base/test.h"

#include <math.h>

#include "base/alloc.h"
#include "codec/taps.h"

static const struct amb_axis axes[] = {
    {500, 256, 0, 256}, {32, 64, 0, 64},  {64, 32, 5, 20},
    {1, 7, 0, 7},       {7, 1, 0, 1},     {3, 2, 0, 2},
    {2, 3, 1, 2},       {16383, 3, 0, 3}, {5, 8388608, 4000000, 64},
    {97, 96, 0, 96},    {96, 97, 0, 97},  {1000, 10, 3, 4},
};

/* Weights sum to one within their rounding; windows lie inside; the split parts join to the weight. */
TEST(weights_sum_to_one_and_stay_inside) {
    struct amb_taps_cache cache = {0};
    struct amb_error err = AMB_ERROR_NULL;

    for (size_t a = 0; a < sizeof axes / sizeof axes[0]; a++) {
        for (unsigned resample = 0; resample < AMB_RESAMPLE_N; resample++) {
            const struct amb_taps *taps;

            assert_ok(amb_taps_get(&taps, &cache, &axes[a], (enum amb_resample)resample, &err), err);
            assert_int_equal(taps->stride % 4, 0);
            for (uint32_t i = 0; i < axes[a].n; i++) {
                const int32_t *weights = taps->weights + (size_t)i * taps->stride;
                const int16_t *parts = taps->parts + (size_t)i * taps->stride * 2;
                int64_t sum = 0;

                assert_true(taps->counts[i] <= taps->stride);
                assert_true(taps->starts[i] + (taps->inside ? taps->stride : taps->counts[i]) <=
                            axes[a].in_size);
                for (uint32_t j = 0; j < taps->stride; j++) {
                    int high = parts[8 * (j / 4) + j % 4], low = parts[8 * (j / 4) + 4 + j % 4];

                    assert_int_equal(high * 4096 + low, weights[j]);
                    assert_true(j < taps->counts[i] || weights[j] == 0);
                    sum += weights[j];
                }
                assert_true(llabs(sum - (1 << AMB_TAPS_BITS)) <= taps->counts[i]);
            }
        }
    }
    amb_taps_cache_deinit(&cache);
}

static double sinc(double x) {
    return x == 0.0 ? 1.0 : sin(x * M_PI) / (x * M_PI);
}

/* Lanczos against libm, as Pillow computes it: the same 22-bit integers. */
TEST(lanczos_equals_libm) {
    struct amb_taps_cache cache = {0};
    struct amb_error err = AMB_ERROR_NULL;
    const struct amb_axis axis = {500, 256, 0, 256};
    const struct amb_taps *taps;
    double scale = 500.0 / 256.0, support = 3.0 * scale;

    assert_ok(amb_taps_get(&taps, &cache, &axis, AMB_RESAMPLE_LANCZOS, &err), err);
    for (uint32_t i = 0; i < 256; i++) {
        double centre = (i + 0.5) * scale, w[32], sum = 0.0;
        int start = (int)(centre - support + 0.5), end = (int)(centre + support + 0.5);
        uint32_t shift;

        start = start < 0 ? 0 : start;
        end = end > 500 ? 500 : end;
        for (int j = start; j < end; j++) {
            double x = (j - centre + 0.5) * (1.0 / scale);

            w[j - start] = x >= -3.0 && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0;
            sum += w[j - start];
        }
        shift = (uint32_t)start - taps->starts[i];
        assert_int_equal(taps->counts[i], (uint32_t)(end - start) + shift);
        for (int j = 0; j < end - start; j++) {
            double v = w[j] / sum * (1 << 22);

            assert_int_equal(taps->weights[(size_t)i * taps->stride + shift + (uint32_t)j],
                             (int)(v < 0 ? v - 0.5 : v + 0.5));
        }
    }
    amb_taps_cache_deinit(&cache);
}

/* Eight axes stay; a ninth puts out the one unused for longest; nothing is allocated for what is there. */
TEST(the_last_axes_are_kept) {
    struct amb_taps_cache cache = {0};
    struct amb_error err = AMB_ERROR_NULL;
    const struct amb_taps *first, *again, *other;
    uint64_t n_allocs;

    assert_ok(amb_taps_get(&first, &cache, &(struct amb_axis){100, 50, 0, 50}, AMB_RESAMPLE_BOX, &err), err);
    for (uint32_t i = 1; i < AMB_TAPS_SLOTS; i++) {
        assert_ok(
            amb_taps_get(&other, &cache, &(struct amb_axis){100 + i, 50, 0, 50}, AMB_RESAMPLE_BOX, &err),
            err);
        assert_true(other != first);
    }
    n_allocs = amb_alloc_count();
    assert_ok(amb_taps_get(&again, &cache, &(struct amb_axis){100, 50, 0, 50}, AMB_RESAMPLE_BOX, &err), err);
    assert_true(again == first);
    assert_int_equal(amb_alloc_count(), n_allocs);
    assert_ok(amb_taps_get(&other, &cache, &(struct amb_axis){100, 50, 0, 50}, AMB_RESAMPLE_BICUBIC, &err),
              err);
    assert_true(other != first);
    assert_ok(amb_taps_get(&again, &cache, &(struct amb_axis){100, 50, 0, 50}, AMB_RESAMPLE_BOX, &err), err);
    assert_true(again == first);
    amb_taps_cache_deinit(&cache);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(weights_sum_to_one_and_stay_inside),
    cmocka_unit_test(lanczos_equals_libm),
    cmocka_unit_test(the_last_axes_are_kept),
};

TEST_MAIN(tests)
