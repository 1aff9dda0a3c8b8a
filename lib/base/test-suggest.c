#include "base/test.h"

#include "base/suggest.h"

TEST(nearest_word_is_found_and_far_ones_are_not) {
    static const char *const known[] = {"seed", "process", "schedule", "policy", "s_max", "gaps"};
    const size_t n = sizeof known / sizeof known[0];

    assert_string_equal(amb_suggest_get("sheed", known, n), "seed");
    assert_string_equal(amb_suggest_get("polciy", known, n), "policy");
    assert_string_equal(amb_suggest_get("smax", known, n), "s_max");
    assert_null(amb_suggest_get("colour", known, n));
    assert_null(amb_suggest_get("", known, n));
}

TEST(long_words_are_no_typing_mistake) {
    static const char *const known[] = {"seed"};
    char word[200];

    memset(word, 's', sizeof word - 1);
    word[sizeof word - 1] = '\0';
    assert_null(amb_suggest_get(word, known, 1));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(nearest_word_is_found_and_far_ones_are_not),
    cmocka_unit_test(long_words_are_no_typing_mistake),
};

TEST_MAIN(tests)
