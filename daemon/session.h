#pragma once
/* Session: one connection: frames in order, answers in order, at most one stream. */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <cjson/cJSON.h>
#include <uv.h>

#include "base/error.h"
#include "base/hash.h"
#include "daemon/link.h"
#include "daemon/server.h"

#define AMBD_CLIENT_NAME_BYTES 64u /* "name/version" of HELLO, cut */

struct ambd_stream;
struct ambd_watch;

/* What the last request missed (recall.c). */
struct ambd_recall {
    struct ambd_dataset *dataset; /* NULL: nothing was missed */
    struct amb_hash128 edition, annotations; /* annotations: if has_annotations, else the newest of that edition */
    bool has_annotations;
    struct amb_hash128 tried[2]; /* those asked for last: they are not asked for again at once */
    bool has_tried;
    struct amb_error why; /* why they could not be had */
};

/* Loop only. */
struct ambd_session {
    struct ambd_server *server;
    struct ambd_session *next, **at;
    uint64_t id;
    uid_t uid;
    pid_t pid;
    char client[AMBD_CLIENT_NAME_BYTES];
    struct ambd_link link;
    uv_poll_t poll;
    uv_timer_t hello;
    int events;         /* that poll waits for */
    unsigned n_handles; /* open */
    unsigned n_holds;   /* tasks on desks, and callers that still use the session */
    bool greeted, busy, closing;
    bool pumping; /* guards against re-entry */
    struct ambd_stream *stream;
    char *run; /* an answer larger than a frame, owned (cJSON_free) */
    size_t run_bytes, n_run_sent;
    uint32_t run_id;
    struct ambd_watch *watch; /* NULL: none */
    struct ambd_recall recall;
    bool peer_known;        /* the kernel can say whether the peer lives */
    uint64_t over_since_ns; /* the backlog has been over its soft limit; 0: it is not */
};

/* Take over an accepted socket. On failure the caller still owns fd. */
int ambd_session_new(struct ambd_server *server, int fd, uid_t uid, pid_t pid, struct amb_error *err);

/* Begin to close; memory goes when handles, tasks and fills are done. May be called twice and from any
 * callback. why: for the log; NULL: the client left. */
void ambd_session_close(struct ambd_session *session, const struct amb_error *why);

/* Free a closed session for which nothing is under way any more. */
void ambd_session_release(struct ambd_session *session);

/* Bytes that wait to be read by the client: queued, or of an answer that is sent frame by frame. */
size_t ambd_session_backlog(const struct ambd_session *session);

/* Whatever is sent meanwhile, the memory stays; drop releases. */
void ambd_session_hold(struct ambd_session *session);
void ambd_session_drop(struct ambd_session *session);

/* Queue a frame; a failure closes the session. */
void ambd_session_push(struct ambd_session *session, unsigned type, uint32_t id, const void *a,
                       size_t a_bytes, const void *b, size_t b_bytes, int fd);

/* Answer with JSON text (cJSON's memory, taken; NULL: out of memory): one REPLY, or a run of DATA. */
void ambd_session_reply(struct ambd_session *session, uint32_t id, char *text);

/* Answer with an error. detail: a tree, taken, or NULL. fatal closes behind it. */
void ambd_session_fail(struct ambd_session *session, uint32_t id, const struct amb_error *why, cJSON *detail,
                       bool fatal);

/* The object of ERROR, also inside of END. detail is taken. */
cJSON *ambd_error_encode(const struct amb_error *why, cJSON *detail, bool fatal);

/* While busy no further frame is read: an answer is being made elsewhere. */
void ambd_session_set_busy(struct ambd_session *session, bool busy);

/* Go on with whatever is possible: output, answers, frames, the stream. */
void ambd_session_pump(struct ambd_session *session);
