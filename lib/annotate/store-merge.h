#pragma once
/* Merge: the entries of memory and of a table by rising key; what is in both comes from memory. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "annotate/store-blocks.h"
#include "annotate/store-recent.h"

struct amb_merge {
    const struct amb_recent *recent;
    const uint32_t *order;
    size_t i_recent;
    struct amb_blocks_cursor cursor;
    const uint8_t *row; /* the table's next; NULL: at its end */
};

/* order: of amb_recent_sort; it and the others are borrowed. */
void amb_merge_init(struct amb_merge *merge, const struct amb_recent *recent, const uint32_t *order,
                    const struct amb_blocks *blocks);

/* Copy the next entry, of memory's or the table's size; false: the end. */
bool amb_merge_next(uint8_t entry[AMB_ROW_BYTES], bool *is_recent, struct amb_merge *merge);
