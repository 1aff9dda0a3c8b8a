/*
 * Record: the forms of a line, tried side by side; what a line says plainly wins over what must be computed.
 *
 * sigma_min comes from `sigma_min`, else `annotation`, else `sigma`, else `probabilities` by the published rule;
 * sigma_max from `sigma_max`, else the second of `annotation`, else `crop_predictions_N`. null is the same as absent:
 * that side is not set. Unknown keys are somebody's metadata and are passed over.
 */
#include "annotate/record.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "annotate/rule.h"
#include "base/alloc.h"
#include "base/cleanup.h"
#include "proto/json.h"

static const char crop_prefix[] = "crop_predictions_";

const char *amb_record_name(enum amb_record_name name) {
    static const char *const names[AMB_RECORD_NAME_N] = {"key", "file name", "last part of the path", "index"};

    return names[name];
}

/* A sigma: a number >= 0, or "inf". */
static int record_sigma(double *out, const cJSON *item, const char *key, struct amb_error *err) {
    if (cJSON_IsString(item) &&
        (strcmp(item->valuestring, "inf") == 0 || strcmp(item->valuestring, "Infinity") == 0)) {
        *out = INFINITY;
        return 0;
    }
    if (!cJSON_IsNumber(item)) {
        return cJSON_IsString(item)
                   ? amb_fail(err, AMB_ERR_FORMAT, "'%s' is \"%.32s\", allowed: a number from 0 on, \"inf\" or null",
                              key, item->valuestring)
                   : amb_fail(err, AMB_ERR_FORMAT, "'%s' is %s, allowed: a number from 0 on, \"inf\" or null", key,
                              ambp_json_kind(item));
    }
    if (!(item->valuedouble >= 0)) {
        return amb_fail(err, AMB_ERR_FORMAT, "'%s' is %g, allowed: a number from 0 on, \"inf\" or null", key,
                        item->valuedouble);
    }
    *out = item->valuedouble;
    return 0;
}

/* Set a side, if the item is there and the side is still free. */
static int record_set(struct amb_record *out, enum amb_side side, const cJSON *item, const char *key,
                      struct amb_error *err) {
    double sigma = 0;
    int r;

    if (item == NULL || cJSON_IsNull(item)) {
        return 0;
    }
    r = record_sigma(&sigma, item, key, err);
    if (r < 0 || (out->sides & (unsigned)side) != 0) {
        return r;
    }
    if (side == AMB_SIDE_MIN) {
        out->value.sigma_min = (float)sigma;
    } else {
        out->value.sigma_max = (float)sigma;
    }
    out->sides |= (unsigned)side;
    return 0;
}

static int record_annotation(struct amb_record *out, const cJSON *item, struct amb_error *err) {
    int r;

    if (!cJSON_IsArray(item)) {
        return record_set(out, AMB_SIDE_MIN, item, "annotation", err);
    }
    if (cJSON_GetArraySize(item) != 2) {
        return amb_fail(err, AMB_ERR_FORMAT, "'annotation' has %d entries, allowed: sigma_min, or [sigma_min, sigma_max]",
                        cJSON_GetArraySize(item));
    }
    r = record_set(out, AMB_SIDE_MIN, cJSON_GetArrayItem(item, 0), "annotation", err);
    return r < 0 ? r : record_set(out, AMB_SIDE_MAX, cJSON_GetArrayItem(item, 1), "annotation", err);
}

/* Mean of a number or of an array of numbers, each a probability. */
static int record_mean(double *out, const cJSON *item, const char *key, struct amb_error *err) {
    const cJSON *first = cJSON_IsArray(item) ? item->child : item;
    double sum = 0;
    size_t n = 0;

    for (const cJSON *p = first; p != NULL; p = p->next) {
        if (!cJSON_IsNumber(p) || !(p->valuedouble >= 0 && p->valuedouble <= 1)) {
            return cJSON_IsNumber(p)
                       ? amb_fail(err, AMB_ERR_FORMAT, "'%s' has %g, allowed: probabilities from 0 to 1", key,
                                  p->valuedouble)
                       : amb_fail(err, AMB_ERR_FORMAT, "'%s' has %s, allowed: probabilities from 0 to 1", key,
                                  ambp_json_kind(p));
        }
        sum += p->valuedouble;
        n++;
        if (p == item) {
            break; /* a bare number; its siblings are other grid entries */
        }
    }
    if (n == 0) {
        return amb_fail(err, AMB_ERR_FORMAT, "'%s' has an empty array, allowed: probabilities from 0 to 1", key);
    }
    *out = sum / (double)n;
    return 0;
}

static int record_probabilities(struct amb_record *out, const cJSON *item, const struct amb_import_options *options,
                                const struct amb_grid *grid, const struct amb_error *grid_error,
                                struct amb_error *err) {
    AMB_CLEANUP(amb_freep) double *p = NULL;
    const cJSON *row;
    size_t n = 0;

    if (item == NULL || cJSON_IsNull(item) || (out->sides & AMB_SIDE_MIN) != 0) {
        return 0;
    }
    if (grid == NULL) {
        return amb_fail(err, AMB_ERR_FORMAT, "'probabilities' need their grid of sigmas: %s", grid_error->message);
    }
    if (!cJSON_IsArray(item) || (size_t)cJSON_GetArraySize(item) != grid->n) {
        return amb_fail(err, AMB_ERR_FORMAT, "'probabilities' have %d entries, the grid of sigmas %zu",
                        cJSON_GetArraySize(item), grid->n);
    }
    p = amb_malloc(grid->n * sizeof *p);
    if (p == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for %zu probabilities", grid->n);
    }
    cJSON_ArrayForEach(row, item) {
        int r = record_mean(&p[n++], row, "probabilities", err);

        if (r < 0) {
            return r;
        }
    }
    amb_rule_smooth(p, grid->n, options->span);
    out->value.sigma_min = (float)amb_rule_sigma_min(p, grid->sigmas, grid->n, options->epsilon);
    out->sides |= AMB_SIDE_MIN;
    return 0;
}

static int record_crops(struct amb_record *out, const cJSON *line, const struct amb_import_options *options,
                        struct amb_error *err) {
    double q[AMB_RULE_CROPS_N];
    bool any = false;
    const cJSON *item;

    for (size_t i = 0; i < AMB_RULE_CROPS_N; i++) {
        q[i] = NAN;
    }
    cJSON_ArrayForEach(item, line) {
        int size, r;

        if (strncmp(item->string, crop_prefix, sizeof crop_prefix - 1) != 0 || cJSON_IsNull(item)) {
            continue;
        }
        size = amb_rule_crop_find((unsigned)strtoul(item->string + sizeof crop_prefix - 1, NULL, 10));
        if (size < 0) {
            return amb_fail(err, AMB_ERR_FORMAT, "'%.40s' is of no known patch size, allowed: 4 8 16 24 32 48 64",
                            item->string);
        }
        r = record_mean(&q[size], item, item->string, err);
        if (r < 0) {
            return r;
        }
        any = true;
    }
    if (any && (out->sides & AMB_SIDE_MAX) == 0) {
        out->value.sigma_max = (float)amb_rule_sigma_max(q, options->crop_threshold);
        out->sides |= AMB_SIDE_MAX;
    }
    return 0;
}

static int record_names(struct amb_record *out, const cJSON *line, struct amb_error *err) {
    static const char *const names[] = {"filename", "key", "path", "name", "__key__", "file", "image"};
    const cJSON *index = cJSON_GetObjectItemCaseSensitive(line, "index");

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(line, names[i]);

        if (cJSON_IsString(item)) {
            out->name = item->valuestring;
            return 0;
        }
    }
    if (!cJSON_IsNumber(index) || !(index->valuedouble >= 0) || index->valuedouble != floor(index->valuedouble) ||
        index->valuedouble > 0x1p53) {
        return amb_fail(err, AMB_ERR_FORMAT,
                        "no sample is named, allowed: 'filename', 'key', 'path', 'name', 'file', 'image' as a string, "
                        "or 'index' as a whole number");
    }
    out->index = (uint64_t)index->valuedouble;
    return 0;
}

int amb_record_decode(struct amb_record *out, const cJSON *line, const struct amb_import_options *options,
                      const struct amb_grid *grid, const struct amb_error *grid_error, struct amb_error *err) {
    struct amb_record record = {0};
    int r;

    if (!cJSON_IsObject(line)) {
        return amb_fail(err, AMB_ERR_FORMAT, "found %s, allowed: a JSON object", ambp_json_kind(line));
    }
    r = record_names(&record, line, err);
    r = r < 0 ? r : record_set(&record, AMB_SIDE_MIN, cJSON_GetObjectItemCaseSensitive(line, "sigma_min"), "sigma_min", err);
    r = r < 0 ? r : record_set(&record, AMB_SIDE_MAX, cJSON_GetObjectItemCaseSensitive(line, "sigma_max"), "sigma_max", err);
    r = r < 0 ? r : record_annotation(&record, cJSON_GetObjectItemCaseSensitive(line, "annotation"), err);
    r = r < 0 ? r : record_set(&record, AMB_SIDE_MIN, cJSON_GetObjectItemCaseSensitive(line, "sigma"), "sigma", err);
    r = r < 0 ? r
              : record_probabilities(&record, cJSON_GetObjectItemCaseSensitive(line, "probabilities"), options, grid,
                                     grid_error, err);
    r = r < 0 ? r : record_crops(&record, line, options, err);
    if (r < 0) {
        return r;
    }
    if ((record.sides & AMB_SIDE_MIN) != 0 && options->inf_from > 0 &&
        (double)record.value.sigma_min >= options->inf_from && !isinf(record.value.sigma_min)) {
        record.value.sigma_min = INFINITY;
        record.inf_rule = true;
    }
    *out = record;
    return 0;
}

/* The name is the key, alone or behind its source. */
static bool record_is_key(const char *name, const struct amb_catalog *cat, uint32_t i_sample) {
    struct amb_sample_info info;
    size_t bytes = strlen(name);

    amb_catalog_get(&info, cat, i_sample);
    return bytes >= info.key_bytes && memcmp(name + bytes - info.key_bytes, info.key, info.key_bytes) == 0 &&
           (bytes == info.key_bytes || name[bytes - info.key_bytes - 1] == '/');
}

uint32_t amb_record_find(uint32_t *i_sample, enum amb_record_name *how, const struct amb_record *record,
                         struct amb_catalog *cat) {
    const char *last;
    uint32_t n;

    if (record->name == NULL) {
        *how = AMB_RECORD_INDEX;
        *i_sample = (uint32_t)record->index;
        return record->index < amb_catalog_count(cat) ? 1 : 0;
    }
    n = amb_catalog_find(i_sample, cat, record->name, strlen(record->name));
    if (n > 0) {
        *how = record_is_key(record->name, cat, *i_sample) ? AMB_RECORD_KEY : AMB_RECORD_FILE;
        return n;
    }
    last = strrchr(record->name, '/');
    *how = AMB_RECORD_LAST;
    return last != NULL && last[1] != '\0' ? amb_catalog_find(i_sample, cat, last + 1, strlen(last + 1)) : 0;
}
