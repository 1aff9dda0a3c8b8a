/*
 * Accept: credentials are those at connect time (SO_PEERCRED), asked once; a connection over a limit is told
 * so in one ERROR frame and closed.
 *
 * New fds are the lowest free numbers, so a number near RLIMIT_NOFILE says that the reserve is touched: no
 * counting of what else the process holds.
 */
#include "daemon/accept.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/log.h"
#include "daemon/session.h"
#include "daemon/text.h"

#define ACCEPTS_MAX 64u  /* in one turn of the loop; not tuned */
#define RESUME_MS   100u /* pause after EMFILE, so that the loop does not spin */
#define STRETCH_MS  20u  /* in which connects_per_s is kept: what an honest client may wait in a flood; not tuned */

static uint64_t accept_fd_limit(void) {
    struct rlimit limit;

    return getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY ? limit.rlim_cur
                                                                                    : UINT64_MAX;
}

static int accept_check(struct ambd_server *server, int fd, uid_t uid, struct amb_error *err) {
    const struct ambd_limits *limits = &server->config->limits;
    uint64_t n_of_uid = 0, n_fds = accept_fd_limit();

    for (struct ambd_session *session = server->sessions; session != NULL; session = session->next) {
        n_of_uid += session->uid == uid; /* also those that close, while a desk still works for them */
    }
    if (server->n_sessions >= limits->connections) {
        return amb_fail(err, AMB_ERR_QUOTA, "%zu connections are open, limits.connections is %llu",
                        server->n_sessions, (unsigned long long)limits->connections);
    }
    if (n_of_uid >= limits->connections_per_uid) {
        return amb_fail(err, AMB_ERR_QUOTA, "uid %u has %llu connections, limits.connections_per_uid is %llu",
                        (unsigned)uid, (unsigned long long)n_of_uid,
                        (unsigned long long)limits->connections_per_uid);
    }
    if (n_fds != UINT64_MAX && (uint64_t)fd + limits->reserve_fds >= n_fds) {
        return amb_fail(err, AMB_ERR_QUOTA, "file descriptor %d of %llu: the last %llu are kept in reserve",
                        fd, (unsigned long long)n_fds, (unsigned long long)limits->reserve_fds);
    }
    return 0;
}

static void accept_refuse(struct ambd_server *server, int fd, uid_t uid, const struct amb_error *why) {
    char *text = ambd_json_print(ambd_error_encode(why, NULL, true));
    uint8_t frame[AMBP_HEADER_BYTES + 1024];
    size_t bytes = text != NULL ? strlen(text) : 0;

    server->counters.refused_connections++;
    ambd_log_client(uid, AMBD_INFO, "connection.refused uid=%u reason=\"%s\"", (unsigned)uid, why->message);
    if (text != NULL && bytes <= sizeof frame - AMBP_HEADER_BYTES) {
        struct ambp_header header = {.version = AMBP_VERSION, .type = AMBP_ERROR, .length = (uint32_t)bytes};

        ambp_header_encode(frame, &header);
        memcpy(frame + AMBP_HEADER_BYTES, text, bytes);
        if (send(fd, frame, AMBP_HEADER_BYTES + bytes, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
            ambd_log_client(uid, AMBD_DEBUG, "connection.unheard uid=%u", (unsigned)uid);
        }
    }
    cJSON_free(text);
    close(fd);
}

static void accept_one(struct ambd_server *server, int fd) {
    struct ucred peer = {.pid = 0, .uid = (uid_t)-1};
    socklen_t bytes = sizeof peer;
    struct amb_error err = AMB_ERROR_NULL;
    int r = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes);

    if (r < 0) {
        r = amb_fail(&err, -errno, "cannot ask who connects: %s", strerror(errno));
    }
    r = r < 0 ? r : accept_check(server, fd, peer.uid, &err);
    r = r < 0 ? r : ambd_session_new(server, fd, peer.uid, peer.pid, &err);
    if (r < 0) {
        accept_refuse(server, fd, peer.uid, &err);
        return;
    }
    server->counters.connections++;
    ambd_log_client(peer.uid, AMBD_DEBUG, "session.opened id=%llu uid=%u pid=%ld",
                    (unsigned long long)server->last_session_id, (unsigned)peer.uid, (long)peer.pid);
}

static void accept_on_poll(uv_poll_t *poll, int status, int events);

static int accept_watch(struct ambd_server *server) {
    int r = 0;

    for (unsigned i = 0; i < server->endpoint.n_fds && r == 0; i++) {
        r = uv_poll_start(&server->listeners[i], UV_READABLE, accept_on_poll);
    }
    return r;
}

static void accept_on_resume(uv_timer_t *timer) {
    struct ambd_server *server = timer->data;

    if (server->listening) {
        accept_watch(server);
    }
}

static void accept_pause(struct ambd_server *server, uint64_t ms) {
    for (unsigned i = 0; i < server->endpoint.n_fds; i++) {
        uv_poll_stop(&server->listeners[i]);
    }
    uv_timer_start(&server->resume, accept_on_resume, ms, 0);
}

/* How many connections this stretch has left; *left_ms of it. */
static uint64_t accept_get_share(uint64_t *left_ms, struct ambd_server *server) {
    const uint64_t limit = server->config->limits.connects_per_s, now_ns = ambd_now_ns();
    uint64_t share = limit * STRETCH_MS / 1000, past_ms = (now_ns - server->accepts.since_ns) / 1000000;

    if (past_ms >= STRETCH_MS) {
        server->accepts.since_ns = now_ns;
        server->accepts.n = past_ms = 0;
    }
    *left_ms = STRETCH_MS - past_ms;
    share = limit == 0 ? UINT64_MAX : share == 0 ? 1 : share;
    return share > server->accepts.n ? share - server->accepts.n : 0;
}

static void accept_on_poll(uv_poll_t *poll, int status, int events) {
    struct ambd_server *server = poll->data;
    int listening = server->endpoint.fds[poll - server->listeners];
    uint64_t left_ms, share = accept_get_share(&left_ms, server);

    (void)status;
    (void)events;
    if (share == 0) { /* who connects waits in the kernel's queue */
        server->counters.accept_pauses++;
        accept_pause(server, left_ms);
        return;
    }
    for (uint64_t i = 0; i < ACCEPTS_MAX && i < share; i++) {
        int fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0) {
            server->accepts.n++;
            accept_one(server, fd);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
            ambd_log(AMBD_WARN, "accept.paused reason=\"%s\"", strerror(errno));
            accept_pause(server, RESUME_MS);
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            return;
        }
    }
}

int ambd_accept_start(struct ambd_server *server, struct amb_error *err) {
    int r = 0;

    for (unsigned i = 0; i < server->endpoint.n_fds && r == 0; i++) {
        r = uv_poll_init(&server->loop, &server->listeners[i], server->endpoint.fds[i]);
        server->listeners[i].data = server;
    }
    if (r == 0) {
        server->listening = true;
        r = accept_watch(server);
    }
    return r < 0 ? amb_fail(err, r, "cannot watch the socket: %s", uv_strerror(r)) : 0;
}

void ambd_accept_stop(struct ambd_server *server) {
    if (!server->listening) {
        return;
    }
    server->listening = false;
    for (unsigned i = 0; i < server->endpoint.n_fds; i++) {
        uv_poll_stop(&server->listeners[i]);
        uv_close((uv_handle_t *)&server->listeners[i], NULL);
    }
    ambd_endpoint_close(&server->endpoint);
}
