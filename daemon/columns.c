/*
 * Columns: ANNOTATIONS, what is known of a range of samples as little-endian arrays, for numpy and the like.
 *
 * The clerk's answer: ledger and store are its own, so values, intervals and states are of one moment.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "daemon/queries.h"
#include "daemon/query.h"
#include "daemon/text.h"
#include "proto/json.h"

#define ROWS_MAX  65536u /* proto/README.md section 3 */
#define COUNT(a)  (sizeof(a) / sizeof((a)[0]))

enum column {
    COLUMN_SIGMA_MIN,
    COLUMN_SIGMA_MAX,
    COLUMN_LO,
    COLUMN_HI,
    COLUMN_EVALUATIONS,
    COLUMN_MIN_ORIGIN,
    COLUMN_MAX_ORIGIN,
    COLUMN_STATE,
    COLUMN_SOURCE,
    COLUMN_MODEL,
    COLUMN_LABEL,
    COLUMN_N,
};

static const struct {
    const char *name, *dtype;
    size_t bytes;
} columns[COLUMN_N] = {
    {"sigma_min", "f32", 4}, {"sigma_max", "f32", 4},  {"lo", "f32", 4},        {"hi", "f32", 4},
    {"evaluations", "u32", 4}, {"min_origin", "u8", 1}, {"max_origin", "u8", 1}, {"state", "u8", 1},
    {"source", "u16", 2},    {"model", "u16", 2},      {"label", "i64", 8},
};

enum state {
    STATE_UNKNOWN,
    STATE_ANNOTATED,
    STATE_GIVEN_UP,
    STATE_QUARANTINED,
};

struct table {
    uint8_t *data[COLUMN_N]; /* owned */
    size_t n;
};

static void table_deinit(struct table *table) {
    for (int c = 0; c < COLUMN_N; c++) {
        amb_free(table->data[c]);
    }
}

/* Hosts are little-endian (x86-64, aarch64): a value is stored as it is. */
static void table_set(struct table *table, enum column column, size_t row, const void *value) {
    memcpy(table->data[column] + row * columns[column].bytes, value, columns[column].bytes);
}

/* The record that speaks for the searched side: the classifier's, else that of crops, else none. */
static const struct amb_store_record *records_best(const struct amb_store_record *records, size_t n) {
    const struct amb_store_record *best = NULL;

    for (size_t i = 0; i < n; i++) {
        if (records[i].origin == AMB_ORIGIN_CLASSIFIER || (records[i].origin == AMB_ORIGIN_CROPS && best == NULL)) {
            best = &records[i];
        }
    }
    return best;
}

static void row_fill(struct table *table, size_t row, const struct ambd_dataset *dataset, uint32_t i_sample,
                     const struct amb_annotations *generation) {
    struct amb_store_record records[AMB_ORIGIN_N];
    const struct amb_store_record *best = NULL;
    enum amb_origin min_origin, max_origin;
    struct amb_annotation value = amb_ledger_get(&min_origin, &max_origin, dataset->ledger, i_sample);
    struct amb_sample_info info;
    struct amb_hash128 uid = amb_catalog_uid(dataset->filed->fill.catalog, i_sample);
    const uint8_t origins[2] = {(uint8_t)min_origin, (uint8_t)max_origin};
    uint8_t state = min_origin != AMB_ORIGIN_DEFAULT || max_origin != AMB_ORIGIN_DEFAULT ? STATE_ANNOTATED : STATE_UNKNOWN;
    uint32_t n_evaluations;
    uint16_t source, model;
    float lo, hi;
    size_t n = 0;

    if (dataset->store != NULL) {
        amb_store_get(records, &n, dataset->store, &uid, 0);
        best = records_best(records, n);
    }
    value = generation != NULL ? generation->values[i_sample] : value;
    amb_catalog_get(&info, dataset->filed->fill.catalog, i_sample);
    state = state == STATE_UNKNOWN && best != NULL && best->sides == 0 ? STATE_GIVEN_UP : state;
    state = amb_quarantine_peek(dataset->filed->fill.quarantine, i_sample) == 1 ? STATE_QUARANTINED : state;
    lo = best != NULL && best->sides != 0 && best->hi > 0 ? best->lo : NAN;
    hi = best != NULL && best->sides != 0 && best->hi > 0 ? best->hi : NAN;
    n_evaluations = best != NULL ? best->n_evaluations : 0;
    model = best != NULL ? best->model : 0;
    source = (uint16_t)info.i_source;
    table_set(table, COLUMN_SIGMA_MIN, row, &value.sigma_min);
    table_set(table, COLUMN_SIGMA_MAX, row, &value.sigma_max);
    table_set(table, COLUMN_LO, row, &lo);
    table_set(table, COLUMN_HI, row, &hi);
    table_set(table, COLUMN_EVALUATIONS, row, &n_evaluations);
    table_set(table, COLUMN_MIN_ORIGIN, row, &origins[0]);
    table_set(table, COLUMN_MAX_ORIGIN, row, &origins[1]);
    table_set(table, COLUMN_STATE, row, &state);
    table_set(table, COLUMN_SOURCE, row, &source);
    table_set(table, COLUMN_MODEL, row, &model);
    table_set(table, COLUMN_LABEL, row, &info.label);
}

static int table_init(struct table *table, size_t n, struct amb_error *err) {
    table->n = n;
    for (int c = 0; c < COLUMN_N; c++) {
        table->data[c] = amb_calloc(n, columns[c].bytes);
        if (table->data[c] == NULL) {
            return amb_fail(err, -ENOMEM, "no memory for %zu rows", n);
        }
    }
    return 0;
}

static void add_names(cJSON *out, const struct ambd_query *query, size_t n) {
    const struct ambd_dataset *dataset = query->dataset;
    cJSON *keys = cJSON_AddArrayToObject(out, "keys"), *sources, *models;
    const uint32_t n_models = dataset->store != NULL ? amb_store_count_models(dataset->store) : 0;

    for (size_t i = 0; i < n; i++) {
        struct amb_sample_info info;

        amb_catalog_get(&info, dataset->filed->fill.catalog, (uint32_t)(query->start + i));
        ambd_json_add_text(keys, NULL, info.key, info.key_bytes);
    }
    sources = cJSON_AddArrayToObject(out, "sources");
    for (size_t i = 0; i < dataset->filed->n_sources; i++) {
        const char *name = amb_catalog_source(dataset->filed->fill.catalog, i, NULL, NULL, NULL);

        ambd_json_add_text(sources, NULL, name, strlen(name));
    }
    models = cJSON_AddArrayToObject(out, "models");
    for (uint32_t i = 1; i <= n_models; i++) {
        const char *sha256 = amb_store_peek_model(dataset->store, (uint16_t)i);

        ambp_json_add_item(models, NULL, cJSON_CreateString(sha256 != NULL ? sha256 : ""));
    }
}

static int annotations_answer(cJSON *out, struct ambd_query *query, struct amb_error *err) {
    const struct ambd_dataset *dataset = query->dataset;
    const struct amb_annotations *generation = query->by_index ? query->generation->annotations : NULL;
    const uint32_t total = amb_catalog_count(dataset->filed->fill.catalog);
    const size_t left = query->start < total ? total - (size_t)query->start : 0;
    const size_t n = query->count < left ? (size_t)query->count : left;
    AMB_CLEANUP(table_deinit) struct table table = {0};
    char text[AMB_HASH128_TEXT_BYTES];
    cJSON *object;
    int r = query->generation->edition != dataset->filed && query->by_index
                ? amb_fail(err, AMB_ERR_NOT_FOUND, "these annotations are of samples before a reload; ask for those of now")
                : table_init(&table, n, err);

    for (size_t i = 0; i < n && r == 0; i++) {
        row_fill(&table, i, dataset, (uint32_t)(query->start + i), generation);
    }
    if (r < 0) {
        return r;
    }
    ambp_json_add_u64(out, "total", total);
    ambp_json_add_u64(out, "start", query->start);
    ambp_json_add_u64(out, "count", n);
    amb_hash128_text(text, &dataset->filed->fingerprint);
    cJSON_AddStringToObject(out, "dataset", text);
    object = cJSON_AddObjectToObject(out, "generation");
    ambp_json_add_u64(object, "number", generation != NULL ? generation->number : dataset->last_number);
    amb_hash128_text(text, generation != NULL ? &generation->fingerprint : &dataset->last_fingerprint);
    cJSON_AddStringToObject(object, "fingerprint", text);
    object = cJSON_AddObjectToObject(out, "columns");
    for (int c = 0; c < COLUMN_N; c++) {
        cJSON *column = cJSON_AddObjectToObject(object, columns[c].name);

        cJSON_AddStringToObject(column, "dtype", columns[c].dtype);
        if (!ambd_json_add_base64(column, "data", table.data[c], n * columns[c].bytes)) {
            return amb_fail(err, -ENOMEM, "no memory for %zu rows", n);
        }
    }
    add_names(out, query, n);
    return 0;
}

/* by_index: the values of a generation are asked for, not those of now. */
int ambd_query_annotations(struct ambd_session *session, uint32_t id, const cJSON *json, struct amb_error *err) {
    static const char *const keys[] = {"dataset", "start", "count", "generation"};
    struct ambd_query *query = ambd_query_new(session, id, json, "ANNOTATIONS", keys, COUNT(keys), annotations_answer, err);
    struct ambd_generation *generation;
    struct amb_hash128 fingerprint;
    const char *text = NULL;
    int r;

    if (query == NULL) {
        return err->code;
    }
    query->count = ROWS_MAX;
    generation = query->dataset->current;
    r = ambp_json_get_u64(&query->start, json, "start", 0, UINT64_MAX, false, err);
    r = r < 0 ? r : ambp_json_get_u64(&query->count, json, "count", 0, ROWS_MAX, false, err);
    r = r < 0 ? r : ambp_json_get_string(&text, json, "generation", false, err);
    if (r == 0 && text != NULL) {
        query->by_index = true;
        generation = amb_hash128_parse(&fingerprint, text)
                         ? ambd_dataset_find(query->dataset, query->dataset->edition, &fingerprint)
                         : NULL;
        r = generation != NULL ? 0
                               : amb_fail(err, AMB_ERR_NOT_FOUND, "generation '%.40s', allowed: a fingerprint that "
                                          "GENERATIONS lists", text);
    }
    if (r < 0) {
        ambd_query_free(query);
        return r;
    }
    query->generation = ambd_dataset_pin(generation);
    ambd_query_push(query, &session->server->clerk);
    return 0;
}
