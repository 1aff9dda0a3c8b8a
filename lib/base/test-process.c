#include "base/test.h"

#include <math.h>

#include "base/process.h"

static const double levels[] = {0, 1e-6, 0.002, 0.1, 0.5, 1, 3, 80, 1e4};
#define N_LEVELS (sizeof levels / sizeof levels[0])

/* Noise of variance tn^2 and b^2 adds up to t^2, and a takes alpha_n to alpha_t: what makes the two steps one. */
TEST(two_steps_make_one) {
    for (unsigned process = 0; process < AMB_PROCESS_N; process++) {
        for (size_t i = 0; i < N_LEVELS; i++) {
            for (size_t j = 0; j <= i; j++) {
                struct amb_process_step step;

                amb_process_get(&step, (enum amb_process)process, levels[i], levels[j]);
                assert_true(fabs(step.a * step.a * step.tn * step.tn + step.b * step.b - step.t * step.t) <=
                            1e-15 * (1 + step.t * step.t));
                assert_true(fabs(step.a * step.alpha_n - step.alpha_t) <= 1e-15);
                assert_true(fabs(amb_process_s((enum amb_process)process, step.t) - step.s) <= 1e-7 * (1 + step.s * step.s));
            }
        }
    }
}

TEST(pure_noise_is_reached_at_infinity) {
    for (unsigned process = AMB_PROCESS_VP; process < AMB_PROCESS_N; process++) {
        struct amb_process_step step;

        amb_process_get(&step, (enum amb_process)process, INFINITY, 2);
        assert_true(step.t == 1 && step.a == 0 && step.b == 1 && step.alpha_t == 0);
        assert_true(isinf(amb_process_s((enum amb_process)process, 1)));
        assert_true(amb_process_t((enum amb_process)process, 1e300) == 1);
    }
}

TEST(equal_levels_add_no_fresh_noise) {
    for (unsigned process = 0; process < AMB_PROCESS_N; process++) {
        struct amb_process_step step;

        amb_process_get(&step, (enum amb_process)process, 0.7, 0.7);
        assert_true(step.a == 1 && step.b == 0);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(two_steps_make_one),
    cmocka_unit_test(pure_noise_is_reached_at_infinity),
    cmocka_unit_test(equal_levels_add_no_fresh_noise),
};

TEST_MAIN(tests)
