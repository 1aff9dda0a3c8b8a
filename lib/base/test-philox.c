#include "base/test.h"

#include "base/philox.h"

/* Known answers of the reference implementation (Random123, kat_vectors: philox4x32 10). */
TEST(known_answers_of_the_paper) {
    static const struct {
        uint64_t key, block, counter;
        uint32_t w[4];
    } rows[] = {
        {0, 0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {UINT64_MAX, UINT64_MAX, UINT64_MAX, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {0x299f31d0a4093822ull, 0x85a308d3243f6a88ull, 0x0370734413198a2eull,
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct amb_philox_block b = amb_philox(rows[i].key, rows[i].block, rows[i].counter);

        assert_memory_equal(b.w, rows[i].w, sizeof b.w);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(known_answers_of_the_paper),
};

TEST_MAIN(tests)
