/*
 * Cache: shards by key; in each a hash table over entries that lie in chunks of one entry size.
 *
 * Memory. Every chunk and every table is charged to one budget before it is taken, so used_bytes is exact and never
 * above capacity. Once the budget is used up nothing is allocated any more: entries change hands inside their chunk,
 * and a chunk that nobody uses any more makes room for another entry size.
 *
 * Who stays. Training reads a set over and over, in order or in a new order each pass. When the set is larger than
 * the cache, LRU and CLOCK drop every entry shortly before it is needed again: no hits at all. So what came first
 * stays, and the share of hits is the share of the set that is in memory. A newcomer gets in only by evidence: each
 * shard remembers when it last saw keys that it does not hold ("ghosts", a word each, overwritten at random). G is
 * the mean number of look-ups after which such keys came again; an entry gives way if it was not used for stay * G.
 * So equal use changes nothing, and a set that is read no longer, or more rarely, is replaced by the one that is.
 * Where entries let in this way die without a hit, stay grows; it shrinks with their hits.
 *
 * The cache decides only whether bytes are decoded again, never which bytes.
 */
#include "batch/cache.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/size.h"
#include "batch/chunk.h"

#define SHARDS_MAX      16u          /* a lock is held for some 50 ns; not tuned                      */
#define SHARD_BYTES_MIN (4u << 20)   /* smaller caches have fewer shards; not tuned                   */
#define CHUNK_BYTES_MIN (64u << 10)  /* not tuned                                                     */
#define CHUNK_BYTES_MAX (32u << 20)  /* not tuned                                                     */
#define CHUNKS_TARGET   1024u        /* in a full cache: half-filled chunks waste at most 1.6 % of it */
#define CLASSES_MAX     8u           /* entry sizes at a time in a shard; not tuned                   */
#define BUCKETS_MIN     64u          /* a power of two; not tuned                                     */
#define VICTIMS         16u          /* entries looked at for one newcomer; not tuned                 */
#define STAY_MIN        4.0          /* passes in random order use an entry after at most 2 G         */
#define STAY_MAX        1024.0       /* not tuned                                                     */
#define STAY_STEP       (1.0 / 16.0) /* not tuned                                                     */
#define GHOST_WEIGHT    (1.0 / 64.0) /* of one interval in the mean; not tuned                        */

/* Entries of one size in one shard. */
struct cache_class {
    size_t entry_bytes;              /* 0: unused */
    struct amb_chunk *chunks;
    struct amb_cache_entry *free;
    struct amb_chunk *hand_chunk;    /* the search for a victim goes on at entry `hand` of this chunk */
    uint32_t hand;
};

struct cache_ghost {
    uint32_t mark;                   /* of the key; 0: empty */
    uint32_t seen_at;                /* low half of the tick */
};

struct cache_shard {
    _Alignas(64) pthread_mutex_t lock;
    /* guarded by lock */
    struct amb_cache_entry **buckets;
    struct cache_ghost *ghosts;      /* as many as buckets */
    uint32_t n_buckets;
    uint64_t tick;                   /* look-ups so far: the clock of this shard */
    double interval, stay;           /* G (0: no evidence yet); an entry stays for stay * G */
    struct cache_class classes[CLASSES_MAX];
    uint64_t n_entries, n_hits, n_misses, n_evictions;
};

struct amb_cache {
    struct amb_budget budget;
    /* immutable after new */
    size_t chunk_bytes;
    uint32_t n_shards;               /* a power of two; 0: holds nothing */
    struct cache_shard *shards;
    void *raw_shards;                /* as allocated */
    _Atomic uint64_t n_misses;       /* of a cache without shards */
};

/* ---- table ------------------------------------------------------------------------------------------------ */

static uint64_t key_hash(const struct amb_cache_key *key) {
    uint64_t uid;

    memcpy(&uid, key->uid.bytes, sizeof uid); /* a hash already; the other two tell generations apart */
    uid ^= (key->identity ^ key->transform * UINT64_C(0x9E3779B97F4A7C15)) * UINT64_C(0xD6E8FEB86659FD93);
    return uid ^ uid >> 32;
}

static bool key_equal(const struct amb_cache_key *a, const struct amb_cache_key *b) {
    return amb_hash128_equal(&a->uid, &b->uid) && a->identity == b->identity && a->transform == b->transform;
}

static struct cache_shard *cache_shard(const struct amb_cache *cache, uint64_t hash) {
    return &cache->shards[hash & (cache->n_shards - 1)];
}

static struct amb_cache_entry **shard_bucket(const struct cache_shard *shard, uint64_t hash) {
    return &shard->buckets[hash >> 8 & (shard->n_buckets - 1)];
}

static struct amb_cache_entry *shard_find_locked(const struct cache_shard *shard, const struct amb_cache_key *key,
                                                 uint64_t hash) {
    struct amb_cache_entry *entry = *shard_bucket(shard, hash);

    while (entry != NULL && !key_equal(&entry->key, key)) {
        entry = entry->next;
    }
    return entry;
}

static void shard_list_locked(struct cache_shard *shard, struct amb_cache_entry *entry, uint64_t hash) {
    struct amb_cache_entry **bucket = shard_bucket(shard, hash);

    entry->next = *bucket;
    entry->listed = true;
    *bucket = entry;
    shard->n_entries++;
}

static void shard_unlist_locked(struct cache_shard *shard, struct amb_cache_entry *entry) {
    struct amb_cache_entry **link = shard_bucket(shard, key_hash(&entry->key));

    while (*link != entry) {
        link = &(*link)->next;
    }
    *link = entry->next;
    entry->listed = false;
    shard->n_entries--;
}

/* Twice the buckets, or the first; where the budget has no room the chains just get longer. */
static void shard_grow_locked(struct cache_shard *shard, struct amb_budget *budget) {
    uint32_t n_old = shard->n_buckets, n_buckets = n_old != 0 ? 2 * n_old : BUCKETS_MIN;
    size_t each = sizeof *shard->buckets + sizeof *shard->ghosts;
    struct amb_cache_entry **old = shard->buckets, **buckets;
    struct cache_ghost *ghosts;

    if (!amb_budget_acquire(budget, n_buckets * each)) {
        return;
    }
    buckets = amb_calloc(n_buckets, sizeof *buckets);
    ghosts = amb_calloc(n_buckets, sizeof *ghosts);
    if (buckets == NULL || ghosts == NULL) {
        amb_free(buckets);
        amb_free(ghosts);
        amb_budget_release(budget, n_buckets * each);
        return;
    }
    amb_free(shard->ghosts); /* forgotten: while the table grows there is room for newcomers anyway */
    shard->buckets = buckets;
    shard->ghosts = ghosts;
    shard->n_buckets = n_buckets;
    shard->n_entries = 0;
    for (uint32_t i = 0; i < n_old; i++) {
        for (struct amb_cache_entry *entry = old[i], *next; entry != NULL; entry = next) {
            next = entry->next;
            shard_list_locked(shard, entry, key_hash(&entry->key));
        }
    }
    amb_free(old);
    amb_budget_release(budget, n_old * each);
}

/* ---- room for a newcomer ---------------------------------------------------------------------------------- */

/* Note a key that is not held; true if it was here before: then its interval enters G. */
static bool shard_ghost_locked(struct cache_shard *shard, uint64_t hash) {
    struct cache_ghost *ghost = &shard->ghosts[hash >> 8 & (shard->n_buckets - 1)];
    uint32_t mark = (uint32_t)(hash >> 32) | 1, now = (uint32_t)shard->tick;
    bool known = ghost->mark == mark;

    if (known) {
        double interval = now - ghost->seen_at;

        shard->interval += shard->interval == 0 ? interval : GHOST_WEIGHT * (interval - shard->interval);
    }
    *ghost = (struct cache_ghost){mark, now};
    return known;
}

static bool shard_stale_locked(const struct cache_shard *shard, uint64_t used_at) {
    return (double)(shard->tick - used_at) > shard->stay * shard->interval;
}

static bool entry_idle(struct amb_cache_entry *entry) {
    return entry->listed && atomic_load_explicit(&entry->n_pins, memory_order_acquire) == 0;
}

static void shard_evict_locked(struct cache_shard *shard, struct amb_cache_entry *entry) {
    if (entry->by_evidence && entry->n_hits == 0) {
        shard->stay = shard->stay * (1 + STAY_STEP) < STAY_MAX ? shard->stay * (1 + STAY_STEP) : STAY_MAX;
    }
    shard_unlist_locked(shard, entry);
    shard->n_evictions++;
}

/* The next stale entry of the class, taken out of the table; NULL: none among the next VICTIMS. */
static struct amb_cache_entry *class_evict_locked(struct cache_class *class, struct cache_shard *shard) {
    for (unsigned i = 0; i < VICTIMS && class->chunks != NULL; i++) {
        struct amb_cache_entry *entry;

        if (class->hand_chunk == NULL) {
            class->hand_chunk = class->chunks;
        }
        entry = &class->hand_chunk->entries[class->hand++];
        if (class->hand == class->hand_chunk->n_entries) {
            class->hand_chunk = class->hand_chunk->next;
            class->hand = 0;
        }
        if (entry_idle(entry) && shard_stale_locked(shard, entry->used_at)) {
            shard_evict_locked(shard, entry);
            return entry;
        }
    }
    return NULL;
}

static bool chunk_idle(struct amb_chunk *chunk) {
    for (uint32_t i = 0; i < chunk->n_entries; i++) {
        struct amb_cache_entry *entry = &chunk->entries[i];

        /* not listed but pinned: somebody copies into it */
        if (atomic_load_explicit(&entry->n_pins, memory_order_acquire) != 0) {
            return false;
        }
    }
    return true;
}

static void class_drop_locked(struct cache_class *class, struct cache_shard *shard, struct amb_chunk *chunk,
                              struct amb_budget *budget) {
    struct amb_chunk **link = &class->chunks;
    struct amb_cache_entry **free_link = &class->free;

    for (uint32_t i = 0; i < chunk->n_entries; i++) {
        if (chunk->entries[i].listed) {
            shard_evict_locked(shard, &chunk->entries[i]);
        }
    }
    while (*free_link != NULL) {
        if ((*free_link)->chunk == chunk) {
            *free_link = (*free_link)->next;
        } else {
            free_link = &(*free_link)->next;
        }
    }
    while (*link != chunk) {
        link = &(*link)->next;
    }
    *link = chunk->next;
    class->hand_chunk = NULL;
    class->hand = 0;
    amb_chunk_free(chunk, budget);
}

/* Give back one chunk of another entry size that is stale as a whole; false: there is none. */
static bool shard_drop_stale_locked(struct cache_shard *shard, const struct cache_class *keep,
                                    struct amb_budget *budget) {
    for (unsigned i = 0; i < CLASSES_MAX; i++) {
        struct cache_class *class = &shard->classes[i];

        for (struct amb_chunk *chunk = class->chunks; chunk != NULL && class != keep; chunk = chunk->next) {
            if (shard_stale_locked(shard, chunk->used_at) && chunk_idle(chunk)) {
                class_drop_locked(class, shard, chunk, budget);
                return true;
            }
        }
    }
    return false;
}

static struct cache_class *shard_class_locked(struct cache_shard *shard, size_t entry_bytes) {
    struct cache_class *unused = NULL;

    for (unsigned i = 0; i < CLASSES_MAX; i++) {
        struct cache_class *class = &shard->classes[i];

        if (class->entry_bytes == entry_bytes) {
            return class;
        }
        if (class->chunks == NULL) {
            unused = class;
        }
    }
    if (unused != NULL) {
        *unused = (struct cache_class){.entry_bytes = entry_bytes};
    }
    return unused;
}

static bool class_grow_locked(struct cache_class *class, struct cache_shard *shard, struct amb_cache *cache) {
    struct amb_chunk *chunk = amb_chunk_new(&cache->budget, class->entry_bytes, cache->chunk_bytes);

    if (chunk == NULL) {
        return false;
    }
    chunk->used_at = shard->tick;
    chunk->next = class->chunks;
    class->chunks = chunk;
    for (uint32_t i = chunk->n_entries; i-- > 0;) {
        chunk->entries[i].next = class->free;
        class->free = &chunk->entries[i];
    }
    return true;
}

/* An entry for a newcomer, pinned and in no list: a free one, a new one, or by evidence a stale one. */
static struct amb_cache_entry *shard_take_locked(struct cache_shard *shard, struct amb_cache *cache, uint64_t hash,
                                                 size_t entry_bytes) {
    struct cache_class *class;
    struct amb_cache_entry *entry;
    bool known;

    if (shard->n_entries >= shard->n_buckets) {
        shard_grow_locked(shard, &cache->budget);
    }
    class = shard->n_buckets != 0 ? shard_class_locked(shard, entry_bytes) : NULL;
    if (class == NULL) {
        return NULL;
    }
    known = shard_ghost_locked(shard, hash);
    if (class->free == NULL && !class_grow_locked(class, shard, cache) && known) {
        entry = class_evict_locked(class, shard);
        if (entry != NULL) {
            entry->by_evidence = true;
            return entry;
        }
        while (shard_drop_stale_locked(shard, class, &cache->budget) && !class_grow_locked(class, shard, cache)) {
        }
    }
    entry = class->free;
    if (entry != NULL) {
        class->free = entry->next;
        entry->by_evidence = false;
    }
    return entry;
}

static struct amb_cache_entry *shard_begin_push_locked(struct cache_shard *shard, struct amb_cache *cache,
                                                       const struct amb_cache_key *key, uint64_t hash,
                                                       size_t entry_bytes) {
    struct amb_cache_entry *entry;

    if (shard->n_buckets != 0 && shard_find_locked(shard, key, hash) != NULL) {
        return NULL;
    }
    entry = shard_take_locked(shard, cache, hash, entry_bytes);
    if (entry != NULL) {
        entry->key = *key;
        entry->n_hits = 0;
        entry->used_at = shard->tick;
        entry->chunk->used_at = shard->tick;
        atomic_store_explicit(&entry->n_pins, 1, memory_order_relaxed);
    }
    return entry;
}

/* The bytes are in place. Somebody else may have pushed the same key meanwhile. */
static void shard_end_push_locked(struct cache_shard *shard, struct amb_cache_entry *entry, uint64_t hash) {
    atomic_store_explicit(&entry->n_pins, 0, memory_order_relaxed);
    if (shard_find_locked(shard, &entry->key, hash) == NULL) {
        shard_list_locked(shard, entry, hash);
    } else {
        struct cache_class *class = shard_class_locked(shard, entry->chunk->entry_bytes);

        entry->next = class->free;
        class->free = entry;
    }
}

/* ---- life cycle ------------------------------------------------------------------------------------------- */

static void cache_freep(struct amb_cache **cache) {
    *cache = amb_cache_free(*cache);
}

static bool cache_new_shards(struct amb_cache *cache) {
    size_t bytes;

    while (cache->n_shards < SHARDS_MAX && cache->budget.capacity_bytes / SHARD_BYTES_MIN >= 2 * cache->n_shards) {
        cache->n_shards *= 2;
    }
    bytes = sizeof *cache + cache->n_shards * sizeof *cache->shards + 64;
    if (!amb_budget_acquire(&cache->budget, bytes)) {
        cache->n_shards = 0; /* smaller than its own book-keeping: holds nothing */
        return true;
    }
    cache->raw_shards = amb_calloc(1, cache->n_shards * sizeof *cache->shards + 64);
    if (cache->raw_shards == NULL) {
        return false;
    }
    cache->shards = (struct cache_shard *)(((uintptr_t)cache->raw_shards + 63) & ~(uintptr_t)63);
    for (uint32_t i = 0; i < cache->n_shards; i++) {
        pthread_mutex_init(&cache->shards[i].lock, NULL);
        cache->shards[i].stay = STAY_MIN;
    }
    return true;
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
    cache->n_shards = 1;
    if (!cache_new_shards(cache)) {
        cache->n_shards = 0;
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
        struct cache_shard *shard = &cache->shards[i];

        for (unsigned j = 0; j < CLASSES_MAX; j++) {
            for (struct amb_chunk *chunk = shard->classes[j].chunks, *next; chunk != NULL; chunk = next) {
                next = chunk->next;
                assert(chunk_idle(chunk));
                amb_chunk_free(chunk, &cache->budget);
            }
        }
        amb_free(shard->buckets);
        amb_free(shard->ghosts);
        pthread_mutex_destroy(&shard->lock);
    }
    amb_free(cache->raw_shards);
    amb_free(cache);
    return NULL;
}

/* ---- operations ------------------------------------------------------------------------------------------- */

static struct amb_cache_entry *shard_acquire_locked(struct cache_shard *shard, const struct amb_cache_key *key,
                                                    uint64_t hash, size_t bytes) {
    struct amb_cache_entry *entry = shard->n_buckets != 0 ? shard_find_locked(shard, key, hash) : NULL;

    shard->tick++;
    if (entry == NULL || entry->chunk->entry_bytes < bytes) {
        shard->n_misses++;
        return NULL;
    }
    shard->n_hits++;
    if (entry->n_hits == 0 && entry->by_evidence) {
        shard->stay = shard->stay * (1 - STAY_STEP) > STAY_MIN ? shard->stay * (1 - STAY_STEP) : STAY_MIN;
    }
    entry->n_hits = (uint16_t)(entry->n_hits + (entry->n_hits != UINT16_MAX));
    entry->used_at = shard->tick;
    entry->chunk->used_at = shard->tick;
    atomic_fetch_add_explicit(&entry->n_pins, 1, memory_order_relaxed);
    return entry;
}

int amb_cache_acquire(struct amb_cache_pin *pin, struct amb_cache *cache, const struct amb_cache_key *key,
                      size_t bytes) {
    uint64_t hash = key_hash(key);
    struct cache_shard *shard;
    struct amb_cache_entry *entry;

    if (cache->n_shards == 0) {
        atomic_fetch_add_explicit(&cache->n_misses, 1, memory_order_relaxed);
        return 0;
    }
    shard = cache_shard(cache, hash);
    pthread_mutex_lock(&shard->lock);
    entry = shard_acquire_locked(shard, key, hash, bytes);
    pthread_mutex_unlock(&shard->lock);
    if (entry == NULL) {
        return 0;
    }
    *pin = (struct amb_cache_pin){.data = amb_chunk_data(entry), .entry = entry};
    return 1;
}

void amb_cache_release(struct amb_cache_pin *pin) {
    struct amb_cache_entry *entry = pin->entry;

    if (entry != NULL) {
        atomic_fetch_sub_explicit(&entry->n_pins, 1, memory_order_release);
    }
    *pin = AMB_CACHE_PIN_NULL;
}

void amb_cache_push(struct amb_cache *cache, const struct amb_cache_key *key, const uint8_t *data, size_t bytes) {
    uint64_t hash = key_hash(key);
    struct cache_shard *shard;
    struct amb_cache_entry *entry;
    size_t entry_bytes;

    if (cache->n_shards == 0 || bytes == 0 || bytes > cache->budget.capacity_bytes ||
        !amb_size_align(&entry_bytes, bytes, AMB_CHUNK_ALIGN)) {
        return;
    }
    shard = cache_shard(cache, hash);
    pthread_mutex_lock(&shard->lock);
    entry = shard_begin_push_locked(shard, cache, key, hash, entry_bytes);
    pthread_mutex_unlock(&shard->lock);
    if (entry == NULL) {
        return;
    }
    memcpy(amb_chunk_data(entry), data, bytes); /* large: not under the lock */
    pthread_mutex_lock(&shard->lock);
    shard_end_push_locked(shard, entry, hash);
    pthread_mutex_unlock(&shard->lock);
}

static void shard_add_stats_locked(struct amb_cache_stats *out, const struct cache_shard *shard) {
    out->n_hits += shard->n_hits;
    out->n_misses += shard->n_misses;
    out->n_evictions += shard->n_evictions;
    out->n_entries += shard->n_entries;
}

void amb_cache_get_stats(struct amb_cache_stats *out, struct amb_cache *cache) {
    *out = (struct amb_cache_stats){
        .n_misses = atomic_load_explicit(&cache->n_misses, memory_order_relaxed),
        .used_bytes = atomic_load_explicit(&cache->budget.used_bytes, memory_order_relaxed),
        .capacity_bytes = cache->budget.capacity_bytes,
    };
    for (uint32_t i = 0; i < cache->n_shards; i++) {
        pthread_mutex_lock(&cache->shards[i].lock);
        shard_add_stats_locked(out, &cache->shards[i]);
        pthread_mutex_unlock(&cache->shards[i].lock);
    }
}
