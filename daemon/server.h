#pragma once
/* Server: the loop and all that lives on it: endpoint, sessions, datasets, desks, workers, signals, timers.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "base/error.h"
#include "batch/cache.h"
#include "codec/sandbox.h"
#include "daemon/config.h"
#include "daemon/dataset.h"
#include "daemon/desk.h"
#include "daemon/endpoint.h"
#include "daemon/jobs.h"
#include "daemon/lookout.h"
#include "daemon/pace.h"
#include "daemon/producer.h"
#include "daemon/quota.h"

/* What STATUS shows under "counters". Loop only. */
struct ambd_counters {
    uint64_t connections, refused_connections, accept_pauses, hello_timeouts, protocol_errors, denied, out_queue_limit,
        lease_limit, peers_gone;
    uint64_t frames, subscribes, batches, images, batch_bytes, requests, replaced, transient, image_limit,
        decode_cpu_limit;
    uint64_t moves, moves_refused, thrown_away, generations, imports, reloads, reloads_refused,
        reload_drain_limit;
};

struct ambd_session;
struct ambd_reload;
struct reload_request;

struct ambd_server {
    uv_loop_t loop;
    struct ambd_config *config; /* borrowed; what only a start reads holds as it says, whatever is reloaded */
    const char *config_path;    /* borrowed; NULL: the command line is the configuration */
    char *cache_dir;            /* of shard indexes; owned; NULL: none */
    struct ambd_endpoint endpoint;
    int state_lock_fd;
    unsigned n_workers;
    struct amb_sandbox sandbox;
    struct amb_codec_limits codec_limits; /* with the sandbox, if it is on */
    struct amb_cache *cache;
    struct ambd_dataset **datasets; /* owned */
    size_t n_datasets;
    struct ambd_quota quota;
    struct ambd_producer producer;
    struct ambd_pace pace; /* of the surveyor */
    struct ambd_desk clerk;    /* ledgers, stores: IMPORT, annotations of a reload, queries */
    struct ambd_jobs jobs;
    struct ambd_desk builder;  /* orders, samplers, slabs: SUBSCRIBE, moves, COVERAGE */
    struct ambd_desk surveyor; /* shards: opening and closing editions */

    uv_poll_t room; /* loop.h */
    uv_poll_t listeners[AMBD_ENDPOINT_FDS_MAX];
    uv_timer_t tick, resume, deadline; /* each second; of accepting that paused; of a stop */
    struct {
        uint64_t since_ns, n;
    } accepts; /* in the present stretch of connects_per_s */
    uv_signal_t signals[3];
    struct ambd_session *sessions;
    size_t n_sessions;
    uint64_t last_session_id;
    uint64_t started_ns, watchdog_ns, watchdog_sent_ns;
    struct ambd_counters counters;
    struct ambd_reload *reload; /* the one that runs; NULL: none */
    struct reload_request *reload_requests; /* that wait for the next */
    struct ambd_config *latest;             /* as the last reload read it; a reference */
    struct ambd_lookout lookout;
    uint64_t n_decoder_ends; /* in the log */
    bool listening, stopping, stopped;
};

struct ambd_server_options {
    int ready_fd; /* -1: none; the socket path is written there, then it is closed */
    const char *config_path; /* read again by a reload; NULL: the command line's tree is */
};

/**
 * Lock, open datasets, listen, serve until SIGTERM or SIGINT, stop.
 *
 * Returns: 0 after a clean stop; AMB_ERR_BUSY another daemon runs; other errors of start.
 * Thread:  loop.
 */
int ambd_server_run(struct ambd_config *config, const struct ambd_server_options *options,
                    struct amb_error *err);

/* Open everything that serving would open, print what was found to stdout, close. */
int ambd_server_check(struct ambd_config *config, struct amb_error *err);

/* NULL name: the only dataset, or the one called "main". NULL with err AMB_ERR_NOT_FOUND. Thread: loop. */
struct ambd_dataset *ambd_server_dataset(struct ambd_server *server, const char *name, struct amb_error *err);

/* A dataset has a new generation: adopt it and tell its streams. Thread: loop. */
void ambd_server_adopt(struct ambd_server *server, struct ambd_dataset *dataset, struct ambd_minted *minted);

/* Called by a session that is gone, and by desks that have become idle: a stop may go on. Thread: loop. */
void ambd_server_continue_stop(struct ambd_server *server);
