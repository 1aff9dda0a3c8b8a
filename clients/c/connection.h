#pragma once
/* Connection: a blocking socket that carries frames; shared by call.c, stream.c and resume.c, not installed. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "clients/c/ambient.h"
#include "clients/c/slab.h"
#include "proto/frame.h"
#include "proto/json.h"

struct ambient_client {
    int fd;
    bool lost;                /* the connection has ended, or is closed: nothing more can be read from it */
    char *address;
    uint32_t next_id;
    char server[64];
    struct amb_buf payload;   /* of the frame last read */
    struct amb_buf reply;     /* of DATA frames put together */
    struct amb_buf error;     /* payload of the ERROR that answered the last call, terminated; empty: none did */

    /* stream */
    struct client_slab *slab; /* of the newest stream, the older ones behind it; NULL: none yet */
    struct ambient_batch *queue[CLIENT_SLOTS_MAX]; /* lent and not yet taken, in order */
    uint32_t n_queued;
    int ended;                /* 0 running, AMBIENT_END, or a negative code */
    struct ambient_error end_error;

    /* what it takes to subscribe again (resume.c) */
    bool reconnect;
    uint32_t reconnect_timeout_s;
    void (*notice)(void *context, const char *message);
    void *notice_context;
    cJSON *request;           /* SUBSCRIBE as it was asked */
    cJSON *advances;          /* moves accepted by a daemon, in rising steps; NULL: none */
    struct amb_buf state;     /* after the batch last taken, terminated; empty: none yet */
    uint64_t next_step;       /* behind it */
    uint64_t end_step;        /* UINT64_MAX: endless */
};

/* Fill err (NULL ok) and return its code: from a format, from a library error, from the JSON of an ERROR frame. */
int client_fail(struct ambient_error *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int client_fail_from(struct ambient_error *err, const struct amb_error *from);
int client_fail_json(struct ambient_error *err, const uint8_t *payload, size_t bytes);

/* Connect to client->address and greet; `seconds` bounds every single wait, 0: none. Where it fails for want of a daemon,
 * client->lost is set. */
int connection_open(struct ambient_client *client, double seconds, struct ambient_error *err);
void connection_close(struct ambient_client *client); /* idempotent */
void connection_set_timeout(struct ambient_client *client, double seconds); /* 0: none */
bool connection_ready(const struct ambient_client *client); /* something has arrived, or the end */

/* AMB_ERR_LIMIT: refused here, nothing has left. After any other failure nobody can tell how much has. */
int connection_send(struct ambient_client *client, uint8_t type, uint32_t request_id, const void *payload,
                    size_t bytes, struct ambient_error *err);
/* Read one frame; its payload lies in client->payload. *fd (fd may be NULL): a descriptor that came with it.
 * Where the connection has ended, client->lost is set. */
int connection_receive(struct ambp_header *out, struct ambient_client *client, int *fd, struct ambient_error *err);

/* Send a SUBSCRIBE and take its answer: a new client->slab. */
int stream_subscribe(struct ambient_client *client, cJSON *request, struct ambient_error *err);
/* A frame that nobody waits for at this moment: LEND, END. AMB_ERR_PROTOCOL for any other. */
int stream_on_frame(struct ambient_client *client, const struct ambp_header *header, struct ambient_error *err);

/**
 * Wait for the next daemon and subscribe behind the batch last taken; where the stream has ended, only connect. What was
 * lent and not taken is forgotten.
 *
 * why:     what ended the connection, for the notice; NULL: we did, nobody is told.
 * Returns: 0; -ETIMEDOUT; what the next daemon refused, which ends the stream.
 */
int stream_resume(struct ambient_client *client, const struct ambient_error *why, struct ambient_error *err);
/* An accepted ADVANCE to be made by the next daemon too; one that was cancelled. */
int resume_add_advance(struct ambient_client *client, const char *reply, struct ambient_error *err);
void resume_remove_advance(struct ambient_client *client, const char *request);
/* Accepted moves that the batches taken have not reached, as an array of their own; NULL: none. */
cJSON *resume_moves_ahead(const struct ambient_client *client);
