/*
 * Catalog, indexing: threads take the next shard from a counter; the thread of open waits and reports
 * progress.
 *
 * Results go to their own place in the array, so the order of shards is that of the patterns whichever thread
 * was faster. The error told is that of the first bad shard in this order among those looked at; indexing
 * stops soon after one is found. Where all are to be told it goes on, but not behind what this machine lacks: each
 * further shard would lack it too, and those who read meanwhile with it.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "shard/catalog-private.h"

#define INDEX_THREADS_MAX 64u        /* not tuned */
#define INDEX_PROGRESS_NS 100000000L /* ten times a second: the contract of amb_catalog_progress */

struct index_result {
    struct amb_shard *shard; /* NULL where bad */
    bool kept;
};

struct index_work {
    const struct catalog_job *jobs;
    const struct amb_catalog_options *options;
    struct index_result *results; /* one for each job */
    size_t n_jobs;
    struct amb_shard **known; /* of the catalog before, sorted by path */
    size_t n_known;
    _Atomic size_t next;
    _Atomic bool stop;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    size_t n_done, n_running;
    uint64_t n_samples, n_bad;
    size_t i_failed, i_bad; /* lowest; SIZE_MAX: none */
    struct amb_error failed, bad;
};

/* This machine lacks something; the shard may be as good as any. */
static bool index_lacks(int code) {
    return code == -ENOMEM || code == -EMFILE || code == -ENFILE;
}

static void index_note_locked(struct index_work *work, size_t i, int r, const struct amb_error *why) {
    work->n_done++;
    if (r == 0) {
        work->n_samples += work->results[i].shard->index.n_samples;
    } else if (work->jobs[i].skip_bad && !index_lacks(r)) {
        work->n_bad++;
        if (i < work->i_bad) {
            work->i_bad = i;
            work->bad = *why;
        }
    } else {
        work->stop = work->stop || work->options->problem == NULL || index_lacks(r);
        if (work->options->problem != NULL) {
            work->options->problem(work->options->problem_opaque, why);
        }
        if (i < work->i_failed) {
            work->i_failed = i;
            work->failed = *why;
        }
    }
}

static int known_compare(const void *a, const void *b) {
    return strcmp((*(struct amb_shard *const *)a)->path, (*(struct amb_shard *const *)b)->path);
}

static int known_find(const void *path, const void *shard) {
    return strcmp(path, (*(struct amb_shard *const *)shard)->path);
}

static int known_init(struct index_work *work, struct amb_error *err) {
    const struct amb_catalog *before = work->options->before;

    if (before == NULL) {
        return 0;
    }
    work->known = amb_malloc(before->n_shards * sizeof *work->known);
    if (work->known == NULL) {
        return amb_fail(err, -ENOMEM, "catalog: no memory for %zu shards", before->n_shards);
    }
    work->n_known = before->n_shards;
    for (size_t i = 0; i < work->n_known; i++) {
        work->known[i] = before->shards[i].shard;
    }
    qsort(work->known, work->n_known, sizeof *work->known, known_compare);
    return 0;
}

/* All known shards of one path: several sources may name it. */
static struct amb_shard *const *known_get(size_t *n, const struct index_work *work, const char *path) {
    struct amb_shard **end = work->known + work->n_known, **found, **last;

    *n = 0;
    if (work->n_known == 0) {
        return NULL;
    }
    found = bsearch(path, work->known, work->n_known, sizeof *work->known, known_find);
    if (found == NULL) {
        return NULL;
    }
    while (found > work->known && strcmp(found[-1]->path, path) == 0) {
        found--;
    }
    last = found;
    while (last < end && strcmp((*last)->path, path) == 0) {
        last++;
    }
    *n = (size_t)(last - found);
    return found;
}

/* A call to end outweighs whatever shards are bad: who gave it wants to go. */
static void index_end(struct index_work *work, const struct amb_error *why) {
    pthread_mutex_lock(&work->lock);
    work->stop = true;
    work->i_failed = 0;
    work->failed = *why;
    pthread_mutex_unlock(&work->lock);
}

/* How many files of the catalog before were replaced is not known before they are opened. */
static int index_open(struct index_work *work, size_t i, struct amb_rest *rest, struct amb_error *err) {
    struct index_result *result = &work->results[i];
    struct amb_shard_options options = work->jobs[i].options;
    size_t n_known;
    struct amb_shard *const *known = known_get(&n_known, work, work->jobs[i].path);
    int r;

    options.rest = rest;
    r = amb_shard_open(&result->shard, &result->kept, work->jobs[i].path, &options, known, n_known, err);
    return r == 0 && !result->kept ? amb_map_spare_files(err) : r;
}

static void *index_run(void *opaque) {
    struct index_work *work = opaque;
    struct amb_rest mine, *rest = work->options->rest != NULL ? &mine : NULL;

    amb_rest_init(&mine, work->options->rest, work->options->rest_opaque);
    for (;;) {
        size_t i = atomic_fetch_add(&work->next, 1);
        struct amb_error why = AMB_ERROR_NULL;
        int r;

        if (i >= work->n_jobs || work->stop) {
            break;
        }
        r = index_open(work, i, rest, &why);
        if (!amb_rest_ended(rest)) {
            pthread_mutex_lock(&work->lock);
            index_note_locked(work, i, r, &why);
            pthread_mutex_unlock(&work->lock);
            amb_rest_take(rest, NULL);
        }
        if (amb_rest_ended(rest)) {
            index_end(work, &rest->why);
        }
    }
    pthread_mutex_lock(&work->lock);
    work->n_running--;
    pthread_cond_signal(&work->changed);
    pthread_mutex_unlock(&work->lock);
    return NULL;
}

/* The callback runs unlocked: it may take its time. */
static void index_wait(struct index_work *work, const struct amb_catalog_options *options) {
    size_t n_running = 1;

    while (n_running != 0) {
        struct timespec until;
        size_t n_done;
        uint64_t n_samples;

        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += INDEX_PROGRESS_NS;
        if (until.tv_nsec >= 1000000000L) {
            until.tv_nsec -= 1000000000L;
            until.tv_sec++;
        }
        pthread_mutex_lock(&work->lock);
        while (work->n_running != 0 &&
               pthread_cond_timedwait(&work->changed, &work->lock, &until) != ETIMEDOUT) {
        }
        n_running = work->n_running;
        n_done = work->n_done;
        n_samples = work->n_samples;
        pthread_mutex_unlock(&work->lock);
        if (options->progress != NULL) {
            options->progress(options->opaque, n_done, work->n_jobs, n_samples);
        }
    }
}

static size_t index_count_threads(const struct amb_catalog_options *options, size_t n_jobs) {
    long n_cores = sysconf(_SC_NPROCESSORS_ONLN);
    size_t n = options->n_threads != 0 ? options->n_threads : n_cores > 0 ? (size_t)n_cores : 1;

    n = n < n_jobs ? n : n_jobs;
    return n < INDEX_THREADS_MAX ? n : INDEX_THREADS_MAX;
}

static void index_run_all(struct index_work *work, const struct amb_catalog_options *options) {
    pthread_t threads[INDEX_THREADS_MAX];
    size_t n_threads = index_count_threads(options, work->n_jobs), n = 0;

    pthread_mutex_lock(&work->lock);
    while (n < n_threads && pthread_create(&threads[n], NULL, index_run, work) == 0) {
        n++;
    }
    work->n_running = n;
    pthread_mutex_unlock(&work->lock);
    if (n == 0) {
        work->n_running = 1; /* no thread to be had: do it here */
        index_run(work);
    }
    index_wait(work, options);
    for (size_t i = 0; i < n; i++) {
        pthread_join(threads[i], NULL);
    }
}

static void index_note_text(char out[256], const struct amb_shard *shard, const char *text) {
    if (out[0] == '\0' && text[0] != '\0') {
        snprintf(out, 256, "%.127s: %.120s", shard->path, text);
    }
}

static void index_report(struct amb_catalog_report *report, const struct index_result *result) {
    const struct amb_shard *shard = result->shard;
    const struct amb_index *index = &shard->index;
    uint64_t names_bytes = amb_index_names_bytes(index);

    report->n_kept += result->kept;
    report->n_cached += shard->is_cached && !result->kept;
    report->n_indexed += !shard->is_cached && !result->kept;
    report->n_without_image += index->n_without_image;
    report->n_bad_labels += index->n_bad_labels;
    report->n_hidden += index->n_hidden;
    report->n_symlinks += index->n_symlinks;
    report->names_bytes += names_bytes;
    report->index_bytes += index->image_bytes - names_bytes;
    index_note_text(report->first_without_image, shard, index->first_without_image);
    index_note_text(report->first_bad_label, shard, index->first_bad_label);
    index_note_text(report->first_hidden, shard, index->first_hidden);
    if (shard->cache_code != 0) {
        report->uncached_code = report->n_uncached == 0 ? shard->cache_code : report->uncached_code;
        report->n_uncached++;
    }
}

/* Move the good shards into the catalog. */
static int index_adopt(struct amb_catalog *cat, struct index_work *work, struct amb_catalog_report *report,
                       struct amb_error *err) {
    cat->shards = amb_calloc(work->n_jobs, sizeof *cat->shards);
    cat->firsts = amb_calloc(work->n_jobs + 1, sizeof *cat->firsts);
    if (cat->shards == NULL || cat->firsts == NULL) {
        return amb_fail(err, -ENOMEM, "catalog: out of memory");
    }
    for (size_t i = 0; i < work->n_jobs; i++) {
        struct index_result *result = &work->results[i];

        if (result->shard == NULL) {
            continue;
        }
        index_report(report, result);
        if (result->shard->index.key_bytes_max > cat->key_bytes_max) {
            cat->key_bytes_max = result->shard->index.key_bytes_max;
        }
        cat->shards[cat->n_shards++] =
            (struct catalog_shard){.shard = amb_steal_ptr(result->shard), .i_source = work->jobs[i].i_source};
    }
    report->n_bad_shards = work->n_bad;
    if (work->n_bad != 0) {
        snprintf(report->first_bad_shard, sizeof report->first_bad_shard, "%.255s", work->bad.message);
    }
    return 0;
}

int catalog_index(struct amb_catalog *cat, const struct catalog_job *jobs, size_t n_jobs,
                  const struct amb_catalog_options *options, struct amb_catalog_report *report,
                  struct amb_error *err) {
    struct index_work work = {
        .jobs = jobs, .options = options, .n_jobs = n_jobs, .i_failed = SIZE_MAX, .i_bad = SIZE_MAX};
    pthread_condattr_t clock;
    int r;

    work.results = amb_calloc(n_jobs, sizeof *work.results);
    if (work.results == NULL) {
        return amb_fail(err, -ENOMEM, "catalog: no memory for %zu shards", n_jobs);
    }
    r = known_init(&work, err);
    if (r < 0) {
        amb_free(work.results);
        return r;
    }
    pthread_mutex_init(&work.lock, NULL);
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&work.changed, &clock);
    index_run_all(&work, options);
    if (work.i_failed != SIZE_MAX) {
        r = amb_fail(err, work.failed.code, "%s", work.failed.message);
    } else {
        r = index_adopt(cat, &work, report, err);
    }
    for (size_t i = 0; i < n_jobs; i++) {
        amb_shard_unref(work.results[i].shard);
    }
    pthread_cond_destroy(&work.changed);
    pthread_condattr_destroy(&clock);
    pthread_mutex_destroy(&work.lock);
    amb_free(work.known);
    amb_free(work.results);
    return r;
}
