/*
 * Test work, the verdict: three openings of a disk, the third behind an append.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "annotate/test-store-work.h"

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
