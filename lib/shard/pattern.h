#pragma once
/* Pattern: brace lists and globs, as people who use WebDataset write them -> paths. */
#include <stddef.h>

#include "base/buf.h"
#include "base/error.h"

/* Paths in order; owned. */
struct amb_paths {
    char **items;
    size_t n, capacity;
};
#define AMB_PATHS_NULL ((struct amb_paths){0})
void amb_paths_deinit(struct amb_paths *paths);

/**
 * Expand one pattern and append what it stands for.
 *
 * Braces first, as a shell does: {000000..000012} keeps the zeros, {0..10..2} steps, {a..e}, {a,b}, nested
 * and beside each other; braces without comma or dots, or behind a backslash, stand for themselves. Then *, ?
 * and [...]; matches of one glob are sorted as bytes, hidden files match only a pattern with a dot. A path
 * that exists as it is written is taken as it is. Errors: -ENOENT names what matches nothing; AMB_ERR_LIMIT
 * more than AMB_CATALOG_SHARDS_MAX; -ENOMEM. Thread: any.
 */
int amb_paths_push_pattern(struct amb_paths *paths, const char *pattern, struct amb_error *err);
