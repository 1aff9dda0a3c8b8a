#pragma once
/* Dataset shape: what the samples of a dataset come out as, and the fingerprint of all that decides it. */
#include "base/error.h"
#include "base/hash.h"
#include "batch/fill.h"
#include "daemon/config.h"

/**
 * Set shape, transform, transform_hash, noise seed and latent affine from the configuration and the first
 * samples.
 *
 * Errors: AMB_ERR_CONFIG the configuration does not fit the samples; AMB_ERR_FORMAT samples of several sizes
 * where no size is given; those of amb_fill_probe. Thread: any; blocks.
 */
int ambd_dataset_shape_get(struct amb_dataset *dataset, const struct ambd_dataset_config *config,
                           const struct amb_codec_limits *limits, struct amb_error *err);

/* proto/README.md section 4. Thread: any; blocks. */
int ambd_dataset_fingerprint_get(struct amb_hash128 *out, const struct amb_dataset *dataset,
                                 const struct ambd_dataset_config *config, struct amb_error *err);
