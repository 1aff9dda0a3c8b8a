/*
 * Stream: subscribe, take batches in order, give slots back.
 *
 * The daemon lends slots ahead; those wait in `queue` until the caller takes them.
 *
 * Not here: where slots lie (slab.c), and what happens when the daemon goes away (resume.c).
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "clients/c/connection.h"
#include "proto/message.h"

static const char *const default_fields[] = {"x_t", "x_tn", "sigma_t", "sigma_tn"};

static int stream_add_json(cJSON *request, const char *key, const char *text, struct ambient_error *err) {
    struct amb_error bad = AMB_ERROR_NULL;
    cJSON *value = NULL;

    if (text == NULL) {
        return 0;
    }
    if (ambp_json_decode(&value, text, strlen(text), AMBP_JSON_DEPTH_MAX, &bad) < 0) {
        return client_fail(err, bad.code, "%s: %s", key, bad.message);
    }
    ambp_json_add_item(request, key, value);
    return 0;
}

static void stream_add_string(cJSON *request, const char *key, const char *text) {
    if (text != NULL) {
        cJSON_AddStringToObject(request, key, text);
    }
}

static void stream_add_count(cJSON *request, const char *key, uint64_t count) {
    if (count != 0) {
        ambp_json_add_u64(request, key, count);
    }
}

static int stream_build(cJSON *request, const struct ambient_stream_options *options, struct ambient_error *err) {
    const char *const *names = options->fields != NULL ? options->fields : default_fields;
    size_t n_names = options->fields != NULL ? options->n_fields : 4;
    cJSON *fields = cJSON_AddArrayToObject(request, "fields");
    int r;

    for (size_t i = 0; i < n_names; i++) {
        ambp_json_add_item(fields, NULL, cJSON_CreateString(names[i]));
    }
    stream_add_string(request, "dataset", options->dataset);
    stream_add_string(request, "weight", options->weight);
    stream_add_string(request, "on_generation_change", options->on_generation_change);
    cJSON_AddNumberToObject(request, "batch_size", options->batch_size);
    cJSON_AddNumberToObject(request, "rank", options->rank);
    cJSON_AddNumberToObject(request, "world_size", options->world_size);
    cJSON_AddNumberToObject(request, "slots", options->slots);
    cJSON_AddBoolToObject(request, "follow", options->follow != 0 && options->world_size == 1);
    stream_add_count(request, "steps", options->steps);
    stream_add_count(request, "passes", options->passes);
    r = stream_add_json(request, "options", options->options, err);
    return r < 0 ? r : stream_add_json(request, "state", options->state, err);
}

int stream_subscribe(struct ambient_client *client, cJSON *request, struct ambient_error *err) {
    AMB_CLEANUP(amb_freep) char *text = cJSON_PrintUnformatted(request);
    AMB_CLEANUP(amb_fd_closep) int fd = -1;
    struct client_slab *slab;
    struct ambp_header header;
    int r;

    if (text == NULL) {
        return client_fail(err, -ENOMEM, "no memory for the request");
    }
    r = connection_send(client, AMBP_SUBSCRIBE, client->next_id++, text, strlen(text), err);
    if (r < 0) {
        client->lost = client->lost || r != AMB_ERR_LIMIT;
        return r;
    }
    r = connection_receive(&header, client, &fd, err);
    if (r < 0) {
        return r;
    }
    if (header.type == AMBP_ERROR) {
        r = client_fail_json(err, client->payload.data, header.length);
        client->lost = r == -ESHUTDOWN; /* the daemon stops: as good as gone */
        return r;
    }
    if (header.type != AMBP_SUBSCRIBED) {
        return client_fail(err, AMB_ERR_PROTOCOL, "SUBSCRIBE answered by %s", ambp_type_name(header.type));
    }
    r = slab_open(&slab, client->payload.data, header.length, fd, err);
    if (r < 0) {
        return r;
    }
    slab->older = client->slab;
    client->slab = slab;
    return 0;
}

/* With the last of its steps a stream is over; END says no more, and may stay out where every slot is held. */
static void stream_set_next(struct ambient_client *client, uint64_t step) {
    client->next_step = step;
    if (step >= client->end_step && client->ended == 0) {
        client->ended = AMBIENT_END;
    }
}

static void stream_keep_options(struct ambient_client *client, const struct ambient_stream_options *options) {
    client->reconnect = options->reconnect != 0;
    client->reconnect_timeout_s = options->reconnect_timeout_s;
    client->notice = options->notice;
    client->notice_context = options->context;
    client->end_step = client->slab->end_step;
    stream_set_next(client, client->slab->step);
}

int ambient_subscribe(struct ambient_client *client, const struct ambient_stream_options *options,
                      struct ambient_error *err) {
    AMB_CLEANUP(ambp_json_deletep) cJSON *request = cJSON_CreateObject();
    int r;

    if (options->struct_bytes != sizeof *options) {
        return client_fail(err, -EINVAL,
                           "options of %zu bytes, this library knows %zu: begin with AMBIENT_STREAM_OPTIONS_INIT",
                           options->struct_bytes, sizeof *options);
    }
    if (client->slab != NULL) {
        return client_fail(err, -EBUSY, "this connection has a stream already; connect once for each");
    }
    r = stream_build(request, options, err);
    r = r < 0 ? r : stream_subscribe(client, request, err);
    if (r < 0) {
        return r;
    }
    client->request = amb_steal_ptr(request);
    stream_keep_options(client, options);
    return 0;
}

const char *ambient_subscription(const struct ambient_client *client) {
    return client->slab != NULL ? client->slab->text : NULL;
}

static int stream_on_lend(struct ambient_client *client, size_t bytes, struct ambient_error *err) {
    struct client_slab *slab = client->slab;
    struct amb_error bad = AMB_ERROR_NULL;
    struct ambient_batch *batch;
    struct ambp_lend lend;

    if (slab == NULL || slab->gone || client->ended != 0) {
        return client_fail(err, AMB_ERR_PROTOCOL, "a batch without a stream, or behind its end");
    }
    if (ambp_lend_decode(&lend, client->payload.data, bytes, &bad) < 0) {
        return client_fail_from(err, &bad);
    }
    if (lend.slot >= slab->n_slots || slab->batches[lend.slot].lent || lend.step != slab->step) {
        return client_fail(err, AMB_ERR_PROTOCOL,
                           "slot %u lent for step %llu, allowed: one of %u that is not lent already, for step %llu",
                           lend.slot, (unsigned long long)lend.step, slab->n_slots, (unsigned long long)slab->step);
    }
    if (lend.step >= slab->end_step) {
        return client_fail(err, AMB_ERR_PROTOCOL, "step %llu lent, allowed: steps before %llu, where the stream ends",
                           (unsigned long long)lend.step, (unsigned long long)slab->end_step);
    }
    if (lend.count > slab->batch_size) {
        return client_fail(err, AMB_ERR_PROTOCOL, "%u samples lent in step %llu, allowed: the batch size, %u",
                           lend.count, (unsigned long long)lend.step, slab->batch_size);
    }
    batch = &slab->batches[lend.slot];
    batch->state.n_bytes = 0;
    if (amb_buf_push(&batch->state, lend.state, lend.state_bytes) < 0 || amb_buf_push(&batch->state, "", 1) < 0) {
        return client_fail(err, -ENOMEM, "no memory for a state of %u bytes", lend.state_bytes);
    }
    batch->client = client;
    batch->slab = slab;
    batch->slot = lend.slot;
    batch->count = lend.count;
    batch->step = lend.step;
    batch->lent = true;
    slab->step++;
    client->queue[client->n_queued++] = batch;
    return 0;
}

static int stream_on_end(struct ambient_client *client, size_t bytes, struct ambient_error *err) {
    AMB_CLEANUP(ambp_json_deletep) cJSON *json = NULL;
    AMB_CLEANUP(amb_freep) char *text = NULL;
    struct amb_error bad = AMB_ERROR_NULL;
    const cJSON *why = NULL;
    const char *reason = "";
    int code;

    if (ambp_json_decode(&json, (const char *)client->payload.data, bytes, AMBP_JSON_DEPTH_MAX, &bad) < 0 ||
        ambp_json_get_string(&reason, json, "reason", false, &bad) < 0 ||
        ambp_json_get_object(&why, json, "error", false, &bad) < 0) {
        return client_fail_from(err, &bad);
    }
    if (why == NULL) {
        client->ended = strcmp(reason, "error") != 0
                            ? AMBIENT_END
                            : client_fail(&client->end_error, AMB_ERR_PROTOCOL,
                                          "the stream ended with an error, and the daemon did not say which");
        return 0;
    }
    text = cJSON_PrintUnformatted(why);
    code = text == NULL ? client_fail(&client->end_error, -ENOMEM, "no memory for the stream's error")
                        : client_fail_json(&client->end_error, (const uint8_t *)text, strlen(text));
    if (code == -ESHUTDOWN && client->reconnect) { /* the daemon stops: as good as gone */
        client->lost = true;
        return client_fail(err, code, "%s", client->end_error.message);
    }
    client->ended = code;
    return 0;
}

int stream_on_frame(struct ambient_client *client, const struct ambp_header *header, struct ambient_error *err) {
    if (header->type == AMBP_LEND && header->request_id == 0) {
        return stream_on_lend(client, header->length, err);
    }
    if (header->type == AMBP_END) {
        return stream_on_end(client, header->length, err);
    }
    if (header->type == AMBP_ERROR) {
        return client_fail_json(err, client->payload.data, header->length);
    }
    return client_fail(err, AMB_ERR_PROTOCOL, "%s out of turn", ambp_type_name(header->type));
}

static int stream_receive(struct ambient_client *client, struct ambient_error *err) {
    struct ambp_header header;
    int r = client->lost ? client_fail(err, -ECONNRESET, "the daemon closed the connection")
                         : connection_receive(&header, client, NULL, err);

    return r < 0 ? r : stream_on_frame(client, &header, err);
}

/* Wait until a batch is queued or the stream has ended. */
static int stream_wait(struct ambient_client *client, struct ambient_error *err) {
    while (client->n_queued == 0 && client->ended == 0) {
        struct ambient_error why;
        int r;

        if (client->slab->n_taken == client->slab->n_slots && !client->lost && !connection_ready(client)) {
            return client_fail(err, -EDEADLK,
                               "all %u slots are held: release a batch before asking for the next, or subscribe "
                               "with more slots",
                               client->slab->n_slots);
        }
        r = stream_receive(client, &why);
        if (r < 0 && client->lost && client->reconnect) {
            r = stream_resume(client, &why, &why);
        }
        if (r < 0) {
            if (err != NULL) {
                *err = why;
            }
            return r;
        }
    }
    return 0;
}

int ambient_next(struct ambient_batch **out, struct ambient_client *client, struct ambient_error *err) {
    struct ambient_batch *batch;
    int r;

    if (client->request == NULL) {
        return client_fail(err, -EINVAL, "no stream: call ambient_subscribe first");
    }
    r = stream_wait(client, err);
    if (r < 0) {
        return r;
    }
    if (client->n_queued == 0) {
        if (client->ended < 0 && err != NULL) {
            *err = client->end_error;
        }
        return client->ended;
    }
    batch = client->queue[0];
    client->state.n_bytes = 0;
    if (amb_buf_push(&client->state, batch->state.data, batch->state.n_bytes) < 0) {
        return client_fail(err, -ENOMEM, "no memory for a state of %zu bytes", batch->state.n_bytes);
    }
    stream_set_next(client, batch->step + 1);
    client->n_queued--;
    memmove(client->queue, client->queue + 1, client->n_queued * sizeof client->queue[0]);
    batch->taken = true;
    batch->slab->n_taken++;
    *out = batch;
    return 0;
}

void ambient_batch_release(struct ambient_batch *batch) {
    uint8_t payload[AMBP_DONE_BYTES];
    struct client_slab *slab;
    int n;

    if (batch == NULL || !batch->taken) {
        return;
    }
    slab = batch->slab;
    batch->taken = false;
    batch->lent = false;
    slab->n_taken--;
    if (slab->gone) {
        if (slab->n_taken == 0) {
            slab_unmap(slab);
        }
        return;
    }
    n = ambp_done_encode(payload, sizeof payload, &(struct ambp_done){.slot = batch->slot});
    /* A dead daemon shows at the next receive; a release has nobody to tell. */
    (void)connection_send(batch->client, AMBP_DONE, 0, payload, (size_t)n, NULL);
}
