#pragma once
/* Grid: the sorted noise levels at which a classifier was asked, as sigmas.txt carries them. */
#include <stddef.h>

#include "base/error.h"

#define AMB_GRID_MAX 65536u /* the published grid has 2048; not tuned */

struct amb_grid {
    double *sigmas; /* owned; finite, >= 0, never falling */
    size_t n;       /* 0: not loaded */
};

#define AMB_GRID_NULL ((struct amb_grid){0})

/**
 * Read the numbers of a text file, separated by spaces, commas or line ends.
 *
 * Errors: -ENOENT and other errno values; AMB_ERR_FORMAT not a number, negative, not sorted, none at all;
 *         AMB_ERR_LIMIT more than AMB_GRID_MAX.
 * Thread: any; blocks.
 */
int amb_grid_load(struct amb_grid *out, const char *path, struct amb_error *err);
void amb_grid_deinit(struct amb_grid *grid); /* idempotent; also for AMB_CLEANUP */
