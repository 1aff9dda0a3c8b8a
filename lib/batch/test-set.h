#pragma once
/* Test set: a small tar of pictures or latents, made in a temporary folder, and all that a stream needs. */
#include "base/test.h"

#include <png.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/philox.h"
#include "batch/fill.h"

#define SET_SIDE 12u

enum set_kind {
    SET_PICTURES, /* key.png .cls .txt .t5.npy                */
    SET_LATENTS,  /* key.npy .cls: 2 x 4 planes, mean and std */
};

struct set {
    char dir[64], tar[96];
    enum set_kind kind;
    uint32_t n_samples;
    struct amb_catalog *catalog;
    struct amb_cache *cache;
    struct amb_quarantine *quarantine;
    struct amb_dataset dataset;
    struct amb_annotations *annotations;
    struct amb_orders *orders;
    struct amb_sampler *sampler;
    struct amb_layout layout;
    struct amb_fill_stream stream;
};

/* ---- bytes of the samples: all follow from the number -------------------------------------------------- */

/* Every fifth sample is broken where asked for; the kinds of damage take turns. */
static inline bool set_is_bad(uint32_t i, bool with_bad) {
    return with_bad && i % 5 == 2;
}

static inline void set_pixels(uint8_t *rgb, uint32_t i) {
    for (uint32_t j = 0; j < SET_SIDE * SET_SIDE * 3; j++) {
        rgb[j] = (uint8_t)amb_philox(i, j, 1).w[0];
    }
}

/* Stored value of pixel (c, y, x). */
static inline double set_x(const uint8_t *rgb, uint32_t c, uint32_t y, uint32_t x) {
    return rgb[(y * SET_SIDE + x) * 3 + c] / 127.5 - 1;
}

static inline float set_latent(uint32_t i, uint32_t e) {
    return (float)((double)amb_philox(i, e, 2).w[0] * 0x1p-31 - 1);
}

static inline size_t set_npy(uint8_t *out, const char *descr, const char *shape, const void *data,
                             size_t bytes) {
    char header[118];
    int n = snprintf(header, sizeof header, "{'descr': '%s', 'fortran_order': False, 'shape': %s, }", descr,
                     shape);

    memset(header + n, ' ', sizeof header - (size_t)n - 1);
    header[sizeof header - 1] = '\n';
    memcpy(out, "\x93NUMPY\x01\x00\x76\x00", 10);
    memcpy(out + 10, header, sizeof header);
    memcpy(out + 128, data, bytes);
    return 128 + bytes;
}

static inline void set_push(FILE *file, uint32_t i, const char *ext, const void *data, size_t bytes) {
    static const char zeros[512];
    char header[512] = {0};
    unsigned sum = 0;

    snprintf(header, 100, "k%04u.%s", i, ext);
    memcpy(header + 100, "0000644\0000000000\0000000000", 24);
    snprintf(header + 124, 12, "%011zo", bytes);
    memcpy(header + 136, "00000000000", 12);
    memcpy(header + 148, "        ", 8);
    header[156] = '0';
    memcpy(header + 257, "ustar\00000", 8);
    for (unsigned j = 0; j < sizeof header; j++) {
        sum += (uint8_t)header[j];
    }
    snprintf(header + 148, 8, "%06o", sum);
    fwrite(header, 1, sizeof header, file);
    fwrite(data, 1, bytes, file);
    fwrite(zeros, 1, (512 - bytes % 512) % 512, file);
}

static inline size_t set_png(uint8_t *out, size_t out_bytes, const uint8_t *rgb) {
    png_image image = {
        .version = PNG_IMAGE_VERSION, .width = SET_SIDE, .height = SET_SIDE, .format = PNG_FORMAT_RGB};
    png_alloc_size_t n = out_bytes;

    assert_int_not_equal(png_image_write_to_memory(&image, out, &n, 0, rgb, 0, NULL), 0);
    return n;
}

/* Member text: missing for every seventh sample, else i bytes. */
static inline size_t set_text(char *out, uint32_t i) {
    memset(out, 'a' + (int)(i % 26), i);
    return i;
}

static inline void set_push_picture(FILE *file, uint32_t i, bool bad) {
    uint8_t rgb[SET_SIDE * SET_SIDE * 3], bytes[4096];
    float t5[6];
    char text[1000];
    size_t n;

    set_pixels(rgb, i);
    n = set_png(bytes, sizeof bytes, rgb);
    if (bad && i % 3 == 0) {
        n /= 2;
    } else if (bad && i % 3 == 1) {
        memcpy(bytes, "not a picture", 13);
    } else if (bad) {
        n = 0;
    }
    set_push(file, i, "png", bytes, n);
    if (i % 7 != 3) {
        set_push(file, i, "txt", text, set_text(text, i));
    }
    for (unsigned j = 0; j < 6; j++) {
        t5[j] = (float)(i * 10 + j);
    }
    if (i % 7 == 4) {
        n = set_npy(bytes, "<f4", "(3, 2)", t5, sizeof t5); /* another shape counts as missing */
    } else if (i % 7 == 5) {
        n = set_npy(bytes, "<f4", "(2, 3)", t5, sizeof t5 - 1); /* so does a damaged one */
    } else {
        n = set_npy(bytes, "<f4", "(2, 3)", t5, sizeof t5);
    }
    if (i % 7 != 6) {
        set_push(file, i, "t5.npy", bytes, n);
    }
}

static inline void set_push_latent(FILE *file, uint32_t i, bool bad) {
    float values[8 * SET_SIDE * SET_SIDE];
    uint8_t bytes[sizeof values + 128];

    for (uint32_t e = 0; e < sizeof values / sizeof *values; e++) {
        values[e] = set_latent(i, e);
    }
    set_push(file, i, "npy", bytes,
             set_npy(bytes, "<f4", bad ? "(8, 6, 24)" : "(8, 12, 12)", values, sizeof values));
}

static inline void set_write(const struct set *set, bool with_bad, bool all_bad) {
    static const char zeros[1024];
    FILE *file = fopen(set->tar, "wb");
    char label[16];

    assert_non_null(file);
    for (uint32_t i = 0; i < set->n_samples; i++) {
        bool bad = all_bad || set_is_bad(i, with_bad);

        if (set->kind == SET_PICTURES) {
            set_push_picture(file, i, bad);
        } else {
            set_push_latent(file, i, bad);
        }
        set_push(file, i, "cls", label, (size_t)snprintf(label, sizeof label, "%u", i % 10));
    }
    fwrite(zeros, 1, sizeof zeros, file);
    fclose(file);
}

/* ---- the dataset over it ------------------------------------------------------------------------------- */

static inline void set_open_catalog(struct set *set, const char *path) {
    const char *patterns[1] = {path};
    struct amb_source_options source = {
        .name = "main", .patterns = patterns, .n_patterns = 1, .repeat = 1, .corruption_label = 3};
    struct amb_catalog_options options = {.n_threads = 1};
    struct amb_error err = AMB_ERROR_NULL;

    assert_ok(amb_catalog_open(&set->catalog, &source, 1, &options, NULL, &err), err);
    assert_int_equal(amb_catalog_count(set->catalog), set->n_samples);
}

/* A new cache of this capacity and an empty quarantine. */
static inline void set_renew(struct set *set, size_t cache_bytes) {
    struct amb_error err = AMB_ERROR_NULL;

    amb_cache_free(set->cache);
    amb_quarantine_free(set->quarantine);
    assert_ok(amb_cache_new(&set->cache, cache_bytes, &err), err);
    assert_ok(amb_quarantine_new(&set->quarantine, set->n_samples, &err), err);
    set->dataset.cache = set->cache;
    set->dataset.quarantine = set->quarantine;
}

/* Half of the samples are clean; the others may be used above their sigma_min, a few below a sigma_max. */
static inline void set_annotate(struct set *set) {
    struct amb_annotation *values = amb_calloc(set->n_samples, sizeof *values);
    struct amb_orders_source source = {0, set->n_samples, 1};
    struct amb_error err = AMB_ERROR_NULL;

    for (uint32_t i = 0; i < set->n_samples; i++) {
        values[i] = i % 2 == 0 ? AMB_ANNOTATION_EVERYWHERE
                               : (struct amb_annotation){0.1f * (float)(i % 8), i % 3 == 0 ? 0.05f : 0.0f};
    }
    assert_ok(amb_annotations_new(&set->annotations, values, set->n_samples, set->n_samples / 2, 1, &err),
              err);
    assert_ok(amb_orders_new(&set->orders, set->annotations, &source, 1, 1, &err), err);
}

/* The dataset over an opened catalog. */
static inline void set_open_dataset(struct set *set) {
    bool latent = set->kind == SET_LATENTS;

    set->dataset = (struct amb_dataset){
        .catalog = set->catalog,
        .shape = {.channels = latent ? 4 : 3,
                  .height = SET_SIDE,
                  .width = SET_SIDE,
                  .latent = latent,
                  .latent_std = latent,
                  .key_bytes_max = (uint32_t)amb_catalog_key_bytes_max(set->catalog),
                  .label_width = amb_catalog_label_width(set->catalog)},
        .transform = {.crop = AMB_CROP_NONE, .width = SET_SIDE, .height = SET_SIDE, .channels = 3},
        .transform_hash = 1,
        .noise_seed = 11,
    };
    for (unsigned c = 0; c < AMB_LATENT_CHANNELS_MAX; c++) {
        set->dataset.latent_scale[c] = 0.5f + (float)c;
        set->dataset.latent_shift[c] = -0.25f * (float)c;
    }
    set_renew(set, 0);
    set_annotate(set);
}

static inline void set_open(struct set *set, enum set_kind kind, uint32_t n_samples, bool with_bad,
                            bool all_bad) {
    *set = (struct set){.kind = kind, .n_samples = n_samples};
    snprintf(set->dir, sizeof set->dir, "/tmp/ambientd-test-XXXXXX");
    assert_non_null(mkdtemp(set->dir));
    snprintf(set->tar, sizeof set->tar, "%s/set.tar", set->dir);
    set_write(set, with_bad, all_bad);
    set_open_catalog(set, set->tar);
    set_open_dataset(set);
}

/* A stream with these options over the set; members are settled as the daemon does it. */
static inline void set_subscribe(struct set *set, const struct amb_stream_options *options,
                                 uint32_t batch_size, const char *const *fields, size_t n_fields) {
    struct amb_filler filler;
    struct amb_error err = AMB_ERROR_NULL;

    amb_sampler_free(set->sampler);
    assert_ok(amb_sampler_new(&set->sampler, set->orders, options, NULL, &err), err);
    set->layout = (struct amb_layout){.shape = set->dataset.shape, .batch_size = batch_size};
    for (size_t i = 0; i < n_fields; i++) {
        assert_ok(amb_layout_push(&set->layout, fields[i], AMB_DTYPE_N, 30, &err), err);
    }
    assert_ok(amb_filler_init(&filler, &AMB_CODEC_LIMITS_DEFAULT, &err), err);
    assert_ok(amb_fill_probe_members(&set->layout, &filler, set->catalog, &err), err);
    amb_filler_deinit(&filler);
    assert_ok(amb_layout_place(&set->layout, &err), err);
    set->stream = (struct amb_fill_stream){
        .dataset = &set->dataset,
        .sampler = set->sampler,
        .layout = &set->layout,
        .options = *options,
        .weight = AMB_WEIGHT_EDM,
    };
    amb_fill_keys_get(&set->stream.keys, set->dataset.noise_seed, options->seed);
}

static inline void set_close(struct set *set) {
    amb_sampler_free(set->sampler);
    amb_orders_unref(set->orders);
    amb_annotations_unref(set->annotations);
    amb_quarantine_free(set->quarantine);
    amb_cache_free(set->cache);
    amb_catalog_unref(set->catalog);
    unlink(set->tar);
    rmdir(set->dir);
}
