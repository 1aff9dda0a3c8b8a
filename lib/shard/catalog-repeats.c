/*
 * Catalog, repeated keys: keys whose hashes are equal are neighbours in the sorted lookup; only those are
 * compared. A run of equal hashes is sorted by key, so keys chosen to collide cost n log n, not n squared.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/size.h"
#include "shard/catalog-private.h"

int catalog_lookup_keys(struct amb_lookup *out, const struct amb_catalog *cat, struct amb_rest *rest, struct amb_error *err) {
    struct amb_lookup lookup;
    int r = amb_lookup_init(&lookup, cat->n_samples, err);

    if (r < 0) {
        return r;
    }
    for (uint32_t i = 0; i < cat->n_samples && r == 0; i++) {
        struct amb_sample_info info;

        amb_catalog_get(&info, cat, i);
        amb_lookup_push(&lookup, amb_lookup_hash(info.key, info.key_bytes), i);
        r = amb_rest_step(rest, err);
    }
    r = r < 0 ? r : amb_lookup_seal(&lookup, err);
    if (r < 0) {
        amb_lookup_deinit(&lookup);
        return r;
    }
    *out = lookup;
    return 0;
}

/* By source, key, number: of samples whose hashes are equal. */
static int key_compare(const void *a, const void *b, void *opaque) {
    const struct amb_catalog *cat = opaque;
    const uint32_t x = (uint32_t) * (const uint64_t *)a, y = (uint32_t) * (const uint64_t *)b;
    struct amb_sample_info p, q;
    int order;

    amb_catalog_get(&p, cat, x);
    amb_catalog_get(&q, cat, y);
    if (p.i_source != q.i_source) {
        return p.i_source < q.i_source ? -1 : 1;
    }
    order = memcmp(p.key, q.key, amb_size_min(p.key_bytes, q.key_bytes));
    if (order == 0) {
        order = (p.key_bytes > q.key_bytes) - (p.key_bytes < q.key_bytes);
    }
    return order != 0 ? order : (x > y) - (x < y);
}

static bool key_equal(const struct amb_catalog *cat, uint32_t a, uint32_t b) {
    struct amb_sample_info p, q;

    amb_catalog_get(&p, cat, a);
    amb_catalog_get(&q, cat, b);
    return p.i_source == q.i_source && p.key_bytes == q.key_bytes && memcmp(p.key, q.key, p.key_bytes) == 0;
}

/* Keys of a source that come again outside of key_scope_shard. */
struct repeats_refused {
    uint64_t n;
    uint32_t first, second; /* of those, the lowest second */
};

static void refused_tell(struct amb_error *why, const struct amb_catalog *cat, const struct repeats_refused *refused) {
    struct amb_sample_info p, q;

    amb_catalog_get(&p, cat, refused->first);
    amb_catalog_get(&q, cat, refused->second);
    amb_fail(
        why, AMB_ERR_DUPLICATE,
        "source '%s': key '%.*s' comes twice, in %s (sample %u) and %s (sample %u); %llu "
        "keys are repeated: give each sample a key of its own, put one of them into another source, or set "
        "key_scope: shard",
        cat->sources[p.i_source].name, (int)amb_size_min(p.key_bytes, 100), p.key,
        cat->shards[p.i_shard].shard->path, p.i_in_shard, cat->shards[q.i_shard].shard->path, q.i_in_shard,
        (unsigned long long)refused->n);
}

/* What a search for repeated keys found. */
struct repeats {
    struct amb_buf scoped;           /* u32 sample numbers under key_scope_shard */
    struct repeats_refused *refused; /* one for each source */
};

static int repeats_take_run(struct repeats *found, const struct amb_catalog *cat, uint64_t *run, uint32_t n) {
    qsort_r(run, n, sizeof *run, key_compare, (void *)(uintptr_t)cat);
    for (uint32_t i = 1; i < n; i++) {
        uint32_t before = (uint32_t)run[i - 1], sample = (uint32_t)run[i];
        struct amb_sample_info info;
        struct repeats_refused *refused;

        if (!key_equal(cat, before, sample)) {
            continue;
        }
        amb_catalog_get(&info, cat, sample);
        refused = &found->refused[info.i_source];
        if (cat->sources[info.i_source].key_scope_shard) {
            if (amb_buf_push(&found->scoped, &sample, sizeof sample) < 0) {
                return -ENOMEM;
            }
        } else if (refused->n++ == 0 || sample < refused->second) {
            refused->first = before;
            refused->second = sample;
        }
    }
    return 0;
}

static int u32_compare(const void *a, const void *b) {
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static int repeats_refuse(const struct repeats *found, const struct amb_catalog *cat,
                          const struct amb_catalog_options *options, struct amb_error *err) {
    bool wanted = true;
    int code = 0;

    for (size_t i = 0; i < cat->n_sources && wanted; i++) {
        struct amb_error why;

        if (found->refused[i].n != 0) {
            refused_tell(&why, cat, &found->refused[i]);
            wanted = catalog_object(&code, options, &why, err);
        }
    }
    return code;
}

static int facts_take_repeats(struct catalog_facts *facts, const struct repeats *found, struct amb_error *err) {
    facts->n_repeated = found->scoped.n_bytes / sizeof *facts->repeated;
    if (facts->n_repeated == 0) {
        return 0;
    }
    facts->repeated = amb_malloc(found->scoped.n_bytes);
    if (facts->repeated == NULL) {
        return amb_fail(err, -ENOMEM, "repeated keys: out of memory");
    }
    memcpy(facts->repeated, found->scoped.data, found->scoped.n_bytes);
    qsort(facts->repeated, facts->n_repeated, sizeof *facts->repeated, u32_compare);
    return 0;
}

int catalog_find_repeated(struct catalog_facts *facts, const struct amb_catalog *cat,
                          const struct amb_catalog_options *options, struct amb_rest *rest, struct amb_error *err) {
    AMB_CLEANUP(amb_lookup_deinit) struct amb_lookup lookup = AMB_LOOKUP_NULL;
    AMB_CLEANUP(amb_freep) struct repeats_refused *refused = amb_calloc(cat->n_sources, sizeof *refused);
    struct repeats found = {.refused = refused};
    int r = refused == NULL ? amb_fail(err, -ENOMEM, "repeated keys: out of memory")
                            : catalog_lookup_keys(&lookup, cat, rest, err);

    for (uint32_t i = 0; i < lookup.n && r == 0;) {
        uint32_t n = 1;

        while (i + n < lookup.n && lookup.entries[i + n] >> 32 == lookup.entries[i] >> 32) {
            n++;
        }
        if (n > 1 && repeats_take_run(&found, cat, lookup.entries + i, n) < 0) {
            r = amb_fail(err, -ENOMEM, "repeated keys: out of memory");
        }
        r = r < 0 ? r : amb_rest_step(rest, err);
        i += n;
    }
    r = r < 0 ? r : repeats_refuse(&found, cat, options, err);
    r = r < 0 ? r : facts_take_repeats(facts, &found, err);
    amb_buf_deinit(&found.scoped);
    return r;
}
