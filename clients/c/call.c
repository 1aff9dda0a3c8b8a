/*
 * Call: one question, one answer; large answers come as a run of DATA frames.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "clients/c/connection.h"

static int call_type(const char *request) {
    for (unsigned type = 0; type < AMBP_TYPE_N; type++) {
        const char *name = ambp_type_name(type);

        if (name != NULL && strcmp(name, request) == 0) {
            return (int)type;
        }
    }
    return -EINVAL;
}

/* 0: the answer is complete in client->reply; 1: more is to come; < 0: failed. */
static int call_on_frame(struct ambient_client *client, const struct ambp_header *header, uint32_t id,
                         struct ambient_error *err) {
    if (header->request_id != id) {
        int r = stream_on_frame(client, header, err);

        return r < 0 ? r : 1;
    }
    if (header->type == AMBP_ERROR) {
        if (amb_buf_push(&client->error, client->payload.data, header->length) < 0 ||
            amb_buf_push(&client->error, "", 1) < 0) {
            client->error.n_bytes = 0;
        }
        return client_fail_json(err, client->payload.data, header->length);
    }
    if (header->type != AMBP_REPLY && header->type != AMBP_DATA) {
        return client_fail(err, AMB_ERR_PROTOCOL, "a question answered by %s", ambp_type_name(header->type));
    }
    if (amb_buf_push(&client->reply, client->payload.data, header->length) < 0) {
        return client_fail(err, -ENOMEM, "no memory for an answer past %zu bytes", client->reply.n_bytes);
    }
    return (header->flags & AMBP_FLAG_MORE) != 0 ? 1 : 0;
}

static int call_connected(struct ambient_client *client, struct ambient_error *err) {
    struct ambient_error why;

    if (client->lost && client->reconnect) {
        client_fail(&why, -ECONNRESET, "the daemon closed the connection");
        return stream_resume(client, client->fd >= 0 ? &why : NULL, err); /* else we closed it, who were refused */
    }
    return 0;
}

/* What an accepted or cancelled advance means for the daemon after this one. The reply is terminated. */
static int call_note(struct ambient_client *client, int type, const char *json, struct ambient_error *err) {
    if (type == AMBP_CANCEL_ADVANCE) {
        resume_remove_advance(client, json);
    }
    return type == AMBP_ADVANCE ? resume_add_advance(client, (const char *)client->reply.data, err) : 0;
}

int ambient_call(char **reply, struct ambient_client *client, const char *request, const char *json,
                 struct ambient_error *err) {
    int type = call_type(request), r;
    uint32_t id;

    client->reply.n_bytes = client->error.n_bytes = 0;
    if (type < 0) {
        return client_fail(err, -EINVAL, "no request is called '%s'", request);
    }
    if (json == NULL) {
        json = type == AMBP_PING ? "" : "{}";
    }
    r = call_connected(client, err);
    if (r < 0) {
        return r;
    }
    id = client->next_id++;
    r = connection_send(client, (uint8_t)type, id, json, strlen(json), err);
    if (r < 0) {
        client->lost = client->lost || r != AMB_ERR_LIMIT;
        return r;
    }
    do {
        struct ambp_header header;

        r = connection_receive(&header, client, NULL, err);
        if (r == 0) {
            r = call_on_frame(client, &header, id, err);
        }
    } while (r > 0);
    if (r < 0) {
        return r;
    }
    if (amb_buf_push(&client->reply, "", 1) < 0) {
        return client_fail(err, -ENOMEM, "no memory for an answer");
    }
    r = call_note(client, type, json, err);
    if (r < 0 || reply == NULL) {
        return r;
    }
    *reply = amb_strdup((const char *)client->reply.data);
    return *reply != NULL ? 0 : client_fail(err, -ENOMEM, "no memory for an answer");
}

const char *ambient_last_error(const struct ambient_client *client) {
    return client->error.n_bytes > 0 ? (const char *)client->error.data : NULL;
}
