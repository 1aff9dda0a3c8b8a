#pragma once
/* Cache: decoded, transformed samples in their stored dtype, bounded, shared by all streams. */
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/hash.h"

/* Key of an entry: a sample's uid, version, the identity of its bytes, and the transform. */
struct amb_cache_key {
    struct amb_hash128 uid;
    uint64_t identity;   /* amb_catalog_identity */
    uint64_t transform;  /* hash of transform and version */
};

struct amb_cache_stats {
    uint64_t n_hits, n_misses, n_evictions, n_entries, used_bytes, capacity_bytes;
};

struct amb_cache; /* Thread: any, sharded locks */

/* A borrowed entry. Valid, and never evicted, until release. */
struct amb_cache_pin {
    const uint8_t *data; /* aligned to 64 */
    void *entry;
};
#define AMB_CACHE_PIN_NULL ((struct amb_cache_pin){0})

/**
 * Make a cache; capacity 0: one that never holds anything.
 *
 * Memory is taken in chunks as entries come; all of it, tables included, is counted and stays <= capacity.
 * Errors: -ENOMEM.
 */
int amb_cache_new(struct amb_cache **out, size_t capacity_bytes, struct amb_error *err);
struct amb_cache *amb_cache_free(struct amb_cache *cache); /* nothing may be pinned; NULL ok; returns NULL */

/* Look up and pin. 1: hit, pin->data has `bytes` bytes. 0: miss. Pins are short (one fill). */
int amb_cache_acquire(struct amb_cache_pin *pin, struct amb_cache *cache, const struct amb_cache_key *key,
                      size_t bytes);
/* 1 if it is there now; pins and counts nothing. */
int amb_cache_peek(struct amb_cache *cache, const struct amb_cache_key *key, size_t bytes);
void amb_cache_release(struct amb_cache_pin *pin); /* idempotent: the pin is cleared */

/* Copy in; does nothing where it is there already, does not fit, or would push out what is used more. */
void amb_cache_push(struct amb_cache *cache, const struct amb_cache_key *key, const uint8_t *data,
                    size_t bytes);

void amb_cache_get_stats(struct amb_cache_stats *out, struct amb_cache *cache);
