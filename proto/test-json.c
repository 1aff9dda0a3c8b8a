#include "base/test.h"

#include <math.h>

#include "base/cleanup.h"
#include "proto/json.h"

TEST(errors_have_line_and_column) {
    struct amb_error err = AMB_ERROR_NULL;
    cJSON *json = NULL;
    const char *text = "{\n  \"a\": 1,\n  \"b\": nope\n}";

    assert_int_equal(ambp_json_decode(&json, text, strlen(text), 16, &err), AMB_ERR_FORMAT);
    assert_non_null(strstr(err.message, "line 3"));
    text = "{\"a\": 1} x";
    assert_int_equal(ambp_json_decode(&json, text, strlen(text), 16, &err), AMB_ERR_FORMAT);
    assert_non_null(strstr(err.message, "column 10"));
    text = "{\"a\": [1, 2";
    assert_int_equal(ambp_json_decode(&json, text, strlen(text), 16, &err), AMB_ERR_FORMAT);
    assert_int_equal(ambp_json_decode(&json, "", 0, 16, &err), AMB_ERR_FORMAT);
}

/* limit - 1, limit, limit + 1; brackets inside strings do not count. */
TEST(depth_is_bounded) {
    char text[64];
    struct amb_error err = AMB_ERROR_NULL;

    for (int depth = 15; depth <= 17; depth++) {
        AMB_CLEANUP(ambp_json_deletep) cJSON *json = NULL;

        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        assert_int_equal(ambp_json_decode(&json, text, 2 * (size_t)depth, 16, &err), depth <= 16 ? 0 : AMB_ERR_LIMIT);
    }
    AMB_CLEANUP(ambp_json_deletep) cJSON *json = NULL;
    const char *quoted = "[\"[[[[[[\\\"[[[[[[[[[[[[[[\"]";
    assert_ok(ambp_json_decode(&json, quoted, strlen(quoted), 2, &err), err);
}

static int decode(const char *text, size_t bytes) {
    AMB_CLEANUP(ambp_json_deletep) cJSON *json = NULL;
    struct amb_error err = AMB_ERROR_NULL;

    return ambp_json_decode(&json, text, bytes, 16, &err);
}

TEST(what_only_cjson_takes_is_refused) {
    /* Each of these cJSON 1.7.15 reads without a word, the strings as shorter ones; Python's json takes the last two. */
    static const char *const bad[] = {
        "[01]",       "[1.]",     "[-.5]",     "[1.e5]",     "[\"\\u12g4\"]",         "[\"\n\"]",        "[\v1]",
        "[\"\x01\"]", "[\"\xff\"]", "[\"\xc0\xaf\"]", "[\"\xed\xa0\x80\"]", "[\"\xf4\x90\x80\x80\"]", "[\"\xe2\x82\"]",
        "{\"seed\\u0000x\": 1}",
        "[1000000000000000000000000000000000000000000000000000000000000000]",
    };
    static const char *const good[] = {
        "0",      "-0.5e+10", " [ ] ", "{}", "\"\\ud83d\\ude00\\/\"", "\"\xe2\x82\xac \xf0\x9f\x98\x80 \x7f\"", "\xef\xbb\xbf{\"a\": [null, true]}",
        "[100000000000000000000000000000000000000000000000000000000000000]",
    };

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(decode(bad[i], strlen(bad[i])), AMB_ERR_FORMAT);
    }
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(decode(good[i], strlen(good[i])), 0);
    }
    assert_int_equal(decode("[1]\0", 4), AMB_ERR_FORMAT);
    assert_int_equal(decode("[1\0]", 4), AMB_ERR_FORMAT);
}

TEST(fields_are_typed) {
    AMB_CLEANUP(ambp_json_deletep) cJSON *json = NULL;
    struct amb_error err = AMB_ERROR_NULL;
    const char *text = "{\"n\": 7, \"big\": \"18446744073709551615\", \"inf\": \"inf\", \"f\": 0.5, \"s\": \"x\", "
                       "\"z\": null, \"t\": true}";
    uint64_t n = 0;
    double f = 0;
    bool b = false;
    const char *s = NULL;

    assert_ok(ambp_json_decode(&json, text, strlen(text), 16, &err), err);
    assert_ok(ambp_json_get_u64(&n, json, "n", 1, 7, true, &err), err);
    assert_int_equal(n, 7);
    assert_int_equal(ambp_json_get_u64(&n, json, "n", 1, 6, true, &err), AMB_ERR_CONFIG);
    assert_string_equal(err.message, "'n' is 7, allowed: an integer from 1 to 6");
    assert_int_equal(ambp_json_get_u64(&n, json, "n", 8, 9, true, &err), AMB_ERR_CONFIG);
    assert_ok(ambp_json_get_u64(&n, json, "big", 0, UINT64_MAX, true, &err), err);
    assert_true(n == UINT64_MAX);
    assert_int_equal(ambp_json_get_u64(&n, json, "f", 0, 9, true, &err), AMB_ERR_CONFIG);
    assert_ok(ambp_json_get_f64(&f, json, "inf", true, &err), err);
    assert_true(isinf(f));
    assert_ok(ambp_json_get_bool(&b, json, "t", true, &err), err);
    assert_true(b);
    assert_ok(ambp_json_get_string(&s, json, "z", false, &err), err);
    assert_null(s);
    assert_int_equal(ambp_json_get_string(&s, json, "z", true, &err), AMB_ERR_CONFIG);
    assert_int_equal(ambp_json_get_string(&s, json, "n", true, &err), AMB_ERR_CONFIG);
}

TEST(unknown_and_repeated_keys_are_refused) {
    static const char *const known[] = {"seed", "policy"};
    AMB_CLEANUP(ambp_json_deletep) cJSON *json = NULL, *twice = NULL;
    struct amb_error err = AMB_ERROR_NULL;

    assert_ok(ambp_json_decode(&json, "{\"polcy\": 1}", 12, 16, &err), err);
    assert_int_equal(ambp_json_check_keys(json, "options", known, 2, &err), AMB_ERR_CONFIG);
    assert_string_equal(err.message, "options: unknown key 'polcy', did you mean 'policy'?");
    assert_ok(ambp_json_decode(&twice, "{\"seed\": 1, \"seed\": 2}", 22, 16, &err), err);
    assert_int_equal(ambp_json_check_keys(twice, "options", known, 2, &err), AMB_ERR_CONFIG);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(errors_have_line_and_column),
    cmocka_unit_test(depth_is_bounded),
    cmocka_unit_test(what_only_cjson_takes_is_refused),
    cmocka_unit_test(fields_are_typed),
    cmocka_unit_test(unknown_and_repeated_keys_are_refused),
};

TEST_MAIN(tests)
