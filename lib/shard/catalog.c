/*
 * Catalog: opening, and what is asked of one sample.
 *
 * A sample number is a rank: shards in order, samples of a shard in its order, excluded ones left out.
 * Nothing is stored for a sample here: the shard's index has 16 bytes and the name, everything else is
 * derived at the call, the uid by hashing "source/key".
 */
#include "shard/catalog.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "shard/catalog-private.h"
#include "shard/pattern.h"
#include "shard/shelf.h"

static void catalog_free(struct amb_catalog *cat) {
    for (size_t i = 0; i < cat->n_shards; i++) {
        amb_shard_unref(cat->shards[i].shard);
        amb_free(cat->shards[i].excluded);
    }
    for (size_t i = 0; i < cat->n_sources; i++) {
        amb_free(cat->sources[i].name);
    }
    catalog_facts_deinit(&cat->facts);
    amb_lookup_deinit(&cat->by_key);
    amb_lookup_deinit(&cat->by_base);
    amb_lookup_deinit(&cat->by_path);
    pthread_mutex_destroy(&cat->lock);
    amb_free(cat->shards);
    amb_free(cat->firsts);
    amb_free(cat->sources);
    amb_free(cat);
}

struct amb_catalog *amb_catalog_ref(struct amb_catalog *cat) {
    atomic_fetch_add_explicit(&cat->n_refs, 1, memory_order_relaxed);
    return cat;
}

struct amb_catalog *amb_catalog_unref(struct amb_catalog *cat) {
    if (cat != NULL && atomic_fetch_sub_explicit(&cat->n_refs, 1, memory_order_acq_rel) == 1) {
        catalog_free(cat);
    }
    return NULL;
}

static void catalog_unrefp(struct amb_catalog **cat) {
    *cat = amb_catalog_unref(*cat);
}

static int source_check(const struct amb_source_options *source, struct amb_error *err) {
    size_t n = strlen(source->name);

    if (n == 0 || n > AMB_SOURCE_NAME_MAX || strchr(source->name, '/') != NULL) {
        return amb_fail(err, AMB_ERR_CONFIG, "source name '%.80s': allowed are 1 to %u bytes without '/'",
                        source->name, AMB_SOURCE_NAME_MAX);
    }
    if (!(source->repeat > 0) || isinf(source->repeat)) {
        return amb_fail(err, AMB_ERR_CONFIG, "source '%s': repeat is %g, it must be above 0 and finite",
                        source->name, source->repeat);
    }
    if (source->n_patterns == 0) {
        return amb_fail(err, AMB_ERR_CONFIG, "source '%s' names no shards", source->name);
    }
    return 0;
}

static int catalog_init_sources(struct amb_catalog *cat, const struct amb_source_options *sources, size_t n,
                                struct amb_error *err) {
    cat->sources = amb_calloc(n, sizeof *cat->sources);
    if (cat->sources == NULL) {
        return amb_fail(err, -ENOMEM, "catalog: out of memory");
    }
    for (size_t i = 0; i < n; i++) {
        struct catalog_source *source = &cat->sources[i];
        int r = source_check(&sources[i], err);

        if (r < 0) {
            return r;
        }
        for (size_t k = 0; k < i; k++) {
            if (strcmp(sources[k].name, sources[i].name) == 0) {
                return amb_fail(err, AMB_ERR_CONFIG, "two sources are called '%s'; names must differ",
                                sources[i].name);
            }
        }
        source->name = amb_strdup(sources[i].name);
        if (source->name == NULL) {
            return amb_fail(err, -ENOMEM, "catalog: out of memory");
        }
        cat->n_sources++;
        source->repeat = sources[i].repeat;
        source->corruption_label = sources[i].corruption_label;
        source->key_scope_shard = sources[i].key_scope_shard;
        source->skip_bad_shards = sources[i].skip_bad_shards;
        cat->any_prefix |= source->key_scope_shard;
    }
    return 0;
}

bool catalog_object(int *code, const struct amb_catalog_options *options, const struct amb_error *why,
                    struct amb_error *err) {
    *code = *code < 0 ? *code : amb_fail(err, why->code, "%s", why->message);
    if (options->problem != NULL) {
        options->problem(options->problem_opaque, why);
    }
    return options->problem != NULL;
}

/* All paths of all sources; counts[i] of them belong to source i. */
static int catalog_expand(struct amb_paths *paths, size_t *counts, const struct amb_source_options *sources,
                          size_t n, const struct amb_catalog_options *options, struct amb_error *err) {
    int code = 0;

    for (size_t i = 0; i < n; i++) {
        size_t before = paths->n;

        for (size_t k = 0; k < sources[i].n_patterns; k++) {
            struct amb_error why, told;
            int r = amb_paths_push_pattern(paths, sources[i].patterns[k], &why);

            if (r == 0) {
                continue;
            }
            amb_fail(&told, r, "source '%s': %s", sources[i].name, why.message);
            if (!catalog_object(&code, options, &told, err)) {
                return code;
            }
        }
        counts[i] = paths->n - before;
    }
    return code;
}

static struct catalog_job *catalog_list_jobs(const struct amb_paths *paths, const size_t *counts,
                                             const struct amb_source_options *sources, size_t n_sources,
                                             const struct amb_catalog_options *options) {
    struct catalog_job *jobs = amb_calloc(paths->n, sizeof *jobs);
    size_t i = 0;

    for (size_t s = 0; s < n_sources && jobs != NULL; s++) {
        for (size_t k = 0; k < counts[s]; k++, i++) {
            jobs[i] = (struct catalog_job){
                paths->items[i],
                {sources[s].format, sources[s].pread, sources[s].key_scope_shard, sources[s].label_key,
                 sources[s].corruption_key, options->cache_dir, NULL},
                (uint32_t)s,
                sources[s].skip_bad_shards,
            };
        }
    }
    return jobs;
}

/* The first shard whose labels are vectors; NULL: none has such. */
static const struct amb_shard *catalog_find_vectors(const struct amb_catalog *cat) {
    for (size_t i = 0; i < cat->n_shards; i++) {
        if (cat->shards[i].shard->index.label_width != 0) {
            return cat->shards[i].shard;
        }
    }
    return NULL;
}

/* Integers here and vectors there cannot be one field of a batch. */
static int catalog_join_labels(struct amb_catalog *cat, const struct amb_catalog_options *options, struct amb_error *err) {
    const struct amb_shard *with = catalog_find_vectors(cat);
    bool wanted = with != NULL;
    int code = 0;

    cat->label_width = with != NULL ? with->index.label_width : 0;
    for (size_t i = 0; i < cat->n_shards && wanted; i++) {
        const struct amb_shard *shard = cat->shards[i].shard;
        uint32_t width = shard->index.label_width;
        struct amb_error why;
        char text[24] = "integers";

        if (width == cat->label_width || (width == 0 && !shard->index.has_integers)) {
            continue;
        }
        if (width != 0) {
            snprintf(text, sizeof text, "of %u", width);
        }
        amb_fail(&why, AMB_ERR_FORMAT, "%s has labels of %u numbers, %s %s; all shards must agree", with->path,
                 cat->label_width, shard->path, text);
        wanted = catalog_object(&code, options, &why, err);
    }
    return code;
}

static void catalog_report(struct amb_catalog_report *report, const struct amb_catalog *cat) {
    report->n_samples = cat->n_samples;
    report->n_shards = cat->n_shards;
    report->n_excluded = cat->facts.n_excluded;
    report->n_repeated = cat->facts.n_repeated;
}

/* Files to be opened beside those that are open, if none of them has changed; what has is counted when it is opened. */
static size_t catalog_count_new(const struct amb_paths *paths, const struct amb_catalog *before) {
    size_t n_open = before != NULL ? before->n_shards : 0;

    return paths->n > n_open ? paths->n - n_open : 0;
}

static int catalog_check_sources(const struct amb_catalog *cat, const struct amb_catalog_options *options,
                                 struct amb_error *err) {
    bool wanted = true;
    int code = 0;

    for (size_t i = 0; i < cat->n_sources && wanted; i++) {
        struct amb_error why;

        if (cat->sources[i].count == 0) {
            amb_fail(&why, AMB_ERR_FORMAT, "source '%s' has no samples in its %zu shards (empty, left out, or excluded)",
                     cat->sources[i].name, cat->sources[i].n_shards);
            wanted = catalog_object(&code, options, &why, err);
        }
    }
    return code;
}

/* What good shards must be together. */
static int catalog_settle(struct amb_catalog *cat, const struct amb_catalog_options *options, struct amb_error *err) {
    int code = catalog_join_labels(cat, options, err), r;

    if (code < 0 && options->problem == NULL) {
        return code;
    }
    r = catalog_facts_init(cat, options, code == 0, code < 0 ? NULL : err);
    code = code < 0 ? code : r;
    if (r < 0 && (r != AMB_ERR_DUPLICATE || options->problem == NULL)) {
        return code; /* samples were not counted */
    }
    r = catalog_check_sources(cat, options, code < 0 ? NULL : err);
    return code < 0 ? code : r;
}

static int catalog_open(struct amb_catalog *cat, const struct amb_source_options *sources, size_t n_sources,
                        const struct amb_catalog_options *options, struct amb_catalog_report *report,
                        struct amb_error *err) {
    AMB_CLEANUP(amb_paths_deinit) struct amb_paths paths = AMB_PATHS_NULL;
    AMB_CLEANUP(amb_freep) struct catalog_job *jobs = NULL;
    AMB_CLEANUP(amb_freep) size_t *counts = amb_calloc(n_sources, sizeof *counts);
    int expanded = 0, r = counts == NULL ? amb_fail(err, -ENOMEM, "catalog: out of memory") : 0;

    r = r < 0 ? r : catalog_init_sources(cat, sources, n_sources, err);
    if (r == 0) {
        expanded = catalog_expand(&paths, counts, sources, n_sources, options, err);
        r = options->problem == NULL ? expanded : 0; /* else the shards that there are may be bad too */
    }
    r = r < 0 ? r : amb_map_allow_files(catalog_count_new(&paths, options->before), err);
    if (r == 0 && options->cache_dir != NULL) {
        r = amb_shelf_init(options->cache_dir, err);
    }
    if (r < 0) {
        return r;
    }
    jobs = catalog_list_jobs(&paths, counts, sources, n_sources, options);
    if (jobs == NULL && paths.n > 0) {
        return amb_fail(err, -ENOMEM, "catalog: out of memory");
    }
    r = paths.n > 0 ? catalog_index(cat, jobs, paths.n, options, report, expanded < 0 ? NULL : err) : 0;
    if (expanded < 0) {
        return expanded;
    }
    r = r < 0 ? r : catalog_settle(cat, options, err);
    catalog_report(report, cat);
    return r;
}

int amb_catalog_open(struct amb_catalog **out, const struct amb_source_options *sources, size_t n_sources,
                     const struct amb_catalog_options *options, struct amb_catalog_report *report,
                     struct amb_error *err) {
    static const struct amb_catalog_options defaults = {0};
    AMB_CLEANUP(catalog_unrefp) struct amb_catalog *cat = NULL;
    struct amb_catalog_report ignored;
    int r;

    assert(n_sources > 0);
    report = report == NULL ? &ignored : report;
    memset(report, 0, sizeof *report);
    cat = amb_calloc(1, sizeof *cat);
    if (cat == NULL) {
        return amb_fail(err, -ENOMEM, "catalog: out of memory");
    }
    cat->n_refs = 1;
    pthread_mutex_init(&cat->lock, NULL);
    r = catalog_open(cat, sources, n_sources, options == NULL ? &defaults : options, report, err);
    if (r < 0) {
        return r;
    }
    *out = amb_steal_ptr(cat);
    return 0;
}

int catalog_number(struct amb_catalog *cat, struct amb_error *err) {
    uint64_t n = 0;

    for (size_t i = 0; i < cat->n_sources; i++) {
        cat->sources[i].first = cat->sources[i].count = 0;
        cat->sources[i].n_shards = cat->sources[i].first_shard = 0;
    }
    for (size_t i = 0; i < cat->n_shards; i++) {
        const struct catalog_shard *shard = &cat->shards[i];
        struct catalog_source *source = &cat->sources[shard->i_source];
        uint32_t count = shard->shard->index.n_samples - shard->n_excluded;

        if (n + count > UINT32_MAX) {
            return amb_fail(err, AMB_ERR_LIMIT, "more than %u samples, at %s; use fewer shards", UINT32_MAX,
                            shard->shard->path);
        }
        if (source->n_shards == 0) {
            source->first = (uint32_t)n;
            source->first_shard = i;
        }
        cat->firsts[i] = (uint32_t)n;
        source->count += count;
        source->n_shards++;
        n += count;
    }
    cat->firsts[cat->n_shards] = (uint32_t)n;
    cat->n_samples = (uint32_t)n;
    return 0;
}

/* The k-th number that is not in the ascending list: the list's part before it is found by bisection. */
static uint32_t shard_skip_excluded(const struct catalog_shard *shard, uint32_t k) {
    uint32_t lo = 0, hi = shard->n_excluded;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;

        if (shard->excluded[mid] - mid <= k) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return k + lo;
}

const struct catalog_shard *catalog_locate(size_t *i_shard, uint32_t *i_in_shard,
                                           const struct amb_catalog *cat, uint32_t i_sample) {
    size_t lo = 0, hi = cat->n_shards;

    assert(i_sample < cat->n_samples);
    /* the last shard whose first sample is not behind: empty shards share theirs with the next one */
    while (hi - lo > 1) {
        size_t mid = lo + (hi - lo) / 2;

        if (cat->firsts[mid] <= i_sample) {
            lo = mid;
        } else {
            hi = mid;
        }
    }
    *i_shard = lo;
    *i_in_shard = shard_skip_excluded(&cat->shards[lo], i_sample - cat->firsts[lo]);
    return &cat->shards[lo];
}

uint32_t amb_catalog_count(const struct amb_catalog *cat) {
    return cat->n_samples;
}

size_t amb_catalog_count_sources(const struct amb_catalog *cat) {
    return cat->n_sources;
}

size_t amb_catalog_count_shards(const struct amb_catalog *cat) {
    return cat->n_shards;
}

const char *amb_catalog_source(const struct amb_catalog *cat, size_t i_source, uint32_t *first,
                               uint32_t *count, double *repeat) {
    const struct catalog_source *source = &cat->sources[i_source];

    assert(i_source < cat->n_sources);
    if (first != NULL) {
        *first = source->first;
    }
    if (count != NULL) {
        *count = source->count;
    }
    if (repeat != NULL) {
        *repeat = source->repeat;
    }
    return source->name;
}

const char *amb_catalog_shard(const struct amb_catalog *cat, size_t i_shard, enum amb_shard_format *format,
                              uint32_t *first, uint32_t *count) {
    const struct catalog_shard *shard = &cat->shards[i_shard];

    assert(i_shard < cat->n_shards);
    if (format != NULL) {
        *format = shard->shard->format;
    }
    if (first != NULL) {
        *first = cat->firsts[i_shard];
    }
    if (count != NULL) {
        *count = cat->firsts[i_shard + 1] - cat->firsts[i_shard];
    }
    return shard->shard->path;
}

void amb_catalog_get_shard(struct amb_shard_facts *out, const struct amb_catalog *cat, size_t i_shard) {
    const struct catalog_shard *shard = &cat->shards[i_shard];

    assert(i_shard < cat->n_shards);
    *out = (struct amb_shard_facts){
        .path = shard->shard->path,
        .i_source = shard->i_source,
        .n_samples = cat->firsts[i_shard + 1] - cat->firsts[i_shard],
        .bytes = shard->shard->key.identity.size,
        .mtime_ns = shard->shard->key.identity.mtime_ns,
    };
}

size_t amb_catalog_key_bytes_max(const struct amb_catalog *cat) {
    return cat->key_bytes_max;
}

uint32_t amb_catalog_label_width(const struct amb_catalog *cat) {
    return cat->label_width;
}

void amb_catalog_get(struct amb_sample_info *out, const struct amb_catalog *cat, uint32_t i_sample) {
    size_t i_shard;
    uint32_t i;
    const struct catalog_shard *shard = catalog_locate(&i_shard, &i, cat, i_sample);
    const struct amb_index *index = &shard->shard->index;
    int64_t corruption = amb_index_corruption(index, i, AMB_LABEL_NONE);

    out->i_source = shard->i_source;
    out->i_shard = (uint32_t)i_shard;
    out->i_in_shard = i;
    out->group = shard->i_source;
    out->key = amb_shard_key(shard->shard, i, &out->key_bytes);
    out->label = amb_index_label(index, i);
    out->corruption_label =
        corruption != AMB_LABEL_NONE ? corruption : cat->sources[shard->i_source].corruption_label;
    out->offset = amb_shard_offset(shard->shard, i);
    out->payload_bytes = amb_index_payload_bytes(index, i);
    out->checksum = amb_index_checksum(index, i);
}

struct amb_hash128 amb_catalog_uid(const struct amb_catalog *cat, uint32_t i_sample) {
    size_t i_shard, key_bytes;
    uint32_t i;
    const struct catalog_shard *shard = catalog_locate(&i_shard, &i, cat, i_sample);
    const char *key = amb_shard_key(shard->shard, i, &key_bytes);

    return amb_hash128_uid(cat->sources[shard->i_source].name, key, key_bytes);
}

void amb_catalog_get_label(float *out, const struct amb_catalog *cat, uint32_t i_sample) {
    size_t i_shard;
    uint32_t i;
    const struct catalog_shard *shard = catalog_locate(&i_shard, &i, cat, i_sample);

    if (shard->shard->index.label_width == 0) {
        memset(out, 0, cat->label_width * sizeof *out);
        return;
    }
    amb_index_vector(out, &shard->shard->index, i);
}

uint64_t amb_catalog_identity(const struct amb_catalog *cat, uint32_t i_sample) {
    size_t i_shard;
    uint32_t i;
    const struct catalog_shard *shard = catalog_locate(&i_shard, &i, cat, i_sample);

    return amb_shard_sample_identity(shard->shard, i);
}

struct amb_hash128 amb_catalog_digest(struct amb_catalog *cat) {
    return cat->facts.digest;
}

/* How many excluded ones lie before number i of the shard; *is_excluded: it is one itself. */
static uint32_t shard_count_excluded(bool *is_excluded, const struct catalog_shard *shard, uint32_t i) {
    uint32_t lo = 0, hi = shard->n_excluded;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;

        if (shard->excluded[mid] < i) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    *is_excluded = lo < shard->n_excluded && shard->excluded[lo] == i;
    return lo;
}

bool amb_catalog_translate(uint32_t *out, const struct amb_catalog *to, const struct amb_catalog *from,
                           uint32_t i_sample) {
    size_t i_shard, at;
    uint32_t i, n_before;
    const struct catalog_shard *shard = catalog_locate(&i_shard, &i, from, i_sample);
    const char *source = from->sources[shard->i_source].name;
    bool is_excluded;

    for (size_t k = 0; k < to->n_shards; k++) { /* from the same place on: most often it is there */
        at = (i_shard + k) % to->n_shards;
        if (to->shards[at].shard != shard->shard || strcmp(to->sources[to->shards[at].i_source].name, source) != 0) {
            continue;
        }
        n_before = shard_count_excluded(&is_excluded, &to->shards[at], i);
        *out = to->firsts[at] + i - n_before;
        return !is_excluded;
    }
    return false;
}

bool amb_catalog_same(const struct amb_catalog *a, const struct amb_catalog *b) {
    if (a->n_shards != b->n_shards || a->n_samples != b->n_samples) {
        return false;
    }
    for (size_t i = 0; i < a->n_shards; i++) {
        if (a->shards[i].shard != b->shards[i].shard || a->firsts[i] != b->firsts[i]) {
            return false;
        }
    }
    return true;
}
