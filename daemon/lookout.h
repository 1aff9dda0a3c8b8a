#pragma once
/* Lookout: reload by itself when the configuration, a shard or an annotation file changes (config key `watch`). */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "base/error.h"
#include "daemon/look.h"
#include "daemon/premises.h"

struct ambd_server;

/* Loop only. */
struct ambd_lookout {
    struct ambd_server *server;
    uv_timer_t quiet, poll;
    uv_fs_event_t **events; /* owned; one for each folder */
    size_t n_events;
    struct ambd_premises premises;
    struct ambd_look last; /* owned */
    uint64_t first_ns;     /* of the changes that wait for quiet; 0: none */
    unsigned n_surveys;    /* under way */
    bool started, told;
    bool due; /* a change that no reload has begun to read, or that one was refused for a reason that may pass */
};

/* Begin, where the configuration asks for it. */
int ambd_lookout_start(struct ambd_lookout *lookout, struct ambd_server *server, struct amb_error *err);

/**
 * A reload is about to read the files, as the next task of the surveyor; then it is over, adopted or refused.
 *
 * What changes in between is seen to differ from what was there before it. A state that was refused is not tried again,
 * except where `again` says that the reason may pass: at the next poll. Not for one that only checks: it reads for nobody.
 */
void ambd_lookout_begin_reload(struct ambd_lookout *lookout);
void ambd_lookout_end_reload(struct ambd_lookout *lookout, bool again);

void ambd_lookout_stop(struct ambd_lookout *lookout); /* idempotent */
