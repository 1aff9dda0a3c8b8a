/*
 * Dataset shape: settled once, before the first stream, because slots are sealed to it.
 *
 * Where no size is given, the first sample's size is taken and SIZE_CHECKS others, spread over the dataset,
 * must agree: a folder of photographs is refused here with two names and two sizes, not sample by sample
 * later.
 */
#include "daemon/dataset-shape.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "codec/npy.h"

#define SIZE_CHECKS 32u /* some 0.2 s of photographs; not tuned */

struct shape_probe {
    uint32_t width, height, channels;
    bool latent;
};

/* Size of one sample; 0, or < 0 where it cannot be read (then it is none of our business). */
static int shape_read(struct shape_probe *out, struct amb_filler *filler, struct amb_catalog *catalog,
                      uint32_t i_sample) {
    struct amb_image image;
    struct amb_npy npy;
    enum amb_codec codec;
    int r = amb_catalog_read(&filler->payload, catalog, i_sample, NULL);

    r = r < 0 ? r : amb_codec_sniff(&codec, filler->payload.data, filler->payload.n_bytes, NULL);
    if (r < 0) {
        return r;
    }
    if (codec == AMB_CODEC_NPY) {
        r = amb_npy_decode(&npy, filler->payload.data, filler->payload.n_bytes, NULL);
        if (r == 0 && npy.n_dims == 3 && npy.dtype != AMB_DTYPE_U8) {
            *out = (struct shape_probe){(uint32_t)npy.dims[2], (uint32_t)npy.dims[1], (uint32_t)npy.dims[0],
                                        true};
            return 0;
        }
    }
    r = r < 0 ? r
              : amb_decoder_decode(&image, filler->decoder, filler->payload.data, filler->payload.n_bytes, 3,
                                   NULL);
    if (r == 0) {
        *out = (struct shape_probe){image.width, image.height, 3, false};
    }
    return r;
}

static int shape_compare(const struct shape_probe *first, struct amb_filler *filler,
                         struct amb_catalog *catalog, uint32_t i_sample, struct amb_error *err) {
    struct amb_sample_info info;
    struct shape_probe other = {0};

    if (shape_read(&other, filler, catalog, i_sample) < 0 ||
        (other.width == first->width && other.height == first->height &&
         (!first->latent || other.channels == first->channels) && other.latent == first->latent)) {
        return 0;
    }
    amb_catalog_get(&info, catalog, i_sample);
    return amb_fail(
        err, AMB_ERR_FORMAT,
        "samples differ in size: the first is %ux%ux%u%s, '%.*s' is %ux%ux%u%s (height x width x channels); "
        "give a size (--size N, or datasets.NAME.image.size) to bring pictures to one",
        first->height, first->width, first->channels, first->latent ? " latent" : "",
        (int)(info.key_bytes < 80 ? info.key_bytes : 80), info.key, other.height, other.width, other.channels,
        other.latent ? " latent" : "");
}

static int shape_check_sizes(const struct shape_probe *first, struct amb_filler *filler,
                             struct amb_catalog *catalog, struct amb_error *err) {
    uint32_t n = amb_catalog_count(catalog), n_checks = n < SIZE_CHECKS ? n : SIZE_CHECKS;
    int r = 0;

    for (uint32_t i = 0; i < n_checks && r == 0; i++) {
        r = shape_compare(first, filler, catalog, (uint32_t)((uint64_t)i * n / n_checks), err);
    }
    return r;
}

static int shape_set_image(struct amb_dataset *dataset, const struct ambd_dataset_config *config,
                           const struct shape_probe *probe) {
    bool sized = config->width != 0;

    dataset->transform = (struct amb_transform){
        .crop = config->crop_set ? config->crop
                : sized          ? AMB_CROP_CENTER
                                 : AMB_CROP_NONE,
        .resample = config->resample,
        .width = sized ? (uint32_t)config->width : probe->width,
        .height = sized ? (uint32_t)config->height : probe->height,
        .channels = config->channels != 0 ? (uint32_t)config->channels : 3,
    };
    dataset->shape = (struct amb_shape){
        .channels = dataset->transform.channels,
        .height = dataset->transform.height,
        .width = dataset->transform.width,
    };
    return 0;
}

static int shape_set_affine(float *out, const double *values, size_t n, uint32_t channels, float neutral,
                            const char *key, struct amb_error *err) {
    if (n != 0 && n != channels) {
        return amb_fail(err, AMB_ERR_CONFIG, "latent.%s: %zu numbers, allowed: one for each of %u channels",
                        key, n, channels);
    }
    for (uint32_t i = 0; i < channels; i++) {
        out[i] = n == 0 ? neutral : (float)values[i];
    }
    return 0;
}

static int shape_set_latent(struct amb_dataset *dataset, const struct ambd_dataset_config *config,
                            const struct shape_probe *probe, struct amb_error *err) {
    struct amb_sample_info info;
    bool std;
    int r;

    amb_catalog_get(&info, dataset->catalog, 0);
    std =
        config->latent_std_set ? config->latent_std : memmem(info.key, info.key_bytes, "mean-std", 8) != NULL;
    if (config->width != 0 || config->channels != 0 || config->crop_set) {
        return amb_fail(err, AMB_ERR_CONFIG,
                        "image: the samples are latents of %u planes of %ux%u, which no size, channels or "
                        "transform applies "
                        "to; leave them out",
                        probe->channels, probe->height, probe->width);
    }
    if (std && probe->channels % 2 != 0) {
        return amb_fail(err, AMB_ERR_CONFIG,
                        "latent.std: %u planes are not pairs of mean and std; set it to false",
                        probe->channels);
    }
    dataset->shape = (struct amb_shape){
        .channels = std ? probe->channels / 2 : probe->channels,
        .height = probe->height,
        .width = probe->width,
        .latent = true,
        .latent_std = std,
    };
    if (dataset->shape.channels > AMB_LATENT_CHANNELS_MAX) {
        return amb_fail(err, AMB_ERR_LIMIT,
                        "latents of %u channels, limit %u; if half of them are standard deviations, "
                        "set latent.std to true",
                        dataset->shape.channels, AMB_LATENT_CHANNELS_MAX);
    }
    r = shape_set_affine(dataset->latent_scale, config->latent_scale, config->n_latent_scale,
                         dataset->shape.channels, 1, "scale", err);
    return r < 0 ? r
                 : shape_set_affine(dataset->latent_shift, config->latent_shift, config->n_latent_shift,
                                    dataset->shape.channels, 0, "shift", err);
}

static int shape_settle(struct amb_dataset *dataset, const struct ambd_dataset_config *config,
                        struct amb_filler *filler, struct amb_error *err) {
    struct shape_probe probe;
    int r = amb_fill_probe(&probe.width, &probe.height, &probe.channels, &probe.latent, filler,
                           dataset->catalog, err);

    if (r < 0) {
        return r;
    }
    if (!probe.latent && (config->n_latent_scale > 0 || config->n_latent_shift > 0)) {
        return amb_fail(err, AMB_ERR_CONFIG, "latent: the samples are pictures; leave scale and shift out");
    }
    if (config->width == 0) {
        r = shape_check_sizes(&probe, filler, dataset->catalog, err);
    }
    if (r == 0) {
        r = probe.latent ? shape_set_latent(dataset, config, &probe, err)
                         : shape_set_image(dataset, config, &probe);
    }
    return r;
}

static uint64_t shape_hash(const struct amb_dataset *dataset) {
    const struct amb_transform *t = &dataset->transform;
    const uint64_t words[] = {t->crop,
                              t->resample,
                              dataset->shape.width,
                              dataset->shape.height,
                              dataset->shape.channels,
                              dataset->shape.latent,
                              dataset->shape.latent_std};

    return amb_hash_words("transform", words, sizeof words / sizeof words[0]);
}

int ambd_dataset_shape_get(struct amb_dataset *dataset, const struct ambd_dataset_config *config,
                           const struct amb_codec_limits *limits, struct amb_error *err) {
    AMB_CLEANUP(amb_filler_deinit) struct amb_filler filler = {0};
    int r = amb_filler_init(&filler, limits, err);

    r = r < 0 ? r : shape_settle(dataset, config, &filler, err);
    if (r < 0) {
        return r;
    }
    dataset->shape.label_width = amb_catalog_label_width(dataset->catalog);
    dataset->shape.key_bytes_max = (uint32_t)amb_catalog_key_bytes_max(dataset->catalog);
    dataset->noise_seed = config->noise_seed;
    dataset->transform_hash = shape_hash(dataset);
    return 0;
}

static int text_push(struct amb_buf *text, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int text_push(struct amb_buf *text, const char *fmt, ...) {
    char part[256];
    va_list args;
    int n;

    va_start(args, fmt);
    n = vsnprintf(part, sizeof part, fmt, args);
    va_end(args);
    return amb_buf_push(text, part, (size_t)n < sizeof part ? (size_t)n : sizeof part - 1);
}

/* A JSON string; what JSON must escape is escaped, other bytes stay as they are. */
static int text_push_string(struct amb_buf *text, const char *string) {
    int r = amb_buf_push(text, "\"", 1);

    for (const char *p = string; *p != '\0' && r == 0; p++) {
        unsigned char c = (unsigned char)*p;

        if (c == '"' || c == '\\') {
            r = text_push(text, "\\%c", c);
        } else if (c < 0x20) {
            r = text_push(text, "\\u%04x", c);
        } else {
            r = amb_buf_push(text, p, 1);
        }
    }
    return r < 0 ? r : amb_buf_push(text, "\"", 1);
}

static int text_push_floats(struct amb_buf *text, const char *key, const float *values, uint32_t n) {
    int r = text_push(text, "\"%s\":[", key);

    for (uint32_t i = 0; i < n && r == 0; i++) {
        r = text_push(text, "%s%.9g", i > 0 ? "," : "", (double)values[i]);
    }
    return r < 0 ? r : text_push(text, "]");
}

/* Keys in alphabetical order, no spaces: proto/README.md section 4. */
static int fingerprint_text(struct amb_buf *text, const struct amb_dataset *dataset,
                            const struct ambd_dataset_config *config) {
    const struct amb_shape *shape = &dataset->shape;
    uint32_t n_affine = shape->latent ? shape->channels : 0;
    int r = text_push(text, "{\"exclude\":[");

    for (size_t i = 0; i < config->n_excludes && r == 0; i++) {
        r = i > 0 ? amb_buf_push(text, ",", 1) : 0;
        r = r < 0 ? r : text_push_string(text, config->excludes[i]);
    }
    r = r < 0 ? r : text_push(text, "],\"latent\":{");
    r = r < 0 ? r : text_push_floats(text, "scale", dataset->latent_scale, n_affine);
    r = r < 0 ? r : amb_buf_push(text, ",", 1);
    r = r < 0 ? r : text_push_floats(text, "shift", dataset->latent_shift, n_affine);
    r = r < 0 ? r
              : text_push(text, ",\"std\":%s},\"noise_seed\":\"%" PRIu64 "\"",
                          shape->latent_std ? "true" : "false", config->noise_seed);
    r = r < 0 ? r
              : text_push(text, ",\"shape\":[%u,%u,%u],\"sources\":[", shape->channels, shape->height,
                          shape->width);
    for (size_t i = 0; i < config->n_sources && r == 0; i++) {
        r = text_push(text, "%s{\"name\":", i > 0 ? "," : "");
        r = r < 0 ? r : text_push_string(text, config->sources[i].options.name);
        r = r < 0 ? r : text_push(text, ",\"repeat\":%.17g}", config->sources[i].options.repeat);
    }
    if (r == 0 && shape->latent) {
        return text_push(text, "],\"transform\":null}");
    }
    return r < 0 ? r
                 : text_push(text, "],\"transform\":{\"crop\":\"%s\",\"resample\":\"%s\"}}",
                             amb_crop_name(dataset->transform.crop),
                             amb_resample_name(dataset->transform.resample));
}

int ambd_dataset_fingerprint_get(struct amb_hash128 *out, const struct amb_dataset *dataset,
                                 const struct ambd_dataset_config *config, struct amb_error *err) {
    AMB_CLEANUP(amb_buf_deinit) struct amb_buf text = AMB_BUF_NULL;
    struct amb_hash128 digest = amb_catalog_digest(dataset->catalog);

    if (amb_buf_push(&text, digest.bytes, sizeof digest.bytes) < 0 ||
        fingerprint_text(&text, dataset, config) < 0) {
        return amb_fail(err, -ENOMEM, "no memory for a fingerprint");
    }
    *out = amb_hash128_encode(text.data, text.n_bytes);
    return 0;
}
