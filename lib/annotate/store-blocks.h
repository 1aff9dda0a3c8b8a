#pragma once
/* Blocks: entries sorted by key in pages of a mapped file, each page checked whenever it is read. */
#include <stdbool.h>
#include <stdint.h>

#include "annotate/store-layout.h"
#include "annotate/store-recent.h"

struct amb_blocks {
    const uint8_t *map; /* borrowed */
    uint64_t map_bytes;
    uint64_t offset;    /* of the first block in the map; it may end before the last: what is missing is damaged */
    uint64_t n_entries;
    uint32_t entry_bytes, per_block;
    bool has_origin;
};

/* per_block may be 0 where there is no entry: blocks that are all zero are empty. */
static inline uint64_t amb_blocks_count(uint64_t n_entries, uint32_t per_block) {
    return n_entries == 0 ? 0 : (n_entries + per_block - 1) / per_block;
}

/* Copy block i; its number of entries, or 0: it is damaged. Thread: any. */
uint32_t amb_blocks_load(uint8_t block[AMB_BLOCK_BYTES], const struct amb_blocks *blocks, uint64_t i);

/* Put the checksum of block i into its last bytes. */
void amb_blocks_seal(uint8_t block[AMB_BLOCK_BYTES], uint64_t i);

/**
 * Copy the entries of (uid, version), at most n_max, one behind the other.
 *
 * *i_damaged: the number of a damaged block that could hold one of them, else UINT64_MAX.
 * Returns: their number.
 */
uint32_t amb_blocks_find(uint8_t *out, uint32_t n_max, uint64_t *i_damaged, const struct amb_blocks *blocks,
                         const uint8_t uid[16], uint32_t version);

/* Walks all entries in order; damaged blocks are passed over and counted. */
struct amb_blocks_cursor {
    const struct amb_blocks *blocks;
    uint64_t i_block, n_damaged, i_damaged; /* the next block; damaged ones, and the first of them */
    uint32_t i, n;
    uint8_t block[AMB_BLOCK_BYTES];
};
void amb_blocks_cursor_init(struct amb_blocks_cursor *cursor, const struct amb_blocks *blocks);
const uint8_t *amb_blocks_cursor_next(struct amb_blocks_cursor *cursor); /* NULL: the end. Valid until the next call */
