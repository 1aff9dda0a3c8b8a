/*
 * Dataset store: one annotate/store.h for each dataset, used by the clerk alone.
 *
 * What the configuration says (imports, fixed, score) is read anew at every start and is not recorded; what commands
 * and jobs bring is. The ledger is built from both, and rank decides. A generation is recorded with the values that it
 * replaced, whatever they came from, so that a state of an older one can be served after a restart too.
 */
#include "daemon/dataset-store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "daemon/archive.h"
#include "daemon/endpoint.h"
#include "daemon/log.h"
#include "proto/wire.h"

static uint64_t unix_ns(void) {
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

int ambd_dataset_open_store(struct ambd_dataset *dataset, const char *state_dir, struct amb_error *err) {
    struct amb_store_options options = {.keep_ns = dataset->keep_generations_s * UINT64_C(1000000000)};
    const struct amb_store_report *report = &dataset->store_report;
    char path[4096];
    int r;

    if (state_dir == NULL) {
        return 0;
    }
    if (snprintf(path, sizeof path, "%s/annotations", state_dir) >= (int)sizeof path - 80) {
        return amb_fail(err, -ENAMETOOLONG, "state_dir: path too long");
    }
    r = ambd_folder_make(path, err);
    if (r < 0) {
        return r;
    }
    snprintf(path + strlen(path), sizeof path - strlen(path), "/%.64s", dataset->name);
    dataset->store_path = amb_strdup(path);
    if (dataset->store_path == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for a path");
    }
    r = amb_store_open(&dataset->store, path, &options, &dataset->store_report, err);
    if (r < 0) {
        return r;
    }
    if (report->n_damaged > 0) {
        ambd_log(AMBD_WARN, "store.damaged dataset=%s n=%llu first=\"%s\"", dataset->name,
                 (unsigned long long)report->n_damaged, report->first_damage);
    }
    ambd_log(AMBD_INFO, "store.opened dataset=%s records=%llu replayed=%llu torn_bytes=%llu generations=%llu", dataset->name,
             (unsigned long long)report->n_records, (unsigned long long)report->n_replayed,
             (unsigned long long)report->torn_bytes, (unsigned long long)report->n_generations);
    return 0;
}

const struct amb_store_generation *ambd_dataset_last_generation(const struct ambd_dataset *dataset) {
    const size_t n = dataset->store != NULL ? amb_store_count_generations(dataset->store) : 0;

    return n > 0 ? amb_store_peek_generation(dataset->store, n - 1) : NULL;
}

void ambd_dataset_replay(struct amb_ledger *ledger, uint64_t *n_later, const struct ambd_dataset *dataset,
                         const struct amb_catalog *catalog, uint64_t last_sequence) {
    const uint32_t n = dataset->store != NULL ? amb_catalog_count(catalog) : 0;

    *n_later = 0;
    for (uint32_t i = 0; i < n; i++) {
        const struct amb_hash128 uid = amb_catalog_uid(catalog, i);
        struct amb_store_record records[AMB_ORIGIN_N];
        size_t n_records;

        amb_store_get(records, &n_records, dataset->store, &uid, 0);
        for (size_t k = 0; k < n_records; k++) {
            if (records[k].sequence > last_sequence) {
                (*n_later)++;
            } else if (records[k].sides != 0) {
                amb_ledger_put(ledger, i, records[k].origin, (enum amb_side)records[k].sides,
                               (struct amb_annotation){records[k].sigma_min, records[k].sigma_max});
            }
        }
    }
}

/* A record replaces the one before it: a side that only the earlier import set is carried over. */
static void record_inherit(struct amb_store_record *record, const struct amb_store_record *before) {
    record->sigma_min = (record->sides & AMB_SIDE_MIN) != 0 ? record->sigma_min : before->sigma_min;
    record->sigma_max = (record->sides & AMB_SIDE_MAX) != 0 ? record->sigma_max : before->sigma_max;
    record->sides |= before->sides;
}

static void import_merge(struct amb_store_record *record, const struct amb_store *store) {
    struct amb_store_record known[AMB_ORIGIN_N];
    size_t n;

    amb_store_get(known, &n, store, &record->uid, record->version);
    for (size_t i = 0; i < n; i++) {
        if (known[i].origin == record->origin) {
            record_inherit(record, &known[i]);
        }
    }
}

/* By key, and in the order of the file; they are of one version. */
static int import_compare(const void *a, const void *b) {
    const struct amb_store_record *x = *(struct amb_store_record *const *)a, *y = *(struct amb_store_record *const *)b;
    int order = memcmp(x->uid.bytes, y->uid.bytes, sizeof x->uid.bytes);

    order = order != 0 ? order : (x->origin > y->origin) - (x->origin < y->origin);
    return order != 0 ? order : (x > y) - (x < y);
}

/* In one piece: a disk that is full takes all of it or nothing. */
int ambd_dataset_keep_import(struct ambd_dataset *dataset, struct amb_store_record *records, size_t n,
                             struct amb_error *err) {
    AMB_CLEANUP(amb_freep) struct amb_store_record **order = NULL;
    int r;

    if (dataset->store == NULL) {
        return ambd_imports_put(&dataset->imports, records, n, err);
    }
    order = amb_malloc((n + 1) * sizeof *order);
    if (order == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for %zu records", n);
    }
    for (size_t i = 0; i < n; i++) {
        import_merge(&records[i], dataset->store);
        order[i] = &records[i];
    }
    qsort(order, n, sizeof *order, import_compare);
    for (size_t i = 1; i < n; i++) { /* a sample that has several lines */
        if (amb_hash128_equal(&order[i - 1]->uid, &order[i]->uid) && order[i - 1]->origin == order[i]->origin) {
            record_inherit(order[i], order[i - 1]);
        }
    }
    r = amb_store_put(dataset->store, records, n, err);
    return r < 0 ? r : amb_store_commit(dataset->store, err);
}

/* The model whose record of that kind there is; 0: none. */
static uint16_t record_model(const struct amb_store_record *record, const struct amb_store *store) {
    struct amb_store_record known[AMB_ORIGIN_N];
    uint16_t model = 0;
    size_t n;

    amb_store_get(known, &n, store, &record->uid, record->version);
    for (size_t i = 0; i < n; i++) {
        model = known[i].origin == record->origin ? known[i].model : model;
    }
    return model;
}

/* A curve of another model says nothing of what this one found. */
static int deposit_drop_curves(struct ambd_dataset *dataset, const struct amb_store_record *records, size_t n,
                               struct amb_error *err) {
    int r = 0;

    for (size_t i = 0; i < n && r == 0; i++) {
        const struct amb_store_record *record = &records[i];

        if (record->origin == AMB_ORIGIN_CLASSIFIER && amb_store_has_curve(dataset->store, &record->uid, record->version) &&
            record_model(record, dataset->store) != record->model) {
            r = amb_store_put_curve(dataset->store, &record->uid, record->version, NULL, NULL, 0, err);
        }
    }
    return r;
}

static int deposit_put_curves(struct ambd_dataset *dataset, const struct ambd_deposit *deposit, struct amb_error *err) {
    const uint8_t *at = deposit->curves.data, *end = at + deposit->curves.n_bytes;
    int r = 0;

    while (at < end && r == 0) {
        uint32_t row = ambp_load_u32le(at), n = ambp_load_u32le(at + 4); /* our own bytes: examination.c */
        const float *sigmas = (const float *)(const void *)(at + 8);
        const struct amb_store_record *record = &deposit->records[row];

        r = amb_store_put_curve(dataset->store, &record->uid, record->version, sigmas, sigmas + n, n, err);
        at += 8 + 2 * sizeof *sigmas * (size_t)n;
    }
    return r;
}

/* Who gives a sample up sets no side, and takes none back: what the same annotator found before is put again, so that the
 * sample counts as done by this job. */
static void record_keep(struct amb_store_record *record, const struct amb_store *store) {
    struct amb_store_record known[AMB_ORIGIN_N];
    size_t n;

    amb_store_get(known, &n, store, &record->uid, record->version);
    for (size_t i = 0; i < n; i++) {
        if (known[i].origin == record->origin && known[i].sides != 0) {
            *record = known[i];
        }
    }
}

/* The deposit stays as it is: it comes again where the disk has no room. */
static void deposit_copy(struct amb_store_record *records, const struct ambd_deposit *deposit,
                         const struct amb_store *store, uint16_t model) {
    for (size_t i = 0; i < deposit->n; i++) {
        records[i] = deposit->records[i];
        records[i].model = model;
        if (records[i].sides == 0) {
            record_keep(&records[i], store);
        }
    }
}

int ambd_dataset_deposit(struct ambd_dataset *dataset, const struct ambd_edition *edition,
                         const struct ambd_deposit *deposit, struct amb_error *err) {
    struct amb_store_record records[AMBD_DEPOSIT_ROWS];
    uint16_t model = 0;
    int r = amb_store_put_model(&model, dataset->store, deposit->sha256, err);

    deposit_copy(records, deposit, dataset->store, model);
    r = r < 0 ? r : deposit_drop_curves(dataset, records, deposit->n, err);
    r = r < 0 ? r : deposit_put_curves(dataset, deposit, err);
    r = r < 0 || deposit->n == 0 ? r : amb_store_put(dataset->store, records, deposit->n, err);
    r = r < 0 ? r : amb_store_commit(dataset->store, err);
    if (r == 0 && dataset->filed != edition) { /* its numbers are of other samples; the store goes by uid */
        dataset->stale = dataset->unminted = true;
        return 0;
    }
    for (size_t i = 0; i < deposit->n && r == 0; i++) {
        const struct amb_store_record *record = &records[i];

        if (record->sides != 0) {
            amb_ledger_put(dataset->ledger, deposit->i_samples[i], record->origin, (enum amb_side)record->sides,
                           (struct amb_annotation){record->sigma_min, record->sigma_max});
            dataset->unminted = true;
        }
    }
    return r;
}

static void store_put_values(struct ambd_dataset *dataset, const struct amb_annotations *newest) {
    struct amb_error why = AMB_ERROR_NULL;

    if (ambd_archive_put_values(dataset, &dataset->filed->fingerprint, newest, &why) < 0) {
        ambd_log(AMBD_WARN, "archive.unkept dataset=%s generation=%llu code=%s reason=\"%s\"", dataset->name,
                 (unsigned long long)newest->number, amb_error_name(why.code), why.message);
    }
}

void ambd_dataset_keep_values(struct ambd_dataset *dataset, const struct amb_annotations *newest) {
    const struct amb_hash128 *edition = &dataset->filed->fingerprint;

    if (!ambd_archive_has_values(dataset, edition, &newest->fingerprint)) {
        store_put_values(dataset, newest);
        ambd_archive_keep_values(dataset, edition);
    }
}

/* The newest recorded one of an edition; of this fingerprint, if one is given. */
static const struct amb_store_generation *store_find_generation(const struct ambd_dataset *dataset,
                                                                const struct amb_hash128 *edition,
                                                                const struct amb_hash128 *fingerprint) {
    const struct amb_store_generation *found = NULL;

    for (size_t i = 0; i < amb_store_count_generations(dataset->store); i++) {
        const struct amb_store_generation *generation = amb_store_peek_generation(dataset->store, i);

        if (amb_hash128_equal(&generation->dataset, edition) &&
            (fingerprint == NULL || amb_hash128_equal(&generation->annotations, fingerprint))) {
            found = generation;
        }
    }
    return found;
}

/* The values of the newest recorded generation of an edition, from which its older ones are reached. */
static int recall_newest(struct amb_annotation *values, struct ambd_dataset *dataset, struct ambd_edition *edition,
                         struct amb_error *err) {
    const struct amb_store_generation *newest = store_find_generation(dataset, &edition->fingerprint, NULL);
    const uint32_t n = amb_catalog_count(edition->fill.catalog);
    struct amb_annotations *annotations = NULL;
    struct amb_error lost = AMB_ERROR_NULL;
    int r;

    if (dataset->recorded != NULL && amb_hash128_equal(&edition->fingerprint, &dataset->recorded_dataset) &&
        amb_hash128_equal(&newest->annotations, &dataset->recorded->fingerprint)) {
        memcpy(values, dataset->recorded->values, n * sizeof *values);
        return 0;
    }
    if (ambd_archive_load_values(values, n, dataset, &edition->fingerprint, &newest->annotations, &lost) == 0) {
        return 0;
    }
    /* damaged, or a crash came before they could be archived: perhaps nothing has been replaced since */
    r = ambd_dataset_reckon(&annotations, dataset, edition, newest->last_sequence, err);
    if (r < 0) {
        return r;
    }
    if (amb_hash128_equal(&annotations->fingerprint, &newest->annotations)) {
        memcpy(values, annotations->values, n * sizeof *values);
    } else {
        r = amb_fail(err, AMB_ERR_NOT_FOUND,
                     "dataset '%s': the annotations of generation %llu are not kept (%.280s), and what they came from has "
                     "changed",
                     dataset->name, (unsigned long long)newest->number, lost.message);
    }
    amb_annotations_unref(annotations);
    return r;
}

/* Of an edition that was left and comes back: the way to what it had then begins here. NULL: it is new, or they cannot be
 * had. */
static struct amb_annotation *store_load_before(struct ambd_dataset *dataset) {
    const uint32_t n = amb_catalog_count(dataset->filed->fill.catalog);
    AMB_CLEANUP(amb_freep) struct amb_annotation *values = NULL;

    if (store_find_generation(dataset, &dataset->filed->fingerprint, NULL) == NULL) {
        return NULL;
    }
    values = amb_malloc(((size_t)n + 1) * sizeof *values);
    return values != NULL && recall_newest(values, dataset, dataset->filed, NULL) == 0 ? amb_steal_ptr(values) : NULL;
}

/* Values first: a generation that is recorded must be had again, whenever the daemon dies. */
int ambd_dataset_keep_generation(struct ambd_dataset *dataset, const struct amb_annotations *after,
                                 struct amb_error *err) {
    AMB_CLEANUP(amb_freep) struct amb_annotation *loaded = NULL;
    const struct amb_annotation *before;
    struct amb_store_generation generation = {
        .number = after->number,
        .dataset = dataset->filed->fingerprint,
        .annotations = after->fingerprint,
        .last_sequence = dataset->store != NULL ? amb_store_last_sequence(dataset->store) : 0,
        .unix_ns = unix_ns(),
        .n_samples = after->n_samples,
    };
    int r;

    if (dataset->store == NULL) {
        return 0;
    }
    if (dataset->recorded != NULL && amb_hash128_equal(&dataset->recorded_dataset, &generation.dataset)) {
        before = dataset->recorded->values;
    } else {
        before = loaded = store_load_before(dataset); /* first: they may be in the file that is written next */
    }
    store_put_values(dataset, after);
    r = amb_store_put_generation(dataset->store, &generation, before, after->values, err);
    if (r == 0) {
        ambd_archive_keep_values(dataset, &dataset->filed->fingerprint);
    }
    return r;
}

int ambd_dataset_recall(struct ambd_generation **out, struct ambd_dataset *dataset, struct ambd_edition *edition,
                        const struct amb_hash128 *fingerprint, struct amb_error *err) {
    const struct amb_store_generation *recorded =
        dataset->store != NULL ? store_find_generation(dataset, &edition->fingerprint, fingerprint) : NULL;
    AMB_CLEANUP(amb_freep) struct amb_annotation *values = NULL;
    const uint32_t n = amb_catalog_count(edition->fill.catalog);
    char text[AMB_HASH128_TEXT_BYTES], now[AMB_HASH128_TEXT_BYTES];
    int r;

    if (recorded == NULL) {
        amb_hash128_text(text, fingerprint != NULL ? fingerprint : &edition->fingerprint);
        amb_hash128_text(now, &dataset->last_fingerprint);
        return amb_fail(err, AMB_ERR_NOT_FOUND,
                        "dataset '%s' has no annotations with fingerprint %s%s (now: %s, see `ambientctl status`); import "
                        "the file they came from, or subscribe with on_generation_change=continue",
                        dataset->name, text,
                        dataset->store != NULL ? " in memory or in its store, which keeps replaced ones for "
                                                 "annotate.keep_generations_days" : "", now);
    }
    values = amb_malloc(((size_t)n + 1) * sizeof *values);
    if (values == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for annotations of %u samples", n);
    }
    r = recall_newest(values, dataset, edition, err);
    r = r < 0 ? r : amb_store_rebuild(values, n, dataset->store, &edition->fingerprint, &recorded->annotations, err);
    return r < 0 ? r : ambd_generation_load(out, edition, &values, n, recorded->number, err);
}

void ambd_dataset_tidy(struct ambd_dataset *dataset) {
    struct amb_error err = AMB_ERROR_NULL;

    if (dataset->store == NULL || !amb_store_wants_compaction(dataset->store)) {
        return;
    }
    if (amb_store_compact(dataset->store, unix_ns(), &err) < 0) {
        ambd_log(AMBD_WARN, "store.uncompacted dataset=%s code=%s reason=\"%s\"", dataset->name,
                 amb_error_name(err.code), err.message);
    }
}

static void store_closep(struct amb_store **store) {
    *store = amb_store_close(*store);
}

/* To what ours says, the sides that it does not: nobody has set them, or it gave the sample up. False: there are none. */
static bool merge_adapt(struct amb_store_record *record, const struct amb_store *ours) {
    struct amb_store_record known[AMB_ORIGIN_N];
    size_t n;

    amb_store_get(known, &n, ours, &record->uid, record->version);
    for (size_t i = 0; i < n; i++) {
        if (known[i].origin == record->origin) {
            record->sides &= ~known[i].sides;
            if (record->sides == 0) {
                return false;
            }
            record_inherit(record, &known[i]);
        }
    }
    return true;
}

static int merge_curve(struct ambd_merge_report *report, struct amb_store *ours, const struct amb_store *other,
                       const struct amb_store_record *record, struct amb_error *err) {
    AMB_CLEANUP(amb_freep) float *sigmas = NULL;
    AMB_CLEANUP(amb_freep) float *p = NULL;
    struct amb_error why = AMB_ERROR_NULL;
    size_t n = 0;
    int r = amb_store_get_curve(&sigmas, &p, &n, other, &record->uid, record->version, &why);

    if (r == AMB_ERR_CHECKSUM) { /* the record is whole */
        if (report->n_damaged++ == 0) {
            snprintf(report->first_damage, sizeof report->first_damage, "%.255s", why.message);
        }
        return 0;
    }
    r = r < 0 ? amb_fail(err, r, "%s", why.message) : r;
    r = r < 0 || n == 0 ? r : amb_store_put_curve(ours, &record->uid, record->version, sigmas, p, n, err);
    report->n_curves += r == 0 && n > 0;
    return r;
}

static int merge_sample(struct ambd_merge_report *report, struct ambd_dataset *dataset, const struct amb_store *other,
                        uint32_t i_sample, struct amb_error *err) {
    const struct amb_hash128 uid = amb_catalog_uid(dataset->filed->fill.catalog, i_sample);
    struct amb_store_record records[AMB_ORIGIN_N];
    size_t n;
    int r = 0;

    amb_store_get(records, &n, other, &uid, 0);
    report->n_records += n;
    for (size_t i = 0; i < n && r == 0; i++) {
        struct amb_store_record *record = &records[i];
        const char *sha256 = record->model != 0 ? amb_store_peek_model(other, record->model) : NULL;

        if (!merge_adapt(record, dataset->store)) {
            continue;
        }
        record->model = 0;
        r = sha256 != NULL ? amb_store_put_model(&record->model, dataset->store, sha256, err) : 0;
        r = r < 0 || record->origin != AMB_ORIGIN_CLASSIFIER ? r : merge_curve(report, dataset->store, other, record, err);
        r = r < 0 ? r : amb_store_put(dataset->store, record, 1, err);
        if (r == 0) {
            report->n_taken++;
            dataset->unminted = true;
            if (record->sides != 0) {
                amb_ledger_put(dataset->ledger, i_sample, record->origin, (enum amb_side)record->sides,
                               (struct amb_annotation){record->sigma_min, record->sigma_max});
            }
        }
    }
    return r;
}

static void merge_note_damage(struct ambd_merge_report *report, const struct amb_store *other) {
    struct amb_store_report found;

    amb_store_get_report(&found, other);
    if (found.n_damaged > 0) {
        memcpy(report->first_damage, found.first_damage, sizeof report->first_damage);
    }
    report->n_damaged += found.n_damaged;
}

/* The folder that people name first is the one above. */
static int merge_check_path(const char *path, struct amb_error *err) {
    char manifest[4096 + 16];

    snprintf(manifest, sizeof manifest, "%.4095s/MANIFEST", path);
    return access(manifest, F_OK) < 0 && errno == ENOENT
               ? amb_fail(err, -ENOENT, "%.300s has no MANIFEST, allowed: STATE_DIR/annotations/DATASET of a daemon", path)
               : 0;
}

int ambd_dataset_merge(struct ambd_merge_report *report, struct ambd_dataset *dataset, const char *path,
                       struct amb_error *err) {
    AMB_CLEANUP(store_closep) struct amb_store *other = NULL;
    const struct amb_store_options options = {.read_only = true};
    const uint32_t n = amb_catalog_count(dataset->filed->fill.catalog);
    int r, committed;

    if (dataset->store == NULL) {
        return amb_fail(err, AMB_ERR_CONFIG,
                        "dataset '%s' has no store for annotations; start the daemon with --state-dir DIR", dataset->name);
    }
    r = merge_check_path(path, err);
    r = r < 0 ? r : amb_store_open(&other, path, &options, NULL, err);
    if (r < 0) {
        return r;
    }
    for (uint32_t i = 0; i < n && r == 0; i++) {
        r = merge_sample(report, dataset, other, i, err);
    }
    merge_note_damage(report, other);
    committed = amb_store_commit(dataset->store, r < 0 ? NULL : err); /* what was taken before a failure too */
    return r < 0 ? r : committed;
}

int ambd_dataset_verify(struct amb_store_report *report, const struct ambd_dataset *dataset, struct amb_error *err) {
    return dataset->store != NULL ? amb_store_verify(report, dataset->store_path, NULL, err)
                                  : amb_fail(err, AMB_ERR_CONFIG, "dataset '%s' has no store for annotations; start the "
                                             "daemon with --state-dir DIR", dataset->name);
}

bool ambd_dataset_store_has_ended(const struct ambd_dataset *dataset, const struct amb_error *err) {
    return err->code != 0 && amb_store_is_poisoned(dataset->store);
}

void ambd_dataset_tell_end(struct ambd_dataset *dataset, bool has_ended, const struct amb_error *err) {
    if (has_ended && dataset->store_error.code == 0) {
        dataset->store_error = *err;
        ambd_log(AMBD_ERROR, "store.ended dataset=%s code=%s reason=\"%s\"", dataset->name, amb_error_name(err->code),
                 err->message);
    }
}
