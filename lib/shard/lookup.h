#pragma once
/* Lookup: sample numbers by the hash of a name; 8 bytes a sample. */
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Entries are hash << 32 | sample number; sorted once sealed, so equal hashes lie in order of sample number.
 */
struct amb_lookup {
    uint64_t *entries;
    uint32_t *buckets; /* first entry of each value of the highest `bits` bits, and the end */
    unsigned bits;
    uint32_t n, capacity;
};
#define AMB_LOOKUP_NULL ((struct amb_lookup){0})

uint32_t amb_lookup_hash(const char *name, size_t bytes);

/* Room for `capacity` pushes. -ENOMEM. */
int amb_lookup_init(struct amb_lookup *lookup, uint32_t capacity, struct amb_error *err);
void amb_lookup_deinit(struct amb_lookup *lookup); /* idempotent */
void amb_lookup_push(struct amb_lookup *lookup, uint32_t hash, uint32_t i_sample);
int amb_lookup_seal(struct amb_lookup *lookup, struct amb_error *err);

/* Entries of this hash: [*first, return value). Sealed only. Thread: any. */
uint32_t amb_lookup_get(uint32_t *first, const struct amb_lookup *lookup, uint32_t hash);

static inline uint32_t amb_lookup_sample(const struct amb_lookup *lookup, uint32_t i) {
    return (uint32_t)lookup->entries[i];
}
