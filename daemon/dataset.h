#pragma once
/* Dataset: shards, shape and annotations under one name, and the generations of both. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "annotate/import.h"
#include "annotate/ledger.h"
#include "annotate/store.h"
#include "base/error.h"
#include "base/hash.h"
#include "batch/fill.h"
#include "daemon/annotator.h"
#include "daemon/config.h"
#include "daemon/generation.h"
#include "shard/catalog.h"

struct ambd_dataset {
    /* constant after open */
    const char *name; /* borrowed from the config */
    const struct ambd_dataset_config *config;
    struct amb_dataset fill; /* catalog and quarantine owned, cache borrowed */
    struct amb_catalog_report report;
    struct amb_hash128 fingerprint;
    uint64_t number;                   /* of the shards' generation; shards are read once in this version */
    struct amb_orders_source *sources; /* owned */
    size_t *n_shards;                  /* of each source; owned */
    size_t n_sources;
    struct ambd_shelf shelf; /* has its own lock */

    /* clerk's desk only, after open */
    struct amb_ledger *ledger;
    struct amb_store *store; /* NULL: no state directory */
    char *store_path; /* owned */
    struct amb_store_report store_report;
    uint64_t keep_generations_s;
    struct amb_annotations *last; /* newest generation that was minted; a reference */
    bool unminted;                /* the ledger has moved on since */
    char **imports; /* files read by IMPORT, in order; owned */
    size_t n_imports;
    uint64_t last_number; /* of the newest annotation generation */
    struct amb_hash128 last_fingerprint;

    /* loop only, after open */
    struct ambd_generation *oldest, *current;
    struct ambd_reports reports;
    unsigned n_streams;
    bool minting;          /* a task of jobs.c is under way */
    uint64_t published_ns; /* when it was begun last */
};

/**
 * Open the shards, settle the shape, read the annotations and mint the first generation.
 *
 * config: borrowed for the life of the dataset. cache: borrowed, shared. state_dir: of its store; NULL: it has none.
 * Errors: those of amb_catalog_open, amb_fill_probe, amb_import_jsonl; AMB_ERR_CONFIG, AMB_ERR_FORMAT where
 * samples and configuration disagree. Thread: loop, at start; blocks.
 */
int ambd_dataset_open(struct ambd_dataset **out, const struct ambd_dataset_config *config,
                      const char *state_dir, uint64_t keep_generations_s, const char *cache_dir, const struct amb_codec_limits *limits, struct amb_cache *cache,
                      amb_catalog_progress progress, void *opaque, struct amb_error *err);
struct ambd_dataset *ambd_dataset_close(struct ambd_dataset *dataset); /* NULL ok; returns NULL */

/* What IMPORT and reload bring back to the loop. */
struct ambd_minted {
    struct ambd_generation *generation; /* NULL: nothing changed */
    struct ambd_reports reports;        /* of a reload: all; of an import: one line */
};

/* Read one more file into the ledger and mint. report: for the answer. Thread: clerk. */
int ambd_dataset_import(struct ambd_minted *out, struct amb_import_report *report,
                        struct ambd_dataset *dataset, const char *path, struct amb_error *err);

/* Build the ledger anew from the configuration's files and those of IMPORT, and mint. On failure the old one
 * stays. Thread: clerk. */
int ambd_dataset_reload(struct ambd_minted *out, struct ambd_dataset *dataset, struct amb_error *err);

/* Mint what the ledger says now, if anything changed, and record it. Thread: clerk. */
int ambd_dataset_mint(struct ambd_minted *out, struct ambd_dataset *dataset, struct amb_error *err);

/* Put a generation that was rebuilt among the old ones. It is freed where nobody pins it before the next adopt or
 * unpin. Thread: loop. */
void ambd_dataset_shelve(struct ambd_dataset *dataset, struct ambd_generation *generation);

/* Make a minted generation the current one, and forget old ones beyond `n_kept` that nobody pins. Thread:
 * loop. */
void ambd_dataset_adopt(struct ambd_dataset *dataset, struct ambd_minted *minted, uint64_t n_kept);

/* Find by fingerprint, or NULL. Thread: loop. */
struct ambd_generation *ambd_dataset_find(struct ambd_dataset *dataset,
                                          const struct amb_hash128 *fingerprint);

/* A pinned generation stays in memory. Thread: loop. */
struct ambd_generation *ambd_dataset_pin(struct ambd_generation *generation);
void ambd_dataset_unpin(struct ambd_dataset *dataset, struct ambd_generation *generation, uint64_t n_kept);
