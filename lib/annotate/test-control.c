#include "base/test.h"

#include <math.h>

#include "annotate/control.h"

static double sigmas[] = {0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8};
static const struct amb_grid grid = {sigmas, 8};

static float answer(uint32_t draw) {
    return (float)(1 / (1 + exp(-2 - 0.01 * (double)draw)));
}

/* All questions in parts of n, answered backwards. */
static void fill(struct amb_control *control, size_t n, float (*answer_of)(uint32_t draw)) {
    amb_control_begin(control, &grid);
    while (!amb_control_is_complete(control)) {
        struct amb_probe probes[100], swap;
        float p[100];
        size_t m = amb_control_ask(probes, n, control);

        assert_true(m > 0);
        for (size_t i = 0; i < m / 2; i++) {
            swap = probes[i];
            probes[i] = probes[m - 1 - i];
            probes[m - 1 - i] = swap;
        }
        for (size_t i = 0; i < m; i++) {
            assert_true(probes[i].sigma == sigmas[probes[i].i_grid] && probes[i].i_grid == 5);
            p[i] = answer_of(probes[i].draw);
        }
        amb_control_tell(control, probes, p, m);
    }
    assert_int_equal(amb_control_ask(&(struct amb_probe){0}, 1, control), 0);
}

/* Log odds rise evenly with the draw: so do the values, about 0 and with variance 1. */
TEST(values_are_log_odds_of_mean_0_and_variance_1) {
    static struct amb_control control, other;
    const double sd = sqrt((1024.0 * 1024 - 1) / 12);

    fill(&control, 100, answer);
    fill(&other, 7, answer);
    for (uint32_t i = 0; i < AMB_CONTROL_DRAWS; i++) {
        assert_true(fabs(amb_control_get(&control, i) - (i - 511.5) / sd) < 2e-3);
        assert_true(amb_control_get(&control, i) == amb_control_get(&other, i));
    }
}

static float answer_alike(uint32_t draw) {
    (void)draw;
    return 1;
}

static float answer_mad(uint32_t draw) {
    return draw == 3 ? NAN : draw == 4 ? 7 : draw == 5 ? -INFINITY : draw % 2 == 0 ? 0.25f : 0.75f;
}

TEST(answers_that_say_nothing_become_0) {
    static struct amb_control control;

    fill(&control, 64, answer_alike);
    for (uint32_t i = 0; i < AMB_CONTROL_DRAWS; i++) {
        assert_true(amb_control_get(&control, i) == 0);
    }
    fill(&control, 64, answer_mad);
    for (uint32_t i = 3; i <= 5; i++) {
        assert_true(fabs(amb_control_get(&control, i)) < 0.01);
    }
    assert_true(amb_control_get(&control, 0) < -0.9 && amb_control_get(&control, 1) > 0.9);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(values_are_log_odds_of_mean_0_and_variance_1),
    cmocka_unit_test(answers_that_say_nothing_become_0),
};

TEST_MAIN(tests)
