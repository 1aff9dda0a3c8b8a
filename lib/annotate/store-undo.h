#pragma once
/* Undo: the values that a generation replaced, packed. */
#include <stdint.h>

#include "annotate/annotations.h"
#include "annotate/store-layout.h"
#include "base/buf.h"

#define AMB_UNDO_ENTRIES_MAX 65536u /* in a record: 13 bytes each at most before compression, so it fits 1 MiB */

struct amb_undo_head {
    uint64_t number; /* of the generation */
    uint32_t i_chunk, n_entries, raw_bytes;
};

/**
 * Pack the samples whose value differs, from *i_sample on, until a record is full; *i_sample moves behind them.
 *
 * out: the payload. head: n_entries and raw_bytes are filled in; 0 entries: nothing differs any more, no payload.
 * Errors: -ENOMEM.
 */
int amb_undo_encode(struct amb_buf *out, struct amb_undo_head *head, uint32_t *i_sample,
                    const struct amb_annotation *before, const struct amb_annotation *after, uint32_t n_samples);

/* Put the values back. AMB_ERR_FORMAT; -ENOMEM. */
int amb_undo_apply(struct amb_annotation *values, uint32_t n_samples, const struct amb_undo_head *expected,
                   const uint8_t *payload, uint32_t payload_bytes);
