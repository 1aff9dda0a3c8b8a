#include "base/test.h"

#include <pthread.h>

#include "batch/quarantine.h"

#define N_SAMPLES 20000u
#define N_THREADS 4u

TEST(first_reason_stays) {
    struct amb_quarantine *quarantine;
    struct amb_quarantine_row row;
    struct amb_error err = AMB_ERROR_NULL;

    assert_ok(amb_quarantine_new(&quarantine, 100, &err), err);
    assert_int_equal(amb_quarantine_peek(quarantine, 99), 0);
    assert_int_equal(amb_quarantine_put(quarantine, 99, &(struct amb_error){AMB_ERR_FORMAT, "first"}), 1);
    assert_int_equal(amb_quarantine_put(quarantine, 99, &(struct amb_error){AMB_ERR_LIMIT, "second"}), 0);
    assert_int_equal(amb_quarantine_put(quarantine, 0, &(struct amb_error){AMB_ERR_LIMIT, "third"}), 1);
    assert_int_equal(amb_quarantine_peek(quarantine, 99), 1);
    assert_int_equal(amb_quarantine_peek(quarantine, 98), 0);
    assert_int_equal(amb_quarantine_count(quarantine), 2);
    assert_int_equal(amb_quarantine_get(&row, quarantine, 0), 0);
    assert_int_equal(row.i_sample, 99);
    assert_int_equal(row.code, AMB_ERR_FORMAT);
    assert_string_equal(row.reason, "first");
    assert_int_equal(amb_quarantine_get(&row, quarantine, 1), 0);
    assert_string_equal(row.reason, "third");
    assert_int_equal(amb_quarantine_get(&row, quarantine, 2), AMB_QUARANTINE_E_END);
    amb_quarantine_free(quarantine);
}

static void *put_all(void *opaque) {
    struct amb_quarantine *quarantine = opaque;
    uintptr_t n_new = 0;

    for (uint32_t i = 0; i < N_SAMPLES; i++) {
        struct amb_error why = {AMB_ERR_FORMAT, ""};

        snprintf(why.message, sizeof why.message, "sample %u", i);
        n_new += (uintptr_t)amb_quarantine_put(quarantine, i, &why);
        if (amb_quarantine_peek(quarantine, i) != 1) {
            return NULL;
        }
    }
    return (void *)n_new;
}

/* Threads race over all samples: each is new for exactly one of them, and every row can be read, those behind
 * the limit of reasons without one. */
TEST(racing_reports_count_once) {
    struct amb_quarantine *quarantine;
    struct amb_error err = AMB_ERROR_NULL;
    pthread_t threads[N_THREADS];
    uintptr_t n_new = 0;

    assert_ok(amb_quarantine_new(&quarantine, N_SAMPLES, &err), err);
    for (unsigned i = 0; i < N_THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, put_all, quarantine), 0);
    }
    for (unsigned i = 0; i < N_THREADS; i++) {
        void *n;

        pthread_join(threads[i], &n);
        n_new += (uintptr_t)n;
    }
    assert_int_equal(n_new, N_SAMPLES);
    assert_int_equal(amb_quarantine_count(quarantine), N_SAMPLES);
    for (uint32_t i = 0; i < N_SAMPLES; i++) {
        struct amb_quarantine_row row;
        char expected[32];

        assert_int_equal(amb_quarantine_get(&row, quarantine, i), 0);
        snprintf(expected, sizeof expected, "sample %u", row.i_sample);
        assert_string_equal(row.reason, i < AMB_QUARANTINE_REASONS_MAX
                                            ? expected
                                            : "(reason not kept: too many bad samples)");
    }
    amb_quarantine_free(quarantine);
}

/* Of many rows of two codes one code goes: the others keep their order and reasons, those behind the limit none; what went
 * can come back. */
TEST(what_is_forgotten_is_good_again) {
    struct amb_quarantine *quarantine;
    struct amb_quarantine_row row;
    struct amb_error err = AMB_ERROR_NULL, why = AMB_ERROR_NULL;

    assert_ok(amb_quarantine_new(&quarantine, N_SAMPLES, &err), err);
    for (uint32_t i = 0; i < N_SAMPLES; i++) {
        why.code = i % 3 == 0 ? AMB_ERR_CHANGED : AMB_ERR_FORMAT;
        snprintf(why.message, sizeof why.message, "sample %u", i);
        amb_quarantine_put(quarantine, i, &why);
    }
    amb_quarantine_forget(quarantine, AMB_ERR_LIMIT);
    assert_int_equal(amb_quarantine_count(quarantine), N_SAMPLES);
    amb_quarantine_forget(quarantine, AMB_ERR_CHANGED);
    assert_int_equal(amb_quarantine_count(quarantine), N_SAMPLES - (N_SAMPLES + 2) / 3);
    for (uint32_t i = 0, n = 0; i < N_SAMPLES; i++) {
        assert_int_equal(amb_quarantine_peek(quarantine, i), i % 3 != 0);
        if (i % 3 == 0) {
            continue;
        }
        assert_int_equal(amb_quarantine_get(&row, quarantine, n++), 0);
        assert_int_equal(row.i_sample, i);
        assert_int_equal(row.code, AMB_ERR_FORMAT);
        snprintf(why.message, sizeof why.message, "sample %u", i);
        assert_string_equal(row.reason, i < AMB_QUARANTINE_REASONS_MAX ? why.message : "(reason not kept: too many bad samples)");
    }
    assert_int_equal(amb_quarantine_put(quarantine, 3, &(struct amb_error){AMB_ERR_CHANGED, "again"}), 1);
    assert_int_equal(amb_quarantine_peek(quarantine, 3), 1);
    assert_int_equal(amb_quarantine_get(&row, quarantine, amb_quarantine_count(quarantine) - 1), 0);
    assert_string_equal(row.reason, "again");
    amb_quarantine_free(quarantine);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(first_reason_stays),
    cmocka_unit_test(what_is_forgotten_is_good_again),
    cmocka_unit_test(racing_reports_count_once),
};

TEST_MAIN(tests)
