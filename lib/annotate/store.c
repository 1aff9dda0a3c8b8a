/*
 * Store: one directory, one owner. Memory holds what came since the last compaction; a mapped table holds the rest.
 *
 *   lock                 held for life
 *   MANIFEST             names the table and the first segment; replaced by rename
 *   table-0000000007     sorted rows, places of curves, curves, models, texts, generations; immutable
 *   journal-0000000012   segments; the last takes appends
 *
 * Put writes to the file at once, so that nothing is lost with the process; commit makes it hold against power loss.
 * A failed write changes neither memory nor file, or poisons the store. Files of other names are left alone.
 *
 * Not here: how a journal is written (store-journal.c), read again (store-replay.c) and folded into a table
 * (store-compact.c).
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "annotate/store-private.h"
#include "annotate/store-row.h"
#include "base/alloc.h"
#include "base/cleanup.h"

#define STORE_KEEP_NS       (UINT64_C(30) * 86400 * 1000000000) /* DESIGN section 5: keep_generations */
#define STORE_ROWS_MAX      (AMB_RECORD_PAYLOAD_MAX / AMB_ROW_BYTES)
#define STORE_COMPACT_BYTES (UINT64_C(128) << 20) /* of journal, whatever the table has: it is replayed at each opening */
#define STORE_OPEN_TRIES    8 /* a reader that compaction overtakes; not tuned */

static void store_freep(struct amb_store **store) {
    *store = amb_store_close(*store);
}

static int store_new(struct amb_store **out, const char *dir, const struct amb_store_options *options,
                     struct amb_error *err) {
    static const struct amb_store_options none = {0};
    AMB_CLEANUP(store_freep) struct amb_store *store = amb_calloc(1, sizeof *store);

    options = options != NULL ? options : &none;
    if (store != NULL) {
        store->io = options->io != NULL ? options->io : &amb_io_system;
        store->is_read_only = options->read_only;
        store->keep_ns = options->keep_ns != 0 ? options->keep_ns : STORE_KEEP_NS;
        store->lock_fd = store->table.fd = store->journal.fd = -1;
        store->dir = amb_strdup(dir);
        store->report = amb_calloc(1, sizeof *store->report);
        amb_recent_init(&store->recent, AMB_ROW_BYTES, true);
        amb_recent_init(&store->recent_curves, AMB_RECENT_CURVE_BYTES, false);
    }
    if (store == NULL || store->dir == NULL || store->report == NULL) {
        return amb_fail(err, -ENOMEM, "store %s: out of memory", dir);
    }
    store->journal.segment_bytes = options->segment_bytes != 0 ? options->segment_bytes : AMB_SEGMENT_BYTES;
    *out = amb_steal_ptr(store);
    return 0;
}

bool amb_store_is_poisoned(const struct amb_store *store) {
    return store->journal.poison != 0;
}

struct amb_store *amb_store_close(struct amb_store *store) {
    if (store != NULL) {
        amb_history_deinit(&store->history);
        amb_models_deinit(&store->models);
        amb_texts_deinit(&store->texts);
        amb_recent_deinit(&store->recent_curves);
        amb_recent_deinit(&store->recent);
        amb_journal_deinit(&store->journal);
        amb_table_close(&store->table, store->io);
        if (store->lock_fd >= 0) {
            store->io->close(store->io->opaque, store->lock_fd);
        }
        amb_free(store->report);
        amb_free(store->dir);
        amb_free(store);
    }
    return NULL;
}

/* The folder, and nobody else in it. */
static int store_lock(struct amb_store *store, struct amb_error *err) {
    const struct amb_io *io = store->io;
    char path[4096];
    int r = io->mkdir(io->opaque, store->dir, 0700);

    if (r < 0 && r != -EEXIST) {
        return amb_fail(err, r, "store: cannot make %s: %s", store->dir, strerror(-r));
    }
    if (!amb_store_path(path, store->dir, "lock")) {
        return amb_fail(err, -ENAMETOOLONG, "store: path too long: %s", store->dir);
    }
    store->lock_fd = io->open(io->opaque, path, O_RDWR | O_CREAT, 0600);
    if (store->lock_fd < 0) {
        return amb_fail(err, store->lock_fd, "store: cannot open %s: %s", path, strerror(-store->lock_fd));
    }
    r = io->flock(io->opaque, store->lock_fd);
    if (r == -EWOULDBLOCK) {
        return amb_fail(err, AMB_ERR_BUSY, "store: %s is in use by another process", store->dir);
    }
    return r < 0 ? amb_fail(err, r, "store: cannot lock %s: %s", path, strerror(-r)) : 0;
}

static int store_on_name(void *arg, const char *name) {
    uint64_t *n_files = arg;

    *n_files += amb_store_number(name, "journal") != 0 || amb_store_number(name, "table") != 0;
    return 0;
}

/* The folder's name is on disk before it holds a store, also where who made it was killed before that. */
static int store_sync_name(const struct amb_store *store, struct amb_error *err) {
    char path[4096];
    int r;

    if (!amb_store_path(path, store->dir, "..")) {
        return amb_fail(err, -ENAMETOOLONG, "store: path too long: %s", store->dir);
    }
    r = amb_io_sync_dir(store->io, path);
    return r < 0 ? amb_fail(err, r, "store: cannot sync the folder of %s: %s", store->dir, strerror(-r)) : 0;
}

/* The first manifest. Without one a folder with files of a store is none that we may begin anew. */
static int store_begin(struct amb_store *store, struct amb_error *err) {
    const struct amb_io *io = store->io;
    uint64_t n_files = 0;
    bool is_moved;
    int r = store_sync_name(store, err);

    if (r < 0) {
        return r;
    }
    r = io->list(io->opaque, store->dir, store_on_name, &n_files);

    if (r < 0) {
        return amb_fail(err, r, "store: cannot list %s: %s", store->dir, strerror(-r));
    }
    if (n_files != 0) {
        return amb_fail(err, AMB_ERR_FORMAT, "store: %s has %" PRIu64 " files of a store but no " AMB_MANIFEST_NAME
                        "; " AMB_STORE_ADVICE, store->dir, n_files);
    }
    store->manifest = (struct amb_manifest){.first_segment = 1, .next_sequence = 1};
    r = io->random(io->opaque, store->manifest.store_id, sizeof store->manifest.store_id);
    if (r < 0) {
        return amb_fail(err, r, "store: no random numbers: %s", strerror(-r));
    }
    return amb_manifest_store(&is_moved, &store->manifest, io, store->dir, err);
}

/* Left behind by a crash: a table that no manifest names, segments that a table has replaced. */
static int sweep_on_name(void *arg, const char *name) {
    const struct amb_store *store = arg;
    uint64_t table = amb_store_number(name, "table"), segment = amb_store_number(name, "journal");
    char path[4096];

    if (segment != 0 && segment < store->manifest.first_segment) {
        amb_store_retire(store, "journal", segment, amb_segment_is_damaged(store, segment));
    } else if (table != 0 && table != store->manifest.table && amb_store_path(path, store->dir, name)) {
        store->io->unlink(store->io->opaque, path); /* if not, the next opening tries again */
    }
    return 0;
}

/* A reader takes no lock: did compaction replace what it was reading? */
static int store_check_overtaken(const struct amb_store *store, struct amb_error *err) {
    struct amb_manifest now;
    int64_t damage;
    int r = amb_manifest_load(&now, &damage, store->io, store->dir, err);

    if (r == 0 && (now.table != store->manifest.table || now.first_segment != store->manifest.first_segment)) {
        r = amb_fail(err, -ENOENT, "store: %s was compacted again and again while it was opened", store->dir);
    }
    return r;
}

static int store_load(struct amb_store *store, struct amb_error *err) {
    struct amb_error first = AMB_ERROR_NULL;
    int64_t damage = -1;
    int r = amb_manifest_load(&store->manifest, &damage, store->io, store->dir, &first);

    if (r == -ENOENT && !store->is_read_only) {
        r = store_begin(store, err);
    } else if (r < 0 && err != NULL) {
        *err = first;
    }
    if (r < 0) {
        return r;
    }
    if (damage >= 0) {
        amb_store_note(store, AMB_MANIFEST_NAME, (uint64_t)damage, "one of two copies is damaged");
    }
    if (!store->is_read_only) { /* names too may be in memory only, behind a sync that failed; some are removed below */
        r = amb_io_sync_dir(store->io, store->dir);
        if (r < 0) {
            return amb_fail(err, r, "store: cannot sync %s: %s", store->dir, strerror(-r));
        }
    }
    amb_journal_init(&store->journal, store->io, store->dir, store->manifest.store_id, store->journal.segment_bytes);
    if (store->manifest.table != 0) {
        r = amb_table_open(&store->table, store, &store->manifest, err);
    }
    if (r == 0) {
        r = amb_store_replay(store, err);
    }
    return r == 0 && store->is_read_only ? store_check_overtaken(store, err) : r;
}

static int store_open(struct amb_store **out, const char *dir, const struct amb_store_options *options,
                      struct amb_error *err) {
    AMB_CLEANUP(store_freep) struct amb_store *store = NULL;
    int r = store_new(&store, dir, options, err);

    if (r == 0 && !store->is_read_only) {
        r = store_lock(store, err);
    }
    if (r == 0) {
        r = store_load(store, err);
    }
    if (r < 0) {
        return r;
    }
    if (!store->is_read_only) {
        store->io->list(store->io->opaque, store->dir, sweep_on_name, store);
    }
    *out = amb_steal_ptr(store);
    return 0;
}

int amb_store_open(struct amb_store **out, const char *dir, const struct amb_store_options *options,
                   struct amb_store_report *report, struct amb_error *err) {
    const bool is_read_only = options != NULL && options->read_only;
    int r = store_open(out, dir, options, err);

    /* what the manifest named may be gone already: it names something else by then */
    for (int i = 1; is_read_only && i < STORE_OPEN_TRIES && r == -ENOENT; i++) {
        r = store_open(out, dir, options, err);
    }
    if (r == 0 && report != NULL) {
        amb_store_get_report(report, *out);
    }
    return r;
}

void amb_store_get_report(struct amb_store_report *report, const struct amb_store *store) {
    *report = *store->report;
    report->n_records = store->table.rows.n_entries + store->recent.n_entries;
    report->n_generations = store->history.n_minted;
    report->table_bytes = store->table.map_bytes;
    report->journal_bytes = amb_journal_bytes(&store->journal);
}

/* Full records, as many as it takes. */
static int store_push_rows(struct amb_store *store, struct amb_store_record *records, size_t n) {
    for (size_t i = 0; i < n;) {
        const size_t n_rows = n - i < STORE_ROWS_MAX ? n - i : STORE_ROWS_MAX;
        uint64_t sequence;
        uint8_t *payload = amb_journal_push(&sequence, &store->journal, AMB_RECORD_ROWS,
                                            (uint32_t)(n_rows * AMB_ROW_BYTES), (uint32_t)n_rows);

        if (payload == NULL) {
            return -ENOMEM;
        }
        for (size_t end = i + n_rows; i < end; i++, payload += AMB_ROW_BYTES) {
            records[i].sequence = sequence++;
            amb_row_encode(payload, &records[i]);
        }
    }
    return 0;
}

int amb_store_put(struct amb_store *store, struct amb_store_record *records, size_t n, struct amb_error *err) {
    struct amb_location where;
    int r = amb_journal_check_room(&store->journal, n, err);

    assert(!store->is_read_only);
    if (n == 0 || r < 0) {
        return r < 0 ? r : amb_journal_check(&store->journal, err);
    }
    if (amb_recent_reserve(&store->recent, n) < 0 || store_push_rows(store, records, n) < 0) {
        amb_journal_drop(&store->journal);
        return amb_fail(err, -ENOMEM, "store %s: out of memory for %zu records", store->dir, n);
    }
    r = amb_journal_flush(&where, &store->journal, err);
    for (size_t i = 0; r == 0 && i < n; i++) {
        uint8_t row[AMB_ROW_BYTES];

        amb_row_encode(row, &records[i]);
        amb_recent_put(&store->recent, row);
    }
    return r;
}

int amb_store_put_model(uint16_t *out, struct amb_store *store, const char sha256[65], struct amb_error *err) {
    uint16_t number = amb_models_find(&store->models, sha256);
    struct amb_location where;
    uint64_t sequence;
    uint8_t *payload;
    int r;

    if (number != 0) {
        *out = number;
        return 0;
    }
    assert(!store->is_read_only && strlen(sha256) == AMB_STORE_MODEL_BYTES);
    if (store->models.n_models == UINT16_MAX) {
        return amb_fail(err, AMB_ERR_LIMIT, "store %s: %u models are recorded, allowed: %u", store->dir, UINT16_MAX,
                        UINT16_MAX);
    }
    number = (uint16_t)(store->models.n_models + 1);
    payload = amb_models_reserve(&store->models, number) < 0
                  ? NULL
                  : amb_journal_push(&sequence, &store->journal, AMB_RECORD_MODEL, 2 + AMB_STORE_MODEL_BYTES, 1);
    if (payload == NULL) {
        return amb_fail(err, -ENOMEM, "store %s: out of memory", store->dir);
    }
    ambp_store_u16le(payload, number);
    memcpy(payload + 2, sha256, AMB_STORE_MODEL_BYTES);
    r = amb_journal_flush(&where, &store->journal, err);
    if (r == 0) {
        amb_models_put(&store->models, number, sha256);
        *out = number;
    }
    return r;
}

const char *amb_store_peek_model(const struct amb_store *store, uint16_t model) {
    const char *name = model == 0 || model > store->models.n_models ? "" : store->models.names[model - 1];

    return name[0] != '\0' ? name : NULL;
}

uint32_t amb_store_count_models(const struct amb_store *store) {
    return store->models.n_models;
}

int amb_store_put_text(struct amb_store *store, const char *name, const char *text, size_t bytes,
                       struct amb_error *err) {
    const size_t name_bytes = strlen(name);
    struct amb_location where;
    uint64_t sequence;
    uint8_t *payload;
    int r;

    if (name_bytes == 0 || name_bytes > AMB_STORE_NAME_MAX || bytes > AMB_STORE_TEXT_MAX) {
        return amb_fail(err, AMB_ERR_LIMIT, "store %s: a text of %zu bytes under a name of %zu, allowed: %u and 1 to %u",
                        store->dir, bytes, name_bytes, AMB_STORE_TEXT_MAX, AMB_STORE_NAME_MAX);
    }
    assert(!store->is_read_only);
    payload = amb_journal_push(&sequence, &store->journal, AMB_RECORD_TEXT, (uint32_t)(1 + name_bytes + bytes), 1);
    if (payload == NULL) {
        return amb_fail(err, -ENOMEM, "store %s: out of memory", store->dir);
    }
    payload[0] = (uint8_t)name_bytes;
    memcpy(payload + 1, name, name_bytes);
    if (bytes != 0) {
        memcpy(payload + 1 + name_bytes, text, bytes);
    }
    r = amb_journal_flush(&where, &store->journal, err);
    if (r == 0 && amb_texts_put(&store->texts, name, name_bytes, text, bytes) < 0) {
        /* written, but not in memory: what is served would not be what is stored */
        r = amb_journal_poison(&store->journal, -ENOMEM, err, "a text was written but does not fit into memory");
    }
    return r;
}

const char *amb_store_peek_text(size_t *bytes, const struct amb_store *store, const char *name) {
    const struct amb_text *text = amb_texts_peek(&store->texts, name);

    *bytes = text != NULL ? text->bytes : 0;
    return text != NULL ? text->text : NULL;
}

const char *amb_store_next_text(const struct amb_store *store, const char *after) {
    const struct amb_text *text = amb_texts_next(&store->texts, after);

    return text != NULL ? text->name : NULL;
}

int amb_store_commit(struct amb_store *store, struct amb_error *err) {
    return amb_journal_commit(&store->journal, err);
}

bool amb_store_is_dirty(const struct amb_store *store) {
    return store->journal.is_dirty;
}

bool amb_store_wants_compaction(const struct amb_store *store) {
    uint64_t limit = store->table.map_bytes / 4;

    limit = limit < STORE_COMPACT_BYTES ? limit : STORE_COMPACT_BYTES;
    limit = limit > store->journal.segment_bytes ? limit : store->journal.segment_bytes;
    limit = limit > store->compact_bytes ? limit : store->compact_bytes;
    return store->journal.poison == 0 && amb_journal_bytes(&store->journal) >= limit;
}

static void get_add(struct amb_store_record out[AMB_ORIGIN_N], size_t *n, const uint8_t *row) {
    struct amb_store_record record;
    size_t i = *n;

    if (!amb_row_decode(&record, row)) {
        return; /* its checksum fits: written by nobody of this version */
    }
    for (size_t k = 0; k < *n; k++) {
        if (out[k].origin == record.origin) {
            return; /* memory came first, and hides the table */
        }
    }
    if (*n == AMB_ORIGIN_N) {
        return;
    }
    /* a damaged store may have a sequence twice: the order stays the same through compaction */
    for (; i > 0 && (out[i - 1].sequence > record.sequence ||
                     (out[i - 1].sequence == record.sequence && out[i - 1].origin > record.origin));
         i--) {
        out[i] = out[i - 1];
    }
    out[i] = record;
    ++*n;
}

void amb_store_get(struct amb_store_record out[AMB_ORIGIN_N], size_t *n, const struct amb_store *store,
                   const struct amb_hash128 *uid, uint32_t version) {
    uint8_t rows[AMB_ORIGIN_N * AMB_ROW_BYTES];
    const uint8_t *recent[AMB_ORIGIN_N];
    const size_t n_recent = amb_recent_find(recent, AMB_ORIGIN_N, &store->recent, uid->bytes, version);
    uint64_t i_damaged;
    uint32_t n_rows;

    *n = 0;
    for (size_t i = 0; i < n_recent; i++) {
        get_add(out, n, recent[i]);
    }
    n_rows = amb_blocks_find(rows, AMB_ORIGIN_N, &i_damaged, &store->table.rows, uid->bytes, version);
    if (i_damaged != UINT64_MAX) {
        amb_table_note(store, false, i_damaged);
    }
    for (uint32_t i = 0; i < n_rows; i++) {
        get_add(out, n, rows + (size_t)i * AMB_ROW_BYTES);
    }
}

static int walk_table(const struct amb_store *store, int (*visit)(void *opaque, const struct amb_store_record *record),
                      void *opaque) {
    struct amb_blocks_cursor cursor;
    struct amb_store_record record;
    const uint8_t *row;
    uint64_t n_damaged = 0;
    int r = 0;

    amb_blocks_cursor_init(&cursor, &store->table.rows);
    while (r == 0) {
        row = amb_blocks_cursor_next(&cursor);
        if (cursor.n_damaged != n_damaged) {
            n_damaged = cursor.n_damaged;
            amb_table_note(store, false, cursor.i_damaged);
        }
        if (row == NULL) {
            break;
        }
        if (store->recent.n_entries != 0) {
            struct amb_key key = amb_key_load(row, AMB_ROW_BYTES, true);

            if (amb_recent_peek(&store->recent, &key) != NULL) {
                continue;
            }
        }
        if (amb_row_decode(&record, row)) {
            r = visit(opaque, &record);
        }
    }
    return r;
}

int amb_store_walk(const struct amb_store *store, int (*visit)(void *opaque, const struct amb_store_record *record),
                   void *opaque) {
    int r = 0;

    for (size_t i = 0; r == 0 && i < store->recent.n_entries; i++) {
        struct amb_store_record record;

        if (amb_row_decode(&record, store->recent.entries + i * AMB_ROW_BYTES)) {
            r = visit(opaque, &record);
        }
    }
    return r != 0 ? r : walk_table(store, visit, opaque);
}

uint64_t amb_store_last_sequence(const struct amb_store *store) {
    return store->journal.next_sequence + store->journal.n_batch - 1;
}
