#pragma once
/* Row: one row of a slot while it is filled, and its small fields; inside the batch folder only. */
#include <stdint.h>

#include "base/process.h"
#include "batch/fill.h"

/* Everything is settled before a byte is stored: which sample is delivered, and at which level. */
struct amb_row {
    uint8_t *slot;
    uint32_t i_row;
    const struct amb_fill_stream *stream;
    const struct amb_draw *draw;
    struct amb_sample_info info; /* of the sample delivered */
    struct amb_hash128 uid;
    struct amb_process_step step;
};

static inline uint8_t *amb_row_get(const struct amb_row *row, const struct amb_layout_field *field) {
    return row->slot + amb_layout_row(row->stream->layout, field, row->i_row);
}

/* The row's entry of i64 lengths[n] of a ragged or stacked field. */
void amb_row_store_length(const struct amb_row *row, const struct amb_layout_field *field, int64_t length);

/* Copy n_bytes, at most row_bytes of them, and zero the rest of the row. */
void amb_row_store_bytes(const struct amb_row *row, const struct amb_layout_field *field, const void *data,
                         size_t n_bytes);

/* Every field but planes and members: levels, annotation, weight, labels, names, seeds. */
void amb_row_store_scalars(const struct amb_row *row);

/* Members beside the picture, read into filler->member. AMB_ERR_LIMIT (option error), -ENOMEM. */
int amb_row_store_members(const struct amb_row *row, struct amb_filler *filler, struct amb_error *err);
