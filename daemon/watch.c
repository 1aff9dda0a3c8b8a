/*
 * Watch: the limits that only time can reach, of all sessions and of generations that were left, once a second.
 *
 * A client that breaks one is out within the limit and a second. One that merely holds its slots or sleeps
 * breaks none by default: it costs its own memory and nobody else's time.
 */
#include "daemon/watch.h"

#include <errno.h>

#include "daemon/log.h"
#include "daemon/peer.h"
#include "daemon/session.h"
#include "daemon/stream.h"

#define SECOND_NS UINT64_C(1000000000)

/* 0, or why the session ends; the counter of that limit has been raised. */
static int watch_check_lease(struct ambd_session *session, uint64_t now_ns, struct amb_error *err) {
    const struct ambd_limits *limits = &session->server->config->limits;

    if (limits->slot_lease_s == 0 || session->stream == NULL ||
        !ambd_stream_overdue(session->stream, now_ns, limits->slot_lease_s * SECOND_NS)) {
        return 0;
    }
    session->server->counters.lease_limit++;
    return amb_fail(err, AMB_ERR_LIMIT, "a slot was held longer than limits.slot_lease_s, %llu s",
                    (unsigned long long)limits->slot_lease_s);
}

static int watch_check_queue(struct ambd_session *session, uint64_t now_ns, struct amb_error *err) {
    const struct ambd_limits *limits = &session->server->config->limits;
    size_t backlog = ambd_session_backlog(session);

    if (backlog <= limits->out_queue_soft_bytes) {
        session->over_since_ns = 0;
        return 0;
    }
    if (session->over_since_ns == 0 || session->over_since_ns > now_ns) {
        session->over_since_ns = now_ns;
    }
    if (now_ns - session->over_since_ns < limits->out_queue_soft_s * SECOND_NS) {
        return 0;
    }
    session->server->counters.out_queue_limit++;
    return amb_fail(err, AMB_ERR_LIMIT,
                    "%zu bytes wait for a client that has not read for %llu s; allowed for so long: "
                    "limits.out_queue_soft_bytes, %llu",
                    backlog, (unsigned long long)limits->out_queue_soft_s,
                    (unsigned long long)limits->out_queue_soft_bytes);
}

static int watch_check_peer(struct ambd_session *session, struct amb_error *err) {
    if (!session->peer_known || ambd_peer_get(session->link.fd) != AMBD_PEER_GONE) {
        return 0;
    }
    session->server->counters.peers_gone++;
    return amb_fail(err, -ESRCH, "process %ld, which connected, is gone; a child that holds its socket is not served",
                    (long)session->pid);
}

/* An old generation costs files and memory as long as somebody stands on it: an operator can see who (GENERATIONS). */
static void watch_check_editions(struct ambd_server *server, const struct ambd_dataset *dataset, uint64_t now_ns) {
    const uint64_t limit_ns = server->config->limits.reload_drain_s * SECOND_NS;

    for (struct ambd_edition *edition = dataset->edition->older; edition != NULL; edition = edition->older) {
        if (limit_ns == 0 || edition->told || edition->left_ns == 0 || now_ns - edition->left_ns < limit_ns) {
            continue;
        }
        edition->told = true;
        server->counters.reload_drain_limit++;
        ambd_log(AMBD_WARN, "generation.held dataset=%s number=%llu streams=%u seconds=%llu reason=\"streams without follow "
                 "advance, a stopped client goes on or leaves: see `ambientctl generations`\"", dataset->name,
                 (unsigned long long)edition->number, ambd_dataset_count_streams(dataset, edition),
                 (unsigned long long)((now_ns - edition->left_ns) / SECOND_NS));
    }
}

void ambd_watch_tick(struct ambd_server *server, uint64_t now_ns) {
    struct ambd_session *session, *next;
    struct amb_error err = AMB_ERROR_NULL;

    for (session = server->sessions; session != NULL; session = next) {
        int r;

        next = session->next;
        if (session->closing) {
            continue;
        }
        r = watch_check_lease(session, now_ns, &err);
        r = r < 0 ? r : watch_check_queue(session, now_ns, &err);
        r = r < 0 ? r : watch_check_peer(session, &err);
        if (r < 0) {
            ambd_session_fail(session, 0, &err, NULL, true);
        }
    }
    for (size_t i = 0; i < server->n_datasets; i++) {
        watch_check_editions(server, server->datasets[i], now_ns);
    }
}
