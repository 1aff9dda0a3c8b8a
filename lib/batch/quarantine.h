#pragma once
/* Quarantine: samples found bad, with the reason; what workers report and people list. */
#include <stdint.h>

#include "base/error.h"

struct amb_quarantine_row {
    uint32_t i_sample;
    int code;
    char reason[160];
};

struct amb_quarantine; /* Thread: any */

int amb_quarantine_new(struct amb_quarantine **out, uint32_t n_samples, struct amb_error *err);
struct amb_quarantine *amb_quarantine_free(struct amb_quarantine *quarantine);

/* 1 if the sample is known bad (a bit; lock-free). */
int amb_quarantine_peek(const struct amb_quarantine *quarantine, uint32_t i_sample);
/* Record once; later reports of the same sample are ignored. 1 if it was new. */
int amb_quarantine_put(struct amb_quarantine *quarantine, uint32_t i_sample, const struct amb_error *why);
uint64_t amb_quarantine_count(const struct amb_quarantine *quarantine);
/* Copy row i (order of discovery) under the lock; 0, or 1 past the end. */
int amb_quarantine_get(struct amb_quarantine_row *out, struct amb_quarantine *quarantine, uint64_t i);
