/*
 * test-store-kill [N]: a process that writes to a real store is killed at a random time, N times (2,000).      (R4)
 *
 * What the record of sequence s holds is a function of s, so nothing but the number that was last acknowledged needs to
 * outlive the process; it lies in memory that both share, outside the store. After each kill the store is opened: it
 * must hold exactly the records 1 to P, P at least what was acknowledged; opened again it is the same, and takes a
 * record. Prints counts; the exit status is 1 if anything was wrong. AMBIENTD_CRASH=tiny makes it 20 kills.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "annotate/store-private.h"
#include "base/test-disk.h"

#define N_KEYS        150u
#define SEGMENT_BYTES 16384u
#define KILL_NS_MAX   6000000u /* a child opens, recovers and commits some times in it */

static char dir[64];
static _Atomic uint64_t *acked; /* shared with the child */
static uint64_t n_acks, n_torn, n_unacked;

static uint64_t key_of(uint64_t sequence) {
    return amb_hash_words("key", &sequence, 1) % N_KEYS;
}

static struct amb_store_record record_of(uint64_t sequence) {
    uint64_t key = key_of(sequence);

    return (struct amb_store_record){.uid = amb_hash128_encode(&key, sizeof key),
                                     .origin = AMB_ORIGIN_CLASSIFIER,
                                     .sides = AMB_SIDE_MIN,
                                     .sigma_min = (float)sequence,
                                     .n_evaluations = (uint32_t)sequence & 0xFFFFFF,
                                     .sequence = sequence};
}

static struct amb_store *open_store(struct amb_store_report *report) {
    const struct amb_store_options options = {.segment_bytes = SEGMENT_BYTES};
    struct amb_store *store = NULL;
    struct amb_error err = AMB_ERROR_NULL;

    if (amb_store_open(&store, dir, &options, report, &err) != 0) {
        fprintf(stderr, "%s\n", err.message);
    }
    return store;
}

static int put(struct amb_store *store, size_t n) {
    struct amb_store_record records[16];

    for (size_t i = 0; i < n; i++) {
        records[i] = record_of(store->journal.next_sequence + i);
    }
    return amb_store_put(store, records, n, NULL);
}

static void acknowledge(const struct amb_store *store) {
    atomic_store(acked, store->journal.next_sequence - 1);
}

static void child_run(uint64_t seed) {
    struct amb_store_report report;
    struct amb_store *store = open_store(&report);

    for (uint64_t random = seed; store != NULL;) {
        uint64_t bits = test_random(&random);

        if (put(store, 1 + bits % 16) != 0) {
            _exit(2);
        }
        if ((bits >> 32) % 2 == 0) {
            if (amb_store_commit(store, NULL) != 0) {
                _exit(2);
            }
            acknowledge(store);
        }
        if ((bits >> 40) % 32 == 0) {
            if (amb_store_compact(store, 1, NULL) != 0) {
                _exit(2);
            }
            acknowledge(store);
        }
    }
    _exit(2);
}

/* Is each key's record the last one up to `last`, and nothing else there? */
static int check(const struct amb_store *store, uint64_t last, const char *which) {
    bool seen[N_KEYS] = {false};
    uint32_t n_seen = 0;

    for (uint64_t s = last; s > 0 && n_seen < N_KEYS; s--) {
        struct amb_store_record out[AMB_ORIGIN_N], expected = record_of(s);
        size_t n;

        if (seen[key_of(s)]) {
            continue;
        }
        seen[key_of(s)] = true;
        n_seen++;
        amb_store_get(out, &n, store, &expected.uid, 0);
        if (n != 1 || out[0].sequence != s || out[0].sigma_min != expected.sigma_min ||
            out[0].n_evaluations != expected.n_evaluations) {
            fprintf(stderr, "%s: key of %" PRIu64 " has sequence %" PRIu64 " (%zu records), recovered up to %" PRIu64 "\n",
                    which, s, n != 0 ? out[0].sequence : 0, n, last);
            return 1;
        }
    }
    return 0;
}

static int judge(void) {
    const uint64_t promised = atomic_load(acked);
    struct amb_store_report report;
    struct amb_store *store = open_store(&report);
    uint64_t last;
    int bad;

    if (store == NULL) {
        return 1;
    }
    last = store->journal.next_sequence - 1;
    n_torn += report.torn_bytes != 0;
    n_unacked += last - promised;
    bad = report.n_damaged != 0 || last < promised;
    if (bad != 0) {
        fprintf(stderr, "recovered up to %" PRIu64 ", acknowledged %" PRIu64 ", damage: %s\n", last, promised,
                report.first_damage);
    }
    bad |= check(store, last, "first");
    amb_store_close(store);
    store = open_store(&report);
    if (store == NULL || store->journal.next_sequence - 1 != last || report.torn_bytes != 0) {
        fprintf(stderr, "the second recovery differs\n");
        return 1;
    }
    bad |= check(store, last, "second");
    if (put(store, 1) != 0 || amb_store_commit(store, NULL) != 0 || check(store, last + 1, "append") != 0) {
        fprintf(stderr, "no record can be appended\n");
        bad = 1;
    }
    acknowledge(store);
    amb_store_close(store);
    return bad;
}

/* 0, or 1 if the child ended by itself. */
static int kill_once(uint64_t seed, uint64_t delay_ns) {
    struct timespec delay = {0, (long)delay_ns};
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        child_run(seed);
    }
    if (pid < 0) {
        perror("fork");
        return 1;
    }
    nanosleep(&delay, NULL);
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
        fprintf(stderr, "the writer ended by itself: %d\n", status);
        return 1;
    }
    return 0;
}

static int remove_on_name(void *arg, const char *name) {
    char path[4096];

    (void)arg;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    unlink(path);
    return 0;
}

int main(int argc, char **argv) {
    const char *size = getenv("AMBIENTD_CRASH"), *root = getenv("TMPDIR");
    uint64_t n = size != NULL && strcmp(size, "tiny") == 0 ? 20 : 2000, random = 20240229, i = 0;
    struct timespec began, ended;
    int bad = 0;

    n = argc > 1 ? strtoull(argv[1], NULL, 10) : n;
    acked = mmap(NULL, sizeof *acked, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    snprintf(dir, sizeof dir, "%.30s/test-store-kill-XXXXXX", root != NULL ? root : "/tmp");
    if (acked == MAP_FAILED || mkdtemp(dir) == NULL) {
        perror(dir);
        return 1;
    }
    clock_gettime(CLOCK_MONOTONIC, &began);
    for (; bad == 0 && i < n; i++) {
        const uint64_t before = atomic_load(acked);

        bad = kill_once(test_random(&random), test_random(&random) % KILL_NS_MAX);
        n_acks += atomic_load(acked) != before;
        bad |= judge();
    }
    clock_gettime(CLOCK_MONOTONIC, &ended);
    printf("kill    %9" PRIu64 " kills of a writer: %d wrong; %" PRIu64 " records, acknowledged in %" PRIu64
           " runs, %" PRIu64 " unacknowledged ones survived, %" PRIu64 " torn tails, %.1f s\n",
           i, bad, atomic_load(acked), n_acks, n_unacked, n_torn,
           (double)(ended.tv_sec - began.tv_sec) + (double)(ended.tv_nsec - began.tv_nsec) * 1e-9);
    amb_io_system.list(NULL, dir, remove_on_name, NULL);
    rmdir(dir);
    return bad;
}
