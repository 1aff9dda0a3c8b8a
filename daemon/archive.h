#pragma once
/* Archive: what is kept on disk of editions that were served: their shards, and the annotations they were left with. */
#include <stdbool.h>

#include "annotate/annotations.h"
#include "base/error.h"
#include "daemon/dataset.h"
#include "daemon/edition.h"

/*
 * STATE_DIR/editions/NAME, proto/store.md section "Editions". Without a state directory nothing is kept, and editions
 * are only numbered.
 */

/* Make the folder. Errors: -E... of it. Thread: loop, at start. */
int ambd_archive_open(struct ambd_dataset *dataset, const char *state_dir, struct amb_error *err);

/* Number an edition (as before, if it was served before) and record its shards and what annotations are read by; a failure is
 * logged. Thread: clerk, or loop at start. */
void ambd_archive_put_edition(struct ambd_dataset *dataset, struct ambd_edition *edition);

/* The newest annotations of an edition: put before the store records their generation, kept after, so that whatever is
 * recorded is there. Thread: clerk. */
int ambd_archive_put_values(const struct ambd_dataset *dataset, const struct amb_hash128 *edition,
                            const struct amb_annotations *annotations, struct amb_error *err);

void ambd_archive_keep_values(const struct ambd_dataset *dataset, const struct amb_hash128 *edition);

/* The edition is left: its files go so long after now. Thread: clerk. */
void ambd_archive_touch_values(const struct ambd_dataset *dataset, const struct amb_hash128 *edition);

/* Are these the values that are there? True where none are kept. Thread: clerk, or loop at start. */
bool ambd_archive_has_values(const struct ambd_dataset *dataset, const struct amb_hash128 *edition,
                             const struct amb_hash128 *annotations);

/* Back again. Errors: -ENOENT there are none of this fingerprint; AMB_ERR_CHECKSUM damaged, or of other samples.
 * Thread: clerk, or loop at start. */
int ambd_archive_load_values(struct amb_annotation *values, uint32_t n_samples, const struct ambd_dataset *dataset,
                             const struct amb_hash128 *edition, const struct amb_hash128 *annotations,
                             struct amb_error *err);

/**
 * Open an edition again from the shards that it had.
 *
 * how: limits, cache, cache_dir, n_threads and before; the rest is the archive's.
 * Errors: AMB_ERR_STATE: nothing is known of it, or what differs now. Thread: surveyor, or loop at start; blocks.
 */
int ambd_archive_load_edition(struct ambd_edition **out, const struct ambd_dataset *dataset,
                              const struct amb_hash128 *fingerprint, const struct ambd_edition_options *how,
                              struct amb_error *err);
