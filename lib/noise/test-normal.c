#include "base/test.h"

#include "base/boxmuller.h"
#include "base/philox.h"
#include "noise/normal.h"

#define SEED 0x5eed0001u

static uint64_t word(uint64_t i) {
    struct amb_philox_block block = amb_philox(SEED, i, 77);

    return amb_philox_u64(&block, 0);
}

/* Element e of (key, counter) by the sentence in normal.h. */
static float element(size_t e, uint64_t key, uint64_t counter) {
    size_t g = e / 64, r = e % 64;
    struct amb_philox_block b = amb_philox(key, 16 * g + r % 16, counter);
    float pair[2];

    amb_boxmuller(pair, b.w[r / 32 * 2], b.w[r / 32 * 2 + 1]);
    return pair[r / 16 % 2];
}

/* Every path gives the bits of the sentence: random keys and places, all lengths up to three groups, and the
 * place where the block number leaves its low word. Nothing behind the n elements is written. */
TEST(paths_give_the_bits_of_the_definition) {
    static const size_t places[] = {
        0, 64, 128 * 64, ((size_t)1 << 34) - 64, ((size_t)1 << 34) - 128, (size_t)1 << 40};
    float out[64 * 3 + 1], want[64 * 3];

    for (unsigned path = 0; path < AMB_PATH_N; path++) {
        if (!amb_path_available((enum amb_path)path)) {
            printf("%s: not on this processor\n", amb_path_name((enum amb_path)path));
            continue;
        }
        amb_path_select((enum amb_path)path);
        for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
            uint64_t key = word(2 * i), counter = word(2 * i + 1);

            for (size_t e = 0; e < 64 * 3; e++) {
                want[e] = element(places[i] + e, key, counter);
            }
            for (size_t n = 0; n <= 64 * 3; n++) {
                memset(out, 0x55, sizeof out);
                amb_normal_fill(out, places[i], n, key, counter);
                assert_memory_equal(out, want, n * sizeof *out);
                assert_int_equal(((uint8_t *)(out + n))[0], 0x55);
            }
        }
    }
}

/* A long array, where every exponent of the radius and every octant of the angle comes up: 2^22 elements. */
TEST(paths_agree_on_many) {
    enum { N = 1 << 22 };
    float *want = malloc(N * sizeof *want), *out = malloc(N * sizeof *out);

    assert_non_null(want);
    assert_non_null(out);
    amb_path_select(AMB_PATH_SCALAR);
    amb_normal_fill(want, 0, N, word(100), word(101));
    for (unsigned path = AMB_PATH_SCALAR + 1; path < AMB_PATH_N; path++) {
        if (amb_path_available((enum amb_path)path)) {
            amb_path_select((enum amb_path)path);
            memset(out, 0, N * sizeof *out);
            amb_normal_fill(out, 0, N, word(100), word(101));
            assert_memory_equal(out, want, N * sizeof *out);
            printf("%s: %d equal\n", amb_path_name((enum amb_path)path), N);
        }
    }
    free(want);
    free(out);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(paths_give_the_bits_of_the_definition),
    cmocka_unit_test(paths_agree_on_many),
};

TEST_MAIN(tests)
