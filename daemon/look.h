#pragma once
/* Look: the files that a configuration names, as they are at one moment: what to watch, and a digest of what was found. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/config.h"
#include "daemon/premises.h"

struct amb_hasher;

enum ambd_view_kind {
    AMBD_VIEW_FILES,   /* what is written counts */
    AMBD_VIEW_FOLDERS, /* the pattern goes on below: only what comes and goes counts */
    AMBD_VIEW_LOG,     /* our own log: a reload would write into it, and bring the next one */
};

/* What counts in a folder: other files there are nobody's business here. */
struct ambd_view {
    char *folder, *glob; /* owned */
    enum ambd_view_kind kind;
};

struct ambd_look {
    struct ambd_view *views; /* owned; sorted, unique */
    size_t n_views;
    uint64_t digest; /* of the paths that the patterns match, and who they are */
    bool failed;     /* something could not be looked at now: the digest says nothing */

    /* while it is taken */
    const struct ambd_premises *premises;
    struct amb_hasher *hasher;
    uint64_t log_dev, log_ino;
};

/**
 * Look at everything that a reload of this configuration would read.
 *
 * config_path: NULL: none. Of the same configuration and the same files comes the same digest. Thread: any; blocks.
 */
void ambd_look_take(struct ambd_look *out, const struct ambd_config *config, const char *config_path,
                    const struct ambd_premises *premises);
void ambd_look_deinit(struct ambd_look *look); /* idempotent */

bool ambd_look_same_views(const struct ambd_look *a, const struct ambd_look *b);

/* The first of its folder. */
bool ambd_view_is_first(const struct ambd_view *views, size_t i);
