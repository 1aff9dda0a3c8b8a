/*
 * Spec: one table of keys for a request that has many, and the question which samples it means.
 *
 * The object itself is kept with the job in the store and read by the same code after a restart, so a job that was
 * accepted once is understood for ever or refused with the key.
 */
#include "daemon/spec.h"

#include <errno.h>
#include <fnmatch.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "base/real.h"
#include "proto/json.h"
#include "proto/wire.h"

#define GRID_N     2048u /* of the published annotations: quantiles of exp(P_STD n + P_MEAN) */
#define P_MEAN     -1.2
#define P_STD      1.2
#define COUNT(a)   (sizeof(a) / sizeof((a)[0]))
#define PARTS_MAX  65536u /* not tuned */

static const char *const kind_names[AMBD_SPEC_N] = {"classifier", "crops"};
static const char *const keys[] = {
    "dataset", "kind",    "model",  "models", "mode",  "where",    "part",      "grid",   "trials",         "span",       "epsilon",
    "column",  "curves",  "seed",   "batch",  "priority", "providers", "resize", "crop_threshold", "crop_table", "dry_run"};
static const char *const where_keys[] = {"source", "key", "label", "annotated"};

const char *ambd_spec_kind_name(enum ambd_spec_kind kind) {
    return kind_names[kind];
}

void ambd_spec_deinit(struct ambd_spec *spec) {
    amb_grid_deinit(&spec->grid);
    cJSON_Delete(spec->json);
    spec->json = NULL;
}

static int load_kind(struct ambd_spec *spec, struct amb_error *err) {
    const char *name = kind_names[AMBD_SPEC_CLASSIFIER];
    int r = ambp_json_get_string(&name, spec->json, "kind", false, err);

    for (int i = 0; r == 0 && i < AMBD_SPEC_N; i++) {
        if (strcmp(name, kind_names[i]) == 0) {
            spec->kind = (enum ambd_spec_kind)i;
            return 0;
        }
    }
    return r < 0 ? r : amb_fail(err, AMB_ERR_CONFIG, "'kind' is '%.40s', allowed: classifier, crops", name);
}

static int check_path(const char *key, const char *path, struct amb_error *err) {
    if (path[0] == '/' || strncmp(path, "fake:", 5) == 0) {
        return 0;
    }
    return amb_fail(err, AMB_ERR_CONFIG, "'%s' is '%.200s', allowed: an absolute path of a file that the daemon can read",
                    key, path);
}

/* The row of a patch size as it is written: "8". -1 for any other text. */
static int crop_row(const char *text) {
    char *end = NULL;
    unsigned long size = text[0] >= '1' && text[0] <= '9' ? strtoul(text, &end, 10) : 0;

    return size > 0 && size <= 64 && *end == '\0' ? amb_rule_crop_find((unsigned)size) : -1;
}

static int load_models(struct ambd_spec *spec, struct amb_error *err) {
    const cJSON *models = NULL, *entry;
    int r = ambp_json_get_object(&models, spec->json, "models", spec->kind == AMBD_SPEC_CROPS, err);
    size_t n = 0;

    if (r < 0) {
        return r;
    }
    if (spec->kind == AMBD_SPEC_CLASSIFIER) {
        r = ambp_json_get_string(&spec->model, spec->json, "model", true, err);
        return r < 0 ? r : check_path("model", spec->model, err);
    }
    cJSON_ArrayForEach(entry, models) {
        int row = crop_row(entry->string);

        if (row < 0 || !cJSON_IsString(entry) || spec->models[row] != NULL) {
            return amb_fail(err, AMB_ERR_CONFIG, "'models.%.20s', allowed: one path for each of 1, 4, 8, 16, 24, 32, 48, 64",
                            entry->string);
        }
        r = check_path("models", entry->valuestring, err);
        if (r < 0) {
            return r;
        }
        spec->models[row] = entry->valuestring;
        n++;
    }
    return n > 0 ? 0 : amb_fail(err, AMB_ERR_CONFIG, "'models' is empty, allowed: a path for at least one patch size");
}

/* Quantiles of the lognormal in the middle of 2048 equal parts: what 2048 sorted draws are on average. */
static int grid_init_default(struct amb_grid *grid, struct amb_error *err) {
    grid->sigmas = amb_calloc(GRID_N, sizeof *grid->sigmas);
    if (grid->sigmas == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for a grid");
    }
    grid->n = GRID_N;
    for (size_t i = 0; i < GRID_N; i++) {
        grid->sigmas[i] = amb_real_exp(P_MEAN + P_STD * amb_real_normal_quantile(((double)i + 0.5) / GRID_N));
    }
    return 0;
}

static int grid_init_range(struct amb_grid *grid, const cJSON *range, struct amb_error *err) {
    const cJSON *lo = cJSON_GetArrayItem(range, 0), *hi = cJSON_GetArrayItem(range, 1), *n = cJSON_GetArrayItem(range, 2);

    if (cJSON_GetArraySize(range) != 3 || !cJSON_IsNumber(lo) || !cJSON_IsNumber(hi) || !cJSON_IsNumber(n) ||
        !(lo->valuedouble > 0) || !(hi->valuedouble > lo->valuedouble) || !isfinite(hi->valuedouble) ||
        !(n->valuedouble >= 2 && n->valuedouble <= AMB_GRID_MAX)) {
        return amb_fail(err, AMB_ERR_CONFIG,
                        "'grid', allowed: the path of a sigmas.txt, or [lo, hi, n] with 0 < lo < hi and n from 2 to %u",
                        AMB_GRID_MAX);
    }
    grid->n = (size_t)n->valuedouble;
    grid->sigmas = amb_calloc(grid->n, sizeof *grid->sigmas);
    if (grid->sigmas == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for a grid");
    }
    for (size_t i = 0; i < grid->n; i++) {
        double share = (double)i / (double)(grid->n - 1), from = amb_real_log(lo->valuedouble);

        grid->sigmas[i] = amb_real_exp(from + share * (amb_real_log(hi->valuedouble) - from));
    }
    return 0;
}

static int load_grid(struct ambd_spec *spec, struct amb_error *err) {
    const cJSON *grid = cJSON_GetObjectItemCaseSensitive(spec->json, "grid");

    if (grid == NULL || cJSON_IsNull(grid)) {
        return grid_init_default(&spec->grid, err);
    }
    if (cJSON_IsString(grid)) {
        spec->grid_path = grid->valuestring;
        return check_path("grid", grid->valuestring, err);
    }
    return grid_init_range(&spec->grid, grid, err);
}

static int load_where(struct ambd_spec *spec, struct amb_error *err) {
    const cJSON *where = NULL, *label;
    const char *annotated = "no";
    int r = ambp_json_get_object(&where, spec->json, "where", false, err);

    if (r < 0 || where == NULL) {
        return r;
    }
    r = ambp_json_check_keys(where, "where", where_keys, COUNT(where_keys), err);
    r = r < 0 ? r : ambp_json_get_string(&spec->source, where, "source", false, err);
    r = r < 0 ? r : ambp_json_get_string(&spec->key, where, "key", false, err);
    r = r < 0 ? r : ambp_json_get_string(&annotated, where, "annotated", false, err);
    if (r < 0) {
        return r;
    }
    if (strcmp(annotated, "no") != 0 && strcmp(annotated, "any") != 0) {
        return amb_fail(err, AMB_ERR_CONFIG, "'where.annotated' is '%.40s', allowed: no, any", annotated);
    }
    spec->again = strcmp(annotated, "any") == 0;
    label = cJSON_GetObjectItemCaseSensitive(where, "label");
    if (label != NULL && !cJSON_IsNull(label)) {
        if (!cJSON_IsNumber(label) || label->valuedouble != floor(label->valuedouble) ||
            fabs(label->valuedouble) > 0x1p53) {
            return amb_fail(err, AMB_ERR_CONFIG, "'where.label' is %s, allowed: an integer", ambp_json_kind(label));
        }
        spec->has_label = true;
        spec->label = (int64_t)label->valuedouble;
    }
    return 0;
}

static int load_part(struct ambd_spec *spec, struct amb_error *err) {
    const cJSON *part = NULL, *k, *n;
    int r = ambp_json_get_array(&part, spec->json, "part", false, err);

    spec->part = spec->n_parts = 1;
    if (r < 0 || part == NULL) {
        return r;
    }
    k = cJSON_GetArrayItem(part, 0);
    n = cJSON_GetArrayItem(part, 1);
    if (cJSON_GetArraySize(part) != 2 || !cJSON_IsNumber(k) || !cJSON_IsNumber(n) ||
        !(n->valuedouble >= 1 && n->valuedouble <= PARTS_MAX) ||
        !(k->valuedouble >= 1 && k->valuedouble <= n->valuedouble)) {
        return amb_fail(err, AMB_ERR_CONFIG, "'part', allowed: [k, n] with 1 <= k <= n <= %u", PARTS_MAX);
    }
    spec->part = (uint64_t)k->valuedouble;
    spec->n_parts = (uint64_t)n->valuedouble;
    return 0;
}

static int load_numbers(struct ambd_spec *spec, struct amb_error *err) {
    const cJSON *priority = cJSON_GetObjectItemCaseSensitive(spec->json, "priority");
    int r;

    spec->n_trials = AMB_SEARCH_TRIALS;
    spec->span = AMB_RULE_SPAN;
    spec->epsilon = AMB_RULE_EPSILON;
    spec->crop_threshold = AMB_RULE_CROP_THRESHOLD;
    r = ambp_json_get_u64(&spec->n_trials, spec->json, "trials", 1, 1024, false, err);
    r = r < 0 ? r : ambp_json_get_u64(&spec->span, spec->json, "span", 1, 1u << 20, false, err);
    r = r < 0 ? r : ambp_json_get_f64(&spec->epsilon, spec->json, "epsilon", false, err);
    r = r < 0 ? r : ambp_json_get_f64(&spec->crop_threshold, spec->json, "crop_threshold", false, err);
    r = r < 0 ? r : ambp_json_get_u64(&spec->column, spec->json, "column", 0, 65535, false, err);
    r = r < 0 ? r : ambp_json_get_u64(&spec->seed, spec->json, "seed", 0, UINT64_MAX, false, err);
    r = r < 0 ? r : ambp_json_get_u64(&spec->batch, spec->json, "batch", 0, 256, false, err);
    r = r < 0 ? r : ambp_json_get_bool(&spec->curves, spec->json, "curves", false, err);
    if (r == 0 && !(spec->epsilon > -0.5 && spec->epsilon < 0.5)) {
        r = amb_fail(err, AMB_ERR_CONFIG, "'epsilon' is %g, allowed: between -0.5 and 0.5", spec->epsilon);
    }
    if (r == 0 && priority != NULL && !cJSON_IsNull(priority)) {
        if (!cJSON_IsNumber(priority) || fabs(priority->valuedouble) > 1000) {
            r = amb_fail(err, AMB_ERR_CONFIG, "'priority', allowed: a number from -1000 to 1000");
        } else {
            spec->priority = (int64_t)priority->valuedouble;
        }
    }
    return r;
}

static int load_choices(struct ambd_spec *spec, struct amb_error *err) {
    const char *mode = "adaptive", *resize = amb_resample_name(AMB_RESAMPLE_LANCZOS);
    const cJSON *providers = NULL, *table = NULL, *entry;
    int r = ambp_json_get_string(&mode, spec->json, "mode", false, err);

    r = r < 0 ? r : ambp_json_get_string(&resize, spec->json, "resize", false, err);
    r = r < 0 ? r : ambp_json_get_array(&providers, spec->json, "providers", false, err);
    r = r < 0 ? r : ambp_json_get_object(&table, spec->json, "crop_table", false, err);
    if (r < 0) {
        return r;
    }
    if (!amb_search_mode_parse(&spec->mode, mode)) {
        return amb_fail(err, AMB_ERR_CONFIG, "'mode' is '%.40s', allowed: adaptive, dense", mode);
    }
    if (!amb_resample_parse(&spec->resample, resize)) {
        return amb_fail(err, AMB_ERR_CONFIG, "'resize' is '%.40s', allowed: lanczos, bicubic, box", resize);
    }
    cJSON_ArrayForEach(entry, providers) {
        if (!cJSON_IsString(entry) || spec->n_providers == AMBD_PROVIDERS_MAX) {
            return amb_fail(err, AMB_ERR_CONFIG, "'providers', allowed: up to %u of \"CUDA\", \"CPU\"", AMBD_PROVIDERS_MAX);
        }
        spec->providers[spec->n_providers++] = entry->valuestring;
    }
    for (unsigned i = 0; i < AMB_RULE_CROPS_N; i++) {
        spec->crop_sigmas[i] = amb_rule_crops[i].sigma_max;
    }
    cJSON_ArrayForEach(entry, table) {
        int row = crop_row(entry->string);

        if (row < 0 || !cJSON_IsNumber(entry) || !(entry->valuedouble >= 0)) {
            return amb_fail(err, AMB_ERR_CONFIG, "'crop_table.%.20s', allowed: a sigma for each of 1, 4, 8, 16, 24, 32, 48, 64",
                            entry->string);
        }
        spec->crop_sigmas[row] = entry->valuedouble;
    }
    return 0;
}

int ambd_spec_load(struct ambd_spec *out, cJSON *json, struct amb_error *err) {
    struct ambd_spec spec = {.json = json};
    int r = ambp_json_check_keys(json, "ANNOTATE", keys, COUNT(keys), err);

    r = r < 0 ? r : load_kind(&spec, err);
    r = r < 0 ? r : load_models(&spec, err);
    r = r < 0 ? r : load_numbers(&spec, err);
    r = r < 0 ? r : load_choices(&spec, err);
    r = r < 0 ? r : load_where(&spec, err);
    r = r < 0 ? r : load_part(&spec, err);
    r = r < 0 ? r : load_grid(&spec, err);
    if (r < 0) {
        amb_grid_deinit(&spec.grid);
        return r;
    }
    cJSON_DeleteItemFromObjectCaseSensitive(json, "dry_run");
    cJSON_DeleteItemFromObjectCaseSensitive(json, "dataset");
    *out = spec;
    return 0;
}

int ambd_spec_check_source(const struct ambd_spec *spec, const struct amb_catalog *catalog, struct amb_error *err) {
    char names[128] = "";

    for (size_t i = 0; spec->source != NULL && i < amb_catalog_count_sources(catalog); i++) {
        const char *name = amb_catalog_source(catalog, i, NULL, NULL, NULL);

        if (strcmp(spec->source, name) == 0) {
            return 0;
        }
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", i > 0 ? ", " : "", name);
    }
    return spec->source == NULL ? 0
                                : amb_fail(err, AMB_ERR_CONFIG, "'where.source' is '%.64s', there are: %s", spec->source, names);
}

bool ambd_spec_matches(const struct ambd_spec *spec, const struct amb_sample_info *info, const char *source,
                       const struct amb_hash128 *uid) {
    char key[AMB_KEY_BYTES_MAX + 1];

    if ((spec->source != NULL && strcmp(spec->source, source) != 0) || (spec->has_label && spec->label != info->label) ||
        (spec->n_parts > 1 && ambp_load_u64le(uid->bytes) % spec->n_parts != spec->part - 1)) {
        return false;
    }
    if (spec->key == NULL) {
        return true;
    }
    memcpy(key, info->key, info->key_bytes);
    key[info->key_bytes] = '\0';
    return fnmatch(spec->key, key, 0) == 0;
}

bool ambd_spec_is_apart(const struct ambd_spec *a, const struct ambd_spec *b) {
    return a->kind != b->kind || (a->n_parts == b->n_parts && a->part != b->part) ||
           (a->source != NULL && b->source != NULL && strcmp(a->source, b->source) != 0) ||
           (a->has_label && b->has_label && a->label != b->label);
}
