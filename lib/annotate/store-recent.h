#pragma once
/* Recent: what came after the table was written, by key; in memory, and what lies here hides the table's. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"

/*
 * An entry starts with its key: uid 16, u32 version; where has_origin is set, an origin in the low half of its last
 * byte belongs to the key too. Order of keys: bytes of the uid, version, origin.
 */
struct amb_key {
    uint8_t uid[16];
    uint32_t version;
    uint8_t origin;
};
struct amb_key amb_key_load(const uint8_t *entry, uint32_t entry_bytes, bool has_origin);
int amb_key_compare(const struct amb_key *a, const struct amb_key *b);

struct amb_recent {
    uint32_t entry_bytes;
    bool has_origin;
    uint8_t *entries; /* owned; in order of their first arrival */
    size_t n_entries, capacity;
    uint64_t *slots; /* owned; 1 + number of an entry | half a hash << 32, 0: empty; open addressing by (uid, version) */
    size_t n_slots;  /* a power of two */
};
#define AMB_RECENT_NULL ((struct amb_recent){0})
void amb_recent_init(struct amb_recent *recent, uint32_t entry_bytes, bool has_origin);
void amb_recent_deinit(struct amb_recent *recent); /* idempotent */

/* Make sure that n more entries fit; -ENOMEM. */
int amb_recent_reserve(struct amb_recent *recent, size_t n);
/* Add, or put in the place of the entry of equal key. Room was reserved. */
void amb_recent_put(struct amb_recent *recent, const uint8_t *entry);
void amb_recent_put_all(struct amb_recent *recent, const uint8_t *entries, size_t n); /* in order */

/* The entry of this key, or NULL. Valid until the next reserve. */
const uint8_t *amb_recent_peek(const struct amb_recent *recent, const struct amb_key *key);
/* Entries of (uid, version), at most n_max; their number. */
size_t amb_recent_find(const uint8_t **out, size_t n_max, const struct amb_recent *recent, const uint8_t uid[16],
                       uint32_t version);

/* Numbers of all entries by rising key; amb_malloc'ed, the caller's. NULL: out of memory. */
uint32_t *amb_recent_sort(const struct amb_recent *recent);
