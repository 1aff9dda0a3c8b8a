#include "base/test.h"

#include "base/crc32c.h"

/* RFC 3720, B.4: what iSCSI gives as examples. */
TEST(examples_of_the_standard_come_out) {
    uint8_t bytes[32] = {0};

    assert_int_equal(amb_crc32c(0, "123456789", 9), 0xE3069283u);
    assert_int_equal(amb_crc32c(0, bytes, sizeof bytes), 0x8A9136AAu);
    memset(bytes, 0xFF, sizeof bytes);
    assert_int_equal(amb_crc32c(0, bytes, sizeof bytes), 0x62A8AB43u);
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)i;
    }
    assert_int_equal(amb_crc32c(0, bytes, sizeof bytes), 0x46DD794Eu);
}

/* Every length up to 100, every alignment, every place to cut it in two. */
TEST(instruction_and_tables_agree_however_it_is_cut) {
    uint8_t bytes[128];

    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)(i * 37 + 11);
    }
    for (size_t at = 0; at < 8; at++) {
        for (size_t n = 0; n <= 100; n++) {
            uint32_t whole = amb_crc32c_scalar(0, bytes + at, n);

            assert_int_equal(amb_crc32c(0, bytes + at, n), whole);
            for (size_t cut = 0; cut <= n; cut++) {
                assert_int_equal(amb_crc32c(amb_crc32c(0, bytes + at, cut), bytes + at + cut, n - cut), whole);
            }
        }
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(examples_of_the_standard_come_out),
    cmocka_unit_test(instruction_and_tables_agree_however_it_is_cut),
};

TEST_MAIN(tests)
