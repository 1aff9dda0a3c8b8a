/*
 * Annotator: fixed rules, scores through score.h, and files through annotate/import.h.
 *
 * Order of entries is order of records, so "within a rank the later record wins" holds for the configuration
 * too.
 *
 * Not here: precedence (annotate/ledger.c) and the forms of annotation files (annotate/import.c).
 */
#include "daemon/annotator.h"

#include <errno.h>
#include <fnmatch.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "daemon/key.h"
#include "daemon/score.h"
#include "daemon/text.h"
#include "proto/json.h"

static const char *const import_keys[] = {"import", "sigmas",   "epsilon",
                                          "span",   "inf_from", "crop_threshold"};
static const char *const fixed_entry_keys[] = {"fixed"};
static const char *const fixed_keys[] = {"source", "key", "label", "sigma_min", "sigma_max"};
static const char *const score_entry_keys[] = {"score"};
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* Imports */

static int import_load(const char **path, struct amb_import_options *options, const cJSON *entry,
                       struct amb_error *err) {
    uint64_t span = options->span;
    int r = ambp_json_get_string(path, entry, "import", true, err);

    r = r < 0 ? r : ambp_json_get_string(&options->sigmas_path, entry, "sigmas", false, err);
    r = r < 0 ? r : ambp_json_get_f64(&options->epsilon, entry, "epsilon", false, err);
    r = r < 0 ? r : ambp_json_get_u64(&span, entry, "span", 1, 1u << 20, false, err);
    r = r < 0 ? r : ambp_json_get_f64(&options->inf_from, entry, "inf_from", false, err);
    r = r < 0 ? r : ambp_json_get_f64(&options->crop_threshold, entry, "crop_threshold", false, err);
    options->span = (unsigned)span;
    if (r == 0 && !(options->epsilon >= -0.5 && options->epsilon <= 0.5)) {
        return amb_fail(err, AMB_ERR_CONFIG, "'epsilon' is %g, allowed: -0.5 to 0.5", options->epsilon);
    }
    return r;
}

static void examples_print(char *out, size_t bytes, const char *what,
                           const struct amb_import_examples *examples) {
    size_t n = strlen(out);

    if (examples->n == 0 || n >= bytes) {
        return;
    }
    n += (size_t)snprintf(out + n, bytes - n, "; %llu %s", (unsigned long long)examples->n, what);
    for (uint64_t i = 0; i < examples->n && i < AMB_IMPORT_EXAMPLES && n < bytes; i++) {
        n += (size_t)snprintf(out + n, bytes - n, "%s%s", i == 0 ? " (" : ", ", examples->text[i]);
    }
    if (n < bytes) {
        snprintf(out + n, bytes - n, "%s)", examples->n > AMB_IMPORT_EXAMPLES ? ", ..." : "");
    }
}

void ambd_import_report_text(char *out, size_t bytes, const char *path,
                             const struct amb_import_report *report) {
    int n =
        snprintf(out, bytes, "%s: %llu lines, %llu matched by %s", path, (unsigned long long)report->n_lines,
                 (unsigned long long)report->n_matched, report->rule[0] != '\0' ? report->rule : "nothing");

    examples_print(out, bytes, "unmatched", &report->unmatched);
    examples_print(out, bytes, "ambiguous", &report->ambiguous);
    examples_print(out, bytes, "repeated", &report->repeated);
    n = (int)strlen(out);
    if (report->n_inf_rule > 0 && (size_t)n < bytes) {
        n += snprintf(out + n, bytes - (size_t)n, "; %llu sigma_min taken as inf",
                      (unsigned long long)report->n_inf_rule);
    }
    if ((size_t)n < bytes) {
        snprintf(out + n, bytes - (size_t)n, "; %llu samples without annotation",
                 (unsigned long long)report->n_without_annotation);
    }
}

static void examples_encode(cJSON *json, const char *name, const struct amb_import_examples *examples) {
    cJSON *object = cJSON_AddObjectToObject(json, name), *list;

    ambp_json_add_u64(object, "n", examples->n);
    list = cJSON_AddArrayToObject(object, "examples");
    for (uint64_t i = 0; i < examples->n && i < AMB_IMPORT_EXAMPLES; i++) {
        ambd_json_add_text(list, NULL, examples->text[i], strlen(examples->text[i]));
    }
}

cJSON *ambd_import_report_encode(const struct amb_import_report *report) {
    cJSON *json = cJSON_CreateObject();

    ambp_json_add_u64(json, "lines", report->n_lines);
    ambp_json_add_u64(json, "matched", report->n_matched);
    ambp_json_add_u64(json, "inf_rule", report->n_inf_rule);
    ambp_json_add_u64(json, "without_annotation", report->n_without_annotation);
    ambd_json_add_string(json, "rule", report->rule);
    examples_encode(json, "unmatched", &report->unmatched);
    examples_encode(json, "ambiguous", &report->ambiguous);
    examples_encode(json, "repeated", &report->repeated);
    return json;
}

static int import_apply(struct ambd_lines *reports, struct amb_ledger *ledger, const cJSON *entry,
                        struct amb_error *err) {
    struct amb_import_options options = AMB_IMPORT_OPTIONS_DEFAULT;
    struct amb_import_report *report = amb_calloc(1, sizeof *report);
    const char *path = NULL;
    char line[1024];
    int r = report == NULL ? amb_fail(err, -ENOMEM, "no memory for a report")
                           : import_load(&path, &options, entry, err);

    if (r == 0) {
        r = amb_import_jsonl(report, ledger, path, &options, err);
    }
    if (r == 0) {
        ambd_import_report_text(line, sizeof line, path, report);
        ambd_lines_push(reports, line);
    }
    amb_free(report);
    return r;
}

/* Fixed */

static int sides_load(struct amb_annotation *value, int *sides, const cJSON *rule, struct amb_error *err) {
    double sigma_min = NAN, sigma_max = NAN;
    int r = ambp_json_get_f64(&sigma_min, rule, "sigma_min", false, err);

    r = r < 0 ? r : ambp_json_get_f64(&sigma_max, rule, "sigma_max", false, err);
    if (r < 0) {
        return r;
    }
    *sides = (isnan(sigma_min) ? 0 : AMB_SIDE_MIN) | (isnan(sigma_max) ? 0 : AMB_SIDE_MAX);
    if (*sides == 0 || sigma_min < 0 || sigma_max < 0) {
        return amb_fail(err, AMB_ERR_CONFIG,
                        "allowed: 'sigma_min', 'sigma_max' or both, each a number from 0 to \"inf\"");
    }
    value->sigma_min = (float)sigma_min;
    value->sigma_max = (float)sigma_max;
    return 0;
}

static int label_load(int64_t *out, bool *given, const cJSON *rule, struct amb_error *err) {
    const cJSON *label = cJSON_GetObjectItemCaseSensitive(rule, "label");

    *given = label != NULL && !cJSON_IsNull(label);
    if (*given && (!cJSON_IsNumber(label) || label->valuedouble != floor(label->valuedouble) ||
                   fabs(label->valuedouble) > 0x1p53)) {
        return amb_fail(err, AMB_ERR_CONFIG, "'label' is %s, allowed: an integer", ambp_json_kind(label));
    }
    *out = *given ? (int64_t)label->valuedouble : 0;
    return 0;
}

struct fixed_rule {
    const char *source, *glob;
    bool with_label;
    int64_t label;
    int sides;
    struct amb_annotation value;
};

static int fixed_load(struct fixed_rule *out, const cJSON *rule, const char *where, struct amb_error *err) {
    int r = ambp_json_check_keys(rule, where, fixed_keys, COUNT(fixed_keys), err);

    if (r < 0) {
        return r;
    }
    *out = (struct fixed_rule){0};
    r = ambp_json_get_string(&out->source, rule, "source", false, err);
    r = r < 0 ? r : ambp_json_get_string(&out->glob, rule, "key", false, err);
    r = r < 0 ? r : label_load(&out->label, &out->with_label, rule, err);
    r = r < 0 ? r : sides_load(&out->value, &out->sides, rule, err);
    return r < 0 ? ambd_key_fail(err, where, "") : 0;
}

static bool fixed_matches(const struct fixed_rule *rule, const struct amb_sample_info *info,
                          const char *source) {
    char key[AMB_KEY_BYTES_MAX + 1];

    if ((rule->source != NULL && strcmp(rule->source, source) != 0) ||
        (rule->with_label && rule->label != info->label)) {
        return false;
    }
    if (rule->glob == NULL) {
        return true;
    }
    memcpy(key, info->key, info->key_bytes);
    key[info->key_bytes] = '\0';
    return fnmatch(rule->glob, key, 0) == 0;
}

static void fixed_apply(struct ambd_lines *reports, struct amb_ledger *ledger, struct amb_catalog *catalog,
                        const struct fixed_rule *rule, const char *where) {
    uint32_t n = amb_catalog_count(catalog), n_matched = 0;

    for (uint32_t i = 0; i < n; i++) {
        struct amb_sample_info info;

        amb_catalog_get(&info, catalog, i);
        if (fixed_matches(rule, &info, amb_catalog_source(catalog, info.i_source, NULL, NULL, NULL))) {
            amb_ledger_put(ledger, i, AMB_ORIGIN_FIXED, (enum amb_side)rule->sides, rule->value);
            n_matched++;
        }
    }
    ambd_lines_printf(reports, "%s: %u samples", where, n_matched);
}

/* Entries */

static int entry_check(const cJSON *entry, const char *where, struct amb_error *err) {
    const cJSON *fixed = cJSON_GetObjectItemCaseSensitive(entry, "fixed");
    const cJSON *score = cJSON_GetObjectItemCaseSensitive(entry, "score");
    struct amb_import_options options = AMB_IMPORT_OPTIONS_DEFAULT;
    const char *path;
    int i = 0, r;

    if (score != NULL) {
        r = ambp_json_check_keys(entry, where, score_entry_keys, COUNT(score_entry_keys), err);
        return r < 0 ? r : ambd_score_check(score, where, err);
    }
    if (fixed != NULL) {
        const cJSON *item;

        r = ambp_json_check_keys(entry, where, fixed_entry_keys, COUNT(fixed_entry_keys), err);
        if (r == 0 && !cJSON_IsArray(fixed)) {
            return amb_fail(err, AMB_ERR_CONFIG, "%s.fixed: found %s, allowed: an array of rules", where,
                            ambp_json_kind(fixed));
        }
        cJSON_ArrayForEach(item, fixed) {
            struct fixed_rule rule;
            char path_of[224];

            snprintf(path_of, sizeof path_of, "%s.fixed[%d]", where, i++);
            r = r < 0 ? r : fixed_load(&rule, item, path_of, err);
        }
        return r;
    }
    r = ambp_json_check_keys(entry, where, import_keys, COUNT(import_keys), err);
    if (r == 0) {
        r = import_load(&path, &options, entry, err);
        return r < 0 ? ambd_key_fail(err, where, "") : 0;
    }
    return r;
}

int ambd_annotator_check(const cJSON *annotations, const char *where, struct amb_error *err) {
    const cJSON *entry;
    int i = 0;

    if (!cJSON_IsArray(annotations)) {
        return amb_fail(err, AMB_ERR_CONFIG,
                        "%s: found %s, allowed: an array of objects with 'import', 'fixed' or 'score'", where,
                        ambp_json_kind(annotations));
    }
    cJSON_ArrayForEach(entry, annotations) {
        char path[192];
        int r;

        snprintf(path, sizeof path, "%s[%d]", where, i++);
        r = entry_check(entry, path, err);
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

static int entry_apply(struct ambd_lines *reports, struct amb_ledger *ledger, struct amb_catalog *catalog,
                       const cJSON *entry, const char *where, struct amb_error *err) {
    const cJSON *fixed = cJSON_GetObjectItemCaseSensitive(entry, "fixed");
    const cJSON *score = cJSON_GetObjectItemCaseSensitive(entry, "score"), *item;
    int i = 0, r = 0;

    if (score != NULL) {
        return ambd_score_apply(reports, ledger, score, where, err);
    }
    if (fixed == NULL) {
        return import_apply(reports, ledger, entry, err);
    }
    cJSON_ArrayForEach(item, fixed) {
        struct fixed_rule rule;
        char path[224];

        snprintf(path, sizeof path, "%s.fixed[%d]", where, i++);
        r = fixed_load(&rule, item, path, err);
        if (r < 0) {
            return r;
        }
        fixed_apply(reports, ledger, catalog, &rule, path);
    }
    return 0;
}

int ambd_annotator_apply(const struct ambd_annotator_ear *ear, struct amb_ledger *ledger, struct amb_catalog *catalog,
                         const cJSON *annotations, struct amb_error *err) {
    const cJSON *entry;
    int i = 0, code = 0;

    cJSON_ArrayForEach(entry, annotations) {
        struct amb_error why = AMB_ERROR_NULL;
        char path[64];
        int r;

        snprintf(path, sizeof path, "annotations[%d]", i++);
        r = entry_apply(ear->reports, ledger, catalog, entry, path, &why);
        if (r == 0 || (ear->forgives && r != -ENOMEM)) {
            continue;
        }
        code = code < 0 ? code : amb_fail(err, r, "%s", why.message);
        if (ear->problem == NULL || r == -ENOMEM) {
            return code;
        }
        ear->problem(ear->opaque, &why);
    }
    return code;
}

void ambd_annotator_look(const struct ambd_annotator_ear *ear, const cJSON *annotations) {
    const cJSON *entry;

    cJSON_ArrayForEach(entry, annotations) {
        AMB_CLEANUP(amb_fd_closep) int fd = -1;
        const cJSON *score = cJSON_GetObjectItemCaseSensitive(entry, "score");
        const cJSON *path = score != NULL ? cJSON_GetObjectItemCaseSensitive(score, "file")
                                          : cJSON_GetObjectItemCaseSensitive(entry, "import");
        struct amb_error why = AMB_ERROR_NULL;

        if (cJSON_IsString(path) && amb_file_open(&fd, path->valuestring, &why) < 0) {
            ear->problem(ear->opaque, &why);
        }
    }
}
