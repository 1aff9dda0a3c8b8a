#pragma once
/* Recall: a generation that is no longer in memory is rebuilt from the store before somebody stands on it. */
#include "base/hash.h"
#include "daemon/session.h"

/* A request of this session needs annotations that are not in memory. Thread: loop. */
void ambd_recall_note(struct ambd_recall *recall, struct ambd_dataset *dataset, const struct amb_hash128 *fingerprint);

/**
 * Ask the store for what was noted, if it was not asked before; the session is busy until `again` is called, with the
 * generation among the dataset's old ones, or not.
 *
 * again:   by the loop; the session may have closed meanwhile.
 * Returns: true if `again` will be called.
 */
bool ambd_recall_push(struct ambd_session *session, void (*again)(struct ambd_session *session));
