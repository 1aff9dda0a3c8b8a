#include "sampler/orders.h"

#include "sampler/level.h"
#include "sampler/rank.h"
#include "sampler/test-set.h"

/* Levels that matter: every threshold, its neighbours on both sides, ends, and some between. */
struct levels {
    double *s;
    size_t n;
};

static void levels_push(struct levels *levels, double s) {
    levels->s[levels->n++] = s;
}

static struct levels levels_of(const struct test_set *set, uint32_t n, uint32_t stride, uint64_t seed) {
    struct levels levels = {malloc((8 * (size_t)(n / stride + 1) + 64) * sizeof(double)), 0};

    levels_push(&levels, 0);
    levels_push(&levels, -0.0);
    levels_push(&levels, 5e-324);
    levels_push(&levels, INFINITY);
    for (uint32_t i = 0; i < n; i += stride) {
        struct amb_annotation value = set->annotations->values[i];
        double thresholds[] = {(double)value.sigma_min * set->buffer + 0.0, (double)value.sigma_max + 0.0}; /* no -0 */

        for (int j = 0; j < 2; j++) {
            levels_push(&levels, thresholds[j]);
            if (isfinite(thresholds[j])) {
                levels_push(&levels, amb_level_above(thresholds[j]));
            }
            if (thresholds[j] > 0) {
                levels_push(&levels, amb_level_below(thresholds[j]));
            }
        }
        levels_push(&levels, exp(20 * test_real(&seed) - 10));
    }
    return levels;
}

static uint64_t brute_count(const struct test_set *set, size_t i_source, double s) {
    uint64_t n = 0;

    for (uint32_t i = 0; i < set->sources[i_source].count; i++) {
        n += test_admits(set->annotations->values[set->sources[i_source].first + i], set->buffer, s);
    }
    return n;
}

static void check_counts(const struct test_set *set, uint32_t n, uint32_t stride) {
    struct levels levels = levels_of(set, n, stride, 9);

    for (size_t i = 0; i < levels.n; i++) {
        uint64_t sum = 0;

        for (size_t j = 0; j < set->n_sources; j++) {
            uint64_t expect = brute_count(set, j, levels.s[i]), found = amb_orders_count(set->orders, j, levels.s[i]);

            if (expect != found) {
                fail_msg("source %zu at s = %.17g: %llu, expected %llu", j, levels.s[i], (unsigned long long)found,
                         (unsigned long long)expect);
            }
            sum += expect;
        }
        assert_int_equal(amb_orders_count(set->orders, SIZE_MAX, levels.s[i]), sum);
    }
    free(levels.s);
}

/* A value of every kind, with many ties and every special number. */
static struct amb_annotation odd_value(uint64_t *random) {
    static const float specials[] = {0, -0.0f, 1e-45f, 1e-38f, 0.5f, 1, 2, 80, 3.4028235e38f, INFINITY};
    struct amb_annotation value;
    uint64_t kind = test_random(random) % 4;

    value.sigma_min = kind < 2 ? specials[test_random(random) % 10] : (float)exp(6 * test_real(random) - 3);
    value.sigma_max = kind % 2 == 0 ? specials[test_random(random) % 10] : (float)exp(6 * test_real(random) - 3);
    return value;
}

TEST(counts_equal_the_rule_word_for_word) {
    /* Sets of values of every kind, with and without a buffer, in one source and in several with holes between them:
     * amb_orders_count against test_admits over all samples, at every threshold and its neighbours. */
    static const double buffers[] = {1, 1.0000001, 1.25, 3};

    for (unsigned c = 0; c < 24; c += test_stride()) {
        uint32_t n = 5 + c * 13;
        struct amb_orders_source sources[] = {{0, n / 3, 1}, {n / 3 + 1, n / 4, 2.5}, {n - 1, 1, 0.25}, {n / 2 + 2, 0, 1}};
        struct amb_annotation *values = test_values(n);
        uint64_t random = c;
        struct test_set set;

        for (uint32_t i = 0; i < n; i++) {
            values[i] = odd_value(&random);
        }
        test_set_init(&set, values, n, c % 2 ? sources : NULL, 4, buffers[c % 4]);
        check_counts(&set, n, 1);
        test_set_deinit(&set);
    }
}

TEST(counts_hold_where_the_ladder_is_coarse) {
    /* More entries than the ladder has keys: searches end in the words and the annotations. Half of the thresholds lie
     * in one cluster beside far outliers, so that the spare bits of a word cannot tell them apart; a part is tied. */
    const uint32_t n = 2500000;
    struct amb_annotation *values = test_values(n);
    uint64_t random = 3;
    struct test_set set;

    for (uint32_t i = 0; i < n; i++) {
        double u = test_real(&random);

        if (u < 0.5) {
            values[i].sigma_min = (float)(1 + 1e-3 * test_real(&random));
        } else if (u < 0.9) {
            values[i].sigma_min = (float)exp(120 * test_real(&random) - 60);
        } else {
            values[i].sigma_min = (float)(0.25 * (double)(test_random(&random) % 64));
        }
        values[i].sigma_max = values[i].sigma_min * (float)test_real(&random);
    }
    test_set_init(&set, values, n, NULL, 0, 1);
    assert_true(set.orders->parts[0].lists[0].ladder.shift > 0 && set.orders->parts[0].lists[1].ladder.shift > 0);
    check_counts(&set, n, n / 24);
    test_set_deinit(&set);
}

TEST(lists_are_sorted_and_ties_come_by_number) {
    /* List 1 by m, list 2 by falling sigma_max, equal keys by sample number; every sample in the lists that it should
     * be in: checked entry by entry against the values. */
    const uint32_t n = 20000;
    struct amb_annotation *values = test_values(n);
    uint64_t random = 4, n_listed = 0, n_expect = 0;
    struct test_set set;

    for (uint32_t i = 0; i < n; i++) {
        values[i] = odd_value(&random);
        n_expect += values[i].sigma_max > values[i].sigma_min
                        ? 1
                        : (uint64_t)(isfinite(values[i].sigma_min) != 0) + (uint64_t)(values[i].sigma_max > 0);
    }
    test_set_init(&set, values, n, NULL, 0, 1);
    for (unsigned w = 0; w < AMB_ORDERS_N; w++) {
        const struct amb_orders_list *list = &set.orders->parts[0].lists[w];

        for (uint32_t i = 1; i < list->n; i++) {
            uint32_t before = list->words[i - 1] & set.orders->id_mask, here = list->words[i] & set.orders->id_mask;
            struct amb_annotation a = values[before], b = values[here];
            double x = a.sigma_max > a.sigma_min ? -1 : (double)a.sigma_min, y = b.sigma_max > b.sigma_min ? -1 : (double)b.sigma_min;

            if (w == AMB_ORDERS_BY_MAX) {
                x = -(double)a.sigma_max;
                y = -(double)b.sigma_max;
            }
            assert_true(x < y || (x == y && before < here));
        }
        n_listed += list->n;
    }
    assert_int_equal(n_listed, n_expect);
    test_set_deinit(&set);
}

static void check_gap(struct amb_annotation *values, uint32_t n, int expect, double expect_lo, double expect_hi) {
    double lo = -1, hi = -1;
    struct test_set set;
    int r;

    test_set_init(&set, values, n, NULL, 0, 1);
    r = amb_orders_gap(&lo, &hi, set.orders);
    assert_int_equal(r, expect);
    if (r != 0) {
        assert_true(lo == expect_lo && hi == expect_hi);
        assert_int_equal(amb_orders_count(set.orders, SIZE_MAX, lo), 0);
        assert_int_equal(amb_orders_count(set.orders, SIZE_MAX, hi), 0);
        assert_true(lo == 0 || amb_orders_count(set.orders, SIZE_MAX, amb_level_below(lo)) > 0);
        assert_true(isinf(hi) || amb_orders_count(set.orders, SIZE_MAX, amb_level_above(hi)) > 0);
    }
    test_set_deinit(&set);
}

static struct amb_annotation *two_values(struct amb_annotation a, struct amb_annotation b) {
    struct amb_annotation *values = test_values(2);

    values[0] = a;
    values[1] = b;
    return values;
}

TEST(the_gap_is_what_no_sample_admits) {
    /* By hand, with both closed ends counted: inside nothing, one step outside something. */
    struct amb_annotation nowhere = AMB_ANNOTATION_NOWHERE, everywhere = AMB_ANNOTATION_EVERYWHERE;

    check_gap(two_values(nowhere, everywhere), 2, 0, 0, 0);
    check_gap(two_values(nowhere, nowhere), 2, 1, 0, INFINITY);
    check_gap(two_values((struct amb_annotation){0.5f, 0}, (struct amb_annotation){0.75f, 0.25f}), 2, 1, 0.25, 0.5);
    check_gap(two_values((struct amb_annotation){0.5f, 0}, (struct amb_annotation){INFINITY, 0.5f}), 2, 1, 0.5, 0.5);
    check_gap(two_values((struct amb_annotation){0.5f, 0}, (struct amb_annotation){INFINITY, 0.75f}), 2, 0, 0, 0);
    check_gap(two_values((struct amb_annotation){INFINITY, 2}, nowhere), 2, 1, 2, INFINITY);
    check_gap(two_values((struct amb_annotation){0, 0}, nowhere), 2, 0, 0, 0); /* only s = 0 is shut out */
    check_gap(test_values(0), 0, 1, 0, INFINITY);
}

static void interval_weights(const struct test_set *set, double lo, double last, double s, double *domain, double *admitted) {
    *domain = *admitted = 0;
    for (size_t j = 0; j < set->n_sources; j++) {
        for (uint32_t i = 0; i < set->sources[j].count; i++) {
            struct amb_annotation value = set->annotations->values[set->sources[j].first + i];
            double m = (double)value.sigma_min * set->buffer, top = (double)value.sigma_max;
            bool everywhere = top > m;
            int n = everywhere ? 1 : (last > m) + (lo < top);

            *domain += n * set->sources[j].repeat;
            *admitted += test_admits(value, set->buffer, s) ? set->sources[j].repeat : 0;
        }
    }
}

static void check_intervals(const struct test_set *set, uint32_t n) {
    const struct amb_intervals *intervals = &set->orders->intervals;
    struct levels levels = levels_of(set, n, 1, 11);

    assert_true(intervals->n >= 1 && intervals->n <= AMB_INTERVALS_MAX && intervals->edges[0] == 0);
    assert_true(isinf(intervals->lasts[intervals->n - 1]));
    for (uint32_t i = 0; i + 1 < intervals->n; i++) {
        assert_true(intervals->edges[i] < intervals->edges[i + 1]);
        assert_true(amb_level_above(intervals->lasts[i]) == intervals->edges[i + 1]);
    }
    for (size_t j = 0; j < levels.n; j++) {
        uint32_t i = amb_intervals_find(intervals, levels.s[j]);
        double domain, admitted;

        assert_true(intervals->edges[i] <= levels.s[j] && levels.s[j] <= intervals->lasts[i]);
        interval_weights(set, intervals->edges[i], intervals->lasts[i], levels.s[j], &domain, &admitted);
        if (2 * admitted < domain) {
            fail_msg("s = %.17g in [%g, %g]: %g of %g admitted", levels.s[j], intervals->edges[i], intervals->lasts[i],
                     admitted, domain);
        }
    }
    free(levels.s);
}

TEST(half_of_each_interval_is_admissible_at_every_level) {
    /* The property that bounds a walk, at every threshold and both neighbours of it, by brute force: sets with many ties,
     * with both sides, with sources of very different weight, and thresholds spread so that counts double again and
     * again. */
    for (unsigned c = 0; c < 30; c += test_stride()) {
        uint32_t n = 20 + 17 * c;
        struct amb_orders_source sources[] = {{0, n / 3, 1}, {n / 3, n / 3, 2.5}, {2 * (n / 3), n / 3, 0.125}};
        struct amb_annotation *values = test_values(n);
        uint64_t random = 100 + c;
        struct test_set set;

        for (uint32_t i = 0; i < n; i++) {
            float m = c % 3 == 0 ? (float)(0.25 * (double)(test_random(&random) % 8)) : (float)exp(10 * test_real(&random) - 5);

            values[i] = c % 3 == 1 ? odd_value(&random) : (struct amb_annotation){m, m * (float)(test_random(&random) % 3) / 2};
        }
        test_set_init(&set, values, n, c % 2 ? sources : NULL, 3, c % 5 == 0 ? 1.5 : 1);
        check_intervals(&set, n);
        test_set_deinit(&set);
    }
}

TEST(repeats_far_apart_end_in_64_intervals) {
    /* Seven sources of 16 samples and one of 65,536, each 16 times as heavy as the one before: the weight in list 1 doubles
     * some 40 times and the weight in list 2 halves as often. The 64th interval is the rest. */
    const uint32_t n = 7 * 16 + 65536;
    struct amb_annotation *values = test_values(n);
    struct amb_orders_source sources[8];
    struct test_set set;

    for (uint32_t j = 0; j < 8; j++) {
        sources[j] = (struct amb_orders_source){j * 16, j < 7 ? 16 : 65536, ldexp(1, 4 * (int)j - 19)};
    }
    for (uint32_t k = 0; k < n; k++) {
        values[k] = (struct amb_annotation){(float)(1000 + k), 1 / (float)(1 + k)};
    }
    test_set_init(&set, values, n, sources, 8, 1);
    assert_int_equal(set.orders->intervals.n, AMB_INTERVALS_MAX);
    assert_true(set.orders->intervals.edges[63] > 1000 && isinf(set.orders->intervals.lasts[63]));
    test_set_deinit(&set);
}

TEST(bad_repeats_are_refused) {
    static const double bad[] = {0, -1, 1e-7, 1024.5, NAN, INFINITY};
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_annotations *annotations;
    struct amb_orders *orders;

    assert_ok(amb_annotations_new(&annotations, test_values(3), 3, 0, 1, &err), err);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct amb_orders_source source = {0, 3, bad[i]};

        assert_int_equal(amb_orders_new(&orders, annotations, &source, 1, 1, &err), AMB_ERR_CONFIG);
        assert_non_null(strstr(err.message, "allowed"));
    }
    assert_int_equal(annotations->n_refs, 1);
    amb_annotations_unref(annotations);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(counts_equal_the_rule_word_for_word),
    cmocka_unit_test(counts_hold_where_the_ladder_is_coarse),
    cmocka_unit_test(lists_are_sorted_and_ties_come_by_number),
    cmocka_unit_test(the_gap_is_what_no_sample_admits),
    cmocka_unit_test(half_of_each_interval_is_admissible_at_every_level),
    cmocka_unit_test(repeats_far_apart_end_in_64_intervals),
    cmocka_unit_test(bad_repeats_are_refused),
};

TEST_MAIN(tests)
