#pragma once
/* Chunk: one mapping that holds cache entries of one size; inside the batch folder only. */
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "batch/cache.h"

#define AMB_CHUNK_ALIGN 64u /* of an entry's bytes: one cache line, one AVX-512 register */

/* Bytes that may be in memory and are. Thread: any. */
struct amb_budget {
    size_t capacity_bytes;        /* immutable */
    _Atomic size_t used_bytes;
};

/* Charge before taking memory; false, and nothing charged, where that would go above capacity. */
bool amb_budget_acquire(struct amb_budget *budget, size_t bytes);
void amb_budget_release(struct amb_budget *budget, size_t bytes);

struct amb_chunk;

struct amb_cache_entry {
    /* guarded by the shard's lock, but n_pins falls without it */
    struct amb_cache_key key;
    uint64_t used_at;             /* tick of the last use                          */
    struct amb_chunk *chunk;
    struct amb_cache_entry *next; /* in its bucket, or in the list of free entries */
    _Atomic uint32_t n_pins;
    uint16_t n_hits;              /* saturated                                     */
    bool listed;                  /* in the table, so that it can be found         */
    bool by_evidence;             /* came in for another entry                     */
};
_Static_assert(sizeof(struct amb_cache_entry) == 64, "one cache line");

struct amb_chunk {
    size_t bytes;                 /* of the mapping                                */
    size_t entry_bytes;           /* a multiple of AMB_CHUNK_ALIGN                 */
    uint8_t *data;
    struct amb_chunk *next;       /* of its class                                  */
    uint64_t used_at;             /* newest use of any of its entries              */
    uint32_t n_entries;
    _Alignas(64) struct amb_cache_entry entries[];
};

/* Map a chunk of about target_bytes, fewer entries where the budget is short; NULL: not one fits. */
struct amb_chunk *amb_chunk_new(struct amb_budget *budget, size_t entry_bytes, size_t target_bytes);
struct amb_chunk *amb_chunk_free(struct amb_chunk *chunk, struct amb_budget *budget); /* returns NULL */

static inline uint8_t *amb_chunk_data(const struct amb_cache_entry *entry) {
    const struct amb_chunk *chunk = entry->chunk;

    return chunk->data + chunk->entry_bytes * (size_t)(entry - chunk->entries);
}
