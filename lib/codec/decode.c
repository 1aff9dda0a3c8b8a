/*
 * Decode: sniff, hand to the backend of the format, then bring its pixels to what the dataset wants.
 *
 * A backend delivers grey (1) or RGB (3) bytes as stored. The rules, those of Pillow unless said otherwise:
 *
 *   wanted 3, stored grey      each value thrice
 *   wanted 1, stored colour    luma as convert("L"): (19595 R + 38470 G + 7471 B + 32768) >> 16
 *   palette                    looked up, then colour; so a grey palette to grey is exact
 *   bilevel, 2 and 4 bits      spread over 0..255
 *   alpha, transparent colour  dropped, never composited: the colour below is what was stored
 *   16 bits                    v >> 8. Pillow does so for RGB, but clips 16-bit grey at 255
 *   CMYK, YCCK (JPEG)          taken as Adobe writes it, inverted, then convert("RGB"); no profile
 *   gamma, profiles            ignored
 *   EXIF orientation           applied (JPEG APP1, PNG eXIf, WebP EXIF)
 *
 * Damage is an error, never a picture with made-up pixels.
 *
 * Not here: what each library needs (jpeg.c, png.c, webp.c, npy.c) and the resize (transform.c).
 */
#include "codec/decode.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h> /* wants stdio.h before it */
#include <png.h>
#include <webp/decode.h>

#include "base/alloc.h"
#include "base/size.h"
#include "codec/cell.h"
#include "codec/colour.h"
#include "codec/decoder.h"
#include "codec/exif.h"

#define STRING_(x) #x
#define STRING(x)  STRING_(x)

typedef int (*codec_decode)(struct amb_picture *, struct amb_decoder *, const uint8_t *, size_t,
                            struct amb_error *);

static const struct {
    const char *name;
    codec_decode decode;
} codecs[AMB_CODEC_N] = {
    [AMB_CODEC_PNG] = {"PNG", amb_png_decode},
    [AMB_CODEC_JPEG] = {"JPEG", amb_jpeg_decode},
    [AMB_CODEC_WEBP] = {"WebP", amb_webp_decode},
    [AMB_CODEC_NPY] = {".npy", amb_npy_decode_picture},
};

int amb_decoder_new(struct amb_decoder **out, const struct amb_codec_limits *limits, struct amb_error *err) {
    struct amb_decoder *decoder = amb_calloc(1, sizeof *decoder);
    int r;

    if (decoder == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for a decoder");
    }
    decoder->limits = *limits;
    amb_resizer_init(&decoder->resizer);
    r = limits->sandbox != NULL ? amb_cell_new(&decoder->cell, limits, err) : 0;
    if (r < 0) {
        amb_decoder_free(decoder);
        return r;
    }
    *out = decoder;
    return 0;
}

void amb_decoder_lend(struct amb_decoder *decoder, uint8_t *memory, size_t bytes) {
    decoder->lent = memory;
    decoder->lent_bytes = bytes;
}

/* Room in the lent memory, else in the buffer's own. */
static int decoder_reserve(struct amb_buf *buf, struct amb_decoder *decoder, size_t bytes) {
    size_t padded;

    if (decoder->lent == NULL) {
        return amb_buf_reserve(buf, bytes);
    }
    if (!amb_size_align(&padded, bytes, 64) || padded > decoder->lent_bytes) {
        return -ENOMEM;
    }
    buf->data = decoder->lent;
    buf->n_bytes = bytes;
    decoder->lent += padded;
    decoder->lent_bytes -= padded;
    return 0;
}

struct amb_decoder *amb_decoder_free(struct amb_decoder *decoder) {
    if (decoder != NULL) {
        decoder->cell = amb_cell_free(decoder->cell);
        decoder->jpeg = amb_jpeg_free(decoder->jpeg);
        amb_resizer_deinit(&decoder->resizer);
        amb_buf_deinit(&decoder->row);
        if (decoder->lent == NULL) { /* a decoder to which memory was lent lives as long as its process */
            amb_buf_deinit(&decoder->upright);
            amb_buf_deinit(&decoder->pixels);
        }
        amb_arena_deinit(&decoder->arena);
        amb_free(decoder);
    }
    return NULL;
}

const char *amb_codec_name(enum amb_codec codec) {
    return codecs[codec].name;
}

int amb_codec_sniff(enum amb_codec *out, const uint8_t *data, size_t bytes, struct amb_error *err) {
    char found[3 * 8 + 1] = "";

    if (bytes >= 8 && memcmp(data, "\x89PNG\r\n\x1a\n", 8) == 0) {
        *out = AMB_CODEC_PNG;
    } else if (bytes >= 3 && memcmp(data, "\xff\xd8\xff", 3) == 0) {
        *out = AMB_CODEC_JPEG;
    } else if (bytes >= 12 && memcmp(data, "RIFF", 4) == 0 && memcmp(data + 8, "WEBP", 4) == 0) {
        *out = AMB_CODEC_WEBP;
    } else if (bytes >= 6 && memcmp(data, "\x93NUMPY", 6) == 0) {
        *out = AMB_CODEC_NPY;
    } else if (bytes == 0) {
        return amb_fail(err, AMB_ERR_FORMAT, "empty, 0 bytes, where a PNG, JPEG, WebP or .npy is wanted");
    } else {
        for (size_t i = 0; i < amb_size_min(bytes, 8); i++) {
            snprintf(found + 3 * i, sizeof found - 3 * i, " %02x", data[i]);
        }
        return amb_fail(err, AMB_ERR_FORMAT, "begins with%s, which is no PNG, JPEG, WebP or .npy (%zu bytes)",
                        found, bytes);
    }
    return 0;
}

int amb_decoder_prepare(struct amb_decoder *decoder, enum amb_codec codec, uint64_t width, uint64_t height,
                        struct amb_error *err) {
    const struct amb_codec_limits *limits = &decoder->limits;
    const char *name = amb_codec_name(codec);

    if (width == 0 || height == 0) {
        return amb_fail(err, AMB_ERR_FORMAT, "%s of %" PRIu64 " x %" PRIu64 " pixels is empty", name, width,
                        height);
    }
    if (width > limits->side_max || height > limits->side_max) {
        return amb_fail(err, AMB_ERR_LIMIT,
                        "%s of %" PRIu64 " x %" PRIu64 " pixels: a side may have at most %u", name, width,
                        height, limits->side_max);
    }
    if (width * height > limits->pixels_max) { /* sides are 32 bits: no wrap */
        return amb_fail(err, AMB_ERR_LIMIT,
                        "%s of %" PRIu64 " x %" PRIu64 " pixels: at most %" PRIu64 " in all", name, width,
                        height, limits->pixels_max);
    }
    if (decoder_reserve(&decoder->pixels, decoder, 3 * (size_t)(width * height)) < 0) {
        return amb_fail(err, -ENOMEM, "no memory for %" PRIu64 " x %" PRIu64 " pixels", width, height);
    }
    return 0;
}

int amb_decoder_fail_late(const struct amb_decoder *decoder, enum amb_codec codec, struct amb_error *err) {
    return amb_fail(err, -ETIMEDOUT, "%s took more than %" PRIu64 " ms of CPU time", amb_codec_name(codec),
                    decoder->limits.cpu_ns / 1000000);
}

/* Bring decoder->pixels to the wanted channels, in place. */
static void decoder_convert(struct amb_decoder *decoder, struct amb_picture *picture, uint32_t channels) {
    size_t n_pixels = (size_t)picture->width * picture->height;
    uint8_t *pixels = decoder->pixels.data;

    if (channels == 1 && picture->channels == 3) {
        amb_colour_luma(pixels, pixels, n_pixels);
    } else if (channels == 3 && picture->channels == 1) {
        amb_colour_spread(pixels, pixels, n_pixels);
    }
    picture->channels = channels;
}

static int decoder_turn(struct amb_decoder *decoder, struct amb_picture *picture, struct amb_error *err) {
    uint32_t width = picture->width, height = picture->height;

    if (decoder_reserve(&decoder->upright, decoder, (size_t)width * height * picture->channels) < 0) {
        return amb_fail(err, -ENOMEM, "no memory to turn %u x %u pixels", width, height);
    }
    amb_exif_apply(decoder->upright.data, decoder->pixels.data, width, height, picture->channels,
                   picture->orientation);
    if (picture->orientation >= 5) {
        picture->width = height;
        picture->height = width;
    }
    return 0;
}

static int decoder_decode_here(struct amb_image *out, struct amb_decoder *decoder, const uint8_t *data,
                               size_t bytes, uint32_t channels, struct amb_error *err) {
    struct amb_picture picture = {.orientation = 1};
    enum amb_codec codec;
    uint8_t *pixels;
    int r;

    r = amb_codec_sniff(&codec, data, bytes, err);
    if (r < 0) {
        return r;
    }
    amb_deadline_start(&decoder->deadline, decoder->limits.cpu_ns);
    r = codecs[codec].decode(&picture, decoder, data, bytes, err);
    if (r < 0) {
        return r;
    }
    decoder_convert(decoder, &picture, channels);
    pixels = decoder->pixels.data;
    if (picture.orientation != 1) {
        r = decoder_turn(decoder, &picture, err);
        if (r < 0) {
            return r;
        }
        pixels = decoder->upright.data;
    }
    *out = (struct amb_image){.data = pixels,
                              .width = picture.width,
                              .height = picture.height,
                              .channels = channels,
                              .row_bytes = (size_t)picture.width * channels,
                              .dtype = AMB_DTYPE_U8};
    return 0;
}

int amb_decoder_decode(struct amb_image *out, struct amb_decoder *decoder, const uint8_t *data, size_t bytes,
                       uint32_t channels, struct amb_error *err) {
    assert(channels == 1 || channels == 3);
    return decoder->cell != NULL ? amb_cell_decode(out, decoder->cell, data, bytes, channels, err)
                                 : decoder_decode_here(out, decoder, data, bytes, channels, err);
}

int amb_decoder_push(struct amb_decoder *decoder, uint64_t ticket, const uint8_t *data, size_t bytes,
                     uint32_t channels) {
    assert(channels == 1 || channels == 3);
    return decoder->cell != NULL ? amb_cell_push(decoder->cell, ticket, data, bytes, channels)
                                 : AMB_DECODER_E_FULL;
}

int amb_decoder_pop(struct amb_image *out, struct amb_decoder *decoder, uint64_t ticket,
                    struct amb_error *err) {
    return decoder->cell != NULL ? amb_cell_pop(out, decoder->cell, ticket, err) : AMB_DECODER_E_NONE;
}

bool amb_decoder_is_ahead(const struct amb_decoder *decoder) {
    return decoder->cell != NULL;
}

void amb_decoder_reset(struct amb_decoder *decoder) {
    if (decoder->cell != NULL) {
        amb_cell_reset(decoder->cell);
    }
}

static char versions[96];
static pthread_once_t versions_once = PTHREAD_ONCE_INIT;

/* libjpeg-turbo tells its version at compile time only. */
static void versions_set(void) {
    int webp = WebPGetDecoderVersion();

    snprintf(versions, sizeof versions, "jpeg %s png %s webp %d.%d.%d", STRING(LIBJPEG_TURBO_VERSION),
             png_get_libpng_ver(NULL), webp >> 16, webp >> 8 & 255, webp & 255);
}

const char *amb_codec_versions(void) {
    pthread_once(&versions_once, versions_set);
    return versions;
}
