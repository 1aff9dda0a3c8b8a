#pragma once
/* Selection: which samples a job has still to do. */
#include <stdint.h>

#include "base/error.h"
#include "daemon/dataset.h"
#include "daemon/spec.h"

struct ambd_selection {
    struct ambd_edition *edition; /* whose samples they are; the loop pins it before the clerk is asked again */
    uint64_t *bits;          /* a bit for each sample; owned */
    uint64_t n_selected;
    uint64_t n_own;          /* of those asked for, the job has done so many */
    uint64_t n_evaluations;  /* that those took */
    uint64_t n_skipped;      /* asked for, but known already, or trusted */
    uint64_t start_sequence; /* records of its kind from it on are the job's own */
};

/**
 * start_sequence: of the job; 0: it begins now.
 * Errors: -ENOMEM. Thread: clerk.
 */
int ambd_selection_get(struct ambd_selection *out, const struct ambd_dataset *dataset, const struct ambd_spec *spec,
                       uint64_t start_sequence, struct amb_error *err);
void ambd_selection_deinit(struct ambd_selection *selection); /* idempotent */
