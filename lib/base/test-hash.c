#include "base/test.h"

#include "base/hash.h"

/* Golden values: what enters keys and uids may never change; each was computed with Python's xxhash too. */
TEST(encodings_are_the_written_ones) {
    const uint64_t words[2] = {1, 0x0123456789abcdefull};
    struct amb_hash128 uid = amb_hash128_uid("main", "000001", 6);
    struct amb_hash128 same = amb_hash128_encode("main/000001", 11);
    struct amb_hash128 empty = amb_hash128_encode("", 0);
    char text[AMB_HASH128_TEXT_BYTES];

    assert_true(amb_hash128_equal(&uid, &same));
    amb_hash128_text(text, &empty);
    assert_string_equal(text, "99aa06d3014798d86001c324468d497f"); /* xxh128 of the empty string */
    assert_int_not_equal(amb_hash_words("pass", words, 2), amb_hash_words("pass", words, 1));
    assert_int_not_equal(amb_hash_words("pass", words, 2), amb_hash_words("past", words, 2));
    assert_int_not_equal(amb_hash_uid_version(&uid, 0), amb_hash_uid_version(&uid, 1));
}

TEST(text_form_round_trips_and_refuses_others) {
    struct amb_hash128 hash = amb_hash128_encode("x", 1), back;
    char text[AMB_HASH128_TEXT_BYTES];

    amb_hash128_text(text, &hash);
    assert_true(amb_hash128_parse(&back, text));
    assert_true(amb_hash128_equal(&hash, &back));
    text[31] = 'g';
    assert_false(amb_hash128_parse(&back, text));
    assert_false(amb_hash128_parse(&back, "99aa"));
}

TEST(running_hash_equals_the_whole) {
    struct amb_hasher *hasher = amb_hasher_new();
    struct amb_hash128 whole = amb_hash128_encode("main/000001", 11), parts;

    amb_hasher_push(hasher, "main", 4);
    amb_hasher_push(hasher, "/000001", 7);
    parts = amb_hasher_get(hasher);
    assert_true(amb_hash128_equal(&whole, &parts));
    amb_hasher_free(hasher);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(encodings_are_the_written_ones),
    cmocka_unit_test(text_form_round_trips_and_refuses_others),
    cmocka_unit_test(running_hash_equals_the_whole),
};

TEST_MAIN(tests)
