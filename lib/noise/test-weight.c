#include "base/test.h"

#include <math.h>

#include "noise/weight.h"

/* The closed forms of DESIGN section 2: ve t^4/(t^2 - tn^2)^2, and the shrinking of x0 errors by alpha_n
 * b^2/t^2. */
TEST(ambient_factor_is_the_inverse_of_the_shrinking) {
    for (unsigned process = 0; process < AMB_PROCESS_N; process++) {
        for (double s = 0.01; s < 100; s *= 1.7) {
            for (double s_n = 0; s_n < 0.999 * s; s_n += 0.13 * s) {
                struct amb_process_step step;
                double kept, want;

                amb_process_get(&step, (enum amb_process)process, s, s_n);
                kept = step.alpha_n * step.b * step.b / (step.t * step.t);
                want = 1 / (kept * kept);
                assert_true(fabs(amb_weight_get(AMB_WEIGHT_NONE, (enum amb_process)process, s, s_n) / want -
                                 1) < 1e-12);
            }
        }
    }
}

TEST(x0_weights_are_the_written_ones) {
    assert_true(amb_weight_get(AMB_WEIGHT_NONE, AMB_PROCESS_VE, 3, 0) == 1);
    assert_true(amb_weight_get(AMB_WEIGHT_EDM, AMB_PROCESS_VE, 2, 0) == 4.25);
    assert_true(amb_weight_get(AMB_WEIGHT_VELOCITY, AMB_PROCESS_FLOW, 1, 0) == 4);
    assert_true(fabs(amb_weight_get(AMB_WEIGHT_EDM, AMB_PROCESS_VE, 2, 1) - 4.25 * 16.0 / 9) < 1e-14);
}

TEST(ends_are_defined) {
    assert_true(amb_weight_get(AMB_WEIGHT_NONE, AMB_PROCESS_VE, 0, 0) == 1); /* no ambient factor at t = 0 */
    assert_true(isinf(amb_weight_get(AMB_WEIGHT_EDM, AMB_PROCESS_VE, 0, 0)));
    assert_true(isinf(amb_weight_get(AMB_WEIGHT_VELOCITY, AMB_PROCESS_FLOW, 0, 0)));
    assert_true(isinf(amb_weight_get(AMB_WEIGHT_NONE, AMB_PROCESS_VE, 1, 1)));
    assert_true(amb_weight_get(AMB_WEIGHT_EDM, AMB_PROCESS_FLOW, INFINITY, 1) ==
                16); /* 4 times (1 + s_n)^2 */
}

TEST(names_go_both_ways) {
    for (unsigned i = 0; i < AMB_WEIGHT_N; i++) {
        enum amb_weight back = AMB_WEIGHT_N;

        assert_true(amb_weight_parse(&back, amb_weight_name((enum amb_weight)i)));
        assert_int_equal(back, i);
    }
    assert_false(amb_weight_parse(&(enum amb_weight){0}, "EDM"));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(ambient_factor_is_the_inverse_of_the_shrinking),
    cmocka_unit_test(x0_weights_are_the_written_ones),
    cmocka_unit_test(ends_are_defined),
    cmocka_unit_test(names_go_both_ways),
};

TEST_MAIN(tests)
