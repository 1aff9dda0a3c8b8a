#pragma once
/* Crops: how well patches of a sample pass for patches of the target, by a model for each patch size. */
#include <stddef.h>
#include <stdint.h>

#include "annotate/examiner.h"
#include "annotate/model.h"
#include "annotate/rule.h"
#include "base/error.h"

#define AMB_CROPS_BATCH 32u    /* tiles in a run; not tuned */
#define AMB_CROPS_SIGMA 0.001f /* what the models are told; no noise is added (DESIGN section 5) */

struct amb_crops; /* one owner */

/**
 * models: by row of amb_rule_crops, borrowed; NULL: not asked; at least one.
 * Errors: AMB_ERR_CONFIG a model does not fit the samples; -ENOMEM.
 */
int amb_crops_new(struct amb_crops **out, struct amb_model *const models[AMB_RULE_CROPS_N], uint32_t channels,
                  uint32_t height, uint32_t width, struct amb_error *err);
struct amb_crops *amb_crops_free(struct amb_crops *crops);

/* What stands for its models: of one its sha256; of several the SHA-256 (hex) of their lines "SIZE:sha256\n", by size. */
void amb_crops_identify(char out[65], const struct amb_crops *crops);

/* Evaluations that one sample costs. */
size_t amb_crops_count(const struct amb_crops *crops);

/**
 * q[row] = mean over patches of P(target) = 1 - P(low quality); NaN for sizes that are not asked.
 *
 * A patch is the picture on its canvas, zero outside of one N x N tile left in place; tiles start at multiples of N
 * and are cut at the border.
 * Errors: AMB_ERR_FORMAT a model answers NaN; those of amb_model_run.
 */
int amb_crops_run(double q[AMB_RULE_CROPS_N], struct amb_crops *crops, const struct amb_subject *subject,
                  struct amb_error *err);
