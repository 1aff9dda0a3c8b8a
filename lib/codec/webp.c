/*
 * Webp: libwebp straight into the decoder's pixels, alpha dropped.
 *
 * libwebp cannot be interrupted, so a large picture is fed to it in pieces and the clock is asked between
 * them; a small one goes in one call. Its own limits keep a side at 16383.
 */
#include <errno.h>

#include <webp/decode.h>

#include "codec/decoder.h"
#include "codec/exif.h"

#define WEBP_SMALL_PIXELS (1u << 20)  /* decoded at once: some 30 ms; not tuned */
#define WEBP_PIECE_BYTES  (64u << 10) /* not tuned */

static int webp_fail(VP8StatusCode status, size_t bytes, struct amb_error *err) {
    switch (status) {
    case VP8_STATUS_OUT_OF_MEMORY:
        return amb_fail(err, -ENOMEM, "no memory for a WebP decoder");
    case VP8_STATUS_UNSUPPORTED_FEATURE:
        return amb_fail(err, AMB_ERR_UNSUPPORTED,
                        "WebP of %zu bytes uses a feature that libwebp does not have", bytes);
    case VP8_STATUS_SUSPENDED:
    case VP8_STATUS_NOT_ENOUGH_DATA:
        return amb_fail(err, AMB_ERR_FORMAT, "WebP of %zu bytes is truncated", bytes);
    default:
        return amb_fail(err, AMB_ERR_FORMAT, "WebP of %zu bytes is damaged", bytes);
    }
}

/* Feed the picture piece by piece. Returns 0, or a failure. */
static int webp_feed(WebPIDecoder *idec, struct amb_decoder *decoder, const uint8_t *data, size_t bytes,
                     struct amb_error *err) {
    VP8StatusCode status = VP8_STATUS_SUSPENDED;

    for (size_t fed = 0; status == VP8_STATUS_SUSPENDED && fed < bytes;) {
        fed = bytes - fed > WEBP_PIECE_BYTES ? fed + WEBP_PIECE_BYTES : bytes;
        status = WebPIUpdate(idec, data, fed);
        if (amb_deadline_passed(&decoder->deadline)) {
            return amb_decoder_fail_late(decoder, AMB_CODEC_WEBP, err);
        }
    }
    return status == VP8_STATUS_OK ? 0 : webp_fail(status, bytes, err);
}

static int webp_decode_large(WebPDecoderConfig *config, struct amb_decoder *decoder, const uint8_t *data,
                             size_t bytes, struct amb_error *err) {
    WebPIDecoder *idec = WebPIDecode(NULL, 0, config);
    int r;

    if (idec == NULL) {
        return webp_fail(VP8_STATUS_OUT_OF_MEMORY, bytes, err);
    }
    r = webp_feed(idec, decoder, data, bytes, err);
    WebPIDelete(idec);
    return r;
}

int amb_webp_decode(struct amb_picture *out, struct amb_decoder *decoder, const uint8_t *data, size_t bytes,
                    struct amb_error *err) {
    WebPDecoderConfig config;
    VP8StatusCode status;
    int r;

    if (!WebPInitDecoderConfig(&config)) {
        return amb_fail(err, AMB_ERR_UNSUPPORTED, "the libwebp that runs is older than the one of the build");
    }
    status = WebPGetFeatures(data, bytes, &config.input);
    if (status != VP8_STATUS_OK) {
        return webp_fail(status, bytes, err);
    }
    if (config.input.has_animation) {
        return amb_fail(err, AMB_ERR_UNSUPPORTED,
                        "animated WebP: a sample is one picture; store its frames apart");
    }
    out->width = (uint32_t)config.input.width;
    out->height = (uint32_t)config.input.height;
    out->channels = 3;
    r = amb_decoder_prepare(decoder, AMB_CODEC_WEBP, out->width, out->height, err);
    if (r < 0) {
        return r;
    }
    config.output.colorspace = MODE_RGB;
    config.output.is_external_memory = 1;
    config.output.u.RGBA.rgba = decoder->pixels.data;
    config.output.u.RGBA.stride = (int)(out->width * 3);
    config.output.u.RGBA.size = (size_t)out->width * 3 * out->height;
    if ((uint64_t)out->width * out->height > WEBP_SMALL_PIXELS) {
        r = webp_decode_large(&config, decoder, data, bytes, err);
        if (r < 0) {
            return r;
        }
    } else {
        status = WebPDecode(data, bytes, &config);
        if (status != VP8_STATUS_OK) {
            return webp_fail(status, bytes, err);
        }
    }
    out->orientation = amb_exif_from_webp(data, bytes);
    return 0;
}
