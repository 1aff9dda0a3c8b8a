/*
 * Lookup: a sorted array instead of a hash table: half the memory, built by four streaming passes, and equal
 * keys end up as neighbours, which is what the search for repeated keys wants. Whoever uses it compares the
 * names.
 */
#include "shard/lookup.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "proto/wire.h"

#define LOOKUP_BITS_MAX 16u /* buckets of 256 KiB: they stay in the second-level cache */

uint32_t amb_lookup_hash(const char *name, size_t bytes) {
    struct amb_hash128 h = amb_hash128_encode(name, bytes);

    return ambp_load_u32le(h.bytes);
}

int amb_lookup_init(struct amb_lookup *lookup, uint32_t capacity, struct amb_error *err) {
    *lookup = AMB_LOOKUP_NULL;
    lookup->entries = amb_malloc((size_t)capacity * sizeof *lookup->entries);
    if (lookup->entries == NULL) {
        return amb_fail(err, -ENOMEM, "no memory to look up %u keys", capacity);
    }
    lookup->capacity = capacity;
    return 0;
}

void amb_lookup_deinit(struct amb_lookup *lookup) {
    amb_free(lookup->entries);
    amb_free(lookup->buckets);
    *lookup = AMB_LOOKUP_NULL;
}

void amb_lookup_push(struct amb_lookup *lookup, uint32_t hash, uint32_t i_sample) {
    assert(lookup->n < lookup->capacity);
    lookup->entries[lookup->n++] = (uint64_t)hash << 32 | i_sample;
}

/* One stable pass of a radix sort by the byte at `shift`. */
static void lookup_pass(uint64_t *to, const uint64_t *from, uint32_t n, unsigned shift) {
    uint32_t at[256] = {0}, sum = 0;

    for (uint32_t i = 0; i < n; i++) {
        at[from[i] >> shift & 0xFF]++;
    }
    for (size_t b = 0; b < 256; b++) {
        uint32_t count = at[b];

        at[b] = sum;
        sum += count;
    }
    for (uint32_t i = 0; i < n; i++) {
        to[at[from[i] >> shift & 0xFF]++] = from[i];
    }
}

static int lookup_sort(struct amb_lookup *lookup, struct amb_error *err) {
    uint64_t *from = lookup->entries, *to = amb_malloc((size_t)lookup->n * sizeof *to);

    if (to == NULL) {
        return amb_fail(err, -ENOMEM, "no memory to sort %u keys", lookup->n);
    }
    for (unsigned shift = 32; shift < 64; shift += 8) {
        uint64_t *swap = from;

        lookup_pass(to, from, lookup->n, shift);
        from = to;
        to = swap;
    }
    amb_free(to); /* an even number of passes: the result is where it began */
    return 0;
}

int amb_lookup_seal(struct amb_lookup *lookup, struct amb_error *err) {
    size_t n_buckets;
    uint32_t i = 0;
    int r = lookup_sort(lookup, err);

    if (r < 0) {
        return r;
    }
    while (lookup->bits < LOOKUP_BITS_MAX && lookup->n >> lookup->bits > 4) {
        lookup->bits++;
    }
    n_buckets = (size_t)1 << lookup->bits;
    lookup->buckets = amb_malloc((n_buckets + 1) * sizeof *lookup->buckets);
    if (lookup->buckets == NULL) {
        return amb_fail(err, -ENOMEM, "no memory to look up %u keys", lookup->n);
    }
    for (size_t b = 0; b <= n_buckets; b++) {
        while (i < lookup->n && lookup->entries[i] >> 32 < (uint64_t)b << (32 - lookup->bits)) {
            i++;
        }
        lookup->buckets[b] = i;
    }
    return 0;
}

uint32_t amb_lookup_get(uint32_t *first, const struct amb_lookup *lookup, uint32_t hash) {
    size_t bucket = (uint64_t)hash << lookup->bits >> 32;
    uint32_t lo = lookup->buckets[bucket], hi = lookup->buckets[bucket + 1], end = hi;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;

        if (lookup->entries[mid] >> 32 < hash) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    *first = lo;
    while (hi < end && lookup->entries[hi] >> 32 == hash) {
        hi++;
    }
    return hi;
}
