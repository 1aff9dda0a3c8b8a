#include "base/test.h"

#include <math.h>

#include "annotate/fake-catalog.h"
#include "annotate/ledger.h"
#include "base/alloc.h"

static const struct fake_sample samples[] = {
    {"main", "a", "a.png", AMB_LABEL_NONE},
    {"main", "b", "b.png", AMB_LABEL_NONE},
    {"main2", "a", "a.png", AMB_LABEL_NONE},
};

/* Source main: usable everywhere; main2: not before it is annotated. */
static struct amb_ledger *ledger_new(void) {
    const struct amb_annotation defaults[] = {AMB_ANNOTATION_EVERYWHERE, AMB_ANNOTATION_NOWHERE};
    struct amb_catalog *cat = fake_catalog_new(samples, 3);
    struct amb_ledger *ledger = NULL;
    struct amb_error err = AMB_ERROR_NULL;

    assert_ok(amb_ledger_new(&ledger, cat, defaults, &err), err);
    assert_ptr_equal(amb_ledger_peek_catalog(ledger), cat);
    amb_catalog_unref(cat); /* the ledger keeps its own */
    return ledger;
}

static void assert_value(const struct amb_ledger *ledger, uint32_t i, float sigma_min, enum amb_origin min_origin,
                         float sigma_max, enum amb_origin max_origin) {
    enum amb_origin got_min, got_max;
    struct amb_annotation value = amb_ledger_get(&got_min, &got_max, ledger, i);

    if (value.sigma_min != sigma_min || value.sigma_max != sigma_max || got_min != min_origin ||
        got_max != max_origin) {
        fail_msg("sample %u: (%g %s, %g %s), expected (%g %s, %g %s)", i, (double)value.sigma_min,
                 amb_origin_name(got_min), (double)value.sigma_max, amb_origin_name(got_max), (double)sigma_min,
                 amb_origin_name(min_origin), (double)sigma_max, amb_origin_name(max_origin));
    }
}

TEST(source_default_holds_until_a_side_is_set) {
    struct amb_ledger *ledger = ledger_new();

    assert_value(ledger, 0, 0, AMB_ORIGIN_DEFAULT, INFINITY, AMB_ORIGIN_DEFAULT);
    assert_value(ledger, 2, INFINITY, AMB_ORIGIN_DEFAULT, 0, AMB_ORIGIN_DEFAULT);
    amb_ledger_free(ledger);
    assert_null(amb_ledger_free(NULL));
}

/* A classifier's record is (sigma_min, 0), a crops record (inf, sigma_max), both together both. */
TEST(side_that_nobody_sets_is_closed) {
    struct amb_ledger *ledger = ledger_new();

    amb_ledger_put(ledger, 0, AMB_ORIGIN_CLASSIFIER, AMB_SIDE_MIN, (struct amb_annotation){0.5f, NAN});
    assert_value(ledger, 0, 0.5f, AMB_ORIGIN_CLASSIFIER, 0, AMB_ORIGIN_DEFAULT);
    amb_ledger_put(ledger, 1, AMB_ORIGIN_CROPS, AMB_SIDE_MAX, (struct amb_annotation){NAN, 0.2f});
    assert_value(ledger, 1, INFINITY, AMB_ORIGIN_DEFAULT, 0.2f, AMB_ORIGIN_CROPS);
    amb_ledger_put(ledger, 0, AMB_ORIGIN_CROPS, AMB_SIDE_MAX, (struct amb_annotation){NAN, 0.2f});
    assert_value(ledger, 0, 0.5f, AMB_ORIGIN_CLASSIFIER, 0.2f, AMB_ORIGIN_CROPS);
    amb_ledger_free(ledger);
}

/* Every ordered pair of origins on one side: the second wins unless its rank is lower. */
TEST(rank_decides_and_equals_are_settled_by_the_later) {
    static const int rank[AMB_ORIGIN_N] = {
        [AMB_ORIGIN_SCORE] = 1, [AMB_ORIGIN_CROPS] = 1, [AMB_ORIGIN_CLASSIFIER] = 1,
        [AMB_ORIGIN_IMPORT] = 2, [AMB_ORIGIN_FIXED] = 3,
    };

    for (int first = AMB_ORIGIN_SCORE; first < AMB_ORIGIN_N; first++) {
        for (int second = AMB_ORIGIN_SCORE; second < AMB_ORIGIN_N; second++) {
            struct amb_ledger *ledger = ledger_new();
            bool wins = rank[second] >= rank[first];

            amb_ledger_put(ledger, 2, (enum amb_origin)first, AMB_SIDE_BOTH, (struct amb_annotation){1, 2});
            amb_ledger_put(ledger, 2, (enum amb_origin)second, AMB_SIDE_MAX, (struct amb_annotation){3, 4});
            assert_value(ledger, 2, 1, (enum amb_origin)first, wins ? 4 : 2, (enum amb_origin)(wins ? second : first));
            amb_ledger_put(ledger, 2, (enum amb_origin)second, AMB_SIDE_MIN, (struct amb_annotation){3, 4});
            assert_value(ledger, 2, wins ? 3 : 1, (enum amb_origin)(wins ? second : first), wins ? 4 : 2,
                         (enum amb_origin)(wins ? second : first));
            amb_ledger_free(ledger);
        }
    }
}

TEST(sides_are_counted_by_origin) {
    struct amb_ledger *ledger = ledger_new();
    uint64_t min_counts[AMB_ORIGIN_N], max_counts[AMB_ORIGIN_N];

    amb_ledger_put(ledger, 0, AMB_ORIGIN_IMPORT, AMB_SIDE_MIN, (struct amb_annotation){1, 0});
    amb_ledger_put(ledger, 1, AMB_ORIGIN_FIXED, AMB_SIDE_BOTH, (struct amb_annotation){1, 0});
    amb_ledger_count(min_counts, max_counts, ledger);
    assert_int_equal(min_counts[AMB_ORIGIN_DEFAULT], 1);
    assert_int_equal(min_counts[AMB_ORIGIN_IMPORT], 1);
    assert_int_equal(min_counts[AMB_ORIGIN_FIXED], 1);
    assert_int_equal(max_counts[AMB_ORIGIN_DEFAULT], 2);
    assert_int_equal(max_counts[AMB_ORIGIN_FIXED], 1);
    amb_ledger_free(ledger);
}

TEST(minted_generation_is_a_copy) {
    struct amb_ledger *ledger = ledger_new();
    struct amb_annotations *one = NULL, *two = NULL, *three = NULL;
    struct amb_error err = AMB_ERROR_NULL;

    amb_ledger_put(ledger, 1, AMB_ORIGIN_IMPORT, AMB_SIDE_MIN, (struct amb_annotation){-0.0f, 0});
    assert_ok(amb_ledger_mint(&one, ledger, 1, &err), err);
    assert_int_equal(one->n_samples, 3);
    assert_int_equal(one->n_set, 1);
    assert_false(signbit(one->values[1].sigma_min)); /* one zero, one fingerprint */
    assert_true(one->values[0].sigma_min == 0 && isinf(one->values[0].sigma_max));
    assert_true(one->values[1].sigma_min == 0 && one->values[1].sigma_max == 0);
    assert_true(isinf(one->values[2].sigma_min) && one->values[2].sigma_max == 0);
    assert_ok(amb_ledger_mint(&two, ledger, 2, &err), err);
    assert_true(amb_hash128_equal(&one->fingerprint, &two->fingerprint));
    amb_ledger_put(ledger, 1, AMB_ORIGIN_IMPORT, AMB_SIDE_MIN, (struct amb_annotation){0.25f, 0});
    assert_ok(amb_ledger_mint(&three, ledger, 3, &err), err);
    assert_false(amb_hash128_equal(&one->fingerprint, &three->fingerprint));
    assert_true(one->values[1].sigma_min == 0);
    amb_ledger_free(ledger);
    amb_annotations_unref(one);
    amb_annotations_unref(two);
    amb_annotations_unref(three);
}

TEST(impossible_default_is_refused_with_its_source) {
    const struct amb_annotation defaults[] = {AMB_ANNOTATION_EVERYWHERE, {NAN, 0}};
    struct amb_catalog *cat = fake_catalog_new(samples, 3);
    struct amb_ledger *ledger = NULL;
    struct amb_error err = AMB_ERROR_NULL;

    assert_int_equal(amb_ledger_new(&ledger, cat, defaults, &err), AMB_ERR_CONFIG);
    assert_non_null(strstr(err.message, "main2"));
    amb_catalog_unref(cat);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(source_default_holds_until_a_side_is_set),
    cmocka_unit_test(side_that_nobody_sets_is_closed),
    cmocka_unit_test(rank_decides_and_equals_are_settled_by_the_later),
    cmocka_unit_test(sides_are_counted_by_origin),
    cmocka_unit_test(minted_generation_is_a_copy),
    cmocka_unit_test(impossible_default_is_refused_with_its_source),
};

TEST_MAIN(tests)
