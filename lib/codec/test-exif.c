#include "base/test.h"

#include <stdbool.h>

#include "codec/exif.h"

/* A TIFF block with one entry of IFD0, little- or big-endian; 26 bytes. */
static void make_tiff(uint8_t tiff[26], bool big, unsigned tag, unsigned type, unsigned value) {
    static const uint8_t little_head[] = {'I', 'I', 42, 0, 8, 0, 0, 0, 1, 0};
    static const uint8_t big_head[] = {'M', 'M', 0, 42, 0, 0, 0, 8, 0, 1};

    memset(tiff, 0, 26);
    memcpy(tiff, big ? big_head : little_head, 10);
    tiff[big ? 10 : 11] = (uint8_t)(tag >> 8);
    tiff[big ? 11 : 10] = (uint8_t)tag;
    tiff[big ? 13 : 12] = (uint8_t)type;
    tiff[big ? 17 : 14] = 1;
    tiff[big ? 19 : 18] = (uint8_t)value;
}

TEST(orientation_is_read_in_both_byte_orders) {
    uint8_t tiff[26];

    for (unsigned value = 0; value <= 9; value++) {
        for (int big = 0; big <= 1; big++) {
            make_tiff(tiff, big, 0x0112, 3, value);
            assert_int_equal(amb_exif_from_tiff(tiff, sizeof tiff), value >= 1 && value <= 8 ? value : 1);
        }
    }
    make_tiff(tiff, false, 0x0112, 4, 6); /* no SHORT */
    assert_int_equal(amb_exif_from_tiff(tiff, sizeof tiff), 1);
    make_tiff(tiff, false, 0x0111, 3, 6); /* another tag */
    assert_int_equal(amb_exif_from_tiff(tiff, sizeof tiff), 1);
}

/* Every cut, and every byte of the block at 256 values, from blocks of the exact size: an answer from 1 to 8.
 */
TEST(damaged_blocks_mean_as_stored) {
    uint8_t tiff[26];

    make_tiff(tiff, true, 0x0112, 3, 6);
    for (size_t n = 0; n < sizeof tiff; n++) {
        uint8_t *cut = malloc(n != 0 ? n : 1);

        assert_non_null(cut);
        memcpy(cut, tiff, n);
        assert_int_equal(amb_exif_from_tiff(cut, n), n < 22 ? 1 : 6); /* 22: the entry is whole */
        free(cut);
    }
    for (size_t at = 0; at < sizeof tiff; at++) {
        uint8_t kept = tiff[at];

        for (unsigned value = 0; value < 256; value++) {
            unsigned orientation;

            tiff[at] = (uint8_t)value;
            orientation = amb_exif_from_tiff(tiff, sizeof tiff);
            assert_true(orientation >= 1 && orientation <= 8);
        }
        tiff[at] = kept;
    }
}

/* Each container's walk, whole and cut at every byte. */
TEST(containers_are_walked_within_their_bytes) {
    uint8_t jpeg[64] = {0xFF, 0xD8, 0xFF, 0xE0, 0,   4,   'x', 'x', 0xFF, 0xFF,
                        0xE1, 0,    34,   'E',  'x', 'i', 'f', 0,   0};
    uint8_t png[64] = {0x89, 'P', 'N', 'G', 13, 10, 26, 10, 0, 0, 0, 26, 'e', 'X', 'I', 'f'};
    uint8_t webp[64] = {'R', 'I', 'F', 'F', 0, 0, 0, 0,   'W', 'E', 'B', 'P', 'E',
                        'X', 'I', 'F', 32,  0, 0, 0, 'E', 'x', 'i', 'f', 0,   0};
    struct {
        unsigned (*walk)(const uint8_t *data, size_t bytes);
        uint8_t *data;
        size_t tiff_at, bytes;
    } cases[] = {
        {amb_exif_from_jpeg, jpeg, 19, 19 + 26},
        {amb_exif_from_png, png, 16, 16 + 26 + 4},
        {amb_exif_from_webp, webp, 26, 26 + 26},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        make_tiff(cases[i].data + cases[i].tiff_at, true, 0x0112, 3, 5);
        assert_int_equal(cases[i].walk(cases[i].data, cases[i].bytes), 5);
        for (size_t n = 0; n < cases[i].bytes; n++) {
            uint8_t *cut = malloc(n != 0 ? n : 1);

            assert_non_null(cut);
            memcpy(cut, cases[i].data, n);
            if (n >= 8) { /* the callers have seen the magic bytes */
                assert_int_equal(cases[i].walk(cut, n), 1);
            }
            free(cut);
        }
    }
}

/* A 3 x 2 picture "abc/def" turned each way, written out by hand from TIFF 6.0's table. */
TEST(pixels_stand_upright) {
    static const char *const upright[9] = {NULL,     "abcdef", "cbafed", "fedcba", "defabc",
                                           "adbecf", "daebfc", "fcebda", "cfbead"};
    uint8_t grey[6], rgb_in[18], rgb[18];

    for (unsigned i = 0; i < 18; i++) {
        rgb_in[i] = (uint8_t)("abcdef"[i / 3] + 32 * (int)(i % 3));
    }
    for (unsigned orientation = 1; orientation <= 8; orientation++) {
        amb_exif_apply(grey, (const uint8_t *)"abcdef", 3, 2, 1, orientation);
        assert_memory_equal(grey, upright[orientation], 6);
        amb_exif_apply(rgb, rgb_in, 3, 2, 3, orientation);
        for (unsigned i = 0; i < 18; i++) {
            assert_int_equal(rgb[i], upright[orientation][i / 3] + 32 * (int)(i % 3));
        }
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(orientation_is_read_in_both_byte_orders),
    cmocka_unit_test(damaged_blocks_mean_as_stored),
    cmocka_unit_test(containers_are_walked_within_their_bytes),
    cmocka_unit_test(pixels_stand_upright),
};

TEST_MAIN(tests)
