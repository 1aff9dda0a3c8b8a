#pragma once
/* Slab: the slots of one session in shared memory, as its SUBSCRIBED describes them; not installed. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "clients/c/ambient.h"
#include "proto/json.h"

#define CLIENT_SLOTS_MAX 64u      /* as proto/README.md section 2: slots */
#define CLIENT_BATCH_MAX 4194304u /* the same: batch_size */

/* A field of every slot: it lies inside it, and its rows are as many as the batch size. */
struct client_field {
    struct ambient_array array; /* its strings lie in the slab's json */
    size_t offset;
};

/* A slot as the client knows it. */
struct ambient_batch {
    struct ambient_client *client;
    struct client_slab *slab;
    uint32_t slot, count;
    uint64_t step;
    bool lent;            /* by the daemon to us */
    bool taken;           /* by the caller */
    struct amb_buf state; /* terminated text */
};

/* The slots of one session. Mapped while the session lives or the caller holds a batch; the rest until disconnect. */
struct client_slab {
    struct client_slab *older;
    char *text;           /* of SUBSCRIBED */
    cJSON *json;          /* the same */
    struct client_field *fields;
    size_t n_fields;
    bool gone;            /* its session has ended with the connection: slots go back to nobody */
    uint8_t *data;        /* NULL: not mapped any more */
    size_t bytes, slot_bytes;
    uint32_t n_slots, n_taken, batch_size;
    uint64_t step;        /* of the next LEND */
    uint64_t end_step;    /* no LEND from here on; UINT64_MAX: endless */
    struct ambient_batch batches[CLIENT_SLOTS_MAX];
};

/**
 * Prove what a SUBSCRIBED says, and map its slots.
 *
 * text: the payload, copied. fd: the memory that came with it, the caller's; -1: none did.
 */
int slab_open(struct client_slab **out, const void *text, size_t bytes, int fd, struct ambient_error *err);
struct client_slab *slab_close(struct client_slab *slab); /* NULL ok; returns NULL */
void slab_unmap(struct client_slab *slab);                /* idempotent */
