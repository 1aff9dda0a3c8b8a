#pragma once
/* Subjects: samples of a dataset as an annotator's model takes them. */
#include <stdint.h>

#include "annotate/examiner.h"
#include "base/buf.h"
#include "base/error.h"
#include "batch/fill.h"

struct ambd_subjects { /* zeroed before init; one owner */
    const struct amb_dataset *dataset; /* borrowed */
    enum amb_resample resample;
    uint32_t height, width; /* of the model, where that wants pictures of another size than the dataset's */
    struct amb_filler filler;
    struct amb_buf planes, picture, x, label;
};

/* Errors: those of amb_filler_init. Thread: any. */
int ambd_subjects_init(struct ambd_subjects *subjects, const struct amb_dataset *dataset,
                       const struct amb_codec_limits *limits, enum amb_resample resample, struct amb_error *err);
void ambd_subjects_deinit(struct ambd_subjects *subjects); /* also of one that was never made, or only in part */

/**
 * Read one sample: a picture at the model's size, or a latent's mean as the trainer sees it, and its label.
 *
 * out:    in memory of `subjects`, until the next call; with an error i_sample, uid and label are set all the same.
 * Errors: -ENOMEM; those of amb_fill_load. Blocks.
 */
int ambd_subjects_load(struct amb_subject *out, struct ambd_subjects *subjects, uint32_t i_sample, struct amb_error *err);
