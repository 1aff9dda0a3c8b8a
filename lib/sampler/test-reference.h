#pragma once
/* Test reference: the sampler of proto/sampler.md written slowly: sorted arrays, sums over all samples, no tables. */
#include "base/hash.h"
#include "base/philox.h"
#include "sampler/level.h"
#include "sampler/test-set.h"

struct ref_entry {
    uint32_t i_sample, i_source;
    double order; /* the list is sorted by it */
    int list;     /* 1 or 2 */
};

struct ref {
    const struct test_set *set;
    uint64_t seed;
    struct ref_entry *entries; /* source by source: list 1, then list 2 */
    size_t n_entries;
    double lo[64], last[64];
    uint32_t n_intervals;
    struct amb_cursor cursors[64];
    uint64_t n_walked;
    bool sparse;               /* the last draw was a sparse one */
};

static inline double ref_m(const struct ref *ref, uint32_t i_sample) {
    return (double)ref->set->annotations->values[i_sample].sigma_min * ref->set->buffer;
}

static inline double ref_max(const struct ref *ref, uint32_t i_sample) {
    return (double)ref->set->annotations->values[i_sample].sigma_max;
}

static inline uint64_t ref_weight(const struct ref *ref, uint32_t i_source) {
    return (uint64_t)(ref->set->sources[i_source].repeat * 1048576 + 0.5);
}

/* The entry admits some level of [lo, last] (a domain), or a single level (lo = last). */
static inline bool ref_entry_in(const struct ref_entry *entry, double lo, double last) {
    return entry->list == 1 ? last > entry->order : lo < -entry->order;
}

static inline int ref_compare(const void *a, const void *b) {
    const struct ref_entry *x = a, *y = b;

    if (x->i_source != y->i_source) {
        return x->i_source < y->i_source ? -1 : 1;
    }
    if (x->list != y->list) {
        return x->list < y->list ? -1 : 1;
    }
    if (x->order < y->order || x->order > y->order) {
        return x->order < y->order ? -1 : 1;
    }
    return x->i_sample < y->i_sample ? -1 : 1;
}

static inline void ref_push(struct ref *ref, uint32_t i_source, uint32_t i_sample, int list, double order) {
    ref->entries[ref->n_entries++] = (struct ref_entry){i_sample, i_source, order, list};
}

static inline uint64_t ref_sum(const struct ref *ref, double s, int list) {
    uint64_t sum = 0;

    for (size_t i = 0; i < ref->n_entries; i++) {
        if (ref->entries[i].list == list && ref_entry_in(&ref->entries[i], s, s)) {
            sum += ref_weight(ref, ref->entries[i].i_source);
        }
    }
    return sum;
}

/* Counts change only behind an m and at a sigma_max: the last level of an interval is one of those, or inf. */
static inline double ref_reach(const struct ref *ref, double lo) {
    uint64_t a = ref_sum(ref, lo, 1), b = ref_sum(ref, lo, 2);
    double best = lo;

    for (size_t i = 0; i <= ref->n_entries; i++) {
        double y = INFINITY;

        if (i < ref->n_entries) {
            y = ref->entries[i].list == 1 ? fmax(ref->entries[i].order, 0) : amb_level_below(-ref->entries[i].order);
        }
        if (y > best && ref_sum(ref, y, 1) + b <= 2 * (a + ref_sum(ref, y, 2))) {
            best = y;
        }
    }
    return best;
}

static inline void ref_init(struct ref *ref, const struct test_set *set, uint64_t seed) {
    double lo = 0;

    *ref = (struct ref){.set = set, .seed = seed};
    ref->entries = malloc(2 * set->annotations->n_samples * sizeof *ref->entries + 1);
    for (uint32_t j = 0; j < set->n_sources; j++) {
        for (uint32_t k = 0; k < set->sources[j].count; k++) {
            uint32_t i = set->sources[j].first + k;

            if (ref_max(ref, i) > ref_m(ref, i)) {
                ref_push(ref, j, i, 1, -1); /* admits every s */
                continue;
            }
            if (isfinite(ref_m(ref, i))) {
                ref_push(ref, j, i, 1, ref_m(ref, i));
            }
            if (ref_max(ref, i) > 0) {
                ref_push(ref, j, i, 2, -ref_max(ref, i));
            }
        }
    }
    qsort(ref->entries, ref->n_entries, sizeof *ref->entries, ref_compare);
    while (ref->n_intervals < 64) {
        uint32_t i = ref->n_intervals++;

        ref->lo[i] = lo;
        ref->last[i] = i == 63 ? INFINITY : ref_reach(ref, lo);
        if (isinf(ref->last[i])) {
            break;
        }
        lo = amb_level_above(ref->last[i]);
    }
}

static inline void ref_deinit(struct ref *ref) {
    free(ref->entries);
}

/* The bijection, with halves and rounds spelled out. */
static inline uint64_t ref_permute(uint64_t key, uint64_t n, uint64_t x) {
    unsigned bits = 0, rounds = n < 1024 ? 24 : 8;

    while (bits < 63 && (UINT64_C(1) << bits) < n) {
        bits++;
    }
    do {
        unsigned n_high = bits / 2, n_low = bits - n_high;
        uint64_t low = x % (UINT64_C(1) << n_low), high = x / (UINT64_C(1) << n_low);

        for (unsigned r = 0; r < rounds; r++) {
            struct amb_philox_block block = amb_philox(key, r / 2, 0);
            uint64_t round_key = amb_philox_u64(&block, r % 2), half = r % 2 == 0 ? low : high, f;

            f = (half ^ round_key) * UINT64_C(0x9E3779B97F4A7C15);
            f = (f ^ f / (UINT64_C(1) << 32)) * UINT64_C(0xD6E8FEB86659FD93) / (UINT64_C(1) << 32);
            if (r % 2 == 0) {
                high ^= f % (UINT64_C(1) << n_high);
            } else {
                low ^= f % (UINT64_C(1) << n_low);
            }
        }
        x = high * (UINT64_C(1) << n_low) + low;
    } while (x >= n);
    return x;
}

/* Places of an interval in order: (entry index) each. Returns their number; places may be NULL. */
static inline uint64_t ref_places(size_t *places, const struct ref *ref, uint32_t i_interval, uint64_t pass) {
    uint64_t n_places = 0;

    for (uint32_t j = 0; j < ref->set->n_sources; j++) {
        uint64_t weight = ref_weight(ref, j), n = 0, n_extra;
        size_t *domain = malloc((ref->n_entries + 1) * sizeof *domain);
        uint64_t words[] = {ref->seed, j, pass}, key = amb_hash_words("extra", words, 3);

        for (size_t e = 0; e < ref->n_entries; e++) {
            if (ref->entries[e].i_source == j &&
                ref_entry_in(&ref->entries[e], ref->lo[i_interval], ref->last[i_interval])) {
                domain[n++] = e;
            }
        }
        n_extra = (weight % 1048576 * n + 524288) / 1048576;
        for (uint64_t x = 0; x < weight / 1048576 * n + n_extra; x++, n_places++) {
            if (places != NULL) {
                places[n_places] = domain[x < weight / 1048576 * n ? x % n : ref_permute(key, n, x - weight / 1048576 * n)];
            }
        }
        free(domain);
    }
    return n_places;
}

static inline uint32_t ref_uniform(const struct ref *ref, uint64_t key, uint64_t block, uint64_t counter, double s) {
    struct amb_philox_block words = amb_philox(key, block, counter);
    uint64_t total = ref_sum(ref, s, 1) + ref_sum(ref, s, 2), r = 0;

    /* floor(U total / 2^128), 32 bits of U at a time from the lowest: carry is floor(U_low total / 2^32) */
    unsigned __int128 carry = 0;

    for (int i = 0; i < 4; i++) {
        carry = (carry + (unsigned __int128)words.w[i] * total) >> 32;
    }
    r = (uint64_t)carry;
    for (size_t e = 0; e < ref->n_entries; e++) {
        if (ref_entry_in(&ref->entries[e], s, s)) {
            uint64_t weight = ref_weight(ref, ref->entries[e].i_source);

            if (r < weight) {
                return ref->entries[e].i_sample;
            }
            r -= weight;
        }
    }
    return UINT32_MAX;
}

/* The next draw of `pass` at s; k for the sparse key. Rebuilds everything at each step: hours for large sets. */
static inline uint32_t ref_draw(struct ref *ref, double s, uint64_t k) {
    size_t *places = malloc((64 * ref->n_entries + 64) * sizeof *places);
    uint32_t i_interval = 0, found = UINT32_MAX;
    uint64_t n_places, built = UINT64_MAX;
    struct amb_cursor *cursor;

    while (i_interval + 1 < ref->n_intervals && ref->last[i_interval] < s) {
        i_interval++;
    }
    cursor = &ref->cursors[i_interval];
    n_places = ref_places(NULL, ref, i_interval, 0);
    for (int walked = 0; n_places > 0 && walked < 64 && found == UINT32_MAX; walked++) {
        const struct ref_entry *entry;
        uint32_t i;

        if (cursor->position == n_places) {
            cursor->pass++;
            cursor->position = 0;
        }
        if (built != cursor->pass) {
            ref_places(places, ref, i_interval, cursor->pass);
            built = cursor->pass;
        }
        uint64_t words[] = {ref->seed, i_interval, cursor->pass};

        entry = &ref->entries[places[ref_permute(amb_hash_words("pass", words, 3), n_places, cursor->position)]];
        i = entry->i_sample;
        cursor->position++;
        ref->n_walked++;
        if (!(entry->list == 2 && ref_m(ref, i) < ref->last[i_interval]) &&
            test_admits(ref->set->annotations->values[i], ref->set->buffer, s)) {
            found = i;
        }
    }
    ref->sparse = found == UINT32_MAX;
    if (ref->sparse) {
        found = ref_uniform(ref, amb_hash_words("sparse", &ref->seed, 1), 0, k, s);
    }
    free(places);
    return found;
}
