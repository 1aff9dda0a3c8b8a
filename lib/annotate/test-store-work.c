/*
 * Test work: a model that knows nothing of files. Rows, curves, texts, models and generations each have a digest of
 * their contents; what is live has the sum.
 */
#include "annotate/test-store-work.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "annotate/store-row.h"
#include "base/alloc.h"

static uint64_t digest_of(const char *kind, const void *data, size_t bytes) {
    struct amb_hash128 hash = amb_hash128_encode(data, bytes);
    const uint64_t words[2] = {ambp_load_u64le(hash.bytes), ambp_load_u64le(hash.bytes + 8)};

    return amb_hash_words(kind, words, 2);
}

uint64_t work_digest_row(const struct amb_store_record *record) {
    uint8_t row[AMB_ROW_BYTES];
    struct amb_hash128 hash;

    amb_row_encode(row, record);
    hash = amb_hash128_encode(row, sizeof row);
    return ambp_load_u64le(hash.bytes);
}

static uint64_t digest_curve(const struct amb_key *key, const float *sigmas, const float *p, size_t n) {
    uint64_t digest = digest_of("sigmas", sigmas, n * sizeof *sigmas) ^ digest_of("p", p, n * sizeof *p);
    const uint64_t words[4] = {ambp_load_u64le(key->uid), key->version, digest, n};

    return amb_hash_words("curve", words, 4);
}

static uint64_t digest_text(const char *name, const char *text, size_t bytes) {
    return bytes == 0 ? 0 : digest_of(name, text, bytes);
}

static uint64_t digest_generation(const struct amb_store_generation *generation) {
    const uint64_t words[7] = {generation->number,
                               ambp_load_u64le(generation->annotations.bytes),
                               ambp_load_u64le(generation->dataset.bytes),
                               generation->last_sequence,
                               generation->unix_ns,
                               generation->n_samples,
                               generation->n_changed};

    return amb_hash_words("generation", words, 7);
}

void work_init(struct work *work, struct test_disk *disk, uint64_t segment_bytes, uint64_t seed) {
    memset(work, 0, sizeof *work);
    work->disk = disk;
    work->io = disk != NULL ? &disk->io : &amb_io_system;
    work->dir = TEST_DISK_DIR;
    work->segment_bytes = segment_bytes;
    work->random = seed;
}

int work_open(struct work *work) {
    const struct amb_store_options options = {.io = work->io, .segment_bytes = work->segment_bytes};

    return amb_store_open(&work->store, work->dir, &options, NULL, NULL);
}

void work_close(struct work *work) {
    work->store = amb_store_close(work->store);
}

static void work_issue(struct work *work, uint64_t sequence) {
    if (sequence >= WORK_ISSUED) {
        abort();
    }
    work->digests[sequence] = work->digest;
    work->curve_sums[sequence] = work->curve_sum;
    work->n_issued = sequence;
}

static uint64_t work_see(struct work *work, uint64_t digest) {
    if (work->n_seen == 2 * WORK_ISSUED) {
        abort();
    }
    work->seen[work->n_seen++] = digest;
    return digest;
}

/* Sequences that the store took for itself change nothing that is live. */
static void work_fill(struct work *work) {
    for (uint64_t s = work->n_issued + 1; s < work->store->journal.next_sequence; s++) {
        work_issue(work, s);
    }
}

/* Did the call put something on disk, or maybe? */
static bool work_is_issued(const struct work *work, int r) {
    return r == 0 || work->store->journal.poison != 0;
}

static struct work_key *work_key_of(struct work *work, const struct amb_key *key) {
    for (uint32_t i = 0; i < work->n_keys; i++) {
        if (amb_key_compare(&work->keys[i].key, key) == 0) {
            return &work->keys[i];
        }
    }
    if (work->n_keys == WORK_KEYS) {
        abort();
    }
    work->keys[work->n_keys] = (struct work_key){*key, 0};
    return &work->keys[work->n_keys++];
}

static struct amb_hash128 work_uid(uint64_t i) {
    return amb_hash128_encode(&i, sizeof i);
}

static struct amb_store_record work_record(struct work *work, uint32_t n_keys) {
    uint64_t bits = test_random(&work->random);
    struct amb_store_record record = {
        .uid = work_uid(bits % n_keys),
        .origin = (enum amb_origin)(AMB_ORIGIN_SCORE + (bits >> 32) % 3),
        .sides = (unsigned)(bits >> 40) % 4,
        .lo = (float)(bits >> 50),
        .hi = (float)(bits >> 48),
        .n_evaluations = (uint32_t)(bits >> 20) & 0xFFFFFF,
    };

    if ((record.sides & AMB_SIDE_MIN) != 0) {
        record.sigma_min = (float)(bits >> 44) / 1000;
    }
    if ((record.sides & AMB_SIDE_MAX) != 0) {
        record.sigma_max = (float)(bits >> 46) / 1000;
    }
    record.code = record.sides == 0 ? -5 : 0;
    return record;
}

int work_put(struct work *work, uint32_t n, uint32_t n_keys) {
    struct amb_store_record records[2048];
    int r;

    for (uint32_t i = 0; i < n; i++) {
        records[i] = work_record(work, n_keys);
    }
    r = amb_store_put(work->store, records, n, NULL);
    for (uint32_t i = 0; work_is_issued(work, r) && i < n; i++) {
        struct amb_key key = {.version = records[i].version, .origin = (uint8_t)records[i].origin};
        struct work_key *known;

        if (records[i].sequence == 0) {
            break; /* the store was poisoned before */
        }
        memcpy(key.uid, records[i].uid.bytes, 16);
        known = work_key_of(work, &key);
        work->digest -= known->digest;
        known->digest = work_see(work, work_digest_row(&records[i]));
        work->digest += known->digest;
        work_issue(work, records[i].sequence);
    }
    return r;
}

int work_curve(struct work *work, uint32_t n_curves, uint32_t n) {
    uint64_t i_curve = test_random(&work->random) % n_curves, sequence;
    struct amb_hash128 uid = work_uid(i_curve);
    struct amb_key key = {.version = 0};
    float *sigmas = malloc(n * sizeof *sigmas), *p = malloc(n * sizeof *p);
    uint32_t k = 0;
    int r;

    if (sigmas == NULL || p == NULL) {
        abort();
    }
    for (uint32_t i = 0; i < n; i++) {
        sigmas[i] = (float)i;
        p[i] = (float)(test_random(&work->random) % 1000) / 1000;
    }
    memcpy(key.uid, uid.bytes, 16);
    sequence = work->store->journal.next_sequence;
    r = amb_store_put_curve(work->store, &uid, 0, sigmas, p, n, NULL);
    while (k < work->n_curves && amb_key_compare(&work->curves[k], &key) != 0) {
        k++;
    }
    if (work_is_issued(work, r)) {
        if (k == work->n_curves) {
            work->curves[work->n_curves++] = key;
        }
        work->curve_sum -= work->curve_digests[k];
        work->curve_digests[k] = work_see(work, digest_curve(&key, sigmas, p, n));
        work->curve_sum += work->curve_digests[k];
        work_issue(work, sequence);
    }
    free(sigmas);
    free(p);
    return r;
}

int work_text(struct work *work) {
    static const char *const names[4] = {"job-1", "job-2", "job-3", "a-name-of-another-length"};
    uint64_t bits = test_random(&work->random), sequence = work->store->journal.next_sequence;
    size_t bytes = (bits >> 8) % 64, i = bits % 4;
    char text[64] = "";
    int r;

    for (size_t k = 0; k < bytes; k++) {
        text[k] = (char)('a' + test_random(&work->random) % 26);
    }
    r = amb_store_put_text(work->store, names[i], text, bytes, NULL);
    if (work_is_issued(work, r)) {
        work->digest -= work->text_digests[i];
        work->text_digests[i] = work_see(work, digest_text(names[i], text, bytes));
        work->digest += work->text_digests[i];
        work_issue(work, sequence);
    }
    return r;
}

static void model_name(char name[AMB_STORE_MODEL_BYTES + 1], uint32_t number) {
    snprintf(name, AMB_STORE_MODEL_BYTES + 1, "%064x", number);
}

int work_model(struct work *work) {
    char name[AMB_STORE_MODEL_BYTES + 1];
    uint64_t sequence = work->store->journal.next_sequence;
    uint16_t number = 0;
    int r;

    if (work->n_models == 50) {
        return 0;
    }
    model_name(name, work->n_models + 1);
    r = amb_store_put_model(&number, work->store, name, NULL);
    if (work_is_issued(work, r)) {
        work->n_models++;
        work->digest += work_see(work, digest_of("model", name, sizeof name) + work->n_models);
        work_issue(work, sequence);
    }
    return r;
}

/* What is written so far holds. */
static void work_ack(struct work *work) {
    work->acked = work->store->journal.next_sequence - 1;
    if (work->disk != NULL) {
        test_disk_ack(work->disk, work->acked);
    }
}

int work_mint(struct work *work) {
    const uint32_t number = work->n_minted + 1;
    struct amb_annotation *values = work->values[number];
    struct amb_store_generation generation = {
        .number = number, .dataset = work_uid(99), .unix_ns = number, .n_samples = WORK_SAMPLES};
    const uint64_t last = work->n_issued;
    int r;

    if (number > WORK_MINTED) {
        return 0;
    }
    memcpy(values, work->values[number - 1], sizeof work->values[0]);
    for (uint32_t i = 0; i < WORK_SAMPLES; i++) {
        uint64_t bits = test_random(&work->random);

        if (bits % 3 == 0 || i == number % WORK_SAMPLES) {
            values[i].sigma_min = (float)(bits >> 40);
            generation.n_changed += values[i].sigma_min != work->values[number - 1][i].sigma_min;
        }
    }
    generation.last_sequence = last;
    if (amb_annotations_fingerprint(&generation.annotations, values, WORK_SAMPLES) < 0) {
        abort();
    }
    work->fingerprints[number] = generation.annotations;
    r = amb_store_put_generation(work->store, &generation, number > 1 ? work->values[number - 1] : NULL, values, NULL);
    work_fill(work);
    if (r == 0 || work->store->history.n_minted == number) { /* written; the commit may have failed */
        work->n_minted = number;
        work->digest += work_see(work, digest_generation(&generation));
        work_issue(work, work->store->journal.next_sequence - 1);
    } else if (work->store->journal.poison != 0) { /* what failed, undo or generation, may be there */
        work->digest += work->n_issued - last == (number > 1) ? work_see(work, digest_generation(&generation)) : 0;
        work_issue(work, work->n_issued + 1);
    }
    if (r == 0) {
        work_ack(work);
    }
    return r;
}

int work_commit(struct work *work) {
    int r = amb_store_commit(work->store, NULL);

    if (r == 0) {
        work_ack(work);
    }
    return r;
}

int work_compact(struct work *work) {
    int r = amb_store_compact(work->store, 0, NULL);

    if (r == 0) {
        work_ack(work);
    }
    return r;
}

int work_step(struct work *work) {
    uint64_t bits = test_random(&work->random) % 100;

    if (bits < 50) {
        return work_put(work, 1 + (uint32_t)(test_random(&work->random) % 6), 60);
    }
    if (bits < 75) {
        return work_commit(work);
    }
    if (bits < 82) {
        return work_curve(work, 12, 1 + (uint32_t)(test_random(&work->random) % 60));
    }
    if (bits < 88) {
        return work_text(work);
    }
    if (bits < 91) {
        return work_model(work);
    }
    return bits < 96 ? work_mint(work) : work_compact(work);
}

static int digest_on_row(void *opaque, const struct amb_store_record *record) {
    *(uint64_t *)opaque += work_digest_row(record);
    return 0;
}

uint64_t work_digest(const struct amb_store *store) {
    uint64_t digest = 0;

    amb_store_walk(store, digest_on_row, &digest);
    for (const char *name = amb_store_next_text(store, NULL); name != NULL; name = amb_store_next_text(store, name)) {
        size_t bytes;
        const char *text = amb_store_peek_text(&bytes, store, name);

        digest += digest_text(name, text, bytes);
    }
    for (uint16_t i = 1; amb_store_peek_model(store, i) != NULL; i++) {
        digest += digest_of("model", amb_store_peek_model(store, i), AMB_STORE_MODEL_BYTES + 1) + i;
    }
    for (size_t i = 0; i < amb_store_count_generations(store); i++) {
        digest += digest_generation(amb_store_peek_generation(store, i));
    }
    return digest;
}

int work_digest_curves(uint64_t *sum, const struct work *work, const struct amb_store *store) {
    *sum = 0;
    for (uint32_t i = 0; i < work->n_curves; i++) {
        struct amb_hash128 uid;
        float *sigmas, *p;
        size_t n;
        int r;

        memcpy(uid.bytes, work->curves[i].uid, 16);
        r = amb_store_get_curve(&sigmas, &p, &n, store, &uid, work->curves[i].version, NULL);
        if (r < 0) {
            return r;
        }
        if (n != 0) {
            *sum += digest_curve(&work->curves[i], sigmas, p, n);
            amb_free(sigmas);
            amb_free(p);
        }
    }
    return 0;
}

static int seen_compare(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static bool work_was_seen(const struct work *work, uint64_t digest) {
    return bsearch(&digest, work->seen, work->n_seen, sizeof digest, seen_compare) != NULL;
}

struct wrong {
    const struct work *work;
    uint32_t n;
};

static int wrong_on_row(void *opaque, const struct amb_store_record *record) {
    struct wrong *wrong = opaque;

    wrong->n += !work_was_seen(wrong->work, work_digest_row(record));
    return 0;
}

static uint32_t wrong_rest(const struct work *work, const struct amb_store *store) {
    uint32_t n = 0;

    for (const char *name = amb_store_next_text(store, NULL); name != NULL; name = amb_store_next_text(store, name)) {
        size_t bytes;
        const char *text = amb_store_peek_text(&bytes, store, name);

        n += !work_was_seen(work, digest_text(name, text, bytes));
    }
    for (uint16_t i = 1; i <= work->n_models; i++) {
        const char *name = amb_store_peek_model(store, i);

        n += name != NULL && !work_was_seen(work, digest_of("model", name, AMB_STORE_MODEL_BYTES + 1) + i);
    }
    for (size_t i = 0; i < amb_store_count_generations(store); i++) {
        n += !work_was_seen(work, digest_generation(amb_store_peek_generation(store, i)));
    }
    for (uint32_t i = 0; i < work->n_curves; i++) {
        struct amb_hash128 uid;
        float *sigmas, *p;
        size_t n_points;

        memcpy(uid.bytes, work->curves[i].uid, 16);
        if (amb_store_get_curve(&sigmas, &p, &n_points, store, &uid, work->curves[i].version, NULL) == 0 &&
            n_points != 0) {
            n += !work_was_seen(work, digest_curve(&work->curves[i], sigmas, p, n_points));
            amb_free(sigmas);
            amb_free(p);
        }
    }
    return n;
}

uint32_t work_count_wrong(uint32_t *n_lost, struct work *work, const struct amb_store *store) {
    struct wrong wrong = {work, 0};

    qsort(work->seen, work->n_seen, sizeof work->seen[0], seen_compare);
    amb_store_walk(store, wrong_on_row, &wrong);
    *n_lost = 0;
    for (uint32_t i = 0; i < work->n_keys; i++) {
        struct amb_store_record out[AMB_ORIGIN_N];
        struct amb_hash128 uid;
        bool is_there = false;
        size_t n;

        memcpy(uid.bytes, work->keys[i].key.uid, 16);
        amb_store_get(out, &n, store, &uid, work->keys[i].key.version);
        for (size_t k = 0; k < n; k++) {
            uint64_t digest = work_digest_row(&out[k]);

            is_there = is_there || digest == work->keys[i].digest;
            wrong.n += !work_was_seen(work, digest);
        }
        *n_lost += !is_there;
    }
    return wrong.n + wrong_rest(work, store);
}

/* Verdict */

struct trial {
    const struct work *work;
    struct test_disk *disk;
    const struct verdict_options *options;
    const char *what;
};

static int trial_fail(const struct trial *trial, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int trial_fail(const struct trial *trial, const char *fmt, ...) {
    va_list args;

    fprintf(stderr, "%s: ", trial->what);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
    return 1;
}

static int trial_open(struct amb_store **out, struct amb_store_report *report, const struct trial *trial,
                      const char *which) {
    const struct amb_store_options options = {.io = &trial->disk->io, .segment_bytes = trial->work->segment_bytes};
    struct amb_error err = AMB_ERROR_NULL;
    int r = amb_store_open(out, TEST_DISK_DIR, &options, report, &err);

    if (r < 0) {
        return trial_fail(trial, "%s opening: %s", which, err.message);
    }
    if (report->n_damaged != 0) {
        amb_store_close(*out);
        return trial_fail(trial, "%s opening reports damage: %s", which, report->first_damage);
    }
    return 0;
}

/* Is exactly that live which was written up to `recovered`, and `more`? */
static int trial_check(const struct trial *trial, const struct amb_store *store, uint64_t recovered, uint64_t more,
                       const char *which) {
    uint64_t sum;
    int r;

    if (work_digest(store) != trial->work->digests[recovered] + more) {
        return trial_fail(trial, "%s recovery: what is live is not what was written up to %" PRIu64, which, recovered);
    }
    if (!trial->options->with_curves) {
        return 0;
    }
    r = work_digest_curves(&sum, trial->work, store);
    if (r != 0 || sum != trial->work->curve_sums[recovered]) {
        return trial_fail(trial, "%s recovery: curves are not those written up to %" PRIu64 " (%d)", which, recovered, r);
    }
    return 0;
}

static int trial_rebuild(const struct trial *trial, const struct amb_store *store) {
    struct amb_annotation values[WORK_SAMPLES];
    size_t n = amb_store_count_generations(store);
    struct amb_error err = AMB_ERROR_NULL;
    uint64_t number;

    if (n < 2) {
        return 0;
    }
    number = amb_store_peek_generation(store, n - 1)->number;
    memcpy(values, trial->work->values[number], sizeof values);
    if (amb_store_rebuild(values, WORK_SAMPLES, store, &amb_store_peek_generation(store, 0)->dataset,
                          &trial->work->fingerprints[1], &err) != 0) {
        return trial_fail(trial, "generation 1 from %" PRIu64 ": %s", number, err.message);
    }
    return memcmp(values, trial->work->values[1], sizeof values) == 0
               ? 0
               : trial_fail(trial, "generation 1 has other values");
}

static int trial_first(uint64_t *recovered, const struct trial *trial, uint64_t acked) {
    struct amb_store_report report;
    struct amb_store *store;
    int bad = trial_open(&store, &report, trial, "first");

    if (bad != 0) {
        return bad;
    }
    *recovered = store->journal.next_sequence - 1;
    if (*recovered < acked) {
        bad = trial_fail(trial, "recovered up to %" PRIu64 ", acknowledged were %" PRIu64, *recovered, acked);
    } else if (*recovered > trial->work->n_issued) {
        bad = trial_fail(trial, "recovered up to %" PRIu64 ", issued were %" PRIu64, *recovered,
                         trial->work->n_issued);
    }
    if (bad == 0) {
        bad = trial_check(trial, store, *recovered, 0, "first");
    }
    if (bad == 0 && trial->options->with_rebuild) {
        bad = trial_rebuild(trial, store);
    }
    amb_store_close(store);
    return bad;
}

static int trial_second(struct amb_store_record *record, const struct trial *trial, uint64_t recovered) {
    struct amb_store_report report;
    struct amb_store *store;
    struct amb_error err = AMB_ERROR_NULL;
    int bad = trial_open(&store, &report, trial, "second");

    if (bad != 0) {
        return bad;
    }
    if (store->journal.next_sequence - 1 != recovered || report.torn_bytes != 0) {
        bad = trial_fail(trial, "second opening: up to %" PRIu64 " instead of %" PRIu64 ", %" PRIu64 " bytes torn",
                         store->journal.next_sequence - 1, recovered, report.torn_bytes);
    }
    if (bad == 0) {
        bad = trial_check(trial, store, recovered, 0, "second");
    }
    if (bad == 0 &&
        (amb_store_put(store, record, 1, &err) != 0 || amb_store_commit(store, &err) != 0)) {
        bad = trial->options->may_append_fail ? 0 : trial_fail(trial, "append: %s", err.message);
    }
    amb_store_close(store);
    return bad;
}

static int trial_third(const struct amb_store_record *record, const struct trial *trial, uint64_t recovered) {
    struct amb_store_record got[AMB_ORIGIN_N];
    struct amb_store_report report;
    struct amb_store *store;
    size_t n;
    int bad = trial_open(&store, &report, trial, "third");

    if (bad != 0) {
        return bad;
    }
    bad = trial_check(trial, store, recovered, work_digest_row(record), "third");
    amb_store_get(got, &n, store, &record->uid, record->version);
    if (bad == 0 && (n != 1 || work_digest_row(got) != work_digest_row(record))) {
        bad = trial_fail(trial, "what was appended after recovery is not there");
    }
    amb_store_close(store);
    return bad;
}

int work_verdict(const struct work *work, struct test_disk *disk, uint64_t acked, const struct verdict_options *options,
                 const char *what) {
    const struct trial trial = {work, disk, options, what};
    struct amb_store_record record = {.uid = work_uid(123456), .origin = AMB_ORIGIN_IMPORT, .sides = AMB_SIDE_MIN,
                                      .sigma_min = 1};
    uint64_t recovered = 0;
    int bad = trial_first(&recovered, &trial, acked);

    if (bad == 0) {
        bad = trial_second(&record, &trial, recovered);
    }
    if (bad == 0 && !options->may_append_fail) {
        bad = trial_third(&record, &trial, recovered);
    }
    if (bad == 0 && test_disk_count_fds(disk) != 0) {
        bad = trial_fail(&trial, "%u descriptors are open still", test_disk_count_fds(disk));
    }
    return bad;
}
