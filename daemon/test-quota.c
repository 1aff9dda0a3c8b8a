/* Shared memory is charged to the byte, in all and by uid. */
#include "base/test.h"
#include "daemon/quota.h"

TEST(limit_of_all_bites_one_byte_past_it) {
    static struct ambd_quota quota;
    struct amb_error err = AMB_ERROR_NULL;
    uint64_t n_refused;

    ambd_quota_init(&quota, 1000, 0);
    assert_ok(ambd_quota_acquire(&quota, 1, 400, &err), err);
    assert_int_equal(ambd_quota_acquire(&quota, 2, 601, &err), AMB_ERR_QUOTA);
    assert_non_null(strstr(err.message, "601"));
    assert_ok(ambd_quota_acquire(&quota, 2, 600, &err), err);
    assert_int_equal(ambd_quota_acquire(&quota, 3, 1, &err), AMB_ERR_QUOTA);
    ambd_quota_release(&quota, 1, 400);
    assert_ok(ambd_quota_acquire(&quota, 3, 399, &err), err);
    assert_int_equal(ambd_quota_get(&quota, &n_refused), 999);
    assert_int_equal(n_refused, 2);
    assert_int_equal(ambd_quota_acquire(&quota, 3, UINT64_MAX, &err), AMB_ERR_QUOTA);
}

TEST(limit_of_a_uid_is_its_own) {
    static struct ambd_quota quota;
    struct amb_error err = AMB_ERROR_NULL;

    ambd_quota_init(&quota, 1000, 300);
    assert_ok(ambd_quota_acquire(&quota, 1, 299, &err), err);
    assert_int_equal(ambd_quota_acquire(&quota, 1, 2, &err), AMB_ERR_QUOTA);
    assert_ok(ambd_quota_acquire(&quota, 1, 1, &err), err);
    assert_ok(ambd_quota_acquire(&quota, 2, 300, &err), err);
    assert_int_equal(ambd_quota_acquire(&quota, 2, 1, &err), AMB_ERR_QUOTA);
    ambd_quota_release(&quota, 2, 300);
    assert_ok(ambd_quota_acquire(&quota, 2, 300, &err), err);
}

TEST(more_uids_than_rows_are_still_counted) {
    /* The last row is shared: nobody gets memory for nothing, and all of it comes back. */
    static struct ambd_quota quota;
    struct amb_error err = AMB_ERROR_NULL;
    uint64_t n_refused;

    ambd_quota_init(&quota, 100000, 0);
    for (uid_t uid = 0; uid < 2 * AMBD_QUOTA_UIDS_MAX; uid++) {
        assert_ok(ambd_quota_acquire(&quota, uid, 10, &err), err);
    }
    assert_int_equal(ambd_quota_get(&quota, &n_refused), 20 * AMBD_QUOTA_UIDS_MAX);
    for (uid_t uid = 0; uid < 2 * AMBD_QUOTA_UIDS_MAX; uid++) {
        ambd_quota_release(&quota, uid, 10);
    }
    assert_int_equal(ambd_quota_get(&quota, &n_refused), 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(limit_of_all_bites_one_byte_past_it),
    cmocka_unit_test(limit_of_a_uid_is_its_own),
    cmocka_unit_test(more_uids_than_rows_are_still_counted),
};

TEST_MAIN(tests)
