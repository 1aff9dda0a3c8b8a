/*
 * Arena: a bump allocator of bounded size.
 *
 * libpng and libjpeg make and drop the same few dozen blocks for each picture; at 32 x 32 pixels that is a
 * good part of the whole. Here a block is an addition, and reset drops all of them. What does not fit is the
 * caller's affair, so a large picture costs what it always did.
 */
#include "codec/arena.h"

#include "base/size.h"

void *amb_arena_acquire(struct amb_arena *arena, size_t bytes) {
    size_t padded, missed;
    void *p;

    if (!amb_size_align(&padded, bytes, AMB_ARENA_ALIGN)) {
        return NULL;
    }
    if (padded > arena->buf.capacity_bytes - arena->used_bytes) {
        if (amb_size_add(&missed, arena->missed_bytes, padded)) {
            arena->missed_bytes = missed;
        }
        return NULL;
    }
    p = arena->buf.data + arena->used_bytes;
    arena->used_bytes += padded;
    return p;
}

bool amb_arena_owns(const struct amb_arena *arena, const void *p) {
    return arena->buf.data != NULL && (uintptr_t)p - (uintptr_t)arena->buf.data < arena->buf.capacity_bytes;
}

void amb_arena_reset(struct amb_arena *arena) {
    size_t wanted = AMB_ARENA_BYTES, sum;

    if (arena->missed_bytes != 0 && arena->buf.capacity_bytes < AMB_ARENA_BYTES) {
        if (amb_size_add(&sum, arena->used_bytes, arena->missed_bytes)) {
            wanted = amb_size_min(wanted, sum);
        }
        (void)amb_buf_reserve(&arena->buf, wanted); /* without it the callers' heaps go on serving */
    }
    arena->used_bytes = 0;
    arena->missed_bytes = 0;
}

void amb_arena_deinit(struct amb_arena *arena) {
    amb_buf_deinit(&arena->buf);
    *arena = AMB_ARENA_NULL;
}
