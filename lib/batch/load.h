#pragma once
/* Load: one sample in its stored form, cached or read and decoded; inside the batch folder only. */
#include <stdbool.h>
#include <stdint.h>

#include "batch/fill.h"

/* Stored bytes on loan: in the cache while pinned, else in filler->stored until its next load. */
struct amb_stored {
    const uint8_t *data;
    struct amb_cache_pin pin;
};
#define AMB_STORED_NULL ((struct amb_stored){0})

/* Bytes of a stored sample: u8 planes of pictures, f32 planes of latents (mean, then std if any). */
size_t amb_stored_bytes(const struct amb_shape *shape);

/* A fault of the moment (-EIO, -ETIMEDOUT, -ENOMEM, ...), not a cause in the bytes: never quarantined. */
bool amb_load_is_transient(int code);

/**
 * Load one sample; a transient fault is tried once more.
 *
 * filler->stored has amb_stored_bytes reserved. out is released by amb_stored_release.
 * Errors: of amb_catalog_read, amb_decoder_decode, amb_transform_apply; AMB_ERR_FORMAT for another shape.
 * Thread: worker.
 */
int amb_load_stored(struct amb_stored *out, struct amb_filler *filler, const struct amb_dataset *dataset,
                    uint32_t i_sample, struct amb_error *err);
/* Read a sample and hand it to the decoder ahead of its load. False: no more, now. */
bool amb_load_ahead(struct amb_filler *filler, const struct amb_dataset *dataset, uint32_t i_sample);

void amb_stored_release(struct amb_stored *stored); /* idempotent */

uint64_t amb_load_now_ns(void); /* CLOCK_MONOTONIC, for the filler's counters */
