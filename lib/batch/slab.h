#pragma once
/* Slab: equally sized slots in one sealed memfd, written by the daemon only. */
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define AMB_SLAB_SLOTS_MAX 64u /* not tuned; default 4 */

struct amb_slab {
    int fd;               /* sealed SHRINK | GROW | SEAL; to be sent once by SCM_RIGHTS */
    uint8_t *data;        /* mapped once, shared, read-write */
    size_t slot_bytes, total_bytes;
    uint32_t n_slots;
};
#define AMB_SLAB_NULL ((struct amb_slab){.fd = -1})

/* Make, fallocate, map, seal and fault in. -ENOSPC, -ENOMEM, -EOVERFLOW with sizes. Thread: any. */
int amb_slab_init(struct amb_slab *slab, uint32_t n_slots, size_t slot_bytes, struct amb_error *err);
void amb_slab_deinit(struct amb_slab *slab);

static inline uint8_t *amb_slab_get(const struct amb_slab *slab, uint32_t i_slot) {
    return slab->data + slab->slot_bytes * i_slot;
}
