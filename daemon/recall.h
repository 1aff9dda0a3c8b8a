#pragma once
/* Recall: a generation that is no longer in memory is rebuilt from disk before somebody stands on it. */
#include "base/hash.h"
#include "daemon/session.h"

/**
 * A request of this session needs a generation that is not in memory. annotations: NULL: the newest of that edition.
 *
 * Returns: true if it is worth looking for: it was not looked for just now, and there is where to look. Thread: loop.
 */
bool ambd_recall_note(struct ambd_session *session, struct ambd_dataset *dataset, const struct amb_hash128 *edition,
                      const struct amb_hash128 *annotations);

/**
 * Look for what was noted; the session is busy until `again` is called, with the generation among the dataset's old
 * ones, or with session->recall.why.
 *
 * again:   by the loop; the session may have closed meanwhile.
 * Returns: true if `again` will be called.
 */
bool ambd_recall_push(struct ambd_session *session, void (*again)(struct ambd_session *session));
