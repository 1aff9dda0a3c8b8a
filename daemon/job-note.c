/*
 * Job note: what a restart needs to know of a job is a text in the store, written on the clerk's desk in the order in which
 * jobs change. One that fails is told to whoever asked for the change, and written again later by the jobs' timer.
 */
#include "daemon/job-note.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "daemon/dataset-store.h"
#include "daemon/log.h"
#include "daemon/server.h"

#define NOTE_NAME       "job-%020llu" /* in the store; names sort by age */
#define NOTE_NAME_BYTES 32u
#define NOTE_BYTES_MAX  60000u /* of what the store takes as a text, 65,536: room for a reason and the like */

struct note {
    struct ambd_task task;
    struct ambd_jobs *jobs;
    struct ambd_dataset *dataset;
    char name[NOTE_NAME_BYTES];
    uint64_t id, number; /* of the job; of the note among the job's */
    char *text;          /* NULL: forget it */
    bool ended;          /* the store */
    struct amb_error error;
};

/* Whoever is told of a job next, on this desk, is told whether it is written down too. */
static void note_run(struct ambd_task *task) {
    struct note *note = (struct note *)task;
    int r = amb_store_put_text(note->dataset->store, note->name, note->text, note->text != NULL ? strlen(note->text) : 0,
                               &note->error);

    if (r == 0) {
        amb_store_commit(note->dataset->store, &note->error);
    }
    note->ended = ambd_dataset_store_has_ended(note->dataset, &note->error);
    if (note->error.code != 0 || note->dataset->unwritten_id == note->id) {
        note->dataset->unwritten_id = note->error.code != 0 ? note->id : 0;
        note->dataset->unwritten = note->error;
    }
}

static void note_done(struct ambd_task *task) {
    struct note *note = (struct note *)task;
    struct ambd_job *job = ambd_jobs_find(note->jobs, note->id);
    const bool told = job != NULL && job->unnoted_ns != 0;

    ambd_dataset_tell_end(note->dataset, note->ended, &note->error);
    if (note->error.code != 0 && !told) {
        ambd_log(AMBD_WARN, "job.unrecorded dataset=%s name=%s code=%s reason=\"%s\"", note->dataset->name, note->name,
                 amb_error_name(note->error.code), note->error.message);
    }
    if (job != NULL && job->n_noted == note->number) {
        job->unnoted_ns = note->error.code != 0 ? ambd_now_ns() : 0;
    }
    note->jobs->n_running--;
    cJSON_free(note->text);
    ambd_jobs_start_next(note->jobs, note->dataset); /* the answer to who asked for it stands on the desk before the selection */
    ambd_server_continue_stop(note->jobs->server);
    amb_free(note);
}

void ambd_job_note(struct ambd_jobs *jobs, struct ambd_job *job, bool forget) {
    struct note *note = amb_calloc(1, sizeof *note);
    char *text = note == NULL || forget ? NULL : ambd_job_dump(job);

    if (note == NULL || (text == NULL && !forget)) { /* none would take away what is noted already */
        amb_free(note);
        if (!forget) {
            job->n_noted++; /* what is on the desk is older */
            job->unnoted_ns = ambd_now_ns();
            ambd_jobs_start_next(jobs, job->dataset);
        }
        return;
    }
    note->task = (struct ambd_task){.run = note_run, .done = note_done};
    note->jobs = jobs;
    note->dataset = job->dataset;
    note->id = job->id;
    note->number = ++job->n_noted;
    note->text = text;
    snprintf(note->name, sizeof note->name, NOTE_NAME, (unsigned long long)job->id);
    jobs->n_running++;
    ambd_desk_push(&jobs->server->clerk, &note->task);
}

int ambd_job_note_check(const struct ambd_job *job, struct amb_error *err) {
    char *text = ambd_job_dump(job);
    const size_t bytes = text != NULL ? strlen(text) : 0;

    cJSON_free(text);
    return bytes <= NOTE_BYTES_MAX ? 0
                                  : amb_fail(err, AMB_ERR_CONFIG, "the request takes %zu bytes to write down, allowed: %u; "
                                             "shorten its paths and keys", bytes, NOTE_BYTES_MAX);
}
