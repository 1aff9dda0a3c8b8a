#pragma once
/* Journal: where records are appended; segments of a file each, and what is known to be on disk. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "annotate/store-layout.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/io.h"

#define AMB_SEGMENT_BYTES (UINT64_C(64) << 20) /* DESIGN section 9 */

struct amb_segment {
    uint64_t number, bytes;
    bool is_damaged; /* compaction keeps it aside */
    int fd;          /* of a reader, so that its curves stay though compaction removes the file; else -1 */
};

struct amb_journal {
    /* immutable after init */
    const struct amb_io *io;
    char *dir; /* borrowed */
    uint8_t store_id[16];
    uint64_t segment_bytes;

    struct amb_segment *segments; /* owned; rising numbers; the last one takes appends if fd >= 0 */
    size_t n_segments;
    uint64_t next_segment, next_sequence;
    int fd;            /* of the last segment; -1: the next append makes a new one */
    uint64_t reserved; /* its bytes that have room on disk */
    bool is_dirty;     /* something was written since the last sync */
    bool is_marked;    /* the last thing in it is a mark */
    bool is_mark_dirty; /* which was not synced */
    struct amb_buf batch; /* records that the next flush writes */
    uint64_t n_batch;     /* sequences that they take */

    int poison; /* 0, or why nothing is written any more */
    char poison_message[256];
};

void amb_journal_init(struct amb_journal *journal, const struct amb_io *io, char *dir, const uint8_t store_id[16],
                      uint64_t segment_bytes);
void amb_journal_deinit(struct amb_journal *journal); /* idempotent */

/* A segment that recovery found, or append made; -ENOMEM. */
int amb_journal_push_segment(struct amb_journal *journal, uint64_t number, uint64_t bytes);

/* 0, or the failure that ended writing. */
int amb_journal_check(const struct amb_journal *journal, struct amb_error *err);
/* AMB_ERR_LIMIT: so many sequences are not left. */
int amb_journal_check_room(const struct amb_journal *journal, uint64_t n_sequences, struct amb_error *err);
/* Nothing is written from now on; returns code. Keeps the first reason. */
int amb_journal_poison(struct amb_journal *journal, int code, struct amb_error *err, const char *what);

/* Room for one more record in the batch, its payload to be filled; NULL: out of memory. Takes n_sequences, from the
 * number that *sequence gets. */
uint8_t *amb_journal_push(uint64_t *sequence, struct amb_journal *journal, enum amb_record_type type,
                          uint32_t payload_bytes, uint32_t n_sequences);
void amb_journal_drop(struct amb_journal *journal); /* forget the batch */

/**
 * Write the batch as one run; *where: of its first record.
 *
 * Errors: -ENOSPC, -EDQUOT, or no file could be made: nothing was written and the batch is forgotten; others poison.
 */
int amb_journal_flush(struct amb_location *where, struct amb_journal *journal, struct amb_error *err);

/* All that was flushed is on disk. Errors poison. */
int amb_journal_commit(struct amb_journal *journal, struct amb_error *err);

/* End the present segment: committed, room given back; the next append makes a new one. */
int amb_journal_seal(struct amb_journal *journal, struct amb_error *err);

void amb_segment_encode(uint8_t header[AMB_SEGMENT_HEADER_BYTES], const uint8_t store_id[16], uint64_t number,
                        uint64_t first_sequence);
/* False: damaged, or of another store or number. */
bool amb_segment_decode(uint64_t *first_sequence, const uint8_t header[AMB_SEGMENT_HEADER_BYTES],
                        const uint8_t store_id[16], uint64_t number);
uint64_t amb_journal_bytes(const struct amb_journal *journal);
