#include "base/test.h"

#include <math.h>

#include "annotate/grid.h"
#include "annotate/rule.h"
#include "annotate/test-data.h"
#include "base/alloc.h"

#define N_IMAGES 48
#define N_SIGMAS 2048
#define N_TRIALS 4

/* Span 3 weighs by 1/2, so that every value is exact: 1, 0, 0, 1 -> 1, 1/2, 1/4, 5/8. */
TEST(smoothing_starts_at_the_first_value) {
    double p[] = {1, 0, 0, 1};

    amb_rule_smooth(p, 4, 3);
    assert_true(p[0] == 1 && p[1] == 0.5 && p[2] == 0.25 && p[3] == 0.625);
    amb_rule_smooth(p, 4, 1); /* weight 1 changes nothing */
    assert_true(p[3] == 0.625);
    amb_rule_smooth(p, 0, 32);
}

TEST(crossing_is_strictly_below_half_plus_epsilon) {
    static const double sigmas[] = {0.1, 0.2, 0.3}, p[] = {0.75, 0.625, 0.5}, high[] = {0.9, 0.9, 0.9};

    assert_true(amb_rule_sigma_min(p, sigmas, 3, 0.125) == 0.3); /* 0.625 is not below 0.625 */
    assert_true(amb_rule_sigma_min(p, sigmas, 3, 0.126) == 0.2);
    assert_true(amb_rule_sigma_min(p, sigmas, 3, 0.3) == 0.1);
    assert_true(amb_rule_sigma_min(high, sigmas, 3, 0.05) == 0.3); /* never: the last */
    assert_true(amb_rule_sigma_min(high, sigmas, 1, 0.05) == 0.1);
}

TEST(largest_convincing_crop_decides_sigma_max) {
    double q[AMB_RULE_CROPS_N];

    for (unsigned i = 0; i < AMB_RULE_CROPS_N; i++) {
        q[i] = NAN;
    }
    assert_true(amb_rule_sigma_max(q, NULL, 0.25) == 0.01); /* none: size 1 */
    q[amb_rule_crop_find(4)] = 0.9;
    q[amb_rule_crop_find(8)] = 0.4;
    q[amb_rule_crop_find(16)] = 0.1;
    assert_true(amb_rule_sigma_max(q, NULL, 0.25) == 0.15);
    assert_true(amb_rule_sigma_max(q, NULL, 0.4) == 0.05); /* strictly above */
    q[amb_rule_crop_find(64)] = 0.26;
    assert_true(amb_rule_sigma_max(q, NULL, 0.25) == 1.0);
    assert_int_equal(amb_rule_crop_find(5), -1);
}

static double half_to_double(const uint8_t *p) {
    const unsigned bits = p[0] | (unsigned)p[1] << 8;
    const int exponent = (int)(bits >> 10 & 31), mantissa = (int)(bits & 1023);
    const double value = exponent == 0 ? ldexp(mantissa, -24) : ldexp(1024 + mantissa, exponent - 25);

    return bits >> 15 ? -value : value;
}

/* The payload of a little-endian f16 array of the shape above, behind its header. */
static uint8_t *dense_load(const char *name) {
    const size_t bytes = (size_t)N_IMAGES * N_SIGMAS * N_TRIALS * 2;
    FILE *file = fopen(test_data_path(name), "rb");
    uint8_t head[10], *data = amb_malloc(bytes);

    assert_non_null(file);
    assert_non_null(data);
    assert_int_equal(fread(head, 1, 10, file), 10);
    assert_int_equal(fseek(file, 10 + (head[8] | head[9] << 8), SEEK_SET), 0);
    assert_int_equal(fread(data, 1, bytes, file), bytes);
    fclose(file);
    return data;
}

static void dense_sigma_min(char out[32], const uint8_t *logits, const double *sigmas) {
    double p[N_SIGMAS];

    for (size_t i = 0; i < N_SIGMAS; i++) {
        double sum = 0;

        for (size_t j = 0; j < N_TRIALS; j++) {
            sum += 1 / (1 + exp(-half_to_double(logits + 2 * (N_TRIALS * i + j))));
        }
        p[i] = sum / N_TRIALS;
    }
    amb_rule_smooth(p, N_SIGMAS, AMB_RULE_SPAN);
    snprintf(out, 32, "%.7g", amb_rule_sigma_min(p, sigmas, N_SIGMAS, AMB_RULE_EPSILON));
}

/* All 2 x 48 annotations of the published method, to every printed digit, from the logits of two dense runs. */
TEST(published_annotations_are_reproduced) {
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_grid grid = AMB_GRID_NULL;
    const size_t row_bytes = (size_t)N_SIGMAS * N_TRIALS * 2;
    uint8_t *runs[2];
    char line[256], sigma_min[32], *fields[4], *rest;
    unsigned n_rows = 0;
    FILE *csv = fopen(test_data_path("annotate/expected.csv"), "r");

    assert_non_null(csv);
    assert_ok(amb_grid_load(&grid, test_data_path("annotate/sigmas.txt"), &err), err);
    assert_int_equal(grid.n, N_SIGMAS);
    runs[0] = dense_load("annotate/dense-seed1.npy");
    runs[1] = dense_load("annotate/dense-seed2.npy");
    assert_non_null(fgets(line, sizeof line, csv)); /* its head */
    for (; fgets(line, sizeof line, csv) != NULL; n_rows++) {
        rest = line;
        for (size_t i = 0; i < 4; i++) {
            fields[i] = strsep(&rest, ",\r\n");
        }
        for (size_t i = 0; i < 2; i++) {
            assert_true(n_rows < N_IMAGES);
            dense_sigma_min(sigma_min, runs[i] + n_rows * row_bytes, grid.sigmas);
            assert_string_equal(sigma_min, fields[2 + i]);
        }
    }
    assert_int_equal(n_rows, N_IMAGES);
    fclose(csv);
    amb_free(runs[0]);
    amb_free(runs[1]);
    amb_grid_deinit(&grid);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(smoothing_starts_at_the_first_value),
    cmocka_unit_test(crossing_is_strictly_below_half_plus_epsilon),
    cmocka_unit_test(largest_convincing_crop_decides_sigma_max),
    cmocka_unit_test(published_annotations_are_reproduced),
};

TEST_MAIN(tests)
