/*
 * Compact: table and memory are merged, in order of keys, into the next table; then one rename makes it the store.
 *
 * Until that rename nothing that is in use is touched, so a crash, a full disk or lack of memory leaves the store as it
 * was. Behind it the old files go; who has them open keeps reading them. What is merged is read once or twice, in order,
 * and written once; memory does not grow with the table.
 *
 * Curves lie at offsets that their index says before they are copied. So one whose bytes turn out to be damaged keeps
 * its place as zeros, and stays an error for who asks.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "annotate/store-merge.h"
#include "annotate/store-private.h"
#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/size.h"
#include "shard/guard.h"

#define COMPACT_BUFFER_BYTES (1u << 20) /* not tuned */

struct compact {
    struct amb_store *store;
    const struct amb_io *io;
    struct amb_manifest next;
    char path[4096]; /* of the next table */
    int fd;
    uint64_t written;      /* bytes that left the buffer */
    struct amb_buf buffer; /* what has not */
    struct amb_buf record; /* one that is copied */
    uint32_t *order, *curve_order;    /* owned; entries of memory by key */
    struct amb_store_history history; /* what is kept, with its new places */
    bool is_table_damaged;
};

static void compact_deinit(struct compact *compact) {
    if (compact->fd >= 0) {
        compact->io->close(compact->io->opaque, compact->fd);
    }
    amb_buf_deinit(&compact->buffer);
    amb_buf_deinit(&compact->record);
    amb_free(compact->order);
    amb_free(compact->curve_order);
    amb_history_deinit(&compact->history);
}

static int compact_flush(struct compact *compact) {
    int r = amb_io_write(compact->io, compact->fd, compact->buffer.data, compact->buffer.n_bytes, compact->written);

    compact->written += compact->buffer.n_bytes;
    compact->buffer.n_bytes = 0;
    return r;
}

static int compact_push(struct compact *compact, const void *data, size_t bytes) {
    int r = amb_buf_push(&compact->buffer, data, bytes);

    return r == 0 && compact->buffer.n_bytes >= COMPACT_BUFFER_BYTES ? compact_flush(compact) : r;
}

static uint64_t compact_at(const struct compact *compact) {
    return compact->written + compact->buffer.n_bytes;
}

/* A block that fills. */
struct packer {
    struct compact *compact;
    uint32_t entry_bytes, per_block, n;
    uint64_t i_block;
    uint8_t block[AMB_BLOCK_BYTES];
};

static void packer_init(struct packer *packer, struct compact *compact, uint32_t entry_bytes, uint32_t per_block) {
    packer->compact = compact;
    packer->entry_bytes = entry_bytes;
    packer->per_block = per_block;
    packer->n = 0;
    packer->i_block = 0;
    memset(packer->block, 0, sizeof packer->block);
}

static int packer_flush(struct packer *packer) {
    int r;

    if (packer->n == 0) {
        return 0;
    }
    amb_blocks_seal(packer->block, packer->i_block++);
    r = compact_push(packer->compact, packer->block, sizeof packer->block);
    packer->n = 0;
    memset(packer->block, 0, sizeof packer->block);
    return r;
}

static int packer_push(struct packer *packer, const uint8_t *entry) {
    memcpy(packer->block + (size_t)packer->n * packer->entry_bytes, entry, packer->entry_bytes);
    packer->n++;
    return packer->n == packer->per_block ? packer_flush(packer) : 0;
}

static int compact_rows(struct compact *compact) {
    struct amb_store *store = compact->store;
    uint8_t entry[AMB_ROW_BYTES];
    struct packer packer;
    struct amb_merge merge;
    bool is_recent;
    int r = 0;

    packer_init(&packer, compact, AMB_ROW_BYTES, AMB_ROWS_PER_BLOCK);
    amb_merge_init(&merge, &store->recent, compact->order, &store->table.rows);
    while (r == 0 && amb_merge_next(entry, &is_recent, &merge)) {
        r = packer_push(&packer, entry);
        compact->next.n_rows++;
    }
    if (merge.cursor.n_damaged != 0) {
        compact->is_table_damaged = true;
        amb_table_note(store, false, merge.cursor.i_damaged);
    }
    return r == 0 ? packer_flush(&packer) : r;
}

/* No record is as long: what says so is damaged, and takes the room of a header in the next table. */
static struct amb_location location_cap(struct amb_location where) {
    where.bytes = where.bytes > AMB_RECORD_BYTES_MAX ? AMB_RECORD_HEADER_BYTES : where.bytes;
    return where;
}

static struct amb_location curve_location(const uint8_t *entry, bool is_recent) {
    return is_recent ? (struct amb_location){ambp_load_u64le(entry + 20), ambp_load_u64le(entry + 28),
                                             ambp_load_u32le(entry + 36)}
                     : location_cap((struct amb_location){0, ambp_load_u64le(entry + 24), ambp_load_u32le(entry + 20)});
}

static int compact_curve_index(struct compact *compact) {
    struct amb_store *store = compact->store;
    uint8_t entry[AMB_ROW_BYTES];
    uint64_t offset = 0;
    struct packer packer;
    struct amb_merge merge;
    bool is_recent;
    int r = 0;

    packer_init(&packer, compact, AMB_CURVE_ENTRY_BYTES, AMB_CURVES_PER_BLOCK);
    amb_merge_init(&merge, &store->recent_curves, compact->curve_order, &store->table.curves);
    while (r == 0 && amb_merge_next(entry, &is_recent, &merge)) {
        struct amb_location where = curve_location(entry, is_recent);

        ambp_store_u32le(entry + 20, where.bytes);
        ambp_store_u64le(entry + 24, offset);
        r = packer_push(&packer, entry);
        offset += where.bytes;
        compact->next.n_curves++;
    }
    if (merge.cursor.n_damaged != 0) {
        compact->is_table_damaged = true;
        amb_table_note(store, true, merge.cursor.i_damaged);
    }
    return r == 0 ? packer_flush(&packer) : r;
}

/* A record of a segment or of the old table under the salt of tables. One that is damaged becomes zeros. */
static int compact_copy(struct compact *compact, enum amb_record_type type, const struct amb_location *where) {
    struct amb_buf *record = &compact->record;
    const uint8_t *payload;
    int r = amb_store_read(&payload, record, compact->store, type, where);

    if (r == AMB_ERR_CHECKSUM) {
        r = amb_buf_reserve(record, where->bytes);
        if (r == 0) {
            if (where->bytes != 0) {
                memset(record->data, 0, where->bytes);
            }
            compact->is_table_damaged = compact->is_table_damaged || where->segment == 0;
        }
    } else if (r == 0) {
        const struct amb_record_header header = {.salt = amb_store_salt(compact->store->manifest.store_id, 0),
                                                 .sequence = ambp_load_u64le(record->data + 24),
                                                 .payload_bytes = where->bytes - AMB_RECORD_HEADER_BYTES,
                                                 .type = (uint8_t)type};

        amb_record_seal(record->data, &header);
    }
    return r == 0 ? compact_push(compact, record->data, where->bytes) : r;
}

static int compact_curves(struct compact *compact) {
    struct amb_store *store = compact->store;
    uint8_t entry[AMB_ROW_BYTES];
    struct amb_merge merge;
    bool is_recent;
    int r = 0;

    amb_merge_init(&merge, &store->recent_curves, compact->curve_order, &store->table.curves);
    while (r == 0 && amb_merge_next(entry, &is_recent, &merge)) {
        struct amb_location where = curve_location(entry, is_recent);

        r = compact_copy(compact, AMB_RECORD_CURVE, &where);
    }
    return r;
}

/* What is known of a dataset on the way from the newest generation to the oldest. */
struct kept {
    struct amb_hash128 dataset;
    size_t i_successor; /* in the old history */
    bool is_cut;        /* what came before the successor goes */
};

static struct kept *kept_find(struct kept *kept, size_t n_kept, const struct amb_hash128 *dataset) {
    for (size_t i = 0; i < n_kept; i++) {
        if (amb_hash128_equal(&kept[i].dataset, dataset)) {
            return &kept[i];
        }
    }
    return NULL;
}

/* When generations were minted. Clocks are set back: none came before those that it follows, and one that is yet to come
 * came now. */
static void history_times(uint64_t *minted_ns, const struct amb_store_history *history, uint64_t now_unix_ns) {
    uint64_t latest = 0;

    for (size_t i = 0; i < history->n_minted; i++) {
        const uint64_t unix_ns = history->minted[i].generation.unix_ns;

        latest = unix_ns <= now_unix_ns && unix_ns > latest ? unix_ns : latest;
        minted_ns[i] = unix_ns <= now_unix_ns ? latest : now_unix_ns;
    }
}

/* is_kept[i]: generation i stays; is_cut[i]: but what it replaced goes. The newest of each dataset stays for ever. */
static int history_choose(bool *is_kept, bool *is_cut, const struct amb_store *store, uint64_t now_unix_ns) {
    const struct amb_store_history *history = &store->history;
    AMB_CLEANUP(amb_freep) struct kept *kept = amb_calloc(history->n_minted + 1, sizeof *kept);
    AMB_CLEANUP(amb_freep) uint64_t *minted_ns = amb_calloc(history->n_minted + 1, sizeof *minted_ns);
    size_t n_kept = 0;

    if (kept == NULL || minted_ns == NULL) {
        return -ENOMEM;
    }
    history_times(minted_ns, history, now_unix_ns);
    for (size_t i = history->n_minted; i-- > 0;) {
        const struct amb_store_generation *generation = &history->minted[i].generation;
        struct kept *known = kept_find(kept, n_kept, &generation->dataset);

        if (known == NULL) {
            known = &kept[n_kept++];
            known->dataset = generation->dataset;
        } else if (!known->is_cut) {
            known->is_cut = now_unix_ns - minted_ns[known->i_successor] > store->keep_ns;
            is_cut[known->i_successor] = known->is_cut;
        }
        is_kept[i] = !known->is_cut;
        known->i_successor = i;
    }
    return 0;
}

static int compact_minted(struct compact *compact, const struct amb_store_minted *minted, bool is_cut,
                          uint64_t bulk_offset) {
    struct amb_store_minted *copy = &compact->history.minted[compact->history.n_minted];

    *copy = *minted;
    copy->chunks = NULL;
    if (is_cut) {
        copy->has_before = false;
        copy->n_chunks = 0;
    }
    compact->history.n_minted++;
    if (copy->n_chunks == 0) {
        return 0;
    }
    copy->chunks = amb_malloc(copy->n_chunks * sizeof *copy->chunks);
    if (copy->chunks == NULL) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < copy->n_chunks; i++) {
        const struct amb_location where = location_cap(minted->chunks[i]);
        int r;

        copy->chunks[i] = (struct amb_location){0, compact_at(compact) - bulk_offset, where.bytes};
        r = compact_copy(compact, AMB_RECORD_UNDO, &where);
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

static int compact_undo(struct compact *compact, uint64_t now_unix_ns) {
    const struct amb_store_history *history = &compact->store->history;
    AMB_CLEANUP(amb_freep) bool *is_kept = amb_calloc(history->n_minted + 1, sizeof *is_kept);
    AMB_CLEANUP(amb_freep) bool *is_cut = amb_calloc(history->n_minted + 1, sizeof *is_cut);
    const uint64_t bulk_offset = amb_manifest_bulk_offset(&compact->next);
    int r;

    compact->history.minted = amb_calloc(history->n_minted + 1, sizeof *compact->history.minted);
    if (is_kept == NULL || is_cut == NULL || compact->history.minted == NULL) {
        return -ENOMEM;
    }
    r = history_choose(is_kept, is_cut, compact->store, now_unix_ns);
    for (size_t i = 0; r == 0 && i < history->n_minted; i++) {
        r = is_kept[i] ? compact_minted(compact, &history->minted[i], is_cut[i], bulk_offset) : 0;
    }
    return r;
}

/* A record of the table's stream of meta, in two parts. */
static int compact_meta(struct compact *compact, enum amb_record_type type, const void *head, size_t head_bytes,
                        const void *rest, size_t rest_bytes) {
    struct amb_buf *record = &compact->record;
    struct amb_record_header header = {.salt = amb_store_salt(compact->store->manifest.store_id, 0),
                                       .type = (uint8_t)type};
    int r = amb_buf_reserve(record, AMB_RECORD_HEADER_BYTES + head_bytes + rest_bytes);

    if (r < 0) {
        return r;
    }
    header.payload_bytes = (uint32_t)(head_bytes + rest_bytes);
    memcpy(record->data + AMB_RECORD_HEADER_BYTES, head, head_bytes);
    if (rest_bytes != 0) {
        memcpy(record->data + AMB_RECORD_HEADER_BYTES + head_bytes, rest, rest_bytes);
    }
    amb_record_seal(record->data, &header);
    return compact_push(compact, record->data, record->n_bytes);
}

static int compact_models(struct compact *compact) {
    const struct amb_models *models = &compact->store->models;
    int r = 0;

    for (uint32_t i = 0; r == 0 && i < models->n_models; i++) {
        const bool is_lost = models->names[i][0] == '\0';
        uint8_t number[2];

        ambp_store_u16le(number, (uint16_t)(i + 1));
        if (!is_lost || i + 1 == models->n_models) { /* the last one says which numbers rows may have */
            r = compact_meta(compact, AMB_RECORD_MODEL, number, sizeof number,
                             is_lost ? AMB_STORE_MODEL_LOST : models->names[i], AMB_STORE_MODEL_BYTES);
        }
    }
    return r;
}

static int compact_texts(struct compact *compact) {
    const struct amb_texts *texts = &compact->store->texts;
    int r = 0;

    for (size_t i = 0; r == 0 && i < texts->n_texts; i++) {
        uint8_t head[1 + AMB_STORE_NAME_MAX];
        size_t name_bytes = strlen(texts->texts[i].name);

        head[0] = (uint8_t)name_bytes;
        memcpy(head + 1, texts->texts[i].name, name_bytes);
        r = compact_meta(compact, AMB_RECORD_TEXT, head, 1 + name_bytes, texts->texts[i].text, texts->texts[i].bytes);
    }
    return r;
}

static int compact_generations(struct compact *compact) {
    AMB_CLEANUP(amb_buf_deinit) struct amb_buf chunks = AMB_BUF_NULL;
    int r = 0;

    for (size_t i = 0; r == 0 && i < compact->history.n_minted; i++) {
        const struct amb_store_minted *minted = &compact->history.minted[i];
        uint8_t head[AMB_GENERATION_HEAD_BYTES];

        r = amb_buf_reserve(&chunks, (size_t)minted->n_chunks * AMB_GENERATION_CHUNK_BYTES);
        for (uint32_t k = 0; r == 0 && k < minted->n_chunks; k++) {
            uint8_t *p = chunks.data + (size_t)k * AMB_GENERATION_CHUNK_BYTES;

            ambp_store_u64le(p, minted->chunks[k].offset);
            ambp_store_u32le(p + 8, minted->chunks[k].bytes);
        }
        amb_generation_encode(head, minted);
        if (r == 0) {
            r = compact_meta(compact, AMB_RECORD_GENERATION, head, sizeof head, chunks.data, chunks.n_bytes);
        }
    }
    return r;
}

/* All of the table but its head. */
static int compact_streams(struct compact *compact, uint64_t now_unix_ns) {
    static const uint8_t empty[AMB_BLOCK_BYTES] = {0};
    uint64_t bulk_offset, meta_offset;
    int r = compact_push(compact, empty, sizeof empty);

    if (r == 0) {
        r = compact_rows(compact);
    }
    if (r == 0) {
        r = compact_curve_index(compact);
    }
    bulk_offset = compact_at(compact);
    if (r == 0) {
        r = compact_curves(compact);
    }
    if (r == 0) {
        r = compact_undo(compact, now_unix_ns);
    }
    meta_offset = compact_at(compact);
    if (r == 0) {
        r = compact_models(compact);
    }
    if (r == 0) {
        r = compact_texts(compact);
    }
    if (r == 0) {
        r = compact_generations(compact);
    }
    compact->next.bulk_bytes = meta_offset - bulk_offset;
    compact->next.meta_bytes = compact_at(compact) - meta_offset;
    return r == 0 ? compact_flush(compact) : r;
}

static int compact_write(struct compact *compact, uint64_t now_unix_ns) {
    const struct amb_io *io = compact->io;
    struct amb_store *store = compact->store;
    uint8_t head[AMB_MANIFEST_PART_BYTES];
    int r;

    compact->order = amb_recent_sort(&store->recent);
    compact->curve_order = amb_recent_sort(&store->recent_curves);
    if (compact->order == NULL || compact->curve_order == NULL) {
        return -ENOMEM;
    }
    compact->fd = io->open(io->opaque, compact->path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (compact->fd < 0) {
        return compact->fd;
    }
    r = compact_streams(compact, now_unix_ns);
    if (r == 0) {
        amb_manifest_encode(head, &compact->next, AMB_TABLE_MAGIC);
        r = amb_io_write(io, compact->fd, head, sizeof head, 0);
    }
    if (r == 0) {
        r = io->fsync(io->opaque, compact->fd);
    }
    return r == 0 ? amb_io_sync_dir(io, store->dir) : r;
}

void amb_store_retire(const struct amb_store *store, const char *kind, uint64_t number, bool is_damaged) {
    const struct amb_io *io = store->io;
    char path[4096], aside[4096 + 16];

    if (!amb_store_file(path, store->dir, kind, number)) {
        return;
    }
    snprintf(aside, sizeof aside, "%s.damaged", path);
    if (!is_damaged || io->rename(io->opaque, path, aside) < 0) {
        io->unlink(io->opaque, path); /* if not, the next opening sweeps */
    }
}

/* The next table is the store from here on. */
static void compact_adopt(struct compact *compact, struct amb_table *table) {
    struct amb_store *store = compact->store;
    struct amb_journal *journal = &store->journal;
    const uint64_t old = store->manifest.table;

    amb_table_close(&store->table, store->io);
    store->table = *table;
    store->manifest = compact->next;
    if (old != 0) {
        amb_store_retire(store, "table", old, compact->is_table_damaged);
    }
    for (size_t i = 0; i < journal->n_segments; i++) {
        amb_store_retire(store, "journal", journal->segments[i].number, journal->segments[i].is_damaged);
    }
    journal->n_segments = 0;
    amb_recent_deinit(&store->recent);
    amb_recent_deinit(&store->recent_curves);
    amb_history_deinit(&store->history);
    store->history = compact->history;
    compact->history = (struct amb_store_history){0};
}

static int compact_switch(struct compact *compact, struct amb_error *err) {
    struct amb_store *store = compact->store;
    struct amb_table table;
    bool is_moved;
    int r = amb_table_open(&table, store, &compact->next, err);

    if (r < 0) {
        return r;
    }
    r = amb_manifest_store(&is_moved, &compact->next, store->io, store->dir, err);
    if (r == 0) {
        compact_adopt(compact, &table);
        return 0;
    }
    amb_table_close(&table, store->io);
    if (is_moved) {
        amb_journal_poison(&store->journal, r, err, "nobody knows whether the next table is in place");
        compact->path[0] = '\0'; /* stays: it may be the store */
    }
    return r;
}

int amb_store_compact(struct amb_store *store, uint64_t now_unix_ns, struct amb_error *err) {
    AMB_CLEANUP(compact_deinit) struct compact compact = {.store = store, .io = store->io, .fd = -1};
    int r = amb_journal_seal(&store->journal, err);

    assert(!store->is_read_only);
    if (r < 0) {
        return r;
    }
    memcpy(compact.next.store_id, store->manifest.store_id, sizeof compact.next.store_id);
    compact.next.table = store->manifest.table + 1;
    compact.next.first_segment = store->journal.next_segment;
    compact.next.next_sequence = store->journal.next_sequence;
    if (!amb_store_file(compact.path, store->dir, "table", compact.next.table)) {
        return amb_fail(err, -ENAMETOOLONG, "store: path too long: %s", store->dir);
    }
    r = compact_write(&compact, now_unix_ns);
    r = r < 0 ? amb_fail(err, r, "store: cannot write %s: %s; the old table stays", compact.path, strerror(-r))
              : compact_switch(&compact, err);
    if (r < 0 && compact.path[0] != '\0') {
        store->io->unlink(store->io->opaque, compact.path);
    }
    /* where the disk has no room for a table, trying at every turn would fill it for everybody again and again */
    store->compact_bytes = r < 0 ? amb_journal_bytes(&store->journal) + store->journal.segment_bytes : 0;
    return r;
}
