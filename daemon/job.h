#pragma once
/* Job: one annotation job: what it is asked, how far it is. Loop only, but where said. */
#include <stdbool.h>
#include <stdint.h>

#include <cjson/cJSON.h>

#include "base/error.h"
#include "daemon/dataset.h"
#include "daemon/examination.h"
#include "daemon/spec.h"

enum ambd_job_state {
    AMBD_JOB_QUEUED,
    AMBD_JOB_RUNNING,
    AMBD_JOB_PAUSED,
    AMBD_JOB_WAITING, /* for room on the disk */
    AMBD_JOB_DONE,
    AMBD_JOB_FAILED,
    AMBD_JOB_CANCELLED,
    AMBD_JOB_STATE_N,
};
const char *ambd_job_state_name(enum ambd_job_state state);

struct ambd_job {
    struct ambd_job *next;
    uint64_t id;
    struct ambd_dataset *dataset;
    struct ambd_spec spec;
    enum ambd_job_state state;
    enum ambd_job_state wanted; /* what to be once the thread has stopped; RUNNING: nothing else */
    struct amb_error reason;    /* of FAILED, WAITING */
    uint64_t start_sequence;    /* records of its kind from it on are its own; 0: not begun */
    uint64_t n_total, n_done, n_given_up, n_unreadable, n_evaluations;
    uint64_t started_unix_s, ended_unix_s;
    double seconds;             /* running, all runs */
    char sha256[65], runtime[AMB_MODEL_RUNTIME_TEXT];
    char grid_hash[AMB_HASH128_TEXT_BYTES]; /* of the file's numbers; "": none was read */
    size_t batch;

    /* while RUNNING or WAITING */
    struct ambd_examination *examination;
    struct ambd_edition *edition; /* pinned; whose samples it examines */
    uint64_t since_ns;          /* of this run; 0: none */
    uint64_t rate_ns, rate_done, rate_evaluations; /* begin of the present window */
    double samples_per_s, evaluations_per_s;
    unsigned n_tasks;           /* on the clerk's desk, or waiting to be */
    void *waiting_put;          /* a deposit that found no room; jobs.c */
    uint64_t n_noted;           /* how often it was put on the desk to be written down */
    uint64_t unnoted_ns;        /* when the last of these failed; 0: it did not */
};

/* JSON of an ANNOTATE request is taken on success. Errors: those of ambd_spec_load. */
int ambd_job_new(struct ambd_job **out, uint64_t id, struct ambd_dataset *dataset, cJSON *json, struct amb_error *err);
struct ambd_job *ambd_job_free(struct ambd_job *job); /* NULL ok; returns NULL */

/**
 * Read the file of sigmas that the request names.
 *
 * Errors: those of amb_grid_load; AMB_ERR_STATE it holds others than when the job began. Thread: any; blocks.
 */
int ambd_job_read_grid(struct amb_grid *out, const struct ambd_job *job, struct amb_error *err);
void ambd_job_take_grid(struct ambd_job *job, struct amb_grid *grid);

/* DONE, FAILED or CANCELLED: for good. */
bool ambd_job_is_over(const struct ambd_job *job);

/* For clients (proto/README.md "Jobs"). */
cJSON *ambd_job_encode(const struct ambd_job *job, uint64_t now_ns);

/* A window of some seconds over which the rates are taken. */
void ambd_job_count_rate(struct ambd_job *job, uint64_t now_ns);

/* What the store keeps of it, and back. AMB_ERR_FORMAT. */
char *ambd_job_dump(const struct ambd_job *job); /* released by cJSON_free; NULL: out of memory */
int ambd_job_load(struct ambd_job **out, struct ambd_dataset *dataset, const char *text, size_t bytes,
                  struct amb_error *err);
