/*
 * Cache: shards by key under one budget of bytes.
 *
 * Every chunk and every table is charged to the budget before it is taken, so used_bytes is exact and never
 * above capacity. The cache decides only whether bytes are decoded again, never which bytes. Who stays when
 * it is full is settled in cache-shard.c.
 */
#include "batch/cache.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/size.h"
#include "batch/cache-shard.h"
#include "batch/chunk.h"

#define SHARDS_MAX      16u         /* a lock is held for some 50 ns; not tuned                      */
#define SHARD_BYTES_MIN (4u << 20)  /* smaller caches have fewer shards; not tuned                   */
#define CHUNK_BYTES_MIN (64u << 10) /* not tuned                                                     */
#define CHUNK_BYTES_MAX (32u << 20) /* not tuned                                                     */
#define CHUNKS_TARGET   1024u       /* in a full cache: half-filled chunks waste at most 1.6 % of it */

struct amb_cache {
    struct amb_budget budget;
    /* immutable after new */
    size_t chunk_bytes;
    uint32_t n_shards; /* a power of two; 0: holds nothing */
    struct amb_cache_shard *shards;
    void *raw_shards;          /* as allocated: not aligned */
    _Atomic uint64_t n_misses; /* of a cache without shards */
};

static void cache_freep(struct amb_cache **cache) {
    *cache = amb_cache_free(*cache);
}

/* As many shards as the capacity bears; none where it does not hold even their book-keeping. */
static int cache_init_shards(struct amb_cache *cache) {
    uint32_t n_shards = 1;
    size_t bytes;

    while (n_shards < SHARDS_MAX && cache->budget.capacity_bytes / SHARD_BYTES_MIN >= 2 * n_shards) {
        n_shards *= 2;
    }
    bytes = n_shards * sizeof *cache->shards + _Alignof(struct amb_cache_shard);
    if (!amb_budget_acquire(&cache->budget, sizeof *cache + bytes)) {
        return 0;
    }
    cache->raw_shards = amb_calloc(1, bytes);
    if (cache->raw_shards == NULL) {
        return -ENOMEM;
    }
    cache->shards =
        (struct amb_cache_shard *)(((uintptr_t)cache->raw_shards + _Alignof(struct amb_cache_shard) - 1) &
                                   ~(uintptr_t)(_Alignof(struct amb_cache_shard) - 1));
    for (uint32_t i = 0; i < n_shards; i++) {
        amb_cache_shard_init(&cache->shards[i], &cache->budget, cache->chunk_bytes);
    }
    cache->n_shards = n_shards;
    return 0;
}

int amb_cache_new(struct amb_cache **out, size_t capacity_bytes, struct amb_error *err) {
    AMB_CLEANUP(cache_freep) struct amb_cache *cache = amb_calloc(1, sizeof *cache);
    size_t chunk_bytes = capacity_bytes / CHUNKS_TARGET;

    if (cache == NULL) {
        return amb_fail(err, -ENOMEM, "out of memory for a cache of %zu bytes", capacity_bytes);
    }
    cache->budget.capacity_bytes = capacity_bytes;
    cache->chunk_bytes = chunk_bytes < CHUNK_BYTES_MIN   ? CHUNK_BYTES_MIN
                         : chunk_bytes > CHUNK_BYTES_MAX ? CHUNK_BYTES_MAX
                                                         : chunk_bytes;
    if (cache_init_shards(cache) < 0) {
        return amb_fail(err, -ENOMEM, "out of memory for a cache of %zu bytes", capacity_bytes);
    }
    *out = amb_steal_ptr(cache);
    return 0;
}

struct amb_cache *amb_cache_free(struct amb_cache *cache) {
    if (cache == NULL) {
        return NULL;
    }
    for (uint32_t i = 0; i < cache->n_shards; i++) {
        amb_cache_shard_deinit(&cache->shards[i]);
    }
    amb_free(cache->raw_shards);
    amb_free(cache);
    return NULL;
}

static struct amb_cache_shard *cache_shard(const struct amb_cache *cache, uint64_t hash) {
    return &cache->shards[hash & (cache->n_shards - 1)];
}

int amb_cache_acquire(struct amb_cache_pin *pin, struct amb_cache *cache, const struct amb_cache_key *key,
                      size_t bytes) {
    uint64_t hash = amb_cache_key_hash(key);
    struct amb_cache_entry *entry;

    if (cache->n_shards == 0) {
        atomic_fetch_add_explicit(&cache->n_misses, 1, memory_order_relaxed);
        return 0;
    }
    entry = amb_cache_shard_acquire(cache_shard(cache, hash), key, hash, bytes);
    if (entry == NULL) {
        return 0;
    }
    *pin = (struct amb_cache_pin){.data = amb_chunk_data(entry), .entry = entry};
    return 1;
}

int amb_cache_peek(struct amb_cache *cache, const struct amb_cache_key *key, size_t bytes) {
    uint64_t hash = amb_cache_key_hash(key);

    return cache->n_shards != 0 && amb_cache_shard_peek(cache_shard(cache, hash), key, hash, bytes);
}

void amb_cache_release(struct amb_cache_pin *pin) {
    struct amb_cache_entry *entry = pin->entry;

    if (entry != NULL) {
        atomic_fetch_sub_explicit(&entry->n_pins, 1, memory_order_release);
    }
    *pin = AMB_CACHE_PIN_NULL;
}

void amb_cache_push(struct amb_cache *cache, const struct amb_cache_key *key, const uint8_t *data,
                    size_t bytes) {
    uint64_t hash = amb_cache_key_hash(key);
    struct amb_cache_entry *entry;
    size_t entry_bytes;

    if (cache->n_shards == 0 || bytes == 0 || bytes > cache->budget.capacity_bytes ||
        !amb_size_align(&entry_bytes, bytes, AMB_CHUNK_ALIGN)) {
        return;
    }
    entry = amb_cache_shard_take(cache_shard(cache, hash), key, hash, entry_bytes);
    if (entry != NULL) {
        memcpy(amb_chunk_data(entry), data, bytes); /* large: not under the lock */
        amb_cache_shard_push(cache_shard(cache, hash), entry, hash);
    }
}

void amb_cache_get_stats(struct amb_cache_stats *out, struct amb_cache *cache) {
    *out = (struct amb_cache_stats){
        .n_misses = atomic_load_explicit(&cache->n_misses, memory_order_relaxed),
        .used_bytes = atomic_load_explicit(&cache->budget.used_bytes, memory_order_relaxed),
        .capacity_bytes = cache->budget.capacity_bytes,
    };
    for (uint32_t i = 0; i < cache->n_shards; i++) {
        amb_cache_shard_get_stats(out, &cache->shards[i]);
    }
}
