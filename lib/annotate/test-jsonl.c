#include "base/test.h"

#include <errno.h>
#include <unistd.h>

#include "annotate/jsonl.h"

static char path[] = "/tmp/test-jsonl-XXXXXX";

static void jsonl_of(struct amb_jsonl *jsonl, const char *text, size_t bytes) {
    struct amb_error err = AMB_ERROR_NULL;
    int fd;

    strcpy(path + sizeof path - 7, "XXXXXX");
    fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, bytes), (ssize_t)bytes);
    close(fd);
    assert_ok(amb_jsonl_init(jsonl, path, &err), err);
    unlink(path);
}

static void assert_pop(struct amb_jsonl *jsonl, const char *expected, uint64_t i_line) {
    struct amb_error err = AMB_ERROR_NULL;
    const char *line = NULL;
    size_t bytes = 0;

    assert_ok(amb_jsonl_pop(&line, &bytes, jsonl, &err), err);
    assert_int_equal(bytes, strlen(expected));
    assert_memory_equal(line, expected, bytes);
    assert_int_equal(jsonl->i_line, i_line);
}

static void assert_end(struct amb_jsonl *jsonl) {
    struct amb_error err = AMB_ERROR_NULL;
    const char *line;
    size_t bytes;

    assert_int_equal(amb_jsonl_pop(&line, &bytes, jsonl, &err), AMB_JSONL_E_END);
    amb_jsonl_deinit(jsonl);
    amb_jsonl_deinit(jsonl);
}

TEST(marks_ends_and_blank_lines_are_taken_off) {
    static const char text[] = "\xef\xbb\xbf{1}\r\n\n \t\r\n{2}\n{\xef\xbb\xbf}\n\n{3}";
    struct amb_jsonl jsonl = AMB_JSONL_NULL;

    jsonl_of(&jsonl, text, sizeof text - 1);
    assert_pop(&jsonl, "{1}", 1);
    assert_pop(&jsonl, "{2}", 4);
    assert_pop(&jsonl, "{\xef\xbb\xbf}", 5); /* a mark only begins a file */
    assert_pop(&jsonl, "{3}", 7);
    assert_end(&jsonl);
}

TEST(empty_files_have_no_line) {
    struct amb_jsonl jsonl = AMB_JSONL_NULL;

    jsonl_of(&jsonl, "", 0);
    assert_end(&jsonl);
    jsonl_of(&jsonl, "\n\n", 2);
    assert_end(&jsonl);
    jsonl_of(&jsonl, "\xef\xbb\xbf", 3);
    assert_end(&jsonl);
}

/* Lines of every length around the chunk of the reader (1 MiB) come out whole. */
TEST(lines_across_chunks_stay_whole) {
    const size_t bytes = 5u << 20;
    char *text = malloc(bytes);
    struct amb_jsonl jsonl = AMB_JSONL_NULL;
    struct amb_error err = AMB_ERROR_NULL;
    size_t at = 0, length = 1;

    assert_non_null(text);
    for (size_t i = 0; i < bytes; i++) {
        text[i] = (char)('a' + i % 23);
    }
    for (; at + length < bytes; length = length * 3 + 1) {
        at += length;
        text[at++] = '\n';
    }
    jsonl_of(&jsonl, text, bytes);
    for (size_t from = 0; from < bytes;) {
        const char *end = memchr(text + from, '\n', bytes - from), *line;
        size_t expected = end != NULL ? (size_t)(end - text) - from : bytes - from, n;

        assert_ok(amb_jsonl_pop(&line, &n, &jsonl, &err), err);
        assert_int_equal(n, expected);
        assert_memory_equal(line, text + from, n);
        from += n + 1;
    }
    assert_end(&jsonl);
    free(text);
}

/* At the limit and one past it, with and without an end. */
TEST(line_length_is_limited) {
    static const struct {
        const char *text;
        int expected;
    } rows[] = {{"12345678\n", 0}, {"12345678", 0}, {"123456789\n", AMB_ERR_LIMIT}, {"123456789", AMB_ERR_LIMIT}};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct amb_jsonl jsonl = AMB_JSONL_NULL;
        struct amb_error err = AMB_ERROR_NULL;
        const char *line;
        size_t bytes;

        jsonl_of(&jsonl, rows[i].text, strlen(rows[i].text));
        jsonl.line_bytes_max = 8;
        assert_int_equal(amb_jsonl_pop(&line, &bytes, &jsonl, &err), rows[i].expected);
        assert_true(rows[i].expected == 0 || strstr(err.message, "line 1: longer than 8 bytes") != NULL);
        amb_jsonl_deinit(&jsonl);
    }
}

TEST(absent_files_and_folders_are_named) {
    struct amb_jsonl jsonl = AMB_JSONL_NULL;
    struct amb_error err = AMB_ERROR_NULL;

    assert_int_equal(amb_jsonl_init(&jsonl, "/nowhere/a.jsonl", &err), -ENOENT);
    assert_non_null(strstr(err.message, "/nowhere/a.jsonl"));
    assert_int_equal(amb_jsonl_init(&jsonl, "/tmp", &err), AMB_ERR_FORMAT);
    assert_non_null(strstr(err.message, "/tmp"));
    amb_jsonl_deinit(&jsonl);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(marks_ends_and_blank_lines_are_taken_off),
    cmocka_unit_test(empty_files_have_no_line),
    cmocka_unit_test(lines_across_chunks_stay_whole),
    cmocka_unit_test(line_length_is_limited),
    cmocka_unit_test(absent_files_and_folders_are_named),
};

TEST_MAIN(tests)
