/*
 * Dataset: editions of its shards, and generations of annotations, each of one edition.
 *
 * The clerk's desk works on one edition, the newest, which is the loop's current one as soon as the loop has heard of it;
 * what leaves the desk is an immutable generation, which belongs to the loop.
 *
 * Not here: what the loop has of them (dataset-shelf.c), opening an edition (edition.c), what disks keep (dataset-store.c,
 * archive.c).
 */
#include "daemon/dataset.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "daemon/archive.h"
#include "daemon/dataset-store.h"
#include "daemon/log.h"

/* A ledger of the defaults, the configuration's entries, the store up to a sequence and what was imported where
 * there is none. */
static int dataset_read_annotations(struct amb_ledger **out, const struct ambd_annotator_ear *ear, uint64_t *n_later,
                                    const struct ambd_dataset *dataset, const struct ambd_edition *edition,
                                    const struct ambd_dataset_config *config, uint64_t last_sequence,
                                    struct amb_error *err) {
    struct amb_catalog *catalog = edition->fill.catalog;
    AMB_CLEANUP(amb_freep) struct amb_annotation *defaults = amb_calloc(config->n_sources, sizeof *defaults);
    struct amb_ledger *ledger = NULL;
    int r;

    if (defaults == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for annotations");
    }
    for (size_t i = 0; i < config->n_sources; i++) {
        defaults[i] = config->sources[i].default_annotation;
    }
    r = amb_ledger_new(&ledger, catalog, defaults, err);
    r = r < 0 ? r : ambd_annotator_apply(ear, ledger, catalog, config->annotations, err);
    if (r < 0) {
        amb_ledger_free(ledger);
        return r;
    }
    ambd_dataset_replay(ledger, n_later, dataset, catalog, last_sequence);
    ambd_imports_replay(ledger, &dataset->imports, catalog);
    *out = ledger;
    return 0;
}

/* A store that takes no record (a full disk) is told of and does not keep the dataset from being served. */
static void dataset_tell_unrecorded(const struct ambd_dataset *dataset, uint64_t number, const struct amb_error *why) {
    ambd_log(AMBD_WARN, "store.unrecorded dataset=%s generation=%llu code=%s reason=\"%s\"", dataset->name,
             (unsigned long long)number, amb_error_name(why->code), why->message);
}

/* A ledger of the present edition, in place of the one there is. */
static int dataset_reread(struct ambd_dataset *dataset, uint64_t last_sequence, uint64_t *n_later,
                          struct ambd_lines *reports, struct amb_error *err) {
    struct ambd_lines ignored = {0};
    const struct ambd_annotator_ear ear = {.reports = reports != NULL ? reports : &ignored};
    struct amb_ledger *ledger = NULL;
    int r = dataset_read_annotations(&ledger, &ear, n_later, dataset, dataset->filed, dataset->options, last_sequence, err);

    ambd_lines_deinit(&ignored);
    if (r == 0) {
        amb_ledger_free(dataset->ledger);
        dataset->ledger = ledger;
    }
    return r;
}

int ambd_dataset_reckon(struct amb_annotations **out, const struct ambd_dataset *dataset,
                        const struct ambd_edition *edition, uint64_t last_sequence, struct amb_error *err) {
    struct ambd_lines reports = {0};
    const struct ambd_annotator_ear ear = {.reports = &reports};
    struct amb_ledger *ledger = NULL;
    uint64_t n_later;
    int r = dataset_read_annotations(&ledger, &ear, &n_later, dataset, edition, edition->options, last_sequence, err);

    r = r < 0 ? r : amb_ledger_mint(out, ledger, 0, err);
    amb_ledger_free(ledger);
    ambd_lines_deinit(&reports);
    return r;
}

static void dataset_set_last(struct ambd_dataset *dataset, const struct ambd_generation *generation) {
    dataset->last_number = generation->number;
    dataset->last_fingerprint = generation->annotations->fingerprint;
    dataset->last_edition = generation->edition;
    dataset->last_dataset = generation->edition->fingerprint;
}

static void dataset_set_recorded(struct ambd_dataset *dataset, const struct ambd_generation *generation) {
    amb_annotations_unref(dataset->recorded);
    dataset->recorded = amb_annotations_ref(generation->annotations);
    dataset->recorded_dataset = generation->edition->fingerprint;
}

/* The generation that was served last from the archive, in place of what the ledger says by now. */
static bool dataset_restore(struct ambd_generation **first, struct ambd_dataset *dataset,
                            const struct amb_store_generation *last) {
    const uint32_t n = amb_catalog_count(dataset->filed->fill.catalog);
    AMB_CLEANUP(amb_freep) struct amb_annotation *values = amb_malloc(((size_t)n + 1) * sizeof *values);
    struct ambd_generation *generation;

    if (values == NULL ||
        ambd_archive_load_values(values, n, dataset, &last->dataset, &last->annotations, NULL) < 0 ||
        ambd_generation_load(&generation, dataset->filed, &values, n, last->number, NULL) < 0) {
        return false;
    }
    if (!amb_hash128_equal(&last->annotations, &generation->annotations->fingerprint)) {
        ambd_generation_free(generation);
        return false;
    }
    ambd_generation_free(*first);
    *first = generation;
    return true;
}

/* The generation that was served last, where shards say the same as then; else the next one. *n_later: not zero where the
 * configuration or the store has something new. */
static int dataset_mint_first(struct ambd_dataset *dataset, uint64_t *n_later, struct amb_error *err) {
    const struct amb_store_generation *last = ambd_dataset_last_generation(dataset);
    struct ambd_generation *first;
    struct amb_error why = AMB_ERROR_NULL;
    bool restored;
    int r = ambd_generation_new(&first, dataset->filed, dataset->ledger, last != NULL ? last->number : 1, err);

    if (r < 0) {
        return r;
    }
    restored = last != NULL && amb_hash128_equal(&last->dataset, &dataset->filed->fingerprint);
    if (restored && !amb_hash128_equal(&last->annotations, &first->annotations->fingerprint)) {
        restored = dataset_restore(&first, dataset, last);
        *n_later += restored;
    }
    if (!restored && dataset->stale) {
        ambd_generation_free(first);
        return amb_fail(err, AMB_ERR_CHECKSUM, "dataset '%s': the annotations that were served last are not kept",
                        dataset->name);
    }
    if (last != NULL && !restored) {
        first->number++;
        first->annotations->number++;
    }
    if (restored || ambd_dataset_keep_generation(dataset, first->annotations, &why) == 0) {
        dataset_set_recorded(dataset, first);
    } else {
        dataset_tell_unrecorded(dataset, first->number, &why);
    }
    if (restored) { /* it may have died before it came to that */
        ambd_dataset_keep_values(dataset, first->annotations);
    }
    dataset_set_last(dataset, first);
    dataset->oldest = dataset->current = first;
    ambd_dataset_pin_edition(first->edition);
    ambd_shelf_keep(&first->edition->shelf, first->annotations);
    return 0;
}

/* What came after the last generation that was recorded, where there is something. */
static int dataset_mint_rest(struct ambd_dataset *dataset, struct amb_error *err) {
    struct ambd_minted minted = {0};
    struct amb_error why = AMB_ERROR_NULL;
    uint64_t n_later;
    int r = dataset_reread(dataset, UINT64_MAX, &n_later, NULL, err);

    if (r < 0) {
        return r;
    }
    if (ambd_dataset_mint(&minted, dataset, &why) < 0) {
        dataset->unminted = true;
        dataset_tell_unrecorded(dataset, dataset->last_number + 1, &why);
    }
    ambd_dataset_adopt(dataset, &minted, UINT64_MAX);
    return 0;
}

/* Whose samples the ledger numbers from now on; at start, where no edition is the loop's yet. */
static void dataset_file(struct ambd_dataset *dataset, struct ambd_edition *edition) {
    ambd_config_unref(dataset->config);
    dataset->config = ambd_config_ref(edition->config);
    dataset->options = edition->options;
    ambd_edition_close(dataset->edition);
    dataset->filed = dataset->edition = ambd_dataset_pin_edition(edition);
}

static void dataset_on_problem(void *opaque, const struct amb_error *why) {
    ambd_lines_push(&((struct ambd_dataset *)opaque)->refused, why->message);
}

static int dataset_open_configured(struct ambd_dataset *dataset, const struct ambd_edition_options *how,
                                   uint64_t last_sequence, uint64_t *n_later, struct amb_error *err) {
    struct ambd_edition_options options = *how;
    struct ambd_edition *edition;
    int r;

    if (ambd_dataset_last_generation(dataset) != NULL) { /* else the first problem ends it */
        options.problem = dataset_on_problem;
        options.problem_opaque = dataset;
    }
    r = ambd_edition_open(&edition, &options, err);
    if (r < 0) {
        return r;
    }
    dataset_file(dataset, edition);
    return dataset_reread(dataset, last_sequence, n_later, &dataset->reports, err);
}

/* What cannot be read is left out, so the ledger is not what was served, nor may it be: the values are the archive's, and
 * nothing is minted before a reload has brought the rest. */
static int dataset_read_rest(struct ambd_dataset *dataset, uint64_t last_sequence, uint64_t *n_later,
                             struct amb_error *err) {
    const struct ambd_annotator_ear ear = {.reports = &dataset->reports, .forgives = true};

    dataset->stale = true;
    return dataset_read_annotations(&dataset->ledger, &ear, n_later, dataset, dataset->filed, dataset->options,
                                    last_sequence, err);
}

static int dataset_open_last(struct ambd_dataset *dataset, const struct ambd_edition_options *how,
                             const struct amb_store_generation *last, uint64_t *n_later, struct amb_error *err) {
    struct ambd_edition *edition;
    int r = ambd_archive_load_edition(&edition, dataset, &last->dataset, how, err);

    if (r < 0) {
        return r;
    }
    dataset_file(dataset, edition);
    ambd_lines_deinit(&dataset->reports);
    r = dataset_reread(dataset, last->last_sequence, n_later, &dataset->reports, NULL);
    return r < 0 ? dataset_read_rest(dataset, last->last_sequence, n_later, err) : 0;
}

static void dataset_log_refused(const struct ambd_dataset *dataset) {
    for (size_t i = 0; i < dataset->refused.n; i++) {
        ambd_log(AMBD_ERROR, "dataset.refused name=%s reason=\"%s\"", dataset->name, dataset->refused.lines[i]);
    }
}

/* A start that cannot be as configured is as a reload that is refused: what was served before goes on, and why is told. */
static int dataset_fall_back(struct ambd_dataset *dataset, const struct ambd_edition_options *how, uint64_t *n_later,
                             const struct amb_error *reason) {
    const struct amb_store_generation *last = ambd_dataset_last_generation(dataset);
    struct amb_error why = AMB_ERROR_NULL;

    if (last == NULL) {
        return reason->code;
    }
    if (!ambd_lines_any(&dataset->refused)) { /* none that was told already */
        ambd_lines_push(&dataset->refused, reason->message);
    }
    dataset_log_refused(dataset);
    if (dataset_open_last(dataset, how, last, n_later, &why) < 0) {
        ambd_log(AMBD_ERROR, "dataset.unrestored name=%s reason=\"%s\"", dataset->name, why.message);
        return reason->code;
    }
    return 0;
}

static int dataset_open_first(struct ambd_dataset *dataset, const struct ambd_edition_options *how,
                              struct amb_error *err) {
    const struct amb_store_generation *last = ambd_dataset_last_generation(dataset);
    uint64_t n_later = 0;
    int r = dataset_open_configured(dataset, how, last != NULL ? last->last_sequence : UINT64_MAX, &n_later, err);

    if (r < 0) {
        r = dataset_fall_back(dataset, how, &n_later, err);
    }
    if (r < 0) {
        return r;
    }
    if (last != NULL && !amb_hash128_equal(&last->dataset, &dataset->filed->fingerprint)) {
        ambd_archive_touch_values(dataset, &last->dataset); /* it is left only now */
    }
    ambd_archive_put_edition(dataset, dataset->filed);
    r = dataset_mint_first(dataset, &n_later, err);
    if (r == 0 && ambd_lines_any(&dataset->refused)) { /* what is new waits for a reload, or whoever mints */
        dataset->stale = dataset->unminted = dataset->stale || n_later > 0;
        return 0;
    }
    return r < 0 || n_later == 0 ? r : dataset_mint_rest(dataset, err);
}

static int dataset_init(struct ambd_dataset *dataset, const struct ambd_dataset_options *options,
                        const struct ambd_edition_options *how, struct amb_error *err) {
    int r;

    dataset->name = amb_strdup(options->name);
    if (dataset->name == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for a name");
    }
    dataset->keep_generations_s = options->keep_generations_s;
    r = ambd_dataset_open_store(dataset, options->state_dir, err);
    r = r < 0 ? r : ambd_archive_open(dataset, options->state_dir, err);
    return r < 0 ? r : dataset_open_first(dataset, how, err);
}

int ambd_dataset_open(struct ambd_dataset **out, const struct ambd_dataset_options *options,
                      const struct ambd_edition_options *how, struct amb_error *err) {
    struct ambd_dataset *dataset = amb_calloc(1, sizeof *dataset);
    int r;

    if (dataset == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for a dataset");
    }
    r = dataset_init(dataset, options, how, err);
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
    while (dataset->oldest != NULL) {
        struct ambd_generation *newer = dataset->oldest->newer;

        ambd_generation_free(dataset->oldest);
        dataset->oldest = newer;
    }
    while (dataset->edition != NULL) {
        struct ambd_edition *older = dataset->edition->older;

        ambd_edition_close(dataset->edition);
        dataset->edition = older;
    }
    ambd_imports_deinit(&dataset->imports);
    ambd_lines_deinit(&dataset->reports);
    ambd_lines_deinit(&dataset->refused);
    amb_ledger_free(dataset->ledger);
    amb_annotations_unref(dataset->recorded);
    amb_store_close(dataset->store);
    ambd_config_unref(dataset->config);
    amb_free(dataset->store_path);
    amb_free(dataset->archive_path);
    amb_free(dataset->name);
    amb_free(dataset);
    return NULL;
}

static bool dataset_is_last(const struct ambd_dataset *dataset, const struct ambd_generation *generation) {
    return generation->edition == dataset->last_edition &&
           amb_hash128_equal(&generation->annotations->fingerprint, &dataset->last_fingerprint);
}

static int dataset_record(struct ambd_dataset *dataset, const struct ambd_generation *generation,
                          struct amb_error *err) {
    int r;

    if (dataset->recorded != NULL &&
        amb_hash128_equal(&generation->edition->fingerprint, &dataset->recorded_dataset) &&
        amb_hash128_equal(&generation->annotations->fingerprint, &dataset->recorded->fingerprint)) {
        return 0; /* other files, the same contents: it is recorded already */
    }
    r = ambd_dataset_keep_generation(dataset, generation->annotations, err);
    if (r == 0) {
        dataset_set_recorded(dataset, generation);
    }
    return r;
}

int ambd_dataset_mint(struct ambd_minted *out, struct ambd_dataset *dataset, struct amb_error *err) {
    struct ambd_generation *generation = NULL;
    uint64_t n_later;
    int r = dataset->stale ? dataset_reread(dataset, UINT64_MAX, &n_later, NULL, err) : 0;

    dataset->stale = dataset->stale && r < 0;
    r = r < 0 ? r : ambd_generation_new(&generation, dataset->filed, dataset->ledger, dataset->last_number + 1, err);
    if (r < 0) {
        return r;
    }
    if (dataset_is_last(dataset, generation)) {
        ambd_generation_free(generation);
        dataset->unminted = false;
        return 0;
    }
    r = dataset_record(dataset, generation, err);
    if (r < 0) {
        ambd_generation_free(generation);
        return r;
    }
    dataset_set_last(dataset, generation);
    dataset->unminted = false;
    out->generation = generation;
    ambd_dataset_tidy(dataset);
    return 0;
}

/* What an import puts: the store keeps it, or imports.c where there is none. */
struct import_tap {
    struct ambd_dataset *dataset;
    struct amb_buf records; /* of struct amb_store_record */
    int code;
};

static void import_tap_push(void *opaque, uint32_t i_sample, enum amb_origin origin, enum amb_side sides,
                            struct amb_annotation value) {
    struct import_tap *tap = opaque;
    struct amb_store_record record = {
        .uid = amb_catalog_uid(tap->dataset->filed->fill.catalog, i_sample),
        .origin = origin,
        .sides = sides,
        .sigma_min = (sides & AMB_SIDE_MIN) != 0 ? value.sigma_min : 0,
        .sigma_max = (sides & AMB_SIDE_MAX) != 0 ? value.sigma_max : 0,
    };

    tap->code = tap->code < 0 ? tap->code : amb_buf_push(&tap->records, &record, sizeof record);
}

int ambd_dataset_import(struct ambd_minted *out, struct amb_import_report *report,
                        struct ambd_dataset *dataset, const char *path, struct amb_error *err) {
    const struct amb_import_options options = AMB_IMPORT_OPTIONS_DEFAULT;
    struct import_tap tap = {.dataset = dataset, .records = AMB_BUF_NULL};
    uint64_t n_later;
    int r;

    amb_ledger_set_tap(dataset->ledger, import_tap_push, &tap);
    r = amb_import_jsonl(report, dataset->ledger, path, &options, err);
    amb_ledger_set_tap(dataset->ledger, NULL, NULL);
    if (r == 0) {
        r = tap.code < 0 ? amb_fail(err, tap.code, "no memory for the records of %s", path)
                         : ambd_dataset_keep_import(dataset, (struct amb_store_record *)(void *)tap.records.data,
                                                    tap.records.n_bytes / sizeof(struct amb_store_record), err);
        /* what is not kept must not be served either */
        if (r < 0) {
            dataset->stale = dataset_reread(dataset, UINT64_MAX, &n_later, NULL, NULL) < 0;
        }
    }
    amb_buf_deinit(&tap.records);
    dataset->unminted = dataset->unminted || r == 0;
    return r < 0 ? r : ambd_dataset_mint(out, dataset, err);
}

/* Reload */

void ambd_installment_deinit(struct ambd_installment *installment) {
    ambd_generation_free(installment->minted.generation);
    ambd_edition_close(installment->edition);
    ambd_config_unref(installment->config);
    amb_ledger_free(installment->ledger);
    ambd_lines_deinit(&installment->minted.reports);
    *installment = (struct ambd_installment){0};
}

int ambd_dataset_prepare(struct ambd_installment *installment, struct ambd_dataset *dataset,
                         void (*problem)(void *opaque, const struct amb_error *why), void *opaque, struct amb_error *err) {
    const struct ambd_annotator_ear ear = {.reports = &installment->minted.reports, .problem = problem, .opaque = opaque};
    struct ambd_edition *edition = installment->edition != NULL ? installment->edition : dataset->filed;
    uint64_t n_later;
    int r = dataset_read_annotations(&installment->ledger, &ear, &n_later, dataset, edition, installment->options, UINT64_MAX,
                                     err);

    return r < 0 ? r : ambd_generation_new(&installment->minted.generation, edition, installment->ledger, 0, err);
}

/* The edition before is left: what is needed to come back to it goes to the archive. */
static void dataset_turn(struct ambd_dataset *dataset, struct ambd_edition *edition) {
    bool same = amb_hash128_equal(&edition->fingerprint, &dataset->last_dataset);

    if (!same) {
        ambd_archive_touch_values(dataset, &dataset->last_dataset);
    }
    edition->number = same ? dataset->filed->number : 0;
    ambd_archive_put_edition(dataset, edition); /* of the same contents too: its files lie elsewhere now */
    dataset->filed = edition;
}

/* The same shards under another section: whoever comes back to them reads annotations by that. */
static void dataset_keep_section(struct ambd_dataset *dataset, const struct ambd_config *before) {
    const cJSON *was = cJSON_GetObjectItemCaseSensitive(before->tree, "datasets"),
                *is = cJSON_GetObjectItemCaseSensitive(dataset->config->tree, "datasets");

    if (!cJSON_Compare(cJSON_GetObjectItemCaseSensitive(was, dataset->name),
                       cJSON_GetObjectItemCaseSensitive(is, dataset->name), true)) {
        ambd_archive_put_edition(dataset, dataset->filed);
    }
}

void ambd_dataset_install(struct ambd_installment *installment, struct ambd_dataset *dataset) {
    struct ambd_generation *generation = installment->minted.generation;
    struct ambd_config *config = dataset->config;
    struct amb_error why = AMB_ERROR_NULL;

    amb_ledger_free(dataset->ledger);
    dataset->ledger = installment->ledger;
    installment->ledger = NULL;
    dataset->config = installment->config;
    dataset->options = installment->options;
    installment->config = config; /* goes with the rest of it */
    dataset->stale = dataset->unminted = false;
    if (installment->edition != NULL) {
        dataset_turn(dataset, installment->edition);
        installment->edition = NULL; /* goes on with its first generation */
    } else {
        dataset_keep_section(dataset, config);
    }
    if (dataset_is_last(dataset, generation)) {
        installment->minted.generation = ambd_generation_free(generation);
        return;
    }
    generation->number = generation->annotations->number = dataset->last_number + 1;
    if (dataset_record(dataset, generation, &why) < 0) {
        dataset_tell_unrecorded(dataset, generation->number, &why);
    }
    dataset_set_last(dataset, generation);
    ambd_dataset_tidy(dataset);
}
