#pragma once
/* Quarantine: samples found bad, with the reason; what workers report and people list. */
#include <stdint.h>

#include "base/error.h"

#define AMB_QUARANTINE_REASONS_MAX 16384u /* 7.5 MiB; later rows carry number and code; not tuned */

enum amb_quarantine_outcome {
    AMB_QUARANTINE_E_END = 1, /* row number is past the last row */
};

struct amb_quarantine_row {
    uint32_t i_sample;
    int code;
    char reason[AMB_ERROR_MESSAGE_BYTES];
};

struct amb_quarantine; /* Thread: any */

int amb_quarantine_new(struct amb_quarantine **out, uint32_t n_samples, struct amb_error *err);
struct amb_quarantine *amb_quarantine_free(struct amb_quarantine *quarantine);

/* 1 if the sample is known bad (a bit; lock-free). */
int amb_quarantine_peek(const struct amb_quarantine *quarantine, uint32_t i_sample);

/* Record once; later reports are ignored. 1 if it was new; out of memory: 0, as if it was never found. */
int amb_quarantine_put(struct amb_quarantine *quarantine, uint32_t i_sample, const struct amb_error *why);
/* Forget the samples that were recorded with this code: who reads them finds out anew. */
void amb_quarantine_forget(struct amb_quarantine *quarantine, int code);
uint64_t amb_quarantine_count(const struct amb_quarantine *quarantine);

/* Copy row i (order of discovery) under the lock; 0, or AMB_QUARANTINE_E_END. */
int amb_quarantine_get(struct amb_quarantine_row *out, struct amb_quarantine *quarantine, uint64_t i);
