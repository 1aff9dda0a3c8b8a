#include "sampler/schedule.h"

#include <math.h>

#include "sampler/level.h"
#include "sampler/test-set.h"

static const struct amb_schedule edm = {.kind = AMB_SCHEDULE_LOGNORMAL, .scale = AMB_SCALE_S, .a = -1.2, .b = 1.2};
static const struct amb_schedule sd3 = {.kind = AMB_SCHEDULE_LOGIT_NORMAL, .scale = AMB_SCALE_T, .a = 0, .b = 1};
static const struct amb_schedule logs = {.kind = AMB_SCHEDULE_LOGUNIFORM, .scale = AMB_SCALE_S, .a = 0.002, .b = 80};
static const struct amb_schedule logt = {.kind = AMB_SCHEDULE_LOGUNIFORM, .scale = AMB_SCALE_T, .a = 0.01, .b = 1};
static const struct amb_schedule flat = {.kind = AMB_SCHEDULE_UNIFORM, .scale = AMB_SCALE_T, .a = 0, .b = 1};
static const struct amb_schedule wide = {.kind = AMB_SCHEDULE_UNIFORM, .scale = AMB_SCALE_S, .a = 0.5, .b = 10};
static const struct amb_schedule atoms = {.kind = AMB_SCHEDULE_TABLE, .scale = AMB_SCALE_S, .n_table = 5,
                                          .p = {0, 0.25, 0.5, 0.75, 1}, .level = {0.1, 0.2, 0.2, 1, 5}};
static const struct amb_schedule zero = {.kind = AMB_SCHEDULE_CONSTANT, .scale = AMB_SCALE_S, .a = 0};

static const struct use {
    const struct amb_schedule *schedule;
    enum amb_process process;
    double golden[5]; /* quantiles at golden_u */
} uses[] = {
    {&edm, AMB_PROCESS_VE, {0x1.0719ff2f051f4p-10, 0x1.090bd6277baa2p-4, 0x1.346c4167a12dfp-2, 0x1.66e5fd24d3ee5p+0, 0x1.698d18510667ep+6}},
    {&edm, AMB_PROCESS_VP, {0x1.0719ff2f051f4p-10, 0x1.090bd6277baa2p-4, 0x1.346c4167a12dfp-2, 0x1.66e5fd24d3ee5p+0, 0x1.698d18510667ep+6}},
    {&edm, AMB_PROCESS_FLOW, {0x1.0719ff2f051f4p-10, 0x1.090bd6277baa2p-4, 0x1.346c4167a12dfp-2, 0x1.66e5fd24d3ee5p+0, 0x1.698d18510667ep+6}},
    {&sd3, AMB_PROCESS_FLOW, {0x1.1a8795447fefdp-7, 0x1.1c44cf87adecbp-2, 0x1p+0, 0x1.cd15b115ad642p+1, 0x1.cfec4c2725cc8p+6}},
    {&sd3, AMB_PROCESS_VP, {0x1.181feacb4288ap-7, 0x1.c7e4fb29987fbp-3, 0x1.279a74590331dp-1, 0x1.41f2be9dc273ap+0, 0x1.e652680b91ca5p+2}},
    {&logs, AMB_PROCESS_VE, {0x1.0625933bd7e58p-9, 0x1.7a31f3a7becb5p-8, 0x1.9999999999999p-2, 0x1.bb9cd9e1db234p+4, 0x1.3fff21c60d481p+6}},
    {&logt, AMB_PROCESS_VP, {0x1.47b2a93673a37p-7, 0x1.03b396cc2a2d2p-6, 0x1.9ba9da6c73586p-4, 0x1.a06650bf52856p-1, 0x1.49811d757b393p+8}},
    {&logt, AMB_PROCESS_FLOW, {0x1.4afdceec76fa2p-7, 0x1.07d9c44ecc5ddp-6, 0x1.c71c71c71c71ap-4, 0x1.b5afceca97141p+0, 0x1.a81d5ed6a0da9p+17}},
    {&flat, AMB_PROCESS_FLOW, {0x1.0c6f8ba2f9812p-20, 0x1.c71c71c71c71dp-4, 0x1p+0, 0x1.2000000000001p+3, 0x1.e847dfffc3b1fp+19}},
    {&flat, AMB_PROCESS_VP, {0x1.0c6f7a0b5f6c6p-20, 0x1.9ba9da6c73588p-4, 0x1.279a74590331dp-1, 0x1.084973f1ba83p+1, 0x1.618d99a0b2c47p+9}},
    {&wide, AMB_PROCESS_VE, {0x1.00013ec460ed8p-1, 0x1.7333333333334p+0, 0x1.5p+2, 0x1.219999999999ap+3, 0x1.3fffec13b9f12p+3}},
    {&atoms, AMB_PROCESS_VE, {0x1.999a04f964049p-4, 0x1.1eb851eb851ecp-3, 0x1.999999999999ap-3, 0x1.b333333333334p+1, 0x1.3fffbce4217d2p+2}},
    {&zero, AMB_PROCESS_VE, {0x0p+0, 0x0p+0, 0x0p+0, 0x0p+0, 0x0p+0}},
};
static const double golden_u[] = {1e-6, 0.1, 0.5, 0.9, 0.999999};
#define N_USES (sizeof uses / sizeof *uses)

TEST(quantiles_are_golden) {
    /* Bit for bit: these numbers decide every draw, on every machine and for ever. */
    for (size_t i = 0; i < N_USES; i++) {
        for (int j = 0; j < 5; j++) {
            double found = amb_schedule_quantile(uses[i].schedule, uses[i].process, golden_u[j]);

            if (found != uses[i].golden[j]) {
                fail_msg("use %zu at %g: %a, golden %a", i, golden_u[j], found, uses[i].golden[j]);
            }
        }
    }
}

/* The same by libm, in the closed form of each distribution. */
static double libm_cdf(const struct amb_schedule *schedule, enum amb_process process, double s) {
    double t = process == AMB_PROCESS_VE ? s : process == AMB_PROCESS_VP ? s / sqrt(1 + s * s) : s / (1 + s);
    double level = schedule->scale == AMB_SCALE_T ? t : s, z;

    switch (schedule->kind) {
    case AMB_SCHEDULE_LOGNORMAL:
        z = (log(level) - schedule->a) / schedule->b;
        return 0.5 * erfc(-z / sqrt(2));
    case AMB_SCHEDULE_LOGIT_NORMAL:
        z = (log(level / (1 - level)) - schedule->a) / schedule->b;
        return 0.5 * erfc(-z / sqrt(2));
    case AMB_SCHEDULE_LOGUNIFORM:
        return log(level / schedule->a) / log(schedule->b / schedule->a);
    default:
        return (level - schedule->a) / (schedule->b - schedule->a);
    }
}

TEST(cdf_is_the_distribution_of_the_quantiles) {
    /* libm's cdf at our quantile gives u back, and so does ours; to the accuracy that the conversion leaves. */
    for (size_t i = 0; i < N_USES; i++) {
        if (uses[i].schedule->kind >= AMB_SCHEDULE_TABLE) {
            continue;
        }
        for (double u = 0.0005; u < 1; u += 0.001) {
            double s = amb_schedule_quantile(uses[i].schedule, uses[i].process, u);

            assert_true(s > 0 && isfinite(s));
            assert_true(fabs(libm_cdf(uses[i].schedule, uses[i].process, s) - u) < 1e-12);
            assert_true(fabs(amb_schedule_cdf(uses[i].schedule, uses[i].process, s) - u) < 1e-12);
        }
        assert_true(amb_schedule_cdf(uses[i].schedule, uses[i].process, 0) == 0);
        assert_true(amb_schedule_cdf(uses[i].schedule, uses[i].process, INFINITY) == 1);
    }
}

TEST(both_directions_are_monotone) {
    /* Over a fine grid: a later u never gives a lower level, a higher level never a lower probability. */
    for (size_t i = 0; i < N_USES; i++) {
        double last_s = 0, last_u = 0;

        for (unsigned j = 0; j < 20000; j++) {
            double s = amb_schedule_quantile(uses[i].schedule, uses[i].process, (j + 0.5) / 20000);
            double u = amb_schedule_cdf(uses[i].schedule, uses[i].process, exp(30.0 * j / 20000 - 15));

            assert_true(s >= last_s && u >= last_u && u <= 1);
            last_s = s;
            last_u = u;
        }
    }
}

TEST(tables_have_atoms_and_holes) {
    /* Probability 0.25 lies on the level 0.2 itself: the cdf jumps there and the quantile stays. */
    double below = amb_level_below(0.2);

    assert_true(amb_schedule_cdf(&atoms, AMB_PROCESS_VE, 0.2) == 0.5);
    assert_true(fabs(amb_schedule_cdf(&atoms, AMB_PROCESS_VE, below) - 0.25) < 1e-12);
    assert_true(amb_schedule_quantile(&atoms, AMB_PROCESS_VE, 0.3) == 0.2);
    assert_true(amb_schedule_quantile(&atoms, AMB_PROCESS_VE, 0.49) == 0.2);
    assert_true(fabs(amb_schedule_quantile(&atoms, AMB_PROCESS_VE, 0.625) - 0.6) < 1e-15);
    assert_true(amb_schedule_cdf(&atoms, AMB_PROCESS_VE, 0.05) == 0 && amb_schedule_cdf(&atoms, AMB_PROCESS_VE, 5) == 1);
    assert_true(amb_schedule_quantile(&zero, AMB_PROCESS_VE, 0.7) == 0 && amb_schedule_cdf(&zero, AMB_PROCESS_VE, 0) == 1);
}

TEST(what_is_no_distribution_is_refused) {
    struct amb_schedule bad[] = {
        {.kind = AMB_SCHEDULE_LOGNORMAL, .a = 0, .b = 0},
        {.kind = AMB_SCHEDULE_LOGNORMAL, .a = NAN, .b = 1},
        {.kind = AMB_SCHEDULE_LOGNORMAL, .a = 0, .b = INFINITY},
        {.kind = AMB_SCHEDULE_LOGNORMAL, .scale = AMB_SCALE_T, .a = 0, .b = 1}, /* t above 1 */
        {.kind = AMB_SCHEDULE_LOGIT_NORMAL, .scale = AMB_SCALE_S, .a = 0, .b = 1},
        {.kind = AMB_SCHEDULE_LOGUNIFORM, .a = 0, .b = 1},
        {.kind = AMB_SCHEDULE_LOGUNIFORM, .a = 2, .b = 1},
        {.kind = AMB_SCHEDULE_UNIFORM, .a = 1, .b = 1},
        {.kind = AMB_SCHEDULE_UNIFORM, .a = -1, .b = 1},
        {.kind = AMB_SCHEDULE_UNIFORM, .a = 0, .b = INFINITY},
        {.kind = AMB_SCHEDULE_UNIFORM, .scale = AMB_SCALE_T, .a = 0, .b = 1.5},
        {.kind = AMB_SCHEDULE_CONSTANT, .a = -1},
        {.kind = AMB_SCHEDULE_CONSTANT, .a = NAN},
        {.kind = AMB_SCHEDULE_CONSTANT, .scale = AMB_SCALE_T, .a = 1.01},
        {.kind = AMB_SCHEDULE_TABLE, .n_table = 1, .p = {0}, .level = {1}},
        {.kind = AMB_SCHEDULE_TABLE, .n_table = 65},
        {.kind = AMB_SCHEDULE_TABLE, .n_table = 2, .p = {0, 0.9}, .level = {1, 2}},
        {.kind = AMB_SCHEDULE_TABLE, .n_table = 2, .p = {0, 1}, .level = {2, 1}},
        {.kind = AMB_SCHEDULE_TABLE, .n_table = 3, .p = {0, 0.5, 0.4}, .level = {1, 2, 3}},
        {.kind = AMB_SCHEDULE_TABLE, .n_table = 2, .p = {0, 1}, .level = {0, NAN}},
        {.kind = AMB_SCHEDULE_N},
    };
    struct amb_error err;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        err = AMB_ERROR_NULL;
        if (amb_schedule_check(&bad[i], AMB_PROCESS_FLOW, &err) != AMB_ERR_CONFIG || err.message[0] == '\0') {
            fail_msg("schedule %zu was taken", i);
        }
    }
    for (size_t i = 0; i < N_USES; i++) {
        assert_ok(amb_schedule_check(uses[i].schedule, uses[i].process, &err), err);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(quantiles_are_golden),
    cmocka_unit_test(cdf_is_the_distribution_of_the_quantiles),
    cmocka_unit_test(both_directions_are_monotone),
    cmocka_unit_test(tables_have_atoms_and_holes),
    cmocka_unit_test(what_is_no_distribution_is_refused),
};

TEST_MAIN(tests)
