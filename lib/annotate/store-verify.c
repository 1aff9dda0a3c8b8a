/*
 * Verify: what opening does not read is read here: each block, each curve, each undo record. No lock is taken, so a
 * store in use can be verified; then it is as it was when its files were opened.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "annotate/store-private.h"
#include "base/alloc.h"
#include "base/cleanup.h"

/* Every damaged block; rows that memory hides are not counted as live. */
static void verify_blocks(const struct amb_store *store, bool is_curve, uint64_t *n_hidden, uint64_t *n_lost) {
    const struct amb_blocks *blocks = is_curve ? &store->table.curves : &store->table.rows;
    const struct amb_recent *recent = is_curve ? &store->recent_curves : &store->recent;
    const uint64_t n_blocks = amb_blocks_count(blocks->n_entries, blocks->per_block);
    uint8_t block[AMB_BLOCK_BYTES];

    for (uint64_t i = 0; i < n_blocks; i++) {
        uint32_t n = amb_blocks_load(block, blocks, i);
        uint64_t left = blocks->n_entries - i * blocks->per_block;

        if (n == 0) {
            amb_table_note(store, is_curve, i);
            *n_lost += left < blocks->per_block ? left : blocks->per_block;
        }
        for (uint32_t k = 0; k < n && recent->n_entries != 0; k++) {
            struct amb_key key =
                amb_key_load(block + (size_t)k * blocks->entry_bytes, blocks->entry_bytes, blocks->has_origin);

            *n_hidden += amb_recent_peek(recent, &key) != NULL;
        }
    }
}

/* The table's stream of bulk, record by record. */
static int verify_bulk(const struct amb_store *store) {
    AMB_CLEANUP(amb_scan_deinit) struct amb_scan scan = AMB_SCAN_NULL;
    const uint64_t begin = amb_manifest_bulk_offset(&store->manifest), end = begin + store->manifest.bulk_bytes;
    struct amb_scan_record record;
    char name[32];
    int r = 0;

    snprintf(name, sizeof name, "table-%010" PRIu64, store->manifest.table);
    amb_scan_init(&scan, store->io, store->table.fd, amb_store_salt(store->manifest.store_id, 0), begin, end);
    while (r == 0) {
        const uint64_t at = scan.at;

        r = amb_scan_next(&record, &scan);
        if (r == AMB_SCAN_E_BAD) {
            r = amb_scan_resync(&scan);
            amb_store_note(store, name, at, "%" PRIu64 " bytes of curves or replaced values are damaged", scan.at - at);
        }
    }
    return r < 0 ? r : 0;
}

int amb_store_verify(struct amb_store_report *report, const char *dir, const struct amb_io *io,
                     struct amb_error *err) {
    const struct amb_store_options options = {.io = io, .read_only = true};
    struct amb_store *store = NULL;
    uint64_t n_hidden = 0, n_lost = 0, n_curves_hidden = 0, n_curves_lost = 0;
    int r = amb_store_open(&store, dir, &options, NULL, err);

    if (r < 0) {
        return r;
    }
    verify_blocks(store, false, &n_hidden, &n_lost);
    verify_blocks(store, true, &n_curves_hidden, &n_curves_lost);
    if (store->manifest.table != 0) {
        r = verify_bulk(store);
    }
    amb_store_get_report(report, store);
    report->n_records -= n_hidden + n_lost;
    amb_store_close(store);
    return r < 0 ? amb_fail(err, r, "store: cannot read the table of %s: %s", dir, strerror(-r)) : 0;
}
