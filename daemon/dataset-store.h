#pragma once
/* Dataset store: what a dataset's annotations leave on disk: records, generations, jobs. Thread: clerk, but for open. */
#include "daemon/dataset.h"
#include "daemon/examination.h"

/**
 * Open STATE_DIR/annotations/NAME; without a state directory the dataset has no store.
 *
 * Errors: those of amb_store_open. Thread: loop, at start.
 */
int ambd_dataset_open_store(struct ambd_dataset *dataset, const char *state_dir, struct amb_error *err);

/* Every live record of every sample up to a sequence, into a new ledger; *n_later: how many came later. */
void ambd_dataset_replay(struct amb_ledger *ledger, uint64_t *n_later, const struct ambd_dataset *dataset,
                         const struct amb_catalog *catalog, uint64_t last_sequence);

/* The newest recorded generation, or NULL. */
const struct amb_store_generation *ambd_dataset_last_generation(const struct ambd_dataset *dataset);

/* Keep what an import has put into the ledger, all or nothing: in the store, durably, or without one until the daemon stops.
 * records: of one version; they get the sides that earlier imports and lines set, and their sequences. */
int ambd_dataset_keep_import(struct ambd_dataset *dataset, struct amb_store_record *records, size_t n,
                             struct amb_error *err);

/* Records (and curves) of a job into store and ledger; durable when it returns 0. edition: whose samples the deposit
 * numbers. */
int ambd_dataset_deposit(struct ambd_dataset *dataset, const struct ambd_edition *edition,
                         const struct ambd_deposit *deposit, struct amb_error *err);

/* The values of the newest generation of the filed edition, where they are not kept yet; a failure is logged. */
void ambd_dataset_keep_values(struct ambd_dataset *dataset, const struct amb_annotations *newest);

/* Record a minted generation of the filed edition with what it replaced there, and keep its values. */
int ambd_dataset_keep_generation(struct ambd_dataset *dataset, const struct amb_annotations *after,
                                 struct amb_error *err);

/**
 * Rebuild a generation of an edition that is no longer in memory. fingerprint: NULL: the newest that was recorded.
 *
 * Errors: AMB_ERR_NOT_FOUND with what is gone; AMB_ERR_CHECKSUM.
 */
int ambd_dataset_recall(struct ambd_generation **out, struct ambd_dataset *dataset, struct ambd_edition *edition,
                        const struct amb_hash128 *fingerprint, struct amb_error *err);

/* Compact if it is time. Failures are the store's to report at the next write. */
void ambd_dataset_tidy(struct ambd_dataset *dataset);

struct ambd_merge_report {
    uint64_t n_records, n_taken, n_curves; /* of the other store; those that ours did not have; their curves */
    uint64_t n_damaged;                    /* places in the other store; what was there is not taken */
    char first_damage[256];
};

/* Take over, side by side, what another daemon's store knows of our samples and ours does not. path: its folder; it may be in use. */
int ambd_dataset_merge(struct ambd_merge_report *report, struct ambd_dataset *dataset, const char *path,
                       struct amb_error *err);

/* Read and check the whole store. AMB_ERR_CONFIG: there is none. */
int ambd_dataset_verify(struct amb_store_report *report, const struct ambd_dataset *dataset, struct amb_error *err);

/* Behind a write that failed: whether it is the last, since the store takes nothing any more. Thread: clerk. */
bool ambd_dataset_store_has_ended(const struct ambd_dataset *dataset, const struct amb_error *err);

/* Then once to the log, and to who asks for the status. Thread: loop. */
void ambd_dataset_tell_end(struct ambd_dataset *dataset, bool has_ended, const struct amb_error *err);
