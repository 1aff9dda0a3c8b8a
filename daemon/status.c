/*
 * Status: STATUS and GENERATIONS, answered on the loop from what it knows anyway; nothing here walks samples.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "daemon/findings.h"
#include "daemon/log.h"
#include "daemon/queries.h"
#include "daemon/reload.h"
#include "daemon/stream.h"
#include "daemon/text.h"
#include "noise/normal.h"
#include "proto/json.h"
#include "shard/guard.h"

static void add_fingerprint(cJSON *json, const char *key, const struct amb_hash128 *hash) {
    char text[AMB_HASH128_TEXT_BYTES];

    amb_hash128_text(text, hash);
    cJSON_AddStringToObject(json, key, text);
}

static uint64_t resident_bytes(void) {
    AMB_CLEANUP(amb_file_closep) FILE *file = fopen("/proc/self/statm", "re");
    unsigned long long total, resident;

    return file != NULL && fscanf(file, "%llu %llu", &total, &resident) == 2
               ? resident * (unsigned long long)sysconf(_SC_PAGESIZE)
               : 0;
}

static void add_server(cJSON *json, struct ambd_server *server) {
    cJSON *object = cJSON_AddObjectToObject(json, "server");
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    cJSON_AddStringToObject(object, "version", AMB_VERSION);
    cJSON_AddNumberToObject(object, "pid", (double)getpid());
    cJSON_AddNumberToObject(object, "uptime_s", (double)(ambd_now_ns() - server->started_ns) * 1e-9);
    ambd_json_add_string(object, "socket", server->endpoint.path);
    cJSON_AddNumberToObject(object, "workers", server->n_workers);
    ambp_json_add_u64(object, "rss_bytes", resident_bytes());
    cJSON_AddNumberToObject(object, "cpu_s",
                            (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                                1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) +
                                1e-9 * (double)atomic_load(&server->sandbox.counters.cpu_ns));
    cJSON_AddStringToObject(object, "codecs", amb_codec_versions());
    cJSON_AddStringToObject(object, "path", amb_path_name(amb_path_get()));
}

static void add_sandbox(cJSON *json, const struct ambd_server *server) {
    const struct amb_sandbox_counters *c = &server->sandbox.counters;
    cJSON *object = cJSON_AddObjectToObject(json, "sandbox");

    cJSON_AddBoolToObject(object, "on", server->codec_limits.sandbox != NULL);
    ambp_json_add_u64(object, "running", atomic_load_explicit(&c->n_running, memory_order_relaxed));
    ambp_json_add_u64(object, "restarts", atomic_load_explicit(&c->n_restarts, memory_order_relaxed));
    ambp_json_add_u64(object, "faults", atomic_load_explicit(&c->n_faults, memory_order_relaxed));
    ambp_json_add_u64(object, "late", atomic_load_explicit(&c->n_late, memory_order_relaxed));
    ambp_json_add_u64(object, "lost", atomic_load_explicit(&c->n_lost, memory_order_relaxed));
    ambp_json_add_u64(object, "refused", atomic_load_explicit(&c->n_refused, memory_order_relaxed));
}

static void add_cache(cJSON *json, struct ambd_server *server) {
    cJSON *object = cJSON_AddObjectToObject(json, "cache");
    struct amb_cache_stats stats;

    amb_cache_get_stats(&stats, server->cache);
    ambp_json_add_u64(object, "hits", stats.n_hits);
    ambp_json_add_u64(object, "misses", stats.n_misses);
    ambp_json_add_u64(object, "evictions", stats.n_evictions);
    ambp_json_add_u64(object, "entries", stats.n_entries);
    ambp_json_add_u64(object, "used_bytes", stats.used_bytes);
    ambp_json_add_u64(object, "capacity_bytes", stats.capacity_bytes);
}

static void add_sources(cJSON *json, const struct ambd_dataset *dataset) {
    cJSON *sources = cJSON_AddArrayToObject(json, "sources");

    for (size_t i = 0; i < dataset->edition->n_sources; i++) {
        cJSON *row = cJSON_CreateObject();

        ambd_json_add_string(row, "name", amb_catalog_source(dataset->edition->fill.catalog, i, NULL, NULL, NULL));
        cJSON_AddNumberToObject(row, "samples", dataset->edition->sources[i].count);
        cJSON_AddNumberToObject(row, "shards", (double)dataset->edition->n_shards[i]);
        cJSON_AddNumberToObject(row, "repeat", dataset->edition->sources[i].repeat);
        ambp_json_add_item(sources, NULL, row);
    }
}

static void add_origins(cJSON *json, const char *key, const uint64_t counts[AMB_ORIGIN_N]) {
    cJSON *object = cJSON_AddObjectToObject(json, key);

    for (int i = 0; i < AMB_ORIGIN_N; i++) {
        if (counts[i] > 0) {
            ambp_json_add_u64(object, amb_origin_name((enum amb_origin)i), counts[i]);
        }
    }
}

static void add_annotations(cJSON *json, const struct ambd_dataset *dataset) {
    const struct ambd_generation *current = dataset->current;
    cJSON *object = cJSON_AddObjectToObject(json, "annotations"), *origins;

    ambp_json_add_u64(object, "generation", current->number);
    add_fingerprint(object, "fingerprint", &current->annotations->fingerprint);
    ambp_json_add_u64(object, "set", current->annotations->n_set);
    origins = cJSON_AddObjectToObject(object, "by_origin");
    add_origins(origins, "sigma_min", current->min_counts);
    add_origins(origins, "sigma_max", current->max_counts);
    if (dataset->store_path != NULL) { /* as found at start: the store is the clerk's */
        origins = cJSON_AddObjectToObject(object, "store");
        ambd_json_add_string(origins, "path", dataset->store_path);
        ambp_json_add_u64(origins, "records_at_start", dataset->store_report.n_records);
        ambp_json_add_u64(origins, "damaged", dataset->store_report.n_damaged);
        ambd_json_add_string(origins, "failed", dataset->store_error.code != 0 ? dataset->store_error.message : NULL);
    } else {
        cJSON_AddNullToObject(object, "store");
    }
    ambp_json_add_item(object, "reports", ambd_lines_encode(&dataset->reports));
}

/* "3 shards were left out, the first: ..." */
static void add_findings(cJSON *object, const struct ambd_dataset *dataset) {
    const struct amb_catalog_report *report = &dataset->edition->report;
    cJSON *list = cJSON_AddArrayToObject(object, "findings");
    struct ambd_finding findings[AMBD_FINDINGS_MAX];
    size_t n = ambd_findings_get(findings, report);
    char text[512];

    for (size_t i = 0; i < n; i++) {
        int bytes = snprintf(text, sizeof text, "%llu %s%s%s", (unsigned long long)findings[i].n, findings[i].text,
                             findings[i].first[0] != '\0' ? ", the first: " : "", findings[i].first);

        ambd_json_add_text(list, NULL, text, (size_t)bytes);
    }
    for (size_t i = 0; i < dataset->refused.n; i++) {
        snprintf(text, sizeof text, "what was served before is served again: %s", dataset->refused.lines[i]);
        ambd_json_add_text(list, NULL, text, strlen(text));
    }
}

static void add_dataset(cJSON *json, const struct ambd_dataset *dataset) {
    const struct ambd_edition *edition = dataset->edition;
    const struct amb_shape *shape = &edition->fill.shape;
    cJSON *object = cJSON_AddObjectToObject(json, dataset->name), *form;
    char transform[64] = "";

    cJSON_AddNumberToObject(object, "samples", amb_catalog_count(edition->fill.catalog));
    cJSON_AddNumberToObject(object, "shards", (double)amb_catalog_count_shards(edition->fill.catalog));
    add_sources(object, dataset);
    form = cJSON_AddObjectToObject(object, "shape");
    cJSON_AddNumberToObject(form, "channels", shape->channels);
    cJSON_AddNumberToObject(form, "height", shape->height);
    cJSON_AddNumberToObject(form, "width", shape->width);
    cJSON_AddBoolToObject(form, "latent", shape->latent);
    if (!shape->latent) {
        snprintf(transform, sizeof transform, "%s, %s", amb_crop_name(edition->fill.transform.crop),
                 amb_resample_name(edition->fill.transform.resample));
    }
    cJSON_AddStringToObject(object, "transform", transform);
    add_fingerprint(object, "fingerprint", &edition->fingerprint);
    ambp_json_add_u64(object, "generation", edition->number);
    add_annotations(object, dataset);
    ambp_json_add_u64(object, "quarantined", amb_quarantine_count(edition->fill.quarantine));
    add_findings(object, dataset);
    ambp_json_add_u64(object, "index_bytes", edition->report.index_bytes + edition->report.names_bytes);
}

static double seconds(uint64_t ns) {
    return (double)ns * 1e-9;
}

/* Every key is there for a session without a stream too: mode null, numbers 0. */
static void add_stream(cJSON *row, struct ambd_stream *stream) {
    static const struct ambd_subscription no_subscription;
    static const struct ambd_stream_stats no_stats;
    const struct ambd_subscription *subscription = stream != NULL ? &stream->subscription : &no_subscription;
    const struct ambd_stream_stats *stats = stream != NULL ? &stream->stats : &no_stats;

    if (stream != NULL) {
        ambd_stream_account(stream);
    }
    ambd_json_add_string(row, "mode",
                         stream == NULL               ? NULL
                         : subscription->request_mode ? "request"
                                                      : "stream");
    ambd_json_add_string(row, "dataset", stream == NULL ? NULL : subscription->dataset->name);
    ambp_json_add_u64(row, "rank", subscription->rank);
    ambp_json_add_u64(row, "world_size", subscription->world_size);
    cJSON_AddNumberToObject(row, "batch_size", subscription->batch_size);
    ambp_json_add_u64(row, "step", stream != NULL ? stream->next_lend : 0);
    ambp_json_add_u64(row, "k", stream != NULL ? stream->settled.k : 0);
    cJSON_AddNumberToObject(row, "slots", subscription->n_slots);
    cJSON_AddNumberToObject(row, "slots_lent", stream != NULL ? stream->n_lent : 0);
    ambp_json_add_u64(row, "images", stats->n_images);
    ambp_json_add_u64(row, "bytes", stats->n_bytes);
    cJSON_AddNumberToObject(row, "wait_client_s", seconds(stats->wait_client_ns));
    cJSON_AddNumberToObject(row, "wait_fill_s", seconds(stats->wait_fill_ns));
    cJSON_AddNumberToObject(row, "read_s", seconds(stats->read_ns));
    cJSON_AddNumberToObject(row, "decode_s", seconds(stats->decode_ns));
    cJSON_AddNumberToObject(row, "noise_s", seconds(stats->noise_ns));
    ambp_json_add_u64(row, "decoded", stats->n_decoded);
    ambp_json_add_u64(row, "replaced", stats->n_replaced);
    ambd_json_add_string(row, "stays",
                         stream != NULL && stream->refused.code != 0 ? stream->refused.message : NULL);
}

static void add_sessions(cJSON *json, struct ambd_server *server) {
    cJSON *sessions = cJSON_AddArrayToObject(json, "sessions");

    for (struct ambd_session *session = server->sessions; session != NULL; session = session->next) {
        cJSON *row = cJSON_CreateObject();

        ambp_json_add_u64(row, "id", session->id);
        cJSON_AddNumberToObject(row, "uid", session->uid);
        cJSON_AddNumberToObject(row, "pid", (double)session->pid);
        ambd_json_add_string(row, "client", session->client);
        add_stream(row, session->stream != NULL && session->stream->ready ? session->stream : NULL);
        ambp_json_add_item(sessions, NULL, row);
    }
}

static void add_counters(cJSON *json, struct ambd_server *server) {
    const struct ambd_counters *c = &server->counters;
    uint64_t n_shm_refused = 0, shm_bytes = ambd_quota_get(&server->quota, &n_shm_refused);
    const struct {
        const char *name;
        uint64_t n;
    } rows[] = {
        {"connections", c->connections},
        {"refused_connections", c->refused_connections},
        {"accept_pauses", c->accept_pauses},
        {"hello_timeouts", c->hello_timeouts},
        {"protocol_errors", c->protocol_errors},
        {"denied", c->denied},
        {"frames", c->frames},
        {"subscribes", c->subscribes},
        {"batches", c->batches},
        {"images", c->images},
        {"batch_bytes", c->batch_bytes},
        {"requests", c->requests},
        {"replaced", c->replaced},
        {"transient", c->transient},
        {"image_limit", c->image_limit},
        {"decode_cpu_limit", c->decode_cpu_limit},
        {"moves", c->moves},
        {"moves_refused", c->moves_refused},
        {"thrown_away", c->thrown_away},
        {"imports", c->imports},
        {"reloads", c->reloads},
        {"reloads_refused", c->reloads_refused},
        {"generations", c->generations},
        {"out_queue_limit", c->out_queue_limit},
        {"lease_limit", c->lease_limit},
        {"peers_gone", c->peers_gone},
        {"reload_drain_limit", c->reload_drain_limit},
        {"bus_errors", amb_guard_count()},
        {"shm_refused", n_shm_refused},
        {"shm_bytes", shm_bytes},
        {"log_suppressed", ambd_log_count_suppressed()},
        {"allocations", amb_alloc_count()},
    };
    cJSON *object = cJSON_AddObjectToObject(json, "counters");

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ambp_json_add_u64(object, rows[i].name, rows[i].n);
    }
}

static void add_jobs(cJSON *json, const struct ambd_server *server) {
    cJSON *all = ambd_jobs_encode(&server->jobs, NULL, 0);

    ambp_json_add_item(json, "jobs", cJSON_DetachItemFromObjectCaseSensitive(all, "jobs"));
    cJSON_Delete(all);
}

int ambd_query_status(struct ambd_session *session, uint32_t id, const cJSON *json, struct amb_error *err) {
    struct ambd_server *server = session->server;
    cJSON *reply, *datasets;
    int r = ambp_json_check_keys(json, "STATUS", NULL, 0, err);

    if (r < 0) {
        return r;
    }
    reply = cJSON_CreateObject();
    add_server(reply, server);
    add_cache(reply, server);
    add_sandbox(reply, server);
    datasets = cJSON_AddObjectToObject(reply, "datasets");
    for (size_t i = 0; i < server->n_datasets; i++) {
        add_dataset(datasets, server->datasets[i]);
    }
    add_jobs(reply, server);
    add_sessions(reply, server);
    ambp_json_add_item(reply, "reload", ambd_reload_encode(server));
    add_counters(reply, server);
    ambd_session_reply(session, id, ambd_json_print(reply));
    return 0;
}

/* Sessions whose streams stand on an edition. */
static void add_holders(cJSON *row, const struct ambd_server *server, const struct ambd_edition *edition) {
    cJSON *list = cJSON_AddArrayToObject(row, "holders");

    for (const struct ambd_session *session = server->sessions; session != NULL; session = session->next) {
        const struct ambd_stream *stream = session->stream;

        if (stream != NULL && stream->ready && stream->target->generation->edition == edition) {
            ambp_json_add_item(list, NULL, cJSON_CreateNumber((double)session->id));
        }
    }
}

static cJSON *encode_edition(const struct ambd_server *server, const struct ambd_dataset *dataset,
                             const struct ambd_edition *edition) {
    cJSON *row = cJSON_CreateObject();

    ambp_json_add_u64(row, "number", edition->number);
    add_fingerprint(row, "fingerprint", &edition->fingerprint);
    cJSON_AddBoolToObject(row, "current", edition == dataset->edition);
    cJSON_AddNumberToObject(row, "streams", ambd_dataset_count_streams(dataset, edition));
    cJSON_AddNumberToObject(row, "samples", amb_catalog_count(edition->fill.catalog));
    cJSON_AddNumberToObject(row, "shards", (double)amb_catalog_count_shards(edition->fill.catalog));
    add_holders(row, server, edition);
    return row;
}

static cJSON *encode_generation(const struct ambd_dataset *dataset, const struct ambd_generation *generation) {
    cJSON *row = cJSON_CreateObject();

    ambp_json_add_u64(row, "number", generation->number);
    add_fingerprint(row, "fingerprint", &generation->annotations->fingerprint);
    add_fingerprint(row, "dataset", &generation->edition->fingerprint);
    cJSON_AddBoolToObject(row, "current", generation == dataset->current);
    cJSON_AddNumberToObject(row, "streams", generation->n_streams);
    ambp_json_add_u64(row, "set", generation->annotations->n_set);
    return row;
}

int ambd_query_generations(struct ambd_session *session, uint32_t id, const cJSON *json,
                           struct amb_error *err) {
    static const char *const keys[] = {"dataset"};
    struct ambd_dataset *dataset;
    const char *name = NULL;
    cJSON *reply, *list;
    int r = ambp_json_check_keys(json, "GENERATIONS", keys, 1, err);

    r = r < 0 ? r : ambp_json_get_string(&name, json, "dataset", false, err);
    dataset = r < 0 ? NULL : ambd_server_dataset(session->server, name, err);
    if (dataset == NULL) {
        return err->code;
    }
    reply = cJSON_CreateObject();
    list = cJSON_AddArrayToObject(reply, "dataset");
    for (const struct ambd_edition *edition = dataset->edition; edition != NULL; edition = edition->older) {
        cJSON *row = encode_edition(session->server, dataset, edition);

        if (!cJSON_InsertItemInArray(list, 0, row)) {
            cJSON_Delete(row); /* out of memory, which the reply tells */
        }
    }
    list = cJSON_AddArrayToObject(reply, "annotations");
    for (const struct ambd_generation *g = dataset->oldest; g != NULL; g = g->newer) {
        ambp_json_add_item(list, NULL, encode_generation(dataset, g));
    }
    ambd_session_reply(session, id, ambd_json_print(reply));
    return 0;
}
