/*
 * Replay: from the files of a store to its memory.
 *
 * Records are applied in order as long as they are whole and their sequences follow each other. Where that ends, the
 * question is whether a mark follows, or a later segment, which is only made after a sync: then what is bad was on disk
 * once and is damage, reported and passed over. If not, it is the torn tail of what was never acknowledged, and is cut
 * off, valid records behind it included: what is recovered is a prefix of what was written.
 *
 * What is whole but stands behind the last mark may lie in the page cache alone, left there clean by a sync that failed.
 * It is written anew, synced and marked before it counts.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "annotate/store-private.h"
#include "annotate/store-row.h"
#include "base/alloc.h"
#include "base/cleanup.h"

/* One segment, as it is read. */
struct replay {
    struct amb_store *store;
    uint64_t number;
    bool is_last, is_gap_known; /* sequences are missing, and that was noted */
    bool is_marked;             /* the last whole record is a mark */
    struct amb_segment *segment;
    int fd;
    struct amb_scan scan;
    uint64_t proven; /* what lies before this offset was on disk: where the last mark begins */
    uint64_t good;   /* end of the last whole record */
    uint64_t refused; /* where the last one begins that is whole but nothing of ours; it is not tried again */
};

static void replay_deinit(struct replay *replay) {
    if (replay->fd >= 0) {
        replay->store->io->close(replay->store->io->opaque, replay->fd);
        replay->fd = -1;
    }
    amb_scan_deinit(&replay->scan);
}

static void replay_note(struct replay *replay, uint64_t offset, uint64_t bytes, uint64_t next_sequence) {
    const uint64_t expected = replay->store->journal.next_sequence;
    char name[32];

    snprintf(name, sizeof name, "journal-%010" PRIu64, replay->number);
    replay->segment->is_damaged = true;
    if (next_sequence > expected) {
        amb_store_note(replay->store, name, offset, "%" PRIu64 " bytes are damaged, records %" PRIu64 " to %" PRIu64
                       " are lost", bytes, expected, next_sequence - 1);
    } else {
        amb_store_note(replay->store, name, offset, "%" PRIu64 " bytes are damaged, no record is lost", bytes);
    }
}

/* Sequences that a record takes. */
static uint64_t record_count(const struct amb_scan_record *record) {
    return record->type == AMB_RECORD_ROWS ? record->payload_bytes / AMB_ROW_BYTES
                                           : record->type != AMB_RECORD_MARK;
}

/* Is there a mark behind `at` that vouches for what should stand there? The scan comes back to where it was. */
static int replay_is_proven(bool *out, struct replay *replay) {
    const uint64_t at = replay->scan.at, expected = replay->store->journal.next_sequence;
    struct amb_scan_record record;
    int r;

    *out = !replay->is_last;
    for (r = *out ? AMB_SCAN_E_END : 0; r == 0;) {
        r = amb_scan_next(&record, &replay->scan);
        if (r == AMB_SCAN_E_BAD) {
            r = amb_scan_resync(&replay->scan);
        } else if (r == 0 && record.type == AMB_RECORD_MARK && record.sequence >= expected) {
            *out = true;
            break;
        }
    }
    replay->scan.at = at;
    return r < 0 ? r : 0;
}

/* To the next record that may follow, or the end. A whole one that begins right here would be one after a gap. */
static int replay_resync(struct replay *replay) {
    const uint64_t expected = replay->store->journal.next_sequence;
    struct amb_scan_record record;
    int r = amb_scan_next(&record, &replay->scan);

    if (r == 0 && record.sequence <= expected) {
        replay->scan.at = record.offset;
        r = AMB_SCAN_E_BAD;
    }
    while (r == AMB_SCAN_E_BAD) {
        r = amb_scan_resync(&replay->scan);
        if (r == 0) {
            r = amb_scan_next(&record, &replay->scan);
        }
        if (r == 0 && (record.sequence < expected || record.offset <= replay->refused)) {
            replay->scan.at = record.offset;
            r = AMB_SCAN_E_BAD;
        }
    }
    if (r == 0) {
        replay->scan.at = record.offset;
        replay_note(replay, replay->good, record.offset - replay->good, record.sequence);
        replay->store->journal.next_sequence = record.sequence;
    }
    return r;
}

/* What is bad begins at `good`. AMB_SCAN_E_END: nothing more is to be read. */
static int replay_pass(struct replay *replay) {
    bool is_proven;
    int r;

    replay->scan.at = replay->good;
    r = replay_is_proven(&is_proven, replay);
    if (r < 0) {
        return r;
    }
    if (!is_proven) {
        replay->store->report->torn_bytes += replay->scan.end - replay->good;
        return AMB_SCAN_E_END;
    }
    r = replay_resync(replay);
    if (r == AMB_SCAN_E_END) {
        replay_note(replay, replay->good, replay->scan.end - replay->good, 0);
        replay->is_gap_known = true;
        replay->good = replay->scan.end;
    }
    return r;
}

static int replay_record(struct replay *replay, const struct amb_scan_record *record) {
    struct amb_store *store = replay->store;
    int r = amb_store_apply(store, record, replay->number);

    if (r == AMB_ERR_FORMAT) {
        replay->refused = record->offset;
        return AMB_SCAN_E_BAD; /* whole, but nothing of ours: passed over as damage */
    }
    if (r < 0) {
        return r;
    }
    store->journal.next_sequence += record_count(record);
    store->report->n_replayed += record->type == AMB_RECORD_ROWS ? record_count(record) : 0;
    replay->good = replay->scan.at;
    replay->is_marked = record->type == AMB_RECORD_MARK;
    if (replay->is_marked) {
        replay->proven = record->offset;
    }
    return 0;
}

static int replay_records(struct replay *replay) {
    const uint64_t *expected = &replay->store->journal.next_sequence;
    struct amb_scan_record record;
    int r;

    for (;;) {
        r = amb_scan_next(&record, &replay->scan);
        if (r == 0 && record.sequence != *expected) {
            r = AMB_SCAN_E_BAD;
        }
        if (r == 0) {
            r = replay_record(replay, &record);
        }
        if (r == AMB_SCAN_E_BAD) {
            r = replay_pass(replay);
        }
        if (r != 0) {
            return r == AMB_SCAN_E_END ? 0 : r;
        }
    }
}

/* AMB_SCAN_E_BAD: it was never completed, so it never held a record. */
static int replay_header(struct replay *replay) {
    struct amb_store *store = replay->store;
    uint8_t header[AMB_SEGMENT_HEADER_BYTES] = {0};
    uint64_t first = 0;
    size_t got;
    int r = amb_io_read(&got, store->io, replay->fd, header, sizeof header, 0);

    if (r < 0) {
        return r;
    }
    if (!amb_segment_decode(&first, header, store->manifest.store_id, replay->number) ||
        first < store->journal.next_sequence) {
        if (replay->is_last && replay->segment->bytes <= sizeof header) {
            return AMB_SCAN_E_BAD;
        }
        replay_note(replay, 0, sizeof header, 0);
        return 0;
    }
    if (first > store->journal.next_sequence) {
        if (!replay->is_gap_known) {
            replay_note(replay, 0, 0, first);
        }
        store->journal.next_sequence = first;
    }
    replay->is_gap_known = false;
    return 0;
}

/* What no mark covers, and the mark itself, is made dirty again, so that the next sync really writes it. */
static int replay_rewrite(struct replay *replay) {
    const struct amb_io *io = replay->store->io;
    AMB_CLEANUP(amb_buf_deinit) struct amb_buf buf = AMB_BUF_NULL;
    uint64_t at = replay->proven;
    int r = 0;

    while (r == 0 && at < replay->good) {
        uint64_t left = replay->good - at;
        size_t n = left < AMB_RECORD_BYTES_MAX ? (size_t)left : AMB_RECORD_BYTES_MAX, got = 0;

        r = amb_buf_reserve(&buf, n);
        if (r == 0) {
            r = amb_io_read(&got, io, replay->fd, buf.data, n, at);
        }
        if (r == 0 && got != n) {
            r = -EIO;
        }
        if (r == 0) {
            r = amb_io_write(io, replay->fd, buf.data, n, at);
        }
        at += n;
    }
    return r == -ENOSPC || r == -EDQUOT ? 0 : r; /* a file system that copies on write: as good as it gets */
}

/* The last segment becomes the one that takes appends, unless it is damaged. */
static int replay_adopt(struct replay *replay, uint64_t size) {
    struct amb_store *store = replay->store;
    struct amb_journal *journal = &store->journal;
    const struct amb_io *io = store->io;
    int r = 0;

    replay->segment->bytes = replay->good;
    if (size != replay->good) {
        r = io->ftruncate(io->opaque, replay->fd, replay->good);
    }
    if (r == 0) {
        r = replay_rewrite(replay);
    }
    if (r == 0 && (!replay->is_marked || size != replay->good)) {
        r = io->fdatasync(io->opaque, replay->fd);
    }
    if (r < 0) {
        return r;
    }
    journal->fd = amb_steal_fd(&replay->fd);
    journal->reserved = replay->good;
    journal->is_dirty = false;
    journal->is_marked = journal->is_mark_dirty = replay->is_marked;
    r = amb_journal_commit(journal, NULL); /* the mark */
    return r == 0 && replay->segment->is_damaged ? amb_journal_seal(journal, NULL) : r;
}

static int replay_open(struct replay *replay, uint64_t *size, struct amb_error *err) {
    struct amb_store *store = replay->store;
    const struct amb_io *io = store->io;
    const bool is_written = replay->is_last && !store->is_read_only;
    char path[4096];
    int r;

    if (!amb_store_file(path, store->dir, "journal", replay->number)) {
        return amb_fail(err, -ENAMETOOLONG, "store: path too long: %s", store->dir);
    }
    replay->fd = io->open(io->opaque, path, is_written ? O_RDWR : O_RDONLY, 0);
    if (replay->fd < 0) {
        return amb_fail(err, replay->fd, "store: cannot open %s: %s", path, strerror(-replay->fd));
    }
    r = io->size(io->opaque, size, replay->fd);
    if (r == 0) {
        r = amb_journal_push_segment(&store->journal, replay->number, *size);
    }
    if (r < 0) {
        return amb_fail(err, r, "store: cannot read %s: %s", path, strerror(-r));
    }
    replay->segment = &store->journal.segments[store->journal.n_segments - 1];
    store->journal.next_segment = replay->number + 1;
    return 0;
}

/* A segment whose making a crash cut short; its number is used again. Behind a damaged one it stays until then: that it
 * was made proves that what is bad there was on disk once, and is no torn tail. */
static int replay_remove(struct replay *replay) {
    struct amb_store *store = replay->store;
    const struct amb_journal *journal = &store->journal;
    char path[4096];
    bool is_proof;

    store->report->torn_bytes += replay->segment->bytes;
    store->journal.n_segments--;
    store->journal.next_segment = replay->number;
    is_proof = journal->n_segments > 0 && journal->segments[journal->n_segments - 1].is_damaged;
    if (!is_proof && !store->is_read_only && amb_store_file(path, store->dir, "journal", replay->number)) {
        return store->io->unlink(store->io->opaque, path);
    }
    return 0;
}

static int replay_segment(struct amb_store *store, uint64_t number, bool is_last, bool *is_gap_known,
                          struct amb_error *err) {
    AMB_CLEANUP(replay_deinit)
    struct replay replay = {
        .store = store, .number = number, .is_last = is_last, .is_gap_known = *is_gap_known, .fd = -1};
    uint64_t size;
    int r = replay_open(&replay, &size, err);

    if (r < 0) {
        return r;
    }
    amb_scan_init(&replay.scan, store->io, replay.fd, amb_store_salt(store->manifest.store_id, number),
                  AMB_SEGMENT_HEADER_BYTES, size);
    replay.good = AMB_SEGMENT_HEADER_BYTES; /* and nothing is proven, not even the header */
    r = replay_header(&replay);
    if (r == AMB_SCAN_E_BAD) {
        r = replay_remove(&replay);
    } else if (r == 0) {
        r = replay_records(&replay);
        if (r == 0 && store->is_read_only) {
            replay.segment->fd = amb_steal_fd(&replay.fd);
        } else if (r == 0 && is_last) {
            r = replay_adopt(&replay, size);
        }
    }
    *is_gap_known = replay.is_gap_known;
    return r < 0 ? amb_fail(err, r, "store: cannot recover %s/journal-%010" PRIu64 ": %s", store->dir, number,
                            r == -ENOMEM ? "out of memory" : strerror(-r))
                 : 0;
}

bool amb_segment_is_damaged(const struct amb_store *store, uint64_t number) {
    AMB_CLEANUP(amb_scan_deinit) struct amb_scan scan = AMB_SCAN_NULL;
    const struct amb_io *io = store->io;
    uint8_t header[AMB_SEGMENT_HEADER_BYTES];
    struct amb_scan_record record;
    uint64_t first, size = 0;
    size_t got = 0;
    char path[4096];
    int fd, r;

    if (!amb_store_file(path, store->dir, "journal", number)) {
        return false;
    }
    fd = io->open(io->opaque, path, O_RDONLY, 0);
    if (fd < 0) {
        return false;
    }
    r = io->size(io->opaque, &size, fd);
    if (r == 0) {
        r = amb_io_read(&got, io, fd, header, sizeof header, 0);
    }
    if (r == 0 && (got != sizeof header ||
                   !amb_segment_decode(&first, header, store->manifest.store_id, number))) {
        r = AMB_SCAN_E_BAD;
    }
    amb_scan_init(&scan, io, fd, amb_store_salt(store->manifest.store_id, number), AMB_SEGMENT_HEADER_BYTES, size);
    while (r == 0) {
        r = amb_scan_next(&record, &scan);
    }
    io->close(io->opaque, fd);
    return r == AMB_SCAN_E_BAD;
}

/* Numbers of segments in the folder. */
struct replay_list {
    uint64_t *numbers; /* owned */
    size_t n_numbers;
};

static void replay_list_deinit(struct replay_list *list) {
    amb_free(list->numbers);
}

static int replay_on_name(void *arg, const char *name) {
    struct replay_list *list = arg;
    uint64_t number = amb_store_number(name, "journal"), *grown;

    if (number == 0) {
        return 0;
    }
    grown = amb_realloc(list->numbers, (list->n_numbers + 1) * sizeof *grown);
    if (grown == NULL) {
        return -ENOMEM;
    }
    list->numbers = grown;
    list->numbers[list->n_numbers++] = number;
    return 0;
}

static int replay_compare(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* Numbers of models that rows of the table have. Reads all of it: where records of models may be lost. */
static int replay_skip_models(struct amb_store *store) {
    struct amb_blocks_cursor cursor;
    const uint8_t *row;
    uint16_t model = 0;

    amb_blocks_cursor_init(&cursor, &store->table.rows);
    for (row = amb_blocks_cursor_next(&cursor); row != NULL; row = amb_blocks_cursor_next(&cursor)) {
        struct amb_store_record record;

        if (amb_row_decode(&record, row) && record.model > model) {
            model = record.model;
        }
    }
    return amb_models_skip(&store->models, model);
}

/* The table's stream of models, texts and generations. */
static int replay_meta(struct amb_store *store, struct amb_error *err) {
    AMB_CLEANUP(amb_scan_deinit) struct amb_scan scan = AMB_SCAN_NULL;
    uint64_t end = amb_manifest_table_bytes(&store->manifest), begin = end - store->manifest.meta_bytes, good = begin;
    struct amb_scan_record record;
    bool is_damaged = false;
    int r = 0;

    amb_scan_init(&scan, store->io, store->table.fd, amb_store_salt(store->manifest.store_id, 0), begin, end);
    while (r == 0) {
        r = amb_scan_next(&record, &scan);
        if (r == 0) {
            r = amb_store_apply(store, &record, 0);
            r = r == AMB_ERR_FORMAT ? AMB_SCAN_E_BAD : r;
        }
        if (r == AMB_SCAN_E_BAD) {
            char name[32];

            scan.at = good;
            r = amb_scan_resync(&scan);
            snprintf(name, sizeof name, "table-%010" PRIu64, store->manifest.table);
            amb_store_note(store, name, good, "%" PRIu64 " bytes of models, texts and generations are damaged",
                           scan.at - good);
            is_damaged = true;
        }
        good = scan.at;
    }
    if (r >= 0 && is_damaged && !store->is_read_only) {
        r = replay_skip_models(store);
    }
    return r < 0 ? amb_fail(err, r, "store: cannot read the table of %s: %s", store->dir, strerror(-r)) : 0;
}

int amb_store_replay(struct amb_store *store, struct amb_error *err) {
    AMB_CLEANUP(replay_list_deinit) struct replay_list list = {0};
    bool is_gap_known = false;
    int r = store->manifest.table != 0 ? replay_meta(store, err) : 0;

    if (r < 0) {
        return r;
    }
    store->journal.next_sequence = store->manifest.next_sequence;
    store->journal.next_segment = store->manifest.first_segment;
    r = store->io->list(store->io->opaque, store->dir, replay_on_name, &list);
    if (r < 0) {
        return amb_fail(err, r, "store: cannot list %s: %s", store->dir, strerror(-r));
    }
    if (list.n_numbers != 0) {
        qsort(list.numbers, list.n_numbers, sizeof *list.numbers, replay_compare);
    }
    for (size_t i = 0; r == 0 && i < list.n_numbers; i++) {
        if (list.numbers[i] >= store->manifest.first_segment) {
            r = replay_segment(store, list.numbers[i], i + 1 == list.n_numbers, &is_gap_known, err);
        }
    }
    return r;
}
