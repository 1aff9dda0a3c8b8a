#include "base/test.h"

#include <errno.h>

#include "base/error.h"

TEST(fail_returns_the_code_and_keeps_the_message) {
    struct amb_error err = AMB_ERROR_NULL;

    assert_int_equal(amb_fail(&err, AMB_ERR_GAP, "%d sigmas", 3), AMB_ERR_GAP);
    assert_int_equal(err.code, AMB_ERR_GAP);
    assert_string_equal(err.message, "3 sigmas");
    assert_int_equal(amb_fail(NULL, -EIO, "nobody listens"), -EIO);
}

/* A message longer than the struct is cut, never overrun: the last byte stays the terminator. */
TEST(long_message_is_cut) {
    struct amb_error err = AMB_ERROR_NULL;

    amb_fail(&err, -EIO, "%0*d", 2 * AMB_ERROR_MESSAGE_BYTES, 7);
    assert_int_equal(strlen(err.message), AMB_ERROR_MESSAGE_BYTES - 1);
}

TEST(every_code_has_a_name) {
    for (int code = AMB_ERR_FORMAT; code >= AMB_ERR_BUSY; code--) {
        assert_string_not_equal(amb_error_name(code), "unknown");
    }
    assert_string_equal(amb_error_name(-ENOSPC), "ENOSPC");
    assert_string_equal(amb_error_name(-123456), "unknown");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(fail_returns_the_code_and_keeps_the_message),
    cmocka_unit_test(long_message_is_cut),
    cmocka_unit_test(every_code_has_a_name),
};

TEST_MAIN(tests)
