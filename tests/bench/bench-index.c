/*
 * bench-index: how long a first and a second start take, and what a sample costs.
 *
 * bench-index [--shards N] [--samples N] [--links N] [--dir DIR]
 *
 * Makes N shards (default 1,000) of N tiny samples (default 1,000: 1 GB in DIR, default /tmp) and opens them
 * twice; then one shard of 10,000 samples under `links` names (default 1,000: hard links, told apart by
 * key_scope: shard), which makes 10^7 samples without 10 GB of disk. Everything is removed at the end.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/philox.h"
#include "shard/catalog.h"

#define LINKED_SAMPLES 10000u
#define BLOCK          512u

static double now_s(void) {
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static void die(const char *what, const char *why) {
    fprintf(stderr, "bench-index: %s: %s\n", what, why);
    exit(1);
}

static long status_kib(const char *field) {
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    long kib = 0;

    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, field, strlen(field)) == 0) {
            kib = atol(line + strlen(field) + 1);
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return kib;
}

static void put_member(struct amb_buf *tar, const char *name, const char *text) {
    uint8_t h[2 * BLOCK] = {0};
    unsigned sum = 8 * ' ';

    snprintf((char *)h, 100, "%s", name);
    snprintf((char *)h + 124, 12, "%011o", (unsigned)strlen(text));
    h[156] = '0';
    memcpy(h + 257, "ustar", 6);
    for (size_t i = 0; i < BLOCK; i++) {
        sum += h[i];
    }
    snprintf((char *)h + 148, 8, "%06o", sum);
    snprintf((char *)h + BLOCK, BLOCK, "%s", text);
    if (amb_buf_push(tar, h, sizeof h) != 0) {
        die("tar", "out of memory");
    }
}

/* A shard whose keys are numbers from `first` on; its times lie in the past, so that its index is cached. */
static void write_shard(const char *path, unsigned long first, unsigned n, struct amb_buf *tar) {
    const struct timespec old[2] = {{1700000000, 0}, {1700000000, 0}};
    int fd;

    tar->n_bytes = 0;
    for (unsigned i = 0; i < n; i++) {
        char name[32];

        snprintf(name, sizeof name, "%09lu.png", first + i);
        put_member(tar, name, name);
    }
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, tar->data, tar->n_bytes) != (ssize_t)tar->n_bytes || futimens(fd, old) != 0) {
        die(path, strerror(errno));
    }
    close(fd);
}

static struct amb_catalog *open_timed(const char *what, const char *pattern, const char *cache, bool scoped) {
    struct amb_source_options source = {.name = "main",
                                        .patterns = &pattern,
                                        .n_patterns = 1,
                                        .repeat = 1.0,
                                        .key_scope_shard = scoped,
                                        .corruption_label = AMB_LABEL_NONE};
    struct amb_catalog_options options = {.cache_dir = cache};
    struct amb_catalog_report report;
    struct amb_catalog *cat = NULL;
    struct amb_error err = AMB_ERROR_NULL;
    long before = status_kib("RssAnon:"), after;
    double began = now_s(), took;
    double n;

    if (amb_catalog_open(&cat, &source, 1, &options, &report, &err) != 0) {
        die("open", err.message);
    }
    took = now_s() - began;
    after = status_kib("RssAnon:");
    n = (double)report.n_samples;
    printf("%-12s %9.1f ms   %llu samples, %llu shards, %llu from the cache; index %.2f B a sample, names "
           "%.2f B; "
           "resident besides %+ld KiB\n",
           what, took * 1e3, (unsigned long long)report.n_samples, (unsigned long long)report.n_shards,
           (unsigned long long)report.n_cached, (double)report.index_bytes / n,
           (double)report.names_bytes / n, after - before);
    return cat;
}

static void bench_calls(struct amb_catalog *cat) {
    enum { CALLS = 1000000 };
    uint32_t n = amb_catalog_count(cat), hits = 0;
    struct amb_sample_info info;
    struct amb_error err;
    struct amb_buf buf = AMB_BUF_NULL;
    uint64_t sum = 0;
    double t[5];

    t[0] = now_s();
    for (uint64_t i = 0; i < CALLS; i++) {
        amb_catalog_get(&info, cat, (uint32_t)(amb_philox(1, i, 0).w[0] % n));
        sum += info.payload_bytes;
    }
    t[1] = now_s();
    for (uint64_t i = 0; i < CALLS; i++) {
        struct amb_hash128 uid = amb_catalog_uid(cat, (uint32_t)(amb_philox(2, i, 0).w[0] % n));

        sum += uid.bytes[0];
    }
    t[2] = now_s();
    for (uint64_t i = 0; i < CALLS / 4; i++) {
        if (amb_catalog_read(&buf, cat, (uint32_t)(amb_philox(3, i, 0).w[0] % n), &err) != 0) {
            die("read", err.message);
        }
        sum += buf.data[0];
    }
    t[3] = now_s();
    for (uint64_t i = 0; i < CALLS / 4; i++) {
        uint32_t found;
        char name[256];

        amb_catalog_get(&info, cat, (uint32_t)(amb_philox(4, i, 0).w[0] % n));
        memcpy(name, info.key, info.key_bytes);
        hits += amb_catalog_find(&found, cat, name, info.key_bytes) == 1;
    }
    t[4] = now_s();
    printf("get %.0f ns, uid %.0f ns, read %.0f ns, find %.0f ns (tables built in between), %u of %u found, "
           "sum %llu\n",
           (t[1] - t[0]) / CALLS * 1e9, (t[2] - t[1]) / CALLS * 1e9, (t[3] - t[2]) / CALLS * 4e9,
           (t[4] - t[3]) / CALLS * 4e9, hits, CALLS / 4, (unsigned long long)sum);
    amb_buf_deinit(&buf);
}

static void bench_starts(const char *pattern, const char *cache, bool scoped) {
    for (unsigned i = 0; i < 3; i++) {
        struct amb_catalog *cat = open_timed(i == 0 ? "first start" : "second start", pattern, cache, scoped);

        if (i == 2) {
            bench_calls(cat);
        }
        amb_catalog_unref(cat);
    }
}

static void make_shards(const char *folder, unsigned n_shards, unsigned n_samples) {
    struct amb_buf tar = AMB_BUF_NULL;
    char path[512];

    for (unsigned i = 0; i < n_shards; i++) {
        snprintf(path, sizeof path, "%s/real/shard-%06u.tar", folder, i);
        write_shard(path, (unsigned long)i * n_samples, n_samples, &tar);
    }
    amb_buf_deinit(&tar);
}

static void make_links(const char *folder, unsigned n_links) {
    struct amb_buf tar = AMB_BUF_NULL;
    char first[512], path[512];

    snprintf(first, sizeof first, "%s/linked/000000", folder);
    write_shard(first, 0, LINKED_SAMPLES, &tar);
    for (unsigned i = 1; i < n_links; i++) {
        snprintf(path, sizeof path, "%s/linked/%06u", folder, i);
        if (link(first, path) != 0) {
            die(path, strerror(errno));
        }
    }
    amb_buf_deinit(&tar);
}

int main(int argc, char **argv) {
    unsigned n_shards = 1000, n_samples = 1000, n_links = 1000;
    const char *dir = "/tmp";
    char folder[256], pattern[512], cache[512], command[1024];

    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--shards") == 0) {
            n_shards = (unsigned)strtoul(argv[i + 1], NULL, 10);
        } else if (strcmp(argv[i], "--samples") == 0) {
            n_samples = (unsigned)strtoul(argv[i + 1], NULL, 10);
        } else if (strcmp(argv[i], "--links") == 0) {
            n_links = (unsigned)strtoul(argv[i + 1], NULL, 10);
        } else if (strcmp(argv[i], "--dir") == 0) {
            dir = argv[i + 1];
        } else {
            die(argv[i], "known are --shards, --samples, --links, --dir");
        }
    }
    snprintf(folder, sizeof folder, "%s/bench-index-XXXXXX", dir);
    if (mkdtemp(folder) == NULL) {
        die(folder, strerror(errno));
    }
    snprintf(command, sizeof command, "mkdir '%s/real' '%s/linked'", folder, folder);
    if (system(command) != 0) {
        die(folder, "cannot make folders");
    }
    snprintf(cache, sizeof cache, "%s/cache", folder);
    if (n_shards != 0) {
        make_shards(folder, n_shards, n_samples);
        snprintf(pattern, sizeof pattern, "%s/real/*.tar", folder);
        bench_starts(pattern, cache, false);
    }
    if (n_links != 0) {
        make_links(folder, n_links);
        snprintf(pattern, sizeof pattern, "%s/linked/*", folder);
        bench_starts(pattern, cache, true);
    }
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command) == 0 ? 0 : 1;
}
