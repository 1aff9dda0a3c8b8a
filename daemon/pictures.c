/*
 * Pictures: PICTURES and CURVE, what people look at: samples as the dataset transforms them, and what the model said
 * of one at each noise level.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "daemon/queries.h"
#include "daemon/query.h"
#include "daemon/text.h"
#include "proto/json.h"

#define PICTURES_MAX       256u        /* proto/README.md section 3 */
#define PICTURES_BYTES_MAX (64u << 20) /* of their pixels, likewise */
#define COUNT(a)     (sizeof(a) / sizeof((a)[0]))

struct pictures {
    uint32_t i_samples[PICTURES_MAX];
    size_t n;
};

static int picture_encode(cJSON *out, struct amb_filler *filler, const struct amb_dataset *dataset, uint32_t i_sample,
                          struct amb_error *err) {
    const struct amb_shape *shape = &dataset->shape;
    struct amb_error why = AMB_ERROR_NULL;
    cJSON *row = cJSON_CreateObject();
    const uint8_t *stored = NULL;
    struct amb_sample_info info;
    bool added = true;

    amb_catalog_get(&info, dataset->catalog, i_sample);
    cJSON_AddNumberToObject(row, "index", i_sample);
    ambd_query_add_place(row, dataset->catalog, &info);
    if (shape->latent) {
        amb_fail(&why, AMB_ERR_UNSUPPORTED, "the samples are latents, which are no pictures");
    } else {
        amb_fill_load(&stored, filler, dataset, i_sample, &why);
    }
    if (why.code == 0) {
        added = ambd_json_add_base64(row, "u8", stored, (size_t)shape->channels * shape->height * shape->width);
    } else {
        cJSON_AddNullToObject(row, "u8");
    }
    ambd_json_add_string(row, "reason", why.code != 0 ? why.message : NULL);
    ambp_json_add_item(out, NULL, row);
    return added ? 0 : amb_fail(err, -ENOMEM, "no memory for a picture");
}

static int pictures_answer(cJSON *out, struct ambd_query *query, struct amb_error *err) {
    const struct amb_dataset *dataset = &query->generation->edition->fill;
    const struct pictures *pictures = query->detail;
    AMB_CLEANUP(amb_filler_deinit) struct amb_filler filler = {0};
    cJSON *rows;
    int r = amb_filler_init(&filler, &query->session->server->codec_limits, err);

    ambp_json_add_u64(out, "channels", dataset->shape.channels);
    ambp_json_add_u64(out, "height", dataset->shape.height);
    ambp_json_add_u64(out, "width", dataset->shape.width);
    rows = cJSON_AddArrayToObject(out, "rows");
    for (size_t i = 0; i < pictures->n && r == 0; i++) {
        r = picture_encode(rows, &filler, dataset, pictures->i_samples[i], err);
    }
    return r;
}

static int pictures_load(struct pictures *out, const cJSON *json, const struct ambd_edition *edition,
                         struct amb_error *err) {
    const uint32_t total = amb_catalog_count(edition->fill.catalog);
    const cJSON *list = NULL, *entry;
    int r = ambp_json_get_array(&list, json, "index", true, err);

    if (r < 0) {
        return r;
    }
    cJSON_ArrayForEach(entry, list) {
        double i = cJSON_IsNumber(entry) ? entry->valuedouble : -1;

        if (out->n == PICTURES_MAX || !(i >= 0 && i < total) || i != (double)(uint32_t)i) {
            return amb_fail(err, AMB_ERR_CONFIG, "'index' entry %zu, allowed: at most %u sample numbers from 0 to %u",
                            out->n, PICTURES_MAX, total - 1);
        }
        out->i_samples[out->n++] = (uint32_t)i;
    }
    return 0;
}

static int pictures_check(const struct pictures *pictures, const struct ambd_edition *edition, struct amb_error *err) {
    const struct amb_shape *shape = &edition->fill.shape;
    const uint64_t each = (uint64_t)shape->channels * shape->height * shape->width;

    return pictures->n * each <= PICTURES_BYTES_MAX
               ? 0
               : amb_fail(err, AMB_ERR_LIMIT, "%zu pictures of %llu bytes, allowed: %u bytes, so ask for %llu at a time",
                          pictures->n, (unsigned long long)each, PICTURES_BYTES_MAX,
                          (unsigned long long)(PICTURES_BYTES_MAX / each));
}

int ambd_query_pictures(struct ambd_session *session, uint32_t id, const cJSON *json, struct amb_error *err) {
    static const char *const keys[] = {"dataset", "index"};
    struct ambd_query *query = ambd_query_new(session, id, json, "PICTURES", keys, COUNT(keys), pictures_answer, err);
    int r;

    if (query == NULL) {
        return err->code;
    }
    query->detail = amb_calloc(1, sizeof(struct pictures));
    query->detail_free = amb_free;
    r = query->detail == NULL ? amb_fail(err, -ENOMEM, "no memory for a query")
                              : pictures_load(query->detail, json, query->dataset->edition, err);
    r = r < 0 ? r : pictures_check(query->detail, query->dataset->edition, err);
    if (r < 0) {
        ambd_query_free(query);
        return r;
    }
    query->generation = ambd_dataset_pin(query->dataset->current);
    ambd_query_push(query, &session->server->builder);
    return 0;
}

/* CURVE */

static void add_sigma(cJSON *json, const char *name, bool given, float value) {
    if (given) {
        ambp_json_add_f64(json, name, (double)value);
    } else {
        cJSON_AddNullToObject(json, name);
    }
}

static void add_records(cJSON *out, const struct ambd_dataset *dataset, const struct amb_hash128 *uid) {
    cJSON *list = cJSON_AddArrayToObject(out, "records");
    struct amb_store_record records[AMB_ORIGIN_N];
    size_t n = 0;

    if (dataset->store != NULL) {
        amb_store_get(records, &n, dataset->store, uid, 0);
    }
    for (size_t i = 0; i < n; i++) {
        const struct amb_store_record *record = &records[i];
        cJSON *row = cJSON_CreateObject();

        cJSON_AddStringToObject(row, "origin", amb_origin_name(record->origin));
        add_sigma(row, "sigma_min", (record->sides & AMB_SIDE_MIN) != 0, record->sigma_min);
        add_sigma(row, "sigma_max", (record->sides & AMB_SIDE_MAX) != 0, record->sigma_max);
        add_sigma(row, "lo", record->hi > 0, record->lo);
        add_sigma(row, "hi", record->hi > 0, record->hi);
        ambp_json_add_u64(row, "evaluations", record->n_evaluations);
        ambd_json_add_string(row, "model", amb_store_peek_model(dataset->store, record->model));
        ambd_json_add_string(row, "code", record->sides == 0 ? amb_error_name(record->code) : NULL);
        ambp_json_add_item(list, NULL, row);
    }
}

static int add_curve(cJSON *out, const struct ambd_dataset *dataset, const struct amb_hash128 *uid,
                     struct amb_error *err) {
    AMB_CLEANUP(amb_freep) float *sigmas = NULL;
    AMB_CLEANUP(amb_freep) float *p = NULL;
    cJSON *curve, *list;
    size_t n = 0;
    int r = dataset->store != NULL ? amb_store_get_curve(&sigmas, &p, &n, dataset->store, uid, 0, err) : 0;

    if (r < 0) {
        return r;
    }
    if (n == 0) {
        cJSON_AddNullToObject(out, "curve");
        return 0;
    }
    curve = cJSON_AddObjectToObject(out, "curve");
    list = cJSON_AddArrayToObject(curve, "sigmas");
    for (size_t i = 0; i < n; i++) {
        ambp_json_add_item(list, NULL, cJSON_CreateNumber((double)sigmas[i]));
    }
    list = cJSON_AddArrayToObject(curve, "p");
    for (size_t i = 0; i < n; i++) {
        ambp_json_add_item(list, NULL, cJSON_CreateNumber((double)p[i]));
    }
    return 0;
}

static int curve_answer(cJSON *out, struct ambd_query *query, struct amb_error *err) {
    const struct ambd_dataset *dataset = query->dataset;
    uint32_t i_sample = 0, n_matches = 0;
    struct amb_sample_info info;
    struct amb_hash128 uid;
    int r = ambd_query_find_sample(&i_sample, &n_matches, query, err);

    if (r < 0) {
        return r;
    }
    amb_catalog_get(&info, dataset->filed->fill.catalog, i_sample);
    uid = amb_catalog_uid(dataset->filed->fill.catalog, i_sample);
    cJSON_AddNumberToObject(out, "matches", n_matches);
    cJSON_AddNumberToObject(out, "index", i_sample);
    ambd_query_add_place(out, dataset->filed->fill.catalog, &info);
    cJSON_AddNumberToObject(out, "label", (double)info.label);
    ambd_query_add_annotation(out, dataset, i_sample);
    add_records(out, dataset, &uid);
    cJSON_AddNumberToObject(out, "threshold", 0.5 + AMB_RULE_EPSILON);
    return add_curve(out, dataset, &uid, err);
}

int ambd_query_curve(struct ambd_session *session, uint32_t id, const cJSON *json, struct amb_error *err) {
    return ambd_query_push_sample(session, id, json, "CURVE", curve_answer, err);
}
