#pragma once
/* Decode: stored picture -> u8 pixels. The one border behind which untrusted bytes are parsed. */
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/image.h"

#define AMB_CODEC_PIXELS_MAX (64u << 20)            /* DESIGN section 9: 64 Mpx */
#define AMB_CODEC_SIDE_MAX   16383u                 /* WebP's own limit */
#define AMB_CODEC_SCANS_MAX  500u                   /* progressive JPEG bombs */
#define AMB_CODEC_CPU_NS     UINT64_C(1000000000)   /* one CPU second */

enum amb_codec {
    AMB_CODEC_PNG,
    AMB_CODEC_JPEG,
    AMB_CODEC_WEBP,
    AMB_CODEC_NPY,
    AMB_CODEC_N,
};

struct amb_codec_limits {
    uint64_t pixels_max;
    uint32_t side_max, scans_max;
    uint64_t cpu_ns;
};

#define AMB_CODEC_LIMITS_DEFAULT                                                                             \
    ((struct amb_codec_limits){AMB_CODEC_PIXELS_MAX, AMB_CODEC_SIDE_MAX, AMB_CODEC_SCANS_MAX, AMB_CODEC_CPU_NS})

/* Buffers of one worker: pixels, rows, resize taps. Grows to the largest picture seen, then allocates no more. */
struct amb_decoder;
int amb_decoder_new(struct amb_decoder **out, const struct amb_codec_limits *limits, struct amb_error *err);
struct amb_decoder *amb_decoder_free(struct amb_decoder *decoder);

/* Format by the first bytes, never by name. AMB_ERR_FORMAT with what was found. */
int amb_codec_sniff(enum amb_codec *out, const uint8_t *data, size_t bytes, struct amb_error *err);
const char *amb_codec_name(enum amb_codec codec);

/**
 * Decode a picture to u8 height x width x channels, EXIF orientation applied.
 *
 * channels: 1 or 3, what the dataset wants; grey, palette, alpha, 16-bit and CMYK inputs become that by the
 *           rules in decode.c (those of Pillow's convert("RGB") / convert("L"), alpha dropped, said there).
 * out:      borrowed from the decoder; valid until its next call.
 * Errors:   AMB_ERR_FORMAT, AMB_ERR_CHECKSUM, AMB_ERR_LIMIT, AMB_ERR_UNSUPPORTED are causes in the bytes;
 *           -ENOMEM and -ETIMEDOUT (CPU limit) are transient.
 * Thread:   worker, one decoder each.
 */
int amb_decoder_decode(struct amb_image *out, struct amb_decoder *decoder, const uint8_t *data, size_t bytes,
                       uint32_t channels, struct amb_error *err);

/* Versions of the codec libraries that run, "jpeg 2.1.5 png 1.6.39 webp 1.2.4": part of a stream's state. Static. */
const char *amb_codec_versions(void);
