#pragma once
/* Lookout: reload by itself when the configuration, a shard or an annotation file changes (config key `watch`). */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "base/error.h"

struct ambd_server;

/* Loop only. */
struct ambd_lookout {
    struct ambd_server *server;
    uv_timer_t quiet, poll;
    uv_fs_event_t **events; /* owned; one for each folder */
    size_t n_events;
    char **folders; /* owned; sorted */
    size_t n_folders;
    uint64_t digest;       /* of all that was looked at last */
    uint64_t first_ns;     /* of the changes that wait for quiet; 0: none */
    bool started, surveying, surveyed, told;
};

/* Begin, where the configuration asks for it. */
int ambd_lookout_start(struct ambd_lookout *lookout, struct ambd_server *server, struct amb_error *err);

/* A reload is over: what is looked at may be other folders. */
void ambd_lookout_renew(struct ambd_lookout *lookout);

void ambd_lookout_stop(struct ambd_lookout *lookout); /* idempotent */
