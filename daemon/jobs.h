#pragma once
/* Jobs: all annotation jobs of a server: which one runs, what becomes of what it finds. Loop only. */
#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "base/error.h"
#include "daemon/job.h"

#define AMBD_JOBS_MAX 64u /* of a dataset; not tuned */

struct ambd_server;
struct ambd_session;

struct ambd_jobs {
    struct ambd_server *server;
    uv_async_t async; /* threads of jobs have something */
    uv_timer_t timer; /* publishing, retries, progress */
    struct ambd_job *first;
    uint64_t last_id;
    unsigned n_running; /* with a thread or a task */
    uint64_t changes;   /* counted up with whatever a watcher may want to know */
    bool started, stopping;
};

/* Take up what the stores remember; what was running goes on. */
int ambd_jobs_init(struct ambd_jobs *jobs, struct ambd_server *server, struct amb_error *err);

/* Tell every thread to stop; true once none runs any more. May be called again. */
bool ambd_jobs_stop(struct ambd_jobs *jobs);
void ambd_jobs_close(struct ambd_jobs *jobs); /* close the handles, free the jobs; idempotent */

/**
 * ANNOTATE. json: taken on success. With dry_run the session is answered later, and the job is none.
 *
 * Errors: AMB_ERR_CONFIG no store, or a request that is not allowed; AMB_ERR_BUSY; AMB_ERR_LIMIT.
 */
int ambd_jobs_push(struct ambd_job **out, struct ambd_jobs *jobs, struct ambd_dataset *dataset, cJSON *json,
                   struct amb_error *err);

/* The best of those that wait starts; one of a higher priority sends the running one back to them. */
void ambd_jobs_start_next(struct ambd_jobs *jobs, struct ambd_dataset *dataset);

struct ambd_job *ambd_jobs_find(struct ambd_jobs *jobs, uint64_t id); /* NULL: none */

/* "pause", "resume", "cancel", "priority". AMB_ERR_STATE, AMB_ERR_CONFIG. */
int ambd_jobs_act(struct ambd_jobs *jobs, struct ambd_job *job, const char *action, int64_t priority,
                  struct amb_error *err);

/* The dataset has other samples: what runs stops, keeps what it found, and selects anew. */
void ambd_jobs_renew(struct ambd_jobs *jobs, struct ambd_dataset *dataset);

/* {"jobs":[...]} of a dataset, or of all (NULL); but for n_left_out of them: the oldest of those that have ended, and where
 * these are too few, of the others. */
cJSON *ambd_jobs_encode(const struct ambd_jobs *jobs, const struct ambd_dataset *dataset, size_t n_left_out);
