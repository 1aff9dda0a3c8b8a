#include "base/test.h"

#include <math.h>

#include "base/philox.h"
#include "base/real.h"

#define N_POINTS 200000

/* Relative error against long double libm over pseudo-random points; the limits are those stated in real.c, doubled. */
static double worst_error(double (*ours)(double), long double (*exact)(long double), double lo, double hi) {
    double worst = 0;

    for (uint64_t i = 0; i < N_POINTS; i++) {
        struct amb_philox_block block = amb_philox(7, i, 0);
        double x = lo + (hi - lo) * amb_real_uniform(amb_philox_u64(&block, 0));
        long double want = exact((long double)x);
        double error = (double)fabsl(((long double)ours(x) - want) / want);

        worst = error > worst ? error : worst;
    }
    printf("[%g, %g]: %.2e\n", lo, hi, worst);
    return worst;
}

/* Valgrind computes long double in 64 bits, which is no reference for our own. */
static void need_long_double(void) {
    volatile long double one = 1, tiny = 0x1p-60L;

    if (one + tiny == one) {
        printf("skipped: long double has no more digits than double here\n");
        skip();
    }
}

static long double exact_cdf(long double x) {
    return 0.5L * erfcl(-x * 0.70710678118654752440084436210484904L);
}

TEST(log_and_exp_are_accurate) {
    need_long_double();
    assert_true(worst_error(amb_real_log, logl, 1e-300, 1e-3) < 4e-16);
    assert_true(worst_error(amb_real_log, logl, 1.5, 1e6) < 4e-16);
    assert_true(worst_error(amb_real_exp, expl, -700, 700) < 6e-16);
    assert_true(worst_error(amb_real_exp, expl, -1, 1) < 4e-16);
}

TEST(normal_cdf_is_accurate_in_both_tails) {
    need_long_double();
    assert_true(worst_error(amb_real_normal_cdf, exact_cdf, -36, -1) < 3e-15);
    assert_true(worst_error(amb_real_normal_cdf, exact_cdf, -1, 8) < 3e-15);
}

/* quantile(cdf(x)) = x, where cdf's own rounding does not dominate: the lower tail and the middle. */
TEST(quantile_inverts_the_cdf) {
    for (double x = -36; x < 1; x += 0.0037) {
        double back = amb_real_normal_quantile(amb_real_normal_cdf(x));

        if (!(fabs(back - x) <= 4e-15 * (1 + fabs(x)))) {
            fail_msg("x %.17g comes back as %.17g", x, back);
        }
    }
}

TEST(ends_are_exact) {
    assert_true(amb_real_log(0) == -INFINITY && amb_real_log(1) == 0 && isnan(amb_real_log(-1)));
    assert_true(isinf(amb_real_log(INFINITY)) && isnan(amb_real_log(NAN)));
    assert_true(amb_real_exp(0) == 1 && amb_real_exp(-1e9) == 0 && isinf(amb_real_exp(1e9)));
    assert_true(amb_real_normal_cdf(-INFINITY) == 0 && amb_real_normal_cdf(INFINITY) == 1);
    assert_true(amb_real_normal_quantile(0.5) == 0);
    assert_true(isinf(amb_real_normal_quantile(1)) && isinf(amb_real_normal_quantile(0)));
    assert_true(isnan(amb_real_normal_quantile(-0.1)) && isnan(amb_real_normal_quantile(NAN)));
    assert_true(amb_real_log(0x1p-1074) < -744 && amb_real_log(0x1p-1074) > -745);
}

/* The extreme words: neither 0 nor 1 may come out, whose quantiles are infinite. */
TEST(uniform_stays_inside_the_open_interval) {
    assert_true(amb_real_uniform(0) > 0 && amb_real_uniform(~0ull) < 1);
    assert_true(isfinite(amb_real_normal_quantile(amb_real_uniform(~0ull))));
    assert_true(isfinite(amb_real_normal_quantile(amb_real_uniform(0))));
    assert_true(amb_real_uniform(1ull << 63) >= 0.5 && amb_real_uniform((1ull << 63) - 1) < 0.5);
}

/* Golden bits: a change of the last bit would change draws. */
TEST(bits_are_the_written_ones) {
    static const struct {
        double (*f)(double);
        double x, want;
    } rows[] = {
        {amb_real_log, 0x1.12e0be826d695p-30, -0x1.4b927f32bffb8p+4},
        {amb_real_log, 0x1.999999999999ap-4, -0x1.26bb1bbb55515p+1},
        {amb_real_log, 0x1.6666666666666p-1, -0x1.6d3c324e13f5p-2},
        {amb_real_log, 0x1.4cccccccccccdp+0, 0x1.0ca937be1b9ddp-2},
        {amb_real_log, 0x1p+1, 0x1.62e42fefa39efp-1},
        {amb_real_log, 0x1.edd2f1a9fbe77p+6, 0x1.343774f3e2362p+2},
        {amb_real_exp, -0x1.94p+5, 0x1.1ad9f47f3722ap-73},
        {amb_real_exp, -0x1.3333333333333p+0, 0x1.346c4167a12dfp-2},
        {amb_real_exp, -0x1.999999999999ap-4, 0x1.cf46d99d52b3ap-1},
        {amb_real_exp, 0x1.3333333333333p-2, 0x1.599058c8c1a96p+0},
        {amb_real_exp, 0x1.4p+1, 0x1.85d6fd931e0bbp+3},
        {amb_real_exp, 0x1.6333333333333p+6, 0x1.148906c06fc8ap+128},
        {amb_real_normal_cdf, -0x1.299999999999ap+3, 0x1.094b5da82f3d7p-67},
        {amb_real_normal_cdf, -0x1.199999999999ap+1, 0x1.c796922fa1ec6p-7},
        {amb_real_normal_cdf, -0x1.999999999999ap-2, 0x1.60d91f7ac901ap-2},
        {amb_real_normal_cdf, 0x1.47ae147ae147bp-7, 0x1.020ae495ce8eep-1},
        {amb_real_normal_cdf, 0x1.b333333333333p+0, 0x1.e92eb735d787p-1},
        {amb_real_normal_cdf, 0x1.8cccccccccccdp+1, 0x1.ff812c9faffc7p-1},
        {amb_real_normal_quantile, 0x1.19799812dea11p-40, -0x1.c234fba57a32ap+2},
        {amb_real_normal_quantile, 0x1.47ae147ae147bp-7, -0x1.29c5c4630ff0ep+1},
        {amb_real_normal_quantile, 0x1.3333333333333p-2, -0x1.0c7e39582c5fbp-1},
        {amb_real_normal_quantile, 0x1.2p-1, 0x1.422c1aadb2492p-3},
        {amb_real_normal_quantile, 0x1.f0a3d70a3d70ap-1, 0x1.e17bb09d8913ep+0},
        {amb_real_normal_quantile, 0x1.fffffca501acbp-1, 0x1.4cc1f26b3355ap+2},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        double got = rows[i].f(rows[i].x);

        if (memcmp(&got, &rows[i].want, sizeof got) != 0) {
            fail_msg("row %zu, x = %a: %a, expected %a", i, rows[i].x, got, rows[i].want);
        }
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(log_and_exp_are_accurate),
    cmocka_unit_test(normal_cdf_is_accurate_in_both_tails),
    cmocka_unit_test(quantile_inverts_the_cdf),
    cmocka_unit_test(ends_are_exact),
    cmocka_unit_test(uniform_stays_inside_the_open_interval),
    cmocka_unit_test(bits_are_the_written_ones),
};

TEST_MAIN(tests)
