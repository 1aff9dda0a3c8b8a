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

/* capacity 0: a cache that never holds anything. Memory is taken as entries come, in slabs, never above capacity. */
int amb_cache_new(struct amb_cache **out, size_t capacity_bytes, struct amb_error *err);
struct amb_cache *amb_cache_free(struct amb_cache *cache);

/**
 * Look up and pin. 1: hit, *data is readable until release. 0: miss.
 * A pinned entry is never evicted; pins are short (one fill).
 */
int amb_cache_acquire(const uint8_t **data, struct amb_cache *cache, const struct amb_cache_key *key, size_t bytes);
void amb_cache_release(struct amb_cache *cache, const struct amb_cache_key *key);

/* Copy in; silently does nothing where it does not fit or is there already. */
void amb_cache_push(struct amb_cache *cache, const struct amb_cache_key *key, const uint8_t *data, size_t bytes);

void amb_cache_get_stats(struct amb_cache_stats *out, struct amb_cache *cache);
