#include "sampler/sampler.h"

#include "sampler/level.h"
#include "sampler/test-set.h"

static struct amb_schedule constant(double level) {
    return (struct amb_schedule){.kind = AMB_SCHEDULE_CONSTANT, .scale = AMB_SCALE_S, .a = level};
}

/* Thresholds: usable below lo (0: nowhere) and above hi (inf: nowhere). */
static void set_init(struct test_set *set, double lo, double hi) {
    struct amb_annotation *values = test_values(4);

    values[0] = (struct amb_annotation){INFINITY, (float)lo};
    values[1] = (struct amb_annotation){(float)hi, 0};
    values[2] = AMB_ANNOTATION_NOWHERE;
    values[3] = AMB_ANNOTATION_NOWHERE;
    test_set_init(set, values, 4, NULL, 0, 1);
}

static int check(const struct amb_stream_options *options, double lo, double hi, struct amb_sampler_report *report,
                 struct amb_error *err) {
    struct amb_sampler *sampler = NULL;
    struct test_set set;
    int r;

    *err = AMB_ERROR_NULL;
    set_init(&set, lo, hi);
    r = amb_sampler_new(&sampler, set.orders, options, report, err);
    amb_sampler_free(sampler);
    test_set_deinit(&set);
    return r;
}

TEST(more_than_one_percent_is_refused_by_name) {
    /* A uniform schedule of width 1 makes the mass of a gap its width: 1 % is taken, a little more is not; the message and
     * the report name the gap, its mass and where samples are. */
    struct amb_stream_options options = AMB_STREAM_OPTIONS_DEFAULT;
    struct amb_sampler_report report;
    struct amb_error err;

    options.schedule = (struct amb_schedule){.kind = AMB_SCHEDULE_UNIFORM, .scale = AMB_SCALE_S, .a = 0, .b = 1};
    assert_ok(check(&options, 0.5, 0.5 + 0.009999, &report, &err), err);
    assert_true(fabs(report.gap_mass - 0.009999) < 1e-7);
    assert_int_equal(check(&options, 0.5, 0.51001, &report, &err), AMB_ERR_GAP);
    assert_true(fabs(report.gap_mass - 0.01001) < 1e-7 && report.gap_lo == 0.5);
    assert_non_null(strstr(err.message, "[0.5, 0.51001]"));
    assert_non_null(strstr(err.message, "1.001 %"));
    assert_non_null(strstr(err.message, "sigma < 0.5 and sigma > 0.51001"));
    options.gaps = AMB_GAPS_ERROR;
    assert_int_equal(check(&options, 0.5, 0.500001, &report, &err), AMB_ERR_GAP);
    assert_non_null(strstr(err.message, "gaps=error"));
    assert_ok(check(&options, 0.5, 0.5, &report, &err), err); /* a point has no mass */
    assert_ok(check(&options, 0.5, 0.4, &report, &err), err); /* they overlap */
    assert_true(report.gap_mass == 0);
}

TEST(ends_of_the_axis_can_be_missing) {
    /* Nothing below, nothing above, nothing at all: messages say where samples are, if anywhere. */
    struct amb_stream_options options = AMB_STREAM_OPTIONS_DEFAULT;
    struct amb_sampler_report report;
    struct amb_error err;

    assert_int_equal(check(&options, 0, 2, &report, &err), AMB_ERR_GAP);
    assert_true(report.gap_lo == 0 && report.gap_hi == 2);
    assert_non_null(strstr(err.message, "admitted: sigma > 2;"));
    assert_int_equal(check(&options, 0.25, INFINITY, &report, &err), AMB_ERR_GAP);
    assert_non_null(strstr(err.message, "admitted: sigma < 0.25;"));
    assert_int_equal(check(&options, 0, INFINITY, &report, &err), AMB_ERR_GAP);
    assert_true(report.gap_mass == 1);
    assert_non_null(strstr(err.message, "admitted: nothing; annotate the samples"));
    options.policy = AMB_POLICY_SEQUENTIAL;
    assert_ok(check(&options, 0, INFINITY, &report, &err), err);
}

TEST(levels_with_mass_of_their_own_are_counted) {
    /* A constant schedule has all its mass on one level, ends of gaps included; a table can have an atom there. */
    struct amb_stream_options options = AMB_STREAM_OPTIONS_DEFAULT;
    struct amb_sampler_report report;
    struct amb_error err;

    options.schedule = constant(0.25);
    assert_int_equal(check(&options, 0.25, 0.5, &report, &err), AMB_ERR_GAP);
    assert_true(report.gap_mass == 1);
    options.schedule = constant(0.5);
    assert_int_equal(check(&options, 0.25, 0.5, &report, &err), AMB_ERR_GAP);
    options.schedule = constant(amb_level_below(0.25));
    assert_ok(check(&options, 0.25, 0.5, &report, &err), err);
    options.schedule = constant(amb_level_above(0.5));
    assert_ok(check(&options, 0.25, 0.5, &report, &err), err);
    options.schedule = constant(0);
    assert_ok(check(&options, 0.25, 0.5, &report, &err), err);          /* s < sigma_max */
    assert_int_equal(check(&options, 0, 0, &report, &err), AMB_ERR_GAP); /* s > 0 only */
    options.schedule = (struct amb_schedule){.kind = AMB_SCHEDULE_TABLE, .n_table = 3, .p = {0, 0.005, 1}, .level = {0.25, 0.25, 2}};
    assert_ok(check(&options, 0.25, 0.25, &report, &err), err);
    assert_true(report.gap_mass == 0.005);
}

static void check_never_inside(const struct amb_stream_options *options, double lo, double hi) {
    static struct amb_draw draws[20000];
    struct amb_state at = {0};
    struct amb_sampler *sampler;
    struct test_set set;
    size_t n;

    set_init(&set, lo, hi);
    sampler = test_sampler(&set, options, NULL);
    assert_int_equal(amb_sampler_draw(draws, &n, sampler, &at, 20000), 0);
    for (size_t i = 0; i < n; i++) {
        assert_true(draws[i].s < (float)lo || draws[i].s > (float)hi);
        assert_int_equal(draws[i].i_sample, draws[i].s < (float)lo ? 0 : 1);
    }
    amb_sampler_free(sampler);
    test_set_deinit(&set);
}

TEST(no_draw_lies_on_the_edge_of_a_gap) {
    /* Schedules whose rounding, atoms or ends meet the gap's ends exactly. An atom that is cut out leaves the rest. */
    struct amb_stream_options options = AMB_STREAM_OPTIONS_DEFAULT;

    for (unsigned p = 0; p < 2; p++) {
        options.policy = (enum amb_policy)p;
        options.schedule = (struct amb_schedule){.kind = AMB_SCHEDULE_TABLE, .n_table = 3, .p = {0, 0.008, 1}, .level = {0.25, 0.25, 2}};
        check_never_inside(&options, 0.25, 0.25);
        options.schedule = (struct amb_schedule){.kind = AMB_SCHEDULE_TABLE, .n_table = 3, .p = {0, 0.992, 1}, .level = {0.125, 0.25, 0.25}};
        check_never_inside(&options, 0.25, 0.25);
        check_never_inside(&options, 0.25, INFINITY);
        options.schedule = (struct amb_schedule){.kind = AMB_SCHEDULE_UNIFORM, .a = 0.25, .b = 0.25 + 1e-13};
        check_never_inside(&options, 0, 0.25);
        options.schedule = (struct amb_schedule){.kind = AMB_SCHEDULE_UNIFORM, .a = 0.25 - 1e-13, .b = 0.25};
        check_never_inside(&options, 0.25, INFINITY);
        options.schedule = (struct amb_schedule){.kind = AMB_SCHEDULE_LOGNORMAL, .a = -1.2, .b = 1.2};
        check_never_inside(&options, 0.3, 0.305);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(more_than_one_percent_is_refused_by_name),
    cmocka_unit_test(ends_of_the_axis_can_be_missing),
    cmocka_unit_test(levels_with_mass_of_their_own_are_counted),
    cmocka_unit_test(no_draw_lies_on_the_edge_of_a_gap),
};

TEST_MAIN(tests)
