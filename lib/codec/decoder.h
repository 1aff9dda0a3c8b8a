#pragma once
/* Decoder: what one worker keeps between pictures; private to lib/codec. */
#include "base/buf.h"
#include "codec/arena.h"
#include "codec/deadline.h"
#include "codec/decode.h"
#include "codec/resize.h"

struct amb_cell; /* the process that decodes in our place */
struct amb_jpeg; /* libjpeg's state, made at the first JPEG */

struct amb_decoder {
    struct amb_codec_limits limits;
    struct amb_deadline deadline;  /* of the picture at hand                          */
    struct amb_arena arena;        /* heap of libpng and libjpeg for one picture      */
    struct amb_buf pixels;         /* the picture as stored                           */
    struct amb_buf upright;        /* after orientation, where that is not 1          */
    struct amb_buf row;            /* one row in the file's own colours (CMYK, alpha) */
    struct amb_jpeg *jpeg;
    struct amb_resizer resizer;
    struct amb_cell *cell;         /* NULL: decoded here                              */
    uint8_t *lent;                 /* memory for pixels and upright; NULL: their own  */
    size_t lent_bytes;
};

/* Put the next picture's pixels there instead of into buffers of the decoder's own. -ENOMEM where it does not fit. */
void amb_decoder_lend(struct amb_decoder *decoder, uint8_t *memory, size_t bytes);

/* What a backend has put into decoder->pixels: contiguous u8 rows of 1 (grey) or 3 (RGB) channels. */
struct amb_picture {
    uint32_t width, height, channels;
    unsigned orientation;
};

/**
 * Check a picture's size against the limits, then make room for three channels of it in decoder->pixels.
 *
 * Every backend calls this as soon as it knows the size and before it lets its library allocate.
 * Errors: AMB_ERR_FORMAT a side is 0; AMB_ERR_LIMIT; -ENOMEM.
 */
int amb_decoder_prepare(struct amb_decoder *decoder, enum amb_codec codec, uint64_t width, uint64_t height,
                        struct amb_error *err);

/* The error of a picture whose deadline has passed. */
int amb_decoder_fail_late(const struct amb_decoder *decoder, enum amb_codec codec, struct amb_error *err);

/* The backends. data begins with the format's magic bytes. Thread: worker. */
int amb_jpeg_decode(struct amb_picture *out, struct amb_decoder *decoder, const uint8_t *data, size_t bytes,
                    struct amb_error *err);
struct amb_jpeg *amb_jpeg_free(struct amb_jpeg *jpeg); /* NULL ok; returns NULL */
int amb_png_decode(struct amb_picture *out, struct amb_decoder *decoder, const uint8_t *data, size_t bytes,
                   struct amb_error *err);
int amb_webp_decode(struct amb_picture *out, struct amb_decoder *decoder, const uint8_t *data, size_t bytes,
                    struct amb_error *err);
int amb_npy_decode_picture(struct amb_picture *out, struct amb_decoder *decoder, const uint8_t *data,
                           size_t bytes, struct amb_error *err);
