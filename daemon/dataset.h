#pragma once
/* Dataset: shards and annotations under one name, and the generations of both. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "annotate/import.h"
#include "annotate/ledger.h"
#include "annotate/store.h"
#include "base/error.h"
#include "base/hash.h"
#include "daemon/annotator.h"
#include "daemon/config.h"
#include "daemon/edition.h"
#include "daemon/generation.h"
#include "daemon/imports.h"

struct ambd_server;

struct ambd_dataset {
    /* constant after open */
    char *name; /* owned */
    uint64_t keep_generations_s;
    char *store_path, *archive_path; /* owned; NULL: no state directory */
    struct ambd_server *server;      /* its surveyor closes old editions; set before the loop runs */

    /* clerk's desk only, after open */
    struct ambd_config *config;                /* what annotations are read by; a reference */
    const struct ambd_dataset_config *options; /* in it */
    struct ambd_edition *filed;                /* whose samples the ledger numbers: the current edition, or the next */
    struct amb_ledger *ledger;
    bool stale;              /* the store knows more than the ledger */
    struct amb_store *store; /* NULL: no state directory */
    struct amb_store_report store_report;
    struct ambd_edition *last_edition; /* of the newest generation that was minted; only compared */
    struct amb_hash128 last_dataset;   /* fingerprint of that edition */
    struct amb_annotations *recorded;  /* newest generation that the store took, which is not the same where a disk was
                                        * full; a reference; NULL: none in this life */
    struct amb_hash128 recorded_dataset;
    bool unminted;                      /* the ledger has moved on since */
    uint64_t unwritten_id;              /* of the last job that could not be written down; 0: none */
    struct amb_error unwritten;         /* why */
    struct ambd_imports imports;        /* where there is no store */
    uint64_t last_number; /* of the newest annotation generation */
    struct amb_hash128 last_fingerprint;
    uint64_t last_edition_number;

    /* loop only, after open */
    struct ambd_edition *edition; /* the current one; older ones that somebody stands on hang behind it */
    struct ambd_generation *oldest, *current; /* of all editions, by number */
    struct ambd_lines reports;
    struct ambd_lines refused; /* why what the configuration says is not what is served since the start; none: it is */
    bool minting;          /* a task of jobs.c is under way */
    bool mint_waits;       /* the last one found no room on the disk */
    struct amb_error store_error; /* the store takes nothing any more; code 0: it does */
    uint64_t published_ns; /* when it was begun last */
};

struct ambd_dataset_options {
    const char *name;
    const char *state_dir; /* of store and archive; NULL: it has none */
    uint64_t keep_generations_s;
};

/**
 * Open store, archive and a first edition, read its annotations and mint their first generation.
 *
 * how: as the configuration says. Where that cannot be had, and the state directory knows what was served last, and its
 * shards are as they were, it is served again; `refused` says why.
 * Errors: those of amb_store_open, ambd_edition_open, amb_import_jsonl; -ENOMEM. Thread: loop, at start; blocks.
 */
int ambd_dataset_open(struct ambd_dataset **out, const struct ambd_dataset_options *options,
                      const struct ambd_edition_options *how, struct amb_error *err);
struct ambd_dataset *ambd_dataset_close(struct ambd_dataset *dataset); /* NULL ok; returns NULL */

/* What IMPORT and reload bring back to the loop. */
struct ambd_minted {
    struct ambd_generation *generation; /* NULL: nothing changed */
    struct ambd_lines reports;        /* of a reload: all; of an import: one line */
};

/* Read one more file into the ledger and mint. report: for the answer. Thread: clerk. */
int ambd_dataset_import(struct ambd_minted *out, struct amb_import_report *report,
                        struct ambd_dataset *dataset, const char *path, struct amb_error *err);

/* What annotations of an edition come to if only records up to a sequence count: *out is a reference. Thread: clerk. */
int ambd_dataset_reckon(struct amb_annotations **out, const struct ambd_dataset *dataset,
                        const struct ambd_edition *edition, uint64_t last_sequence, struct amb_error *err);

/* A reload on its way through the clerk's desk. */
struct ambd_installment {
    struct ambd_edition *edition; /* owned until installed; NULL: the shards are what they were */
    struct ambd_config *config;   /* what annotations are read by from then on; a reference */
    const struct ambd_dataset_config *options;

    struct amb_ledger *ledger; /* owned until installed */
    struct ambd_minted minted;
};
void ambd_installment_deinit(struct ambd_installment *installment); /* idempotent */

/* Read all annotations anew, for the samples that there will be; nothing of the dataset changes. problem: as of
 * struct ambd_annotator_ear. Errors: those of amb_import_jsonl. Thread: clerk. */
int ambd_dataset_prepare(struct ambd_installment *installment, struct ambd_dataset *dataset,
                         void (*problem)(void *opaque, const struct amb_error *why), void *opaque, struct amb_error *err);

/* Make it what the clerk works on, record the edition, and mint. It cannot be refused any more: what cannot be recorded
 * is logged. Thread: clerk. */
void ambd_dataset_install(struct ambd_installment *installment, struct ambd_dataset *dataset);

/* Mint what the ledger says now, if anything changed, and record it. Thread: clerk. */
int ambd_dataset_mint(struct ambd_minted *out, struct ambd_dataset *dataset, struct amb_error *err);

/* Put a generation that was rebuilt among the old ones. It is freed where nobody pins it before the next adopt or
 * unpin. Thread: loop. */
void ambd_dataset_shelve(struct ambd_dataset *dataset, struct ambd_generation *generation);

/* Make a minted generation the current one, and forget old ones beyond `n_kept` that nobody pins. Thread:
 * loop. */
void ambd_dataset_adopt(struct ambd_dataset *dataset, struct ambd_minted *minted, uint64_t n_kept);

/* Newest of this edition with this fingerprint, or NULL. Thread: loop. */
struct ambd_generation *ambd_dataset_find(struct ambd_dataset *dataset, const struct ambd_edition *edition,
                                          const struct amb_hash128 *annotations);
/* Newest edition with this fingerprint, or NULL; the newest generation of an edition, or NULL. Thread: loop. */
struct ambd_edition *ambd_dataset_find_edition(struct ambd_dataset *dataset, const struct amb_hash128 *fingerprint);
struct ambd_generation *ambd_dataset_newest(struct ambd_dataset *dataset, const struct ambd_edition *edition);

/* A pinned generation stays in memory, and its edition with it. Thread: loop. */
struct ambd_generation *ambd_dataset_pin(struct ambd_generation *generation);
void ambd_dataset_unpin(struct ambd_dataset *dataset, struct ambd_generation *generation, uint64_t n_kept);

/* The same for an edition alone; shelve takes one that was rebuilt, with one pin. Thread: loop. */
struct ambd_edition *ambd_dataset_pin_edition(struct ambd_edition *edition);
void ambd_dataset_unpin_edition(struct ambd_dataset *dataset, struct ambd_edition *edition);
void ambd_dataset_shelve_edition(struct ambd_dataset *dataset, struct ambd_edition *edition);

/* Streams that stand on an edition: for people. Thread: loop. */
unsigned ambd_dataset_count_streams(const struct ambd_dataset *dataset, const struct ambd_edition *edition);
