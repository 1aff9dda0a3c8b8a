/*
 * Recent: entries in one array, a table of their numbers beside it. All entries of one (uid, version) hash alike, so
 * they lie in one run of slots and a look-up of a sample is one probe. Nothing is ever removed: compaction drops all.
 */
#include "annotate/store-recent.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "proto/wire.h"

#define RECENT_SLOTS_MIN 64u /* not tuned */
#define RECENT_AHEAD     16u /* slots asked for before the first is looked at: a miss costs as much as sixteen */

struct amb_key amb_key_load(const uint8_t *entry, uint32_t entry_bytes, bool has_origin) {
    struct amb_key key = {.version = ambp_load_u32le(entry + 16)};

    memcpy(key.uid, entry, sizeof key.uid);
    key.origin = has_origin ? entry[entry_bytes - 1] & 15 : 0;
    return key;
}

int amb_key_compare(const struct amb_key *a, const struct amb_key *b) {
    int order = memcmp(a->uid, b->uid, sizeof a->uid);

    if (order != 0) {
        return order;
    }
    if (a->version != b->version) {
        return a->version < b->version ? -1 : 1;
    }
    return (int)a->origin - (int)b->origin;
}

void amb_recent_init(struct amb_recent *recent, uint32_t entry_bytes, bool has_origin) {
    *recent = AMB_RECENT_NULL;
    recent->entry_bytes = entry_bytes;
    recent->has_origin = has_origin;
}

void amb_recent_deinit(struct amb_recent *recent) {
    amb_free(recent->entries);
    amb_free(recent->slots);
    amb_recent_init(recent, recent->entry_bytes, recent->has_origin);
}

static uint8_t *recent_entry(const struct amb_recent *recent, size_t i) {
    return recent->entries + i * recent->entry_bytes;
}

static uint64_t recent_hash(const uint8_t uid[16], uint32_t version) {
    struct amb_hash128 hash;

    memcpy(hash.bytes, uid, sizeof hash.bytes);
    return amb_hash_uid_version(&hash, version) >> 32;
}

static size_t recent_entry_of(uint64_t slot) {
    return (size_t)(slot & UINT32_MAX) - 1;
}

/* The hash lies in the slot, so that growing looks at no entry. */
static void recent_link(struct amb_recent *recent, uint64_t slot) {
    size_t i = (size_t)(slot >> 32) & (recent->n_slots - 1);

    while (recent->slots[i] != 0) {
        i = (i + 1) & (recent->n_slots - 1);
    }
    recent->slots[i] = slot;
}

static int recent_grow_slots(struct amb_recent *recent, size_t n) {
    const size_t n_old = recent->n_slots;
    size_t n_slots = n_old != 0 ? n_old : RECENT_SLOTS_MIN;
    uint64_t *slots, *old = recent->slots;

    while (n > n_slots / 2) {
        n_slots *= 2;
    }
    if (n_slots == n_old) {
        return 0;
    }
    slots = amb_calloc(n_slots, sizeof *slots);
    if (slots == NULL) {
        return -ENOMEM;
    }
    recent->slots = slots;
    recent->n_slots = n_slots;
    for (size_t i = 0; i < n_old; i++) {
        if (old[i] != 0) {
            recent_link(recent, old[i]);
        }
    }
    amb_free(old);
    return 0;
}

int amb_recent_reserve(struct amb_recent *recent, size_t n) {
    size_t wanted, capacity = recent->capacity + recent->capacity / 2;
    uint8_t *entries;

    if (n >= UINT32_MAX / 2 || recent->n_entries + n >= UINT32_MAX / 2) {
        return -ENOMEM; /* a journal that long is compacted long before */
    }
    wanted = recent->n_entries + n;
    if (wanted > recent->capacity) {
        capacity = capacity > wanted ? capacity : wanted;
        capacity = capacity > RECENT_SLOTS_MIN ? capacity : RECENT_SLOTS_MIN;
        entries = amb_realloc(recent->entries, capacity * recent->entry_bytes);
        if (entries == NULL) {
            return -ENOMEM;
        }
        recent->entries = entries;
        recent->capacity = capacity;
    }
    return recent_grow_slots(recent, wanted);
}

/* The number of the entry of this key, or SIZE_MAX; *i_slot: where it is linked, or would be. */
static size_t recent_index(size_t *i_slot, const struct amb_recent *recent, const struct amb_key *key, uint64_t hash) {
    size_t i = (size_t)hash & (recent->n_slots - 1);

    for (; recent->slots[i] != 0; i = (i + 1) & (recent->n_slots - 1)) {
        struct amb_key here;

        if (recent->slots[i] >> 32 != hash) {
            continue;
        }
        here = amb_key_load(recent_entry(recent, recent_entry_of(recent->slots[i])), recent->entry_bytes,
                            recent->has_origin);
        if (amb_key_compare(&here, key) == 0) {
            *i_slot = i;
            return recent_entry_of(recent->slots[i]);
        }
    }
    *i_slot = i;
    return SIZE_MAX;
}

static void recent_put(struct amb_recent *recent, const uint8_t *entry, uint64_t hash) {
    const struct amb_key key = amb_key_load(entry, recent->entry_bytes, recent->has_origin);
    size_t i_slot, i = recent_index(&i_slot, recent, &key, hash);

    if (i != SIZE_MAX) {
        memcpy(recent_entry(recent, i), entry, recent->entry_bytes);
        return;
    }
    assert(recent->n_entries < recent->capacity);
    memcpy(recent_entry(recent, recent->n_entries), entry, recent->entry_bytes);
    recent->n_entries++;
    recent->slots[i_slot] = recent->n_entries | hash << 32;
}

void amb_recent_put(struct amb_recent *recent, const uint8_t *entry) {
    recent_put(recent, entry, recent_hash(entry, ambp_load_u32le(entry + 16)));
}

void amb_recent_put_all(struct amb_recent *recent, const uint8_t *entries, size_t n) {
    uint64_t hashes[RECENT_AHEAD];

    for (size_t i = 0; i < n; i += RECENT_AHEAD) {
        const size_t n_ahead = n - i < RECENT_AHEAD ? n - i : RECENT_AHEAD;

        for (size_t k = 0; k < n_ahead; k++) {
            const uint8_t *entry = entries + (i + k) * recent->entry_bytes;

            hashes[k] = recent_hash(entry, ambp_load_u32le(entry + 16));
            __builtin_prefetch(&recent->slots[hashes[k] & (recent->n_slots - 1)]);
        }
        for (size_t k = 0; k < n_ahead; k++) {
            recent_put(recent, entries + (i + k) * recent->entry_bytes, hashes[k]);
        }
    }
}

const uint8_t *amb_recent_peek(const struct amb_recent *recent, const struct amb_key *key) {
    size_t i_slot, i;

    if (recent->n_entries == 0) {
        return NULL;
    }
    i = recent_index(&i_slot, recent, key, recent_hash(key->uid, key->version));
    return i == SIZE_MAX ? NULL : recent_entry(recent, i);
}

size_t amb_recent_find(const uint8_t **out, size_t n_max, const struct amb_recent *recent, const uint8_t uid[16],
                       uint32_t version) {
    size_t i, n = 0;
    uint64_t hash;

    if (recent->n_entries == 0) {
        return 0;
    }
    hash = recent_hash(uid, version);
    for (i = (size_t)hash & (recent->n_slots - 1); recent->slots[i] != 0 && n < n_max;
         i = (i + 1) & (recent->n_slots - 1)) {
        const uint8_t *entry = recent_entry(recent, recent_entry_of(recent->slots[i]));

        if (recent->slots[i] >> 32 == hash && memcmp(entry, uid, 16) == 0 &&
            ambp_load_u32le(entry + 16) == version) {
            out[n++] = entry;
        }
    }
    return n;
}

struct recent_sorted {
    uint64_t word; /* the first bytes of the key: nearly always they decide, and no entry is looked at */
    uint32_t i;
};

static int recent_compare(const void *a, const void *b, void *opaque) {
    const struct recent_sorted *x = a, *y = b;
    const struct amb_recent *recent = opaque;
    struct amb_key keys[2];

    if (x->word != y->word) {
        return x->word < y->word ? -1 : 1;
    }
    keys[0] = amb_key_load(recent_entry(recent, x->i), recent->entry_bytes, recent->has_origin);
    keys[1] = amb_key_load(recent_entry(recent, y->i), recent->entry_bytes, recent->has_origin);
    return amb_key_compare(&keys[0], &keys[1]);
}

uint32_t *amb_recent_sort(const struct amb_recent *recent) {
    struct recent_sorted *sorted = amb_malloc((recent->n_entries + 1) * sizeof *sorted);
    uint32_t *order = amb_malloc((recent->n_entries + 1) * sizeof *order);

    if (sorted == NULL || order == NULL) {
        amb_free(sorted);
        amb_free(order);
        return NULL;
    }
    for (size_t i = 0; i < recent->n_entries; i++) {
        sorted[i] = (struct recent_sorted){__builtin_bswap64(ambp_load_u64le(recent_entry(recent, i))), (uint32_t)i};
    }
    qsort_r(sorted, recent->n_entries, sizeof *sorted, recent_compare, (void *)(uintptr_t)recent);
    for (size_t i = 0; i < recent->n_entries; i++) {
        order[i] = sorted[i].i;
    }
    amb_free(sorted);
    return order;
}
