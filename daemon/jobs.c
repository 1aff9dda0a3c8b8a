/*
 * Jobs: a run of a job goes select (clerk) -> examine (a thread of its own) -> deposit (clerk), the last two at once.
 *
 * Of a dataset one job runs at a time. Pausing, cancelling and giving way to a higher priority are one thing: the
 * thread stops, what it found so far is deposited, and `wanted` says what the job is then. A new run selects anew what
 * has no record, so there is nothing to restore.
 *
 * A deposit that finds no room on the disk stays with the job, which waits and tries again; its thread stops by itself
 * when it has no empty deposit left. A store that was poisoned ends its jobs.
 */
#include "daemon/jobs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "daemon/dataset-store.h"
#include "daemon/job-note.h"
#include "daemon/log.h"
#include "daemon/queries.h"
#include "daemon/selection.h"
#include "daemon/server.h"
#include "proto/json.h"

#define TIMER_MS      250u /* watchers hear at most four times a second */
#define RETRY_NS      UINT64_C(3000000000) /* a full disk is looked at again; not tuned */

static uint64_t unix_s(void) {
    return (uint64_t)time(NULL);
}

static bool is_full(const struct amb_error *err) {
    return err->code == -ENOSPC || err->code == -EDQUOT;
}

static void job_set_state(struct ambd_jobs *jobs, struct ambd_job *job, enum ambd_job_state state) {
    job->state = state;
    jobs->changes++;
    if (ambd_job_is_over(job)) {
        job->ended_unix_s = unix_s();
    }
    ambd_log(AMBD_INFO, "job.%s id=%llu dataset=%s done=%llu total=%llu evaluations=%llu%s%s%s", ambd_job_state_name(state),
             (unsigned long long)job->id, job->dataset->name, (unsigned long long)job->n_done,
             (unsigned long long)job->n_total, (unsigned long long)job->n_evaluations,
             job->reason.code != 0 ? " reason=\"" : "", job->reason.code != 0 ? job->reason.message : "",
             job->reason.code != 0 ? "\"" : "");
    ambd_job_note(jobs, job, false);
}

/* Minting */

struct mint {
    struct ambd_task task;
    struct ambd_jobs *jobs;
    struct ambd_dataset *dataset;
    struct ambd_minted minted;
    bool ended; /* the store */
    struct amb_error error;
};

static void mint_run(struct ambd_task *task) {
    struct mint *mint = (struct mint *)task;

    if (mint->dataset->unminted) {
        ambd_dataset_mint(&mint->minted, mint->dataset, &mint->error);
    }
    mint->ended = ambd_dataset_store_has_ended(mint->dataset, &mint->error);
}

static void mint_done(struct ambd_task *task) {
    struct mint *mint = (struct mint *)task;

    ambd_dataset_tell_end(mint->dataset, mint->ended, &mint->error);
    if (mint->error.code != 0) {
        ambd_log(AMBD_WARN, "annotations.unminted dataset=%s code=%s reason=\"%s\"", mint->dataset->name,
                 amb_error_name(mint->error.code), mint->error.message);
    }
    ambd_server_adopt(mint->jobs->server, mint->dataset, &mint->minted);
    mint->jobs->changes++;
    mint->jobs->n_running--;
    mint->dataset->minting = false;
    mint->dataset->mint_waits = is_full(&mint->error);
    ambd_server_continue_stop(mint->jobs->server);
    amb_free(mint);
}

static void dataset_publish(struct ambd_jobs *jobs, struct ambd_dataset *dataset) {
    struct mint *mint = dataset->minting ? NULL : amb_calloc(1, sizeof *mint);

    if (mint == NULL) {
        return;
    }
    mint->task = (struct ambd_task){.run = mint_run, .done = mint_done};
    mint->jobs = jobs;
    mint->dataset = dataset;
    dataset->minting = true;
    dataset->published_ns = ambd_now_ns();
    jobs->n_running++;
    ambd_desk_push(&jobs->server->clerk, &mint->task);
}

/* What jobs have left must reach the streams, also where there was no room for the generation when they ended. */
static void mint_retry(struct ambd_jobs *jobs, uint64_t now_ns, uint64_t publish_ns) {
    for (size_t i = 0; i < jobs->server->n_datasets; i++) {
        struct ambd_dataset *dataset = jobs->server->datasets[i];

        if (dataset->mint_waits && now_ns - dataset->published_ns > publish_ns) {
            dataset_publish(jobs, dataset);
        }
    }
}

/* Ends of a run */

static void job_end_run(struct ambd_jobs *jobs, struct ambd_job *job) {
    uint64_t now_ns = ambd_now_ns();

    job->seconds += job->since_ns != 0 ? (double)(now_ns - job->since_ns) * 1e-9 : 0;
    job->since_ns = job->rate_ns = 0;
    job->samples_per_s = job->evaluations_per_s = 0;
    job->examination = ambd_examination_free(job->examination);
    if (job->edition != NULL) {
        ambd_dataset_unpin_edition(job->dataset, job->edition);
        job->edition = NULL;
    }
    if (jobs->stopping) {
        ambd_job_note(jobs, job, false); /* as running: it goes on at the next start */
        job->state = AMBD_JOB_QUEUED;
        return;
    }
    if (job->wanted != AMBD_JOB_RUNNING) {
        job_set_state(jobs, job, job->wanted);
        job->wanted = AMBD_JOB_RUNNING;
    } else {
        job_set_state(jobs, job, job->reason.code != 0 ? AMBD_JOB_FAILED : AMBD_JOB_DONE);
    }
    dataset_publish(jobs, job->dataset);
    ambd_jobs_start_next(jobs, job->dataset);
}

/* Deposits */

struct put {
    struct ambd_task task;
    struct ambd_jobs *jobs;
    struct ambd_job *job;
    struct ambd_deposit *deposit;
    uint64_t retry_ns; /* not before; 0: at once */
    bool ended;        /* the store */
    struct amb_error error;
};

static void jobs_look(struct ambd_jobs *jobs, struct ambd_job *job);

static void put_run(struct ambd_task *task) {
    struct put *put = (struct put *)task;

    put->error = AMB_ERROR_NULL;
    ambd_dataset_deposit(put->job->dataset, put->job->edition, put->deposit, &put->error);
    put->ended = ambd_dataset_store_has_ended(put->job->dataset, &put->error);
}

static void put_count(struct ambd_job *job, const struct ambd_deposit *deposit) {
    job->n_done += deposit->n;
    job->n_given_up += deposit->n_given_up;
    job->n_unreadable += deposit->n_unreadable;
    job->n_evaluations += deposit->n_evaluations;
    if (job->state == AMBD_JOB_WAITING) {
        job->state = AMBD_JOB_RUNNING;
        job->reason = AMB_ERROR_NULL;
    }
    ambd_job_count_rate(job, ambd_now_ns());
}

static void put_done(struct ambd_task *task) {
    struct put *put = (struct put *)task;
    struct ambd_jobs *jobs = put->jobs;
    struct ambd_job *job = put->job;

    jobs->changes++;
    ambd_dataset_tell_end(job->dataset, put->ended, &put->error);
    if (is_full(&put->error) && !jobs->stopping && job->wanted == AMBD_JOB_RUNNING) { /* else these samples are done again */
        if (job->state != AMBD_JOB_WAITING) {
            job->reason = put->error;
            job_set_state(jobs, job, AMBD_JOB_WAITING);
        }
        job->waiting_put = put; /* the timer pushes it again */
        put->retry_ns = ambd_now_ns() + RETRY_NS;
        return;
    }
    if (put->error.code == 0) {
        put_count(job, put->deposit);
    } else if (!is_full(&put->error)) {
        job->reason = put->error;
        ambd_examination_stop(job->examination);
    }
    ambd_examination_return(job->examination, put->deposit);
    job->n_tasks--;
    jobs->n_running--;
    amb_free(put);
    jobs_look(jobs, job);
    ambd_server_continue_stop(jobs->server);
}

static void job_push_deposit(struct ambd_jobs *jobs, struct ambd_job *job, struct ambd_deposit *deposit) {
    struct put *put = amb_calloc(1, sizeof *put);

    if (put == NULL) {
        amb_fail(&job->reason, -ENOMEM, "no memory to write records");
        ambd_examination_stop(job->examination);
        ambd_examination_return(job->examination, deposit);
        return;
    }
    put->task = (struct ambd_task){.run = put_run, .done = put_done};
    put->jobs = jobs;
    put->job = job;
    put->deposit = deposit;
    job->n_tasks++;
    jobs->n_running++;
    ambd_desk_push(&jobs->server->clerk, &put->task);
}

/* Take what a thread has; end the run where nothing comes any more. */
static void jobs_look(struct ambd_jobs *jobs, struct ambd_job *job) {
    struct ambd_deposit *deposit;
    struct amb_model_info info;
    struct amb_error error;
    double rate;
    bool ready;

    if (job->examination == NULL) {
        return;
    }
    ready = ambd_examination_peek(job->examination, &info, &job->batch, &rate);
    if (ready && job->sha256[0] == '\0') {
        memcpy(job->sha256, info.sha256, sizeof job->sha256);
        snprintf(job->runtime, sizeof job->runtime, "%s", info.runtime);
        ambd_job_note(jobs, job, false); /* before its first record: it is held to that model */
        jobs->changes++;
    }
    /* one at a time: records of a job reach the journal in their order */
    while (ready && job->n_tasks == 0 && (deposit = ambd_examination_take(job->examination)) != NULL) {
        job_push_deposit(jobs, job, deposit);
    }
    if (job->n_tasks == 0 && ambd_examination_is_finished(job->examination, &error)) {
        if (job->reason.code == 0 && error.code != 0) {
            job->reason = error;
        }
        job_end_run(jobs, job);
    }
}

static void jobs_on_async(uv_async_t *async) {
    struct ambd_jobs *jobs = async->data;
    struct ambd_job *next;

    for (struct ambd_job *job = jobs->first; job != NULL; job = next) {
        next = job->next;
        jobs_look(jobs, job);
    }
    ambd_server_continue_stop(jobs->server);
}

static void jobs_wake(void *opaque) {
    uv_async_send(opaque);
}

/* Selecting */

struct select_task {
    struct ambd_task task;
    struct ambd_jobs *jobs;
    struct ambd_job *job;
    struct ambd_selection selection;
    struct amb_grid grid; /* read anew behind a restart */
    struct amb_error error;
};

static void select_run(struct ambd_task *task) {
    struct select_task *select = (struct select_task *)task;

    if (select->job->spec.grid.n == 0 && ambd_job_read_grid(&select->grid, select->job, &select->error) < 0) {
        return;
    }
    ambd_selection_get(&select->selection, select->job->dataset, &select->job->spec, select->job->start_sequence,
                       &select->error);
}

static int job_examine(struct ambd_jobs *jobs, struct ambd_job *job, struct select_task *select, struct amb_error *err) {
    const struct ambd_config *config = jobs->server->config;
    struct ambd_examination_options options = {
        .spec = &job->spec,
        .dataset = &job->edition->fill,
        .selected = select->selection.bits,
        .n_samples = amb_catalog_count(job->edition->fill.catalog),
        .limits = jobs->server->codec_limits,
        .library = config->annotate.library,
        .providers = config->annotate.providers,
        .n_providers = (size_t)config->annotate.n_providers,
        .n_threads = (unsigned)config->annotate.threads,
        .gives_way = config->annotate.gives_way,
        .wake = jobs_wake,
        .opaque = &jobs->async,
    };
    int r;

    memcpy(options.sha256, job->sha256, sizeof options.sha256);
    r = ambd_examination_new(&job->examination, &options, err);

    if (r == 0) {
        select->selection.bits = NULL; /* taken */
    }
    return r;
}

static void select_done(struct ambd_task *task) {
    struct select_task *select = (struct select_task *)task;
    struct ambd_jobs *jobs = select->jobs;
    struct ambd_job *job = select->job;

    job->n_tasks--;
    jobs->n_running--;
    if (select->grid.n > 0) {
        ambd_job_take_grid(job, &select->grid);
    }
    if (select->error.code == 0) {
        job->n_total = select->selection.n_selected + select->selection.n_own;
        job->n_done = select->selection.n_own;
        job->n_evaluations = select->selection.n_evaluations;
        if (job->start_sequence == 0) {
            job->start_sequence = select->selection.start_sequence;
            ambd_job_note(jobs, job, false);
        }
    }
    if (select->error.code == 0 && select->selection.n_selected > 0 && job->wanted == AMBD_JOB_RUNNING && !jobs->stopping) {
        job->since_ns = ambd_now_ns();
        job->edition = ambd_dataset_pin_edition(select->selection.edition);
        ambd_job_count_rate(job, job->since_ns);
        job_examine(jobs, job, select, &select->error);
    }
    if (select->error.code != 0) {
        job->reason = select->error;
    }
    if (job->examination == NULL) {
        job_end_run(jobs, job);
    }
    ambd_selection_deinit(&select->selection);
    amb_free(select);
    ambd_server_continue_stop(jobs->server);
}

static void job_start(struct ambd_jobs *jobs, struct ambd_job *job) {
    struct select_task *select = amb_calloc(1, sizeof *select);

    if (select == NULL) {
        amb_fail(&job->reason, -ENOMEM, "no memory to start");
        job_set_state(jobs, job, AMBD_JOB_FAILED);
        return;
    }
    select->task = (struct ambd_task){.run = select_run, .done = select_done};
    select->jobs = jobs;
    select->job = job;
    job->reason = AMB_ERROR_NULL;
    job->started_unix_s = job->started_unix_s != 0 ? job->started_unix_s : unix_s();
    job->n_tasks++;
    jobs->n_running++;
    job_set_state(jobs, job, AMBD_JOB_RUNNING);
    ambd_desk_push(&jobs->server->clerk, &select->task);
}

static bool job_runs(const struct ambd_job *job) {
    return job->state == AMBD_JOB_RUNNING || job->state == AMBD_JOB_WAITING;
}

void ambd_jobs_start_next(struct ambd_jobs *jobs, struct ambd_dataset *dataset) {
    struct ambd_job *best = NULL, *running = NULL;

    for (struct ambd_job *job = jobs->first; job != NULL; job = job->next) {
        if (job->dataset != dataset) {
            continue;
        }
        running = job_runs(job) ? job : running;
        if (job->state == AMBD_JOB_QUEUED && (best == NULL || job->spec.priority > best->spec.priority)) {
            best = job; /* the list is by age */
        }
    }
    if (best == NULL || jobs->stopping) {
        return;
    }
    if (running == NULL) {
        job_start(jobs, best);
    } else if (best->spec.priority > running->spec.priority && running->wanted == AMBD_JOB_RUNNING) {
        running->wanted = AMBD_JOB_QUEUED;
        if (running->examination != NULL) {
            ambd_examination_stop(running->examination);
        }
    }
}

/* The timer */

static void put_retry(struct ambd_jobs *jobs, struct ambd_job *job, uint64_t now_ns) {
    struct put *put = job->waiting_put;

    if (put != NULL && now_ns >= put->retry_ns) {
        job->waiting_put = NULL;
        ambd_desk_push(&jobs->server->clerk, &put->task);
    }
}

static void jobs_on_timer(uv_timer_t *timer) {
    struct ambd_jobs *jobs = timer->data;
    const uint64_t now_ns = ambd_now_ns(), publish_ns = jobs->server->config->annotate.publish_s * UINT64_C(1000000000);

    for (struct ambd_job *job = jobs->first; job != NULL && !jobs->stopping; job = job->next) {
        put_retry(jobs, job, now_ns);
        if (job->unnoted_ns != 0 && job->dataset->store_error.code == 0 && now_ns - job->unnoted_ns > RETRY_NS) {
            ambd_job_note(jobs, job, false);
            job->unnoted_ns = now_ns; /* until that is known */
        }
        if (job->state == AMBD_JOB_RUNNING && job->since_ns != 0) {
            ambd_job_count_rate(job, now_ns);
            jobs->changes++;
            if (!job->dataset->minting && now_ns - job->dataset->published_ns > publish_ns) {
                ambd_job_note(jobs, job, false); /* what records do not say would be lost with a kill */
                dataset_publish(jobs, job->dataset);
            }
        }
    }
    if (!jobs->stopping) {
        mint_retry(jobs, now_ns, publish_ns);
    }
    ambd_events_tick(jobs->server);
}

/* Life cycle */

static void jobs_append(struct ambd_jobs *jobs, struct ambd_job *job) {
    struct ambd_job **at = &jobs->first;

    while (*at != NULL && (*at)->id < job->id) {
        at = &(*at)->next;
    }
    job->next = *at;
    *at = job;
    jobs->last_id = job->id > jobs->last_id ? job->id : jobs->last_id;
}

/* The desks do not run yet: the store is ours. */
static void jobs_load(struct ambd_jobs *jobs, struct ambd_dataset *dataset) {
    const char *name = NULL;

    while ((name = amb_store_next_text(dataset->store, name)) != NULL) {
        struct amb_error err = AMB_ERROR_NULL;
        struct ambd_job *job = NULL;
        size_t bytes = 0;
        const char *text = amb_store_peek_text(&bytes, dataset->store, name);

        if (strncmp(name, "job-", 4) != 0) {
            continue;
        }
        if (ambd_job_load(&job, dataset, text, bytes, &err) < 0) {
            ambd_log(AMBD_WARN, "job.unknown dataset=%s name=%s reason=\"%s\"", dataset->name, name, err.message);
            continue;
        }
        job->state = job_runs(job) ? AMBD_JOB_QUEUED : job->state;
        jobs_append(jobs, job);
    }
}

int ambd_jobs_init(struct ambd_jobs *jobs, struct ambd_server *server, struct amb_error *err) {
    int r = uv_async_init(&server->loop, &jobs->async, jobs_on_async);

    if (r < 0) {
        return amb_fail(err, r, "cannot make a wake-up: %s", uv_strerror(r));
    }
    jobs->server = server;
    jobs->async.data = jobs;
    uv_timer_init(&server->loop, &jobs->timer);
    jobs->timer.data = jobs;
    uv_timer_start(&jobs->timer, jobs_on_timer, TIMER_MS, TIMER_MS);
    jobs->started = true;
    for (size_t i = 0; i < server->n_datasets; i++) {
        if (server->datasets[i]->store != NULL) {
            jobs_load(jobs, server->datasets[i]);
        }
    }
    for (size_t i = 0; i < server->n_datasets; i++) {
        ambd_jobs_start_next(jobs, server->datasets[i]);
    }
    return 0;
}

/* What waits for room is done again by the next run; the thread that it came from may have ended before. */
static void job_interrupt(struct ambd_jobs *jobs, struct ambd_job *job) {
    struct put *put = job->waiting_put;

    if (put != NULL) {
        job->waiting_put = NULL;
        ambd_examination_return(job->examination, put->deposit);
        job->n_tasks--;
        jobs->n_running--;
        amb_free(put);
    }
    if (job->examination != NULL) {
        ambd_examination_stop(job->examination);
        jobs_look(jobs, job);
    }
}

bool ambd_jobs_stop(struct ambd_jobs *jobs) {
    bool running = false;

    jobs->stopping = true;
    for (struct ambd_job *job = jobs->first; job != NULL; job = job->next) {
        job_interrupt(jobs, job);
        running = running || job->examination != NULL;
    }
    return !running && jobs->n_running == 0;
}

void ambd_jobs_close(struct ambd_jobs *jobs) {
    if (jobs->started) {
        jobs->started = false;
        uv_close((uv_handle_t *)&jobs->async, NULL);
        uv_close((uv_handle_t *)&jobs->timer, NULL);
    }
    while (jobs->first != NULL) {
        struct ambd_job *next = jobs->first->next;

        if (jobs->first->examination != NULL) {
            ambd_examination_stop(jobs->first->examination);
        }
        ambd_job_free(jobs->first);
        jobs->first = next;
    }
}

/* Requests */

struct ambd_job *ambd_jobs_find(struct ambd_jobs *jobs, uint64_t id) {
    struct ambd_job *job = jobs->first;

    while (job != NULL && job->id != id) {
        job = job->next;
    }
    return job;
}

static int jobs_check_new(const struct ambd_jobs *jobs, const struct ambd_job *fresh, struct amb_error *err) {
    for (const struct ambd_job *job = jobs->first; job != NULL; job = job->next) {
        if (job->dataset == fresh->dataset && !ambd_job_is_over(job) && !ambd_spec_is_apart(&job->spec, &fresh->spec)) {
            return amb_fail(err, AMB_ERR_BUSY,
                            "job %llu of dataset '%s' may mean the same samples and is %s; wait for it, cancel it, or "
                            "name other samples (--where, --part)",
                            (unsigned long long)job->id, job->dataset->name, ambd_job_state_name(job->state));
        }
    }
    return 0;
}

/* Forget the oldest job that has ended, where there are too many. */
static int jobs_make_room(struct ambd_jobs *jobs, const struct ambd_dataset *dataset, struct amb_error *err) {
    struct ambd_job **oldest = NULL;
    unsigned n = 0;

    for (struct ambd_job **at = &jobs->first; *at != NULL; at = &(*at)->next) {
        n += (*at)->dataset == dataset;
        if ((*at)->dataset == dataset && ambd_job_is_over(*at) && (*at)->n_tasks == 0 && oldest == NULL) {
            oldest = at;
        }
    }
    if (n < AMBD_JOBS_MAX) {
        return 0;
    }
    if (oldest == NULL) {
        return amb_fail(err, AMB_ERR_LIMIT, "dataset '%s' has %u jobs that have not ended, allowed: %u", dataset->name, n,
                        AMBD_JOBS_MAX);
    }
    struct ambd_job *job = *oldest;

    *oldest = job->next;
    ambd_job_note(jobs, job, true);
    ambd_job_free(job);
    return 0;
}

int ambd_jobs_push(struct ambd_job **out, struct ambd_jobs *jobs, struct ambd_dataset *dataset, cJSON *json,
                   struct amb_error *err) {
    struct ambd_job *job = NULL;
    struct amb_grid grid = AMB_GRID_NULL;
    int r;

    if (dataset->store == NULL) {
        return amb_fail(err, AMB_ERR_CONFIG,
                        "dataset '%s' has no store for annotations; start the daemon with --state-dir DIR", dataset->name);
    }
    r = ambd_job_new(&job, jobs->last_id + 1, dataset, json, err);
    if (r < 0) {
        return r;
    }
    r = job->spec.grid.n == 0 ? ambd_job_read_grid(&grid, job, err) : 0;
    if (grid.n > 0) {
        ambd_job_take_grid(job, &grid);
    }
    r = r < 0 ? r : ambd_spec_check_source(&job->spec, dataset->edition->fill.catalog, err);
    r = r < 0 ? r : ambd_job_note_check(job, err);
    r = r < 0 ? r : jobs_check_new(jobs, job, err);
    r = r < 0 ? r : jobs_make_room(jobs, dataset, err);
    if (r < 0) {
        job->spec.json = NULL; /* the caller's still */
        ambd_job_free(job);
        return r;
    }
    jobs_append(jobs, job);
    job_set_state(jobs, job, AMBD_JOB_QUEUED); /* it starts when that is written down */
    *out = job;
    return 0;
}

static int act_fail(const struct ambd_job *job, const char *action, struct amb_error *err) {
    return amb_fail(err, AMB_ERR_STATE, "cannot %s job %llu, which is %s", action, (unsigned long long)job->id,
                    ambd_job_state_name(job->state));
}

static void job_want(struct ambd_jobs *jobs, struct ambd_job *job, enum ambd_job_state state) {
    if (!job_runs(job)) {
        job_set_state(jobs, job, state);
        return;
    }
    job->wanted = state;
    ambd_job_note(jobs, job, false); /* what was asked for holds, if the daemon ends before the run does */
    if (job->waiting_put != NULL) {
        job->reason = AMB_ERROR_NULL; /* the disk's */
    }
    job_interrupt(jobs, job);
}

void ambd_jobs_renew(struct ambd_jobs *jobs, struct ambd_dataset *dataset) {
    for (struct ambd_job *job = jobs->first; job != NULL; job = job->next) {
        if (job->dataset == dataset && job_runs(job) && job->wanted == AMBD_JOB_RUNNING && !jobs->stopping) {
            job_want(jobs, job, AMBD_JOB_QUEUED);
        }
    }
}

int ambd_jobs_act(struct ambd_jobs *jobs, struct ambd_job *job, const char *action, int64_t priority,
                  struct amb_error *err) {
    if (strcmp(action, "priority") == 0) {
        job->spec.priority = priority;
        ambd_job_note(jobs, job, false);
    } else if (strcmp(action, "pause") == 0) {
        if (ambd_job_is_over(job)) {
            return act_fail(job, action, err);
        }
        job_want(jobs, job, AMBD_JOB_PAUSED);
    } else if (strcmp(action, "cancel") == 0) {
        if (ambd_job_is_over(job)) {
            return act_fail(job, action, err);
        }
        job_want(jobs, job, AMBD_JOB_CANCELLED);
    } else if (strcmp(action, "resume") == 0) {
        if (job_runs(job) && job->wanted == AMBD_JOB_RUNNING) {
            return act_fail(job, action, err);
        }
        if (job->state == AMBD_JOB_DONE || job->state == AMBD_JOB_QUEUED) {
            return act_fail(job, action, err);
        }
        if (ambd_job_is_over(job) && jobs_check_new(jobs, job, err) < 0) {
            return err->code;
        }
        job->reason = AMB_ERROR_NULL;
        job_want(jobs, job, AMBD_JOB_QUEUED);
    } else {
        return amb_fail(err, AMB_ERR_CONFIG, "'action' is '%.40s', allowed: pause, resume, cancel, priority", action);
    }
    jobs->changes++;
    return 0; /* what waits starts when that is written down */
}

cJSON *ambd_jobs_encode(const struct ambd_jobs *jobs, const struct ambd_dataset *dataset, size_t n_left_out) {
    cJSON *json = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(json, "jobs");
    const uint64_t now_ns = ambd_now_ns();
    size_t n_over = 0, n_others;

    for (const struct ambd_job *job = jobs->first; job != NULL; job = job->next) {
        n_over += (dataset == NULL || job->dataset == dataset) && ambd_job_is_over(job);
    }
    n_others = n_left_out > n_over ? n_left_out - n_over : 0;
    n_over = n_left_out - n_others;
    for (const struct ambd_job *job = jobs->first; job != NULL; job = job->next) {
        if (dataset == NULL || job->dataset == dataset) {
            size_t *n_left = ambd_job_is_over(job) ? &n_over : &n_others;

            if (*n_left > 0) {
                --*n_left;
                continue;
            }
            ambp_json_add_item(list, NULL, ambd_job_encode(job, now_ns));
        }
    }
    return json;
}
