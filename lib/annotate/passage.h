#pragma once
/* Passage: where the dense rule's noisy, lagging average would first fall below the threshold. */
#include <stddef.h>

/* The mean of p at a grid point, and the variance of one answer there. */
typedef void (*amb_passage_mean)(double *mean, double *variance, void *opaque, size_t i_grid);

struct amb_passage {
    size_t median, lo, hi; /* grid points: half, 5 % and 95 % of crossings lie at or before */
};

/**
 * The distribution of the first crossing of e_0 = p_0, e_i = e_{i-1} + 2/(span+1) (p_i - e_{i-1}), where p_i is a mean
 * over n_trials independent answers.
 *
 * first:  grid point to begin at: in front of it nothing crosses. last: of the grid.
 * Thread: any; some 0.1 ms, no allocation.
 */
void amb_passage_get(struct amb_passage *out, size_t first, size_t last, double threshold, unsigned span,
                     unsigned n_trials, amb_passage_mean mean, void *opaque);
