#pragma once
/* Manifest: the one small file that says which table and which journal are the store. */
#include <stdbool.h>
#include <stdint.h>

#include "annotate/store-layout.h"
#include "base/error.h"
#include "base/io.h"

/* Where a folder cannot be opened as a store. */
#define AMB_STORE_ADVICE "restore it from a copy, or move the folder away to begin without what it knows"
#define AMB_MANIFEST_NAME       "MANIFEST"
#define AMB_MANIFEST_PART_BYTES 128u
#define AMB_MANIFEST_BYTES      (AMB_BLOCK_BYTES + AMB_MANIFEST_PART_BYTES) /* the same part at 0 and at 4096 */

/* Part, from byte 0: magic 8, u32 version, u32 zero, store id 16, then u64: table, first segment, next sequence, n_rows,
 * n_curves, bulk bytes, meta bytes; zero; u32 crc at 124. */
struct amb_manifest {
    uint8_t store_id[16];
    uint64_t table;         /* number of its file; 0: none yet */
    uint64_t first_segment; /* of the journal; what lies in lower ones is in the table */
    uint64_t next_sequence; /* of the first record of that segment */
    uint64_t n_rows, n_curves, bulk_bytes, meta_bytes; /* of the table */
};

/* Where the streams of the table lie, from the counts. */
static inline uint64_t amb_manifest_curves_offset(const struct amb_manifest *manifest) {
    return AMB_BLOCK_BYTES *
           (1 + (manifest->n_rows + AMB_ROWS_PER_BLOCK - 1) / AMB_ROWS_PER_BLOCK);
}
static inline uint64_t amb_manifest_bulk_offset(const struct amb_manifest *manifest) {
    return amb_manifest_curves_offset(manifest) +
           AMB_BLOCK_BYTES * ((manifest->n_curves + AMB_CURVES_PER_BLOCK - 1) / AMB_CURVES_PER_BLOCK);
}
static inline uint64_t amb_manifest_table_bytes(const struct amb_manifest *manifest) {
    return manifest->table == 0 ? 0
                                : amb_manifest_bulk_offset(manifest) + manifest->bulk_bytes + manifest->meta_bytes;
}

/* magic: AMB_MANIFEST_MAGIC, or AMB_TABLE_MAGIC for the head of a table. */
void amb_manifest_encode(uint8_t part[AMB_MANIFEST_PART_BYTES], const struct amb_manifest *manifest, const char *magic);
bool amb_manifest_decode(struct amb_manifest *out, const uint8_t part[AMB_MANIFEST_PART_BYTES], const char *magic,
                         uint32_t *version); /* *version: also where it is not ours; false: checksum or magic */

/**
 * Read DIR/MANIFEST.
 *
 * *damage: offset of what is damaged though another copy served; -1: nothing.
 * Errors:  -ENOENT, AMB_ERR_VERSION, AMB_ERR_FORMAT, errno values.
 */
int amb_manifest_load(struct amb_manifest *out, int64_t *damage, const struct amb_io *io, const char *dir,
                      struct amb_error *err);

/**
 * Put it in the place of the old one: written beside it, synced, renamed, folder synced.
 *
 * *is_moved: true where the rename may have happened; then after a failure nobody knows which one is on disk.
 */
int amb_manifest_store(bool *is_moved, const struct amb_manifest *manifest, const struct amb_io *io, const char *dir,
                       struct amb_error *err);

/* DIR/NAME; false where it does not fit. */
bool amb_store_path(char path[4096], const char *dir, const char *name);
/* "table" or "journal" and a number as ten digits; number 0 where the name is another. */
uint64_t amb_store_number(const char *name, const char *kind);
bool amb_store_file(char path[4096], const char *dir, const char *kind, uint64_t number);
