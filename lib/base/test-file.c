#include "base/test.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

static char folder[] = "/tmp/test-file-XXXXXX";
static char path[64];

static void put(const char *text, size_t bytes) {
    FILE *file = fopen(path, "we");

    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
}

static void begin(void) {
    strcpy(folder + sizeof folder - 7, "XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/a", folder);
}

static void end(void) {
    unlink(path);
    assert_int_equal(rmdir(folder), 0);
}

static void assert_refused(const char *what, const char *found) {
    struct amb_error err = AMB_ERROR_NULL;
    int fd = -1;

    assert_int_equal(amb_file_open(&fd, what, &err), AMB_ERR_FORMAT);
    assert_int_equal(fd, -1);
    assert_non_null(strstr(err.message, what));
    assert_non_null(strstr(err.message, found));
    assert_non_null(strstr(err.message, "regular file"));
}

/* Nobody writes into the pipe: a call that waited for one would end the test by its time. */
TEST(what_is_no_file_is_named_and_not_waited_for) {
    struct amb_error err = AMB_ERROR_NULL;
    int fd = -1;

    begin();
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_refused(path, "a pipe");
    assert_refused(folder, "a folder");
    assert_refused("/dev/zero", "a device");
    unlink(path);
    assert_int_equal(amb_file_open(&fd, path, &err), -ENOENT);
    assert_non_null(strstr(err.message, path));
    end();
}

TEST(a_file_comes_whole_and_ends_with_a_zero) {
    static char text[200000];
    struct amb_buf buf = AMB_BUF_NULL;
    struct amb_error err = AMB_ERROR_NULL;

    begin();
    for (size_t i = 0; i < sizeof text; i++) {
        text[i] = (char)(i % 251);
    }
    put(text, sizeof text);
    assert_ok(amb_file_load(&buf, path, sizeof text, &err), err);
    assert_int_equal(buf.n_bytes, sizeof text);
    assert_memory_equal(buf.data, text, sizeof text);
    assert_int_equal(buf.data[buf.n_bytes], 0);
    assert_int_equal(amb_file_load(&buf, path, sizeof text - 1, &err), AMB_ERR_LIMIT);
    put("", 0);
    assert_ok(amb_file_load(&buf, path, 0, &err), err);
    assert_int_equal(buf.n_bytes, 0);
    assert_int_equal(buf.data[0], 0);
    amb_buf_deinit(&buf);
    end();
}

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
    cmocka_unit_test(what_is_no_file_is_named_and_not_waited_for),
    cmocka_unit_test(a_file_comes_whole_and_ends_with_a_zero),
    cmocka_unit_test(full_device_is_told_with_the_name),
    cmocka_unit_test(error_of_an_earlier_write_counts),
    cmocka_unit_test(what_arrived_is_no_error),
};

TEST_MAIN(tests)
