/*
 * Fit: said before a job begins, since a model that is fed the wrong rows answers all the same.
 */
#include "daemon/fit.h"

#include <stdio.h>

static int fit_check_labels(const struct amb_model_info *info, const struct amb_shape *shape, const char *path,
                            struct amb_error *err) {
    char taken[32];

    if (info->labels == AMB_MODEL_LABELS_NONE || shape->label_width == 0 ||
        (info->labels == AMB_MODEL_LABELS_VECTOR && info->label_width == shape->label_width)) {
        return 0;
    }
    snprintf(taken, sizeof taken, "f32 [N,%u]", info->label_width);
    return amb_fail(err, AMB_ERR_CONFIG, "model %s takes labels as %s, the dataset's are f32 [N,%u]", path,
                    info->labels == AMB_MODEL_LABELS_INTEGER ? "i64 [N]" : taken, shape->label_width);
}

int ambd_fit_check(const struct amb_model_info *info, const struct amb_shape *shape, const char *path,
                   struct amb_error *err) {
    if (info->channels != shape->channels ||
        (shape->latent && (info->height != shape->height || info->width != shape->width))) {
        return amb_fail(err, AMB_ERR_CONFIG,
                        "model %s takes x of %u x %u x %u (channels, height, width), the dataset's %s are %u x %u x %u",
                        path, info->channels, info->height, info->width, shape->latent ? "latents" : "pictures",
                        shape->channels, shape->height, shape->width);
    }
    return fit_check_labels(info, shape, path, err);
}
