#pragma once
/* Catalog, private: what the files that make up the catalog share. Nobody else includes this. */
#include <pthread.h>
#include <stdatomic.h>

#include "shard/catalog.h"
#include "shard/lookup.h"
#include "shard/shard.h"

struct catalog_source {
    char *name; /* owned */
    double repeat;
    int64_t corruption_label;
    bool key_scope_shard, skip_bad_shards;
    uint32_t first, count;
    size_t first_shard, n_shards;
};

struct catalog_shard {
    struct amb_shard *shard; /* a reference: unchanged ones are shared with the catalog before */
    uint32_t i_source;
    uint32_t *excluded; /* owned; numbers in the shard, ascending */
    uint32_t n_excluded;
};

/* What is O(samples) to find out about the whole, cached as one file. */
struct catalog_facts {
    struct amb_hash128 digest;
    uint32_t *repeated; /* owned; sample numbers, ascending: keys that came before under key_scope_shard */
    uint64_t n_repeated;
    uint32_t (*excluded)[2]; /* owned; (shard, number in it), ascending */
    uint64_t n_excluded;
};

struct amb_catalog {
    _Atomic int n_refs;

    /* immutable after open */
    struct catalog_source *sources;
    size_t n_sources;
    struct catalog_shard *shards;
    uint32_t *firsts; /* first sample of each shard, and the end */
    size_t n_shards;
    uint32_t n_samples, label_width;
    size_t key_bytes_max;
    bool any_prefix;
    struct catalog_facts facts;

    /* guarded by lock until built, immutable then */
    pthread_mutex_t lock;
    bool has_lookups;
    struct amb_lookup by_key, by_base,
        by_path; /* by_base: empty if no key has a folder; by_path: no prefixes */
};

/* Shard and number in it of a sample. */
const struct catalog_shard *catalog_locate(size_t *i_shard, uint32_t *i_in_shard,
                                           const struct amb_catalog *cat, uint32_t i_sample);
/* Number the samples of all shards, excluded ones left out. AMB_ERR_LIMIT. */
int catalog_number(struct amb_catalog *cat, struct amb_error *err);

/* Index all paths by threads; shards[i] belongs to source i_source[i]. */
struct catalog_job {
    const char *path;
    struct amb_shard_options options;
    uint32_t i_source;
    bool skip_bad;
};
int catalog_index(struct amb_catalog *cat, const struct catalog_job *jobs, size_t n_jobs,
                  const struct amb_catalog_options *options, struct amb_catalog_report *report,
                  struct amb_error *err);

/* Something is wrong: the first sets *code and err. False: nobody wants to hear of more, so this ends open. */
bool catalog_object(int *code, const struct amb_catalog_options *options, const struct amb_error *why,
                    struct amb_error *err);

/* Excludes, numbering, repeated keys, digest: from the cache or by looking. No digest where labels do not agree. */
int catalog_facts_init(struct amb_catalog *cat, const struct amb_catalog_options *options, bool labels_agree,
                       struct amb_error *err);
void catalog_facts_deinit(struct catalog_facts *facts);

/* Repeated keys into facts; AMB_ERR_DUPLICATE outside key_scope_shard. The digest into facts. */
int catalog_find_repeated(struct catalog_facts *facts, const struct amb_catalog *cat,
                          const struct amb_catalog_options *options, struct amb_rest *rest, struct amb_error *err);
int catalog_find_digest(struct catalog_facts *facts, const struct amb_catalog *cat, struct amb_rest *rest,
                        struct amb_error *err);

/* All keys of the catalog, sealed. rest: a step for each; NULL ok. */
int catalog_lookup_keys(struct amb_lookup *out, const struct amb_catalog *cat, struct amb_rest *rest, struct amb_error *err);
