#include "sampler/sampler.h"

#include "sampler/test-set.h"

enum { N_DRAWS = 1000000, STEP = 4096, N_BINS = 200 };

static void draw_all(struct amb_draw *draws, const struct amb_sampler *sampler, struct amb_state *at, size_t n_draws) {
    for (size_t i = 0, n = 0; i < n_draws; i += n) {
        size_t n_step = n_draws - i < STEP ? n_draws - i : STEP;

        assert_int_equal(amb_sampler_draw(draws + i, &n, sampler, at, n_step), 0);
        assert_int_equal(n, n_step);
    }
}

/* Draws by their probability under the schedule, in bins of equal mass over the admitted part: chi^2 of N_BINS. */
static double chi2_of_levels(const struct amb_draw *draws, size_t n, const struct amb_stream_options *options, double gap_lo,
                             double gap_hi, double mass) {
    double u_lo = mass > 0 ? amb_schedule_cdf(&options->schedule, options->process, gap_lo) : 1, chi2 = 0;
    double expect = (double)n / N_BINS;
    uint32_t bins[N_BINS] = {0};

    for (size_t i = 0; i < n; i++) {
        double u = amb_schedule_cdf(&options->schedule, options->process, draws[i].s);
        long bin;

        if (u > u_lo) {
            assert_true(draws[i].s > gap_hi);
            u -= mass;
        }
        bin = (long)(u / (1 - mass) * N_BINS);
        bins[bin < 0 ? 0 : bin >= N_BINS ? N_BINS - 1 : bin]++;
    }
    for (unsigned i = 0; i < N_BINS; i++) {
        chi2 += pow(bins[i] - expect, 2) / expect;
    }
    return chi2;
}

static const struct use {
    struct amb_schedule schedule;
    enum amb_process process;
} uses[] = {
    {{.kind = AMB_SCHEDULE_LOGNORMAL, .scale = AMB_SCALE_S, .a = -1.2, .b = 1.2}, AMB_PROCESS_VE},
    {{.kind = AMB_SCHEDULE_LOGIT_NORMAL, .scale = AMB_SCALE_T, .a = 0, .b = 1}, AMB_PROCESS_FLOW},
    {{.kind = AMB_SCHEDULE_UNIFORM, .scale = AMB_SCALE_T, .a = 0, .b = 1}, AMB_PROCESS_VP},
    {{.kind = AMB_SCHEDULE_LOGUNIFORM, .scale = AMB_SCALE_S, .a = 0.01, .b = 10}, AMB_PROCESS_VE},
    {{.kind = AMB_SCHEDULE_TABLE, .scale = AMB_SCALE_S, .n_table = 3, .p = {0, 0.3, 1}, .level = {0.1, 0.5, 4}}, AMB_PROCESS_VE},
};

TEST(levels_follow_the_schedule) {
    /* 10^6 draws of each schedule, `pass` and `uniform` in turn: chi^2 of 200 bins of equal mass; and every pair by the
     * rule, word for word. */
    struct amb_draw *draws = calloc(N_DRAWS, sizeof *draws);

    for (unsigned c = 0; c < sizeof uses / sizeof *uses; c++) {
        struct amb_stream_options options = AMB_STREAM_OPTIONS_DEFAULT;
        struct amb_state at = {0};
        struct amb_sampler *sampler;
        struct test_set set;
        double chi2;

        options.seed = c;
        options.schedule = uses[c].schedule;
        options.process = uses[c].process;
        options.policy = (enum amb_policy)(c % 2);
        test_set_init(&set, test_values_mixed(4000, 7), 4000, NULL, 0, 1);
        sampler = test_sampler(&set, &options, NULL);
        draw_all(draws, sampler, &at, N_DRAWS);
        chi2 = chi2_of_levels(draws, N_DRAWS, &options, 0, 0, 0);
        printf("schedule %u: chi^2 %.1f of %d degrees\n", c, chi2, N_BINS - 1);
        assert_true(chi2 < test_chi2_limit(N_BINS - 1));
        for (size_t i = 0; i < N_DRAWS; i++) {
            assert_true(test_admits(set.annotations->values[draws[i].i_sample], 1, draws[i].s));
        }
        amb_sampler_free(sampler);
        test_set_deinit(&set);
    }
    free(draws);
}

TEST(truncation_conditions_on_what_is_admitted) {
    /* A gap with 0.85 % of the mass in the middle: no draw in it, chi^2 of the rest against the conditioned schedule. The
     * same for a gap at the low end, as a fully classified set has it. */
    static const struct {
        double lo, hi;
    } gaps[] = {{0.300, 0.308}, {0, 0.016}};
    struct amb_draw *draws = calloc(N_DRAWS, sizeof *draws);

    for (unsigned c = 0; c < 2; c++) {
        struct amb_stream_options options = AMB_STREAM_OPTIONS_DEFAULT;
        struct amb_annotation *values = test_values(10);
        struct amb_sampler_report report;
        struct amb_state at = {0};
        struct amb_sampler *sampler;
        struct test_set set;
        double chi2, mass;

        for (unsigned i = 0; i < 10; i++) {
            values[i] = i < 5 ? (struct amb_annotation){INFINITY, (float)gaps[c].lo} : (struct amb_annotation){(float)gaps[c].hi, 0};
        }
        test_set_init(&set, values, 10, NULL, 0, 1);
        options.policy = (enum amb_policy)c;
        sampler = test_sampler(&set, &options, &report);
        mass = 0.5 * erfc(-(log((float)gaps[c].hi) + 1.2) / 1.2 / sqrt(2)) -
               (gaps[c].lo > 0 ? 0.5 * erfc(-(log((float)gaps[c].lo) + 1.2) / 1.2 / sqrt(2)) : 0);
        assert_true(report.gap_lo == (float)gaps[c].lo && report.gap_hi == (float)gaps[c].hi);
        assert_true(fabs(report.gap_mass - mass) < 1e-12 && mass > 0.0003 && mass < 0.01);
        draw_all(draws, sampler, &at, N_DRAWS);
        for (size_t i = 0; i < N_DRAWS; i++) {
            assert_true(draws[i].s < report.gap_lo || draws[i].s > report.gap_hi);
            assert_true(test_admits(set.annotations->values[draws[i].i_sample], 1, draws[i].s));
        }
        chi2 = chi2_of_levels(draws, N_DRAWS, &options, report.gap_lo, report.gap_hi, report.gap_mass);
        printf("gap [%g, %g] of mass %.4f: chi^2 %.1f of %d degrees\n", report.gap_lo, report.gap_hi, report.gap_mass, chi2,
               N_BINS - 1);
        assert_true(chi2 < test_chi2_limit(N_BINS - 1));
        amb_sampler_free(sampler);
        test_set_deinit(&set);
    }
    free(draws);
}

/* Expected uses of each sample given the levels, weighted by repeat; and their variance if draws are independent. */
static void expect_uses(double *expect, double *variance, const struct test_set *set, const struct amb_draw *draws,
                        size_t n_draws) {
    uint32_t n = set->annotations->n_samples;
    double *weights = calloc(n, sizeof *weights);

    for (size_t j = 0; j < set->n_sources; j++) {
        for (uint32_t i = 0; i < set->sources[j].count; i++) {
            weights[set->sources[j].first + i] = set->sources[j].repeat;
        }
    }
    for (size_t d = 0; d < n_draws; d++) {
        double total = 0;

        for (uint32_t i = 0; i < n; i++) {
            total += test_admits(set->annotations->values[i], set->buffer, draws[d].s) ? weights[i] : 0;
        }
        for (uint32_t i = 0; i < n; i++) {
            double p = test_admits(set->annotations->values[i], set->buffer, draws[d].s) ? weights[i] / total : 0;

            expect[i] += p;
            variance[i] += p * (1 - p);
        }
    }
    free(weights);
}

TEST(uniform_is_uniform_over_the_admissible) {
    /* 10^6 draws over 60 samples in three sources of weights 1, 2.5 and 0.3: each sample's uses against the sum of its
     * shares at the levels drawn; chi^2 of 60, too small as well as too large. */
    enum { N = 60 };
    struct amb_orders_source sources[] = {{0, 20, 1}, {20, 20, 2.5}, {40, 20, 0.3}};
    struct amb_stream_options options = AMB_STREAM_OPTIONS_DEFAULT;
    struct amb_draw *draws = calloc(N_DRAWS, sizeof *draws);
    double expect[N] = {0}, variance[N] = {0}, chi2 = 0;
    uint32_t counts[N] = {0};
    struct amb_annotation *values = test_values_mixed(N, 3);
    struct amb_state at = {0};
    struct amb_sampler *sampler;
    struct test_set set;

    values[5] = AMB_ANNOTATION_EVERYWHERE;
    test_set_init(&set, values, N, sources, 3, 1);
    options.policy = AMB_POLICY_UNIFORM;
    sampler = test_sampler(&set, &options, NULL);
    draw_all(draws, sampler, &at, N_DRAWS);
    expect_uses(expect, variance, &set, draws, N_DRAWS);
    for (size_t i = 0; i < N_DRAWS; i++) {
        counts[draws[i].i_sample]++;
    }
    for (unsigned i = 0; i < N; i++) {
        chi2 += variance[i] > 0 ? pow(counts[i] - expect[i], 2) / variance[i] : 0;
    }
    printf("uniform over 60 weighted samples: chi^2 %.1f\n", chi2);
    assert_true(chi2 > 20 && chi2 < test_chi2_limit(N));
    amb_sampler_free(sampler);
    test_set_deinit(&set);
    free(draws);
}

static int level_compare(const void *a, const void *b) {
    return *(const double *)a < *(const double *)b ? -1 : *(const double *)a > *(const double *)b;
}

/* Number of sorted levels <= x. */
static size_t level_rank(const double *levels, size_t n, double x) {
    size_t lo = 0, hi = n;

    while (lo < hi) {
        size_t middle = lo + (hi - lo) / 2;

        if (levels[middle] <= x) {
            lo = middle + 1;
        } else {
            hi = middle;
        }
    }
    return lo;
}

/* expect_uses for equal weights and many samples: sums of 1/N(s) over sorted levels, N by amb_orders_count. */
static void expect_uses_fast(double *expect, double *variance, const struct test_set *set, const struct amb_draw *draws,
                             size_t n_draws) {
    double *levels = calloc(n_draws, sizeof *levels), *p = calloc(n_draws + 1, sizeof *p), *pq = calloc(n_draws + 1, sizeof *pq);

    for (size_t d = 0; d < n_draws; d++) {
        levels[d] = draws[d].s;
    }
    qsort(levels, n_draws, sizeof *levels, level_compare);
    for (size_t d = 0; d < n_draws; d++) {
        double share = 1 / (double)amb_orders_count(set->orders, SIZE_MAX, levels[d]);

        p[d + 1] = p[d] + share;
        pq[d + 1] = pq[d] + share * (1 - share);
    }
    for (uint32_t i = 0; i < set->annotations->n_samples; i++) {
        double m = (double)set->annotations->values[i].sigma_min, top = (double)set->annotations->values[i].sigma_max;
        size_t above = top > m ? 0 : level_rank(levels, n_draws, m), below = top > m ? 0 : level_rank(levels, n_draws, top);

        expect[i] = p[n_draws] - p[above] + p[below];
        variance[i] = pq[n_draws] - pq[above] + pq[below];
    }
    free(levels);
    free(p);
    free(pq);
}

/* Samples that admit every level come once in each pass of each interval: finished passes, or one more. */
static void check_equal_use(const struct test_set *set, const struct amb_draw *draws, size_t n_draws,
                            const struct amb_state *at) {
    uint32_t n = set->annotations->n_samples;
    uint32_t *counts = calloc((size_t)AMB_INTERVALS_MAX * n, sizeof *counts);

    for (size_t d = 0; d < n_draws; d++) {
        counts[amb_intervals_find(&set->orders->intervals, draws[d].s) * n + draws[d].i_sample]++;
    }
    for (uint32_t k = 0; k < at->n_cursors; k++) {
        for (uint32_t i = 0; i < n; i++) {
            if (set->annotations->values[i].sigma_max > set->annotations->values[i].sigma_min) {
                assert_in_range(counts[(size_t)k * n + i], at->cursors[k].pass, at->cursors[k].pass + 1);
            }
        }
    }
    free(counts);
}

TEST(passes_use_samples_equally) {
    /* DESIGN's simulation: 4,000 samples, 10 % clean, some with a sigma_max, 400,000 EDM draws. Within each interval the
     * clean samples come exactly once a pass; over all, uses are unbiased in every tenth of the samples by threshold, and
     * vary far less than those of independent draws. */
    enum { N = 4000, N_PASS_DRAWS = 400000 };
    struct amb_stream_options options = AMB_STREAM_OPTIONS_DEFAULT;
    struct amb_draw *draws = calloc(N_PASS_DRAWS, sizeof *draws);
    double *expect = calloc(N, sizeof *expect), *variance = calloc(N, sizeof *variance), ratio = 0, bias = 0;
    uint32_t *counts = calloc(N, sizeof *counts);
    double group_found[11] = {0}, group_expect[11] = {0};
    struct amb_state at = {0};
    struct amb_sampler *sampler;
    uint64_t n_walked = 0;
    struct test_set set;

    test_set_init(&set, test_values_mixed(N, 1), N, NULL, 0, 1);
    sampler = test_sampler(&set, &options, NULL);
    draw_all(draws, sampler, &at, N_PASS_DRAWS);
    check_equal_use(&set, draws, N_PASS_DRAWS, &at);
    expect_uses_fast(expect, variance, &set, draws, N_PASS_DRAWS);
    for (size_t d = 0; d < N_PASS_DRAWS; d++) {
        counts[draws[d].i_sample]++;
    }
    for (uint32_t i = 0; i < N; i++) {
        double m = (double)set.annotations->values[i].sigma_min;
        unsigned group = m == 0 ? 0 : 1 + (unsigned)fmin(9, log(m / 0.1) / log(50) * 10);

        ratio += pow(counts[i] - expect[i], 2) / variance[i] / N;
        group_found[group] += counts[i];
        group_expect[group] += expect[i];
    }
    for (unsigned g = 0; g < 11; g++) {
        double error = fabs(group_found[g] - group_expect[g]);

        bias = fmax(bias, error / group_expect[g]);
        assert_true(error < 3.5 * sqrt(group_expect[g])); /* in standard deviations of independent draws */
    }
    for (uint32_t k = 0; k < at.n_cursors; k++) {
        n_walked += at.cursors[k].pass * set.orders->intervals.n_places[k] + at.cursors[k].position;
    }
    printf("%u intervals, %.3f entries a draw, largest bias of a group %.4f %%, variance %.3f of independent draws'\n",
           at.n_cursors, (double)n_walked / N_PASS_DRAWS, 100 * bias, ratio);
    assert_in_range(at.n_cursors, 3, 6);
    assert_true((double)n_walked / N_PASS_DRAWS < 1.7);
    assert_true(ratio < 0.35);
    amb_sampler_free(sampler);
    test_set_deinit(&set);
    free(draws);
    free(expect);
    free(variance);
    free(counts);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(levels_follow_the_schedule),
    cmocka_unit_test(truncation_conditions_on_what_is_admitted),
    cmocka_unit_test(uniform_is_uniform_over_the_admissible),
    cmocka_unit_test(passes_use_samples_equally),
};

TEST_MAIN(tests)
