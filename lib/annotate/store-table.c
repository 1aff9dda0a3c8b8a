/*
 * Table: the mapped, immutable part of a store. Opening it touches its head and its stream of meta only; rows are
 * found where they lie.
 *
 * File: head (the manifest's part under another magic), blocks of rows, blocks of the index of curves, stream of bulk
 * (curves, undo), stream of meta (models, texts, generations). Its extents follow from the manifest, which is there
 * twice, so damage in the head costs nothing.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "annotate/store-private.h"
#include "base/alloc.h"
#include "base/size.h"
#include "shard/guard.h"

#define TABLE_MISSING_MAX 256u /* blocks behind the end of a file that was cut that are counted one by one; not tuned */

void amb_store_note(const struct amb_store *store, const char *file, uint64_t offset, const char *fmt, ...) {
    struct amb_store_report *report = store->report;
    char what[160];
    va_list args;

    if (report->n_damaged++ != 0) {
        return;
    }
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    snprintf(report->first_damage, sizeof report->first_damage, "%s offset %" PRIu64 ": %s", file, offset, what);
}

static void table_name(char name[32], uint64_t number) {
    snprintf(name, 32, "table-%010" PRIu64, number);
}

void amb_table_note(const struct amb_store *store, bool is_curve, uint64_t i_block) {
    const struct amb_blocks *blocks = is_curve ? &store->table.curves : &store->table.rows;
    uint64_t offset = blocks->offset + i_block * AMB_BLOCK_BYTES;
    uint64_t i_bit = offset / AMB_BLOCK_BYTES, n_bits = store->table.map_bytes / AMB_BLOCK_BYTES + TABLE_MISSING_MAX;
    char name[32];

    i_bit = i_bit < n_bits ? i_bit : n_bits;
    if ((store->table.noted[i_bit / 8] >> i_bit % 8 & 1) != 0) {
        return;
    }
    store->table.noted[i_bit / 8] |= (uint8_t)(1u << i_bit % 8);
    table_name(name, store->manifest.table);
    amb_store_note(store, name, offset, "a block of %u %s does not fit its checksum", blocks->per_block,
                   is_curve ? "places of curves" : "rows");
}

/* Entries of blocks that are in the file, and of some more, which are found damaged: whatever the manifest says, no walk is
 * much longer than the file. */
static uint64_t table_cap(const struct amb_table *table, uint64_t offset, uint64_t n_entries, uint32_t per_block) {
    const uint64_t bytes = offset < table->map_bytes ? table->map_bytes - offset : 0;
    const uint64_t n_here = (bytes / AMB_BLOCK_BYTES + TABLE_MISSING_MAX) * per_block;

    return n_entries < n_here ? n_entries : n_here;
}

static void table_view(struct amb_table *table, const struct amb_manifest *manifest) {
    table->rows = (struct amb_blocks){
        .map = table->map,
        .map_bytes = table->map_bytes,
        .offset = AMB_BLOCK_BYTES,
        .n_entries = table_cap(table, AMB_BLOCK_BYTES, manifest->n_rows, AMB_ROWS_PER_BLOCK),
        .entry_bytes = AMB_ROW_BYTES,
        .per_block = AMB_ROWS_PER_BLOCK,
        .has_origin = true,
    };
    table->curves = (struct amb_blocks){
        .map = table->map,
        .map_bytes = table->map_bytes,
        .offset = amb_manifest_curves_offset(manifest),
        .n_entries = table_cap(table, amb_manifest_curves_offset(manifest), manifest->n_curves, AMB_CURVES_PER_BLOCK),
        .entry_bytes = AMB_CURVE_ENTRY_BYTES,
        .per_block = AMB_CURVES_PER_BLOCK,
    };
}

/* The head says again what the manifest said. */
static void table_check(const struct amb_table *table, const struct amb_store *store,
                        const struct amb_manifest *manifest) {
    uint8_t head[AMB_BLOCK_BYTES] = {0}, expected[AMB_BLOCK_BYTES] = {0};
    char name[32];

    table_name(name, manifest->table);
    amb_manifest_encode(expected, manifest, AMB_TABLE_MAGIC);
    if (table->map_bytes != amb_manifest_table_bytes(manifest)) {
        amb_store_note(store, name, table->map_bytes, "the file has %" PRIu64 " bytes, expected %" PRIu64,
                       table->map_bytes, amb_manifest_table_bytes(manifest));
    }
    if (table->map_bytes < sizeof head ||
        !amb_guard_copy(head, table->map, sizeof head, table->map, table->map_bytes) ||
        memcmp(head, expected, sizeof head) != 0) {
        amb_store_note(store, name, 0, "the head is not what the manifest says");
    }
}

int amb_table_open(struct amb_table *out, const struct amb_store *store, const struct amb_manifest *manifest,
                   struct amb_error *err) {
    const struct amb_io *io = store->io;
    struct amb_table table = {.fd = -1};
    char path[4096];
    int r;

    if (!amb_store_file(path, store->dir, "table", manifest->table)) {
        return amb_fail(err, -ENAMETOOLONG, "store: path too long: %s", store->dir);
    }
    r = amb_guard_install(err);
    if (r < 0) {
        return r;
    }
    table.fd = io->open(io->opaque, path, O_RDONLY, 0);
    if (table.fd < 0) {
        return amb_fail(err, table.fd, "store: cannot open %s, which " AMB_MANIFEST_NAME " names: %s%s", path,
                        strerror(-table.fd), table.fd == -ENOENT ? "; " AMB_STORE_ADVICE : "");
    }
    r = io->size(io->opaque, &table.map_bytes, table.fd);
    if (r == 0 && table.map_bytes != 0) {
        r = io->mmap(io->opaque, &table.map, table.fd, (size_t)table.map_bytes);
    }
    if (r == 0) {
        table.noted = amb_calloc((table.map_bytes / AMB_BLOCK_BYTES + TABLE_MISSING_MAX) / 8 + 1, 1);
        r = table.noted == NULL ? -ENOMEM : 0;
    }
    if (r < 0) {
        amb_table_close(&table, io);
        return amb_fail(err, r, "store: cannot map %s: %s", path, strerror(-r));
    }
    table_view(&table, manifest);
    table_check(&table, store, manifest);
    *out = table;
    return 0;
}

void amb_table_close(struct amb_table *table, const struct amb_io *io) {
    if (table->map != NULL) {
        io->munmap(io->opaque, table->map, (size_t)table->map_bytes);
    }
    if (table->fd >= 0) {
        io->close(io->opaque, table->fd);
    }
    amb_free(table->noted);
    *table = (struct amb_table){.fd = -1};
}

static int table_read(struct amb_buf *buf, const struct amb_store *store, const struct amb_location *where) {
    const struct amb_table *table = &store->table;
    uint64_t at = amb_manifest_bulk_offset(&store->manifest) + where->offset;

    if (!amb_span_ok(where->offset, where->bytes, store->manifest.bulk_bytes) ||
        !amb_span_ok(at, where->bytes, table->map_bytes) ||
        !amb_guard_copy(buf->data, table->map + at, where->bytes, table->map, table->map_bytes)) {
        return AMB_ERR_CHECKSUM;
    }
    return 0;
}

/* A descriptor to read a segment with; *is_kept: it is not the caller's to close. */
static int segment_open(bool *is_kept, const struct amb_store *store, uint64_t number) {
    char path[4096];

    for (size_t i = 0; i < store->journal.n_segments; i++) {
        const struct amb_segment *segment = &store->journal.segments[i];

        *is_kept = segment->number == number && segment->fd >= 0;
        if (*is_kept) {
            return segment->fd;
        }
    }
    if (!amb_store_file(path, store->dir, "journal", number)) {
        return -ENAMETOOLONG;
    }
    return store->io->open(store->io->opaque, path, O_RDONLY, 0);
}

static int segment_read(struct amb_buf *buf, const struct amb_store *store, const struct amb_location *where) {
    const struct amb_io *io = store->io;
    bool is_kept = false;
    size_t got = 0;
    int r, fd = segment_open(&is_kept, store, where->segment);

    if (fd < 0) {
        return fd;
    }
    r = amb_io_read(&got, io, fd, buf->data, where->bytes, where->offset);
    if (!is_kept) {
        io->close(io->opaque, fd);
    }
    return r < 0 ? r : got < where->bytes ? AMB_ERR_CHECKSUM : 0;
}

int amb_store_read(const uint8_t **payload, struct amb_buf *buf, const struct amb_store *store,
                   enum amb_record_type type, const struct amb_location *where) {
    int r;

    if (where->bytes < AMB_RECORD_HEADER_BYTES || where->bytes > AMB_RECORD_BYTES_MAX) {
        return AMB_ERR_CHECKSUM;
    }
    r = amb_buf_reserve(buf, where->bytes);
    if (r == 0) {
        r = where->segment == 0 ? table_read(buf, store, where) : segment_read(buf, store, where);
    }
    if (r < 0) {
        return r;
    }
    if (!amb_record_check(buf->data, where->bytes, amb_store_salt(store->manifest.store_id, where->segment), type)) {
        return AMB_ERR_CHECKSUM;
    }
    *payload = buf->data + AMB_RECORD_HEADER_BYTES;
    return 0;
}
