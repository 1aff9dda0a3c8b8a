/*
 * Merge: two runs, one entry of each in sight.
 */
#include "annotate/store-merge.h"

#include <string.h>

void amb_merge_init(struct amb_merge *merge, const struct amb_recent *recent, const uint32_t *order,
                    const struct amb_blocks *blocks) {
    merge->recent = recent;
    merge->order = order;
    merge->i_recent = 0;
    amb_blocks_cursor_init(&merge->cursor, blocks);
    merge->row = amb_blocks_cursor_next(&merge->cursor);
}

bool amb_merge_next(uint8_t entry[AMB_ROW_BYTES], bool *is_recent, struct amb_merge *merge) {
    const struct amb_recent *recent = merge->recent;
    const struct amb_blocks *blocks = merge->cursor.blocks;
    const uint8_t *mine = NULL;
    int order = 1;

    if (merge->i_recent < recent->n_entries) {
        mine = recent->entries + (size_t)merge->order[merge->i_recent] * recent->entry_bytes;
        order = -1;
    }
    if (mine != NULL && merge->row != NULL) {
        struct amb_key a = amb_key_load(mine, recent->entry_bytes, recent->has_origin);
        struct amb_key b = amb_key_load(merge->row, blocks->entry_bytes, blocks->has_origin);

        order = amb_key_compare(&a, &b);
    }
    *is_recent = order <= 0;
    if (order <= 0) {
        memcpy(entry, mine, recent->entry_bytes);
        merge->i_recent++;
    } else if (merge->row != NULL) {
        memcpy(entry, merge->row, blocks->entry_bytes);
    } else {
        return false;
    }
    if (order >= 0 && merge->row != NULL) {
        merge->row = amb_blocks_cursor_next(&merge->cursor);
    }
    return true;
}
