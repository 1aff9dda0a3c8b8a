/* Foreign bytes as JSON: always UTF-8, what is UTF-8 unchanged. */
#include "base/test.h"
#include "daemon/text.h"

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

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(utf8_stays_and_the_rest_is_replaced_byte_by_byte),
};

TEST_MAIN(tests)
