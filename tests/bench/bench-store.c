/*
 * bench-store: what an annotation store takes in, how it opens, and what a record costs.
 *
 * bench-store [--quick] [--records N] [--dir DIR]
 *
 * Records put and committed in groups of 1, 64 and 1,024; then a table of N records (default 10^7: half a GB in DIR,
 * default /tmp; 10^8 wants 10 GB while it compacts), opened warm and with its pages dropped from the cache, and looked
 * up at random. Everything is removed at the end.
 */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "annotate/store.h"

#define BATCH         20000u
#define COMPACT_EVERY 8000000u /* records in memory at most: 0.5 GB */

static char dir[256];
static struct amb_store_record records[BATCH];

static double now_s(void) {
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

/* Of this process, so that a busy machine does not count. */
static double cpu_s(void) {
    struct timespec ts;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static void check(int r, const struct amb_error *err) {
    if (r < 0) {
        fprintf(stderr, "bench-store: %s\n", err->message);
        exit(1);
    }
}

static void fill(uint64_t first, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint64_t number = first + i;

        records[i] = (struct amb_store_record){.uid = amb_hash128_encode(&number, sizeof number),
                                               .origin = AMB_ORIGIN_CLASSIFIER,
                                               .sides = AMB_SIDE_MIN,
                                               .sigma_min = (float)(number % 1000) / 100,
                                               .n_evaluations = 200,
                                               .model = 1};
    }
}

static void put(struct amb_store *store, uint64_t first, size_t n) {
    struct amb_error err = AMB_ERROR_NULL;

    fill(first, n);
    check(amb_store_put(store, records, n, &err), &err);
}

static struct amb_store *open_store(struct amb_store_report *report) {
    struct amb_store *store = NULL;
    struct amb_error err = AMB_ERROR_NULL;

    check(amb_store_open(&store, dir, NULL, report, &err), &err);
    return store;
}

/* Remove the files, or drop them from the page cache. */
static void each_file(int is_removed) {
    DIR *folder = opendir(dir);
    struct dirent *entry;

    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        if (is_removed) {
            unlinkat(dirfd(folder), entry->d_name, 0);
        } else {
            int fd = openat(dirfd(folder), entry->d_name, O_RDONLY);

            if (fd >= 0) {
                posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
                close(fd);
            }
        }
    }
    if (folder != NULL) {
        closedir(folder);
    }
}

static void bench_commits(size_t group, uint64_t n_groups) {
    struct amb_store *store = open_store(NULL);
    struct amb_error err = AMB_ERROR_NULL;
    double began = now_s(), elapsed;

    for (uint64_t i = 0; i < n_groups; i++) {
        put(store, i * group, group);
        check(amb_store_commit(store, &err), &err);
    }
    elapsed = now_s() - began;
    printf("put and commit by %4zu: %10.0f records/s, %6.3f ms a commit\n", group,
           (double)(n_groups * group) / elapsed, elapsed * 1e3 / (double)n_groups);
    amb_store_close(store);
    each_file(1);
}

static void bench_table(uint64_t n) {
    struct amb_store_report report;
    struct amb_store *store = open_store(NULL);
    struct amb_error err = AMB_ERROR_NULL;
    double began = now_s(), compacting = 0;

    for (uint64_t i = 0; i < n; i += BATCH) {
        put(store, i, n - i < BATCH ? (size_t)(n - i) : BATCH);
        if ((i + BATCH) % COMPACT_EVERY == 0 || i + BATCH >= n) {
            double start = now_s();

            check(amb_store_commit(store, &err), &err);
            check(amb_store_compact(store, 1, &err), &err);
            compacting += now_s() - start;
        }
    }
    printf("%" PRIu64 " records: %.0f records/s into the journal, %.1f s of compaction\n", n,
           (double)n / (now_s() - began - compacting), compacting);
    amb_store_get_report(&report, store);
    printf("table: %" PRIu64 " records, %.3f bytes each\n", report.n_records,
           (double)report.table_bytes / (double)report.n_records);
    amb_store_close(store);
}

static void bench_open(void) {
    struct amb_store *store;
    double began;

    for (int i = 0; i < 2; i++) {
        if (i == 1) {
            each_file(0);
        }
        began = now_s();
        store = open_store(NULL);
        printf("open, %s: %.2f ms\n", i == 0 ? "warm" : "pages dropped", (now_s() - began) * 1e3);
        amb_store_close(store);
    }
}

/* A journal as long as it gets before compaction is wanted. */
static void bench_replay(uint64_t first) {
    struct amb_store_report report;
    struct amb_store *store = open_store(NULL);
    struct amb_error err = AMB_ERROR_NULL;
    double began, cpu;

    while (!amb_store_wants_compaction(store)) {
        put(store, first, BATCH);
        first += BATCH;
    }
    check(amb_store_commit(store, &err), &err);
    amb_store_close(store);
    began = now_s();
    cpu = cpu_s();
    store = open_store(&report);
    printf("open with %" PRIu64 " records in a journal of %.0f MB: %.2f ms, of them %.2f on the processor\n",
           report.n_replayed, (double)report.journal_bytes / 1e6, (now_s() - began) * 1e3, (cpu_s() - cpu) * 1e3);
    amb_store_close(store);
}

static void bench_lookups(uint64_t n_records, uint64_t n) {
    struct amb_store *store = open_store(NULL);
    struct amb_store_record out[AMB_ORIGIN_N];
    uint64_t n_found = 0, number = 1;
    double began = now_s(), cpu = cpu_s(), elapsed;
    struct rusage usage;

    for (uint64_t i = 0; i < n; i++) {
        struct amb_hash128 uid;
        uint64_t wanted;
        size_t n_out;

        number = number * 6364136223846793005u + 1442695040888963407u;
        wanted = (number >> 20) % n_records;
        uid = amb_hash128_encode(&wanted, sizeof wanted);
        amb_store_get(out, &n_out, store, &uid, 0);
        n_found += n_out;
    }
    elapsed = now_s() - began;
    getrusage(RUSAGE_SELF, &usage);
    printf("look-ups: %.0f/s, %.2f us of processor each, %" PRIu64 " of %" PRIu64
           " found; peak memory %ld MB (mapped pages included)\n",
           (double)n / elapsed, (cpu_s() - cpu) * 1e6 / (double)n, n_found, n, usage.ru_maxrss / 1024);
    if (n_found != n) {
        fprintf(stderr, "bench-store: records are missing\n");
        exit(1);
    }
    amb_store_close(store);
}

int main(int argc, char **argv) {
    const char *root = "/tmp";
    uint64_t n = 10000000;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--quick") == 0) {
            n = 200000;
        } else if (i + 1 < argc && strcmp(argv[i], "--records") == 0) {
            n = strtoull(argv[++i], NULL, 10);
        } else if (i + 1 < argc && strcmp(argv[i], "--dir") == 0) {
            root = argv[++i];
        } else {
            fprintf(stderr, "bench-store: unknown option %s\n", argv[i]);
            return 2;
        }
    }
    snprintf(dir, sizeof dir, "%.200s/bench-store-XXXXXX", root);
    if (mkdtemp(dir) == NULL || n == 0) {
        perror(dir);
        return 1;
    }
    bench_commits(1, n >= 1000000 ? 3000 : 300);
    bench_commits(64, n >= 1000000 ? 2000 : 200);
    bench_commits(1024, n >= 1000000 ? 500 : 50);
    bench_table(n);
    bench_open();
    bench_lookups(n, n < 1000000 ? n : 1000000);
    bench_replay(n);
    each_file(1);
    rmdir(dir);
    return 0;
}
