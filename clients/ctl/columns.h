#pragma once
/* Columns: the arrays of ANNOTATIONS, gathered over as many questions as it takes. */
#include <stddef.h>
#include <stdint.h>

#include "clients/ctl/ctl.h"

struct ctl_columns {
    size_t n;
    float *sigma_min, *sigma_max; /* owned */
    uint8_t *min_origin, *state;  /* owned */
};

/* CTL_OK or CTL_FAILED with a message. */
int ctl_columns_load(struct ctl_columns *out, struct ctl *ctl);
void ctl_columns_deinit(struct ctl_columns *columns); /* idempotent; also for AMB_CLEANUP */

/* Decode base64 into memory of the caller's to release by amb_free; NULL: malformed, or no memory. */
uint8_t *ctl_base64_load(size_t *bytes, const char *text);
