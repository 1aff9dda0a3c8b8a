#pragma once
/* Connection: a blocking socket that carries frames; shared by call.c and stream.c, not installed. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "clients/c/ambient.h"
#include "proto/frame.h"
#include "proto/json.h"

#define CLIENT_SLOTS_MAX 64u /* as proto/README.md section 2: slots */

/* A slot as the client knows it. */
struct ambient_batch {
    struct ambient_client *client;
    uint32_t slot, count;
    uint64_t step;
    bool lent;            /* by the daemon to us */
    bool taken;           /* by the caller */
    struct amb_buf state; /* terminated text */
};

struct ambient_client {
    int fd;
    uint32_t next_id;
    char server[64];
    struct amb_buf payload;   /* of the frame last read */
    struct amb_buf reply;     /* of DATA frames put together */

    /* stream */
    char *subscription;       /* text of SUBSCRIBED; NULL before */
    cJSON *subscription_json;
    const cJSON *fields;      /* inside subscription_json */
    uint8_t *slab;
    size_t slab_bytes, slot_bytes;
    uint32_t n_slots, n_taken, n_queued;
    struct ambient_batch batches[CLIENT_SLOTS_MAX];
    uint32_t queue[CLIENT_SLOTS_MAX]; /* slots lent and not yet taken, in order */
    int ended;                /* 0 running, AMBIENT_END, or a negative code */
    struct ambient_error end_error;
};

/* Fill err (NULL ok) and return its code: from a format, from a library error, from the JSON of an ERROR frame. */
int client_fail(struct ambient_error *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int client_fail_from(struct ambient_error *err, const struct amb_error *from);
int client_fail_json(struct ambient_error *err, const uint8_t *payload, size_t bytes);

int connection_send(struct ambient_client *client, uint8_t type, uint32_t request_id, const void *payload,
                    size_t bytes, struct ambient_error *err);
/* Read one frame; its payload lies in client->payload. *fd (fd may be NULL): a descriptor that came with it. */
int connection_receive(struct ambp_header *out, struct ambient_client *client, int *fd, struct ambient_error *err);

/* A frame that nobody waits for at this moment: LEND, END. AMB_ERR_PROTOCOL for any other. */
int stream_on_frame(struct ambient_client *client, const struct ambp_header *header, struct ambient_error *err);
