#pragma once
/* Store, inside: what its sources share. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "annotate/store-blocks.h"
#include "annotate/store-journal.h"
#include "annotate/store-manifest.h"
#include "annotate/store-recent.h"
#include "annotate/store-scan.h"
#include "annotate/store-texts.h"
#include "annotate/store.h"

/* Entry of recent curves: uid 16, u32 version, u64 segment, u64 offset, u32 bytes of the record. */
#define AMB_RECENT_CURVE_BYTES 40u

/* Payloads. */
#define AMB_CURVE_HEAD_BYTES       24u /* uid 16, u32 version, u32 n; then n sigmas, n probabilities as f32 */
#define AMB_GENERATION_HEAD_BYTES  80u /* then, in a table, u64 offset in bulk and u32 bytes of each undo record */
#define AMB_GENERATION_CHUNK_BYTES 12u
#define AMB_GENERATION_HAS_BEFORE  1u  /* flag */
#define AMB_UNDO_HEAD_BYTES        24u /* u64 number, u32 chunk, u32 n_entries, u32 raw bytes, u32 zero; then zstd */

struct amb_store_minted {
    struct amb_store_generation generation;
    bool has_before;             /* its undo leads to the generation before it of the same dataset */
    struct amb_location *chunks; /* owned */
    uint32_t n_chunks;
};

struct amb_store_history {
    struct amb_store_minted *minted; /* owned; oldest first */
    size_t n_minted;
    struct amb_location *pending; /* owned; undo records whose generation has not come yet */
    uint32_t n_pending;
    uint64_t pending_number;
};

/* A table that is open; all zero where there is none. */
struct amb_table {
    uint8_t *map;
    uint64_t map_bytes;
    int fd; /* for the scan of its streams */
    struct amb_blocks rows, curves;
    uint8_t *noted; /* owned; a bit for each block whose damage was noted */
};

struct amb_store {
    const struct amb_io *io;
    char *dir; /* owned */
    bool is_read_only;
    uint64_t keep_ns;
    uint64_t compact_bytes; /* of journal: not before; a compaction failed */
    int lock_fd;

    struct amb_manifest manifest;
    struct amb_table table;
    struct amb_journal journal;
    struct amb_recent recent, recent_curves;
    struct amb_texts texts;
    struct amb_models models;
    struct amb_store_history history;

    struct amb_store_report *report; /* owned; readers too note what they find damaged */
};

/* Note a bad stretch of `file`. */
void amb_store_note(const struct amb_store *store, const char *file, uint64_t offset, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* store-table.c */
/* Errors: errno values. What is short or damaged in its head is noted. */
int amb_table_open(struct amb_table *out, const struct amb_store *store, const struct amb_manifest *manifest,
                   struct amb_error *err);
void amb_table_close(struct amb_table *table, const struct amb_io *io); /* idempotent */
/* Note a damaged block, the first time. is_curve: of the index of curves. */
void amb_table_note(const struct amb_store *store, bool is_curve, uint64_t i_block);
/* The record at `where` into buf. AMB_ERR_CHECKSUM, errno values. */
int amb_store_read(const uint8_t **payload, struct amb_buf *buf, const struct amb_store *store,
                   enum amb_record_type type, const struct amb_location *where);

/* store-apply.c */
/* What a record changes in memory. AMB_ERR_FORMAT: it cannot be of this version; -ENOMEM. */
int amb_store_apply(struct amb_store *store, const struct amb_scan_record *record, uint64_t segment);

/* store-replay.c */
int amb_store_replay(struct amb_store *store, struct amb_error *err);

/* Has a segment that was sealed anything but whole records? One that cannot be read has not. */
bool amb_segment_is_damaged(const struct amb_store *store, uint64_t number);

/* store-compact.c */
/* A file goes, or where it is damaged stays as NAME.damaged, which nobody reads. */
void amb_store_retire(const struct amb_store *store, const char *kind, uint64_t number, bool is_damaged);

/* store-generation.c */
void amb_history_deinit(struct amb_store_history *history);
int amb_history_push_undo(struct amb_store_history *history, const struct amb_scan_record *record,
                          const struct amb_location *where);
int amb_history_push(struct amb_store_history *history, const uint8_t *payload, uint32_t payload_bytes);
void amb_generation_encode(uint8_t payload[AMB_GENERATION_HEAD_BYTES], const struct amb_store_minted *minted);

/* store-curve.c */
/* Where the curve lies; false: there is none. */
bool amb_store_find_curve(struct amb_location *out, const struct amb_store *store, const uint8_t uid[16],
                          uint32_t version);
