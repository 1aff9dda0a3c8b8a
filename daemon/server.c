/*
 * Server: start in the order lock, shards, workers, socket; stop in the reverse.
 *
 * The socket appears only when everything behind it is ready, so whoever can connect is served. A stop closes
 * the door, then the sessions, waits for what workers and desks hold, and has a deadline after which the
 * process leaves as it is: nothing that it owns outlives it on disk.
 *
 * Not here: opening and reporting datasets (open.c), accepting (accept.c).
 */
#include "daemon/server.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "daemon/accept.h"
#include "daemon/activation.h"
#include "daemon/log.h"
#include "daemon/loop.h"
#include "daemon/notify.h"
#include "daemon/open.h"
#include "daemon/reload.h"
#include "daemon/session.h"
#include "daemon/stream.h"
#include "daemon/watch.h"

struct ambd_dataset *ambd_server_dataset(struct ambd_server *server, const char *name,
                                         struct amb_error *err) {
    char known[256] = "";

    for (size_t i = 0; i < server->n_datasets; i++) {
        const char *other = server->datasets[i]->name;

        if (name != NULL ? strcmp(other, name) == 0 : server->n_datasets == 1 || strcmp(other, "main") == 0) {
            return server->datasets[i];
        }
        if (strlen(known) + strlen(other) + 3 < sizeof known) {
            snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", i > 0 ? ", " : "", other);
        }
    }
    if (name == NULL) {
        amb_fail(err, AMB_ERR_NOT_FOUND,
                 "no dataset named in the request and none is called 'main'; there are: %s", known);
    } else {
        amb_fail(err, AMB_ERR_NOT_FOUND, "no dataset '%.64s'; there are: %s", name, known);
    }
    return NULL;
}

void ambd_server_adopt(struct ambd_server *server, struct ambd_dataset *dataset, struct ambd_minted *minted) {
    char text[AMB_HASH128_TEXT_BYTES];
    struct ambd_session *session, *next;

    if (minted->generation == NULL) {
        return;
    }
    ambd_dataset_adopt(dataset, minted, server->config->limits.generations_kept);
    server->counters.generations++;
    amb_hash128_text(text, &dataset->current->annotations->fingerprint);
    ambd_log(AMBD_INFO, "annotations.minted dataset=%s generation=%llu fingerprint=%s set=%llu",
             dataset->name, (unsigned long long)dataset->current->number, text,
             (unsigned long long)dataset->current->annotations->n_set);
    for (session = server->sessions; session != NULL; session = next) {
        next = session->next;
        if (session->stream != NULL && session->stream->subscription.dataset == dataset) {
            ambd_stream_follow(session->stream);
        }
    }
}

/* Stop */

static void server_on_deadline(uv_timer_t *timer) {
    struct ambd_server *server = timer->data;

    ambd_log(AMBD_WARN, "stop.forced after_ms=%llu reason=\"work did not end in time\"",
             (unsigned long long)server->config->limits.stop_ms);
    _exit(0); /* threads may be stuck in reads; nothing of ours is half-written */
}

static void server_close_handle(uv_handle_t *handle) {
    if (!uv_is_closing(handle)) {
        uv_close(handle, NULL);
    }
}

void ambd_server_continue_stop(struct ambd_server *server) {
    bool reloading = server->stopping && !ambd_reload_stop(server); /* first: it holds sessions */

    if (!server->stopping || server->stopped || server->n_sessions > 0 || !ambd_jobs_stop(&server->jobs) || reloading ||
        server->clerk.n_tasks > 0 || server->builder.n_tasks > 0 || server->surveyor.n_tasks > 0) {
        return;
    }
    server->stopped = true;
    ambd_lookout_stop(&server->lookout);
    ambd_jobs_close(&server->jobs);
    ambd_desk_close(&server->clerk);
    ambd_desk_close(&server->builder);
    ambd_desk_close(&server->surveyor);
    ambd_producer_close(&server->producer);
    server_close_handle((uv_handle_t *)&server->tick);
    server_close_handle((uv_handle_t *)&server->resume);
    server_close_handle((uv_handle_t *)&server->deadline);
    for (size_t i = 0; i < sizeof server->signals / sizeof server->signals[0]; i++) {
        server_close_handle((uv_handle_t *)&server->signals[i]);
    }
}

static void server_stop(struct ambd_server *server, const char *why) {
    struct ambd_session *session, *next;
    struct amb_error err;

    server->stopping = true;
    server->pace.stop = true;
    ambd_log(AMBD_INFO, "server.stopping reason=%s", why);
    ambd_notify("STOPPING=1");
    uv_timer_start(&server->deadline, server_on_deadline, server->config->limits.stop_ms, 0);
    ambd_accept_stop(server);
    amb_fail(&err, -ESHUTDOWN, "the daemon is stopping");
    for (session = server->sessions; session != NULL; session = next) {
        next = session->next;
        ambd_session_hold(session);
        if (session->stream != NULL && session->stream->ready && ambd_link_queued(&session->link) == 0) {
            ambd_stream_fail(session->stream, &err);
        }
        next = session->next;
        ambd_session_close(session, NULL);
        ambd_session_drop(session);
    }
    ambd_server_continue_stop(server);
}

static void server_on_signal(uv_signal_t *handle, int signum) {
    struct ambd_server *server = handle->data;

    if (signum == SIGHUP) {
        if (!server->stopping) {
            ambd_reload_push(server, NULL, 0, false);
        }
        return;
    }
    if (server->stopping) {
        ambd_log(AMBD_WARN, "stop.forced reason=\"second signal\"");
        _exit(0);
    }
    server_stop(server, signum == SIGTERM ? "SIGTERM" : "SIGINT");
}

/* Timers */

static void server_send_watchdog(struct ambd_server *server, uint64_t now_ns) {
    if (server->watchdog_ns == 0 || now_ns - server->watchdog_sent_ns < server->watchdog_ns / 2) {
        return;
    }
    if (ambd_producer_busy_ns(&server->producer, now_ns) > server->watchdog_ns) {
        return; /* a worker hangs: let the service manager see it */
    }
    server->watchdog_sent_ns = now_ns;
    ambd_notify("WATCHDOG=1");
}

/* Decoder processes end rarely; when they do, an operator wants to know before the quarantine is full. */
static void server_log_sandbox(struct ambd_server *server) {
    const struct amb_sandbox_counters *c = &server->sandbox.counters;
    uint64_t n_faults = atomic_load_explicit(&c->n_faults, memory_order_relaxed),
             n_late = atomic_load_explicit(&c->n_late, memory_order_relaxed),
             n_lost = atomic_load_explicit(&c->n_lost, memory_order_relaxed);

    if (n_faults + n_late + n_lost != server->n_decoder_ends) {
        server->n_decoder_ends = n_faults + n_late + n_lost;
        ambd_log(AMBD_WARN, "decoder.ended faults=%llu late=%llu lost=%llu refused=%llu",
                 (unsigned long long)n_faults, (unsigned long long)n_late, (unsigned long long)n_lost,
                 (unsigned long long)atomic_load_explicit(&c->n_refused, memory_order_relaxed));
    }
}

static void server_on_tick(uv_timer_t *timer) {
    struct ambd_server *server = timer->data;
    uint64_t now_ns = ambd_now_ns();

    ambd_log_tick();
    server_log_sandbox(server);
    ambd_watch_tick(server, now_ns);
    server_send_watchdog(server, now_ns);
}

/* Start */

/* A SIGHUP that comes before its handler does would end the process: it waits. Threads made meanwhile inherit this,
 * which is right: signals are the loop's. */
static void server_hold_hup(bool hold) {
    sigset_t hup;

    sigemptyset(&hup);
    sigaddset(&hup, SIGHUP);
    pthread_sigmask(hold ? SIG_BLOCK : SIG_UNBLOCK, &hup, NULL);
}

static int server_init_timers(struct ambd_server *server, struct amb_error *err) {
    static const int signums[] = {SIGTERM, SIGINT, SIGHUP};
    uint64_t interval_ms = 1000;

    server->watchdog_ns = ambd_notify_watchdog_ns();
    if (server->watchdog_ns != 0 && server->watchdog_ns / 4000000 < interval_ms) {
        interval_ms = server->watchdog_ns / 4000000 + 1;
    }
    uv_timer_init(&server->loop, &server->tick);
    uv_timer_init(&server->loop, &server->resume);
    uv_timer_init(&server->loop, &server->deadline);
    server->tick.data = server->resume.data = server->deadline.data = server;
    uv_timer_start(&server->tick, server_on_tick, interval_ms, interval_ms);
    for (size_t i = 0; i < sizeof signums / sizeof signums[0]; i++) {
        int r = uv_signal_init(&server->loop, &server->signals[i]);

        server->signals[i].data = server;
        r = r < 0 ? r : uv_signal_start(&server->signals[i], server_on_signal, signums[i]);
        if (r < 0) {
            return amb_fail(err, r, "cannot watch signal %d: %s", signums[i], uv_strerror(r));
        }
    }
    server_hold_hup(false);
    return 0;
}

static void server_tell_ready(const struct ambd_server *server, int fd) {
    int r;

    ambd_notify("READY=1");
    if (fd < 0) {
        return;
    }
    do {
        r = dprintf(fd, "%s\n", server->endpoint.path);
    } while (r < 0 && errno == EINTR); /* nothing of a line was written then */
    if (r < 0) {
        ambd_log(AMBD_WARN, "ready.unheard fd=%d reason=\"%s\"", fd, strerror(errno));
    }
    close(fd);
}

static int server_lock(struct ambd_server *server, struct amb_error *err) {
    const struct ambd_config *config = server->config;
    char path[4096];
    int r = ambd_activation_take(&server->endpoint, err);

    if (r < 0) {
        return r;
    }
    if (server->endpoint.inherited) {
        snprintf(path, sizeof path, "%s", server->endpoint.path);
    } else if (config->socket == NULL) {
        r = ambd_endpoint_default(path, sizeof path, err);
        if (r < 0) {
            return r;
        }
    } else {
        snprintf(path, sizeof path, "%s", config->socket);
    }
    r = ambd_endpoint_lock(&server->endpoint, path, err);
    if (r < 0 || config->state_dir == NULL) {
        return r;
    }
    r = ambd_folder_make(config->state_dir, err);
    if (r < 0) {
        return r;
    }
    if (snprintf(path, sizeof path, "%s/lock", config->state_dir) >= (int)sizeof path) {
        return amb_fail(err, -ENAMETOOLONG, "state_dir: path too long");
    }
    r = ambd_lock_open(path, config->state_dir, err);
    server->state_lock_fd = r < 0 ? -1 : r;
    return r < 0 ? r : 0;
}

static int server_init(struct ambd_server *server, struct amb_error *err) {
    int r;

    server->pace.producer = &server->producer;
    server_hold_hup(true);
    r = server_lock(server, err);
    r = r < 0 ? r : ambd_open_datasets(server, err);
    r = r < 0 ? r : server_init_timers(server, err);
    r = r < 0 ? r : ambd_desk_init(&server->clerk, &server->loop, "clerk", err);
    r = r < 0 ? r : ambd_desk_init(&server->builder, &server->loop, "builder", err);
    r = r < 0 ? r : ambd_desk_init(&server->surveyor, &server->loop, "surveyor", err);
    r = r < 0 ? r
              : ambd_producer_init(&server->producer, &server->loop, server->n_workers, &server->codec_limits,
                                   ambd_stream_on_drawn, ambd_stream_on_done, err);
    r = r < 0 ? r : ambd_endpoint_listen(&server->endpoint, server->config->socket_group, err);
    r = r < 0 ? r : ambd_accept_start(server, err);
    /* last: they put work on desks, which a start that fails would leave there */
    r = r < 0 ? r : ambd_jobs_init(&server->jobs, server, err);
    return r < 0 ? r : ambd_lookout_start(&server->lookout, server, err);
}

static void server_on_walk(uv_handle_t *handle, void *opaque) {
    (void)opaque;
    server_close_handle(handle);
}

static void server_deinit(struct ambd_server *server) {
    ambd_accept_stop(server);
    ambd_lookout_stop(&server->lookout);
    ambd_desk_close(&server->clerk); /* before the jobs: behind a start that failed it may be at work for them */
    ambd_desk_close(&server->builder);
    ambd_desk_close(&server->surveyor);
    ambd_jobs_close(&server->jobs);
    ambd_producer_close(&server->producer);
    uv_walk(&server->loop, server_on_walk, NULL);
    uv_run(&server->loop, UV_RUN_DEFAULT);
    uv_loop_close(&server->loop);
    ambd_close_datasets(server);
    ambd_config_unref(server->latest);
    ambd_endpoint_close(&server->endpoint);
    if (server->state_lock_fd >= 0) {
        close(server->state_lock_fd);
    }
}

int ambd_server_run(struct ambd_config *config, const struct ambd_server_options *options,
                    struct amb_error *err) {
    struct ambd_server *server = amb_calloc(1, sizeof *server);
    int r;

    if (server == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for a server");
    }
    server->config = config;
    server->config_path = options->config_path;
    server->latest = ambd_config_ref(config);
    server->endpoint = AMBD_ENDPOINT_NULL;
    server->state_lock_fd = -1;
    server->started_ns = ambd_now_ns();
    ambd_quota_init(&server->quota, config->limits.shm_bytes, config->limits.shm_bytes_per_uid);
    r = ambd_loop_init(&server->loop, &server->room, err);
    if (r < 0) {
        amb_free(server);
        return r;
    }
    r = server_init(server, err);
    if (r == 0) {
        ambd_log(AMBD_INFO, "server.ready socket=%s workers=%u sandbox=%s start_ms=%llu version=" AMB_VERSION,
                 server->endpoint.path, server->n_workers, config->sandbox ? "on" : "off",
                 (unsigned long long)((ambd_now_ns() - server->started_ns) / 1000000));
        server_tell_ready(server, options->ready_fd);
        uv_run(&server->loop, UV_RUN_DEFAULT);
        ambd_log(AMBD_INFO, "server.stopped batches=%llu images=%llu",
                 (unsigned long long)server->counters.batches, (unsigned long long)server->counters.images);
    }
    server_deinit(server);
    amb_free(server);
    return r;
}

int ambd_server_check(struct ambd_config *config, struct amb_error *err) {
    struct ambd_server *server = amb_calloc(1, sizeof *server);
    int r;

    if (server == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for a server");
    }
    server->config = config;
    server->endpoint = AMBD_ENDPOINT_NULL;
    server->state_lock_fd = -1; /* what is only looked at is not noted as served, and another daemon may be at work there */
    r = ambd_open_datasets(server, err);
    if (r == 0) {
        ambd_print_datasets(server, stdout);
    }
    ambd_close_datasets(server);
    amb_free(server);
    return r;
}
