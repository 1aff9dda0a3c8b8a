/*
 * Grid: sigmas.txt, one number a line as numpy's savetxt writes it, read whole and checked.
 *
 * Not sorted here even where that would be easy: probabilities lie in the order of the file, so a grid out of
 * order means that something else is wrong too.
 */
#include "annotate/grid.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/file.h"

#define GRID_WORD_BYTES 64 /* longest number text; 17 digits and an exponent would do */

static int grid_push(struct amb_grid *grid, const char *word, const char *path, struct amb_error *err) {
    char *end;
    double sigma = strtod(word, &end);
    double *sigmas;

    if (*end != '\0' || end == word || !isfinite(sigma) || sigma < 0) {
        return amb_fail(err, AMB_ERR_FORMAT, "grid entry %zu: found '%s', allowed: a finite number >= 0 (%s)",
                        grid->n + 1, word, path);
    }
    if (grid->n == AMB_GRID_MAX) {
        return amb_fail(err, AMB_ERR_LIMIT, "more than %u grid entries (%s)", AMB_GRID_MAX, path);
    }
    if (grid->n > 0 && sigma < grid->sigmas[grid->n - 1]) {
        return amb_fail(err, AMB_ERR_FORMAT, "grid entry %zu: found %g after %g, allowed: a sorted grid (%s)",
                        grid->n + 1, sigma, grid->sigmas[grid->n - 1], path);
    }
    if ((grid->n & (grid->n - 1)) == 0) { /* full at each power of two */
        sigmas = amb_realloc(grid->sigmas, (grid->n != 0 ? 2 * grid->n : 1) * sizeof *sigmas);
        if (sigmas == NULL) {
            return amb_fail(err, -ENOMEM, "out of memory for a grid of %zu entries", grid->n);
        }
        grid->sigmas = sigmas;
    }
    grid->sigmas[grid->n++] = sigma;
    return 0;
}

int amb_grid_load(struct amb_grid *out, const char *path, struct amb_error *err) {
    AMB_CLEANUP(amb_grid_deinit) struct amb_grid grid = AMB_GRID_NULL;
    AMB_CLEANUP(amb_fd_closep) int fd = -1;
    AMB_CLEANUP(amb_file_closep) FILE *file = NULL;
    char word[GRID_WORD_BYTES + 1];
    size_t n = 0;
    int c, r = amb_file_open(&fd, path, err);

    if (r < 0) {
        return r;
    }
    file = fdopen(fd, "r");
    if (file == NULL) {
        return amb_fail(err, -ENOMEM, "cannot open the grid %s: out of memory", path);
    }
    amb_steal_fd(&fd); /* it is the stream's */
    do {
        c = getc(file);
        if (c != EOF && c != ',' && strchr(" \t\r\n", c) == NULL) {
            word[n++] = (char)c;
        } else if (n > 0) {
            word[n] = '\0';
            n = 0;
            r = grid_push(&grid, word, path, err);
            if (r < 0) {
                return r;
            }
        }
        if (n == GRID_WORD_BYTES) {
            return amb_fail(err, AMB_ERR_FORMAT, "grid entry %zu: longer than %d characters (%s)", grid.n + 1,
                            GRID_WORD_BYTES - 1, path);
        }
    } while (c != EOF);
    if (ferror(file)) {
        return amb_fail(err, -EIO, "cannot read the grid %s", path);
    }
    if (grid.n == 0) {
        return amb_fail(err, AMB_ERR_FORMAT, "found no number, allowed: at least one sigma (%s)", path);
    }
    *out = grid;
    grid = AMB_GRID_NULL;
    return 0;
}

void amb_grid_deinit(struct amb_grid *grid) {
    amb_free(grid->sigmas);
    *grid = AMB_GRID_NULL;
}
