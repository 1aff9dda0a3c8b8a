/*
 * Recall: whoever needs a generation notes that it was missing and fails; before the failure is told, what the disk
 * keeps is asked once, and the same request is done again. It finds the generation now, or fails for good.
 *
 * Shards first, on the surveyor's desk (archive.c), then annotations, on the clerk's (dataset-store.c).
 */
#include "daemon/recall.h"

#include <string.h>

#include "base/alloc.h"
#include "daemon/archive.h"
#include "daemon/dataset-store.h"
#include "daemon/log.h"

struct recall_task {
    struct ambd_task task;
    struct ambd_session *session;
    struct ambd_dataset *dataset;
    struct amb_hash128 fingerprint, annotations;
    bool has_annotations;
    struct ambd_edition *before;  /* pinned: unchanged shards are shared with it */
    struct ambd_edition *edition; /* pinned, once it is the loop's */
    struct ambd_generation *generation;
    struct amb_error error;
    void (*again)(struct ambd_session *session);
};

bool ambd_recall_note(struct ambd_session *session, struct ambd_dataset *dataset, const struct amb_hash128 *edition,
                      const struct amb_hash128 *annotations) {
    struct ambd_recall *recall = &session->recall;
    const struct amb_hash128 none = {0};

    if (dataset->store_path == NULL) {
        return false;
    }
    recall->edition = *edition;
    recall->annotations = annotations != NULL ? *annotations : none;
    recall->has_annotations = annotations != NULL;
    if (recall->has_tried && amb_hash128_equal(&recall->tried[0], &recall->edition) &&
        amb_hash128_equal(&recall->tried[1], &recall->annotations)) {
        return false;
    }
    recall->dataset = dataset;
    return true;
}

/* Stages */

static void recall_survey(struct ambd_task *task) {
    struct recall_task *recall = (struct recall_task *)task;
    struct ambd_server *server = recall->session->server;
    const struct ambd_edition_options how = {
        .cache_dir = server->cache_dir,
        .limits = &server->codec_limits,
        .cache = server->cache,
        .before = recall->before,
        .n_threads = 1,
        .pace = &server->pace,
    };

    ambd_archive_load_edition(&recall->edition, recall->dataset, &recall->fingerprint, &how, &recall->error);
}

static void recall_file(struct ambd_task *task) {
    struct recall_task *recall = (struct recall_task *)task;

    ambd_dataset_recall(&recall->generation, recall->dataset, recall->edition,
                        recall->has_annotations ? &recall->annotations : NULL, &recall->error);
}

static void recall_log(const struct recall_task *recall) {
    char dataset[AMB_HASH128_TEXT_BYTES], annotations[AMB_HASH128_TEXT_BYTES];

    amb_hash128_text(dataset, &recall->fingerprint);
    amb_hash128_text(annotations, recall->generation != NULL ? &recall->generation->annotations->fingerprint
                                                             : &recall->annotations);
    if (recall->generation != NULL) {
        ambd_log(AMBD_INFO, "generation.recalled dataset=%s number=%llu fingerprint=%s annotations=%s",
                 recall->dataset->name, (unsigned long long)recall->edition->number, dataset, annotations);
    } else {
        ambd_log_client(recall->session->uid, AMBD_INFO,
                        "generation.gone dataset=%s fingerprint=%s annotations=%s reason=\"%s\"", recall->dataset->name,
                        dataset, annotations, recall->error.message);
    }
}

static void recall_finish(struct recall_task *recall) {
    struct ambd_session *session = recall->session;
    struct ambd_dataset *dataset = recall->dataset;
    uint64_t n_kept = session->server->config->limits.generations_kept;

    recall_log(recall);
    session->recall.why = recall->error;
    if (recall->generation != NULL) {
        ambd_dataset_shelve(dataset, ambd_dataset_pin(recall->generation));
    }
    if (recall->edition != NULL) {
        ambd_dataset_unpin_edition(dataset, recall->edition);
    }
    ambd_dataset_unpin_edition(dataset, recall->before);
    ambd_session_set_busy(session, false);
    recall->again(session);
    if (recall->generation != NULL) { /* unless somebody stands on it by now, it goes again */
        ambd_dataset_unpin(dataset, recall->generation, n_kept);
    }
    amb_free(recall);
    ambd_session_pump(session);
    ambd_session_drop(session);
}

static void recall_filed(struct ambd_task *task) {
    recall_finish((struct recall_task *)task);
}

static void recall_push_file(struct recall_task *recall) {
    recall->task.run = recall_file;
    recall->task.done = recall_filed;
    ambd_desk_push(&recall->session->server->clerk, &recall->task);
}

static void recall_surveyed(struct ambd_task *task) {
    struct recall_task *recall = (struct recall_task *)task;
    struct ambd_server *server = recall->session->server;

    if (recall->edition == NULL) {
        recall_finish(recall);
    } else {
        struct ambd_edition *known = ambd_dataset_find_edition(recall->dataset, &recall->fingerprint);

        ambd_dataset_shelve_edition(recall->dataset, recall->edition);
        if (known != NULL) { /* another rank, which asked for the same, came first */
            ambd_dataset_pin_edition(known);
            ambd_dataset_unpin_edition(recall->dataset, recall->edition);
            recall->edition = known;
        }
        recall_push_file(recall);
    }
    ambd_server_continue_stop(server);
}

bool ambd_recall_push(struct ambd_session *session, void (*again)(struct ambd_session *session)) {
    struct ambd_recall *noted = &session->recall;
    struct recall_task *recall = noted->dataset != NULL ? amb_calloc(1, sizeof *recall) : NULL;

    if (recall == NULL) {
        noted->dataset = NULL;
        return false;
    }
    recall->task = (struct ambd_task){.run = recall_survey, .done = recall_surveyed};
    recall->session = session;
    recall->dataset = noted->dataset;
    recall->fingerprint = noted->edition;
    recall->annotations = noted->annotations;
    recall->has_annotations = noted->has_annotations;
    recall->again = again;
    recall->before = ambd_dataset_pin_edition(recall->dataset->edition);
    recall->edition = ambd_dataset_find_edition(recall->dataset, &recall->fingerprint);
    noted->tried[0] = noted->edition;
    noted->tried[1] = noted->annotations;
    noted->has_tried = true;
    noted->why = AMB_ERROR_NULL;
    noted->dataset = NULL;
    ambd_session_hold(session);
    ambd_session_set_busy(session, true);
    if (recall->edition != NULL) {
        ambd_dataset_pin_edition(recall->edition);
        recall_push_file(recall);
    } else {
        ambd_desk_push(&session->server->surveyor, &recall->task);
    }
    return true;
}
