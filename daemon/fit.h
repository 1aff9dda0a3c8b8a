#pragma once
/* Fit: whether a model takes what a dataset has. */
#include "annotate/model.h"
#include "base/error.h"
#include "batch/layout.h"

/**
 * Pictures are resized to the model's height and width, latents are not. A model without `labels` takes any; i64 labels
 * become one-hot rows where it wants vectors; the dataset's own vectors must be as wide as the model's.
 *
 * path:   of the model, for the message, which names both sides.
 * Errors: AMB_ERR_CONFIG.
 * Thread: any.
 */
int ambd_fit_check(const struct amb_model_info *info, const struct amb_shape *shape, const char *path,
                   struct amb_error *err);
