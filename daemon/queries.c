/*
 * Queries that walk a catalog, orders or a quarantine list: values are read on the loop, the work is done on
 * a desk, and the answer, already text, goes back through the loop.
 */
#include "daemon/queries.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "daemon/log.h"
#include "daemon/query.h"
#include "daemon/stream.h"
#include "daemon/text.h"
#include "proto/json.h"

#define POINTS_MAX     4096u /* not tuned */
#define POINTS_DEFAULT 64u
#define COVERAGE_LO    0.002 /* EDM's range of sigmas */
#define COVERAGE_HI    80.0
#define COUNT(a)       (sizeof(a) / sizeof((a)[0]))

enum list_what {
    LIST_SAMPLES,
    LIST_SHARDS,
    LIST_SOURCES,
};

static void add_label(cJSON *json, int64_t label) {
    cJSON_AddNumberToObject(json, "label", (double)label);
}

static const char *shard_format(enum amb_shard_format format) {
    static const char *const names[AMB_SHARD_FORMAT_N] = {"auto", "tar", "zip", "folder"};

    return names[format];
}

/* LIST */

static cJSON *list_sample(const struct ambd_dataset *dataset, uint32_t i) {
    struct amb_sample_info info;
    cJSON *row = cJSON_CreateObject();

    amb_catalog_get(&info, dataset->filed->fill.catalog, i);
    cJSON_AddNumberToObject(row, "index", i);
    ambd_query_add_place(row, dataset->filed->fill.catalog, &info);
    add_label(row, info.label);
    ambp_json_add_u64(row, "bytes", info.payload_bytes);
    return row;
}

static cJSON *list_shard(const struct ambd_dataset *dataset, uint32_t i) {
    const struct amb_catalog *catalog = dataset->filed->fill.catalog;
    enum amb_shard_format format;
    struct amb_sample_info info;
    uint32_t first, count;
    const char *path = amb_catalog_shard(catalog, i, &format, &first, &count);
    cJSON *row = cJSON_CreateObject();

    ambd_json_add_string(row, "path", path);
    if (count > 0) {
        amb_catalog_get(&info, catalog, first);
        ambd_json_add_string(row, "source", amb_catalog_source(catalog, info.i_source, NULL, NULL, NULL));
    } else {
        cJSON_AddNullToObject(row, "source");
    }
    cJSON_AddStringToObject(row, "format", shard_format(format));
    cJSON_AddNumberToObject(row, "first", first);
    cJSON_AddNumberToObject(row, "samples", count);
    return row;
}

static cJSON *list_source(const struct ambd_dataset *dataset, uint32_t i) {
    const struct amb_orders_source *source = &dataset->filed->sources[i];
    cJSON *row = cJSON_CreateObject();

    ambd_json_add_string(row, "name", amb_catalog_source(dataset->filed->fill.catalog, i, NULL, NULL, NULL));
    cJSON_AddNumberToObject(row, "first", source->first);
    cJSON_AddNumberToObject(row, "samples", source->count);
    cJSON_AddNumberToObject(row, "shards", (double)dataset->filed->n_shards[i]);
    cJSON_AddNumberToObject(row, "repeat", source->repeat);
    return row;
}

static const struct {
    const char *name;
    cJSON *(*row)(const struct ambd_dataset *, uint32_t);
} lists[] = {
    [LIST_SAMPLES] = {"samples", list_sample},
    [LIST_SHARDS] = {"shards", list_shard},
    [LIST_SOURCES] = {"sources", list_source},
};

static int list_answer(cJSON *out, struct ambd_query *query, struct amb_error *err) {
    const struct ambd_dataset *dataset = query->dataset;
    const uint64_t totals[] = {
        amb_catalog_count(dataset->filed->fill.catalog),
        amb_catalog_count_shards(dataset->filed->fill.catalog),
        dataset->filed->n_sources,
    };
    uint64_t total = totals[query->what];
    cJSON *rows;

    (void)err;
    cJSON_AddStringToObject(out, "what", lists[query->what].name);
    ambp_json_add_u64(out, "total", total);
    ambp_json_add_u64(out, "start", query->start);
    rows = cJSON_AddArrayToObject(out, "rows");
    for (uint64_t i = query->start; i < total && i - query->start < query->count; i++) {
        ambp_json_add_item(rows, NULL, lists[query->what].row(dataset, (uint32_t)i));
    }
    return 0;
}

int ambd_query_list(struct ambd_session *session, uint32_t id, const cJSON *json, struct amb_error *err) {
    static const char *const keys[] = {"dataset", "what", "start", "count"};
    struct ambd_query *query = ambd_query_new(session, id, json, "LIST", keys, COUNT(keys), list_answer, err);
    const char *what = "samples";
    size_t i = 0;

    if (query == NULL) {
        return err->code;
    }
    if (ambd_query_load_range(query, json, err) < 0 || ambp_json_get_string(&what, json, "what", false, err) < 0) {
        ambd_query_free(query);
        return err->code;
    }
    while (i < COUNT(lists) && strcmp(lists[i].name, what) != 0) {
        i++;
    }
    if (i == COUNT(lists)) {
        ambd_query_free(query);
        return amb_fail(err, AMB_ERR_CONFIG, "'what' is '%.32s', allowed: samples, shards, sources", what);
    }
    query->what = (int)(enum list_what)i;
    ambd_query_push(query, &session->server->clerk);
    return 0;
}

/* SAMPLE */

static void add_quarantine(cJSON *out, struct amb_quarantine *quarantine, uint32_t i_sample) {
    struct amb_quarantine_row row;
    cJSON *object;

    for (uint64_t i = 0; amb_quarantine_peek(quarantine, i_sample) == 1; i++) {
        if (amb_quarantine_get(&row, quarantine, i) != 0) {
            break;
        }
        if (row.i_sample == i_sample) {
            object = cJSON_AddObjectToObject(out, "quarantine");
            cJSON_AddStringToObject(object, "code", amb_error_name(row.code));
            ambd_json_add_string(object, "reason", row.reason);
            return;
        }
    }
    cJSON_AddNullToObject(out, "quarantine");
}

static int sample_answer(cJSON *out, struct ambd_query *query, struct amb_error *err) {
    struct ambd_dataset *dataset = query->dataset;
    struct amb_catalog *catalog = dataset->filed->fill.catalog;
    uint32_t i_sample = 0, n_matches = 0;
    char text[AMB_HASH128_TEXT_BYTES], members[512] = "";
    enum amb_shard_format format;
    struct amb_sample_info info;
    struct amb_hash128 uid;
    int r = ambd_query_find_sample(&i_sample, &n_matches, query, err);

    if (r < 0) {
        return r;
    }
    amb_catalog_get(&info, catalog, i_sample);
    amb_catalog_shard(catalog, info.i_shard, &format, NULL, NULL);
    amb_catalog_get_members(members, sizeof members, catalog, i_sample, NULL);
    uid = amb_catalog_uid(catalog, i_sample);
    amb_hash128_text(text, &uid);
    cJSON_AddNumberToObject(out, "matches", n_matches);
    cJSON_AddNumberToObject(out, "index", i_sample);
    ambd_query_add_place(out, dataset->filed->fill.catalog, &info);
    cJSON_AddStringToObject(out, "format", shard_format(format));
    ambp_json_add_u64(out, "offset", info.offset);
    ambp_json_add_u64(out, "payload_bytes", info.payload_bytes);
    cJSON_AddNumberToObject(out, "checksum", info.checksum);
    add_label(out, info.label);
    cJSON_AddNumberToObject(out, "corruption_label", (double)info.corruption_label);
    cJSON_AddStringToObject(out, "uid", text);
    ambd_json_add_string(out, "members", members);
    ambd_query_add_annotation(out, dataset, i_sample);
    add_quarantine(out, dataset->filed->fill.quarantine, i_sample);
    return 0;
}

int ambd_query_sample(struct ambd_session *session, uint32_t id, const cJSON *json, struct amb_error *err) {
    return ambd_query_push_sample(session, id, json, "SAMPLE", sample_answer, err);
}

/* COVERAGE */

static void add_gap(cJSON *out, const struct amb_orders *orders) {
    double lo, hi;
    cJSON *gap;

    if (amb_orders_gap(&lo, &hi, orders) == 0) {
        cJSON_AddNullToObject(out, "gap");
        return;
    }
    gap = cJSON_AddArrayToObject(out, "gap");
    ambp_json_add_item(gap, NULL, cJSON_CreateNumber(lo));
    ambp_json_add_item(gap, NULL, isinf(hi) ? cJSON_CreateString("inf") : cJSON_CreateNumber(hi));
}

static cJSON *coverage_counts(const struct ambd_query *query, const struct amb_orders *orders, size_t i_source) {
    cJSON *list = cJSON_CreateArray();

    for (size_t i = 0; i < query->n_sigmas; i++) {
        ambp_json_add_item(
            list, NULL, cJSON_CreateNumber((double)amb_orders_count(orders, i_source, query->sigmas[i])));
    }
    return list;
}

static int coverage_answer(cJSON *out, struct ambd_query *query, struct amb_error *err) {
    struct ambd_edition *edition = query->generation->edition;
    struct amb_orders *orders;
    cJSON *sigmas, *by_source;
    int r = ambd_shelf_acquire(&orders, &edition->shelf, query->generation->annotations, edition->sources,
                               edition->n_sources, query->buffer, err);

    if (r < 0) {
        return r;
    }
    sigmas = cJSON_AddArrayToObject(out, "sigmas");
    for (size_t i = 0; i < query->n_sigmas; i++) {
        ambp_json_add_item(sigmas, NULL, isinf(query->sigmas[i]) ? cJSON_CreateString("inf")
                                                             : cJSON_CreateNumber(query->sigmas[i]));
    }
    ambp_json_add_item(out, "admitted", coverage_counts(query, orders, SIZE_MAX));
    by_source = cJSON_AddObjectToObject(out, "by_source");
    for (size_t i = 0; i < edition->n_sources; i++) {
        ambp_json_add_item(by_source, amb_catalog_source(edition->fill.catalog, i, NULL, NULL, NULL),
                              coverage_counts(query, orders, i));
    }
    cJSON_AddNumberToObject(out, "total", amb_catalog_count(edition->fill.catalog));
    add_gap(out, orders);
    ambd_shelf_release(&edition->shelf, orders);
    return 0;
}

static int coverage_load_sigmas(struct ambd_query *query, const cJSON *json, struct amb_error *err) {
    uint64_t n_points = POINTS_DEFAULT;
    const cJSON *list = NULL, *item;
    int r = ambp_json_get_u64(&n_points, json, "points", 1, POINTS_MAX, false, err);

    r = r < 0 ? r : ambp_json_get_array(&list, json, "sigmas", false, err);
    if (r < 0) {
        return r;
    }
    n_points = list != NULL ? (uint64_t)cJSON_GetArraySize(list) : n_points;
    if (n_points > POINTS_MAX) {
        return amb_fail(err, AMB_ERR_CONFIG, "'sigmas' has %llu entries, allowed: at most %u",
                        (unsigned long long)n_points, POINTS_MAX);
    }
    query->sigmas = amb_calloc(n_points + 1, sizeof *query->sigmas);
    if (query->sigmas == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for %llu sigmas", (unsigned long long)n_points);
    }
    for (uint64_t i = 0; list == NULL && i < n_points; i++) {
        double share = n_points > 1 ? (double)i / (double)(n_points - 1) : 0;

        query->sigmas[query->n_sigmas++] = COVERAGE_LO * pow(COVERAGE_HI / COVERAGE_LO, share);
    }
    cJSON_ArrayForEach(item, list) {
        double s = cJSON_IsString(item) && strcmp(item->valuestring, "inf") == 0 ? (double)INFINITY
                   : cJSON_IsNumber(item)                                        ? item->valuedouble
                                                                                 : -1;

        if (!(s >= 0)) {
            return amb_fail(err, AMB_ERR_CONFIG, "'sigmas' entry %zu, allowed: a number from 0, or \"inf\"",
                            query->n_sigmas);
        }
        query->sigmas[query->n_sigmas++] = s;
    }
    return 0;
}

int ambd_query_coverage(struct ambd_session *session, uint32_t id, const cJSON *json, struct amb_error *err) {
    static const char *const keys[] = {"dataset", "points", "sigmas", "buffer"};
    struct ambd_query *query = ambd_query_new(session, id, json, "COVERAGE", keys, COUNT(keys), coverage_answer, err);
    int r;

    if (query == NULL) {
        return err->code;
    }
    query->buffer = 1;
    r = coverage_load_sigmas(query, json, err);
    r = r < 0 ? r : ambp_json_get_f64(&query->buffer, json, "buffer", false, err);
    if (r == 0 && !(query->buffer >= 1 && isfinite(query->buffer))) {
        r = amb_fail(err, AMB_ERR_CONFIG, "'buffer' is %g, allowed: from 1", query->buffer);
    }
    if (r < 0) {
        ambd_query_free(query);
        return r;
    }
    query->generation = ambd_dataset_pin(query->dataset->current);
    ambd_query_push(query, &session->server->builder);
    return 0;
}

/* QUARANTINE */

static int quarantine_answer(cJSON *out, struct ambd_query *query, struct amb_error *err) {
    struct ambd_dataset *dataset = query->dataset;
    struct amb_quarantine_row bad;
    cJSON *rows;

    (void)err;
    ambp_json_add_u64(out, "total", amb_quarantine_count(dataset->filed->fill.quarantine));
    ambp_json_add_u64(out, "start", query->start);
    rows = cJSON_AddArrayToObject(out, "rows");
    for (uint64_t i = 0; i < query->count; i++) {
        struct amb_sample_info info;
        cJSON *row;

        if (amb_quarantine_get(&bad, dataset->filed->fill.quarantine, query->start + i) != 0) {
            break;
        }
        amb_catalog_get(&info, dataset->filed->fill.catalog, bad.i_sample);
        row = cJSON_CreateObject();
        cJSON_AddNumberToObject(row, "index", bad.i_sample);
        ambd_query_add_place(row, dataset->filed->fill.catalog, &info);
        cJSON_AddStringToObject(row, "code", amb_error_name(bad.code));
        ambd_json_add_string(row, "reason", bad.reason);
        ambp_json_add_item(rows, NULL, row);
    }
    return 0;
}

int ambd_query_quarantine(struct ambd_session *session, uint32_t id, const cJSON *json,
                          struct amb_error *err) {
    static const char *const keys[] = {"dataset", "start", "count"};
    struct ambd_query *query =
        ambd_query_new(session, id, json, "QUARANTINE", keys, COUNT(keys), quarantine_answer, err);

    if (query == NULL) {
        return err->code;
    }
    if (ambd_query_load_range(query, json, err) < 0) {
        ambd_query_free(query);
        return err->code;
    }
    ambd_query_push(query, &session->server->clerk);
    return 0;
}

/* IMPORT */

static int import_answer(cJSON *out, struct ambd_query *query, struct amb_error *err) {
    struct amb_import_report *report = amb_calloc(1, sizeof *report);
    char text[AMB_HASH128_TEXT_BYTES];
    cJSON *generation, *encoded;
    int r = report == NULL ? amb_fail(err, -ENOMEM, "no memory for a report")
                           : ambd_dataset_import(&query->minted, report, query->dataset, query->name, err);

    if (r == 0) {
        encoded = ambd_import_report_encode(report);
        for (cJSON *item = encoded != NULL ? encoded->child : NULL; item != NULL; item = encoded->child) {
            ambp_json_add_item(out, item->string, cJSON_DetachItemViaPointer(encoded, item));
        }
        cJSON_Delete(encoded);
        generation = cJSON_AddObjectToObject(out, "generation");
        ambp_json_add_u64(generation, "number", query->dataset->last_number);
        amb_hash128_text(text, &query->dataset->last_fingerprint);
        cJSON_AddStringToObject(generation, "fingerprint", text);
        cJSON_AddBoolToObject(generation, "changed", query->minted.generation != NULL);
        cJSON_AddBoolToObject(out, "durable", query->dataset->store != NULL);
    }
    amb_free(report);
    return r;
}

static void import_done(struct ambd_query *query) {
    query->session->server->counters.imports += query->error.code == 0;
    ambd_server_adopt(query->session->server, query->dataset, &query->minted); /* also where no answer can be made */
}

int ambd_query_import(struct ambd_session *session, uint32_t id, const cJSON *json, struct amb_error *err) {
    static const char *const keys[] = {"dataset", "path"};
    struct ambd_query *query = ambd_query_new(session, id, json, "IMPORT", keys, COUNT(keys), import_answer, err);
    const char *path = NULL;

    if (query == NULL) {
        return err->code;
    }
    if (ambp_json_get_string(&path, json, "path", true, err) < 0) {
        ambd_query_free(query);
        return err->code;
    }
    query->name = amb_strdup(path);
    query->done = import_done;
    if (path[0] != '/' || query->name == NULL) {
        ambd_query_free(query);
        return path[0] == '/' ? amb_fail(err, -ENOMEM, "no memory for a path")
                              : amb_fail(err, AMB_ERR_CONFIG,
                                         "'path' is '%.200s', allowed: an absolute path of a file that the daemon can read", path);
    }
    ambd_query_push(query, &session->server->clerk);
    return 0;
}
