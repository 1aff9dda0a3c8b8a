#include "base/test.h"

#include <errno.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "codec/decode.h"
#include "codec/made.h"

#define N_FORMS 12u

/* One small picture in each form; pixels are compared with Pillow's in tests/test_codec_pillow.py. */
static void make_form(struct amb_buf *out, unsigned form) {
    out->n_bytes = 0;
    switch (form) {
    case 0:
        made_jpeg(out, &(struct made_jpeg){.width = 40, .height = 24, .channels = 3});
        break;
    case 1:
        made_jpeg(out, &(struct made_jpeg){.width = 33, .height = 17, .channels = 3, .progressive = true});
        break;
    case 2:
        made_jpeg(out, &(struct made_jpeg){.width = 24, .height = 24, .channels = 1, .restart = 2});
        break;
    case 3:
        made_jpeg(out, &(struct made_jpeg){.width = 24, .height = 16, .channels = 4});
        break;
    case 4:
        made_png(out, 24, 16, 2, 0, false);
        break;
    case 5:
        made_png(out, 24, 16, 6, 6, true);
        break;
    case 6:
        made_png(out, 24, 16, 4, 6, false);
        break;
    case 7:
        made_png(out, 19, 23, 0, 6, true);
        break;
    case 8:
        made_webp(out, 24, 16, false);
        break;
    case 9:
        made_webp(out, 24, 16, true);
        break;
    case 10:
        made_npy(out, 9, 11, 3, 1);
        break;
    default:
        made_npy(out, 9, 11, 1, 3);
    }
}

static struct amb_decoder *new_decoder(const struct amb_codec_limits *limits) {
    struct amb_decoder *decoder = NULL;
    struct amb_error err = AMB_ERROR_NULL;

    assert_ok(amb_decoder_new(&decoder, limits, &err), err);
    return decoder;
}

/* Decode from a heap block of the exact size, so that ASan and valgrind see every byte read past the end. */
static int decode(struct amb_image *out, struct amb_decoder *decoder, const uint8_t *data, size_t bytes,
                  uint32_t channels, struct amb_error *err) {
    uint8_t *exact = malloc(bytes + 1);
    int r;

    assert_non_null(exact);
    memcpy(exact, data, bytes);
    exact = realloc(exact, bytes != 0 ? bytes : 1);
    assert_non_null(exact);
    r = amb_decoder_decode(out, decoder, exact, bytes, channels, err);
    free(exact);
    return r;
}

static uint64_t sum_of(const struct amb_image *image) {
    uint64_t sum = 0;

    for (size_t i = 0; i < image->row_bytes * image->height; i++) {
        sum = sum * 31 + image->data[i];
    }
    return sum;
}

static bool is_cause_in_bytes(int code) {
    return code == AMB_ERR_FORMAT || code == AMB_ERR_CHECKSUM || code == AMB_ERR_LIMIT ||
           code == AMB_ERR_UNSUPPORTED || code == AMB_ERR_VERSION;
}

TEST(formats_are_told_by_their_first_bytes) {
    static const struct {
        const char *data;
        size_t bytes;
        int codec; /* -1: refused */
    } cases[] = {
        {"\x89PNG\r\n\x1a\n", 8, AMB_CODEC_PNG},
        {"\x89PNG\r\n\x1a", 7, -1},
        {"\xff\xd8\xff", 3, AMB_CODEC_JPEG},
        {"\xff\xd8", 2, -1},
        {"RIFF\x10\0\0\0WEBP", 12, AMB_CODEC_WEBP},
        {"RIFF\x10\0\0\0WAVE", 12, -1},
        {"\x93NUMPY", 6, AMB_CODEC_NPY},
        {"GIF89a", 6, -1},
        {"", 0, -1},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct amb_error err = AMB_ERROR_NULL;
        enum amb_codec codec = AMB_CODEC_N;
        int r = amb_codec_sniff(&codec, (const uint8_t *)cases[i].data, cases[i].bytes, &err);

        if (cases[i].codec < 0) {
            assert_int_equal(r, AMB_ERR_FORMAT);
        } else {
            assert_int_equal(r, 0);
            assert_int_equal(codec, cases[i].codec);
        }
    }
}

/* Every form, both channel counts, twice with the same decoder: same bytes, and no allocation of ours once
 * warm. */
TEST(warm_decoder_repeats_itself_and_allocates_nothing) {
    struct amb_decoder *decoder = new_decoder(&AMB_CODEC_LIMITS_DEFAULT);
    struct amb_buf files[N_FORMS] = {AMB_BUF_NULL};
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_image image;
    uint64_t sums[N_FORMS][2], n_allocs = 0;

    for (unsigned form = 0; form < N_FORMS; form++) {
        make_form(&files[form], form);
    }
    for (unsigned round = 0; round < 4; round++) {
        if (round == 2) { /* arenas grow after the first, larger one */
            n_allocs = amb_alloc_count();
        }
        for (unsigned form = 0; form < N_FORMS; form++) {
            for (uint32_t channels = 1; channels <= 3; channels += 2) {
                uint64_t *sum = &sums[form][channels / 2];

                assert_ok(amb_decoder_decode(&image, decoder, files[form].data, files[form].n_bytes, channels,
                                             &err),
                          err);
                assert_int_equal(image.channels, channels);
                assert_int_equal(image.row_bytes, image.width * channels);
                if (round == 0) {
                    *sum = sum_of(&image);
                }
                assert_int_equal(sum_of(&image), *sum);
            }
        }
    }
    assert_int_equal(amb_alloc_count(), n_allocs);
    for (unsigned form = 0; form < N_FORMS; form++) {
        amb_buf_deinit(&files[form]);
    }
    amb_decoder_free(decoder);
}

/* Lossless forms give back what was painted: the decoders agree with the encoders, whatever Pillow says. */
TEST(lossless_forms_give_back_the_pixels) {
    struct amb_decoder *decoder = new_decoder(&AMB_CODEC_LIMITS_DEFAULT);
    struct amb_buf file = AMB_BUF_NULL;
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_image image;
    uint8_t pixels[24 * 16 * 3];

    made_paint(pixels, 24, 16, 3, 24 + 16);
    for (unsigned form = 4; form <= 9; form += 5) {
        make_form(&file, form);
        assert_ok(decode(&image, decoder, file.data, file.n_bytes, 3, &err), err);
        assert_int_equal(image.width, 24);
        assert_int_equal(image.height, 16);
        assert_memory_equal(image.data, pixels, sizeof pixels);
    }
    amb_buf_deinit(&file);
    amb_decoder_free(decoder);
}

/* Cut after every byte: an error with a cause in the bytes; a whole picture decodes right after each. The one
 * thing that a JPEG of one scan can lose unseen is its end marker; WebP its padding byte. */
TEST(truncated_pictures_are_refused_at_every_byte) {
    struct amb_decoder *decoder = new_decoder(&AMB_CODEC_LIMITS_DEFAULT);
    struct amb_buf file = AMB_BUF_NULL;
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_image image;

    for (unsigned form = 0; form < N_FORMS; form++) {
        size_t spare = form == 0 || form == 2 || form == 3 ? 3 : 1;
        uint64_t whole;

        make_form(&file, form);
        assert_ok(decode(&image, decoder, file.data, file.n_bytes, 3, &err), err);
        whole = sum_of(&image);
        for (size_t bytes = 0; bytes < file.n_bytes; bytes += test_stride()) {
            int r = decode(&image, decoder, file.data, bytes, 3, &err);

            if (r == 0 && bytes + spare >= file.n_bytes) {
                assert_int_equal(sum_of(&image), whole);
            } else if (!is_cause_in_bytes(r)) {
                fail_msg("form %u cut to %zu of %zu bytes: %d", form, bytes, file.n_bytes, r);
            }
        }
        assert_ok(decode(&image, decoder, file.data, file.n_bytes, 3, &err), err);
        assert_int_equal(sum_of(&image), whole);
    }
    amb_buf_deinit(&file);
    amb_decoder_free(decoder);
}

/* Damage by a printed seed: whatever comes out is a picture or a typed error, and the decoder stays whole.
 * Limits are small so that a flipped size does not cost seconds. */
TEST(damaged_pictures_do_no_harm) {
    struct amb_codec_limits limits = {
        .pixels_max = 1 << 16, .side_max = 2048, .scans_max = 50, .cpu_ns = 100000000};
    struct amb_decoder *decoder = new_decoder(&limits);
    struct amb_buf file = AMB_BUF_NULL;
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_image image;
    uint64_t whole;

    printf("seeds 0..199 of made_noise\n");
    for (unsigned form = 0; form < N_FORMS; form++) {
        make_form(&file, form);
        assert_ok(decode(&image, decoder, file.data, file.n_bytes, 3, &err), err);
        whole = sum_of(&image);
        for (uint32_t seed = 0; seed < 200; seed++) {
            uint8_t noise[12], kept[4];
            size_t at[4];
            int r;

            made_noise(noise, sizeof noise, seed);
            for (unsigned i = 0; i < 4; i++) {
                at[i] = (noise[3 * i] | (size_t)noise[3 * i + 1] << 8) % file.n_bytes;
                kept[i] = file.data[at[i]];
                file.data[at[i]] ^= (uint8_t)(noise[3 * i + 2] | 1);
            }
            r = decode(&image, decoder, file.data, file.n_bytes, 3, &err);
            if (r != 0 && r != -ETIMEDOUT && !is_cause_in_bytes(r)) {
                fail_msg("form %u seed %u: %d %s", form, seed, r, err.message);
            }
            for (unsigned i = 4; i-- > 0;) {
                file.data[at[i]] = kept[i];
            }
        }
        assert_ok(decode(&image, decoder, file.data, file.n_bytes, 3, &err), err);
        assert_int_equal(sum_of(&image), whole);
    }
    amb_buf_deinit(&file);
    amb_decoder_free(decoder);
}

TEST(damaged_png_data_is_a_checksum_error) {
    struct amb_decoder *decoder = new_decoder(&AMB_CODEC_LIMITS_DEFAULT);
    struct amb_buf file = AMB_BUF_NULL;
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_image image;

    made_png(&file, 24, 16, 2, 0, false);
    file.data[file.n_bytes / 2] ^= 1; /* stored: the pixel itself */
    assert_int_equal(decode(&image, decoder, file.data, file.n_bytes, 3, &err), AMB_ERR_CHECKSUM);
    amb_buf_deinit(&file);
    amb_decoder_free(decoder);
}

/* Put the size w x h into the header of a made picture, without mending anything else. */
static void claim_size(struct amb_buf *file, enum amb_codec codec, uint32_t w, uint32_t h) {
    uint8_t *p = file->data;

    if (codec == AMB_CODEC_PNG) {
        for (int i = 0; i < 4; i++) {
            p[16 + i] = (uint8_t)(w >> (24 - 8 * i));
            p[20 + i] = (uint8_t)(h >> (24 - 8 * i));
        }
        return;
    }
    while (p[0] != 0xFF ||
           (p[1] != 0xC0 && p[1] != 0xC2)) { /* SOF of a made JPEG; nothing before it looks like it */
        p++;
    }
    p[5] = (uint8_t)(h >> 8);
    p[6] = (uint8_t)h;
    p[7] = (uint8_t)(w >> 8);
    p[8] = (uint8_t)w;
}

TEST(claimed_sizes_are_refused_before_memory_is_taken) {
    static const struct {
        enum amb_codec codec;
        uint32_t width, height;
        int code;
    } cases[] = {
        {AMB_CODEC_PNG, 1000000, 1000000, AMB_ERR_LIMIT},
        {AMB_CODEC_PNG, 0xFFFFFFFF, 0xFFFFFFFF, AMB_ERR_LIMIT},
        {AMB_CODEC_PNG, 16384, 1, AMB_ERR_LIMIT},
        {AMB_CODEC_PNG, 1, 16384, AMB_ERR_LIMIT},
        {AMB_CODEC_PNG, 8193, 8192, AMB_ERR_LIMIT},
        {AMB_CODEC_PNG, 0, 16, AMB_ERR_FORMAT},
        {AMB_CODEC_JPEG, 65535, 65535, AMB_ERR_LIMIT},
        {AMB_CODEC_JPEG, 16384, 8, AMB_ERR_LIMIT},
        {AMB_CODEC_JPEG, 8, 16384, AMB_ERR_LIMIT},
        {AMB_CODEC_JPEG, 8192, 8193, AMB_ERR_LIMIT},
        {AMB_CODEC_JPEG, 0, 16, AMB_ERR_FORMAT},
    };
    struct amb_decoder *decoder = new_decoder(&AMB_CODEC_LIMITS_DEFAULT);
    struct amb_buf file = AMB_BUF_NULL;
    struct amb_image image;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct amb_error err = AMB_ERROR_NULL;

        make_form(&file, cases[i].codec == AMB_CODEC_PNG ? 4 : 0);
        claim_size(&file, cases[i].codec, cases[i].width, cases[i].height);
        assert_int_equal(decode(&image, decoder, file.data, file.n_bytes, 3, &err), cases[i].code);
        assert_true(strlen(err.message) > 10);
    }
    amb_buf_deinit(&file);
    amb_decoder_free(decoder);
}

/* limit - 1 and limit pass, limit + 1 does not, for each limit, on PNG, JPEG, WebP and npy. */
TEST(limits_bite_where_they_say) {
    static const unsigned forms[] = {4, 0, 9, 10};
    struct amb_buf file = AMB_BUF_NULL;
    struct amb_image image;

    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        struct amb_decoder *decoder = new_decoder(&AMB_CODEC_LIMITS_DEFAULT);
        struct amb_error err = AMB_ERROR_NULL;
        uint32_t side;
        uint64_t pixels;

        make_form(&file, forms[i]);
        assert_ok(decode(&image, decoder, file.data, file.n_bytes, 3, &err), err);
        side = image.width > image.height ? image.width : image.height;
        pixels = (uint64_t)image.width * image.height;
        amb_decoder_free(decoder);
        for (int slack = -1; slack <= 1; slack++) {
            struct amb_codec_limits sides = AMB_CODEC_LIMITS_DEFAULT, areas = AMB_CODEC_LIMITS_DEFAULT;

            sides.side_max = (uint32_t)((int)side + slack);
            decoder = new_decoder(&sides);
            assert_int_equal(decode(&image, decoder, file.data, file.n_bytes, 3, &err),
                             slack < 0 ? AMB_ERR_LIMIT : 0);
            amb_decoder_free(decoder);
            areas.pixels_max = (uint64_t)((int64_t)pixels + slack);
            decoder = new_decoder(&areas);
            assert_int_equal(decode(&image, decoder, file.data, file.n_bytes, 3, &err),
                             slack < 0 ? AMB_ERR_LIMIT : 0);
            amb_decoder_free(decoder);
        }
    }
    amb_buf_deinit(&file);
}

/* A JPEG of 704 scans: refused by the default, and by 703, not by 704 and 705. */
TEST(jpeg_scans_are_counted) {
    struct amb_buf file = AMB_BUF_NULL;
    struct amb_image image;

    made_jpeg(&file, &(struct made_jpeg){.width = 16, .height = 16, .channels = 1, .all_scans = true});
    for (uint32_t scans_max = 703; scans_max <= 706; scans_max++) {
        struct amb_codec_limits limits = AMB_CODEC_LIMITS_DEFAULT;
        struct amb_error err = AMB_ERROR_NULL;
        struct amb_decoder *decoder;

        limits.scans_max = scans_max == 706 ? AMB_CODEC_SCANS_MAX : scans_max;
        decoder = new_decoder(&limits);
        assert_int_equal(decode(&image, decoder, file.data, file.n_bytes, 1, &err),
                         limits.scans_max < 704 ? AMB_ERR_LIMIT : 0);
        amb_decoder_free(decoder);
    }
    amb_buf_deinit(&file);
}

/* With no CPU time to spend, each of the three libraries is stopped half-way, and the decoder goes on living.
 */
TEST(cpu_time_is_limited) {
    struct amb_codec_limits limits = AMB_CODEC_LIMITS_DEFAULT;
    struct amb_decoder *decoder;
    struct amb_buf file = AMB_BUF_NULL;
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_image image;

    limits.cpu_ns = 1;
    decoder = new_decoder(&limits);
    made_jpeg(&file, &(struct made_jpeg){.width = 640, .height = 512, .channels = 3});
    assert_int_equal(decode(&image, decoder, file.data, file.n_bytes, 3, &err), -ETIMEDOUT);
    file.n_bytes = 0;
    made_png(&file, 1200, 1200, 2, 0, false);
    assert_int_equal(decode(&image, decoder, file.data, file.n_bytes, 3, &err), -ETIMEDOUT);
    file.n_bytes = 0;
    made_webp(&file, 1100, 1000, false);
    assert_int_equal(decode(&image, decoder, file.data, file.n_bytes, 3, &err), -ETIMEDOUT);
    make_form(&file, 4);
    assert_ok(decode(&image, decoder, file.data, file.n_bytes, 3, &err), err);
    amb_buf_deinit(&file);
    amb_decoder_free(decoder);
}

/* The same large WebP, fed in pieces, against one so small that it goes at once: both are what was painted.
 */
TEST(large_webp_is_fed_in_pieces) {
    struct amb_decoder *decoder = new_decoder(&AMB_CODEC_LIMITS_DEFAULT);
    struct amb_buf file = AMB_BUF_NULL;
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_image image;
    uint8_t *pixels = malloc(1100 * 1000 * 3);

    assert_non_null(pixels);
    made_paint(pixels, 1100, 1000, 3, 1100 + 1000);
    made_webp(&file, 1100, 1000, true);
    assert_ok(decode(&image, decoder, file.data, file.n_bytes, 3, &err), err);
    assert_memory_equal(image.data, pixels, 1100 * 1000 * 3);
    assert_int_equal(decode(&image, decoder, file.data, file.n_bytes - 100, 3, &err), AMB_ERR_FORMAT);
    free(pixels);
    amb_buf_deinit(&file);
    amb_decoder_free(decoder);
}

/* Bytes after the picture are no damage: writers pad. */
TEST(bytes_behind_the_picture_are_ignored) {
    struct amb_decoder *decoder = new_decoder(&AMB_CODEC_LIMITS_DEFAULT);
    struct amb_buf file = AMB_BUF_NULL;
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_image image;

    for (unsigned form = 0; form < 8; form++) {
        uint64_t whole;

        make_form(&file, form);
        assert_ok(decode(&image, decoder, file.data, file.n_bytes, 3, &err), err);
        whole = sum_of(&image);
        assert_int_equal(amb_buf_push(&file, "\0\0padding", 9), 0);
        assert_ok(decode(&image, decoder, file.data, file.n_bytes, 3, &err), err);
        assert_int_equal(sum_of(&image), whole);
    }
    amb_buf_deinit(&file);
    amb_decoder_free(decoder);
}

TEST(versions_name_the_three_libraries) {
    const char *versions = amb_codec_versions();

    assert_non_null(strstr(versions, "jpeg "));
    assert_non_null(strstr(versions, "png 1."));
    assert_non_null(strstr(versions, "webp "));
    assert_null(strstr(versions, "LIBJPEG"));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(formats_are_told_by_their_first_bytes),
    cmocka_unit_test(warm_decoder_repeats_itself_and_allocates_nothing),
    cmocka_unit_test(lossless_forms_give_back_the_pixels),
    cmocka_unit_test(truncated_pictures_are_refused_at_every_byte),
    cmocka_unit_test(damaged_pictures_do_no_harm),
    cmocka_unit_test(damaged_png_data_is_a_checksum_error),
    cmocka_unit_test(claimed_sizes_are_refused_before_memory_is_taken),
    cmocka_unit_test(limits_bite_where_they_say),
    cmocka_unit_test(jpeg_scans_are_counted),
    cmocka_unit_test(cpu_time_is_limited),
    cmocka_unit_test(large_webp_is_fed_in_pieces),
    cmocka_unit_test(bytes_behind_the_picture_are_ignored),
    cmocka_unit_test(versions_name_the_three_libraries),
};

TEST_MAIN(tests)
