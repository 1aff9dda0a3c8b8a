/*
 * Dataset: opened once at start; afterwards shards never change, annotations move by generations.
 *
 * The ledger belongs to the clerk's desk; what leaves it is an immutable generation, which belongs to the
 * loop. A generation that nobody pins stays for a while (limits.generations_kept), so that the state of a
 * stream that died can name it.
 *
 * Not here: shape and fingerprint (dataset-shape.c).
 */
#include "daemon/dataset.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "daemon/dataset-shape.h"
#include "daemon/dataset-store.h"
#include "daemon/log.h"

static int dataset_open_catalog(struct ambd_dataset *dataset, const char *cache_dir,
                                amb_catalog_progress progress, void *opaque, struct amb_error *err) {
    const struct ambd_dataset_config *config = dataset->config;
    AMB_CLEANUP(amb_freep)
    struct amb_source_options *sources = amb_calloc(config->n_sources, sizeof *sources);
    struct amb_catalog_options options = {
        .cache_dir = cache_dir,
        .excludes = config->excludes,
        .n_excludes = config->n_excludes,
        .progress = progress,
        .opaque = opaque,
    };

    if (sources == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for %zu sources", config->n_sources);
    }
    for (size_t i = 0; i < config->n_sources; i++) {
        sources[i] = config->sources[i].options;
    }
    return amb_catalog_open(&dataset->fill.catalog, sources, config->n_sources, &options, &dataset->report,
                            err);
}

/* Shards come in the order of their sources, so one walk counts them; a shard without samples is the last
 * source's. */
static void dataset_count_shards(struct ambd_dataset *dataset) {
    size_t n = amb_catalog_count_shards(dataset->fill.catalog), i_source = 0;

    for (size_t i = 0; i < n; i++) {
        uint32_t first, count;

        amb_catalog_shard(dataset->fill.catalog, i, NULL, &first, &count);
        while (count > 0 && i_source + 1 < dataset->n_sources &&
               first >= dataset->sources[i_source].first + dataset->sources[i_source].count) {
            i_source++;
        }
        dataset->n_shards[i_source]++;
    }
}

static int dataset_get_sources(struct ambd_dataset *dataset, struct amb_error *err) {
    dataset->n_sources = amb_catalog_count_sources(dataset->fill.catalog);
    dataset->sources = amb_calloc(dataset->n_sources, sizeof *dataset->sources);
    dataset->n_shards = amb_calloc(dataset->n_sources, sizeof *dataset->n_shards);
    if (dataset->sources == NULL || dataset->n_shards == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for %zu sources", dataset->n_sources);
    }
    for (size_t i = 0; i < dataset->n_sources; i++) {
        struct amb_orders_source *source = &dataset->sources[i];

        amb_catalog_source(dataset->fill.catalog, i, &source->first, &source->count, &source->repeat);
    }
    dataset_count_shards(dataset);
    return 0;
}

/* A ledger of the defaults, the configuration's entries, the store up to a sequence and the imported files. */
static int dataset_read_annotations(struct amb_ledger **out, struct ambd_reports *reports, uint64_t *n_later,
                                    struct ambd_dataset *dataset, uint64_t last_sequence, struct amb_error *err) {
    const struct ambd_dataset_config *config = dataset->config;
    AMB_CLEANUP(amb_freep) struct amb_annotation *defaults = amb_calloc(config->n_sources, sizeof *defaults);
    AMB_CLEANUP(amb_freep) struct amb_import_report *report = amb_calloc(1, sizeof *report);
    struct amb_import_options options = AMB_IMPORT_OPTIONS_DEFAULT;
    struct amb_ledger *ledger = NULL;
    int r;

    if (defaults == NULL || report == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for annotations");
    }
    for (size_t i = 0; i < config->n_sources; i++) {
        defaults[i] = config->sources[i].default_annotation;
    }
    r = amb_ledger_new(&ledger, dataset->fill.catalog, defaults, err);
    r = r < 0 ? r : ambd_annotator_apply(reports, ledger, dataset->fill.catalog, config->annotations, err);
    if (r == 0) {
        ambd_dataset_replay(ledger, n_later, dataset, last_sequence);
    }
    for (size_t i = 0; r == 0 && i < dataset->n_imports; i++) {
        r = amb_import_jsonl(report, ledger, dataset->imports[i], &options, err);
    }
    if (r < 0) {
        amb_ledger_free(ledger);
        return r;
    }
    *out = ledger;
    return 0;
}

/* A store that takes no record (a full disk) is told of and does not keep the dataset from being served. */
static void dataset_tell_unrecorded(const struct ambd_dataset *dataset, uint64_t number, const struct amb_error *why) {
    ambd_log(AMBD_WARN, "store.unrecorded dataset=%s generation=%llu code=%s reason=\"%s\"", dataset->name,
             (unsigned long long)number, amb_error_name(why->code), why->message);
}

/* The generation that was served last, where shards and configuration say the same as then; else the next one. */
static int dataset_mint_first(bool *restored, struct ambd_dataset *dataset, struct amb_error *err) {
    const struct amb_store_generation *last = ambd_dataset_last_generation(dataset);
    struct amb_error why = AMB_ERROR_NULL;
    int r = ambd_generation_new(&dataset->current, dataset->ledger, last != NULL ? last->number : 1, err);

    if (r < 0) {
        return r;
    }
    *restored = last != NULL && amb_hash128_equal(&last->dataset, &dataset->fingerprint) &&
                amb_hash128_equal(&last->annotations, &dataset->current->annotations->fingerprint);
    if (last != NULL && !*restored) {
        dataset->current->number++;
        dataset->current->annotations->number++;
    }
    if (!*restored && ambd_dataset_keep_generation(dataset, NULL, dataset->current->annotations, &why) < 0) {
        dataset_tell_unrecorded(dataset, dataset->current->number, &why);
    }
    dataset->oldest = dataset->current;
    dataset->last = amb_annotations_ref(dataset->current->annotations);
    dataset->last_number = dataset->current->number;
    dataset->last_fingerprint = dataset->current->annotations->fingerprint;
    ambd_shelf_keep(&dataset->shelf, dataset->current->annotations);
    return 0;
}

/* What came after the last generation that was recorded, where there is something. */
static int dataset_mint_rest(struct ambd_dataset *dataset, struct amb_error *err) {
    struct ambd_reports reports = {0};
    struct amb_ledger *ledger = NULL;
    struct ambd_minted minted = {0};
    struct amb_error why = AMB_ERROR_NULL;
    uint64_t n_later;
    int r = dataset_read_annotations(&ledger, &reports, &n_later, dataset, UINT64_MAX, err);

    ambd_reports_deinit(&reports);
    if (r < 0) {
        return r;
    }
    amb_ledger_free(dataset->ledger);
    dataset->ledger = ledger;
    if (ambd_dataset_mint(&minted, dataset, &why) < 0) {
        dataset->unminted = true;
        dataset_tell_unrecorded(dataset, dataset->last_number + 1, &why);
    }
    ambd_dataset_adopt(dataset, &minted, UINT64_MAX);
    return 0;
}

static int dataset_open_annotations(struct ambd_dataset *dataset, const char *state_dir, struct amb_error *err) {
    const struct amb_store_generation *last;
    uint64_t n_later = 0;
    bool restored = false;
    int r = ambd_dataset_open_store(dataset, state_dir, err);

    if (r < 0) {
        return r;
    }
    last = ambd_dataset_last_generation(dataset);
    r = dataset_read_annotations(&dataset->ledger, &dataset->reports, &n_later, dataset,
                                 last != NULL ? last->last_sequence : UINT64_MAX, err);
    r = r < 0 ? r : dataset_mint_first(&restored, dataset, err);
    return r < 0 || n_later == 0 ? r : dataset_mint_rest(dataset, err);
}

static int dataset_build(struct ambd_dataset *dataset, const char *state_dir, const char *cache_dir,
                         const struct amb_codec_limits *limits, amb_catalog_progress progress, void *opaque,
                         struct amb_error *err) {
    int r = dataset_open_catalog(dataset, cache_dir, progress, opaque, err);

    r = r < 0 ? r : dataset_get_sources(dataset, err);
    r = r < 0 ? r : ambd_dataset_shape_get(&dataset->fill, dataset->config, limits, err);
    r = r < 0 ? r
              : amb_quarantine_new(&dataset->fill.quarantine, amb_catalog_count(dataset->fill.catalog), err);
    r = r < 0 ? r : ambd_dataset_fingerprint_get(&dataset->fingerprint, &dataset->fill, dataset->config, err);
    return r < 0 ? r : dataset_open_annotations(dataset, state_dir, err);
}

int ambd_dataset_open(struct ambd_dataset **out, const struct ambd_dataset_config *config,
                      const char *state_dir, uint64_t keep_generations_s, const char *cache_dir,
                      const struct amb_codec_limits *limits, struct amb_cache *cache, amb_catalog_progress progress,
                      void *opaque, struct amb_error *err) {
    struct ambd_dataset *dataset = amb_calloc(1, sizeof *dataset);
    int r;

    if (dataset == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for a dataset");
    }
    dataset->name = config->name;
    dataset->config = config;
    dataset->number = 1;
    dataset->keep_generations_s = keep_generations_s;
    dataset->fill.cache = cache;
    ambd_shelf_init(&dataset->shelf);
    r = dataset_build(dataset, state_dir, cache_dir, limits, progress, opaque, err);
    if (r < 0) {
        ambd_dataset_close(dataset);
        return r;
    }
    *out = dataset;
    return 0;
}

struct ambd_dataset *ambd_dataset_close(struct ambd_dataset *dataset) {
    if (dataset == NULL) {
        return NULL;
    }
    ambd_shelf_deinit(&dataset->shelf);
    while (dataset->oldest != NULL) {
        struct ambd_generation *newer = dataset->oldest->newer;

        ambd_generation_free(dataset->oldest);
        dataset->oldest = newer;
    }
    for (size_t i = 0; i < dataset->n_imports; i++) {
        amb_free(dataset->imports[i]);
    }
    amb_free(dataset->imports);
    ambd_reports_deinit(&dataset->reports);
    amb_ledger_free(dataset->ledger);
    amb_annotations_unref(dataset->last);
    amb_store_close(dataset->store);
    amb_free(dataset->store_path);
    amb_quarantine_free(dataset->fill.quarantine);
    amb_free(dataset->n_shards);
    amb_free(dataset->sources);
    amb_catalog_unref(dataset->fill.catalog);
    amb_free(dataset);
    return NULL;
}

int ambd_dataset_mint(struct ambd_minted *out, struct ambd_dataset *dataset, struct amb_error *err) {
    struct ambd_generation *generation = NULL;
    int r = ambd_generation_new(&generation, dataset->ledger, dataset->last_number + 1, err);

    if (r < 0) {
        return r;
    }
    if (amb_hash128_equal(&generation->annotations->fingerprint, &dataset->last_fingerprint)) {
        ambd_generation_free(generation);
        dataset->unminted = false;
        return 0;
    }
    r = ambd_dataset_keep_generation(dataset, dataset->last, generation->annotations, err);
    if (r < 0) {
        ambd_generation_free(generation);
        return r;
    }
    amb_annotations_unref(dataset->last);
    dataset->last = amb_annotations_ref(generation->annotations);
    dataset->last_number++;
    dataset->last_fingerprint = generation->annotations->fingerprint;
    dataset->unminted = false;
    out->generation = generation;
    ambd_dataset_tidy(dataset);
    return 0;
}

static int dataset_remember(struct ambd_dataset *dataset, const char *path, struct amb_error *err) {
    char **imports = amb_realloc(dataset->imports, (dataset->n_imports + 1) * sizeof *imports);

    if (imports == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for a path");
    }
    dataset->imports = imports;
    imports[dataset->n_imports] = amb_strdup(path);
    if (imports[dataset->n_imports] == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for a path");
    }
    dataset->n_imports++;
    return 0;
}

/* What an import puts, for the store. */
struct import_tap {
    struct ambd_dataset *dataset;
    struct amb_buf records; /* of struct amb_store_record */
    int code;
};

static void import_tap_push(void *opaque, uint32_t i_sample, enum amb_origin origin, enum amb_side sides,
                            struct amb_annotation value) {
    struct import_tap *tap = opaque;
    struct amb_store_record record = {
        .uid = amb_catalog_uid(tap->dataset->fill.catalog, i_sample),
        .origin = origin,
        .sides = sides,
        .sigma_min = (sides & AMB_SIDE_MIN) != 0 ? value.sigma_min : 0,
        .sigma_max = (sides & AMB_SIDE_MAX) != 0 ? value.sigma_max : 0,
    };

    tap->code = tap->code < 0 ? tap->code : amb_buf_push(&tap->records, &record, sizeof record);
}

/* A later import that sets one side replaces the record of an earlier one: the other side goes with it. */
static int dataset_import_durably(struct amb_import_report *report, struct ambd_dataset *dataset, const char *path,
                                  struct amb_error *err) {
    const struct amb_import_options options = AMB_IMPORT_OPTIONS_DEFAULT;
    struct import_tap tap = {.dataset = dataset, .records = AMB_BUF_NULL};
    struct ambd_reports reports = {0};
    struct amb_ledger *ledger = NULL;
    uint64_t n_later;
    int r;

    amb_ledger_set_tap(dataset->ledger, import_tap_push, &tap);
    r = amb_import_jsonl(report, dataset->ledger, path, &options, err);
    amb_ledger_set_tap(dataset->ledger, NULL, NULL);
    r = r == 0 && tap.code < 0 ? amb_fail(err, tap.code, "no memory for the records of %s", path) : r;
    if (r == 0) {
        r = ambd_dataset_keep_import(dataset, (const struct amb_store_record *)(const void *)tap.records.data,
                                     tap.records.n_bytes / sizeof(struct amb_store_record), err);
        /* what is not recorded must not be served either */
        if (r < 0 && dataset_read_annotations(&ledger, &reports, &n_later, dataset, UINT64_MAX, NULL) == 0) {
            amb_ledger_free(dataset->ledger);
            dataset->ledger = ledger;
        }
    }
    ambd_reports_deinit(&reports);
    amb_buf_deinit(&tap.records);
    return r;
}

int ambd_dataset_import(struct ambd_minted *out, struct amb_import_report *report,
                        struct ambd_dataset *dataset, const char *path, struct amb_error *err) {
    struct amb_import_options options = AMB_IMPORT_OPTIONS_DEFAULT;
    int r;

    if (dataset->store != NULL) {
        r = dataset_import_durably(report, dataset, path, err);
    } else {
        r = amb_import_jsonl(report, dataset->ledger, path, &options, err);
        r = r < 0 ? r : dataset_remember(dataset, path, err);
    }
    return r < 0 ? r : ambd_dataset_mint(out, dataset, err);
}

int ambd_dataset_reload(struct ambd_minted *out, struct ambd_dataset *dataset, struct amb_error *err) {
    struct amb_ledger *ledger = NULL;
    uint64_t n_later;
    int r = dataset_read_annotations(&ledger, &out->reports, &n_later, dataset, UINT64_MAX, err);

    if (r < 0) {
        return r;
    }
    amb_ledger_free(dataset->ledger);
    dataset->ledger = ledger;
    return ambd_dataset_mint(out, dataset, err);
}

static void dataset_sweep(struct ambd_dataset *dataset, uint64_t n_kept) {
    struct ambd_generation **at;
    uint64_t n_idle = 0;

    for (struct ambd_generation *g = dataset->oldest; g != dataset->current; g = g->newer) {
        n_idle += g->n_pins == 0;
    }
    for (at = &dataset->oldest; *at != dataset->current && n_idle > n_kept;) {
        struct ambd_generation *generation = *at;

        if (generation->n_pins > 0) {
            at = &generation->newer;
            continue;
        }
        *at = generation->newer;
        ambd_generation_free(generation);
        n_idle--;
    }
}

void ambd_dataset_shelve(struct ambd_dataset *dataset, struct ambd_generation *generation) {
    struct ambd_generation **at = &dataset->oldest;

    while (*at != dataset->current && (*at)->number < generation->number) {
        at = &(*at)->newer;
    }
    generation->newer = *at;
    *at = generation;
}

void ambd_dataset_adopt(struct ambd_dataset *dataset, struct ambd_minted *minted, uint64_t n_kept) {
    struct ambd_generation *generation = minted->generation;

    minted->generation = NULL;
    if (generation == NULL) {
        return;
    }
    dataset->current->newer = generation;
    dataset->current = generation;
    ambd_shelf_keep(&dataset->shelf, generation->annotations);
    dataset_sweep(dataset, n_kept);
}

struct ambd_generation *ambd_dataset_find(struct ambd_dataset *dataset,
                                          const struct amb_hash128 *fingerprint) {
    struct ambd_generation *found = NULL;

    for (struct ambd_generation *g = dataset->oldest; g != NULL; g = g->newer) {
        if (amb_hash128_equal(&g->annotations->fingerprint, fingerprint)) {
            found = g; /* the newest of equal ones */
        }
    }
    return found;
}

struct ambd_generation *ambd_dataset_pin(struct ambd_generation *generation) {
    generation->n_pins++;
    return generation;
}

void ambd_dataset_unpin(struct ambd_dataset *dataset, struct ambd_generation *generation, uint64_t n_kept) {
    generation->n_pins--;
    dataset_sweep(dataset, n_kept);
}
