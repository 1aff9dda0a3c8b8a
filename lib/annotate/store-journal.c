/*
 * Journal: a batch of records is one write; what is acknowledged is synced first.
 *
 * After each sync a mark is appended. It need not be on disk itself: where a mark is found, all before it was, so a bad
 * record before a mark is damage, and one behind the last mark was never acknowledged. (Without marks a write that
 * power loss dropped before one that it kept could not be told from a flipped bit.)
 *
 * Space is taken ahead by fallocate, without a change of size, so that a full disk is noticed before anything is
 * written. What a failed write left is cut off again, and the cut synced: no stale record can come back behind a later
 * one. A failed sync is never repeated: it leaves the pages unknown (they count as clean afterwards), so the journal
 * is poisoned, and whoever opens it again writes anew what no mark covers.
 *
 * Not here: what records mean (store.c) and reading (store-replay.c).
 */
#include "annotate/store-journal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "annotate/store-manifest.h"
#include "base/alloc.h"

#define JOURNAL_AHEAD_BYTES (UINT64_C(1) << 20) /* room taken at a time; not tuned */

void amb_journal_init(struct amb_journal *journal, const struct amb_io *io, char *dir, const uint8_t store_id[16],
                      uint64_t segment_bytes) {
    *journal = (struct amb_journal){.io = io, .dir = dir, .segment_bytes = segment_bytes, .fd = -1};
    memcpy(journal->store_id, store_id, sizeof journal->store_id);
}

void amb_journal_deinit(struct amb_journal *journal) {
    if (journal->fd >= 0) {
        journal->io->close(journal->io->opaque, journal->fd);
        journal->fd = -1;
    }
    for (size_t i = 0; i < journal->n_segments; i++) {
        if (journal->segments[i].fd >= 0) {
            journal->io->close(journal->io->opaque, journal->segments[i].fd);
        }
    }
    amb_buf_deinit(&journal->batch);
    amb_free(journal->segments);
    journal->segments = NULL;
    journal->n_segments = 0;
}

int amb_journal_push_segment(struct amb_journal *journal, uint64_t number, uint64_t bytes) {
    struct amb_segment *segments =
        amb_realloc(journal->segments, (journal->n_segments + 1) * sizeof *journal->segments);

    if (segments == NULL) {
        return -ENOMEM;
    }
    journal->segments = segments;
    segments[journal->n_segments++] = (struct amb_segment){.number = number, .bytes = bytes, .fd = -1};
    return 0;
}

uint64_t amb_journal_bytes(const struct amb_journal *journal) {
    uint64_t bytes = 0;

    for (size_t i = 0; i < journal->n_segments; i++) {
        bytes += journal->segments[i].bytes;
    }
    return bytes;
}

int amb_journal_check(const struct amb_journal *journal, struct amb_error *err) {
    if (journal->poison != 0) {
        return amb_fail(err, journal->poison, "store %s: writing ended with an earlier failure (%s); open it again (restart the "
                        "daemon)", journal->dir, journal->poison_message);
    }
    return 0;
}

int amb_journal_poison(struct amb_journal *journal, int code, struct amb_error *err, const char *what) {
    if (journal->poison == 0) {
        journal->poison = code;
        snprintf(journal->poison_message, sizeof journal->poison_message, "%s: %s", what, strerror(-code));
    }
    return amb_fail(err, code, "store %s: %s: %s; nothing is written any more until it is opened again (restart the daemon)",
                    journal->dir, what, strerror(-code));
}

static bool journal_is_full_disk(int code) {
    return code == -ENOSPC || code == -EDQUOT;
}

void amb_segment_encode(uint8_t header[AMB_SEGMENT_HEADER_BYTES], const uint8_t store_id[16], uint64_t number,
                        uint64_t first_sequence) {
    memset(header, 0, AMB_SEGMENT_HEADER_BYTES);
    memcpy(header, AMB_SEGMENT_MAGIC, 7);
    ambp_store_u32le(header + 8, AMB_STORE_VERSION);
    memcpy(header + 16, store_id, 16);
    ambp_store_u64le(header + 32, amb_store_salt(store_id, number));
    ambp_store_u64le(header + 40, first_sequence);
    ambp_store_u64le(header + 48, number);
    ambp_store_u32le(header + 60, amb_crc32c(0, header, 60));
}

bool amb_segment_decode(uint64_t *first_sequence, const uint8_t header[AMB_SEGMENT_HEADER_BYTES],
                        const uint8_t store_id[16], uint64_t number) {
    uint8_t expected[AMB_SEGMENT_HEADER_BYTES];
    uint64_t sequence = ambp_load_u64le(header + 40);

    amb_segment_encode(expected, store_id, number, sequence);
    if (memcmp(header, expected, sizeof expected) != 0 || sequence > AMB_STORE_SEQUENCE_END) {
        return false;
    }
    *first_sequence = sequence;
    return true;
}

static struct amb_segment *journal_last(struct amb_journal *journal) {
    return &journal->segments[journal->n_segments - 1];
}

/* On disk, with its name, before the first record goes into it. */
static int journal_write_header(struct amb_journal *journal, int fd) {
    const struct amb_io *io = journal->io;
    uint8_t header[AMB_SEGMENT_HEADER_BYTES];
    int r;

    amb_segment_encode(header, journal->store_id, journal->next_segment, journal->next_sequence);
    r = amb_io_write(io, fd, header, sizeof header, 0);
    if (r == 0) {
        r = io->fsync(io->opaque, fd);
    }
    if (r == 0) {
        r = amb_io_sync_dir(io, journal->dir);
    }
    return r;
}

/* A failed sync of a new segment poisons nothing: it holds no record, and its file goes. */
static int journal_open_segment(struct amb_journal *journal, struct amb_error *err) {
    const struct amb_io *io = journal->io;
    char path[4096];
    int fd, r;

    if (!amb_store_file(path, journal->dir, "journal", journal->next_segment)) {
        return amb_fail(err, -ENAMETOOLONG, "store: path too long: %s", journal->dir);
    }
    fd = io->open(io->opaque, path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (fd < 0) {
        return amb_fail(err, fd, "store: cannot make %s: %s", path, strerror(-fd));
    }
    r = journal_write_header(journal, fd);
    if (r == 0) {
        r = amb_journal_push_segment(journal, journal->next_segment, AMB_SEGMENT_HEADER_BYTES);
    }
    if (r < 0) {
        io->close(io->opaque, fd);
        io->unlink(io->opaque, path);
        return amb_fail(err, r, "store: cannot make %s: %s", path, strerror(-r));
    }
    journal->fd = fd;
    journal->reserved = AMB_SEGMENT_HEADER_BYTES;
    journal->is_dirty = journal->is_mark_dirty = false;
    journal->is_marked = true; /* nothing in it waits */
    journal->next_segment++;
    return 0;
}

uint8_t *amb_journal_push(uint64_t *sequence, struct amb_journal *journal, enum amb_record_type type,
                          uint32_t payload_bytes, uint32_t n_sequences) {
    struct amb_buf *batch = &journal->batch;
    uint8_t *record;

    assert(payload_bytes <= AMB_RECORD_PAYLOAD_MAX);
    if (amb_buf_grow(batch, batch->n_bytes + AMB_RECORD_HEADER_BYTES + payload_bytes) < 0) {
        return NULL;
    }
    record = batch->data + batch->n_bytes;
    *sequence = journal->next_sequence + journal->n_batch;
    ambp_store_u32le(record + 8, payload_bytes); /* sealed when it is written: the segment is known then */
    ambp_store_u32le(record + 12, (uint32_t)type);
    ambp_store_u64le(record + 24, *sequence);
    batch->n_bytes += AMB_RECORD_HEADER_BYTES + payload_bytes;
    journal->n_batch += n_sequences;
    return record + AMB_RECORD_HEADER_BYTES;
}

void amb_journal_drop(struct amb_journal *journal) {
    journal->batch.n_bytes = 0;
    journal->n_batch = 0;
}

static void journal_seal_batch(struct amb_journal *journal) {
    const uint64_t salt = amb_store_salt(journal->store_id, journal_last(journal)->number);
    size_t n = 0;

    while (n < journal->batch.n_bytes) {
        uint8_t *record = journal->batch.data + n;
        const struct amb_record_header header = {
            .salt = salt,
            .sequence = ambp_load_u64le(record + 24),
            .payload_bytes = ambp_load_u32le(record + 8),
            .type = (uint8_t)ambp_load_u32le(record + 12),
        };

        amb_record_seal(record, &header);
        n += AMB_RECORD_HEADER_BYTES + header.payload_bytes;
    }
}

/* Room for bytes more; a little is taken ahead where there is some. File systems without fallocate tell at the write. */
static int journal_reserve(struct amb_journal *journal, uint64_t bytes) {
    const struct amb_io *io = journal->io;
    const uint64_t at = journal_last(journal)->bytes, end = at + bytes;
    int r;

    if (end <= journal->reserved) {
        return 0;
    }
    r = io->fallocate(io->opaque, journal->fd, at, bytes + JOURNAL_AHEAD_BYTES);
    if (r == 0) {
        journal->reserved = end + JOURNAL_AHEAD_BYTES;
        return 0;
    }
    if (journal_is_full_disk(r)) {
        r = io->fallocate(io->opaque, journal->fd, at, bytes);
    }
    if (r == 0) {
        journal->reserved = end;
    }
    return journal_is_full_disk(r) ? r : 0;
}

/* Back to what the file held before; what lies behind must never come back, so this is synced at once. */
static int journal_cut(struct amb_journal *journal, struct amb_error *err) {
    const struct amb_io *io = journal->io;
    int r = io->ftruncate(io->opaque, journal->fd, journal_last(journal)->bytes);

    journal->reserved = journal_last(journal)->bytes;
    if (r == 0) {
        r = io->fdatasync(io->opaque, journal->fd);
    }
    return r < 0 ? amb_journal_poison(journal, r, err, "cannot cut off a record that did not fit") : 0;
}

static int journal_append(struct amb_location *where, struct amb_journal *journal, struct amb_error *err) {
    struct amb_segment *segment = journal_last(journal);
    int r = journal_reserve(journal, journal->batch.n_bytes + AMB_RECORD_HEADER_BYTES); /* and the mark */

    if (r < 0) {
        return amb_fail(err, r, "store %s: no room for %zu bytes: %s", journal->dir, journal->batch.n_bytes,
                        strerror(-r));
    }
    journal_seal_batch(journal);
    r = amb_io_write(journal->io, journal->fd, journal->batch.data, journal->batch.n_bytes, segment->bytes);
    if (journal_is_full_disk(r)) {
        int cut = journal_cut(journal, err);

        return cut < 0 ? cut
                       : amb_fail(err, r, "store %s: no room for %zu bytes: %s", journal->dir, journal->batch.n_bytes,
                                  strerror(-r));
    }
    if (r < 0) {
        return amb_journal_poison(journal, r, err, "cannot append to the journal");
    }
    *where = (struct amb_location){.segment = segment->number,
                                   .offset = segment->bytes,
                                   .bytes = AMB_RECORD_HEADER_BYTES + ambp_load_u32le(journal->batch.data + 8)};
    segment->bytes += journal->batch.n_bytes;
    journal->next_sequence += journal->n_batch;
    journal->is_dirty = true;
    journal->is_marked = false;
    return 0;
}

int amb_journal_check_room(const struct amb_journal *journal, uint64_t n_sequences, struct amb_error *err) {
    return n_sequences > AMB_STORE_SEQUENCE_END - journal->next_sequence
               ? amb_fail(err, AMB_ERR_LIMIT, "store %s: more than 2^40 records were written to it", journal->dir)
               : 0;
}

int amb_journal_flush(struct amb_location *where, struct amb_journal *journal, struct amb_error *err) {
    int r = amb_journal_check(journal, err);

    r = r == 0 ? amb_journal_check_room(journal, journal->n_batch, err) : r;
    if (r == 0 && journal->fd >= 0 && journal_last(journal)->bytes >= journal->segment_bytes) {
        r = amb_journal_seal(journal, err);
    }
    if (r == 0 && journal->fd < 0) {
        r = journal_open_segment(journal, err);
    }
    if (r == 0) {
        r = journal_append(where, journal, err);
    }
    amb_journal_drop(journal);
    return r;
}

/* Not worth a failure: without it the records before are taken for unproven and written anew at the next opening. */
static void journal_mark(struct amb_journal *journal) {
    struct amb_segment *segment = journal_last(journal);
    const struct amb_record_header header = {.salt = amb_store_salt(journal->store_id, segment->number),
                                             .sequence = journal->next_sequence,
                                             .type = AMB_RECORD_MARK};
    uint8_t record[AMB_RECORD_HEADER_BYTES];

    amb_record_seal(record, &header);
    if (amb_io_write(journal->io, journal->fd, record, sizeof record, segment->bytes) < 0) {
        journal_cut(journal, NULL);
        return;
    }
    segment->bytes += sizeof record;
    journal->is_marked = journal->is_mark_dirty = true;
}

static int journal_sync(struct amb_journal *journal, struct amb_error *err) {
    int r = journal->io->fdatasync(journal->io->opaque, journal->fd);

    if (r < 0) {
        return amb_journal_poison(journal, r, err, "the disk did not take the journal");
    }
    journal->is_dirty = journal->is_mark_dirty = false;
    return 0;
}

int amb_journal_commit(struct amb_journal *journal, struct amb_error *err) {
    int r = amb_journal_check(journal, err);

    if (r == 0 && journal->fd >= 0 && journal->is_dirty) {
        r = journal_sync(journal, err);
    }
    if (r == 0 && journal->fd >= 0 && !journal->is_marked) {
        journal_mark(journal);
    }
    return r;
}

/* The mark too must be on disk: behind a later segment nothing counts as torn. */
int amb_journal_seal(struct amb_journal *journal, struct amb_error *err) {
    int r = amb_journal_commit(journal, err);

    if (r == 0 && journal->fd >= 0 && journal->is_mark_dirty) {
        r = journal_sync(journal, err);
    }
    if (r < 0 || journal->fd < 0) {
        return r;
    }
    if (journal->reserved > journal_last(journal)->bytes) {
        journal->io->ftruncate(journal->io->opaque, journal->fd, journal_last(journal)->bytes); /* room ahead goes */
    }
    journal->io->close(journal->io->opaque, journal->fd);
    journal->fd = -1;
    return 0;
}
