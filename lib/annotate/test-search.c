#include "base/test.h"

#include <math.h>
#include <stdio.h>

#include "annotate/control.h"
#include "annotate/rule.h"
#include "annotate/search.h"
#include "annotate/test-data.h"
#include "base/alloc.h"
#include "base/philox.h"

#define GRID_N 2048u

/* exp(1.2 n - 1.2) at evenly spaced quantiles, near enough. */
static struct amb_grid grid_new(void) {
    struct amb_grid grid = {amb_calloc(GRID_N, sizeof(double)), GRID_N};

    for (size_t i = 0; i < GRID_N; i++) {
        double u = ((double)i + 0.5) / GRID_N, t = log(u / (1 - u)) / 1.7; /* logistic in place of normal */

        grid.sigmas[i] = exp(1.2 * t - 1.2);
    }
    return grid;
}

static double noise_get(uint64_t seed, uint32_t draw) {
    struct amb_philox_block block = amb_philox(seed, draw, 77);

    return ((double)block.w[0] + (double)block.w[1]) * 0x1p-32 - 1; /* triangular, sd 0.41 */
}

/* A made classifier: p falls from `high` to 1/2 around s0, one answer varies by `spread`. */
struct world {
    double high, s0, slope, spread;
    double dip_lo, dip_hi; /* between them p is 0.3 */
    uint64_t seed;
    double common; /* share of an answer's deviation that is its noise's, of POOL_SEED */
};
#define POOL_SEED 99u

static float world_answer(const struct world *world, const struct amb_probe *probe) {
    double s = probe->sigma, p = 0.5 + (world->high - 0.5) / (1 + pow(s / world->s0, world->slope));

    p = s > world->dip_lo && s < world->dip_hi ? 0.3 : p;
    p += world->spread * (sqrt(1 - world->common * world->common) * noise_get(world->seed, probe->draw) +
                          world->common * noise_get(POOL_SEED, probe->draw));
    return (float)(p < 0 ? 0 : p > 1 ? 1 : p);
}

static struct amb_search_result world_search(struct amb_search *search, const struct world *world, uint64_t seed,
                                             size_t step) {
    struct amb_search_result result;

    amb_search_begin(search, seed);
    while (!amb_search_is_done(search)) {
        struct amb_probe probes[64];
        float p[64];
        size_t n = amb_search_ask(probes, step, search);

        assert_true(n > 0);
        for (size_t i = 0; i < n; i++) {
            p[i] = world_answer(world, &probes[i]);
        }
        amb_search_tell(search, probes, p, n);
    }
    amb_search_get(&result, search);
    assert_true(result.lo <= result.sigma_min && result.sigma_min <= result.hi);
    return result;
}

static const struct amb_control *control; /* of adaptive searches made next */

static struct amb_search *search_new(const struct amb_grid *grid, enum amb_search_mode mode, bool keep_curve) {
    const struct amb_search_options options = {mode, grid, AMB_SEARCH_TRIALS, AMB_RULE_SPAN, AMB_RULE_EPSILON, keep_curve, control};
    struct amb_search *search = NULL;
    struct amb_error err = AMB_ERROR_NULL;

    assert_ok(amb_search_new(&search, &options, &err), err);
    return search;
}

static double half_load(const uint8_t *p) {
    uint16_t bits = (uint16_t)(p[0] | p[1] << 8);
    int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    double value = exponent == 0 ? ldexp(mantissa, -24) : ldexp(mantissa + 1024, exponent - 25);

    return (bits & 0x8000) != 0 ? -value : value;
}

/* The published run: from the logits of both shipped runs comes the shipped sigma_min, to its seven digits. */
TEST(dense_reproduces_the_published_annotations_exactly) {
    static const char *const names[] = {"annotate/dense-seed1.npy", "annotate/dense-seed2.npy"};
    struct amb_grid grid = {NULL, 0};
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_search *search;
    char line[256];

    assert_ok(amb_grid_load(&grid, test_data_path("annotate/sigmas.txt"), &err), err);
    search = search_new(&grid, AMB_SEARCH_DENSE, false);
    for (int run = 0; run < 2; run++) {
        FILE *csv = fopen(test_data_path("annotate/expected.csv"), "r"), *npy;
        uint8_t *logits = amb_malloc(48 * 2048 * 4 * 2 + 128);
        size_t offset;

        npy = fopen(test_data_path(names[run]), "rb");
        assert_non_null(csv);
        assert_non_null(npy);
        assert_int_equal(fread(logits, 1, 48 * 2048 * 4 * 2 + 128, npy), 48 * 2048 * 4 * 2 + 128);
        offset = 10 + (size_t)(logits[8] | logits[9] << 8);
        assert_non_null(fgets(line, sizeof line, csv));
        for (size_t image = 0; image < 48; image++) {
            const uint8_t *row = logits + offset + image * 2048 * 4 * 2;
            struct amb_search_result result;
            double expected[2];

            assert_non_null(fgets(line, sizeof line, csv));
            assert_int_equal(sscanf(line, "%*[^,],%*[^,],%lf,%lf", &expected[0], &expected[1]), 2);
            amb_search_begin(search, 0);
            while (!amb_search_is_done(search)) {
                struct amb_probe probes[64];
                float p[64];
                size_t n = amb_search_ask(probes, 64, search);

                for (size_t i = 0; i < n; i++) {
                    p[i] = (float)(1 / (1 + exp(-half_load(row + 2 * probes[i].draw))));
                }
                amb_search_tell(search, probes, p, n);
            }
            amb_search_get(&result, search);
            assert_int_equal(result.n_evaluations, 8192);
            if (fabs(result.sigma_min - expected[run]) > 1e-6 * expected[run]) {
                fail_msg("run %d image %zu: %.7g, expected %.7g", run + 1, image, result.sigma_min, expected[run]);
            }
        }
        fclose(csv);
        fclose(npy);
        amb_free(logits);
    }
    amb_search_free(search);
    amb_grid_deinit(&grid);
}

static int double_compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

/* 60 made samples, dense twice and adaptive once: adaptive differs from dense by at most 1.5 times what dense differs
 * from itself (median and 90th percentile), on at most 205 evaluations a sample. */
TEST(adaptive_agrees_with_dense_for_a_fortieth_of_the_cost) {
    struct amb_grid grid = grid_new();
    struct amb_search *dense = search_new(&grid, AMB_SEARCH_DENSE, false);
    struct amb_search *adaptive = search_new(&grid, AMB_SEARCH_ADAPTIVE, false);
    double itself[60], errors[60], n_evaluations = 0;

    for (size_t i = 0; i < 60; i++) {
        struct world world = {0.95, 0.15 + 0.02 * (double)i, 2.5, 0.25, 0, 0, 1000 + i, 0};
        double one = log(world_search(dense, &world, 0, 64).sigma_min), two;
        struct amb_search_result result;

        world.seed += 5000;
        two = log(world_search(dense, &world, 0, 64).sigma_min);
        world.seed += 5000;
        result = world_search(adaptive, &world, i, 8);
        itself[i] = fabs(one - two);
        errors[i] = fabs(log(result.sigma_min) - one);
        n_evaluations += result.n_evaluations;
    }
    qsort(itself, 60, sizeof *itself, double_compare);
    qsort(errors, 60, sizeof *errors, double_compare);
    printf("dense with itself: median %.4f, 90th percentile %.4f; adaptive: %.4f, %.4f, %.1f evaluations a sample\n",
           itself[30], itself[54], errors[30], errors[54], n_evaluations / 60);
    assert_true(errors[30] <= 1.5 * itself[30] && errors[54] <= 1.5 * itself[54]);
    assert_true(n_evaluations / 60 <= 205); /* every one of these has a crossing */
    amb_search_free(dense);
    amb_search_free(adaptive);
    amb_grid_deinit(&grid);
}

/* The same samples where four fifths of what an answer varies by are the noise's own, and known: fewer evaluations than
 * without the control, no worse results. */
TEST(control_saves_evaluations) {
    static struct amb_control pool;
    struct amb_grid grid = grid_new();
    const struct world blank = {0.5, 1, 1, 0.5, 0, 0, POOL_SEED, 0};
    struct amb_search *dense = search_new(&grid, AMB_SEARCH_DENSE, false), *blind, *adaptive;
    double errors[2][60], n_evaluations[2] = {0};

    amb_control_begin(&pool, &grid);
    while (!amb_control_is_complete(&pool)) {
        struct amb_probe probes[100];
        float p[100];
        size_t n = amb_control_ask(probes, 100, &pool);

        for (size_t i = 0; i < n; i++) {
            p[i] = world_answer(&blank, &probes[i]);
        }
        amb_control_tell(&pool, probes, p, n);
    }
    blind = search_new(&grid, AMB_SEARCH_ADAPTIVE, false);
    control = &pool;
    adaptive = search_new(&grid, AMB_SEARCH_ADAPTIVE, false);
    control = NULL;
    for (size_t i = 0; i < 60; i++) {
        struct world world = {0.95, 0.15 + 0.02 * (double)i, 2.5, 0.25, 0, 0, 1000 + i, 0};
        double expected = log(world_search(dense, &world, 0, 64).sigma_min);

        world.common = 0.9;
        for (int k = 0; k < 2; k++) {
            struct amb_search_result result = world_search(k == 0 ? blind : adaptive, &world, i * 0x9E3779B97F4A7C15, 8);

            errors[k][i] = fabs(log(result.sigma_min) - expected);
            n_evaluations[k] += result.n_evaluations;
        }
    }
    for (int k = 0; k < 2; k++) {
        qsort(errors[k], 60, sizeof *errors[k], double_compare);
        printf("%s: median %.4f, 90th percentile %.4f, %.1f evaluations a sample\n", k == 0 ? "blind" : "with control",
               errors[k][30], errors[k][54], n_evaluations[k] / 60);
    }
    assert_true(n_evaluations[1] < 0.8 * n_evaluations[0]);
    assert_true(errors[1][30] <= 1.1 * errors[0][30] && errors[1][54] <= 1.1 * errors[0][54]);
    amb_search_free(dense);
    amb_search_free(blind);
    amb_search_free(adaptive);
    amb_grid_deinit(&grid);
}

TEST(sample_below_the_threshold_from_the_start_costs_two_answers) {
    struct amb_grid grid = grid_new();
    struct amb_search *search = search_new(&grid, AMB_SEARCH_ADAPTIVE, false);
    const struct world world = {.high = 0.1, .s0 = 1, .slope = 2, .spread = 0.01, .seed = 3};
    struct amb_search_result result = world_search(search, &world, 1, 8);

    assert_true(result.sigma_min == grid.sigmas[0] && result.n_evaluations == 2);
    amb_search_free(search);
    amb_grid_deinit(&grid);
}

TEST(sample_that_never_crosses_gets_the_last_sigma) {
    struct amb_grid grid = grid_new();
    const struct world world = {.high = 0.9, .s0 = 1e9, .slope = 2, .spread = 0.1, .seed = 3};

    for (int mode = 0; mode < AMB_SEARCH_MODE_N; mode++) {
        struct amb_search *search = search_new(&grid, (enum amb_search_mode)mode, false);

        assert_true(world_search(search, &world, 1, 64).sigma_min == grid.sigmas[GRID_N - 1]);
        amb_search_free(search);
    }
    amb_grid_deinit(&grid);
}

/* p dips below the threshold at low sigma and rises again: the rule takes the dip, and so must adaptive. */
TEST(early_dip_is_found) {
    struct amb_grid grid = grid_new();
    struct amb_search *dense = search_new(&grid, AMB_SEARCH_DENSE, false);
    struct amb_search *adaptive = search_new(&grid, AMB_SEARCH_ADAPTIVE, false);
    const struct world world = {0.9, 2, 3, 0.02, 0.01, 0.08, 11, 0};
    double expected = world_search(dense, &world, 0, 64).sigma_min;

    assert_true(expected < 0.08);
    for (uint64_t seed = 0; seed < 10; seed++) {
        double found = world_search(adaptive, &world, seed, 8).sigma_min;

        if (fabs(log(found / expected)) > 0.5) {
            fail_msg("seed %llu: %g, dense says %g", (unsigned long long)seed, found, expected);
        }
    }
    amb_search_free(dense);
    amb_search_free(adaptive);
    amb_grid_deinit(&grid);
}

TEST(result_does_not_depend_on_how_questions_are_split) {
    struct amb_grid grid = grid_new();
    struct amb_search *search = search_new(&grid, AMB_SEARCH_ADAPTIVE, false);
    const struct world world = {0.95, 0.6, 2.5, 0.3, 0, 0, 21, 0};
    struct amb_search_result first = world_search(search, &world, 7, 1), again;

    for (size_t step = 2; step <= 64; step *= 2) {
        again = world_search(search, &world, 7, step);
        assert_memory_equal(&first, &again, sizeof first);
    }
    again = world_search(search, &world, 8, 8);
    assert_true(first.sigma_min != again.sigma_min || first.lo != again.lo); /* another seed asks elsewhere */
    amb_search_free(search);
    amb_grid_deinit(&grid);
}

TEST(warm_search_allocates_nothing) {
    struct amb_grid grid = grid_new();
    struct amb_search *search = search_new(&grid, AMB_SEARCH_ADAPTIVE, true);
    const struct world world = {0.95, 0.6, 2.5, 0.3, 0, 0, 21, 0};
    uint64_t before;

    world_search(search, &world, 1, 8);
    before = amb_alloc_count();
    for (uint64_t seed = 0; seed < 5; seed++) {
        world_search(search, &world, seed, 8);
    }
    assert_int_equal(amb_alloc_count(), before);
    amb_search_free(search);
    amb_grid_deinit(&grid);
}

TEST(curve_has_each_sigma_that_was_asked_once_in_order) {
    struct amb_grid grid = grid_new();
    struct amb_search *search = search_new(&grid, AMB_SEARCH_ADAPTIVE, true);
    const struct world world = {0.95, 0.6, 2.5, 0.3, 0, 0, 21, 0};
    const double *sigmas, *p;
    size_t n;

    world_search(search, &world, 1, 8);
    n = amb_search_peek_curve(&sigmas, &p, search);
    assert_true(n > 20);
    for (size_t i = 0; i < n; i++) {
        assert_true(p[i] >= 0 && p[i] <= 1 && (i == 0 || sigmas[i] > sigmas[i - 1]));
    }
    amb_search_free(search);
    amb_grid_deinit(&grid);
}

TEST(options_out_of_range_are_refused_with_what_is_allowed) {
    struct amb_grid grid = grid_new(), empty = {NULL, 0};
    const struct amb_search_options bad[] = {
        {AMB_SEARCH_DENSE, &empty, 4, 32, 0.05, false, NULL},
        {AMB_SEARCH_DENSE, &grid, 0, 32, 0.05, false, NULL},
        {AMB_SEARCH_ADAPTIVE, &grid, 4, 0, 0.05, false, NULL},
        {AMB_SEARCH_ADAPTIVE, &grid, 4, 32, 0.5, false, NULL},
        {AMB_SEARCH_ADAPTIVE, &grid, 4, 32, NAN, false, NULL},
    };

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct amb_search *search = NULL;
        struct amb_error err = AMB_ERROR_NULL;

        assert_int_equal(amb_search_new(&search, &bad[i], &err), AMB_ERR_CONFIG);
        assert_non_null(strstr(err.message, "allowed"));
        assert_null(search);
    }
    amb_grid_deinit(&grid);
}

/* A grid of one, two and three points, and one that begins at 0. */
TEST(tiny_grids_work) {
    double sigmas[] = {0, 0.5, 2};
    const struct world world = {.high = 0.95, .s0 = 0.6, .slope = 2.5, .spread = 0.1, .seed = 21};

    for (size_t n = 1; n <= 3; n++) {
        struct amb_grid grid = {sigmas, n};

        for (int mode = 0; mode < AMB_SEARCH_MODE_N; mode++) {
            struct amb_search *search = search_new(&grid, (enum amb_search_mode)mode, false);
            struct amb_search_result result = world_search(search, &world, 1, 8);

            assert_true(result.sigma_min == sigmas[n - 1]); /* the average of span 32 is far above 0.55 still */
            amb_search_free(search);
        }
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(dense_reproduces_the_published_annotations_exactly),
    cmocka_unit_test(adaptive_agrees_with_dense_for_a_fortieth_of_the_cost),
    cmocka_unit_test(control_saves_evaluations),
    cmocka_unit_test(sample_below_the_threshold_from_the_start_costs_two_answers),
    cmocka_unit_test(sample_that_never_crosses_gets_the_last_sigma),
    cmocka_unit_test(early_dip_is_found),
    cmocka_unit_test(result_does_not_depend_on_how_questions_are_split),
    cmocka_unit_test(warm_search_allocates_nothing),
    cmocka_unit_test(curve_has_each_sigma_that_was_asked_once_in_order),
    cmocka_unit_test(options_out_of_range_are_refused_with_what_is_allowed),
    cmocka_unit_test(tiny_grids_work),
};

TEST_MAIN(tests)
