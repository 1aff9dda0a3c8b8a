#pragma once
/* Edition: one state of a dataset's shards, shape and sources: what a generation of a dataset is in memory. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/hash.h"
#include "batch/fill.h"
#include "daemon/config.h"
#include "daemon/desk.h"
#include "daemon/generation.h"
#include "sampler/orders.h"
#include "shard/catalog.h"

struct ambd_edition {
    /* constant after open */
    struct ambd_config *config;                /* what it was made of; a reference */
    const struct ambd_dataset_config *options; /* in it */
    struct amb_dataset fill;                   /* catalog and quarantine owned, cache borrowed */
    struct amb_catalog_report report;
    struct amb_hash128 fingerprint;
    struct amb_orders_source *sources; /* owned */
    size_t *n_shards;                  /* of each source; owned */
    size_t n_sources;
    struct ambd_shelf shelf; /* has its own lock */

    /* loop only, once a dataset has it */
    uint64_t number; /* for people */
    unsigned n_pins; /* generations of annotations, jobs, tasks, and being the current one */
    struct ambd_edition *older;
    uint64_t left_ns; /* when another took its place; 0: it is the current one */
    bool told;        /* that it has not drained */
};

struct ambd_pace;

struct ambd_edition_options {
    struct ambd_config *config; /* a reference is taken */
    const struct ambd_dataset_config *options;
    const char *state_dir; /* of the daemon; NULL: none */
    const char *cache_dir; /* of indexes; NULL: none */
    const struct amb_codec_limits *limits;
    struct amb_cache *cache;           /* borrowed, shared */
    const struct ambd_edition *before; /* what is the same is shared with it; NULL: none */
    unsigned n_threads;                /* that index; 0: cores */
    amb_catalog_progress progress;
    void *progress_opaque;
    void (*problem)(void *problem_opaque, const struct amb_error *why); /* as of amb_catalog_options */
    void *problem_opaque;
    struct ambd_pace *pace;                                     /* that indexing keeps; NULL: none */
};

/**
 * Open the shards, settle the shape, find the fingerprint.
 *
 * Errors: those of amb_catalog_open, amb_fill_probe; AMB_ERR_CONFIG, AMB_ERR_FORMAT where samples and configuration
 * disagree, or a folder that is a shard holds one of the two folders above. Thread: any; blocks.
 */
int ambd_edition_open(struct ambd_edition **out, const struct ambd_edition_options *options, struct amb_error *err);
struct ambd_edition *ambd_edition_close(struct ambd_edition *edition); /* NULL ok; returns NULL. Thread: any. */

/* Nothing differs, down to the files: whoever has the one does not need the other. Thread: any. */
bool ambd_edition_same(const struct ambd_edition *a, const struct ambd_edition *b);

/**
 * May a stream go on with it whose slots were laid out for samples of this shape, under this noise seed?
 *
 * Errors: AMB_ERR_STATE: size, channels, kind, width of labels or noise seed differ. Thread: any.
 */
int ambd_edition_fits(const struct ambd_edition *edition, const struct amb_shape *shape, uint64_t noise_seed,
                      struct amb_error *err);
