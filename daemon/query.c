/*
 * Query: a request that a desk answers: values are read on the loop, the work is done on a desk while the session
 * reads nothing, and the answer, already text, goes back through the loop.
 *
 * Not here: what is asked (queries.c, columns.c, ...).
 */
#include "daemon/query.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "daemon/text.h"
#include "proto/json.h"

#define ROWS_MAX     10000u /* proto/README.md section 3 */
#define ROWS_DEFAULT 100u

struct ambd_query *ambd_query_free(struct ambd_query *query) {
    amb_free(query->name);
    amb_free(query->sigmas);
    if (query->detail_free != NULL) {
        query->detail_free(query->detail);
    }
    cJSON_free(query->text);
    ambd_lines_deinit(&query->minted.reports);
    amb_free(query);
    return NULL;
}

static void query_run(struct ambd_task *task) {
    struct ambd_query *query = (struct ambd_query *)task;
    cJSON *json = cJSON_CreateObject();

    if (query->answer(json, query, &query->error) < 0) {
        cJSON_Delete(json);
        ambp_json_take_hole(); /* of a tree that nobody sees */
        return;
    }
    query->text = ambd_json_print(json);
    if (query->text == NULL) {
        amb_fail(&query->error, -ENOMEM, "no memory for the answer");
    }
}

static void query_done(struct ambd_task *task) {
    struct ambd_query *query = (struct ambd_query *)task;
    struct ambd_session *session = query->session;

    if (query->generation != NULL) {
        ambd_dataset_unpin(query->dataset, query->generation,
                           session->server->config->limits.generations_kept);
    }
    if (query->done != NULL) {
        query->done(query);
    }
    if (!session->closing && query->error.code != 0) {
        ambd_session_fail(session, query->id, &query->error, NULL, false);
    } else if (!session->closing) {
        ambd_session_reply(session, query->id, query->text);
        query->text = NULL;
    }
    ambd_query_free(query);
    ambd_session_set_busy(session, false);
    ambd_session_pump(session);
    ambd_session_drop(session);
}

struct ambd_query *ambd_query_new(struct ambd_session *session, uint32_t id, const cJSON *json, const char *what,
                               const char *const *keys, size_t n_keys,
                               int (*answer)(cJSON *, struct ambd_query *, struct amb_error *),
                               struct amb_error *err) {
    struct ambd_dataset *dataset;
    struct ambd_query *query;
    const char *name = NULL;

    if (ambp_json_check_keys(json, what, keys, n_keys, err) < 0 ||
        ambp_json_get_string(&name, json, "dataset", false, err) < 0) {
        return NULL;
    }
    dataset = ambd_server_dataset(session->server, name, err);
    query = dataset != NULL ? amb_calloc(1, sizeof *query) : NULL;
    if (query == NULL) {
        if (dataset != NULL) {
            amb_fail(err, -ENOMEM, "no memory for a query");
        }
        return NULL;
    }
    query->task = (struct ambd_task){.run = query_run, .done = query_done};
    query->session = session;
    query->id = id;
    query->dataset = dataset;
    query->answer = answer;
    return query;
}

void ambd_query_push(struct ambd_query *query, struct ambd_desk *desk) {
    ambd_session_hold(query->session);
    ambd_session_set_busy(query->session, true);
    ambd_desk_push(desk, &query->task);
}

int ambd_query_load_range(struct ambd_query *query, const cJSON *json, struct amb_error *err) {
    int r;

    query->count = ROWS_DEFAULT;
    r = ambp_json_get_u64(&query->start, json, "start", 0, UINT64_MAX, false, err);
    return r < 0 ? r : ambp_json_get_u64(&query->count, json, "count", 0, ROWS_MAX, false, err);
}

void ambd_query_add_place(cJSON *json, const struct amb_catalog *catalog, const struct amb_sample_info *info) {
    ambd_json_add_text(json, "key", info->key, info->key_bytes);
    ambd_json_add_string(json, "source",
                         amb_catalog_source(catalog, info->i_source, NULL, NULL, NULL));
    ambd_json_add_string(json, "shard",
                         amb_catalog_shard(catalog, info->i_shard, NULL, NULL, NULL));
}

void ambd_query_add_annotation(cJSON *out, const struct ambd_dataset *dataset, uint32_t i_sample) {
    enum amb_origin min_origin, max_origin;
    struct amb_annotation value = amb_ledger_get(&min_origin, &max_origin, dataset->ledger, i_sample);
    cJSON *object = cJSON_AddObjectToObject(out, "annotation");

    ambp_json_add_f64(object, "sigma_min", (double)value.sigma_min);
    ambp_json_add_f64(object, "sigma_max", (double)value.sigma_max);
    cJSON_AddStringToObject(object, "sigma_min_origin", amb_origin_name(min_origin));
    cJSON_AddStringToObject(object, "sigma_max_origin", amb_origin_name(max_origin));
}

int ambd_query_find_sample(uint32_t *i_sample, uint32_t *n_matches, struct ambd_query *query, struct amb_error *err) {
    struct amb_catalog *catalog = query->dataset->filed->fill.catalog;
    uint32_t total = amb_catalog_count(catalog);
    int r = query->by_index ? 0 : amb_catalog_load_names(catalog, err);

    if (r < 0) {
        return r;
    }
    if (query->by_index) {
        *i_sample = (uint32_t)query->index;
        *n_matches = query->index < total ? 1 : 0;
    } else {
        *n_matches = amb_catalog_find(i_sample, catalog, query->name, strlen(query->name));
    }
    if (*n_matches > 0) {
        return 0;
    }
    return query->by_index
               ? amb_fail(err, AMB_ERR_NOT_FOUND, "no sample %llu in dataset '%s', which has 0 to %u",
                          (unsigned long long)query->index, query->dataset->name, total - 1)
               : amb_fail(err, AMB_ERR_NOT_FOUND,
                          "no sample '%.200s' in dataset '%s'; give source/key, key, path or base name as "
                          "`ambientctl ls` shows them",
                          query->name, query->dataset->name);
}

static int query_load_sample(struct ambd_query *query, const cJSON *json, struct amb_error *err) {
    const cJSON *index = cJSON_GetObjectItemCaseSensitive(json, "index");
    const char *key = NULL;
    int r = ambp_json_get_string(&key, json, "key", false, err);

    query->by_index = index != NULL && !cJSON_IsNull(index);
    r = r < 0 ? r : ambp_json_get_u64(&query->index, json, "index", 0, UINT32_MAX, false, err);
    if (r < 0) {
        return r;
    }
    if (query->by_index == (key != NULL)) {
        return amb_fail(err, AMB_ERR_CONFIG, "allowed: either 'key' or 'index'");
    }
    query->name = amb_strdup(key != NULL ? key : "");
    return query->name != NULL ? 0 : amb_fail(err, -ENOMEM, "no memory for a key");
}

int ambd_query_push_sample(struct ambd_session *session, uint32_t id, const cJSON *json, const char *what,
                           int (*answer)(cJSON *, struct ambd_query *, struct amb_error *), struct amb_error *err) {
    static const char *const keys[] = {"dataset", "key", "index"};
    struct ambd_query *query =
        ambd_query_new(session, id, json, what, keys, sizeof keys / sizeof keys[0], answer, err);

    if (query == NULL) {
        return err->code;
    }
    if (query_load_sample(query, json, err) < 0) {
        ambd_query_free(query);
        return err->code;
    }
    ambd_query_push(query, &session->server->clerk);
    return 0;
}
