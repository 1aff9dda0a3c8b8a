#pragma once
/* Decode: stored picture -> u8 pixels. The one border behind which untrusted bytes are parsed. */
#include <stdbool.h>
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

enum amb_decoder_outcome {
    AMB_DECODER_E_FULL = 1, /* nothing more is decoded ahead now             */
    AMB_DECODER_E_NONE = 2, /* not pushed, or lost: decode it in the usual way */
};

struct amb_sandbox;

struct amb_codec_limits {
    uint64_t pixels_max;
    uint32_t side_max, scans_max;
    uint64_t cpu_ns;
    struct amb_sandbox *sandbox; /* borrowed; NULL: decode in this process */
};

#define AMB_CODEC_LIMITS_DEFAULT                                                                             \
    ((struct amb_codec_limits){AMB_CODEC_PIXELS_MAX, AMB_CODEC_SIDE_MAX, AMB_CODEC_SCANS_MAX,                \
                               AMB_CODEC_CPU_NS, NULL})

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
 *           -ENOMEM and -ETIMEDOUT (CPU limit) are transient. With a sandbox also AMB_ERR_FORMAT for a picture
 *           of which two fresh processes died by a fault of their own, and, transient, -EIO where the process
 *           ended for another reason and -EAGAIN where none can be started.
 * Thread:   worker, one decoder each.
 */
int amb_decoder_decode(struct amb_image *out, struct amb_decoder *decoder, const uint8_t *data, size_t bytes,
                       uint32_t channels, struct amb_error *err);

/**
 * Decode ahead: push what will be asked for next, then pop in the same order; others may be decoded between.
 *
 * A sandbox decodes what was pushed while its owner does something else. Without one nothing is ever taken.
 *
 * ticket:  the caller's name for the picture.
 * push:    copies data. 0 or AMB_DECODER_E_FULL.
 * pop:     as decode; forgets what was pushed before the ticket. AMB_DECODER_E_NONE.
 * reset:   forgets all.
 * Thread:  worker, one decoder each.
 */
int amb_decoder_push(struct amb_decoder *decoder, uint64_t ticket, const uint8_t *data, size_t bytes,
                     uint32_t channels);
int amb_decoder_pop(struct amb_image *out, struct amb_decoder *decoder, uint64_t ticket,
                    struct amb_error *err);
void amb_decoder_reset(struct amb_decoder *decoder);
bool amb_decoder_is_ahead(const struct amb_decoder *decoder); /* false: push is not worth a call */

/* Versions of the codec libraries that run, "jpeg 2.1.5 png 1.6.39 webp 1.2.4": part of a stream's state. Static. */
const char *amb_codec_versions(void);
