#pragma once
/* Premises: the folders that the daemon writes to, which no dataset may take for its own. */
#include <stdbool.h>

#include "base/error.h"

struct ambd_premises {
    const char *state_dir, *cache_dir; /* borrowed; NULL: none */
};

/* Does the folder lie in one of them, or is it one? Thread: any; blocks. */
bool ambd_premises_hold(const struct ambd_premises *premises, const char *folder);

/**
 * A folder that is a shard must hold none of them: each file that we write would be another state of that shard, whose
 * index then is never found again, and each reload would find a change. Hidden folders are no part of a shard.
 *
 * Errors: AMB_ERR_CONFIG. Thread: any; blocks.
 */
int ambd_premises_check(const struct ambd_premises *premises, const char *shard, struct amb_error *err);
