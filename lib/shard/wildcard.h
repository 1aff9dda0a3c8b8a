#pragma once
/* Wildcard: a path with *, ? and [...] -> the paths that exist. */
#include "base/error.h"

/* The walk ends with what it returns, if that is not 0. path is valid for the call. */
typedef int (*amb_wildcard_visit)(void *opaque, const char *path, struct amb_error *err);

/**
 * Visit every path that matches, in no order; as glob(3): a backslash takes the meaning of what follows it, hidden names match
 * only a pattern with a dot. Folders that are not there hold no matches.
 *
 * Errors: those of the visitor; errno values of a folder that cannot be listed to its end; -ENAMETOOLONG.
 * Thread: any; blocks.
 */
int amb_wildcard_walk(const char *pattern, amb_wildcard_visit visit, void *opaque, struct amb_error *err);
