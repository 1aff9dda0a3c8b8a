/*
 * Probe: what the first samples look like, before sizes and slots are settled.
 *
 * What a slot looks like must follow from the dataset's bytes alone, so a fault of the moment is an error
 * here, not a reason to look at the next sample.
 */
#include <stdlib.h>
#include <string.h>

#include "batch/fill.h"
#include "batch/load.h"
#include "codec/npy.h"

struct probe {
    uint32_t width, height, channels;
    bool latent;
};

static int probe_picture(struct probe *out, struct amb_filler *filler, struct amb_error *err) {
    struct amb_image image;
    int r =
        amb_decoder_decode(&image, filler->decoder, filler->payload.data, filler->payload.n_bytes, 3, err);

    if (r == 0) {
        *out = (struct probe){image.width, image.height, 3, false};
    }
    return r;
}

static int probe_array(struct probe *out, struct amb_filler *filler, struct amb_error *err) {
    struct amb_npy npy;
    int r = amb_npy_decode(&npy, filler->payload.data, filler->payload.n_bytes, err);

    if (r < 0) {
        return r;
    }
    if (npy.dtype == AMB_DTYPE_U8) {
        r = probe_picture(out, filler, err);
        if (r == 0 && (npy.n_dims == 2 || npy.dims[npy.n_dims - 1] == 1)) {
            out->channels = 1;
        }
        return r;
    }
    if ((npy.dtype != AMB_DTYPE_F32 && npy.dtype != AMB_DTYPE_F16) || npy.n_dims != 3 || npy.dims[0] == 0 ||
        npy.dims[0] > 2 * AMB_LATENT_CHANNELS_MAX || npy.dims[1] - 1 >= AMB_CODEC_SIDE_MAX ||
        npy.dims[2] - 1 >= AMB_CODEC_SIDE_MAX) {
        return amb_fail(
            err, AMB_ERR_FORMAT,
            "array of dtype %s and %u dimensions; a picture is u8 height x width x channels, a latent f32 or "
            "f16 channels x height x width with at most %u planes of at most %u a side",
            amb_dtype_name(npy.dtype), npy.n_dims, 2 * AMB_LATENT_CHANNELS_MAX, AMB_CODEC_SIDE_MAX);
    }
    *out = (struct probe){(uint32_t)npy.dims[2], (uint32_t)npy.dims[1], (uint32_t)npy.dims[0], true};
    return 0;
}

static int probe_sample(struct probe *out, struct amb_filler *filler, const struct amb_catalog *catalog,
                        uint32_t i_sample, struct amb_error *err) {
    enum amb_codec codec;
    int r = amb_catalog_read(&filler->payload, catalog, i_sample, err);

    if (r < 0) {
        return r;
    }
    r = amb_codec_sniff(&codec, filler->payload.data, filler->payload.n_bytes, err);
    if (r < 0) {
        return r;
    }
    return codec == AMB_CODEC_NPY ? probe_array(out, filler, err) : probe_picture(out, filler, err);
}

static uint32_t probe_count(const struct amb_catalog *catalog) {
    uint32_t n = amb_catalog_count(catalog);

    return n < AMB_PROBE_SAMPLES ? n : AMB_PROBE_SAMPLES;
}

int amb_fill_probe(uint32_t *width, uint32_t *height, uint32_t *channels, bool *npy_latent,
                   struct amb_filler *filler, struct amb_catalog *catalog, struct amb_error *err) {
    uint32_t n = probe_count(catalog);
    struct probe found = {0};
    int r = amb_fail(err, AMB_ERR_NOT_FOUND, "the dataset has no samples to take a size from");

    for (uint32_t i = 0; i < n; i++) {
        r = probe_sample(&found, filler, catalog, i, err);
        if (r == 0) {
            *width = found.width;
            *height = found.height;
            *channels = found.channels;
            *npy_latent = found.latent;
            return 0;
        }
        if (amb_load_is_transient(r)) {
            return r;
        }
    }
    return r;
}

static bool probe_is_array_ext(const char *ext) {
    size_t n = strlen(ext);

    return n >= 3 && strcmp(ext + n - 3, "npy") == 0 && (n == 3 || ext[n - 4] == '.');
}

static int probe_member(struct amb_layout_field *field, struct amb_filler *filler,
                        const struct amb_catalog *catalog, struct amb_error *err) {
    uint32_t n = probe_count(catalog);

    for (uint32_t i = 0; i < n; i++) {
        struct amb_npy npy;
        int r = amb_catalog_read_member(&filler->member, catalog, i, field->member_ext, err);

        if (amb_load_is_transient(r)) {
            return r;
        }
        if (r == 0 && amb_npy_decode(&npy, filler->member.data, filler->member.n_bytes, NULL) == 0 &&
            npy.data_bytes != 0) {
            return amb_layout_stack(field, &npy, err);
        }
    }
    return 0;
}

int amb_fill_probe_members(struct amb_layout *layout, struct amb_filler *filler,
                           const struct amb_catalog *catalog, struct amb_error *err) {
    for (uint32_t i = 0; i < layout->n_fields; i++) {
        struct amb_layout_field *field = &layout->fields[i];

        if (field->field == AMB_FIELD_MEMBER && probe_is_array_ext(field->member_ext)) {
            int r = probe_member(field, filler, catalog, err);

            if (r < 0) {
                return r;
            }
        }
    }
    return 0;
}
