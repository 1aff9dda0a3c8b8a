#pragma once
/* Arena: the heap that codec libraries get for one picture; kept warm between pictures. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define AMB_ARENA_ALIGN 64u          /* libjpeg-turbo's SIMD code wants 32; one cache line               */
#define AMB_ARENA_BYTES (512u << 10) /* enough for JPEGs of some 8,000 pixels a row; measured, not tuned */

/* Thread: worker, one owner. */
struct amb_arena {
    struct amb_buf buf;
    size_t used_bytes;
    size_t missed_bytes; /* asked for since reset and not had here: reset grows by it */
};

#define AMB_ARENA_NULL ((struct amb_arena){0})

/* Take aligned bytes that live until reset. NULL: they do not fit, and the caller asks its own heap instead. */
void *amb_arena_acquire(struct amb_arena *arena, size_t bytes);

/* True if p came from acquire: then nobody frees it. */
bool amb_arena_owns(const struct amb_arena *arena, const void *p);

/* All that was acquired is gone. Grows where it fell short, but not once it has AMB_ARENA_BYTES. */
void amb_arena_reset(struct amb_arena *arena);

void amb_arena_deinit(struct amb_arena *arena); /* idempotent */
