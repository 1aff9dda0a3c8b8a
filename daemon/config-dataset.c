/*
 * Config of datasets: sources, picture and latent form, annotations, excludes.
 *
 * What can be checked without opening a shard is checked here; what needs the shards (sizes, channels,
 * labels) is checked by dataset.c when it opens them.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/suggest.h"
#include "daemon/annotator.h"
#include "daemon/config.h"
#include "daemon/key.h"
#include "proto/json.h"

#define SOURCE_FIELD(f)  .offset = offsetof(struct ambd_source_config, f)
#define DATASET_FIELD(f) .offset = offsetof(struct ambd_dataset_config, f)

static int strings_load(const char ***out, size_t *n_out, const cJSON *value, const char *where,
                        struct amb_error *err) {
    size_t n = 0;
    const cJSON *item;
    const char **strings;

    if (!cJSON_IsArray(value)) {
        return amb_fail(err, AMB_ERR_CONFIG, "%s: found %s, allowed: an array of strings", where,
                        ambp_json_kind(value));
    }
    strings = amb_calloc((size_t)cJSON_GetArraySize(value) + 1, sizeof *strings);
    if (strings == NULL) {
        return amb_fail(err, -ENOMEM, "%s: out of memory", where);
    }
    cJSON_ArrayForEach(item, value) {
        if (!cJSON_IsString(item) || item->valuestring[0] == '\0') {
            amb_free(strings);
            return amb_fail(err, AMB_ERR_CONFIG, "%s[%zu]: found %s, allowed: a string that is not empty",
                            where, n, cJSON_IsString(item) ? "\"\"" : ambp_json_kind(item));
        }
        strings[n++] = item->valuestring;
    }
    *out = strings;
    *n_out = n;
    return 0;
}

static int name_load(int *out, const cJSON *value, const char *const *names, size_t n_names,
                     const char *where, struct amb_error *err) {
    char all[192] = "";
    const char *nearest;

    for (size_t i = 0; i < n_names; i++) {
        if (cJSON_IsString(value) && strcmp(value->valuestring, names[i]) == 0) {
            *out = (int)i;
            return 0;
        }
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", i > 0 ? ", " : "", names[i]);
    }
    if (!cJSON_IsString(value)) {
        return amb_fail(err, AMB_ERR_CONFIG, "%s: found %s, allowed: %s", where, ambp_json_kind(value), all);
    }
    nearest = amb_suggest_get(value->valuestring, names, n_names);
    if (nearest != NULL) {
        return amb_fail(err, AMB_ERR_CONFIG, "%s: unknown value '%.64s', did you mean '%s'? allowed: %s",
                        where, value->valuestring, nearest, all);
    }
    return amb_fail(err, AMB_ERR_CONFIG, "%s: unknown value '%.64s', allowed: %s", where, value->valuestring,
                    all);
}

static bool sigma_parse(float *out, const char *text, char **end) {
    double value;

    if (strncmp(text, "inf", 3) == 0) {
        *end = (char *)(uintptr_t)text + 3;
        *out = INFINITY;
        return true;
    }
    if ((text[0] < '0' || text[0] > '9') && text[0] != '.') {
        return false;
    }
    value = strtod(text, end);
    *out = (float)value;
    return value >= 0 && isfinite(value);
}

int ambd_annotation_parse(struct amb_annotation *out, const char *text, struct amb_error *err) {
    struct amb_annotation value;
    char *end;

    if (strcmp(text, "everywhere") == 0) {
        *out = AMB_ANNOTATION_EVERYWHERE;
        return 0;
    }
    if (strcmp(text, "nowhere") == 0) {
        *out = AMB_ANNOTATION_NOWHERE;
        return 0;
    }
    if (sigma_parse(&value.sigma_min, text, &end) && *end == ',' &&
        sigma_parse(&value.sigma_max, end + 1, &end) && *end == '\0') {
        *out = value;
        return 0;
    }
    return amb_fail(
        err, AMB_ERR_CONFIG,
        "'%.64s' is no annotation, allowed: everywhere, nowhere, or SIGMA_MIN,SIGMA_MAX as 0.5,inf", text);
}

static int source_apply_shards(void *object, const cJSON *value, const char *where, struct amb_error *err) {
    struct ambd_source_config *source = object;
    const char **patterns = NULL;
    int r = strings_load(&patterns, &source->options.n_patterns, value, where, err);

    source->options.patterns = patterns;
    if (r == 0 && source->options.n_patterns == 0) {
        return amb_fail(err, AMB_ERR_CONFIG, "%s: empty, allowed: at least one path or pattern", where);
    }
    return r;
}

static int source_apply_format(void *object, const cJSON *value, const char *where, struct amb_error *err) {
    static const char *const names[AMB_SHARD_FORMAT_N] = {"auto", "tar", "zip", "folder"};
    int i = 0, r = name_load(&i, value, names, AMB_SHARD_FORMAT_N, where, err);

    if (r == 0) {
        ((struct ambd_source_config *)object)->options.format = (enum amb_shard_format)i;
    }
    return r;
}

static int source_apply_key_scope(void *object, const cJSON *value, const char *where,
                                  struct amb_error *err) {
    static const char *const names[] = {"source", "shard"};
    int i = 0, r = name_load(&i, value, names, 2, where, err);

    if (r == 0) {
        ((struct ambd_source_config *)object)->options.key_scope_shard = i == 1;
    }
    return r;
}

static int source_apply_corruption(void *object, const cJSON *value, const char *where,
                                   struct amb_error *err) {
    if (!cJSON_IsNumber(value) || value->valuedouble != floor(value->valuedouble) ||
        value->valuedouble < -1 || value->valuedouble > 0x1p53) {
        return amb_fail(err, AMB_ERR_CONFIG, "%s: allowed: an integer, -1 where unknown", where);
    }
    ((struct ambd_source_config *)object)->options.corruption_label = (int64_t)value->valuedouble;
    return 0;
}

static int source_apply_default(void *object, const cJSON *value, const char *where, struct amb_error *err) {
    struct ambd_source_config *source = object;
    int r;

    if (!cJSON_IsString(value)) {
        return amb_fail(err, AMB_ERR_CONFIG,
                        "%s: found %s, allowed: \"everywhere\", \"nowhere\" or \"MIN,MAX\"", where,
                        ambp_json_kind(value));
    }
    r = ambd_annotation_parse(&source->default_annotation, value->valuestring, err);
    return r < 0 ? ambd_key_fail(err, where, "") : 0;
}

static const struct ambd_key source_keys[] = {
    {"shards", "array of strings", NULL,
     "Paths, globs and brace lists: \"data/*.tar\", \"cifar-{000000..000012}.tar\", \"photos/\".\n"
     "Tar (WebDataset), zip (EDM, EDM2, StyleGAN) and folders are read where they lie.",
     AMBD_KEY_CUSTOM, 0, 0, 0, source_apply_shards},
    {"format", "\"auto\", \"tar\", \"zip\" or \"folder\"", "\"auto\"", "What the shards are.",
     AMBD_KEY_CUSTOM, 0, 0, 0, source_apply_format},
    {"repeat", "number", "1", "Weight: 2.5 = each sample 2.5 times as often.", AMBD_KEY_F64,
     SOURCE_FIELD(options.repeat), 0, 0, NULL},
    {"key_scope", "\"source\" or \"shard\"", "\"source\"",
     "shard: a key is the shard's base name \"/\" key, for shards that repeat keys.", AMBD_KEY_CUSTOM, 0, 0,
     0, source_apply_key_scope},
    {"default_annotation", "\"everywhere\", \"nowhere\" or \"MIN,MAX\"", "\"everywhere\"",
     "Of samples that no annotation names. nowhere: not used before they are annotated.", AMBD_KEY_CUSTOM, 0,
     0, 0, source_apply_default},
    {"pread", "boolean", "false", "Never map these shards (network file systems get that anyway).",
     AMBD_KEY_BOOL, SOURCE_FIELD(options.pread), 0, 0, NULL},
    {"skip_bad_shards", "boolean", "false",
     "Leave out a shard that cannot be indexed instead of refusing to start.", AMBD_KEY_BOOL,
     SOURCE_FIELD(options.skip_bad_shards), 0, 0, NULL},
    {"corruption_label", "integer", "-1", "Field `corruption_label` of every sample; -1: unknown.",
     AMBD_KEY_CUSTOM, 0, 0, 0, source_apply_corruption},
    {"label_key", "string", "none",
     "Field of the .json member that is the label, instead of .cls, dataset.json, folder.", AMBD_KEY_STRING,
     SOURCE_FIELD(options.label_key), 0, 0, NULL},
    {"corruption_key", "string", "none", "Field of the .json member that is the corruption label.",
     AMBD_KEY_STRING, SOURCE_FIELD(options.corruption_key), 0, 0, NULL},
};
static const struct ambd_section source_section = {
    "datasets.NAME.sources.NAME", "A named list of shards; the name enters every sample's identity.",
    source_keys, sizeof source_keys / sizeof source_keys[0]};

static int image_apply_size(void *object, const cJSON *value, const char *where, struct amb_error *err) {
    struct ambd_dataset_config *dataset = object;
    double height = 0, width = 0;

    if (cJSON_IsNumber(value)) {
        height = width = value->valuedouble;
    } else if (cJSON_IsArray(value) && cJSON_GetArraySize(value) == 2) {
        const cJSON *first = cJSON_GetArrayItem(value, 0), *second = cJSON_GetArrayItem(value, 1);

        height = cJSON_IsNumber(first) ? first->valuedouble : 0;
        width = cJSON_IsNumber(second) ? second->valuedouble : 0;
    }
    if (!(height >= 1 && width >= 1 && height <= AMB_CODEC_SIDE_MAX && width <= AMB_CODEC_SIDE_MAX) ||
        height != floor(height) || width != floor(width)) {
        return amb_fail(err, AMB_ERR_CONFIG, "%s: allowed: N or [HEIGHT, WIDTH], each from 1 to %u", where,
                        AMB_CODEC_SIDE_MAX);
    }
    dataset->height = (uint64_t)height;
    dataset->width = (uint64_t)width;
    return 0;
}

static int image_apply_channels(void *object, const cJSON *value, const char *where, struct amb_error *err) {
    if (!cJSON_IsNumber(value) || (value->valuedouble != 1.0 && value->valuedouble != 3.0)) {
        return amb_fail(err, AMB_ERR_CONFIG, "%s: allowed: 3 (RGB) or 1 (grey)", where);
    }
    ((struct ambd_dataset_config *)object)->channels = (uint64_t)value->valuedouble;
    return 0;
}

static int image_apply_transform(void *object, const cJSON *value, const char *where, struct amb_error *err) {
    struct ambd_dataset_config *dataset = object;
    const char *names[AMB_CROP_N];
    int i = 0, r;

    for (i = 0; i < AMB_CROP_N; i++) {
        names[i] = amb_crop_name((enum amb_crop)i);
    }
    r = name_load(&i, value, names, AMB_CROP_N, where, err);
    if (r == 0) {
        dataset->crop = (enum amb_crop)i;
        dataset->crop_set = true;
    }
    return r;
}

static int image_apply_resample(void *object, const cJSON *value, const char *where, struct amb_error *err) {
    const char *names[AMB_RESAMPLE_N];
    int i = 0, r;

    for (i = 0; i < AMB_RESAMPLE_N; i++) {
        names[i] = amb_resample_name((enum amb_resample)i);
    }
    r = name_load(&i, value, names, AMB_RESAMPLE_N, where, err);
    if (r == 0) {
        ((struct ambd_dataset_config *)object)->resample = (enum amb_resample)i;
    }
    return r;
}

static const struct ambd_key image_keys[] = {
    {"size", "N or [HEIGHT, WIDTH]", "that of the first picture, which then all must have", "Size of x.",
     AMBD_KEY_CUSTOM, 0, 0, 0, image_apply_size},
    {"channels", "3 or 1", "3", "RGB or grey; other pictures are converted.", AMBD_KEY_CUSTOM, 0, 0, 0,
     image_apply_channels},
    {"transform", "\"none\", \"center-crop\", \"center-crop-dhariwal\", \"shortest+crop\" or \"squash\"",
     "\"center-crop\" if a size is given, else \"none\"",
     "How pictures come to that size: as EDM's dataset_tool does, by the short side, or by squashing.",
     AMBD_KEY_CUSTOM, 0, 0, 0, image_apply_transform},
    {"resample", "\"lanczos\", \"bicubic\" or \"box\"", "\"lanczos\"", "Filter of the resize, as Pillow's.",
     AMBD_KEY_CUSTOM, 0, 0, 0, image_apply_resample},
};
static const struct ambd_section image_section = {"datasets.NAME.image",
                                                  "Of pictures; latents have their own size.", image_keys,
                                                  sizeof image_keys / sizeof image_keys[0]};

static int floats_load(double *out, size_t *n_out, const cJSON *value, const char *where,
                       struct amb_error *err) {
    size_t n = 0;
    const cJSON *item;

    if (!cJSON_IsArray(value) || cJSON_GetArraySize(value) > (int)AMB_LATENT_CHANNELS_MAX) {
        return amb_fail(err, AMB_ERR_CONFIG,
                        "%s: allowed: an array of numbers, one for each channel, at most %u", where,
                        AMB_LATENT_CHANNELS_MAX);
    }
    cJSON_ArrayForEach(item, value) {
        if (!cJSON_IsNumber(item) || !isfinite(item->valuedouble)) {
            return amb_fail(err, AMB_ERR_CONFIG, "%s[%zu]: found %s, allowed: a number", where, n,
                            ambp_json_kind(item));
        }
        out[n++] = item->valuedouble;
    }
    *n_out = n;
    return 0;
}

static int latent_apply_std(void *object, const cJSON *value, const char *where, struct amb_error *err) {
    struct ambd_dataset_config *dataset = object;

    if (!cJSON_IsBool(value)) {
        return amb_fail(err, AMB_ERR_CONFIG, "%s: found %s, allowed: true or false", where,
                        ambp_json_kind(value));
    }
    dataset->latent_std = cJSON_IsTrue(value);
    dataset->latent_std_set = true;
    return 0;
}

static int latent_apply_scale(void *object, const cJSON *value, const char *where, struct amb_error *err) {
    struct ambd_dataset_config *dataset = object;

    return floats_load(dataset->latent_scale, &dataset->n_latent_scale, value, where, err);
}

static int latent_apply_shift(void *object, const cJSON *value, const char *where, struct amb_error *err) {
    struct ambd_dataset_config *dataset = object;

    return floats_load(dataset->latent_shift, &dataset->n_latent_shift, value, where, err);
}

static const struct ambd_key latent_keys[] = {
    {"std", "boolean", "true if the first key contains \"mean-std\" (EDM2), else false",
     "The arrays hold mean and standard deviation, half of the planes each; every use draws mean + std z.",
     AMBD_KEY_CUSTOM, 0, 0, 0, latent_apply_std},
    {"scale", "array of numbers", "1", "x = latent * scale + shift, one number for each channel.",
     AMBD_KEY_CUSTOM, 0, 0, 0, latent_apply_scale},
    {"shift", "array of numbers", "0", "See scale.", AMBD_KEY_CUSTOM, 0, 0, 0, latent_apply_shift},
};
static const struct ambd_section latent_section = {"datasets.NAME.latent", "Of .npy latents.", latent_keys,
                                                   sizeof latent_keys / sizeof latent_keys[0]};

static int source_load(struct ambd_source_config *source, const cJSON *value, const char *where,
                       struct amb_error *err) {
    const char *name = value->string;
    size_t n = strlen(name);
    int r;

    source->options =
        (struct amb_source_options){.name = name, .repeat = 1, .corruption_label = AMB_LABEL_NONE};
    source->default_annotation = AMB_ANNOTATION_EVERYWHERE;
    if (n == 0 || n > AMB_SOURCE_NAME_MAX || strchr(name, '/') != NULL) {
        return amb_fail(err, AMB_ERR_CONFIG, "%s: a source's name has 1 to %u bytes and no '/'", where,
                        AMB_SOURCE_NAME_MAX);
    }
    r = ambd_section_load(source, &source_section, value, where, err);
    if (r == 0 && source->options.n_patterns == 0) {
        return amb_fail(err, AMB_ERR_CONFIG, "%s: 'shards' is missing, allowed: at least one path or pattern",
                        where);
    }
    return r;
}

static int dataset_apply_sources(void *object, const cJSON *value, const char *where, struct amb_error *err) {
    struct ambd_dataset_config *dataset = object;
    int n = cJSON_GetArraySize(value), r = 0;
    const cJSON *item;

    if (!cJSON_IsObject(value) || n < 1 || n > (int)AMB_ORDERS_SOURCES_MAX) {
        return amb_fail(err, AMB_ERR_CONFIG, "%s: allowed: an object of 1 to %u sources by name", where,
                        AMB_ORDERS_SOURCES_MAX);
    }
    dataset->sources = amb_calloc((size_t)n, sizeof *dataset->sources);
    if (dataset->sources == NULL) {
        return amb_fail(err, -ENOMEM, "%s: out of memory", where);
    }
    cJSON_ArrayForEach(item, value) {
        char path[192];

        snprintf(path, sizeof path, "%s.%s", where, item->string);
        r = source_load(&dataset->sources[dataset->n_sources++], item, path, err);
        if (r < 0) {
            return r;
        }
        for (size_t i = 0; i + 1 < dataset->n_sources; i++) {
            if (strcmp(dataset->sources[i].options.name, item->string) == 0) {
                return amb_fail(err, AMB_ERR_CONFIG, "%s: source '%s' given twice", where, item->string);
            }
        }
    }
    return 0;
}

static int dataset_apply_image(void *object, const cJSON *value, const char *where, struct amb_error *err) {
    return ambd_section_load(object, &image_section, value, where, err);
}

static int dataset_apply_latent(void *object, const cJSON *value, const char *where, struct amb_error *err) {
    return ambd_section_load(object, &latent_section, value, where, err);
}

static int dataset_apply_annotations(void *object, const cJSON *value, const char *where,
                                     struct amb_error *err) {
    ((struct ambd_dataset_config *)object)->annotations = value;
    return ambd_annotator_check(value, where, err);
}

static int string_compare(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void excludes_sort(struct ambd_dataset_config *dataset) {
    size_t n = 0;

    qsort(dataset->excludes, dataset->n_excludes, sizeof *dataset->excludes, string_compare);
    for (size_t i = 0; i < dataset->n_excludes; i++) {
        if (n == 0 || strcmp(dataset->excludes[n - 1], dataset->excludes[i]) != 0) {
            dataset->excludes[n++] = dataset->excludes[i];
        }
    }
    dataset->n_excludes = n;
}

static int excludes_read(struct ambd_dataset_config *dataset, const char *path, const char *where,
                         struct amb_error *err) {
    AMB_CLEANUP(amb_buf_deinit) struct amb_buf text = AMB_BUF_NULL;
    size_t n_lines = 0;

    if (amb_file_load(&text, path, AMBD_EXCLUDE_BYTES_MAX, err) < 0) {
        return ambd_key_fail(err, where, "");
    }
    for (size_t i = 0; i < text.n_bytes; i++) {
        n_lines += text.data[i] == '\n';
    }
    dataset->excludes_text = amb_strdup((const char *)text.data);
    dataset->excludes = amb_calloc(n_lines + 1, sizeof *dataset->excludes);
    if (dataset->excludes == NULL || dataset->excludes_text == NULL) {
        return amb_fail(err, -ENOMEM, "%s: out of memory", where);
    }
    for (char *rest = dataset->excludes_text, *line; (line = strsep(&rest, "\n")) != NULL;) {
        line[strcspn(line, "\r")] = '\0';
        if (*line != '\0' && *line != '#') {
            dataset->excludes[dataset->n_excludes++] = line;
        }
    }
    return 0;
}

static int dataset_apply_exclude(void *object, const cJSON *value, const char *where, struct amb_error *err) {
    struct ambd_dataset_config *dataset = object;
    int r = cJSON_IsString(value) ? excludes_read(dataset, value->valuestring, where, err)
                                  : strings_load(&dataset->excludes, &dataset->n_excludes, value, where, err);

    dataset->excludes_path = cJSON_GetStringValue(value);
    if (r == 0) {
        excludes_sort(dataset);
    }
    return r;
}

static const struct ambd_key dataset_keys[] = {
    {"sources", "object", NULL, "Sources by name, in the order of their samples' numbers. See below.",
     AMBD_KEY_CUSTOM, 0, 0, 0, dataset_apply_sources},
    {"image", "object", NULL, "Size and channels of pictures. See below.", AMBD_KEY_CUSTOM, 0, 0, 0,
     dataset_apply_image},
    {"latent", "object", NULL, "Of latents. See below.", AMBD_KEY_CUSTOM, 0, 0, 0, dataset_apply_latent},
    {"annotations", "array of objects", "[]",
     "Where annotations come from; within a kind the later entry wins, and fixed > import > "
     "score.\n" AMBD_ANNOTATOR_HELP,
     AMBD_KEY_CUSTOM, 0, 0, 0, dataset_apply_annotations},
    {"exclude", "array of strings, or the path of a file with one a line", "[]",
     "Samples to leave out, as \"source/key\"; `ambientctl quarantine --export` writes such a file.",
     AMBD_KEY_CUSTOM, 0, 0, 0, dataset_apply_exclude},
    {"noise_seed", "integer", "0", "Seed of the fixed noise of every sample.", AMBD_KEY_U64,
     DATASET_FIELD(noise_seed), 0, UINT64_MAX, NULL},
};
static const struct ambd_section dataset_section = {"datasets.NAME", NULL, dataset_keys,
                                                    sizeof dataset_keys / sizeof dataset_keys[0]};

int ambd_config_load_datasets(struct ambd_config *config, const cJSON *value, struct amb_error *err) {
    int n = cJSON_GetArraySize(value), r;
    const cJSON *item;

    if (!cJSON_IsObject(value) || n < 1) {
        return amb_fail(err, AMB_ERR_CONFIG,
                        "datasets: allowed: an object of datasets by name, at least one");
    }
    config->datasets = amb_calloc((size_t)n, sizeof *config->datasets);
    if (config->datasets == NULL) {
        return amb_fail(err, -ENOMEM, "datasets: out of memory");
    }
    cJSON_ArrayForEach(item, value) {
        struct ambd_dataset_config *dataset = &config->datasets[config->n_datasets++];
        char path[128];

        dataset->name = item->string;
        snprintf(path, sizeof path, "datasets.%s", item->string);
        r = ambd_section_load(dataset, &dataset_section, item, path, err);
        if (r == 0 && dataset->n_sources == 0) {
            return amb_fail(err, AMB_ERR_CONFIG, "%s: 'sources' is missing", path);
        }
        if (r == 0 && dataset->width == 0 && dataset->crop_set && dataset->crop != AMB_CROP_NONE) {
            return amb_fail(err, AMB_ERR_CONFIG, "%s.image: transform '%s' needs a size", path,
                            amb_crop_name(dataset->crop));
        }
        for (size_t i = 0; r == 0 && i + 1 < config->n_datasets; i++) {
            if (strcmp(config->datasets[i].name, item->string) == 0) {
                return amb_fail(err, AMB_ERR_CONFIG, "datasets: dataset '%s' given twice", item->string);
            }
        }
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

void ambd_dataset_config_deinit(struct ambd_dataset_config *dataset) {
    for (size_t i = 0; i < dataset->n_sources; i++) {
        amb_free((void *)(uintptr_t)dataset->sources[i].options.patterns);
    }
    amb_free(dataset->sources);
    amb_free(dataset->excludes);
    amb_free(dataset->excludes_text);
    *dataset = (struct ambd_dataset_config){0};
}

void ambd_config_print_datasets(FILE *out) {
    ambd_section_print(out, &dataset_section);
    ambd_section_print(out, &source_section);
    ambd_section_print(out, &image_section);
    ambd_section_print(out, &latent_section);
}
