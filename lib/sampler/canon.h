#pragma once
/* Canon: JSON written into memory of the caller, the same bytes for the same values; allocates nothing. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct amb_canon {
    char *out; /* borrowed */
    size_t n_bytes, capacity_bytes;
    bool full; /* something did not fit: the text is useless */
};

void amb_canon_init(struct amb_canon *canon, char *out, size_t out_bytes);

void amb_canon_push(struct amb_canon *canon, const char *text);          /* as it is                                  */
void amb_canon_push_string(struct amb_canon *canon, const char *string); /* quoted; only " \ and controls are escaped */
void amb_canon_push_u64(struct amb_canon *canon, uint64_t value);        /* from 2^53 on in quotes                    */
void amb_canon_push_f64(struct amb_canon *canon, double value);          /* fewest of 15 to 17 digits; "inf" quoted   */

/* Terminate: the length, or -ENOSPC. */
int amb_canon_get(struct amb_canon *canon);
