/*
 * Stream: subscribe, map the slots, take batches in order, give slots back.
 *
 * The daemon lends slots ahead; those wait in `queue` until the caller takes them. Offsets into the slab are proven
 * once, at subscription; after that a field is a plain pointer.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/size.h"
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
    cJSON_AddItemToObject(request, key, value);
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
        cJSON_AddItemToArray(fields, cJSON_CreateString(names[i]));
    }
    stream_add_string(request, "dataset", options->dataset);
    stream_add_string(request, "weight", options->weight);
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

/* Every field lies inside a slot. */
static int stream_check_field(const cJSON *field, uint64_t slot_bytes, struct amb_error *err) {
    uint64_t offset = 0, bytes = 0, row_bytes = 0;
    const char *name = NULL, *dtype = NULL;
    const cJSON *shape = NULL;

    if (ambp_json_get_string(&name, field, "name", true, err) < 0 ||
        ambp_json_get_string(&dtype, field, "dtype", true, err) < 0 ||
        ambp_json_get_array(&shape, field, "shape", true, err) < 0 ||
        ambp_json_get_u64(&offset, field, "offset", 0, slot_bytes, true, err) < 0 ||
        ambp_json_get_u64(&row_bytes, field, "row_bytes", 0, slot_bytes, true, err) < 0 ||
        ambp_json_get_u64(&bytes, field, "bytes", 0, slot_bytes, true, err) < 0) {
        return err->code;
    }
    if (!amb_span_ok(offset, bytes, slot_bytes) || cJSON_GetArraySize(shape) > 8) {
        return amb_fail(err, AMB_ERR_PROTOCOL, "field %s: [%llu, +%llu) of a slot of %llu bytes", name,
                        (unsigned long long)offset, (unsigned long long)bytes, (unsigned long long)slot_bytes);
    }
    return 0;
}

static int stream_check(struct ambient_client *client, struct amb_error *err) {
    const cJSON *json = client->subscription_json, *fields = NULL, *field;
    uint64_t n_slots = 0, slot_bytes = 0, total_bytes = 0;

    if (ambp_json_get_u64(&n_slots, json, "slots", 1, CLIENT_SLOTS_MAX, true, err) < 0 ||
        ambp_json_get_u64(&slot_bytes, json, "slot_bytes", 1, SIZE_MAX >> 8, true, err) < 0 ||
        ambp_json_get_u64(&total_bytes, json, "total_bytes", n_slots * slot_bytes, SIZE_MAX >> 8, true, err) < 0 ||
        ambp_json_get_array(&fields, json, "fields", true, err) < 0) {
        return err->code;
    }
    cJSON_ArrayForEach(field, fields) {
        int r = stream_check_field(field, slot_bytes, err);

        if (r < 0) {
            return r;
        }
    }
    client->fields = fields;
    client->n_slots = (uint32_t)n_slots;
    client->slot_bytes = (size_t)slot_bytes;
    client->slab_bytes = (size_t)total_bytes;
    return 0;
}

static int stream_map(struct ambient_client *client, int fd, struct ambient_error *err) {
    struct stat st;
    void *slab;

    if (fd < 0 || fstat(fd, &st) < 0 || (uint64_t)st.st_size < client->slab_bytes) {
        return client_fail(err, AMB_ERR_PROTOCOL, "SUBSCRIBED without shared memory of %zu bytes",
                           client->slab_bytes);
    }
    slab = mmap(NULL, client->slab_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (slab == MAP_FAILED) {
        return client_fail(err, -errno, "cannot map %zu bytes of slots: %s", client->slab_bytes, strerror(errno));
    }
    client->slab = slab;
    return 0;
}

/* The answer to SUBSCRIBE lies in client->payload. */
static int stream_on_subscribed(struct ambient_client *client, const struct ambp_header *header, int fd,
                                struct ambient_error *err) {
    struct amb_error bad = AMB_ERROR_NULL;
    const char *text = (const char *)client->payload.data;
    int r;

    if (header->type == AMBP_ERROR) {
        return client_fail_json(err, client->payload.data, header->length);
    }
    if (header->type != AMBP_SUBSCRIBED) {
        return client_fail(err, AMB_ERR_PROTOCOL, "SUBSCRIBE answered by %s", ambp_type_name(header->type));
    }
    if (ambp_json_decode(&client->subscription_json, text, header->length, AMBP_JSON_DEPTH_MAX, &bad) < 0 ||
        stream_check(client, &bad) < 0) {
        return client_fail_from(err, &bad);
    }
    r = stream_map(client, fd, err);
    if (r < 0) {
        return r;
    }
    client->subscription = amb_calloc(1, (size_t)header->length + 1);
    if (client->subscription == NULL) {
        return client_fail(err, -ENOMEM, "no memory for the subscription");
    }
    memcpy(client->subscription, text, header->length);
    return 0;
}

int ambient_subscribe(struct ambient_client *client, const struct ambient_stream_options *options,
                      struct ambient_error *err) {
    AMB_CLEANUP(ambp_json_deletep) cJSON *request = cJSON_CreateObject();
    AMB_CLEANUP(amb_freep) char *text = NULL;
    AMB_CLEANUP(amb_fd_closep) int fd = -1;
    struct ambp_header header;
    int r;

    if (options->struct_bytes != sizeof *options) {
        return client_fail(err, -EINVAL,
                           "options of %zu bytes, this library knows %zu: begin with AMBIENT_STREAM_OPTIONS_INIT",
                           options->struct_bytes, sizeof *options);
    }
    if (client->subscription_json != NULL) {
        return client_fail(err, -EBUSY, "this connection has a stream already; connect once for each");
    }
    r = stream_build(request, options, err);
    if (r < 0) {
        return r;
    }
    text = cJSON_PrintUnformatted(request);
    if (text == NULL) {
        return client_fail(err, -ENOMEM, "no memory for the request");
    }
    r = connection_send(client, AMBP_SUBSCRIBE, client->next_id++, text, strlen(text), err);
    if (r == 0) {
        r = connection_receive(&header, client, &fd, err);
    }
    return r < 0 ? r : stream_on_subscribed(client, &header, fd, err);
}

const char *ambient_subscription(const struct ambient_client *client) {
    return client->subscription;
}

static int stream_on_lend(struct ambient_client *client, size_t bytes, struct ambient_error *err) {
    struct amb_error bad = AMB_ERROR_NULL;
    struct ambient_batch *batch;
    struct ambp_lend lend;

    if (ambp_lend_decode(&lend, client->payload.data, bytes, &bad) < 0) {
        return client_fail_from(err, &bad);
    }
    if (lend.slot >= client->n_slots || client->batches[lend.slot].lent) {
        return client_fail(err, AMB_ERR_PROTOCOL, "slot %u lent, allowed: one of %u that is not lent already",
                           lend.slot, client->n_slots);
    }
    batch = &client->batches[lend.slot];
    batch->state.n_bytes = 0;
    if (amb_buf_push(&batch->state, lend.state, lend.state_bytes) < 0 || amb_buf_push(&batch->state, "", 1) < 0) {
        return client_fail(err, -ENOMEM, "no memory for a state of %u bytes", lend.state_bytes);
    }
    batch->client = client;
    batch->slot = lend.slot;
    batch->count = lend.count;
    batch->step = lend.step;
    batch->lent = true;
    client->queue[client->n_queued++] = lend.slot;
    return 0;
}

static int stream_on_end(struct ambient_client *client, size_t bytes, struct ambient_error *err) {
    AMB_CLEANUP(ambp_json_deletep) cJSON *json = NULL;
    AMB_CLEANUP(amb_freep) char *text = NULL;
    struct amb_error bad = AMB_ERROR_NULL;
    const cJSON *why = NULL;

    if (ambp_json_decode(&json, (const char *)client->payload.data, bytes, AMBP_JSON_DEPTH_MAX, &bad) < 0 ||
        ambp_json_get_object(&why, json, "error", false, &bad) < 0) {
        return client_fail_from(err, &bad);
    }
    client->ended = AMBIENT_END;
    if (why != NULL) {
        text = cJSON_PrintUnformatted(why);
        client->ended = text == NULL ? client_fail(&client->end_error, -ENOMEM, "no memory for the stream's error")
                                     : client_fail_json(&client->end_error, (const uint8_t *)text, strlen(text));
    }
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

/* Wait until a batch is queued or the stream has ended. */
static int stream_wait(struct ambient_client *client, struct ambient_error *err) {
    while (client->n_queued == 0 && client->ended == 0) {
        struct ambp_header header;
        int r;

        if (client->n_taken == client->n_slots) {
            return client_fail(err, -EDEADLK,
                               "all %u slots are held: release a batch before asking for the next, or subscribe "
                               "with more slots",
                               client->n_slots);
        }
        r = connection_receive(&header, client, NULL, err);
        if (r == 0) {
            r = stream_on_frame(client, &header, err);
        }
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

int ambient_next(struct ambient_batch **out, struct ambient_client *client, struct ambient_error *err) {
    struct ambient_batch *batch;
    int r;

    if (client->subscription == NULL) {
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
    batch = &client->batches[client->queue[0]];
    client->n_queued--;
    memmove(client->queue, client->queue + 1, client->n_queued * sizeof client->queue[0]);
    batch->taken = true;
    client->n_taken++;
    *out = batch;
    return 0;
}

void ambient_batch_release(struct ambient_batch *batch) {
    uint8_t payload[AMBP_DONE_BYTES];
    int n;

    if (batch == NULL || !batch->taken) {
        return;
    }
    batch->taken = false;
    batch->lent = false;
    batch->client->n_taken--;
    n = ambp_done_encode(payload, sizeof payload, &(struct ambp_done){.slot = batch->slot});
    /* A dead daemon shows at the next receive; a release has nobody to tell. */
    (void)connection_send(batch->client, AMBP_DONE, 0, payload, (size_t)n, NULL);
}
