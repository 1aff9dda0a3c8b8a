/*
 * Cache shard: a hash table over entries that lie in chunks of one entry size.
 *
 * Who stays. Training reads a set over and over, in order or in a new order each pass. When the set is larger
 * than the cache, LRU and CLOCK drop every entry shortly before it is needed again: no hits at all. So what
 * came first stays, and the share of hits is the share of the set that is in memory. A newcomer gets in only
 * by evidence: the shard remembers when it last saw keys that it does not hold ("ghosts", a word each,
 * overwritten at random). G is the mean number of look-ups after which such keys came again; an entry gives
 * way if it was not used for stay * G. So equal use changes nothing, and a set that is read no longer, or
 * more rarely, is replaced by the one that is. Where entries let in this way die without a hit, stay grows;
 * it shrinks with their hits.
 *
 * Once the budget is used up nothing is allocated any more: entries change hands inside their chunk, and a
 * chunk that nobody uses any more makes room for another entry size.
 */
#include "batch/cache-shard.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#include "base/alloc.h"

#define BUCKETS_MIN  64u          /* a power of two; not tuned                                     */
#define VICTIMS      16u          /* entries looked at for one newcomer; not tuned                 */
#define STAY_MIN     4.0          /* passes in random order use an entry after at most 2 G         */
#define STAY_MAX     1024.0       /* not tuned                                                     */
#define STAY_STEP    (1.0 / 16.0) /* not tuned                                                     */
#define GHOST_WEIGHT (1.0 / 64.0) /* of one interval in the mean; not tuned                        */

/* ---- table --------------------------------------------------------------------------------------------- */

uint64_t amb_cache_key_hash(const struct amb_cache_key *key) {
    uint64_t uid;

    memcpy(&uid, key->uid.bytes, sizeof uid); /* a hash already; the other two tell generations apart */
    uid ^= (key->identity ^ key->transform * UINT64_C(0x9E3779B97F4A7C15)) * UINT64_C(0xD6E8FEB86659FD93);
    return uid ^ uid >> 32;
}

static bool key_equal(const struct amb_cache_key *a, const struct amb_cache_key *b) {
    return amb_hash128_equal(&a->uid, &b->uid) && a->identity == b->identity && a->transform == b->transform;
}

static struct amb_cache_entry **shard_bucket(const struct amb_cache_shard *shard, uint64_t hash) {
    return &shard->buckets[hash >> 8 & (shard->n_buckets - 1)];
}

static struct amb_cache_entry *shard_find_locked(const struct amb_cache_shard *shard,
                                                 const struct amb_cache_key *key, uint64_t hash) {
    struct amb_cache_entry *entry = *shard_bucket(shard, hash);

    while (entry != NULL && !key_equal(&entry->key, key)) {
        entry = entry->next;
    }
    return entry;
}

static void shard_list_locked(struct amb_cache_shard *shard, struct amb_cache_entry *entry, uint64_t hash) {
    struct amb_cache_entry **bucket = shard_bucket(shard, hash);

    entry->next = *bucket;
    entry->listed = true;
    *bucket = entry;
    shard->n_entries++;
}

static void shard_unlist_locked(struct amb_cache_shard *shard, struct amb_cache_entry *entry) {
    struct amb_cache_entry **link = shard_bucket(shard, amb_cache_key_hash(&entry->key));

    while (*link != entry) {
        link = &(*link)->next;
    }
    *link = entry->next;
    entry->listed = false;
    shard->n_entries--;
}

/* Twice the buckets, or the first; where the budget has no room the chains just get longer. */
static void shard_grow_locked(struct amb_cache_shard *shard) {
    uint32_t n_old = shard->n_buckets, n_buckets = n_old != 0 ? 2 * n_old : BUCKETS_MIN;
    size_t each = sizeof *shard->buckets + sizeof *shard->ghosts;
    struct amb_cache_entry **old = shard->buckets, **buckets;
    struct amb_cache_ghost *ghosts;

    if (!amb_budget_acquire(shard->budget, n_buckets * each)) {
        return;
    }
    buckets = amb_calloc(n_buckets, sizeof *buckets);
    ghosts = amb_calloc(n_buckets, sizeof *ghosts);
    if (buckets == NULL || ghosts == NULL) {
        amb_free(buckets);
        amb_free(ghosts);
        amb_budget_release(shard->budget, n_buckets * each);
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
            shard_list_locked(shard, entry, amb_cache_key_hash(&entry->key));
        }
    }
    amb_free(old);
    amb_budget_release(shard->budget, n_old * each);
}

/* ---- room for a newcomer ------------------------------------------------------------------------------- */

/* Note a key that is not held; true if it was here before: then its interval enters G. */
static bool shard_ghost_locked(struct amb_cache_shard *shard, uint64_t hash) {
    struct amb_cache_ghost *ghost = &shard->ghosts[hash >> 8 & (shard->n_buckets - 1)];
    uint32_t mark = (uint32_t)(hash >> 32) | 1, now = (uint32_t)shard->tick;
    bool known = ghost->mark == mark;

    if (known) {
        double interval = now - ghost->seen_at;

        shard->interval += shard->interval == 0 ? interval : GHOST_WEIGHT * (interval - shard->interval);
    }
    *ghost = (struct amb_cache_ghost){mark, now};
    return known;
}

static bool shard_stale_locked(const struct amb_cache_shard *shard, uint64_t used_at) {
    return (double)(shard->tick - used_at) > shard->stay * shard->interval;
}

static bool entry_idle(struct amb_cache_entry *entry) {
    return entry->listed && atomic_load_explicit(&entry->n_pins, memory_order_acquire) == 0;
}

static void shard_evict_locked(struct amb_cache_shard *shard, struct amb_cache_entry *entry) {
    if (entry->by_evidence && entry->n_hits == 0) {
        shard->stay = shard->stay * (1 + STAY_STEP) < STAY_MAX ? shard->stay * (1 + STAY_STEP) : STAY_MAX;
    }
    shard_unlist_locked(shard, entry);
    shard->n_evictions++;
}

/* The next stale entry of the class, taken out of the table; NULL: none among the next VICTIMS. */
static struct amb_cache_entry *class_evict_locked(struct amb_cache_class *class,
                                                  struct amb_cache_shard *shard) {
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

static void class_drop_locked(struct amb_cache_class *class, struct amb_cache_shard *shard,
                              struct amb_chunk *chunk) {
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
    amb_chunk_free(chunk, shard->budget);
}

/* Give back one chunk of another entry size that is stale as a whole; false: there is none. */
static bool shard_drop_stale_locked(struct amb_cache_shard *shard, const struct amb_cache_class *keep) {
    for (unsigned i = 0; i < AMB_CACHE_CLASSES_MAX; i++) {
        struct amb_cache_class *class = &shard->classes[i];

        for (struct amb_chunk *chunk = class->chunks; chunk != NULL && class != keep; chunk = chunk->next) {
            if (shard_stale_locked(shard, chunk->used_at) && chunk_idle(chunk)) {
                class_drop_locked(class, shard, chunk);
                return true;
            }
        }
    }
    return false;
}

static struct amb_cache_class *shard_class_locked(struct amb_cache_shard *shard, size_t entry_bytes) {
    struct amb_cache_class *unused = NULL;

    for (unsigned i = 0; i < AMB_CACHE_CLASSES_MAX; i++) {
        struct amb_cache_class *class = &shard->classes[i];

        if (class->entry_bytes == entry_bytes) {
            return class;
        }
        if (class->chunks == NULL) {
            unused = class;
        }
    }
    if (unused != NULL) {
        *unused = (struct amb_cache_class){.entry_bytes = entry_bytes};
    }
    return unused;
}

static bool class_grow_locked(struct amb_cache_class *class, struct amb_cache_shard *shard) {
    struct amb_chunk *chunk = amb_chunk_new(shard->budget, class->entry_bytes, shard->chunk_bytes);

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
static struct amb_cache_entry *shard_find_room_locked(struct amb_cache_shard *shard, uint64_t hash,
                                                      size_t entry_bytes) {
    struct amb_cache_class *class;
    struct amb_cache_entry *entry;
    bool known;

    if (shard->n_entries >= shard->n_buckets) {
        shard_grow_locked(shard);
    }
    class = shard->n_buckets != 0 ? shard_class_locked(shard, entry_bytes) : NULL;
    if (class == NULL) {
        return NULL;
    }
    known = shard_ghost_locked(shard, hash);
    if (class->free == NULL && !class_grow_locked(class, shard) && known) {
        entry = class_evict_locked(class, shard);
        if (entry != NULL) {
            entry->by_evidence = true;
            return entry;
        }
        while (shard_drop_stale_locked(shard, class) && !class_grow_locked(class, shard)) {
        }
    }
    entry = class->free;
    if (entry != NULL) {
        class->free = entry->next;
        entry->by_evidence = false;
    }
    return entry;
}

static struct amb_cache_entry *shard_take_locked(struct amb_cache_shard *shard,
                                                 const struct amb_cache_key *key, uint64_t hash,
                                                 size_t entry_bytes) {
    struct amb_cache_entry *entry;

    if (shard->n_buckets != 0 && shard_find_locked(shard, key, hash) != NULL) {
        return NULL;
    }
    entry = shard_find_room_locked(shard, hash, entry_bytes);
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
static void shard_push_locked(struct amb_cache_shard *shard, struct amb_cache_entry *entry, uint64_t hash) {
    atomic_store_explicit(&entry->n_pins, 0, memory_order_relaxed);
    if (shard_find_locked(shard, &entry->key, hash) == NULL) {
        shard_list_locked(shard, entry, hash);
    } else {
        struct amb_cache_class *class = shard_class_locked(shard, entry->chunk->entry_bytes);

        entry->next = class->free;
        class->free = entry;
    }
}

/* ---- life cycle and operations ------------------------------------------------------------------------- */

void amb_cache_shard_init(struct amb_cache_shard *shard, struct amb_budget *budget, size_t chunk_bytes) {
    *shard = (struct amb_cache_shard){.budget = budget, .chunk_bytes = chunk_bytes, .stay = STAY_MIN};
    pthread_mutex_init(&shard->lock, NULL);
}

void amb_cache_shard_deinit(struct amb_cache_shard *shard) {
    for (unsigned i = 0; i < AMB_CACHE_CLASSES_MAX; i++) {
        for (struct amb_chunk *chunk = shard->classes[i].chunks, *next; chunk != NULL; chunk = next) {
            next = chunk->next;
            assert(chunk_idle(chunk));
            amb_chunk_free(chunk, shard->budget);
        }
    }
    amb_free(shard->buckets);
    amb_free(shard->ghosts);
    pthread_mutex_destroy(&shard->lock);
}

static struct amb_cache_entry *shard_acquire_locked(struct amb_cache_shard *shard,
                                                    const struct amb_cache_key *key, uint64_t hash,
                                                    size_t bytes) {
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

struct amb_cache_entry *amb_cache_shard_acquire(struct amb_cache_shard *shard,
                                                const struct amb_cache_key *key, uint64_t hash,
                                                size_t bytes) {
    struct amb_cache_entry *entry;

    pthread_mutex_lock(&shard->lock);
    entry = shard_acquire_locked(shard, key, hash, bytes);
    pthread_mutex_unlock(&shard->lock);
    return entry;
}

bool amb_cache_shard_peek(struct amb_cache_shard *shard, const struct amb_cache_key *key, uint64_t hash,
                          size_t bytes) {
    struct amb_cache_entry *entry;
    bool found;

    pthread_mutex_lock(&shard->lock);
    entry = shard->n_buckets != 0 ? shard_find_locked(shard, key, hash) : NULL;
    found = entry != NULL && entry->chunk->entry_bytes >= bytes;
    pthread_mutex_unlock(&shard->lock);
    return found;
}

struct amb_cache_entry *amb_cache_shard_take(struct amb_cache_shard *shard, const struct amb_cache_key *key,
                                             uint64_t hash, size_t entry_bytes) {
    struct amb_cache_entry *entry;

    pthread_mutex_lock(&shard->lock);
    entry = shard_take_locked(shard, key, hash, entry_bytes);
    pthread_mutex_unlock(&shard->lock);
    return entry;
}

void amb_cache_shard_push(struct amb_cache_shard *shard, struct amb_cache_entry *entry, uint64_t hash) {
    pthread_mutex_lock(&shard->lock);
    shard_push_locked(shard, entry, hash);
    pthread_mutex_unlock(&shard->lock);
}

void amb_cache_shard_get_stats(struct amb_cache_stats *out, struct amb_cache_shard *shard) {
    pthread_mutex_lock(&shard->lock);
    out->n_hits += shard->n_hits;
    out->n_misses += shard->n_misses;
    out->n_evictions += shard->n_evictions;
    out->n_entries += shard->n_entries;
    pthread_mutex_unlock(&shard->lock);
}
