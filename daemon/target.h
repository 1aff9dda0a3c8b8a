#pragma once
/* Target: a generation made ready for one stream: orders, sampler, and what the filler needs to know. */
#include <stdbool.h>

#include "base/error.h"
#include "batch/fill.h"
#include "daemon/dataset.h"
#include "daemon/subscription.h"
#include "sampler/sampler.h"

struct ambd_target {
    unsigned n_refs; /* loop only: fills, moves, the stream */
    struct ambd_dataset *dataset;
    struct ambd_generation *generation; /* pinned, and its edition with it */
    struct amb_orders *orders;          /* from the edition's shelf */
    struct amb_sampler *sampler;
    struct amb_sampler_report report;
    struct amb_fill_stream fill; /* what workers see; constant */
};

/**
 * Build. The generation must be pinned by the caller, whose pin is taken on success.
 *
 * layout: lives as long as the target; what the generation's samples must fit.
 * Errors: AMB_ERR_GAP (report is filled), AMB_ERR_CONFIG, AMB_ERR_STATE they do not fit, -ENOMEM.
 * Thread: builder's desk.
 */
int ambd_target_new(struct ambd_target **out, struct ambd_generation *generation,
                    const struct ambd_subscription *subscription, const struct amb_layout *layout,
                    struct amb_sampler_report *report, struct amb_error *err);

struct ambd_target *ambd_target_ref(struct ambd_target *target); /* Thread: loop. */
struct ambd_target *ambd_target_unref(struct ambd_target *target,
                                      uint64_t n_kept); /* NULL ok; Thread: loop. */

/* A state goes over to a target: new passes begin, unless all fingerprints are the same (other files, same contents).
 * Returns: true if they are not. Thread: loop. */
bool ambd_target_adopt(struct amb_state *state, const struct ambd_target *target);
