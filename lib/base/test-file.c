#include "base/test.h"

#include <errno.h>

#include "base/cleanup.h"
#include "base/file.h"

/* Less than a buffer, so that only the flush meets the full device; and more, so that an earlier write met it. */
TEST(full_device_is_told_with_the_name) {
    static const char line[] = "all work and no play makes a full disk\n";

    for (size_t n_lines = 1; n_lines <= 1000; n_lines *= 1000) {
        AMB_CLEANUP(amb_file_closep) FILE *file = fopen("/dev/full", "w");
        struct amb_error err = AMB_ERROR_NULL;

        assert_non_null(file);
        for (size_t i = 0; i < n_lines; i++) {
            fputs(line, file);
        }
        assert_int_equal(amb_file_flush(file, "list.txt", &err), -ENOSPC);
        assert_string_equal(err.message, "cannot write list.txt: No space left on device");
    }
}

/* Without a buffer nothing is left to flush: the flag is all that remains of the error. */
TEST(error_of_an_earlier_write_counts) {
    AMB_CLEANUP(amb_file_closep) FILE *file = fopen("/dev/full", "w");
    struct amb_error err = AMB_ERROR_NULL;

    assert_non_null(file);
    setvbuf(file, NULL, _IONBF, 0);
    assert_int_equal(fputs("x", file), EOF);
    assert_int_equal(amb_file_flush(file, "x", &err), -EIO);
    assert_string_equal(err.message, "cannot write x: an earlier write failed");
}

TEST(what_arrived_is_no_error) {
    AMB_CLEANUP(amb_file_closep) FILE *file = tmpfile();

    assert_non_null(file);
    fputs("x", file);
    assert_int_equal(amb_file_flush(file, "x", NULL), 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(full_device_is_told_with_the_name),
    cmocka_unit_test(error_of_an_earlier_write_counts),
    cmocka_unit_test(what_arrived_is_no_error),
};

TEST_MAIN(tests)
