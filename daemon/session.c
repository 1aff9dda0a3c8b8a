/*
 * Session: reads one frame at a time and the next only when the answer to the last has left, so a client that
 * does not read stops being served and costs one answer's memory.
 *
 * Sending may fail, and then the session closes at once, its stream with it; memory goes only when nobody
 * holds it any more (handles of the loop, tasks on desks, fills at the producer, callers up the stack).
 *
 * Not here: what requests answer (queries.c, stream files).
 */
#include "daemon/session.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "daemon/log.h"
#include "daemon/peer.h"
#include "daemon/queries.h"
#include "daemon/recall.h"
#include "daemon/reload.h"
#include "daemon/stream.h"
#include "daemon/text.h"
#include "proto/json.h"

#define SESSION_FRAMES_MAX 64 /* handled in one turn of the loop, so that others get theirs; not tuned */

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83 /* Linux 6.16: 0 refuses fds at the sender */
#endif

cJSON *ambd_error_encode(const struct amb_error *why, cJSON *detail, bool fatal) {
    cJSON *json = cJSON_CreateObject();

    cJSON_AddStringToObject(json, "code", amb_error_name(why->code));
    cJSON_AddNumberToObject(json, "errno", why->code);
    ambd_json_add_string(json, "message", why->message);
    cJSON_AddBoolToObject(json, "fatal", fatal);
    if (detail != NULL) {
        ambp_json_add_item(json, "detail", detail);
    }
    return json;
}

/* Life */

static void session_on_closed(uv_handle_t *handle) {
    struct ambd_session *session = handle->data;

    session->n_handles--;
    ambd_session_release(session);
}

void ambd_session_release(struct ambd_session *session) {
    struct ambd_server *server = session->server;

    if (!session->closing || session->n_handles > 0 || session->n_holds > 0 || session->stream != NULL) {
        return;
    }
    *session->at = session->next;
    if (session->next != NULL) {
        session->next->at = session->at;
    }
    server->n_sessions--;
    ambd_link_deinit(&session->link);
    cJSON_free(session->run);
    amb_free(session->watch);
    amb_free(session);
    ambd_server_continue_stop(server);
}

void ambd_session_hold(struct ambd_session *session) {
    session->n_holds++;
}

void ambd_session_drop(struct ambd_session *session) {
    session->n_holds--;
    ambd_session_release(session);
}

void ambd_session_close(struct ambd_session *session, const struct amb_error *why) {
    if (session->closing) {
        return;
    }
    session->closing = true;
    if (why != NULL) {
        ambd_log_client(session->uid, AMBD_INFO, "session.closed id=%llu pid=%ld code=%s reason=\"%s\"",
                        (unsigned long long)session->id, (long)session->pid, amb_error_name(why->code),
                        why->message);
    } else {
        ambd_log_client(session->uid, AMBD_DEBUG, "session.left id=%llu", (unsigned long long)session->id);
    }
    ambd_session_hold(session);
    uv_poll_stop(&session->poll);
    uv_close((uv_handle_t *)&session->poll, session_on_closed);
    uv_close((uv_handle_t *)&session->hello, session_on_closed);
    shutdown(session->link.fd, SHUT_RDWR); /* the peer sees the end now, whatever still holds memory here */
    if (session->stream != NULL && !session->stream->abandoned) {
        ambd_stream_abandon(session->stream);
    }
    ambd_session_drop(session);
}

/* Output */

static void session_update_events(struct ambd_session *session);

void ambd_session_push(struct ambd_session *session, unsigned type, uint32_t id, const void *a,
                       size_t a_bytes, const void *b, size_t b_bytes, int fd) {
    struct ambp_header header = {
        .version = AMBP_VERSION,
        .type = (uint8_t)type,
        .length = (uint32_t)(a_bytes + b_bytes),
        .request_id = id,
    };
    struct amb_error err = AMB_ERROR_NULL;

    if (session->closing) {
        return;
    }
    header.flags =
        type == AMBP_DATA && session->run != NULL && session->n_run_sent + a_bytes < session->run_bytes
            ? AMBP_FLAG_MORE
            : 0;
    if (ambd_link_push(&session->link, &header, a, a_bytes, b, b_bytes, fd, &err) < 0) {
        session->server->counters.out_queue_limit += err.code == AMB_ERR_LIMIT;
        ambd_session_close(session, err.code == -EPIPE || err.code == -ECONNRESET ? NULL : &err);
    } else if (ambd_link_queued(&session->link) > 0) {
        session_update_events(session); /* whoever pushed: the rest leaves when there is room */
    }
}

void ambd_session_reply(struct ambd_session *session, uint32_t id, char *text) {
    struct amb_error err = AMB_ERROR_NULL;
    size_t bytes = text != NULL ? strlen(text) : 0;

    if (text == NULL) {
        amb_fail(&err, -ENOMEM, "no memory for the answer");
        ambd_session_fail(session, id, &err, NULL, false);
    } else if (bytes <= AMBP_PAYLOAD_BYTES_MAX) {
        ambd_session_push(session, AMBP_REPLY, id, text, bytes, NULL, 0, -1);
        cJSON_free(text);
    } else {
        session->run = text;
        session->run_bytes = bytes;
        session->n_run_sent = 0;
        session->run_id = id;
        session->over_since_ns = ambd_now_ns(); /* the answer before has left, or this one would not begin */
    }
}

void ambd_session_fail(struct ambd_session *session, uint32_t id, const struct amb_error *why, cJSON *detail,
                       bool fatal) {
    static const char hungry[] = "{\"code\":\"ENOMEM\",\"errno\":-12,\"message\":\"no memory for an answer\",\"fatal\":%s}";
    char *text = ambd_json_print(ambd_error_encode(why, detail, fatal)), without_memory[sizeof hungry + 8];
    const char *said;

    if (text != NULL && strlen(text) > AMBP_PAYLOAD_BYTES_MAX) { /* an ERROR is one frame */
        cJSON_free(text);
        text = ambd_json_print(ambd_error_encode(why, NULL, fatal));
    }
    said = text != NULL ? text : without_memory;
    snprintf(without_memory, sizeof without_memory, hungry, fatal ? "true" : "false");
    session->server->counters.denied += why->code == AMB_ERR_DENIED;
    session->server->counters.protocol_errors += fatal;
    ambd_session_push(session, AMBP_ERROR, id, said, strlen(said), NULL, 0, -1);
    cJSON_free(text);
    if (fatal) {
        ambd_session_close(session, why);
    }
}

size_t ambd_session_backlog(const struct ambd_session *session) {
    return ambd_link_queued(&session->link) +
           (session->run != NULL ? session->run_bytes - session->n_run_sent : 0);
}

/* The next frame of a run, if the one before has left; false: nothing to do. */
static bool session_push_run(struct ambd_session *session) {
    size_t bytes = session->run_bytes - session->n_run_sent;

    if (session->run == NULL || ambd_link_queued(&session->link) > 0) {
        return false;
    }
    bytes = bytes < AMBP_PAYLOAD_BYTES_MAX ? bytes : AMBP_PAYLOAD_BYTES_MAX;
    ambd_session_push(session, AMBP_DATA, session->run_id, session->run + session->n_run_sent, bytes, NULL, 0,
                      -1);
    session->n_run_sent += bytes;
    if (session->n_run_sent == session->run_bytes) {
        cJSON_free(session->run);
        session->run = NULL;
    }
    return true;
}

/* Input */

static int session_on_hello(struct ambd_session *session, uint32_t id, const cJSON *json,
                            struct amb_error *err) {
    static const char *const keys[] = {"min", "max", "client", "features"};
    uint64_t min = 0, max = 0;
    const char *client = "";
    cJSON *reply, *features;
    char *text;
    int r = ambp_json_check_keys(json, "HELLO", keys, sizeof keys / sizeof keys[0], err);

    r = r < 0 ? r : ambp_json_get_u64(&min, json, "min", 1, UINT32_MAX, true, err);
    r = r < 0 ? r : ambp_json_get_u64(&max, json, "max", 1, UINT32_MAX, true, err);
    r = r < 0 ? r : ambp_json_get_string(&client, json, "client", false, err);
    if (r < 0) {
        return r;
    }
    if (min > AMBP_VERSION || max < AMBP_VERSION) {
        return amb_fail(err, AMB_ERR_VERSION,
                        "the client speaks protocol versions %llu to %llu, ambientd " AMB_VERSION
                        " speaks %u; install a "
                        "client of this release",
                        (unsigned long long)min, (unsigned long long)max, AMBP_VERSION);
    }
    snprintf(session->client, sizeof session->client, "%s", client);
    reply = cJSON_CreateObject();
    cJSON_AddNumberToObject(reply, "version", AMBP_VERSION);
    cJSON_AddStringToObject(reply, "server", "ambientd/" AMB_VERSION);
    features = cJSON_AddArrayToObject(reply, "features");
    ambp_json_add_item(features, NULL, cJSON_CreateString("fd"));
    cJSON_AddNumberToObject(reply, "pid", (double)getpid());
    ambd_log_client(session->uid, AMBD_DEBUG, "session.hello id=%llu client=\"%s\"",
                    (unsigned long long)session->id, session->client);
    text = ambd_json_print(reply);
    if (text == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for WELCOME");
    }
    session->greeted = true;
    uv_timer_stop(&session->hello);
    ambd_session_push(session, AMBP_WELCOME, id, text, strlen(text), NULL, 0, -1);
    cJSON_free(text);
    return 0;
}

static int session_on_subscribe(struct ambd_session *session, uint32_t id, const cJSON *json,
                                struct amb_error *err) {
    AMB_CLEANUP(ambd_subscription_deinit) struct ambd_subscription subscription = {0};
    struct ambd_dataset *dataset;
    const char *name = NULL;
    int r;

    if (session->stream != NULL) {
        return amb_fail(err, AMB_ERR_BUSY,
                        "this session has a stream already; open another connection for another");
    }
    r = ambp_json_get_string(&name, json, "dataset", false, err);
    dataset = r < 0 ? NULL : ambd_server_dataset(session->server, name, err);
    if (dataset == NULL) {
        return err->code;
    }
    r = ambd_subscription_decode(&subscription, json, dataset, err);
    return r < 0 ? r : ambd_stream_open(session, id, &subscription, err);
}

static int session_check_stream(const struct ambd_session *session, const char *what, struct amb_error *err) {
    return session->stream != NULL && session->stream->ready
               ? 0
               : amb_fail(err, AMB_ERR_PROTOCOL, "%s without a stream; SUBSCRIBE first", what);
}

static int session_on_advance(struct ambd_session *session, uint32_t id, const cJSON *json,
                              struct amb_error *err) {
    struct ambd_move_request request;
    int r = session_check_stream(session, "ADVANCE", err);

    r = r < 0 ? r : ambd_move_request_decode(&request, json, "ADVANCE", err);
    return r < 0 ? r : ambd_stream_advance(session->stream, id, &request, err);
}

static int session_on_cancel_advance(struct ambd_session *session, uint32_t id, const cJSON *json,
                                     struct amb_error *err) {
    static const char *const keys[] = {"step"};
    uint64_t step = 0;
    int r = session_check_stream(session, "CANCEL_ADVANCE", err);

    r = r < 0 ? r : ambp_json_check_keys(json, "CANCEL_ADVANCE", keys, 1, err);
    r = r < 0 ? r : ambp_json_get_u64(&step, json, "step", 0, UINT64_MAX, true, err);
    r = r < 0 ? r : ambd_stream_cancel_advance(session->stream, step, err);
    if (r == 0) {
        ambd_session_push(session, AMBP_REPLY, id, "{}", 2, NULL, 0, -1);
    }
    return r;
}

static int session_on_done(struct ambd_session *session, const uint8_t *payload, size_t bytes,
                           struct amb_error *err) {
    struct ambp_done done;
    int r = session_check_stream(session, "DONE", err);

    r = r < 0 ? r : ambp_done_decode(&done, payload, bytes, err);
    return r < 0 ? r : ambd_stream_return(session->stream, &done, err);
}

static int session_on_request(struct ambd_session *session, uint32_t id, const uint8_t *payload, size_t bytes,
                              struct amb_error *err) {
    struct ambp_request request;
    int r = session_check_stream(session, "REQUEST", err);

    r = r < 0 ? r : ambp_request_decode(&request, payload, bytes, err);
    return r < 0 ? r : ambd_stream_request(session->stream, id, &request, err);
}

/* JSON requests by type; the packed ones and PING are in session_dispatch. */
static const struct {
    int (*fn)(struct ambd_session *, uint32_t, const cJSON *, struct amb_error *);
    bool owner_only;
} handlers[AMBP_TYPE_N] = {
    [AMBP_HELLO] = {session_on_hello, false},
    [AMBP_STATUS] = {ambd_query_status, false},
    [AMBP_LIST] = {ambd_query_list, false},
    [AMBP_SAMPLE] = {ambd_query_sample, false},
    [AMBP_COVERAGE] = {ambd_query_coverage, false},
    [AMBP_QUARANTINE] = {ambd_query_quarantine, false},
    [AMBP_GENERATIONS] = {ambd_query_generations, false},
    [AMBP_SUBSCRIBE] = {session_on_subscribe, false},
    [AMBP_ADVANCE] = {session_on_advance, false},
    [AMBP_CANCEL_ADVANCE] = {session_on_cancel_advance, false},
    [AMBP_IMPORT] = {ambd_query_import, true},
    [AMBP_ANNOTATIONS] = {ambd_query_annotations, false},
    [AMBP_CURVE] = {ambd_query_curve, false},
    [AMBP_STATS] = {ambd_query_stats, false},
    [AMBP_PICTURES] = {ambd_query_pictures, false},
    [AMBP_JOBS] = {ambd_query_jobs, false},
    [AMBP_WATCH] = {ambd_query_watch, false},
    [AMBP_VERIFY] = {ambd_query_verify, false},
    [AMBP_ANNOTATE] = {ambd_query_annotate, true},
    [AMBP_JOB] = {ambd_query_job, true},
    [AMBP_MINT] = {ambd_query_mint, true},
    [AMBP_EXPORT] = {ambd_query_export, true},
    [AMBP_MERGE] = {ambd_query_merge, true},
    [AMBP_RELOAD] = {ambd_query_reload, true},
};

static int session_dispatch_json(struct ambd_session *session, const struct ambp_header *header,
                                 const char *payload, struct amb_error *err) {
    AMB_CLEANUP(ambp_json_deletep) cJSON *json = NULL;
    int r = ambp_json_decode(&json, payload, header->length, AMBP_JSON_DEPTH_MAX, err);

    if (r == AMB_ERR_FORMAT || (r == 0 && !cJSON_IsObject(json))) {
        char message[AMB_ERROR_MESSAGE_BYTES];

        snprintf(message, sizeof message, "%s", r < 0 ? err->message : "no JSON object");
        return amb_fail(err, AMB_ERR_PROTOCOL, "%s: %s", ambp_type_name(header->type), message);
    }
    if (r < 0) {
        return r;
    }
    if (handlers[header->type].owner_only && session->uid != geteuid() && session->uid != 0) {
        return amb_fail(err, AMB_ERR_DENIED, "%s is for uid %u (the daemon's) and root, you are uid %u",
                        ambp_type_name(header->type), (unsigned)geteuid(), (unsigned)session->uid);
    }
    return handlers[header->type].fn(session, header->request_id, json, err);
}

static int session_dispatch(struct ambd_session *session, struct amb_error *err) {
    struct ambp_header header = session->link.header;
    const uint8_t *payload = session->link.payload.data;

    session->server->counters.frames++;
    if (session->greeted == (header.type == AMBP_HELLO)) {
        return amb_fail(err, AMB_ERR_PROTOCOL, session->greeted ? "a second HELLO" : "%s before HELLO",
                        ambp_type_name(header.type));
    }
    if (header.request_id == 0 && header.type != AMBP_DONE) {
        return amb_fail(err, AMB_ERR_PROTOCOL, "%s with request id 0, which is for what nobody asked for",
                        ambp_type_name(header.type));
    }
    switch (header.type) {
    case AMBP_PING:
        if (header.length != 0) {
            return amb_fail(err, AMB_ERR_PROTOCOL, "PING of %u bytes, allowed: 0", header.length);
        }
        ambd_session_push(session, AMBP_REPLY, header.request_id, "{}", 2, NULL, 0, -1);
        return 0;
    case AMBP_DONE:
        return session_on_done(session, payload, header.length, err);
    case AMBP_REQUEST:
        return session_on_request(session, header.request_id, payload, header.length, err);
    default:
        break;
    }
    if (handlers[header.type].fn == NULL) {
        return amb_fail(err, AMB_ERR_PROTOCOL, "%s comes from the daemon, not from a client",
                        ambp_type_name(header.type));
    }
    return session_dispatch_json(session, &header, (const char *)payload, err);
}

static bool session_wants_frame(const struct ambd_session *session) {
    return !session->closing && !session->busy && session->run == NULL &&
           ambd_link_queued(&session->link) == 0;
}

/* Errors of the protocol end the session, others only the request. HELLO must succeed. */
static bool session_is_fatal(const struct ambd_session *session, int code) {
    return code == AMB_ERR_PROTOCOL || code == AMB_ERR_VERSION || !session->greeted;
}

/* Serve the frame that was read; once more where it missed something that the store had. */
static void session_serve(struct ambd_session *session) {
    struct amb_error err = AMB_ERROR_NULL;
    int r = session->closing ? 0 : session_dispatch(session, &err);

    if (r == 0) {
        session->recall.has_tried = false;
        return;
    }
    if (ambd_recall_push(session, session_serve)) {
        return;
    }
    session->recall.has_tried = false;
    ambd_log_client(session->uid, AMBD_DEBUG, "request.refused session=%llu code=%s reason=\"%s\"",
                    (unsigned long long)session->id, amb_error_name(err.code), err.message);
    ambd_session_fail(session, session->link.header.request_id, &err, NULL, session_is_fatal(session, r));
}

static void session_read(struct ambd_session *session) {
    for (int i = 0; i < SESSION_FRAMES_MAX && session_wants_frame(session); i++) {
        struct amb_error err = AMB_ERROR_NULL;
        int r = ambd_link_read(&session->link, &err);
        uint32_t id = r == AMBD_LINK_E_FRAME ? session->link.header.request_id : 0;

        if (r == AMBD_LINK_E_AGAIN) {
            return;
        }
        if (r == AMBD_LINK_E_END ||
            (r < 0 && r > AMB_ERR_FORMAT)) { /* the client left, or the socket failed */
            ambd_session_close(session, r < 0 && r != -ECONNRESET ? &err : NULL);
            return;
        }
        if (r < 0) {
            ambd_session_fail(session, id, &err, NULL, true);
            return;
        }
        session_serve(session);
    }
}

static void session_on_poll(uv_poll_t *poll, int status, int events) {
    struct ambd_session *session = poll->data;
    struct amb_error err = AMB_ERROR_NULL;

    ambd_session_hold(session);
    if (status < 0) {
        ambd_session_close(session, NULL);
    }
    if (!session->closing && (events & UV_WRITABLE) != 0 && ambd_link_flush(&session->link, &err) < 0) {
        ambd_session_close(session, NULL);
    }
    if ((events & UV_READABLE) != 0) {
        session_read(session);
    }
    if (!session->closing && (events & UV_DISCONNECT) != 0 && !session_wants_frame(session)) {
        ambd_session_close(session, NULL);
    }
    ambd_session_pump(session);
    ambd_session_drop(session);
}

static void session_update_events(struct ambd_session *session) {
    int events = UV_DISCONNECT;

    if (session->closing) {
        return;
    }
    events |= session_wants_frame(session) ? UV_READABLE : 0;
    events |= ambd_link_queued(&session->link) > 0 ? UV_WRITABLE : 0;
    if (events != session->events && uv_poll_start(&session->poll, events, session_on_poll) == 0) {
        session->events = events;
    }
}

void ambd_session_set_busy(struct ambd_session *session, bool busy) {
    session->busy = busy;
}

void ambd_session_pump(struct ambd_session *session) {
    if (session->pumping) {
        return;
    }
    session->pumping = true;
    ambd_session_hold(session);
    while (!session->closing && session_push_run(session)) {
    }
    if (!session->closing && session->stream != NULL) {
        ambd_stream_pump(session->stream);
    }
    session_update_events(session);
    session->pumping = false;
    ambd_session_drop(session);
}

static void session_on_hello_timeout(uv_timer_t *timer) {
    struct ambd_session *session = timer->data;
    struct amb_error err;

    session->server->counters.hello_timeouts++;
    amb_fail(&err, -ETIMEDOUT, "no HELLO within %llu ms",
             (unsigned long long)session->server->config->limits.hello_ms);
    ambd_session_fail(session, 0, &err, NULL, true);
}

int ambd_session_new(struct ambd_server *server, int fd, uid_t uid, pid_t pid, struct amb_error *err) {
    struct ambd_session *session = amb_calloc(1, sizeof *session);
    const struct ambd_limits *limits = &server->config->limits;
    enum ambd_peer_state peer;
    int zero = 0, r;

    if (session == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for a session");
    }
    r = uv_poll_init(&server->loop, &session->poll, fd);
    if (r < 0) {
        amb_free(session);
        return amb_fail(err, r, "cannot watch a connection: %s", uv_strerror(r));
    }
    setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &zero,
               sizeof zero); /* older kernels: recv() drops fds anyway */
    uv_timer_init(&server->loop, &session->hello);
    session->poll.data = session->hello.data = session;
    session->n_handles = 2;
    session->server = server;
    session->id = ++server->last_session_id;
    session->uid = uid;
    session->pid = pid;
    peer = ambd_peer_get(fd); /* of a process outside our namespace, which has no pid here, the kernel says GONE too */
    session->peer_known = peer == AMBD_PEER_ALIVE || (peer == AMBD_PEER_GONE && pid > 0);
    ambd_link_init(&session->link, fd, limits->frame_bytes, limits->out_queue_bytes);
    session->next = server->sessions;
    session->at = &server->sessions;
    if (session->next != NULL) {
        session->next->at = &session->next;
    }
    server->sessions = session;
    server->n_sessions++;
    uv_timer_start(&session->hello, session_on_hello_timeout, limits->hello_ms, 0);
    session_update_events(session);
    return 0;
}
