/*
 * Job: a value that the loop keeps, the store remembers and clients look at.
 *
 * Where a job stands is not written down: what it did are its records, and a run begins with the samples that have
 * none. The text in the store holds what records do not say: the request, the state, and counts for people.
 */
#include "daemon/job.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "daemon/producer.h"
#include "daemon/text.h"
#include "proto/json.h"

#define RATE_WINDOW_NS UINT64_C(5000000000)

static const char *const state_names[AMBD_JOB_STATE_N] = {"queued", "running", "paused",   "waiting",
                                                          "done",   "failed",  "cancelled"};

const char *ambd_job_state_name(enum ambd_job_state state) {
    return state_names[state];
}

int ambd_job_new(struct ambd_job **out, uint64_t id, struct ambd_dataset *dataset, cJSON *json, struct amb_error *err) {
    struct ambd_job *job = amb_calloc(1, sizeof *job);
    int r = job == NULL ? amb_fail(err, -ENOMEM, "no memory for a job") : ambd_spec_load(&job->spec, json, err);

    if (r < 0) {
        amb_free(job);
        return r;
    }
    job->id = id;
    job->dataset = dataset;
    job->wanted = AMBD_JOB_RUNNING;
    *out = job;
    return 0;
}

struct ambd_job *ambd_job_free(struct ambd_job *job) {
    if (job != NULL) {
        ambd_examination_free(job->examination);
        ambd_spec_deinit(&job->spec);
        amb_free(job);
    }
    return NULL;
}

static void grid_hash(char out[AMB_HASH128_TEXT_BYTES], const struct amb_grid *grid) {
    const struct amb_hash128 hash = amb_hash128_encode(grid->sigmas, grid->n * sizeof *grid->sigmas);

    amb_hash128_text(out, &hash);
}

int ambd_job_read_grid(struct amb_grid *out, const struct ambd_job *job, struct amb_error *err) {
    AMB_CLEANUP(amb_grid_deinit) struct amb_grid grid = AMB_GRID_NULL;
    char hash[AMB_HASH128_TEXT_BYTES];
    int r = amb_grid_load(&grid, job->spec.grid_path, err);

    if (r < 0) {
        return r;
    }
    grid_hash(hash, &grid);
    if (job->grid_hash[0] != '\0' && strcmp(job->grid_hash, hash) != 0) {
        return amb_fail(err, AMB_ERR_STATE,
                        "%s holds other sigmas than when the job began; put those back and resume the job, or start a new one",
                        job->spec.grid_path);
    }
    *out = grid;
    grid = AMB_GRID_NULL;
    return 0;
}

void ambd_job_take_grid(struct ambd_job *job, struct amb_grid *grid) {
    job->spec.grid = *grid;
    *grid = AMB_GRID_NULL;
    grid_hash(job->grid_hash, &job->spec.grid);
}

bool ambd_job_is_over(const struct ambd_job *job) {
    return job->state >= AMBD_JOB_DONE;
}

static double job_seconds(const struct ambd_job *job, uint64_t now_ns) {
    return job->seconds + (job->since_ns != 0 ? (double)(now_ns - job->since_ns) * 1e-9 : 0);
}

static void add_rates(cJSON *json, const struct ambd_job *job) {
    uint64_t left = job->n_total > job->n_done ? job->n_total - job->n_done : 0;

    cJSON_AddNumberToObject(json, "samples_per_s", job->samples_per_s);
    cJSON_AddNumberToObject(json, "evaluations_per_s", job->evaluations_per_s);
    if (job->state == AMBD_JOB_RUNNING && job->samples_per_s > 0) {
        cJSON_AddNumberToObject(json, "eta_s", (double)left / job->samples_per_s);
    } else {
        cJSON_AddNullToObject(json, "eta_s");
    }
}

cJSON *ambd_job_encode(const struct ambd_job *job, uint64_t now_ns) {
    cJSON *json = cJSON_CreateObject(), *part;

    ambp_json_add_u64(json, "id", job->id);
    ambd_json_add_string(json, "dataset", job->dataset->name);
    cJSON_AddStringToObject(json, "kind", ambd_spec_kind_name(job->spec.kind));
    cJSON_AddStringToObject(json, "mode", amb_search_mode_name(job->spec.mode));
    cJSON_AddStringToObject(json, "state", state_names[job->state]);
    ambd_json_add_string(json, "reason", job->reason.code != 0 ? job->reason.message : NULL);
    cJSON_AddNumberToObject(json, "priority", (double)job->spec.priority);
    ambp_json_add_u64(json, "total", job->n_total);
    ambp_json_add_u64(json, "done", job->n_done);
    ambp_json_add_u64(json, "given_up", job->n_given_up);
    ambp_json_add_u64(json, "unreadable", job->n_unreadable);
    ambp_json_add_u64(json, "evaluations", job->n_evaluations);
    add_rates(json, job);
    ambp_json_add_u64(json, "started_unix", job->started_unix_s);
    ambp_json_add_u64(json, "ended_unix", job->ended_unix_s);
    cJSON_AddNumberToObject(json, "seconds", job_seconds(job, now_ns));
    ambd_json_add_string(json, "model", job->spec.model);
    ambd_json_add_string(json, "sha256", job->sha256[0] != '\0' ? job->sha256 : NULL);
    ambd_json_add_string(json, "runtime", job->runtime[0] != '\0' ? job->runtime : NULL);
    ambp_json_add_u64(json, "batch", job->batch);
    part = cJSON_AddArrayToObject(json, "part");
    ambp_json_add_item(part, NULL, cJSON_CreateNumber((double)job->spec.part));
    ambp_json_add_item(part, NULL, cJSON_CreateNumber((double)job->spec.n_parts));
    return json;
}

void ambd_job_count_rate(struct ambd_job *job, uint64_t now_ns) {
    const double seconds = (double)(now_ns - job->rate_ns) * 1e-9;

    if (job->rate_ns == 0 || now_ns <= job->rate_ns) {
        job->rate_ns = now_ns;
        job->rate_done = job->n_done;
        job->rate_evaluations = job->n_evaluations;
        return;
    }
    job->samples_per_s = (double)(job->n_done - job->rate_done) / seconds;
    job->evaluations_per_s = (double)(job->n_evaluations - job->rate_evaluations) / seconds;
    if (now_ns - job->rate_ns > RATE_WINDOW_NS) { /* the next window begins in the middle of this one */
        job->rate_ns += (now_ns - job->rate_ns) / 2;
        job->rate_done += (job->n_done - job->rate_done) / 2;
        job->rate_evaluations += (job->n_evaluations - job->rate_evaluations) / 2;
    }
}

char *ambd_job_dump(const struct ambd_job *job) {
    cJSON *json = cJSON_CreateObject();

    ambp_json_add_u64(json, "id", job->id);
    ambp_json_add_item(json, "spec", cJSON_Duplicate(job->spec.json, true));
    cJSON_AddNumberToObject(json, "priority", (double)job->spec.priority);
    cJSON_AddStringToObject(json, "state", state_names[job->wanted != AMBD_JOB_RUNNING ? job->wanted : job->state]);
    ambd_json_add_string(json, "reason", job->reason.code != 0 ? job->reason.message : NULL);
    cJSON_AddNumberToObject(json, "code", job->reason.code);
    ambp_json_add_u64(json, "start_sequence", job->start_sequence);
    ambp_json_add_u64(json, "total", job->n_total);
    ambp_json_add_u64(json, "done", job->n_done);
    ambp_json_add_u64(json, "given_up", job->n_given_up);
    ambp_json_add_u64(json, "unreadable", job->n_unreadable);
    ambp_json_add_u64(json, "evaluations", job->n_evaluations);
    ambp_json_add_u64(json, "started_unix", job->started_unix_s);
    ambp_json_add_u64(json, "ended_unix", job->ended_unix_s);
    cJSON_AddNumberToObject(json, "seconds", job_seconds(job, ambd_now_ns()));
    ambd_json_add_string(json, "sha256", job->sha256);
    ambd_json_add_string(json, "runtime", job->runtime);
    ambd_json_add_string(json, "grid_hash", job->grid_hash);
    return ambd_json_print(json);
}

static int load_state(struct ambd_job *job, const cJSON *json, struct amb_error *err) {
    const char *state = "", *reason = NULL, *sha256 = "", *runtime = "", *hash = "";
    double code = 0, priority = 0;
    int r = ambp_json_get_string(&state, json, "state", true, err);

    r = r < 0 ? r : ambp_json_get_string(&reason, json, "reason", false, err);
    r = r < 0 ? r : ambp_json_get_string(&sha256, json, "sha256", false, err);
    r = r < 0 ? r : ambp_json_get_string(&runtime, json, "runtime", false, err);
    r = r < 0 ? r : ambp_json_get_string(&hash, json, "grid_hash", false, err);
    r = r < 0 ? r : ambp_json_get_f64(&code, json, "code", false, err);
    r = r < 0 ? r : ambp_json_get_f64(&priority, json, "priority", false, err);
    r = r < 0 ? r : ambp_json_get_f64(&job->seconds, json, "seconds", false, err);
    r = r < 0 ? r : ambp_json_get_u64(&job->start_sequence, json, "start_sequence", 0, UINT64_MAX, true, err);
    r = r < 0 ? r : ambp_json_get_u64(&job->n_total, json, "total", 0, UINT64_MAX, false, err);
    r = r < 0 ? r : ambp_json_get_u64(&job->n_done, json, "done", 0, UINT64_MAX, false, err);
    r = r < 0 ? r : ambp_json_get_u64(&job->n_given_up, json, "given_up", 0, UINT64_MAX, false, err);
    r = r < 0 ? r : ambp_json_get_u64(&job->n_unreadable, json, "unreadable", 0, UINT64_MAX, false, err);
    r = r < 0 ? r : ambp_json_get_u64(&job->n_evaluations, json, "evaluations", 0, UINT64_MAX, false, err);
    r = r < 0 ? r : ambp_json_get_u64(&job->started_unix_s, json, "started_unix", 0, UINT64_MAX, false, err);
    r = r < 0 ? r : ambp_json_get_u64(&job->ended_unix_s, json, "ended_unix", 0, UINT64_MAX, false, err);
    if (r < 0) {
        return r;
    }
    job->state = AMBD_JOB_STATE_N;
    for (int i = 0; i < AMBD_JOB_STATE_N; i++) {
        job->state = strcmp(state, state_names[i]) == 0 ? (enum ambd_job_state)i : job->state;
    }
    if (job->state == AMBD_JOB_STATE_N) {
        return amb_fail(err, AMB_ERR_FORMAT, "job %llu in state '%.20s'", (unsigned long long)job->id, state);
    }
    job->spec.priority = (int64_t)priority;
    if (reason != NULL) {
        amb_fail(&job->reason, (int)code, "%s", reason);
    }
    snprintf(job->sha256, sizeof job->sha256, "%s", sha256);
    snprintf(job->runtime, sizeof job->runtime, "%s", runtime);
    snprintf(job->grid_hash, sizeof job->grid_hash, "%s", hash);
    return 0;
}

int ambd_job_load(struct ambd_job **out, struct ambd_dataset *dataset, const char *text, size_t bytes,
                  struct amb_error *err) {
    AMB_CLEANUP(ambp_json_deletep) cJSON *json = NULL;
    AMB_CLEANUP(ambp_json_deletep) cJSON *spec = NULL;
    struct ambd_job *job = NULL;
    uint64_t id = 0;
    int r = ambp_json_decode(&json, text, bytes, AMBP_JSON_DEPTH_MAX, err);

    r = r < 0 ? r : ambp_json_get_u64(&id, json, "id", 1, UINT64_MAX, true, err);
    if (r < 0) {
        return r;
    }
    spec = cJSON_DetachItemFromObjectCaseSensitive(json, "spec");
    if (!cJSON_IsObject(spec)) {
        return amb_fail(err, AMB_ERR_FORMAT, "job %llu has no request", (unsigned long long)id);
    }
    r = ambd_job_new(&job, id, dataset, spec, err);
    if (r < 0) {
        return r;
    }
    spec = NULL; /* taken */
    r = load_state(job, json, err);
    if (r < 0) {
        ambd_job_free(job);
        return r;
    }
    *out = job;
    return 0;
}
