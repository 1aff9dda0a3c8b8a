/*
 * Recall: whoever needs a generation notes that it was missing and fails; before the failure is told, the store is
 * asked once, on the clerk's desk, and the same request is done again. It finds the generation now, or fails for good.
 */
#include "daemon/recall.h"

#include "base/alloc.h"
#include "daemon/dataset-store.h"
#include "daemon/log.h"

struct recall_task {
    struct ambd_task task;
    struct ambd_session *session;
    struct ambd_dataset *dataset;
    struct amb_hash128 fingerprint;
    struct ambd_generation *generation;
    struct amb_error error;
    void (*again)(struct ambd_session *session);
};

void ambd_recall_note(struct ambd_recall *recall, struct ambd_dataset *dataset, const struct amb_hash128 *fingerprint) {
    if (dataset->store != NULL && !(recall->has_tried && amb_hash128_equal(&recall->tried, fingerprint))) {
        recall->dataset = dataset;
        recall->fingerprint = *fingerprint;
    }
}

static void recall_run(struct ambd_task *task) {
    struct recall_task *recall = (struct recall_task *)task;

    ambd_dataset_recall(&recall->generation, recall->dataset, &recall->fingerprint, &recall->error);
}

static void recall_done(struct ambd_task *task) {
    struct recall_task *recall = (struct recall_task *)task;
    struct ambd_session *session = recall->session;
    char text[AMB_HASH128_TEXT_BYTES];

    amb_hash128_text(text, &recall->fingerprint);
    if (recall->generation != NULL) {
        ambd_log(AMBD_INFO, "annotations.recalled dataset=%s generation=%llu fingerprint=%s", recall->dataset->name,
                 (unsigned long long)recall->generation->number, text);
        ambd_dataset_shelve(recall->dataset, recall->generation);
    } else {
        ambd_log_client(session->uid, AMBD_INFO, "annotations.gone dataset=%s fingerprint=%s reason=\"%s\"",
                        recall->dataset->name, text, recall->error.message);
    }
    ambd_session_set_busy(session, false);
    recall->again(session);
    amb_free(recall);
    ambd_session_pump(session);
    ambd_session_drop(session);
}

bool ambd_recall_push(struct ambd_session *session, void (*again)(struct ambd_session *session)) {
    struct ambd_recall *noted = &session->recall;
    struct recall_task *recall = noted->dataset != NULL ? amb_calloc(1, sizeof *recall) : NULL;

    if (recall == NULL) {
        noted->dataset = NULL;
        return false;
    }
    recall->task = (struct ambd_task){.run = recall_run, .done = recall_done};
    recall->session = session;
    recall->dataset = noted->dataset;
    recall->fingerprint = noted->fingerprint;
    recall->again = again;
    noted->tried = noted->fingerprint;
    noted->has_tried = true;
    noted->dataset = NULL;
    ambd_session_hold(session);
    ambd_session_set_busy(session, true);
    ambd_desk_push(&session->server->clerk, &recall->task);
    return true;
}
