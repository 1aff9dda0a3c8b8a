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

static size_t recent_slot(const struct amb_recent *recent, const uint8_t uid[16], uint32_t version) {
    struct amb_hash128 hash;

    memcpy(hash.bytes, uid, sizeof hash.bytes);
    return (size_t)amb_hash_uid_version(&hash, version) & (recent->n_slots - 1);
}

static void recent_link(struct amb_recent *recent, size_t i_entry) {
    const uint8_t *entry = recent_entry(recent, i_entry);
    size_t slot = recent_slot(recent, entry, ambp_load_u32le(entry + 16));

    while (recent->slots[slot] != 0) {
        slot = (slot + 1) & (recent->n_slots - 1);
    }
    recent->slots[slot] = (uint32_t)i_entry + 1;
}

static int recent_grow_slots(struct amb_recent *recent, size_t n) {
    size_t n_slots = recent->n_slots != 0 ? recent->n_slots : RECENT_SLOTS_MIN;
    uint32_t *slots;

    while (n > n_slots / 2) {
        n_slots *= 2;
    }
    if (n_slots == recent->n_slots) {
        return 0;
    }
    slots = amb_calloc(n_slots, sizeof *slots);
    if (slots == NULL) {
        return -ENOMEM;
    }
    amb_free(recent->slots);
    recent->slots = slots;
    recent->n_slots = n_slots;
    for (size_t i = 0; i < recent->n_entries; i++) {
        recent_link(recent, i);
    }
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

/* The number of the entry of this key, or SIZE_MAX. */
static size_t recent_index(const struct amb_recent *recent, const struct amb_key *key) {
    if (recent->n_entries == 0) {
        return SIZE_MAX;
    }
    for (size_t slot = recent_slot(recent, key->uid, key->version); recent->slots[slot] != 0;
         slot = (slot + 1) & (recent->n_slots - 1)) {
        size_t i = recent->slots[slot] - 1;
        struct amb_key here = amb_key_load(recent_entry(recent, i), recent->entry_bytes, recent->has_origin);

        if (amb_key_compare(&here, key) == 0) {
            return i;
        }
    }
    return SIZE_MAX;
}

void amb_recent_put(struct amb_recent *recent, const uint8_t *entry) {
    struct amb_key key = amb_key_load(entry, recent->entry_bytes, recent->has_origin);
    size_t i = recent_index(recent, &key);

    if (i != SIZE_MAX) {
        memcpy(recent_entry(recent, i), entry, recent->entry_bytes);
        return;
    }
    assert(recent->n_entries < recent->capacity);
    memcpy(recent_entry(recent, recent->n_entries), entry, recent->entry_bytes);
    recent_link(recent, recent->n_entries);
    recent->n_entries++;
}

const uint8_t *amb_recent_peek(const struct amb_recent *recent, const struct amb_key *key) {
    size_t i = recent_index(recent, key);

    return i == SIZE_MAX ? NULL : recent_entry(recent, i);
}

size_t amb_recent_find(const uint8_t **out, size_t n_max, const struct amb_recent *recent, const uint8_t uid[16],
                       uint32_t version) {
    size_t n = 0;

    if (recent->n_entries == 0) {
        return 0;
    }
    for (size_t slot = recent_slot(recent, uid, version); recent->slots[slot] != 0 && n < n_max;
         slot = (slot + 1) & (recent->n_slots - 1)) {
        const uint8_t *entry = recent_entry(recent, recent->slots[slot] - 1);

        if (memcmp(entry, uid, 16) == 0 && ambp_load_u32le(entry + 16) == version) {
            out[n++] = entry;
        }
    }
    return n;
}

static int recent_compare(const void *a, const void *b, void *opaque) {
    const struct amb_recent *recent = opaque;
    struct amb_key keys[2];

    keys[0] = amb_key_load(recent_entry(recent, *(const uint32_t *)a), recent->entry_bytes, recent->has_origin);
    keys[1] = amb_key_load(recent_entry(recent, *(const uint32_t *)b), recent->entry_bytes, recent->has_origin);
    return amb_key_compare(&keys[0], &keys[1]);
}

uint32_t *amb_recent_sort(const struct amb_recent *recent) {
    uint32_t *order = amb_malloc((recent->n_entries + 1) * sizeof *order);

    if (order != NULL) {
        for (size_t i = 0; i < recent->n_entries; i++) {
            order[i] = (uint32_t)i;
        }
        qsort_r(order, recent->n_entries, sizeof *order, recent_compare, (void *)(uintptr_t)recent);
    }
    return order;
}
