/* Foreign bytes as JSON: always UTF-8, what is UTF-8 unchanged. */
#include "base/test.h"

#include "base/alloc.h"
#include "daemon/text.h"
#include "proto/json.h"

static void check(const char *bytes, size_t n, const char *want) {
    cJSON *json = cJSON_CreateObject();

    ambd_json_add_text(json, "k", bytes, n);
    assert_string_equal(cJSON_GetObjectItemCaseSensitive(json, "k")->valuestring, want);
    cJSON_Delete(json);
}

TEST(utf8_stays_and_the_rest_is_replaced_byte_by_byte) {
    check("a\"\\/\n", 5, "a\"\\/\n");
    check("\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\xb8", 9, "\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\xb8");
    check("x\xff"
          "y",
          3,
          "x\xef\xbf\xbd"
          "y");
    check("\xc3", 1, "\xef\xbf\xbd");                                 /* cut short */
    check("\xc0\xaf", 2, "\xef\xbf\xbd\xef\xbf\xbd");                 /* overlong */
    check("\xed\xa0\x80", 3, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"); /* half a surrogate pair */
    check("\xf4\x90\x80\x80", 4, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    check("a\0b", 3,
          "a\xef\xbf\xbd"
          "b");
    check("", 0, "");
}

/* Paths in every byte but NUL, beside what looks like one that was encoded, come back as they were. */
TEST(strings_that_are_no_utf8_come_back) {
    cJSON *json = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(json, "list"), *back = NULL;
    char bytes[256] = "", *text;

    for (int i = 1; i < 256; i++) {
        bytes[i - 1] = (char)i;
    }
    cJSON_AddItemToArray(list, cJSON_CreateString("caf\xc3\xa9"));
    cJSON_AddItemToArray(list, cJSON_CreateString("caf\xe9"));
    cJSON_AddItemToArray(list, cJSON_CreateString(bytes));
    cJSON_AddNumberToObject(cJSON_AddObjectToObject(json, "x"), "hex", 1);
    cJSON_AddStringToObject(cJSON_AddObjectToObject(json, "y"), "hex", "abc");
    back = cJSON_Duplicate(json, true);
    ambd_json_encode_strings(json);
    text = ambd_json_print(json);
    assert_non_null(strstr(text, "[\"caf\xc3\xa9\",{\"hex\":\"636166e9\"},{\"hex\":\"0102"));
    assert_int_equal(ambp_json_decode(&json, text, strlen(text), AMBP_JSON_DEPTH_MAX, NULL), 0);
    ambd_json_decode_strings(json);
    assert_true(cJSON_Compare(json, back, true));
    cJSON_free(text);
    cJSON_Delete(json);
    cJSON_Delete(back);
}

/* A tree with a dozen allocations; each fails in turn: the text is whole, or there is none. */
TEST(what_has_holes_is_not_printed) {
    static const char whole[] = "{\"a\":\"x\",\"list\":[1,\"two\"],\"inner\":{\"b\":\"y\"}}";
    unsigned n_holes = 0;

    ambp_json_init();
    for (uint64_t n = 1; n < 40; n++) {
        cJSON *json, *list, *inner;
        char *text;

        amb_alloc_fail(n, false);
        json = cJSON_CreateObject();
        ambd_json_add_string(json, "a", "x");
        list = cJSON_AddArrayToObject(json, "list");
        ambp_json_add_item(list, NULL, cJSON_CreateNumber(1));
        ambd_json_add_text(list, NULL, "two", 3);
        inner = cJSON_CreateObject();
        ambd_json_add_string(inner, "b", "y");
        ambp_json_add_item(json, "inner", inner);
        text = ambd_json_print(json);
        amb_alloc_fail(0, false);
        assert_true(text == NULL || strcmp(text, whole) == 0);
        n_holes += text == NULL;
        cJSON_free(text);
    }
    assert_in_range(n_holes, 12, 30);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(what_has_holes_is_not_printed),
    cmocka_unit_test(strings_that_are_no_utf8_come_back),
    cmocka_unit_test(utf8_stays_and_the_rest_is_replaced_byte_by_byte),
};

TEST_MAIN(tests)
