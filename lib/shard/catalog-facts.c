/*
 * Catalog, facts: excludes, repeated keys and the digest. Each costs a look at every key (10^7 samples: some
 * seconds), so they are kept in one file of the index cache, named by everything they follow from: the
 * sources, the excludes, and the ordered identities of the shards.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/size.h"
#include "proto/wire.h"
#include "shard/catalog-private.h"
#include "shard/shelf.h"

/* File: magic 8, version u32, zero u32, XXH3-128 of the rest, name 16, digest 16, n_repeated u64, n_excluded
 * u64, then u32 each. */
#define FACTS_MAGIC        "AMBFACTS"
#define FACTS_VERSION      1u
#define FACTS_AT_SUMMED    32u
#define FACTS_HEADER_BYTES 80u

void catalog_facts_deinit(struct catalog_facts *facts) {
    amb_free(facts->repeated);
    amb_free(facts->excluded);
    *facts = (struct catalog_facts){0};
}

static void facts_push_u64(struct amb_hasher *hasher, uint64_t v) {
    uint8_t bytes[8];

    ambp_store_u64le(bytes, v);
    amb_hasher_push(hasher, bytes, sizeof bytes);
}

static void facts_push_text(struct amb_hasher *hasher, const char *text) {
    amb_hasher_push(hasher, text, strlen(text) + 1);
}

static void facts_hash_shard(struct amb_hasher *hasher, const struct catalog_shard *shard) {
    const struct amb_identity *id = &shard->shard->key.identity;
    const uint64_t words[] = {shard->i_source, id->dev, id->ino, id->size, id->mtime_ns, id->ctime_ns};

    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        facts_push_u64(hasher, words[i]);
    }
    amb_hasher_push(hasher, shard->shard->key.options.bytes, 16);
}

static int facts_name(struct amb_hash128 *out, const struct amb_catalog *cat,
                      const struct amb_catalog_options *options, struct amb_error *err) {
    struct amb_hasher *hasher = amb_hasher_new();

    if (hasher == NULL) {
        return amb_fail(err, -ENOMEM, "catalog: out of memory");
    }
    facts_push_text(hasher, FACTS_MAGIC);
    facts_push_u64(hasher, cat->n_sources);
    for (size_t i = 0; i < cat->n_sources; i++) {
        facts_push_text(hasher, cat->sources[i].name);
        facts_push_u64(hasher, (uint64_t)cat->sources[i].corruption_label);
        facts_push_u64(hasher, cat->sources[i].key_scope_shard);
    }
    facts_push_u64(hasher, cat->n_shards);
    for (size_t i = 0; i < cat->n_shards; i++) {
        facts_hash_shard(hasher, &cat->shards[i]);
    }
    facts_push_u64(hasher, options->n_excludes);
    for (size_t i = 0; i < options->n_excludes; i++) {
        facts_push_text(hasher, options->excludes[i]);
    }
    *out = amb_hasher_get(hasher);
    amb_hasher_free(hasher);
    return 0;
}

/* Excludes. */

static int hash_compare(const void *a, const void *b) {
    return memcmp(a, b, sizeof(struct amb_hash128));
}

/* uids of the excludes, sorted: "source/key" is just what a uid is the hash of. */
static struct amb_hash128 *excludes_hash(const struct amb_catalog_options *options) {
    struct amb_hash128 *uids = amb_malloc(options->n_excludes * sizeof *uids);

    for (size_t i = 0; uids != NULL && i < options->n_excludes; i++) {
        uids[i] = amb_hash128_encode(options->excludes[i], strlen(options->excludes[i]));
    }
    if (uids != NULL) {
        qsort(uids, options->n_excludes, sizeof *uids, hash_compare);
    }
    return uids;
}

static int facts_find_excluded(struct catalog_facts *facts, const struct amb_catalog *cat,
                               const struct amb_catalog_options *options, struct amb_rest *rest, struct amb_error *err) {
    AMB_CLEANUP(amb_freep) struct amb_hash128 *uids = NULL;
    AMB_CLEANUP(amb_buf_deinit) struct amb_buf found = AMB_BUF_NULL;

    if (options->n_excludes == 0) {
        return 0;
    }
    uids = excludes_hash(options);
    for (size_t s = 0; uids != NULL && s < cat->n_shards; s++) {
        const struct catalog_shard *shard = &cat->shards[s];

        for (uint32_t i = 0; i < shard->shard->index.n_samples; i++) {
            size_t bytes;
            const char *key = amb_shard_key(shard->shard, i, &bytes);
            struct amb_hash128 uid = amb_hash128_uid(cat->sources[shard->i_source].name, key, bytes);
            uint32_t pair[2] = {(uint32_t)s, i};
            int r = amb_rest_step(rest, err);

            if (r < 0) {
                return r;
            }
            if (bsearch(&uid, uids, options->n_excludes, sizeof *uids, hash_compare) != NULL &&
                amb_buf_push(&found, pair, sizeof pair) < 0) {
                return amb_fail(err, -ENOMEM, "excludes: out of memory");
            }
        }
    }
    facts->n_excluded = found.n_bytes / sizeof *facts->excluded;
    facts->excluded = amb_malloc(found.n_bytes);
    if (uids == NULL || facts->excluded == NULL) {
        return amb_fail(err, -ENOMEM, "excludes: out of memory");
    }
    if (found.n_bytes != 0) {
        memcpy(facts->excluded, found.data, found.n_bytes);
    }
    return 0;
}

/* Hand the pairs to their shards and number all samples anew. */
static int facts_apply_excluded(struct amb_catalog *cat, const struct catalog_facts *facts,
                                struct amb_error *err) {
    for (uint64_t from = 0; from < facts->n_excluded;) {
        uint32_t s = facts->excluded[from][0], n = 0;
        struct catalog_shard *shard;

        while (from + n < facts->n_excluded && facts->excluded[from + n][0] == s) {
            n++;
        }
        if (s >= cat->n_shards || n > cat->shards[s].shard->index.n_samples) {
            return amb_fail(err, AMB_ERR_FORMAT, "catalog cache: shard %u", s);
        }
        shard = &cat->shards[s];
        shard->excluded = amb_malloc(n * sizeof *shard->excluded);
        if (shard->excluded == NULL) {
            return amb_fail(err, -ENOMEM, "excludes: out of memory");
        }
        for (uint32_t i = 0; i < n; i++) {
            shard->excluded[i] = facts->excluded[from + i][1];
        }
        shard->n_excluded = n;
        from += n;
    }
    return catalog_number(cat, err);
}

/* Cache file. */

static int facts_decode(struct catalog_facts *out, const uint8_t *image, size_t bytes,
                        const struct amb_hash128 *name) {
    struct catalog_facts facts = {0};
    struct amb_hash128 sum;
    const uint8_t *p = image + FACTS_HEADER_BYTES;
    size_t wanted;

    if (bytes < FACTS_HEADER_BYTES || memcmp(image, FACTS_MAGIC, 8) != 0 ||
        ambp_load_u32le(image + 8) != FACTS_VERSION ||
        memcmp(image + FACTS_AT_SUMMED, name->bytes, 16) != 0) {
        return AMB_ERR_FORMAT;
    }
    sum = amb_hash128_encode(image + FACTS_AT_SUMMED, bytes - FACTS_AT_SUMMED);
    facts.n_repeated = ambp_load_u64le(image + 64);
    facts.n_excluded = ambp_load_u64le(image + 72);
    wanted = FACTS_HEADER_BYTES + (size_t)facts.n_repeated * 4 + (size_t)facts.n_excluded * 8;
    if (memcmp(sum.bytes, image + 16, 16) != 0 || facts.n_repeated > UINT32_MAX ||
        facts.n_excluded > UINT32_MAX || wanted != bytes) {
        return AMB_ERR_CHECKSUM;
    }
    memcpy(facts.digest.bytes, image + 48, 16);
    facts.repeated = amb_malloc(facts.n_repeated * 4);
    facts.excluded = amb_malloc(facts.n_excluded * 8);
    if (facts.repeated == NULL || facts.excluded == NULL) {
        catalog_facts_deinit(&facts);
        return -ENOMEM;
    }
    for (uint64_t i = 0; i < facts.n_repeated; i++, p += 4) {
        facts.repeated[i] = ambp_load_u32le(p);
    }
    for (uint64_t i = 0; i < facts.n_excluded; i++, p += 8) {
        facts.excluded[i][0] = ambp_load_u32le(p);
        facts.excluded[i][1] = ambp_load_u32le(p + 4);
    }
    *out = facts;
    return 0;
}

static int facts_load(struct catalog_facts *out, const char *dir, const struct amb_hash128 *name) {
    uint8_t *image;
    size_t bytes;
    int r = amb_shelf_load(&image, &bytes, dir, name);

    if (r == 0) {
        r = facts_decode(out, image, bytes, name);
        munmap(image, bytes);
    }
    return r;
}

/* Without a file the next start looks again; nothing else is lost. */
static void facts_store(const struct catalog_facts *facts, const char *dir, const struct amb_hash128 *name) {
    size_t bytes = FACTS_HEADER_BYTES + (size_t)facts->n_repeated * 4 + (size_t)facts->n_excluded * 8;
    AMB_CLEANUP(amb_freep) uint8_t *image = amb_calloc(1, bytes);
    struct amb_hash128 sum;
    uint8_t *p;

    if (image == NULL) {
        return;
    }
    memcpy(image, FACTS_MAGIC, 8);
    ambp_store_u32le(image + 8, FACTS_VERSION);
    memcpy(image + FACTS_AT_SUMMED, name->bytes, 16);
    memcpy(image + 48, facts->digest.bytes, 16);
    ambp_store_u64le(image + 64, facts->n_repeated);
    ambp_store_u64le(image + 72, facts->n_excluded);
    p = image + FACTS_HEADER_BYTES;
    for (uint64_t i = 0; i < facts->n_repeated; i++, p += 4) {
        ambp_store_u32le(p, facts->repeated[i]);
    }
    for (uint64_t i = 0; i < facts->n_excluded; i++, p += 8) {
        ambp_store_u32le(p, facts->excluded[i][0]);
        ambp_store_u32le(p + 4, facts->excluded[i][1]);
    }
    sum = amb_hash128_encode(image + FACTS_AT_SUMMED, bytes - FACTS_AT_SUMMED);
    memcpy(image + 16, sum.bytes, 16);
    amb_shelf_put(dir, name, image, bytes, NULL);
}

/* A shard that was written a moment ago has no index on disk, and must leave none of its facts there either.
 */
static bool facts_may_store(const struct amb_catalog *cat) {
    for (size_t i = 0; i < cat->n_shards; i++) {
        if (!cat->shards[i].shard->index.is_mapped) {
            return false;
        }
    }
    return true;
}

int catalog_facts_init(struct amb_catalog *cat, const struct amb_catalog_options *options, bool labels_agree,
                       struct amb_error *err) {
    struct amb_rest mine, *rest = options->rest != NULL ? &mine : NULL;
    struct amb_hash128 name;
    int r = facts_name(&name, cat, options, err);

    if (r < 0) {
        return r;
    }
    if (options->cache_dir != NULL && facts_load(&cat->facts, options->cache_dir, &name) == 0) {
        return facts_apply_excluded(cat, &cat->facts, err);
    }
    amb_rest_init(&mine, options->rest, options->rest_opaque);
    r = facts_find_excluded(&cat->facts, cat, options, rest, err);
    if (r == 0) {
        r = facts_apply_excluded(cat, &cat->facts, err);
    }
    if (r == 0) {
        r = catalog_find_repeated(&cat->facts, cat, options, rest, err);
    }
    if (r < 0 || !labels_agree) {
        return r; /* vectors of the wrong width have no digest */
    }
    r = catalog_find_digest(&cat->facts, cat, rest, err);
    if (r == 0 && options->cache_dir != NULL && facts_may_store(cat)) {
        facts_store(&cat->facts, options->cache_dir, &name);
    }
    return r;
}
