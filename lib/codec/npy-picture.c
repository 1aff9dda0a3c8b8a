/*
 * Npy pictures: u8 arrays of height x width, or height x width x channels with 1 to 4 channels.
 *
 * 2 and 4 channels are grey and RGB with alpha, which is dropped. Floating-point arrays are latents, not
 * pictures.
 */
#include <inttypes.h>
#include <string.h>

#include "codec/colour.h"
#include "codec/decoder.h"
#include "codec/npy.h"

int amb_npy_decode_picture(struct amb_picture *out, struct amb_decoder *decoder, const uint8_t *data,
                           size_t bytes, struct amb_error *err) {
    struct amb_npy npy;
    uint32_t channels;
    size_t n_pixels;
    int r;

    r = amb_npy_decode(&npy, data, bytes, err);
    if (r < 0) {
        return r;
    }
    if (npy.dtype != AMB_DTYPE_U8) {
        return amb_fail(err, AMB_ERR_UNSUPPORTED,
                        ".npy of %s is no picture: pictures are u8, f16 and f32 are latents",
                        amb_dtype_name(npy.dtype));
    }
    if ((npy.n_dims != 2 && npy.n_dims != 3) || (npy.n_dims == 3 && (npy.dims[2] < 1 || npy.dims[2] > 4))) {
        return amb_fail(err, AMB_ERR_UNSUPPORTED,
                        ".npy of %u dimensions, the last %" PRIu64
                        ": a picture is height x width or height x width x 1 to 4",
                        npy.n_dims, npy.n_dims == 0 ? 0 : npy.dims[npy.n_dims - 1]);
    }
    channels = npy.n_dims == 3 ? (uint32_t)npy.dims[2] : 1;
    r = amb_decoder_prepare(decoder, AMB_CODEC_NPY, npy.dims[1], npy.dims[0], err);
    if (r < 0) {
        return r;
    }
    out->width = (uint32_t)npy.dims[1];
    out->height = (uint32_t)npy.dims[0];
    out->channels = channels >= 3 ? 3 : 1;
    n_pixels = (size_t)out->width * out->height;
    if (channels == out->channels) {
        memcpy(decoder->pixels.data, data + npy.data_offset, n_pixels * channels);
    } else {
        amb_colour_keep(decoder->pixels.data, data + npy.data_offset, n_pixels, channels, out->channels);
    }
    return 0;
}
