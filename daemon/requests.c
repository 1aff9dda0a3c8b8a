/*
 * Requests: ANNOTATE, JOB, JOBS, WATCH, and what moves annotations as a whole: MINT, EXPORT, MERGE, VERIFY.
 *
 * Jobs are the loop's (jobs.c), so most are answered at once; what reads or writes files goes over the clerk's desk,
 * the measurement of a dry run over the builder's, which a model may keep for some seconds.
 */
#include <errno.h>
#include <string.h>

#include "annotate/export.h"
#include "base/alloc.h"
#include "base/cleanup.h"
#include "daemon/dataset-store.h"
#include "daemon/jobs.h"
#include "daemon/log.h"
#include "daemon/queries.h"
#include "daemon/query.h"
#include "daemon/selection.h"
#include "daemon/text.h"
#include "proto/json.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void add_generation(cJSON *out, const struct ambd_dataset *dataset, bool changed) {
    cJSON *generation = cJSON_AddObjectToObject(out, "generation");
    char text[AMB_HASH128_TEXT_BYTES];

    ambp_json_add_u64(generation, "number", dataset->last_number);
    amb_hash128_text(text, &dataset->last_fingerprint);
    cJSON_AddStringToObject(generation, "fingerprint", text);
    cJSON_AddBoolToObject(generation, "changed", changed);
}

static void adopt_done(struct ambd_query *query) {
    ambd_server_adopt(query->session->server, query->dataset, &query->minted); /* also where no answer can be made */
    query->session->server->jobs.changes += query->error.code == 0;
}

/* ANNOTATE */

struct dry_run {
    struct ambd_spec spec;
    struct ambd_selection selection;
};

static void dry_run_free(void *opaque) {
    struct dry_run *dry_run = opaque;

    ambd_selection_deinit(&dry_run->selection);
    ambd_spec_deinit(&dry_run->spec);
    amb_free(dry_run);
}

static int dry_run_measure(cJSON *out, struct ambd_query *query, struct amb_error *err) {
    const struct dry_run *dry_run = query->detail;
    const struct ambd_server *server = query->session->server;
    struct ambd_examination_options options = {
        .spec = &dry_run->spec,
        .dataset = &query->generation->edition->fill,
        .limits = server->codec_limits,
        .library = server->config->annotate.library,
        .providers = server->config->annotate.providers,
        .n_providers = (size_t)server->config->annotate.n_providers,
        .n_threads = (unsigned)server->config->annotate.threads,
    };
    struct ambd_measurement found = {0};
    const struct amb_model_info *info = &found.info;
    uint64_t n_evaluations;
    cJSON *model;
    int r = ambd_examination_measure(&found, &options, err);

    if (r < 0) {
        return r;
    }
    n_evaluations = dry_run->selection.n_selected * found.n_evaluations;
    n_evaluations += dry_run->selection.n_selected > 0 ? found.n_overhead : 0;
    ambp_json_add_u64(out, "samples", dry_run->selection.n_selected);
    ambp_json_add_u64(out, "skipped", dry_run->selection.n_skipped);
    ambp_json_add_u64(out, "evaluations", n_evaluations);
    ambp_json_add_u64(out, "batch", found.batch);
    cJSON_AddNumberToObject(out, "evaluations_per_s", found.evaluations_per_s);
    if (found.evaluations_per_s > 0) {
        cJSON_AddNumberToObject(out, "eta_s", (double)n_evaluations / found.evaluations_per_s);
    } else {
        cJSON_AddNullToObject(out, "eta_s");
    }
    model = cJSON_AddObjectToObject(out, "model");
    cJSON_AddStringToObject(model, "sha256", info->sha256);
    ambp_json_add_u64(model, "bytes", info->bytes);
    ambp_json_add_u64(model, "channels", info->channels);
    ambp_json_add_u64(model, "height", info->height);
    ambp_json_add_u64(model, "width", info->width);
    ambd_json_add_string(model, "runtime", info->runtime);
    return 0;
}

static int dry_run_select(cJSON *out, struct ambd_query *query, struct amb_error *err) {
    struct dry_run *dry_run = query->detail;

    (void)out;
    return ambd_selection_get(&dry_run->selection, query->dataset, &dry_run->spec, 0, err);
}

/* From the clerk's desk on to the builder's; the session stays busy. */
static void dry_run_next(struct ambd_task *task) {
    struct ambd_query *query = (struct ambd_query *)task;

    query->task.done = query->task_done;
    if (query->error.code != 0) {
        query->task.done(task);
        return;
    }
    cJSON_free(query->text); /* of the first half: empty */
    query->text = NULL;
    query->answer = dry_run_measure;
    ambd_desk_push(&query->session->server->builder, &query->task);
}

static int dry_run_push(struct ambd_session *session, uint32_t id, struct ambd_dataset *dataset, cJSON *json,
                        struct amb_error *err) {
    static const char *const keys[] = {"dataset"};
    AMB_CLEANUP(ambp_json_deletep) cJSON *named = cJSON_CreateObject();
    struct dry_run *dry_run = amb_calloc(1, sizeof *dry_run);
    struct ambd_query *query;
    int r;

    if (dry_run == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for a dry run");
    }
    if (dataset->store == NULL) {
        amb_free(dry_run);
        return amb_fail(err, AMB_ERR_CONFIG,
                        "dataset '%s' has no store for annotations; start the daemon with --state-dir DIR", dataset->name);
    }
    r = ambd_spec_load(&dry_run->spec, json, err);
    if (r < 0) {
        amb_free(dry_run);
        return r;
    }
    ambd_json_add_string(named, "dataset", dataset->name);
    r = dry_run->spec.grid.n == 0 ? amb_grid_load(&dry_run->spec.grid, dry_run->spec.grid_path, err) : 0;
    query = r < 0 || ambd_spec_check_source(&dry_run->spec, dataset->edition->fill.catalog, err) < 0
                ? NULL
                : ambd_query_new(session, id, named, "ANNOTATE", keys, COUNT(keys), dry_run_select, err);
    if (query == NULL) {
        dry_run->spec.json = NULL; /* the caller's still */
        dry_run_free(dry_run);
        return err->code;
    }
    query->detail = dry_run;
    query->detail_free = dry_run_free;
    query->generation = ambd_dataset_pin(query->dataset->current); /* the model is measured on its samples */
    query->task_done = query->task.done;
    query->task.done = dry_run_next;
    ambd_query_push(query, &session->server->clerk);
    return 0;
}

/* Of jobs: what is answered holds over a kill -9, so the answer waits until the clerk has written the job down. */

static int noted_answer(cJSON *out, struct ambd_query *query, struct amb_error *err) {
    cJSON *reply = query->detail, *item = cJSON_GetObjectItemCaseSensitive(reply, "job"), *job = item != NULL ? item : reply;
    const cJSON *id = cJSON_GetObjectItemCaseSensitive(job, "id");

    (void)err;
    if (query->dataset->unwritten_id != 0 && cJSON_IsNumber(id) && (uint64_t)id->valuedouble == query->dataset->unwritten_id) {
        ambd_json_add_string(job, "unwritten", query->dataset->unwritten.message);
    }
    while ((item = cJSON_DetachItemViaPointer(reply, reply->child)) != NULL) {
        ambp_json_add_item(out, item->string, item);
    }
    return 0;
}

static void noted_free(void *opaque) {
    cJSON_Delete(opaque);
}

/* Takes `reply`. */
static int noted_push(struct ambd_session *session, uint32_t id, const struct ambd_dataset *dataset, const char *what,
                      cJSON *reply, struct amb_error *err) {
    static const char *const keys[] = {"dataset"};
    AMB_CLEANUP(ambp_json_deletep) cJSON *named = cJSON_CreateObject();
    struct ambd_query *query;

    if (ambp_json_take_hole() || reply == NULL) {
        cJSON_Delete(reply);
        return amb_fail(err, -ENOMEM, "no memory for the answer; the request was carried out");
    }
    ambd_json_add_string(named, "dataset", dataset->name);
    query = ambd_query_new(session, id, named, what, keys, COUNT(keys), noted_answer, err);
    if (query == NULL) {
        cJSON_Delete(reply);
        return err->code;
    }
    query->detail = reply;
    query->detail_free = noted_free;
    ambd_query_push(query, &session->server->clerk);
    return 0;
}

int ambd_query_annotate(struct ambd_session *session, uint32_t id, const cJSON *json, struct amb_error *err) {
    AMB_CLEANUP(ambp_json_deletep) cJSON *copy = cJSON_Duplicate(json, true);
    struct ambd_dataset *dataset;
    struct ambd_job *job = NULL;
    const char *name = NULL;
    bool dry_run = false;
    cJSON *out;
    int r = ambp_json_get_string(&name, json, "dataset", false, err);

    r = r < 0 ? r : ambp_json_get_bool(&dry_run, json, "dry_run", false, err);
    if (r < 0) {
        return r;
    }
    dataset = ambd_server_dataset(session->server, name, err);
    if (dataset == NULL || copy == NULL) {
        return dataset == NULL ? err->code : amb_fail(err, -ENOMEM, "no memory for a request");
    }
    r = dry_run ? dry_run_push(session, id, dataset, copy, err)
                : ambd_jobs_push(&job, &session->server->jobs, dataset, copy, err);
    if (r < 0) {
        return r;
    }
    copy = NULL; /* taken */
    if (!dry_run) {
        out = cJSON_CreateObject();
        ambp_json_add_item(out, "job", ambd_job_encode(job, ambd_now_ns()));
        r = noted_push(session, id, dataset, "ANNOTATE", out, err);
    }
    return r;
}

/* JOB, JOBS */

int ambd_query_job(struct ambd_session *session, uint32_t id, const cJSON *json, struct amb_error *err) {
    static const char *const keys[] = {"id", "action", "priority"};
    struct ambd_jobs *jobs = &session->server->jobs;
    struct ambd_job *job;
    const char *action = NULL;
    double priority = 0;
    uint64_t job_id = 0;
    int r = ambp_json_check_keys(json, "JOB", keys, COUNT(keys), err);

    r = r < 0 ? r : ambp_json_get_u64(&job_id, json, "id", 1, UINT64_MAX, true, err);
    r = r < 0 ? r : ambp_json_get_string(&action, json, "action", true, err);
    r = r < 0 ? r : ambp_json_get_f64(&priority, json, "priority", r == 0 && strcmp(action, "priority") == 0, err);
    if (r == 0 && !(priority >= -1000 && priority <= 1000)) {
        r = amb_fail(err, AMB_ERR_CONFIG, "'priority' is %g, allowed: -1000 to 1000", priority);
    }
    if (r < 0) {
        return r;
    }
    job = ambd_jobs_find(jobs, job_id);
    if (job == NULL) {
        return amb_fail(err, AMB_ERR_NOT_FOUND, "no job %llu; `ambientctl jobs` lists them", (unsigned long long)job_id);
    }
    r = ambd_jobs_act(jobs, job, action, (int64_t)priority, err);
    return r < 0 ? r : noted_push(session, id, job->dataset, "JOB", ambd_job_encode(job, ambd_now_ns()), err);
}

static int load_dataset(struct ambd_dataset **out, struct ambd_session *session, const cJSON *json, const char *what,
                        struct amb_error *err) {
    static const char *const keys[] = {"dataset"};
    const char *name = NULL;
    int r = ambp_json_check_keys(json, what, keys, COUNT(keys), err);

    r = r < 0 ? r : ambp_json_get_string(&name, json, "dataset", false, err);
    *out = NULL;
    if (r == 0 && name != NULL) {
        *out = ambd_server_dataset(session->server, name, err);
        r = *out == NULL ? err->code : 0;
    }
    return r;
}

int ambd_query_jobs(struct ambd_session *session, uint32_t id, const cJSON *json, struct amb_error *err) {
    struct ambd_dataset *dataset;
    int r = load_dataset(&dataset, session, json, "JOBS", err);

    if (r == 0) {
        ambd_session_reply(session, id, ambd_json_print(ambd_jobs_encode(&session->server->jobs, dataset, 0)));
    }
    return r;
}

/* WATCH */

struct ambd_watch {
    uint32_t id;
    const struct ambd_dataset *dataset; /* NULL: all */
    uint64_t changes;                   /* that it knows of */
};

/* An EVENT is one frame: where it would be longer, jobs that ended long ago are left out, and then the oldest of all. */
static char *watch_print(const struct ambd_session *session) {
    const struct ambd_server *server = session->server;
    char *text = NULL;

    for (size_t n_left_out = 0; text == NULL || strlen(text) > AMBP_PAYLOAD_BYTES_MAX; n_left_out += 8) {
        cJSON *json = ambd_jobs_encode(&server->jobs, session->watch->dataset, n_left_out), *generation;

        cJSON_free(text);
        generation = cJSON_AddObjectToObject(json, "generation");
        for (size_t i = 0; i < server->n_datasets; i++) {
            ambp_json_add_u64(generation, server->datasets[i]->name, server->datasets[i]->current->number);
        }
        text = ambd_json_print(json);
        if (text == NULL) {
            return NULL;
        }
    }
    return text;
}

static void watch_send(struct ambd_session *session) {
    char *text = watch_print(session);

    if (text == NULL) {
        return; /* the next tick tries again */
    }
    ambd_session_push(session, AMBP_EVENT, session->watch->id, text, strlen(text), NULL, 0, -1);
    cJSON_free(text);
    session->watch->changes = session->server->jobs.changes;
}

void ambd_events_tick(struct ambd_server *server) {
    struct ambd_session *session, *next;

    for (session = server->sessions; session != NULL; session = next) {
        next = session->next;
        if (session->watch != NULL && !session->closing && session->run == NULL &&
            ambd_link_queued(&session->link) == 0 && session->watch->changes != server->jobs.changes) {
            watch_send(session);
        }
    }
}

int ambd_query_watch(struct ambd_session *session, uint32_t id, const cJSON *json, struct amb_error *err) {
    struct ambd_dataset *dataset;
    int r = load_dataset(&dataset, session, json, "WATCH", err);

    if (r < 0) {
        return r;
    }
    if (session->watch == NULL) {
        session->watch = amb_calloc(1, sizeof *session->watch);
    }
    if (session->watch == NULL) {
        return amb_fail(err, -ENOMEM, "no memory to watch");
    }
    *session->watch = (struct ambd_watch){.id = id, .dataset = dataset};
    ambd_session_push(session, AMBP_REPLY, id, "{}", 2, NULL, 0, -1);
    watch_send(session);
    return 0;
}

/* MINT */

static int mint_answer(cJSON *out, struct ambd_query *query, struct amb_error *err) {
    int r = ambd_dataset_mint(&query->minted, query->dataset, err);

    if (r == 0) {
        add_generation(out, query->dataset, query->minted.generation != NULL);
    }
    return r;
}

int ambd_query_mint(struct ambd_session *session, uint32_t id, const cJSON *json, struct amb_error *err) {
    static const char *const keys[] = {"dataset"};
    struct ambd_query *query = ambd_query_new(session, id, json, "MINT", keys, COUNT(keys), mint_answer, err);

    if (query == NULL) {
        return err->code;
    }
    query->done = adopt_done;
    ambd_query_push(query, &session->server->clerk);
    return 0;
}

/* EXPORT, MERGE */

static int load_path(struct ambd_query *query, const cJSON *json, struct amb_error *err) {
    const char *path = NULL;
    int r = ambp_json_get_string(&path, json, "path", true, err);

    if (r < 0) {
        return r;
    }
    if (path[0] != '/') {
        return amb_fail(err, AMB_ERR_CONFIG, "'path' is '%.200s', allowed: an absolute path", path);
    }
    query->name = amb_strdup(path);
    return query->name != NULL ? 0 : amb_fail(err, -ENOMEM, "no memory for a path");
}

static int export_answer(cJSON *out, struct ambd_query *query, struct amb_error *err) {
    const struct amb_export_options options = {.toolbox = query->by_index};
    int r = amb_export_jsonl(query->name, query->generation->annotations, query->generation->edition->fill.catalog, &options, err);

    if (r == 0) {
        ambd_json_add_string(out, "path", query->name);
        ambp_json_add_u64(out, "lines", query->generation->annotations->n_samples);
    }
    return r;
}

int ambd_query_export(struct ambd_session *session, uint32_t id, const cJSON *json, struct amb_error *err) {
    static const char *const keys[] = {"dataset", "path", "toolbox"};
    struct ambd_query *query = ambd_query_new(session, id, json, "EXPORT", keys, COUNT(keys), export_answer, err);

    if (query == NULL) {
        return err->code;
    }
    if (load_path(query, json, err) < 0 || ambp_json_get_bool(&query->by_index, json, "toolbox", false, err) < 0) {
        ambd_query_free(query);
        return err->code;
    }
    query->generation = ambd_dataset_pin(query->dataset->current);
    ambd_query_push(query, &session->server->clerk);
    return 0;
}

static int merge_answer(cJSON *out, struct ambd_query *query, struct amb_error *err) {
    struct ambd_merge_report report = {0};
    int r = ambd_dataset_merge(&report, query->dataset, query->name, err);

    r = r < 0 ? r : ambd_dataset_mint(&query->minted, query->dataset, err);
    if (r == 0) {
        ambp_json_add_u64(out, "records", report.n_records);
        ambp_json_add_u64(out, "taken", report.n_taken);
        ambp_json_add_u64(out, "curves", report.n_curves);
        ambp_json_add_u64(out, "damaged", report.n_damaged);
        ambd_json_add_string(out, "first_damage", report.n_damaged > 0 ? report.first_damage : NULL);
        add_generation(out, query->dataset, query->minted.generation != NULL);
    }
    return r;
}

int ambd_query_merge(struct ambd_session *session, uint32_t id, const cJSON *json, struct amb_error *err) {
    static const char *const keys[] = {"dataset", "path"};
    struct ambd_query *query = ambd_query_new(session, id, json, "MERGE", keys, COUNT(keys), merge_answer, err);

    if (query == NULL) {
        return err->code;
    }
    if (load_path(query, json, err) < 0) {
        ambd_query_free(query);
        return err->code;
    }
    query->done = adopt_done;
    ambd_query_push(query, &session->server->clerk);
    return 0;
}

/* VERIFY */

static int verify_answer(cJSON *out, struct ambd_query *query, struct amb_error *err) {
    struct amb_store_report report = {0};
    int r = ambd_dataset_verify(&report, query->dataset, err);

    if (r < 0) {
        return r;
    }
    ambp_json_add_u64(out, "records", report.n_records);
    ambp_json_add_u64(out, "replayed", report.n_replayed);
    ambp_json_add_u64(out, "generations", report.n_generations);
    ambp_json_add_u64(out, "torn_bytes", report.torn_bytes);
    ambp_json_add_u64(out, "damaged", report.n_damaged);
    ambd_json_add_string(out, "first_damage", report.n_damaged > 0 ? report.first_damage : NULL);
    ambp_json_add_u64(out, "table_bytes", report.table_bytes);
    ambp_json_add_u64(out, "journal_bytes", report.journal_bytes);
    return 0;
}

int ambd_query_verify(struct ambd_session *session, uint32_t id, const cJSON *json, struct amb_error *err) {
    static const char *const keys[] = {"dataset"};
    struct ambd_query *query = ambd_query_new(session, id, json, "VERIFY", keys, COUNT(keys), verify_answer, err);

    if (query == NULL) {
        return err->code;
    }
    ambd_query_push(query, &session->server->clerk);
    return 0;
}
