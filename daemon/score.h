#pragma once
/* Score: an entry of "annotations" that maps a number of each sample to sigmas (proto/annotations.md, section 3). */
#include <cjson/cJSON.h>

#include "annotate/ledger.h"
#include "base/error.h"
#include "daemon/lines.h"

/* Keys, types and ranges; no file is touched. AMB_ERR_CONFIG with the path of the key. Thread: loop. */
int ambd_score_check(const cJSON *score, const char *where, struct amb_error *err);

/**
 * Read the numbers, rank them, and put what follows into the ledger.
 *
 * score:  checked. Errors: those of reading members, or of amb_import_scores.
 * Thread: desk; blocks.
 */
int ambd_score_apply(struct ambd_lines *reports, struct amb_ledger *ledger, const cJSON *score, const char *where,
                     struct amb_error *err);
