/*
 * Score: a number of each sample, from its .json member or from a file of lines, becomes sigmas by a table of rows; by
 * quantiles a row is reached by the share of scored samples whose number is lower.
 *
 * Not here: the lines and names of a file (annotate/import.c).
 */
#include "daemon/score.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "annotate/import.h"
#include "base/alloc.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "daemon/annotator.h"
#include "daemon/key.h"
#include "proto/json.h"

#define ROWS_MAX 1024u /* not tuned */
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const char *const score_keys[] = {"key", "file", "source", "quantiles", "table"};

struct score_row {
    double at;
    int sides;
    struct amb_annotation value;
};

struct score_rule {
    const char *key, *file, *source; /* borrowed; file NULL: .json members */
    bool quantiles;
    struct score_row rows[ROWS_MAX];
    size_t n_rows;
};

/* A sigma of a row; false where it is none. Null sets nothing. */
static bool row_load_side(struct score_row *row, enum amb_side side, const cJSON *sigma) {
    const bool is_inf = cJSON_IsString(sigma) && strcmp(sigma->valuestring, "inf") == 0;
    float *value = side == AMB_SIDE_MIN ? &row->value.sigma_min : &row->value.sigma_max;

    if (sigma == NULL || cJSON_IsNull(sigma)) {
        return true;
    }
    if (!is_inf && !(cJSON_IsNumber(sigma) && sigma->valuedouble >= 0)) {
        return false;
    }
    *value = is_inf ? INFINITY : (float)sigma->valuedouble;
    row->sides |= (int)side;
    return true;
}

static bool row_load(struct score_row *out, const cJSON *row) {
    const cJSON *at = cJSON_GetArrayItem(row, 0);
    const int n = cJSON_GetArraySize(row);

    *out = (struct score_row){.at = cJSON_IsNumber(at) ? at->valuedouble : (double)NAN};
    return cJSON_IsNumber(at) && (n == 2 || n == 3) && row_load_side(out, AMB_SIDE_MIN, cJSON_GetArrayItem(row, 1)) &&
           row_load_side(out, AMB_SIDE_MAX, cJSON_GetArrayItem(row, 2)) && out->sides != 0;
}

static int score_load_rows(struct score_rule *out, const cJSON *rows, const char *name, struct amb_error *err) {
    const char *first = out->quantiles ? "share from 0 to 1" : "score";
    const cJSON *item;

    cJSON_ArrayForEach(item, rows) {
        struct score_row row;

        if (out->n_rows == ROWS_MAX || !row_load(&row, item) ||
            (out->n_rows > 0 && row.at <= out->rows[out->n_rows - 1].at) ||
            (out->quantiles && !(row.at >= 0 && row.at <= 1))) {
            return amb_fail(err, AMB_ERR_CONFIG,
                            "'%s' row %zu, allowed: at most %u rows [%s, sigma_min] or [.., sigma_min, sigma_max], rising",
                            name, out->n_rows, ROWS_MAX, first);
        }
        out->rows[out->n_rows++] = row;
    }
    if (out->n_rows == 0) {
        return amb_fail(err, AMB_ERR_CONFIG, "'%s' has no rows, allowed: [[%s, sigma_min], ...]", name, first);
    }
    return 0;
}

static int score_load(struct score_rule *out, const cJSON *score, const char *where, struct amb_error *err) {
    const cJSON *quantiles = NULL, *table = NULL;
    int r = ambp_json_check_keys(score, where, score_keys, COUNT(score_keys), err);

    if (r < 0) {
        return r;
    }
    r = ambp_json_get_string(&out->key, score, "key", true, err);
    r = r < 0 ? r : ambp_json_get_string(&out->file, score, "file", false, err);
    r = r < 0 ? r : ambp_json_get_string(&out->source, score, "source", false, err);
    r = r < 0 ? r : ambp_json_get_array(&quantiles, score, "quantiles", false, err);
    r = r < 0 ? r : ambp_json_get_array(&table, score, "table", false, err);
    if (r == 0 && (quantiles == NULL) == (table == NULL)) {
        r = amb_fail(err, AMB_ERR_CONFIG, "allowed: either 'quantiles' or 'table'");
    }
    out->quantiles = quantiles != NULL;
    r = r < 0 ? r
              : score_load_rows(out, out->quantiles ? quantiles : table, out->quantiles ? "quantiles" : "table", err);
    return r < 0 ? ambd_key_fail(err, where, "") : 0;
}

/* The numbers */

/* The number in field `key` of the sample's .json member; NaN where there is none. */
static int member_read(double *out, struct amb_buf *member, struct amb_catalog *catalog, uint32_t i_sample,
                       const char *key, struct amb_error *err) {
    AMB_CLEANUP(ambp_json_deletep) cJSON *json = NULL;
    const cJSON *value;
    int r = amb_catalog_read_member(member, catalog, i_sample, "json", err);

    *out = NAN;
    if (r != 0) {
        return r < 0 ? r : 0;
    }
    if (ambp_json_decode(&json, (const char *)member->data, member->n_bytes, AMBP_JSON_DEPTH_MAX, NULL) == 0) {
        value = cJSON_GetObjectItemCaseSensitive(json, key);
        *out = cJSON_IsNumber(value) ? value->valuedouble : (double)NAN;
    }
    return 0;
}

static bool score_means(const struct score_rule *rule, const struct amb_catalog *catalog, uint32_t i_sample) {
    struct amb_sample_info info;

    amb_catalog_get(&info, catalog, i_sample);
    return rule->source == NULL ||
           strcmp(rule->source, amb_catalog_source(catalog, info.i_source, NULL, NULL, NULL)) == 0;
}

static int members_read(double *scores, struct amb_catalog *catalog, const struct score_rule *rule,
                        struct amb_error *err) {
    AMB_CLEANUP(amb_buf_deinit) struct amb_buf member = AMB_BUF_NULL;
    const uint32_t n = amb_catalog_count(catalog);
    int r = 0;

    for (uint32_t i = 0; i < n && r == 0; i++) {
        if (score_means(rule, catalog, i)) {
            r = member_read(&scores[i], &member, catalog, i, rule->key, err);
        }
    }
    return r;
}

static int file_read(double *scores, struct ambd_lines *reports, struct amb_catalog *catalog,
                     const struct score_rule *rule, struct amb_error *err) {
    const uint32_t n = amb_catalog_count(catalog);
    struct amb_import_report *report = amb_calloc(1, sizeof *report);
    char line[1024];
    int r = report == NULL ? amb_fail(err, -ENOMEM, "no memory for a report")
                           : amb_import_scores(scores, report, catalog, rule->file, rule->key, err);

    if (r == 0) {
        ambd_import_report_text(line, sizeof line, rule->file, report);
        ambd_lines_push(reports, line);
    }
    for (uint32_t i = 0; i < n && r == 0; i++) {
        scores[i] = score_means(rule, catalog, i) ? scores[i] : (double)NAN;
    }
    amb_free(report);
    return r;
}

/* What follows from them */

static int double_compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

/* Share of the n sorted scores that lie below `score`. */
static double score_share(const double *sorted, size_t n, double score) {
    size_t lo = 0, hi = n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (sorted[mid] < score) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return (double)lo / (double)n;
}

static void score_put(struct amb_ledger *ledger, const struct score_rule *rule, uint32_t i_sample, double at) {
    for (size_t i = rule->n_rows; i-- > 0;) {
        if (at >= rule->rows[i].at) {
            amb_ledger_put(ledger, i_sample, AMB_ORIGIN_SCORE, (enum amb_side)rule->rows[i].sides, rule->rows[i].value);
            return;
        }
    }
}

static int score_rank(struct ambd_lines *reports, struct amb_ledger *ledger, const struct score_rule *rule,
                      const double *scores, const char *where, struct amb_error *err) {
    const uint32_t n = amb_catalog_count(amb_ledger_peek_catalog(ledger));
    AMB_CLEANUP(amb_freep) double *sorted = amb_malloc(((size_t)n + 1) * sizeof *sorted);
    size_t n_scored = 0;

    if (sorted == NULL) {
        return amb_fail(err, -ENOMEM, "%s: no memory for %u scores", where, n);
    }
    for (uint32_t i = 0; i < n; i++) {
        if (!isnan(scores[i])) {
            sorted[n_scored++] = scores[i];
        }
    }
    qsort(sorted, n_scored, sizeof *sorted, double_compare);
    for (uint32_t i = 0; i < n; i++) {
        if (!isnan(scores[i])) {
            score_put(ledger, rule, i, rule->quantiles ? score_share(sorted, n_scored, scores[i]) : scores[i]);
        }
    }
    ambd_lines_printf(reports, "%s: %zu of %u samples have the field '%s'", where, n_scored, n, rule->key);
    return 0;
}

int ambd_score_check(const cJSON *score, const char *where, struct amb_error *err) {
    AMB_CLEANUP(amb_freep) struct score_rule *rule = amb_calloc(1, sizeof *rule);

    return rule == NULL ? amb_fail(err, -ENOMEM, "%s: out of memory", where) : score_load(rule, score, where, err);
}

int ambd_score_apply(struct ambd_lines *reports, struct amb_ledger *ledger, const cJSON *score, const char *where,
                     struct amb_error *err) {
    struct amb_catalog *catalog = amb_ledger_peek_catalog(ledger);
    const uint32_t n = amb_catalog_count(catalog);
    AMB_CLEANUP(amb_freep) struct score_rule *rule = amb_calloc(1, sizeof *rule);
    AMB_CLEANUP(amb_freep) double *scores = amb_malloc(((size_t)n + 1) * sizeof *scores);
    int r;

    if (rule == NULL || scores == NULL) {
        return amb_fail(err, -ENOMEM, "%s: no memory for %u scores", where, n);
    }
    for (uint32_t i = 0; i < n; i++) {
        scores[i] = NAN;
    }
    r = score_load(rule, score, where, err);
    r = r < 0                  ? r
        : rule->file == NULL ? members_read(scores, catalog, rule, err)
                             : file_read(scores, reports, catalog, rule, err);
    return r < 0 ? r : score_rank(reports, ledger, rule, scores, where, err);
}
