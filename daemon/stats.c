/*
 * Stats: STATS, histograms and quantiles of sigma_min and sigma_max by source or by label.
 *
 * Bins are log-spaced over what all groups hold, so that their pictures can be laid one above the other; zero and
 * infinity are no place on a log axis and are counted apart.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "daemon/queries.h"
#include "daemon/query.h"
#include "daemon/text.h"
#include "proto/json.h"

#define BINS_MAX     512u
#define BINS_DEFAULT 32u
#define GROUPS_MAX   256u /* proto/README.md section 3 */
#define COUNT(a)     (sizeof(a) / sizeof((a)[0]))

enum by { BY_SOURCE, BY_LABEL };

struct row {
    uint32_t group;
    bool annotated, given_up, quarantined;
    float sigma[2]; /* min, max */
};

struct groups {
    struct row *rows;  /* owned; of every sample */
    int64_t *labels;   /* owned; of group i, where by label */
    uint64_t *sizes;   /* owned */
    size_t n_rows, n_groups;
};

static void groups_deinit(struct groups *groups) {
    amb_free(groups->rows);
    amb_free(groups->labels);
    amb_free(groups->sizes);
}

static int label_compare(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

struct label_count {
    int64_t label;
    uint64_t n;
};

static int count_compare(const void *a, const void *b) {
    const struct label_count *x = a, *y = b;

    return x->n > y->n ? -1 : x->n < y->n ? 1 : label_compare(&x->label, &y->label);
}

/* The most frequent labels, in order of their values; whatever is not among them is the last group. */
static int groups_take_labels(struct groups *groups, const struct amb_catalog *catalog, struct amb_error *err) {
    const size_t n = groups->n_rows;
    AMB_CLEANUP(amb_freep) int64_t *all = amb_calloc(n, sizeof *all);
    AMB_CLEANUP(amb_freep) struct label_count *counts = amb_calloc(n, sizeof *counts);
    size_t n_counts = 0;

    groups->labels = amb_calloc(GROUPS_MAX, sizeof *groups->labels);
    if (all == NULL || counts == NULL || groups->labels == NULL) {
        return amb_fail(err, -ENOMEM, "no memory to count labels");
    }
    for (size_t i = 0; i < n; i++) {
        struct amb_sample_info info;

        amb_catalog_get(&info, catalog, (uint32_t)i);
        all[i] = info.label;
    }
    qsort(all, n, sizeof *all, label_compare);
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || all[i] != all[i - 1]) {
            counts[n_counts++].label = all[i];
        }
        counts[n_counts - 1].n++;
    }
    qsort(counts, n_counts, sizeof *counts, count_compare);
    groups->n_groups = n_counts < GROUPS_MAX - 1 ? n_counts : GROUPS_MAX - 1;
    for (size_t i = 0; i < groups->n_groups; i++) {
        groups->labels[i] = counts[i].label;
    }
    qsort(groups->labels, groups->n_groups, sizeof *groups->labels, label_compare);
    groups->n_groups += n_counts > groups->n_groups; /* "other" */
    return 0;
}

static uint32_t groups_find(const struct groups *groups, const struct amb_sample_info *info, enum by by) {
    size_t n = groups->n_groups;

    if (by == BY_SOURCE) {
        return info->i_source;
    }
    for (size_t lo = 0, hi = n < GROUPS_MAX ? n : n - 1; lo < hi;) {
        size_t middle = lo + (hi - lo) / 2;

        if (groups->labels[middle] == info->label) {
            return (uint32_t)middle;
        }
        if (groups->labels[middle] < info->label) {
            lo = middle + 1;
        } else {
            hi = middle;
        }
    }
    return (uint32_t)(n - 1);
}

static bool sample_is_given_up(const struct ambd_dataset *dataset, uint32_t i_sample) {
    struct amb_store_record records[AMB_ORIGIN_N];
    struct amb_hash128 uid;
    size_t n = 0;
    bool given_up = false;

    if (dataset->store == NULL) {
        return false;
    }
    uid = amb_catalog_uid(dataset->filed->fill.catalog, i_sample);
    amb_store_get(records, &n, dataset->store, &uid, 0);
    for (size_t i = 0; i < n; i++) {
        given_up = given_up || records[i].sides == 0;
    }
    return given_up;
}

static int groups_init(struct groups *groups, const struct ambd_dataset *dataset, enum by by, struct amb_error *err) {
    const struct amb_catalog *catalog = dataset->filed->fill.catalog;
    int r = 0;

    groups->n_rows = amb_catalog_count(catalog);
    groups->n_groups = dataset->filed->n_sources;
    groups->rows = amb_calloc(groups->n_rows, sizeof *groups->rows);
    if (groups->rows == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for %zu samples", groups->n_rows);
    }
    r = by == BY_LABEL ? groups_take_labels(groups, catalog, err) : 0;
    groups->sizes = r == 0 ? amb_calloc(groups->n_groups + 1, sizeof *groups->sizes) : NULL;
    if (r == 0 && groups->sizes == NULL) {
        r = amb_fail(err, -ENOMEM, "no memory for %zu groups", groups->n_groups);
    }
    for (uint32_t i = 0; i < groups->n_rows && r == 0; i++) {
        enum amb_origin min_origin, max_origin;
        struct amb_annotation value = amb_ledger_get(&min_origin, &max_origin, dataset->ledger, i);
        struct amb_sample_info info;
        struct row *row = &groups->rows[i];

        amb_catalog_get(&info, catalog, i);
        *row = (struct row){.group = groups_find(groups, &info, by),
                            .annotated = min_origin != AMB_ORIGIN_DEFAULT || max_origin != AMB_ORIGIN_DEFAULT,
                            .quarantined = amb_quarantine_peek(dataset->filed->fill.quarantine, i) == 1,
                            .sigma = {value.sigma_min, value.sigma_max}};
        row->given_up = !row->annotated && sample_is_given_up(dataset, i);
        groups->sizes[row->group]++;
    }
    return r;
}

static void groups_range(double *lo, double *hi, const struct groups *groups) {
    *lo = INFINITY;
    *hi = 0;
    for (size_t i = 0; i < 2 * groups->n_rows; i++) {
        double value = (double)groups->rows[i / 2].sigma[i % 2];

        if (value > 0 && isfinite(value)) {
            *lo = value < *lo ? value : *lo;
            *hi = value > *hi ? value : *hi;
        }
    }
    if (*hi == 0) {
        *lo = 0.01; /* nothing to show: some axis */
        *hi = 10;
    } else if (*hi < 2 * *lo) {
        *lo /= 1.5;
        *hi *= 1.5;
    }
}

static int float_compare(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;

    return x < y ? -1 : x > y;
}

struct side {
    uint64_t zero, inf, bins[BINS_MAX];
    float *finite; /* of the group's samples */
    size_t n_finite;
};

static void side_push(struct side *side, float value, double lo, double hi, size_t n_bins) {
    double at = log((double)value / lo) / log(hi / lo) * (double)n_bins;

    if (value <= 0) {
        side->zero++;
    } else if (isinf(value)) {
        side->inf++;
    } else {
        side->bins[at < 0 ? 0 : at >= (double)n_bins ? n_bins - 1 : (size_t)at]++;
        side->finite[side->n_finite++] = value;
    }
}

static void side_encode(cJSON *json, const char *name, struct side *side, size_t n_bins) {
    cJSON *object = cJSON_AddObjectToObject(json, name), *list;

    ambp_json_add_u64(object, "zero", side->zero);
    ambp_json_add_u64(object, "inf", side->inf);
    list = cJSON_AddArrayToObject(object, "counts");
    for (size_t i = 0; i < n_bins; i++) {
        ambp_json_add_item(list, NULL, cJSON_CreateNumber((double)side->bins[i]));
    }
    qsort(side->finite, side->n_finite, sizeof *side->finite, float_compare);
    list = cJSON_AddArrayToObject(object, "quantiles");
    for (int q = 0; q <= 4; q++) {
        size_t i = side->n_finite > 0 ? (side->n_finite - 1) * (size_t)q / 4 : 0;

        ambp_json_add_item(list, NULL, side->n_finite > 0 ? cJSON_CreateNumber((double)side->finite[i]) : cJSON_CreateNull());
    }
}

static int group_encode(cJSON *out, const struct groups *groups, uint32_t i_group, const char *name, double lo, double hi,
                        size_t n_bins, struct amb_error *err) {
    AMB_CLEANUP(amb_freep) struct side *sides = amb_calloc(2, sizeof *sides);
    AMB_CLEANUP(amb_freep) float *finite = amb_calloc(2 * groups->sizes[i_group] + 1, sizeof *finite);
    uint64_t n_annotated = 0, n_given_up = 0, n_quarantined = 0;
    cJSON *json;

    if (sides == NULL || finite == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for a group of %llu", (unsigned long long)groups->sizes[i_group]);
    }
    sides[0].finite = finite;
    sides[1].finite = finite + groups->sizes[i_group];
    for (size_t i = 0; i < groups->n_rows; i++) {
        const struct row *row = &groups->rows[i];

        if (row->group == i_group) {
            n_annotated += row->annotated;
            n_given_up += row->given_up;
            n_quarantined += row->quarantined;
            side_push(&sides[0], row->sigma[0], lo, hi, n_bins);
            side_push(&sides[1], row->sigma[1], lo, hi, n_bins);
        }
    }
    json = cJSON_CreateObject();
    ambd_json_add_string(json, "name", name);
    ambp_json_add_u64(json, "samples", groups->sizes[i_group]);
    ambp_json_add_u64(json, "annotated", n_annotated);
    ambp_json_add_u64(json, "given_up", n_given_up);
    ambp_json_add_u64(json, "quarantined", n_quarantined);
    side_encode(json, "sigma_min", &sides[0], n_bins);
    side_encode(json, "sigma_max", &sides[1], n_bins);
    ambp_json_add_item(out, NULL, json);
    return 0;
}

static int stats_answer(cJSON *out, struct ambd_query *query, struct amb_error *err) {
    const struct ambd_dataset *dataset = query->dataset;
    AMB_CLEANUP(groups_deinit) struct groups groups = {0};
    const enum by by = (enum by)query->what;
    const size_t n_bins = (size_t)query->count;
    double lo, hi;
    cJSON *list;
    int r = groups_init(&groups, dataset, by, err);

    if (r < 0) {
        return r;
    }
    groups_range(&lo, &hi, &groups);
    ambp_json_add_u64(out, "total", groups.n_rows);
    list = cJSON_AddArrayToObject(out, "bins");
    for (size_t i = 0; i <= n_bins; i++) {
        ambp_json_add_item(list, NULL, cJSON_CreateNumber(lo * pow(hi / lo, (double)i / (double)n_bins)));
    }
    list = cJSON_AddArrayToObject(out, "groups");
    for (uint32_t g = 0; g < groups.n_groups && r == 0; g++) {
        char name[128];

        if (by == BY_SOURCE) {
            snprintf(name, sizeof name, "%s", amb_catalog_source(dataset->filed->fill.catalog, g, NULL, NULL, NULL));
        } else if (g == GROUPS_MAX - 1) {
            snprintf(name, sizeof name, "other");
        } else {
            snprintf(name, sizeof name, "%lld", (long long)groups.labels[g]);
        }
        r = group_encode(list, &groups, g, name, lo, hi, n_bins, err);
    }
    return r;
}

int ambd_query_stats(struct ambd_session *session, uint32_t id, const cJSON *json, struct amb_error *err) {
    static const char *const keys[] = {"dataset", "bins", "by"};
    struct ambd_query *query = ambd_query_new(session, id, json, "STATS", keys, COUNT(keys), stats_answer, err);
    const char *by = "source";
    int r;

    if (query == NULL) {
        return err->code;
    }
    query->count = BINS_DEFAULT;
    r = ambp_json_get_u64(&query->count, json, "bins", 1, BINS_MAX, false, err);
    r = r < 0 ? r : ambp_json_get_string(&by, json, "by", false, err);
    if (r == 0 && strcmp(by, "source") != 0 && strcmp(by, "label") != 0) {
        r = amb_fail(err, AMB_ERR_CONFIG, "'by' is '%.40s', allowed: source, label", by);
    }
    if (r < 0) {
        ambd_query_free(query);
        return r;
    }
    query->what = strcmp(by, "label") == 0 ? BY_LABEL : BY_SOURCE;
    ambd_query_push(query, &session->server->clerk);
    return 0;
}
