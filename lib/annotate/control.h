#pragma once
/* Control: how each noise of a pool moves a model's answer by itself, so that it can be taken out of other answers. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "annotate/grid.h"
#include "annotate/search.h"

#define AMB_CONTROL_DRAWS 1024u /* noises of the pool: draws 0 to 1023 */

/* One per model, grid and seed; shared by all searches, read-only once complete. */
struct amb_control {
    uint32_t i_grid; /* sigma of the questions */
    double sigma;
    size_t n_asked, n_answered;
    double values[AMB_CONTROL_DRAWS]; /* log odds; once complete of mean 0 and variance 1 over the pool */
};

/* Thread: any, one at a time until it is complete; no allocation. */
void amb_control_begin(struct amb_control *control, const struct amb_grid *grid);

/* Up to n_max further questions about a blank picture: x = 0, plus sigma times the noise. 0: all are asked. */
size_t amb_control_ask(struct amb_probe *out, size_t n_max, struct amb_control *control);

/* Answers, in any order and split. p: outside [0, 1], or NaN, says nothing and counts as 1/2. */
void amb_control_tell(struct amb_control *control, const struct amb_probe *probes, const float *p, size_t n);

bool amb_control_is_complete(const struct amb_control *control);

/* Of one noise of the pool. */
double amb_control_get(const struct amb_control *control, uint32_t draw);
