#pragma once
/* Generation: one state of a dataset's annotations, with the orders that streams need of it. */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "annotate/annotations.h"
#include "annotate/ledger.h"
#include "base/error.h"
#include "sampler/orders.h"

struct ambd_edition;

struct ambd_generation {
    /* constant */
    uint64_t number;
    struct ambd_edition *edition; /* whose samples they are of; pinned once a dataset has the generation */
    struct amb_annotations *annotations; /* a reference */
    uint64_t min_counts[AMB_ORIGIN_N], max_counts[AMB_ORIGIN_N];

    /* loop only */
    unsigned n_pins;    /* streams, moves and tasks that need it */
    unsigned n_streams; /* of them, streams: for people */
    struct ambd_generation *newer;
};

/* Mint the ledger's present values. Thread: the ledger's desk. */
int ambd_generation_new(struct ambd_generation **out, struct ambd_edition *edition, const struct amb_ledger *ledger,
                        uint64_t number, struct amb_error *err);
/* One that was rebuilt: *values are taken (and NULL then) on success. Nothing is known of who set them. Thread: desk. */
int ambd_generation_load(struct ambd_generation **out, struct ambd_edition *edition, struct amb_annotation **values,
                         uint32_t n_samples, uint64_t number, struct amb_error *err);
struct ambd_generation *ambd_generation_free(struct ambd_generation *generation); /* NULL ok; returns NULL */

/* Shelf: the orders of each (annotations, buffer) that somebody uses. Thread: any. */
struct ambd_shelf {
    pthread_mutex_t lock;
    /* guarded by lock */
    struct ambd_shelf_row *rows;
    const struct amb_annotations *kept; /* orders of these stay though nobody uses them */
};

void ambd_shelf_init(struct ambd_shelf *shelf);
void ambd_shelf_deinit(struct ambd_shelf *shelf); /* nothing may be acquired; idempotent */

/* Find or build; building happens outside the lock, on one desk only. Released by release. Thread: desk. */
int ambd_shelf_acquire(struct amb_orders **out, struct ambd_shelf *shelf, struct amb_annotations *annotations,
                       const struct amb_orders_source *sources, size_t n_sources, double buffer,
                       struct amb_error *err);
void ambd_shelf_release(struct ambd_shelf *shelf, struct amb_orders *orders); /* NULL ok. Thread: any. */

/* From now on the orders of these annotations (the current ones) stay; others go once unused. */
void ambd_shelf_keep(struct ambd_shelf *shelf, const struct amb_annotations *annotations);
