/*
 * Decode: any picture through the border of lib/codec, then the transform. Whatever comes out is a picture of the
 * channels that were asked for, within the limits, and every byte of it is written.
 *
 * The limits are small so that an input costs little. The mutator sets right the CRCs of PNG chunks, which mutations
 * would otherwise never get past.
 */
#include "fuzz.h"

#include <errno.h>

#include <zlib.h>

#include "codec/transform.h"

#define SIDE_MAX   512u
#define PIXELS_MAX (128u * 128u)
#define OUT        8u

static struct amb_decoder *decoder;

static void start(void) {
    struct amb_codec_limits limits = {PIXELS_MAX, SIDE_MAX, 8, UINT64_C(1000000000)};

    FUZZ_REQUIRE(amb_decoder_new(&decoder, &limits, NULL) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    struct amb_transform transform = {(enum amb_crop)(1 + bytes % (AMB_CROP_N - 1)),
                                      (enum amb_resample)(bytes % AMB_RESAMPLE_N), OUT, OUT, bytes % 2 == 0 ? 1 : 3};
    struct amb_error err = AMB_ERROR_NULL;
    uint8_t planes[3 * OUT * OUT];
    struct amb_image image;
    size_t total = 0;

    if (decoder == NULL) {
        start();
    }
    if (fuzz_check(amb_decoder_decode(&image, decoder, data, bytes, transform.channels, &err), &err) < 0) {
        FUZZ_REQUIRE(err.code != -ENOMEM);
        return 0;
    }
    FUZZ_REQUIRE(image.width >= 1 && image.width <= SIDE_MAX && image.height >= 1 && image.height <= SIDE_MAX);
    FUZZ_REQUIRE((uint64_t)image.width * image.height <= PIXELS_MAX && image.channels == transform.channels);
    for (size_t y = 0; y < image.height; y++) {
        for (size_t x = 0; x < (size_t)image.width * image.channels; x++) {
            total += image.data[y * image.row_bytes + x];
        }
    }
    __asm__ volatile("" ::"r"(total)); /* read, whatever the optimiser thinks of it */
    fuzz_check(amb_transform_apply(planes, &transform, &image, decoder, &err), &err);
    return 0;
}

static uint32_t load_u32be(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t bytes_max, unsigned seed) {
    bytes = LLVMFuzzerMutate(data, bytes, bytes_max);
    if (seed % 8 == 0 || bytes < 8 || memcmp(data, "\x89PNG", 4) != 0) {
        return bytes;
    }
    for (size_t at = 8; bytes - at >= 12;) {
        size_t length = load_u32be(data + at);
        uint32_t crc;

        if (length > bytes - at - 12) {
            break;
        }
        crc = (uint32_t)crc32(0, data + at + 4, (unsigned)length + 4);
        for (unsigned i = 0; i < 4; i++) {
            data[at + 8 + length + i] = (uint8_t)(crc >> (24 - 8 * i));
        }
        at += 12 + length;
    }
    return bytes;
}
