#ifndef AMBIENT_H
#define AMBIENT_H
/*
 * libambient-client: batches from ambientd in C.
 *
 *     struct ambient_client *client;
 *     struct ambient_stream_options options = AMBIENT_STREAM_OPTIONS_INIT;
 *     struct ambient_batch *batch;
 *     struct ambient_error err;
 *
 *     ambient_connect(&client, NULL, &err);
 *     ambient_subscribe(client, &options, &err);
 *     while (ambient_next(&batch, client, &err) == 0) {
 *         const float *x_t = ambient_batch_data(batch, "x_t", NULL);
 *         ...
 *         ambient_batch_release(batch);
 *     }
 *     ambient_disconnect(client);
 *
 * Every function that can fail returns 0 on success, a negative code on failure (err says why; err may be NULL), or
 * an outcome above zero that is named below. A client and its batches belong to one thread at a time. Nothing here
 * survives fork: the child must connect anew.
 *
 * A daemon that is restarted under a stream costs it seconds and no byte: ambient_next waits for the next daemon and
 * goes on at the exact next draw (options.reconnect, on by default). Batches that are held stay valid meanwhile.
 */
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define AMBIENT_API __attribute__((visibility("default")))

struct ambient_client; /* one connection */
struct ambient_batch;  /* one lent slot */

struct ambient_error {
    int code;          /* negative errno, or one of -7001.. (proto/README.md) */
    char name[32];     /* stable name: "gap", "config", "ECONNREFUSED" */
    char message[480]; /* one line: what was found, what is allowed, what to do */
};

enum ambient_outcome {
    AMBIENT_END = 1, /* the stream ended as asked for (steps, passes, sequential) */
};

/**
 * Connect and greet.
 *
 * address: path of the daemon's socket; NULL: AMBIENTD_SOCKET, else this user's default (see `ambientd --help`).
 * *out:    to be released by ambient_disconnect.
 */
AMBIENT_API int ambient_connect(struct ambient_client **out, const char *address, struct ambient_error *err);
AMBIENT_API void ambient_disconnect(struct ambient_client *client); /* NULL ok; outstanding batches become invalid */
AMBIENT_API const char *ambient_server(const struct ambient_client *client); /* "ambientd/0.1.0" */

/**
 * Ask a question: "PING", "STATUS", "LIST", "SAMPLE", "COVERAGE", "QUARANTINE", "GENERATIONS", "ADVANCE",
 * "CANCEL_ADVANCE", "IMPORT", "RELOAD" (proto/README.md, sections 1 and 3). Batches that arrive meanwhile are kept. A
 * question that the end of the daemon cuts fails; asked again, it waits as ambient_next does where there is a stream, or was
 * one that has ended.
 *
 * json:   the request, NULL for {}.
 * *reply: JSON text, to be released by ambient_free; reply may be NULL.
 */
AMBIENT_API int ambient_call(char **reply, struct ambient_client *client, const char *request, const char *json,
                             struct ambient_error *err);
AMBIENT_API void ambient_free(void *p); /* NULL ok */

/* JSON of the ERROR that answered the last call, with its `detail`; NULL: none did. Valid until the next call. */
AMBIENT_API const char *ambient_last_error(const struct ambient_client *client);

/* What a stream is; begin with AMBIENT_STREAM_OPTIONS_INIT and set what differs. Strings are borrowed for the call. */
struct ambient_stream_options {
    size_t struct_bytes;       /* set by INIT: tells the library which fields there are */
    const char *dataset;       /* NULL: the only one */
    const char *options;       /* JSON of what decides draws (proto/state.md): {"seed":0,"process":"ve"}; NULL: defaults */
    const char *const *fields; /* "x_t", "sigma_t", "x_t:f16", "member:txt"; NULL: x_t, x_tn, sigma_t, sigma_tn */
    size_t n_fields;
    uint32_t batch_size;       /* samples per rank and step */
    uint32_t rank, world_size;
    uint32_t slots;            /* batches in shared memory: one at work, the others ahead */
    const char *weight;        /* "edm", "velocity", "none"; NULL: edm */
    const char *state;         /* JSON of ambient_batch_state, to resume behind that batch; NULL: from the start */
    uint64_t steps, passes;    /* end behind; 0: endless */
    int follow;                /* take new annotation generations as they come (world_size 1) */
    int reconnect;             /* where the daemon goes away, wait for the next one and go on */
    uint32_t reconnect_timeout_s; /* wait so long, then fail with -ETIMEDOUT; asked again, wait again */
    /* Told once when the daemon goes away: one line of text. NULL: it is written to stderr. */
    void (*notice)(void *context, const char *message);
    void *context;
    /* "error", or "continue": where the generation of `state` cannot be had, new passes on the present one. NULL: error */
    const char *on_generation_change;
};

#define AMBIENT_STREAM_OPTIONS_INIT                                                                          \
    {                                                                                                        \
        sizeof(struct ambient_stream_options), NULL, NULL, NULL, 0, 64, 0, 1, 4, NULL, NULL, 0, 0, 1, 1, 300, \
            NULL, NULL, NULL                                                                                 \
    }

/* Start the one stream of this connection; maps its slots. */
AMBIENT_API int ambient_subscribe(struct ambient_client *client, const struct ambient_stream_options *options,
                                  struct ambient_error *err);
/* The newest daemon's SUBSCRIBED reply as JSON: fields, offsets, keys, steps. Valid until disconnect; NULL before. */
AMBIENT_API const char *ambient_subscription(const struct ambient_client *client);

/**
 * Wait for the next batch.
 *
 * *out:    lent until ambient_batch_release; a client that holds every slot and asks for more gets -EDEADLK, unless the
 *          stream is over.
 * Where the daemon went away: waits for the next one, -ETIMEDOUT if none came in time; an error of the next one (other
 * shards or annotations: "state", "not-found") ends the stream.
 * Returns: 0, AMBIENT_END, or a negative code.
 */
AMBIENT_API int ambient_next(struct ambient_batch **out, struct ambient_client *client, struct ambient_error *err);

/* Give the slot back; its memory may change at once. NULL ok. */
AMBIENT_API void ambient_batch_release(struct ambient_batch *batch);

/* A field of a batch. */
struct ambient_array {
    const char *name, *dtype; /* "x_t", "f32"; valid until disconnect */
    uint32_t n_dims;
    uint32_t dims[8];         /* dims[0] is the batch size; a shorter last batch has ambient_batch_count rows */
    size_t row_bytes, bytes;
    int ragged;               /* key, member:EXT: data is int64_t lengths[batch size], then cells of row_bytes */
};

/* Writable memory of a field, 4096-aligned, valid until release; NULL: no such field. array may be NULL. */
AMBIENT_API void *ambient_batch_data(const struct ambient_batch *batch, const char *field,
                                     struct ambient_array *array);
/* Cell i of a ragged field, row_bytes long; NULL if there is no such. *length: the true length, of which no more than row_bytes
 * bytes lie there; -1: missing. */
AMBIENT_API const void *ambient_batch_cell(const struct ambient_batch *batch, const char *field, uint32_t i,
                                           int64_t *length);
AMBIENT_API uint32_t ambient_batch_count(const struct ambient_batch *batch);
AMBIENT_API uint64_t ambient_batch_step(const struct ambient_batch *batch);
/* JSON of the state after this batch, for options.state; valid until release. */
AMBIENT_API const char *ambient_batch_state(const struct ambient_batch *batch);

#ifdef __cplusplus
}
#endif
#endif
