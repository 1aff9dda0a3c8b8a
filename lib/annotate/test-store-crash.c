/*
 * test-store-crash [--share F] [SUITE...]: what a store survives, counted. Suites: prefix flip power sync fault memory space.
 *
 *   prefix   a process killed at every byte that it writes               (R1)
 *   flip     a byte changed on disk, anywhere                            (R2)
 *   power    power lost: unsynced writes dropped, reordered, torn        (R3)
 *   sync     a sync fails, the process starts anew, power is lost
 *   fault    every call of the system fails, once or from then on        (R6)
 *   memory   every allocation fails, once or from then on                (R8)
 *   space    a disk that is full, freed, and filled again                (R9)
 *
 * Each state of the disk gets the whole verdict: what was acknowledged is there, what is there is a prefix of what was
 * written, a second recovery changes nothing, and a record can be appended and is found. Prints a line for each suite;
 * the exit status is 1 if a single state was wrong. --share takes that share of a release's sizes, 1 for some hours, but
 * never less than every run; AMBIENTD_CRASH=tiny is for valgrind and sanitizers.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "annotate/test-store-work.h"
#include "base/alloc.h"

#define BAD_MAX 20u /* lines before giving up */

static bool is_tiny;
static double share; /* of the sizes of a release; 0: those of every run */
static struct work work;
static struct test_disk disk, base, image, again;
static uint64_t n_bad;
static const struct verdict_options whole = {.with_curves = true, .with_rebuild = true};

static uint64_t sized(uint64_t tiny, uint64_t every_run, uint64_t release) {
    const uint64_t n = (uint64_t)((double)release * share);

    return is_tiny ? tiny : n > every_run ? n : every_run;
}

static double now_s(void) {
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static void count_bad(int bad) {
    n_bad += (uint64_t)bad;
    if (n_bad >= BAD_MAX) {
        fprintf(stderr, "too many\n");
        exit(1);
    }
}

static void begin_work(uint64_t segment_bytes, uint64_t seed) {
    test_disk_deinit(&disk);
    disk.is_logged = true;
    disk.has_dir = true;
    work_init(&work, &disk, segment_bytes, seed);
    if (work_open(&work) != 0) {
        fprintf(stderr, "cannot begin\n");
        exit(1);
    }
}

/* Shapes: what is done, so that its log has every kind of write. */

static void shape_tiny(void) {
    begin_work(1 << 20, 11);
    for (int i = 0; i < 220; i++) {
        work_put(&work, 1, 60);
        if (i % 3 == 0) {
            work_commit(&work);
        }
    }
    work_commit(&work);
}

/* 4,000 pairs are a record of 32 KiB. */
static void shape_curves(void) {
    begin_work(1 << 20, 12);
    for (int i = 0; i < 2; i++) {
        work_curve(&work, 8, 8180); /* 64 KiB */
        work_put(&work, 2, 60);
        work_commit(&work);
    }
}

static void shape_segments(void) {
    begin_work(2048, 13);
    for (int i = 0; i < 120; i++) {
        work_put(&work, 1 + (uint32_t)i % 5, 60);
        if (i % 4 == 0) {
            work_commit(&work);
        }
        if (i % 10 == 0) {
            work_text(&work);
            work_model(&work);
        }
        if (i % 25 == 24) {
            work_mint(&work);
        }
    }
    work_commit(&work);
}

static void shape_compact(void) {
    begin_work(4096, 14);
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 40; i++) {
            work_put(&work, 1 + (uint32_t)i % 5, 90);
            if (i % 6 == 0) {
                work_commit(&work);
            }
            if (i % 10 == 0) {
                work_curve(&work, 8, 40);
                work_text(&work);
                work_model(&work);
            }
            if (i % 20 == 19) {
                work_mint(&work);
            }
        }
        work_compact(&work);
    }
    work_put(&work, 3, 90);
    work_commit(&work);
}

static void shape_random(uint64_t seed, int n_steps) {
    begin_work(1024 + 512 * (seed % 8), seed * 7919 + 1);
    for (int i = 0; i < n_steps; i++) {
        work_step(&work);
    }
}

/* R1: at every byte of every write, and before and after every other call. */
static uint64_t prefix_shape(const char *name, size_t stride) {
    uint64_t n_states = 0, acked = 0;
    const double began = now_s();

    work_close(&work);
    test_disk_deinit(&base);
    base.has_dir = true;
    for (size_t i = 0; i < disk.n_ops; i++) {
        const struct test_op *op = &disk.ops[i];

        for (size_t k = 0; k <= op->bytes; k += k + stride > op->bytes && k < op->bytes ? op->bytes - k : stride) {
            struct verdict_options options = whole;
            char what[96];

            test_disk_copy(&image, &base);
            test_disk_apply(&image, op, k);
            snprintf(what, sizeof what, "prefix %s call %zu byte %zu", name, i, k);
            options.with_rebuild = k % 8 == 0;
            options.with_curves = op->bytes < 16384 || k % 64 == 0; /* 64 KiB each time is a lot of reading */
            count_bad(work_verdict(&work, &image, op->kind == TEST_OP_ACK ? op->offset : acked, &options, what));
            test_disk_deinit(&image);
            n_states++;
        }
        acked = op->kind == TEST_OP_ACK ? op->offset : acked;
        test_disk_apply(&base, op, op->bytes);
    }
    fprintf(stderr, "  %s: %" PRIu64 " states in %.1f s\n", name, n_states, now_s() - began);
    return n_states;
}

static uint64_t suite_prefix(void) {
    const size_t stride = sized(997, 1, 1);
    uint64_t n = 0;

    shape_tiny();
    n += prefix_shape("tiny", stride);
    shape_curves();
    n += prefix_shape("curves", stride);
    shape_segments();
    n += prefix_shape("segments", stride);
    shape_compact();
    n += prefix_shape("compact", stride);
    for (uint64_t seed = 1; seed <= sized(1, 0, 60); seed++) {
        shape_random(seed, 150);
        n += prefix_shape("random", stride);
    }
    return n;
}

/* R3 */
static uint64_t power_states(uint64_t n_states, uint64_t seed) {
    uint64_t random = seed * 0x9E3779B97F4A7C15u + 1;

    work_close(&work);
    test_disk_deinit(&base);
    base.has_dir = true;
    for (uint64_t i = 0; i < n_states; i++) {
        size_t at = (size_t)(test_random(&random) % (disk.n_ops + 1));
        uint64_t acked = 0;
        char what[96];

        for (size_t k = 0; k < at; k++) {
            acked = disk.ops[k].kind == TEST_OP_ACK ? disk.ops[k].offset : acked;
        }
        snprintf(what, sizeof what, "power seed %" PRIu64 " state %" PRIu64 " behind call %zu", seed, i, at);
        test_disk_crash(&image, &base, disk.ops, at, &random);
        if (i % 3 == 0) { /* and once more while recovery is under way */
            const struct amb_store_options options = {.io = &image.io, .segment_bytes = work.segment_bytes};
            struct amb_store *store = NULL;
            struct test_disk before;

            test_disk_copy(&before, &image);
            image.is_logged = true;
            amb_store_open(&store, TEST_DISK_DIR, &options, NULL, NULL);
            amb_store_close(store);
            test_disk_crash(&again, &before, image.ops, (size_t)(test_random(&random) % (image.n_ops + 1)), &random);
            test_disk_deinit(&before);
            count_bad(work_verdict(&work, &again, acked, &whole, what));
            test_disk_deinit(&again);
        } else {
            count_bad(work_verdict(&work, &image, acked, &whole, what));
        }
        test_disk_deinit(&image);
    }
    return n_states;
}

static uint64_t suite_power(void) {
    const uint64_t n_seeds = sized(2, 110, 4000);
    const uint64_t n_each = sized(30, 500, 500);
    uint64_t n = 0;

    for (uint64_t seed = 1; seed <= n_seeds; seed++) {
        shape_random(seed + 1000, 40 + (int)(seed % 60));
        n += power_states(n_each, seed);
    }
    return n;
}

/* R2 */

/* Bytes at the end of the last segment that nobody was promised: the mark behind the last commit. */
static size_t flip_committed(const char *name, size_t bytes) {
    const struct amb_journal *journal = &work.store->journal;

    if (journal->n_segments != 0 &&
        amb_store_number(name, "journal") == journal->segments[journal->n_segments - 1].number) {
        return bytes - AMB_RECORD_HEADER_BYTES;
    }
    return bytes;
}

static int flip_state(const char *name, size_t at, uint8_t mask, bool is_committed) {
    const struct amb_store_options options = {.io = &image.io, .segment_bytes = work.segment_bytes};
    struct amb_store_report report = {0}, opened = {0};
    struct amb_store *store = NULL;
    struct amb_error err = AMB_ERROR_NULL;
    uint32_t n_wrong, n_lost;
    int r, bad = 0;

    test_disk_copy(&image, &base);
    test_disk_flip(&image, name, at, mask);
    r = amb_store_verify(&report, TEST_DISK_DIR, &image.io, &err);
    if (r == 0) {
        r = amb_store_open(&store, TEST_DISK_DIR, &options, &opened, &err);
    }
    if (r == 0) {
        uint64_t curves = 0;
        bool is_same = work_digest(store) == work.digest && work_digest_curves(&curves, &work, store) == 0 &&
                       curves == work.curve_sum;

        n_wrong = is_same ? 0 : work_count_wrong(&n_lost, &work, store);
        n_lost = is_same ? 0 : n_lost;
        bad = n_wrong != 0 || n_lost > AMB_ROWS_PER_BLOCK || (!is_same && report.n_damaged == 0) ||
              (is_committed && report.n_damaged == 0);
        if (bad != 0) {
            fprintf(stderr, "flip %s byte %zu: %u wrong, %u lost, %" PRIu64 " reported\n", name, at, n_wrong, n_lost,
                    report.n_damaged);
        }
        amb_store_close(store);
    } else {
        bad = 1; /* one byte never costs a whole store */
        fprintf(stderr, "flip %s byte %zu: %s\n", name, at, err.message);
    }
    test_disk_deinit(&image);
    return bad;
}

static uint64_t flip_shape(uint64_t n_each, size_t stride) {
    uint64_t n = 0, random = 77;

    test_disk_deinit(&base);
    test_disk_copy(&base, &disk);
    for (uint32_t i = 0; i < base.n_names; i++) {
        const char *name = base.names[i].name;
        size_t bytes;

        if (strcmp(name, "lock") == 0 || test_disk_peek(&bytes, &base, name) == NULL) {
            continue;
        }
        for (size_t at = 0; at < bytes; at += stride) {
            for (uint64_t k = 0; k < n_each; k++, n++) {
                uint8_t mask = (uint8_t)(k % 2 == 0 ? 1u << test_random(&random) % 8 : 1 + test_random(&random) % 255);

                count_bad(flip_state(name, at, mask, at < flip_committed(name, bytes)));
            }
        }
    }
    test_disk_deinit(&base);
    work_close(&work);
    return n;
}

static uint64_t suite_flip(void) {
    const size_t stride = sized(1009, 1, 1);
    const uint64_t n_each = sized(1, 1, 32);
    uint64_t n = 0;

    shape_tiny();
    n += flip_shape(n_each, stride);
    shape_segments();
    n += flip_shape(n_each, stride);
    shape_compact();
    n += flip_shape(n_each, stride);
    for (uint64_t seed = 1; seed <= sized(1, 1, 12); seed++) {
        shape_random(seed, 150);
        work_commit(&work);
        n += flip_shape(n_each, stride);
    }
    return n;
}

/* R6 and R8: a run that goes on, or stops at the first sign of poison, and then the verdict as after a restart. */

/* What a poisoned or hungry store serves is still a state that was issued. */
static int run_check(const char *what) {
    uint64_t digest = work_digest(work.store);

    for (uint64_t s = work.acked; s <= work.n_issued; s++) {
        if (work.digests[s] == digest) {
            return 0;
        }
    }
    fprintf(stderr, "%s: what is served was never issued\n", what);
    return 1;
}

static void run_steps(int n_steps) {
    for (int i = 0; i < n_steps && work.store->journal.poison == 0; i++) {
        if (i == n_steps / 2) {
            work_compact(&work);
        }
        work_step(&work);
    }
}

static uint64_t n_run_allocs, n_run_calls; /* of the last run, its recovery not counted */

static uint64_t second_fault; /* number of the call that fails while what was left is recovered; 0: none */

/* arm: makes the faults ready before the store is opened. */
static int run_with(void (*arm)(void *arg), void *arg, uint64_t seed, const char *what) {
    int bad = 0;

    work_close(&work);
    test_disk_deinit(&disk);
    disk.has_dir = true;
    work_init(&work, &disk, 2048, seed);
    n_run_allocs = amb_alloc_count();
    arm(arg);
    if (work_open(&work) == 0) {
        run_steps(26);
        amb_alloc_fail(0, false);
        disk.fault.at = 0;
        bad = run_check(what);
    }
    amb_alloc_fail(0, false);
    disk.fault.at = 0;
    work_close(&work);
    n_run_allocs = amb_alloc_count() - n_run_allocs;
    n_run_calls = disk.n_calls;
    if (second_fault != 0) {
        disk.n_calls = 0;
        disk.fault = (struct test_fault){.at = second_fault, .code = -EIO};
        work_open(&work);
        work_close(&work);
        disk.fault.at = 0;
    }
    if (test_disk_count_fds(&disk) != 0) {
        fprintf(stderr, "%s: %u descriptors are open still\n", what, test_disk_count_fds(&disk));
        bad = 1;
    }
    return bad != 0 ? bad : work_verdict(&work, &disk, work.acked, &whole, what);
}

static void arm_fault(void *arg) {
    disk.fault = *(const struct test_fault *)arg;
}

/* All N for which it takes effect. */
/* n_pairs: every so many-th call of the recovery fails too; 0: none. */
static uint64_t fault_kind(struct test_fault fault, uint64_t seed, uint64_t stride, uint64_t n_pairs) {
    uint64_t n = 0;

    for (fault.at = 1;; fault.at += stride) {
        char what[96];

        snprintf(what, sizeof what, "fault seed %" PRIu64 " call %" PRIu64 "%s kind %d code %d", seed, fault.at,
                 fault.is_forever ? " on" : "", (int)fault.kind, fault.code);
        disk.n_faults = 0;
        count_bad(run_with(arm_fault, &fault, seed, what));
        if (n_run_calls < fault.at) {
            return n;
        }
        n++;
        for (second_fault = 1; n_pairs != 0 && second_fault < 40; second_fault += n_pairs, n++) {
            snprintf(what, sizeof what, "fault seed %" PRIu64 " call %" PRIu64 " and in recovery call %" PRIu64, seed,
                     fault.at, second_fault);
            count_bad(run_with(arm_fault, &fault, seed, what));
        }
        second_fault = 0;
    }
}

static uint64_t suite_fault(void) {
    static const int codes[] = {-EIO, -ENOSPC, -EDQUOT, -EINTR, -EAGAIN, -EMFILE, -ENOMEM, -ESTALE};
    const uint64_t n_seeds = sized(1, 1, 12), stride = sized(29, 1, 1);
    const uint64_t n_pairs = share >= 1 ? 1 : 7; /* one in so many */
    uint64_t n = 0;

    for (uint64_t seed = 1; seed <= n_seeds; seed++) {
        for (int is_forever = 0; is_forever < 2; is_forever++) {
            for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
                struct test_fault fault = {.is_forever = is_forever != 0, .code = codes[i]};

                n += fault_kind(fault, 3 + seed, stride, i == 0 ? n_pairs : 0);
                fault.kind = TEST_FAULT_TORN;
                n += i < 2 ? fault_kind(fault, 3 + seed, stride, 0) : 0;
            }
            for (enum test_fault_kind kind = TEST_FAULT_SHORT; kind <= TEST_FAULT_END; kind++) {
                n += fault_kind((struct test_fault){.is_forever = is_forever != 0, .kind = kind}, 3 + seed, stride, 0);
            }
        }
    }
    return n;
}

/* What a store that was opened again serves must hold, though the sync that failed left all of it clean in memory. */
static int sync_state(uint64_t seed, uint64_t at, uint64_t *random) {
    struct test_fault fault = {.at = at, .code = -EIO};
    char what[64];
    uint64_t served;
    int bad;

    snprintf(what, sizeof what, "sync seed %" PRIu64 " call %" PRIu64, seed, at);
    work_close(&work);
    test_disk_deinit(&disk);
    disk.has_dir = disk.is_logged = true;
    work_init(&work, &disk, 2048, seed);
    disk.fault = fault;
    if (work_open(&work) == 0) {
        run_steps(26);
    }
    work_close(&work);
    disk.fault.at = 0;
    if (work_open(&work) != 0) {
        fprintf(stderr, "%s: cannot be opened again\n", what);
        return 1;
    }
    served = work.store->journal.next_sequence - 1;
    work_close(&work);
    test_disk_deinit(&base);
    base.has_dir = true;
    test_disk_crash(&image, &base, disk.ops, disk.n_ops, random);
    bad = work_verdict(&work, &image, served, &whole, what);
    test_disk_deinit(&image);
    return bad;
}

static uint64_t suite_sync(void) {
    const uint64_t n_seeds = sized(1, 12, 500);
    uint64_t n = 0, random = 4711;

    for (uint64_t seed = 1; seed <= n_seeds; seed++) {
        for (uint64_t at = 1; at == 1 || disk.n_calls >= at; at++, n++) {
            count_bad(sync_state(seed + 70, at, &random));
        }
    }
    return n;
}

struct hunger {
    uint64_t at;
    bool is_forever;
};

static void arm_hunger(void *arg) {
    const struct hunger *hunger = arg;

    amb_alloc_fail(hunger->at, hunger->is_forever);
}

static uint64_t suite_memory(void) {
    const uint64_t n_seeds = sized(1, 60, 1000);
    const uint64_t stride = sized(17, 1, 1);
    uint64_t n = 0;

    for (uint64_t seed = 1; seed <= n_seeds; seed++) {
        for (int is_forever = 0; is_forever < 2; is_forever++) {
            for (struct hunger hunger = {1, is_forever != 0};; hunger.at += stride, n++) {
                char what[64];

                snprintf(what, sizeof what, "memory seed %" PRIu64 " allocation %" PRIu64 "%s", seed, hunger.at,
                         is_forever ? " on" : "");
                count_bad(run_with(arm_hunger, &hunger, seed + 40, what));
                if (n_run_allocs < hunger.at) {
                    break;
                }
            }
        }
    }
    return n;
}

/* R9 */
static int space_state(uint64_t capacity, uint64_t seed) {
    const uint64_t room = capacity / 2 + 65536;
    char what[64];
    uint64_t acked;
    int bad, n_full = 0;

    snprintf(what, sizeof what, "space of %" PRIu64 " bytes", capacity);
    test_disk_deinit(&disk);
    disk.has_dir = true;
    disk.capacity = capacity;
    work_init(&work, &disk, 16384, seed);
    if (work_open(&work) != 0) {
        fprintf(stderr, "%s: no room to begin\n", what);
        return 1;
    }
    for (int i = 0; n_full < 40 && i < 100000; i++) { /* to the brim, and against it */
        int r = i % 3 == 0 ? work_commit(&work)
                           : i % 7 == 0 ? work_curve(&work, 60, (uint32_t)(capacity / 400)) : work_put(&work, 2, 150);

        n_full += r == -ENOSPC;
        n_full += i % 200 == 199 && work_compact(&work) == -ENOSPC;
    }
    bad = n_full < 40 || work.store->journal.poison != 0 ? 1 : run_check(what);
    if (bad != 0) {
        fprintf(stderr, "%s: full %d times, poison %d\n", what, n_full, work.store->journal.poison);
        return 1;
    }
    acked = work.acked;
    disk.capacity += room;
    if (work_put(&work, 3, 150) != 0 || work_commit(&work) != 0) {
        fprintf(stderr, "%s: does not go on when there is room\n", what);
        return 1;
    }
    bad = work.acked <= acked;
    disk.capacity += 4 * capacity;
    bad |= work_compact(&work) != 0 || work_put(&work, 3, 150) != 0 || work_commit(&work) != 0;
    work_close(&work);
    return bad != 0 ? bad : work_verdict(&work, &disk, work.acked, &whole, what);
}

static uint64_t suite_space(void) {
    const uint64_t n = sized(3, 50, 500);

    work_close(&work);
    for (uint64_t i = 0; i < n; i++) {
        count_bad(space_state(65536 + (4194304 - 65536) * i / n / 4096 * 4096, i + 1));
    }
    return n;
}

static const struct {
    const char *name;
    uint64_t (*run)(void);
    const char *counted;
} suites[] = {
    {"prefix", suite_prefix, "prefixes of what was written"},
    {"flip", suite_flip, "flipped bytes"},
    {"power", suite_power, "states after power loss"},
    {"sync", suite_sync, "power losses after a failed call and a new start"},
    {"fault", suite_fault, "failed calls of the system"},
    {"memory", suite_memory, "failed allocations"},
    {"space", suite_space, "disks filled to the brim"},
};

int main(int argc, char **argv) {
    const char *size = getenv("AMBIENTD_CRASH");
    bool is_chosen;

    is_tiny = size != NULL && strcmp(size, "tiny") == 0;
    test_disk_init(&disk);
    test_disk_init(&base);
    test_disk_init(&image);
    test_disk_init(&again);
    if (argc > 2 && strcmp(argv[1], "--share") == 0) {
        share = strtod(argv[2], NULL);
        argc -= 2;
        argv += 2;
    }
    is_chosen = argc > 1;
    for (size_t i = 0; i < sizeof suites / sizeof suites[0]; i++) {
        bool is_wanted = !is_chosen;
        double began = now_s();

        for (int k = 1; k < argc; k++) {
            is_wanted = is_wanted || strcmp(argv[k], suites[i].name) == 0;
        }
        if (is_wanted) {
            uint64_t before = n_bad, n = suites[i].run();

            printf("%-7s %9" PRIu64 " %s: %" PRIu64 " wrong, %.1f s\n", suites[i].name, n, suites[i].counted,
                   n_bad - before, now_s() - began);
            fflush(stdout);
        }
    }
    work_close(&work);
    test_disk_deinit(&disk);
    test_disk_deinit(&base);
    return n_bad != 0;
}
