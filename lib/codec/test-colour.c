#include "base/test.h"

#include "codec/colour.h"

/* Pillow's formula in integers; grey stays itself; in place is the same. */
TEST(luma_keeps_grey_and_weighs_colour) {
    uint8_t pixels[256 * 3], luma[256];

    for (unsigned i = 0; i < 256; i++) {
        pixels[3 * i] = pixels[3 * i + 1] = pixels[3 * i + 2] = (uint8_t)i;
    }
    amb_colour_luma(luma, pixels, 256);
    for (unsigned i = 0; i < 256; i++) {
        assert_int_equal(luma[i], i);
    }
    amb_colour_luma(luma, (const uint8_t[]){255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255}, 4);
    assert_memory_equal(luma, ((const uint8_t[]){76, 150, 29, 255}), 4);
    amb_colour_luma(pixels, pixels, 256);
    for (unsigned i = 0; i < 256; i++) {
        assert_int_equal(pixels[i], i);
    }
}

TEST(grey_spreads_in_place) {
    uint8_t pixels[300];

    for (unsigned i = 0; i < 100; i++) {
        pixels[i] = (uint8_t)(i * 2);
    }
    amb_colour_spread(pixels, pixels, 100);
    for (unsigned i = 0; i < 300; i++) {
        assert_int_equal(pixels[i], i / 3 * 2);
    }
}

/* All pairs against muldiv255 as Pillow writes it; never outside 0..255, so that no clip is needed. */
TEST(cmyk_is_mixed_as_pillow_mixes_it) {
    for (int inverted = 0; inverted < 256; inverted++) {
        for (int light = 0; light < 256; light++) {
            uint8_t pixel[4] = {(uint8_t)inverted, (uint8_t)inverted, (uint8_t)inverted, (uint8_t)light},
                    rgb[3];
            int ink = 255 - inverted, t = ink * light + 128, wanted = light - (((t >> 8) + t) >> 8);

            amb_colour_cmyk(rgb, pixel, 1);
            assert_in_range(wanted, 0, 255);
            assert_int_equal(rgb[0], wanted);
            assert_int_equal(rgb[2], wanted);
        }
    }
}

TEST(alpha_is_dropped) {
    uint8_t rgba[] = {1, 2, 3, 9, 4, 5, 6, 9}, la[] = {1, 9, 2, 9, 3, 9};

    amb_colour_keep(rgba, rgba, 2, 4, 3);
    assert_memory_equal(rgba, "\1\2\3\4\5\6", 6);
    amb_colour_keep(la, la, 3, 2, 1);
    assert_memory_equal(la, "\1\2\3", 3);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(luma_keeps_grey_and_weighs_colour),
    cmocka_unit_test(grey_spreads_in_place),
    cmocka_unit_test(cmyk_is_mixed_as_pillow_mixes_it),
    cmocka_unit_test(alpha_is_dropped),
};

TEST_MAIN(tests)
