#pragma once
/* Zip: directory of a zip archive, checked against itself, and its members. */
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "shard/indexer.h"
#include "shard/map.h"

/* Where the central directory lies. */
struct amb_zip_end {
    uint64_t n_entries, directory, directory_bytes;
};

/* One central directory entry. */
struct amb_zip_entry {
    uint64_t entry_bytes;   /* of the entry itself */
    uint64_t local;         /* offset of the local header */
    uint64_t stored, bytes; /* as stored, and inflated */
    uint32_t crc;
    uint16_t flags, method;
    size_t name, name_bytes; /* the name's offset in the entry */
};

#define AMB_ZIP_ENTRY_BYTES 46u   /* without name, extra and comment: APPNOTE 4.3.12 */
#define AMB_ZIP_EXTRA_MAX   4096u /* of one entry; writers need 36; not tuned */
#define AMB_ZIP_STORED      0u
#define AMB_ZIP_DEFLATED    8u
#define AMB_ZIP_FLAG_CRYPT  1u
#define AMB_ZIP_FLAG_LATER  8u /* sizes and CRC stand behind the data */

/**
 * Find the end of central directory, zip64 or not.
 *
 * Errors: AMB_ERR_FORMAT no zip, truncated, something before or between, two records that both could be the
 * end; AMB_ERR_UNSUPPORTED several disks; AMB_ERR_LIMIT. Thread: any.
 */
int amb_zip_end_load(struct amb_zip_end *out, const struct amb_map *map, struct amb_error *err);

/* Parse the entry at p, of which at most `left` bytes exist. AMB_ERR_FORMAT names map->path. */
int amb_zip_entry_decode(struct amb_zip_entry *out, const uint8_t *p, uint64_t left,
                         const struct amb_map *map, struct amb_error *err);

/**
 * Read the local header and compare it with the entry; where do the bytes of the member begin?
 *
 * name: of the entry. Errors: AMB_ERR_FORMAT they disagree; AMB_ERR_UNSUPPORTED encrypted, or another method.
 */
int amb_zip_local_load(uint64_t *payload, const struct amb_zip_entry *entry, const char *name,
                       const struct amb_map *map, struct amb_error *err);

/* Scan a whole archive into an indexer of this format; `labels` is what its opaque begins with. */
struct amb_zip_scan {
    const struct amb_map *map;
    struct amb_labels *labels; /* owned by the scan */
};
extern const struct amb_indexer_format amb_zip_format;
int amb_zip_scan(struct amb_indexer *indexer, struct amb_zip_scan *scan, struct amb_error *err);

/* Read the member whose central directory entry lies at `place`; CRC-32 verified (AMB_ERR_CHECKSUM). */
int amb_zip_read(struct amb_buf *payload, const struct amb_map *map, uint64_t place, struct amb_error *err);
/* The picture of a record: AMB_ERR_CHANGED where the directory has another CRC-32 by now. */
int amb_zip_read_picture(struct amb_buf *payload, const struct amb_map *map, const uint8_t *record,
                         struct amb_error *err);
/* Of a record: place of the picture's entry. */
uint64_t amb_zip_place(const uint8_t *record);
