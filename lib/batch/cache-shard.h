#pragma once
/* Cache shard: the entries of a part of the keys under one lock; inside the batch folder only. */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "batch/cache.h"
#include "batch/chunk.h"

#define AMB_CACHE_CLASSES_MAX 8u /* entry sizes at a time; not tuned */

/* Entries of one size. */
struct amb_cache_class {
    size_t entry_bytes;              /* 0: unused */
    struct amb_chunk *chunks;
    struct amb_cache_entry *free;
    struct amb_chunk *hand_chunk;    /* the search for a victim goes on at entry `hand` of this chunk */
    uint32_t hand;
};

struct amb_cache_ghost {
    uint32_t mark;                   /* of the key; 0: empty */
    uint32_t seen_at;                /* low half of the tick */
};

struct amb_cache_shard {
    _Alignas(64) pthread_mutex_t lock;
    /* immutable after init */
    struct amb_budget *budget;       /* of all shards together */
    size_t chunk_bytes;
    /* guarded by lock */
    struct amb_cache_entry **buckets;
    struct amb_cache_ghost *ghosts;  /* as many as buckets */
    uint32_t n_buckets;
    uint64_t tick;                   /* look-ups so far: the clock of this shard */
    double interval, stay;           /* G (0: no evidence yet); an entry stays for stay * G */
    struct amb_cache_class classes[AMB_CACHE_CLASSES_MAX];
    uint64_t n_entries, n_hits, n_misses, n_evictions;
};

uint64_t amb_cache_key_hash(const struct amb_cache_key *key);

void amb_cache_shard_init(struct amb_cache_shard *shard, struct amb_budget *budget, size_t chunk_bytes);
void amb_cache_shard_deinit(struct amb_cache_shard *shard); /* nothing may be pinned */

/* Look up, count and pin; NULL: a miss. Thread: any, as all below. */
struct amb_cache_entry *amb_cache_shard_acquire(struct amb_cache_shard *shard,
                                                const struct amb_cache_key *key, uint64_t hash, size_t bytes);

/* True if acquire would find it. */
bool amb_cache_shard_peek(struct amb_cache_shard *shard, const struct amb_cache_key *key, uint64_t hash,
                          size_t bytes);

/**
 * Find room for a newcomer of `entry_bytes` (a multiple of AMB_CHUNK_ALIGN).
 *
 * Returns: an entry that nobody else sees, for the caller to copy into and to hand to amb_cache_shard_push;
 *          NULL where the key is there already or gets no room.
 */
struct amb_cache_entry *amb_cache_shard_take(struct amb_cache_shard *shard, const struct amb_cache_key *key,
                                             uint64_t hash, size_t entry_bytes);
void amb_cache_shard_push(struct amb_cache_shard *shard, struct amb_cache_entry *entry, uint64_t hash);

/* Add this shard's counters. */
void amb_cache_shard_get_stats(struct amb_cache_stats *out, struct amb_cache_shard *shard);
