#pragma once
/* Lookout: reload by itself when the configuration, a shard or an annotation file changes (config key `watch`). */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "base/error.h"

struct ambd_server;

/* What counts in a folder: other files there, a log perhaps, are nobody's business here. */
struct ambd_view {
    char *folder, *glob; /* owned */
};

/* Loop only. */
struct ambd_lookout {
    struct ambd_server *server;
    uv_timer_t quiet, poll;
    uv_fs_event_t **events; /* owned; one for each folder */
    size_t n_events;
    struct ambd_view *views; /* owned; sorted */
    size_t n_views;
    uint64_t digest;       /* of all that was looked at last */
    uint64_t first_ns;     /* of the changes that wait for quiet; 0: none */
    bool started, surveying, surveyed, told;
    bool stale; /* the survey under way began before the last reload was over */
};

/* Begin, where the configuration asks for it. */
int ambd_lookout_start(struct ambd_lookout *lookout, struct ambd_server *server, struct amb_error *err);

/* A reload is over: what is looked at may be other folders. */
void ambd_lookout_renew(struct ambd_lookout *lookout);

void ambd_lookout_stop(struct ambd_lookout *lookout); /* idempotent */
