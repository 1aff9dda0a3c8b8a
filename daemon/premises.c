/*
 * Premises: paths are compared with their links resolved; one that cannot be resolved holds nothing and lies nowhere.
 */
#include "daemon/premises.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* Where in `path`, both resolved, the part below `folder` begins: at a slash, or at the end; NULL: it does not lie there. */
static const char *path_below(const char *path, const char *folder) {
    size_t n = strcmp(folder, "/") == 0 ? 0 : strlen(folder);

    return strncmp(path, folder, n) == 0 && (path[n] == '/' || path[n] == '\0') ? path + n : NULL;
}

bool ambd_premises_hold(const struct ambd_premises *premises, const char *folder) {
    const char *const own[] = {premises->state_dir, premises->cache_dir};
    char path[PATH_MAX], owned[PATH_MAX];

    if (realpath(folder, path) == NULL) {
        return false;
    }
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        if (own[i] != NULL && realpath(own[i], owned) != NULL && path_below(path, owned) != NULL) {
            return true;
        }
    }
    return false;
}

int ambd_premises_check(const struct ambd_premises *premises, const char *shard, struct amb_error *err) {
    static const char *const keys[] = {"state_dir", "cache_dir"};
    const char *const own[] = {premises->state_dir, premises->cache_dir};
    char path[PATH_MAX], owned[PATH_MAX];

    if (realpath(shard, path) == NULL) {
        return 0;
    }
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        const char *below = own[i] != NULL && realpath(own[i], owned) != NULL ? path_below(owned, path) : NULL;

        if (below != NULL && strstr(below, "/.") == NULL) {
            return amb_fail(err, AMB_ERR_CONFIG,
                            "%s: %.150s lies in the folder %.150s, which is a shard, and every write would change that shard; "
                            "allowed: outside of it, or in a folder in it whose name begins with a dot",
                            keys[i], own[i], shard);
        }
    }
    return 0;
}
