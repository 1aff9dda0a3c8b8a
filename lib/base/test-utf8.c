#include "base/test.h"

#include "base/utf8.h"

/* Every code point, encoded by hand as RFC 3629 says, and cut short in every way. */
TEST(every_code_point_is_a_character_and_cut_short_it_is_none) {
    for (uint32_t c = 0; c < 0x110000; c += test_stride()) {
        size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
        char text[4] = {(char)c};

        for (size_t i = 1; i < n; i++) {
            text[i] = (char)(0x80 | (c >> 6 * (n - 1 - i) & 0x3F));
        }
        if (n > 1) {
            text[0] = (char)((0xF00u >> n & 0xFF) | c >> 6 * (n - 1));
        }
        assert_int_equal(amb_utf8_peek(text, 4), c >= 0xD800 && c < 0xE000 ? 0 : n);
        for (size_t bytes = 0; bytes < n; bytes++) {
            assert_int_equal(amb_utf8_peek(text, bytes), 0);
        }
    }
}

TEST(what_no_code_point_encodes_to_is_no_character) {
    static const char *const wrong[] = {"\x80", "\xbf", "\xc0\xaf", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf",
                                        "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "\xc3(", "\xe2\x82(", "\xf0\x9f\x90("};

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(amb_utf8_peek(wrong[i], strlen(wrong[i])), 0);
    }
}

static void check(size_t out_bytes, const char *text, size_t bytes, const char *want) {
    char out[64];

    amb_utf8_store(out, out_bytes, text, bytes);
    assert_string_equal(out, want);
}

#define NONE "\xef\xbf\xbd"

TEST(stored_text_is_whole_where_it_fits) {
    check(1, "", 0, "");
    check(64, "a\"\n\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\xb8", 12, "a\"\n\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\xb8");
    check(4, "abc", 3, "abc");
}

TEST(what_is_no_character_is_replaced_byte_by_byte) {
    check(64, "x\xff\xfey", 4, "x" NONE NONE "y");
    check(64, "a\0b", 3, "a" NONE "b");
    check(64, "\xe2\x82", 2, NONE NONE);
}

/* Room for n bytes and the end, for every n: the longest run of whole characters that fits. */
TEST(text_is_cut_between_characters) {
    static const char *const whole[] = {"", "a", "a", "a\xc3\xa4", "a\xc3\xa4", "a\xc3\xa4", "a\xc3\xa4\xe2\x82\xac",
                                        "a\xc3\xa4\xe2\x82\xac", "a\xc3\xa4\xe2\x82\xac", ("a\xc3\xa4\xe2\x82\xac" NONE)};

    for (size_t n = 0; n < sizeof whole / sizeof whole[0]; n++) {
        check(n + 1, "a\xc3\xa4\xe2\x82\xac\xff", 7, whole[n]);
    }
}

TEST(nothing_that_commands_a_terminal_is_left) {
    char text[] = "a\x1b[2J\x7f\xc2\x9bz\t\n\xc3\x84\xc2\xa0\xc2";

    amb_utf8_tame(text);
    assert_string_equal(text, "a?[2J???z\t\n\xc3\x84\xc2\xa0\xc2");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(every_code_point_is_a_character_and_cut_short_it_is_none),
    cmocka_unit_test(what_no_code_point_encodes_to_is_no_character),
    cmocka_unit_test(stored_text_is_whole_where_it_fits),
    cmocka_unit_test(what_is_no_character_is_replaced_byte_by_byte),
    cmocka_unit_test(text_is_cut_between_characters),
    cmocka_unit_test(nothing_that_commands_a_terminal_is_left),
};

TEST_MAIN(tests)
