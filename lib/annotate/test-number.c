#include "base/test.h"

#include <stdbool.h>

#include "annotate/number.h"

static void assert_number(const char *text, bool readable, size_t bytes) {
    const char *p = text;
    double value = -1;

    if (amb_number_decode(&value, &p, text + strlen(text)) != readable || p != text + (readable ? bytes : 0)) {
        fail_msg("'%s': read %zu bytes, value %.17g", text, (size_t)(p - text), value);
    }
    if (readable) {
        double expected = strtod(text, NULL);

        if (memcmp(&value, &expected, sizeof value) != 0) {
            fail_msg("'%s': %.17g, expected %.17g", text, value, expected);
        }
    }
}

TEST(grammar_is_that_of_json) {
    static const char *const bad[] = {"", "-", "+1", ".5", "1.", "01", "-01", "1.e5", "1e", "1e+", "--1", "e5",
                                      "NaN", "inf", "1e999", "-1e400"};
    static const struct {
        const char *text;
        size_t bytes;
    } good[] = {{"0", 1}, {"-0", 2}, {"-0.0", 4}, {"0.5,", 3}, {"1e5]", 3}, {"1E+5 ", 4}, {"12.25e-2x", 8}, {"10", 2}};

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_number(bad[i], false, 0);
    }
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_number(good[i].text, true, good[i].bytes);
    }
}

/* Where the short way must hand over: around 2^53, 19 digits, 10^22, subnormals, the largest f64. */
TEST(borders_of_the_short_way_are_exact) {
    static const char *const texts[] = {
        "9007199254740992", "9007199254740993", "9007199254740994.5", "1e22", "1e23", "9007199254740992e22",
        "123456789012345678", "1234567890123456789", "12345678901234567890", "0.1234567890123456789012345678901234567890",
        "1e-22", "1e-23", "4.9e-324", "2.4e-324", "2.2250738585072011e-308", "1.7976931348623157e308", "0e99999",
        "0.0000000000000000000000000000000000000001", "18446744073709551616", "18446744073709551616000", "0e-30",
        "1000000000000000000000000000000000000000e-39", "1e-99999",
    };

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_number(texts[i], true, strlen(texts[i]));
    }
}

/* A million random texts of 1 to 21 digits, with and without point and exponent, against strtod, bit by bit. */
TEST(random_numbers_equal_those_of_strtod) {
    uint64_t random = 88172645463325252u; /* xorshift; the seed is fixed */

    for (unsigned i = 0; i < 1000000; i += test_stride()) {
        char text[64];
        int n;

        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        n = snprintf(text, sizeof text, "%s%u.%llu", random & 1 ? "-" : "", (unsigned)(random >> 8 & 15),
                     (unsigned long long)(random >> (random >> 4 & 63)));
        if (random & 2) {
            snprintf(text + n, sizeof text - (size_t)n, "e%d", (int)(random >> 20 & 63) - 32);
        }
        assert_number(text, true, strlen(text));
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(grammar_is_that_of_json),
    cmocka_unit_test(borders_of_the_short_way_are_exact),
    cmocka_unit_test(random_numbers_equal_those_of_strtod),
};

TEST_MAIN(tests)
