#pragma once
/* Record: what one line of an annotations file says, in any of its forms (proto/annotations.md). */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "annotate/grid.h"
#include "base/buf.h"
#include "base/error.h"

#define AMB_RECORD_NAMES_N 8u

struct amb_record_options {
    const char *path;        /* of the file, for messages and to find sigmas.txt beside it */
    const char *sigmas_path; /* grid of `probabilities`; NULL: sigmas.txt beside the file  */
    double epsilon;
    unsigned span;
    double crop_threshold;
    const char *score_key;   /* only this field and the names are read; NULL: the forms of annotations */
};

/* Kept between lines, so that reading allocates nothing once warm. One owner. */
struct amb_record {
    struct amb_record_options options; /* strings borrowed */
    uint64_t i_line;                   /* for messages; set by the caller */
    struct amb_grid grid;              /* loaded at the first `probabilities` */

    /* the line decoded last */
    struct amb_buf names[AMB_RECORD_NAMES_N]; /* in the order in which they are tried; n_bytes 0: absent */
    bool has_index;
    uint64_t index;
    unsigned sides;                    /* enum amb_side bits that it sets, maybe none */
    double sigma_min, sigma_max;       /* of these sides; >= 0, inf allowed */
    bool min_is_ruled;                 /* sigma_min comes from `probabilities` */
    double score;                      /* in the field `score_key`; NaN: no number there */

    /* scratch */
    struct amb_buf text, numbers;
};

void amb_record_init(struct amb_record *record, const struct amb_record_options *options);
void amb_record_deinit(struct amb_record *record); /* idempotent; also for AMB_CLEANUP */

/**
 * Decode one line, without its end.
 *
 * Errors: AMB_ERR_FORMAT with line number, what was found and what is allowed; those of amb_grid_load.
 * Thread: any, one owner.
 */
int amb_record_decode(struct amb_record *record, const char *line, size_t bytes, struct amb_error *err);
