/*
 * Open: shards, shapes and annotations before the first client; what is odd but allowed is logged as a
 * warning here, what is not allowed stops the start.
 */
#include "daemon/open.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "daemon/findings.h"
#include "daemon/log.h"
#include "daemon/progress.h"

static unsigned cores(void) {
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;

    return n > 0 ? (unsigned)n : 1;
}

/* The folder of shard indexes, made if need be; NULL: indexes live in memory. */
static const char *open_cache_dir(const struct ambd_config *config, char *text, size_t bytes) {
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    struct amb_error err = AMB_ERROR_NULL;

    if (config->cache_dir != NULL) {
        snprintf(text, bytes, "%s", config->cache_dir);
    } else if (config->state_dir != NULL) {
        snprintf(text, bytes, "%s/index", config->state_dir);
    } else if (xdg != NULL && xdg[0] == '/') {
        snprintf(text, bytes, "%s/ambientd/index", xdg);
    } else if (home != NULL && home[0] == '/') {
        snprintf(text, bytes, "%s/.cache/ambientd/index", home);
    } else {
        return NULL;
    }
    if (ambd_folder_make(text, &err) < 0) {
        ambd_log(AMBD_WARN, "index.uncached reason=\"%s\"", err.message);
        return NULL;
    }
    return text;
}

void ambd_open_log(const struct ambd_dataset *dataset, uint64_t began_ns) {
    const struct ambd_edition *edition = dataset->edition;
    const struct amb_catalog_report *report = &edition->report;
    const struct amb_shape *shape = &edition->fill.shape;
    struct ambd_finding findings[AMBD_FINDINGS_MAX];
    size_t n_findings;

    ambd_log(
        AMBD_INFO,
        "dataset.opened name=%s generation=%llu samples=%llu shards=%llu kept=%llu indexed=%llu cached=%llu "
        "shape=%ux%ux%u%s ms=%llu",
        dataset->name, (unsigned long long)edition->number, (unsigned long long)report->n_samples, (unsigned long long)report->n_shards,
        (unsigned long long)report->n_kept, (unsigned long long)report->n_indexed, (unsigned long long)report->n_cached, shape->channels,
        shape->height, shape->width, shape->latent ? " kind=latent" : "",
        (unsigned long long)((ambd_now_ns() - began_ns) / 1000000));
    if (ambd_lines_any(&dataset->refused)) {
        ambd_log(AMBD_WARN, "dataset.restored name=%s generation=%llu annotations=%llu", dataset->name,
                 (unsigned long long)edition->number, (unsigned long long)dataset->current->number);
    }
    n_findings = ambd_findings_get(findings, report);
    for (size_t i = 0; i < n_findings; i++) {
        ambd_log(AMBD_WARN, "%s name=%s n=%llu first=\"%s\"", findings[i].event, dataset->name,
                 (unsigned long long)findings[i].n, findings[i].first);
    }
    if (report->n_excluded < edition->options->n_excludes) {
        ambd_log(AMBD_WARN, "dataset.excludes_unknown name=%s excluded=%llu of=%zu", dataset->name,
                 (unsigned long long)report->n_excluded, edition->options->n_excludes);
    }
    for (size_t i = 0; i < dataset->reports.n; i++) {
        ambd_log(AMBD_INFO, "annotations.read dataset=%s report=\"%s\"", dataset->name,
                 dataset->reports.lines[i]);
    }
}

static int open_one(struct ambd_server *server, const struct ambd_dataset_config *config, struct amb_error *err) {
    struct ambd_dataset *dataset = NULL;
    struct ambd_progress progress;
    uint64_t began_ns = ambd_now_ns();
    const struct ambd_edition_options how = {
        .config = server->config,
        .options = config,
        .state_dir = server->config->state_dir,
        .cache_dir = server->cache_dir,
        .limits = &server->codec_limits,
        .cache = server->cache,
        .progress = ambd_progress_show,
        .progress_opaque = &progress,
    };
    const struct ambd_dataset_options options = {
        .name = config->name,
        .state_dir = server->state_lock_fd >= 0 ? server->config->state_dir : NULL,
        .keep_generations_s = server->config->annotate.keep_generations_days * 86400,
    };
    int r;

    ambd_progress_init(&progress, config->name);
    r = ambd_dataset_open(&dataset, &options, &how, err);
    if (r < 0) {
        return r;
    }
    dataset->server = server;
    ambd_open_log(dataset, began_ns);
    server->datasets[server->n_datasets++] = dataset;
    return 0;
}

/* Before any picture is looked at; a daemon that cannot have what it was told to use does not start. */
static int open_sandbox(struct ambd_server *server, struct amb_error *err) {
    static const char *const argv[] = {"ambientd-decode", AMB_SANDBOX_ARGUMENT, NULL};
    struct amb_error why = AMB_ERROR_NULL;

    if (!server->config->sandbox) {
        return 0;
    }
    server->sandbox.program = "/proc/self/exe";
    server->sandbox.argv = argv;
    server->codec_limits.sandbox = &server->sandbox;
    if (amb_sandbox_check(&server->codec_limits, &why) < 0) {
        return amb_fail(err, why.code,
                        "decode.sandbox: %s; with --no-sandbox (\"decode\":{\"sandbox\":false}) pictures are "
                        "decoded in the daemon's own process: for pictures that you trust",
                        why.message);
    }
    return 0;
}

int ambd_open_datasets(struct ambd_server *server, struct amb_error *err) {
    const struct ambd_config *config = server->config;
    char text[4096];
    const char *cache_dir = open_cache_dir(config, text, sizeof text);
    int r;

    server->cache_dir = cache_dir != NULL ? amb_strdup(cache_dir) : NULL;

    server->n_workers = config->n_workers != 0 ? (unsigned)config->n_workers : cores();
    server->codec_limits = (struct amb_codec_limits){
        .pixels_max = config->limits.image_pixels,
        .side_max = (uint32_t)config->limits.image_side,
        .scans_max = (uint32_t)config->limits.jpeg_scans,
        .cpu_ns = config->limits.decode_cpu_ms * 1000000,
    };
    server->datasets = amb_calloc(config->n_datasets, sizeof *server->datasets);
    if (server->datasets == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for %zu datasets", config->n_datasets);
    }
    r = open_sandbox(server, err);
    r = r < 0 ? r : amb_cache_new(&server->cache, config->cache_bytes, err);
    for (size_t i = 0; i < config->n_datasets && r == 0; i++) {
        r = open_one(server, &config->datasets[i], err);
    }
    return r;
}

void ambd_close_datasets(struct ambd_server *server) {
    for (size_t i = 0; i < server->n_datasets; i++) {
        ambd_dataset_close(server->datasets[i]);
    }
    amb_free(server->datasets);
    server->datasets = NULL;
    server->n_datasets = 0;
    server->cache = amb_cache_free(server->cache);
    amb_free(server->cache_dir);
    server->cache_dir = NULL;
}

static void print_dataset(const struct ambd_dataset *dataset, FILE *out) {
    const struct ambd_edition *edition = dataset->edition;
    const struct amb_catalog_report *report = &edition->report;
    const struct amb_shape *shape = &edition->fill.shape;
    char text[AMB_HASH128_TEXT_BYTES];
    struct ambd_finding findings[AMBD_FINDINGS_MAX];
    size_t n_findings;

    amb_hash128_text(text, &edition->fingerprint);
    fprintf(out, "dataset %s: %llu samples in %llu shards, %u x %u x %u%s\n", dataset->name,
            (unsigned long long)report->n_samples, (unsigned long long)report->n_shards, shape->channels,
            shape->height, shape->width, shape->latent ? " latents" : "");
    fprintf(out, "  fingerprint  %s\n", text);
    for (size_t i = 0; i < edition->n_sources; i++) {
        const struct amb_orders_source *source = &edition->sources[i];

        fprintf(out, "  source %s: %u samples, repeat %g\n",
                amb_catalog_source(edition->fill.catalog, i, NULL, NULL, NULL), source->count,
                source->repeat);
    }
    n_findings = ambd_findings_get(findings, report);
    for (size_t i = 0; i < n_findings; i++) {
        fprintf(out, "  %llu %s%s%s\n", (unsigned long long)findings[i].n, findings[i].text,
                findings[i].first[0] != '\0' ? ", the first: " : "", findings[i].first);
    }
    if (edition->options->n_excludes > 0) {
        fprintf(out, "  %llu samples left out by %zu excludes\n", (unsigned long long)report->n_excluded,
                edition->options->n_excludes);
    }
    amb_hash128_text(text, &dataset->current->annotations->fingerprint);
    fprintf(out, "  annotations  %s, %llu samples set\n", text,
            (unsigned long long)dataset->current->annotations->n_set);
    for (size_t i = 0; i < dataset->reports.n; i++) {
        fprintf(out, "    %s\n", dataset->reports.lines[i]);
    }
}

void ambd_print_datasets(const struct ambd_server *server, FILE *out) {
    for (size_t i = 0; i < server->n_datasets; i++) {
        print_dataset(server->datasets[i], out);
    }
    fprintf(out, "ok\n");
}
