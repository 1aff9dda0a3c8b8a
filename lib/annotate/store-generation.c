/*
 * Generations: what was minted, and the way back.
 *
 * A generation's record follows the undo records that lead from it to the one before of the same dataset; a crash in
 * between leaves undo records that nothing names, and they are passed over. So whatever generation is recorded can be
 * left backwards, one by one, as far as compaction has kept them; the fingerprint says whether the way was right.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "annotate/store-private.h"
#include "annotate/store-undo.h"
#include "base/alloc.h"
#include "base/cleanup.h"

void amb_history_deinit(struct amb_store_history *history) {
    for (size_t i = 0; i < history->n_minted; i++) {
        amb_free(history->minted[i].chunks);
    }
    amb_free(history->minted);
    amb_free(history->pending);
    *history = (struct amb_store_history){0};
}

int amb_history_push_undo(struct amb_store_history *history, const struct amb_scan_record *record,
                          const struct amb_location *where) {
    struct amb_location *grown;
    uint64_t number;
    uint32_t i_chunk;

    if (record->payload_bytes < AMB_UNDO_HEAD_BYTES) {
        return AMB_ERR_FORMAT;
    }
    number = ambp_load_u64le(record->payload);
    i_chunk = ambp_load_u32le(record->payload + 8);
    if (i_chunk == 0) {
        history->n_pending = 0;
        history->pending_number = number;
    }
    if (number != history->pending_number || i_chunk != history->n_pending) {
        history->n_pending = 0; /* the one before was lost: no way back through it */
        history->pending_number = 0;
        return 0;
    }
    grown = amb_realloc(history->pending, (i_chunk + 1) * sizeof *grown);
    if (grown == NULL) {
        return -ENOMEM;
    }
    history->pending = grown;
    grown[history->n_pending++] = *where;
    return 0;
}

void amb_generation_encode(uint8_t payload[AMB_GENERATION_HEAD_BYTES], const struct amb_store_minted *minted) {
    const struct amb_store_generation *generation = &minted->generation;

    memset(payload, 0, AMB_GENERATION_HEAD_BYTES);
    ambp_store_u64le(payload, generation->number);
    memcpy(payload + 8, generation->dataset.bytes, 16);
    memcpy(payload + 24, generation->annotations.bytes, 16);
    ambp_store_u64le(payload + 40, generation->last_sequence);
    ambp_store_u64le(payload + 48, generation->unix_ns);
    ambp_store_u32le(payload + 56, generation->n_samples);
    ambp_store_u32le(payload + 60, minted->n_chunks);
    ambp_store_u64le(payload + 64, generation->n_changed);
    payload[72] = minted->has_before ? AMB_GENERATION_HAS_BEFORE : 0;
}

static void generation_decode(struct amb_store_minted *out, const uint8_t payload[AMB_GENERATION_HEAD_BYTES]) {
    *out = (struct amb_store_minted){
        .generation =
            {
                .number = ambp_load_u64le(payload),
                .last_sequence = ambp_load_u64le(payload + 40),
                .unix_ns = ambp_load_u64le(payload + 48),
                .n_samples = ambp_load_u32le(payload + 56),
                .n_changed = ambp_load_u64le(payload + 64),
            },
        .has_before = (payload[72] & AMB_GENERATION_HAS_BEFORE) != 0,
        .n_chunks = ambp_load_u32le(payload + 60),
    };
    memcpy(out->generation.dataset.bytes, payload + 8, 16);
    memcpy(out->generation.annotations.bytes, payload + 24, 16);
}

static int history_grow(struct amb_store_history *history) {
    struct amb_store_minted *grown = amb_realloc(history->minted, (history->n_minted + 1) * sizeof *grown);

    if (grown == NULL) {
        return -ENOMEM;
    }
    history->minted = grown;
    return 0;
}

/* The undo records that came before are its own, if all are there. */
static void history_adopt(struct amb_store_history *history, struct amb_store_minted *minted) {
    if (minted->n_chunks == 0) {
        return;
    }
    if (history->pending_number != minted->generation.number || history->n_pending != minted->n_chunks) {
        minted->has_before = false;
        minted->n_chunks = 0;
        return;
    }
    minted->chunks = amb_steal_ptr(history->pending);
    history->n_pending = 0;
    history->pending_number = 0;
}

int amb_history_push(struct amb_store_history *history, const uint8_t *payload, uint32_t payload_bytes) {
    const bool is_listed = payload_bytes > AMB_GENERATION_HEAD_BYTES;
    struct amb_store_minted minted;

    if (payload_bytes < AMB_GENERATION_HEAD_BYTES) {
        return AMB_ERR_FORMAT;
    }
    generation_decode(&minted, payload);
    if (is_listed && payload_bytes - AMB_GENERATION_HEAD_BYTES != AMB_GENERATION_CHUNK_BYTES * (uint64_t)minted.n_chunks) {
        return AMB_ERR_FORMAT;
    }
    if (history_grow(history) < 0) {
        return -ENOMEM;
    }
    if (is_listed) {
        minted.chunks = amb_malloc(minted.n_chunks * sizeof *minted.chunks);
        if (minted.chunks == NULL) {
            return -ENOMEM;
        }
        for (uint32_t i = 0; i < minted.n_chunks; i++) {
            const uint8_t *p = payload + AMB_GENERATION_HEAD_BYTES + (size_t)i * AMB_GENERATION_CHUNK_BYTES;

            minted.chunks[i] = (struct amb_location){0, ambp_load_u64le(p), ambp_load_u32le(p + 8)};
        }
    } else {
        history_adopt(history, &minted);
    }
    history->minted[history->n_minted++] = minted;
    return 0;
}

/* One record; where it lies goes to the pending ones. */
static int generation_put_undo(struct amb_store *store, const struct amb_buf *payload, const struct amb_undo_head *head,
                               struct amb_error *err) {
    struct amb_scan_record record = {.type = AMB_RECORD_UNDO, .payload = payload->data};
    struct amb_location where;
    uint8_t *p;
    int r;

    if (payload->n_bytes > AMB_RECORD_PAYLOAD_MAX) {
        return amb_fail(err, AMB_ERR_LIMIT, "store %s: %u changed values take %zu bytes, allowed in a record: %u",
                        store->dir, head->n_entries, payload->n_bytes, AMB_RECORD_PAYLOAD_MAX);
    }
    record.payload_bytes = (uint32_t)payload->n_bytes;
    p = amb_journal_push(&record.sequence, &store->journal, AMB_RECORD_UNDO, record.payload_bytes, 1);
    if (p == NULL) {
        return amb_fail(err, -ENOMEM, "store %s: out of memory", store->dir);
    }
    memcpy(p, payload->data, payload->n_bytes);
    r = amb_journal_flush(&where, &store->journal, err);
    if (r == 0 && amb_history_push_undo(&store->history, &record, &where) < 0) {
        r = amb_fail(err, -ENOMEM, "store %s: out of memory", store->dir);
    }
    return r;
}

static int generation_put_undos(struct amb_store *store, struct amb_store_minted *minted,
                                const struct amb_annotation *before, const struct amb_annotation *after,
                                struct amb_error *err) {
    AMB_CLEANUP(amb_buf_deinit) struct amb_buf payload = AMB_BUF_NULL;
    struct amb_undo_head head = {.number = minted->generation.number};

    minted->generation.n_changed = 0;
    for (uint32_t i_sample = 0; before != NULL && i_sample < minted->generation.n_samples; head.i_chunk++) {
        int r = amb_undo_encode(&payload, &head, &i_sample, before, after, minted->generation.n_samples);

        if (r < 0) {
            return amb_fail(err, r, "store %s: out of memory", store->dir);
        }
        if (head.n_entries == 0) {
            break;
        }
        r = generation_put_undo(store, &payload, &head, err);
        if (r < 0) {
            return r;
        }
        minted->generation.n_changed += head.n_entries;
    }
    minted->n_chunks = head.i_chunk;
    return 0;
}

int amb_store_put_generation(struct amb_store *store, const struct amb_store_generation *generation,
                             const struct amb_annotation *before, const struct amb_annotation *after,
                             struct amb_error *err) {
    struct amb_store_minted minted = {.generation = *generation, .has_before = before != NULL};
    struct amb_location where;
    uint64_t sequence;
    uint8_t *payload;
    int r;

    assert(!store->is_read_only);
    r = generation_put_undos(store, &minted, before, after, err);
    if (r < 0) {
        return r;
    }
    if (before == NULL) {
        minted.generation.n_changed = generation->n_changed;
    }
    payload = amb_journal_push(&sequence, &store->journal, AMB_RECORD_GENERATION, AMB_GENERATION_HEAD_BYTES, 1);
    if (payload == NULL || history_grow(&store->history) < 0) {
        amb_journal_drop(&store->journal);
        return amb_fail(err, -ENOMEM, "store %s: out of memory", store->dir);
    }
    amb_generation_encode(payload, &minted);
    r = amb_journal_flush(&where, &store->journal, err);
    if (r < 0) {
        return r;
    }
    history_adopt(&store->history, &minted);
    store->history.minted[store->history.n_minted++] = minted;
    return amb_store_commit(store, err);
}

size_t amb_store_count_generations(const struct amb_store *store) {
    return store->history.n_minted;
}

const struct amb_store_generation *amb_store_peek_generation(const struct amb_store *store, size_t i) {
    assert(i < store->history.n_minted);
    return &store->history.minted[i].generation;
}

static int generation_undo(struct amb_annotation *values, uint32_t n_samples, const struct amb_store *store,
                           const struct amb_store_minted *minted, struct amb_error *err) {
    AMB_CLEANUP(amb_buf_deinit) struct amb_buf buf = AMB_BUF_NULL;
    struct amb_undo_head head = {.number = minted->generation.number};

    for (; head.i_chunk < minted->n_chunks; head.i_chunk++) {
        const struct amb_location *where = &minted->chunks[head.i_chunk];
        const uint8_t *payload;
        int r = amb_store_read(&payload, &buf, store, AMB_RECORD_UNDO, where);

        if (r == 0) {
            r = amb_undo_apply(values, n_samples, &head, payload, where->bytes - AMB_RECORD_HEADER_BYTES);
        }
        if (r == AMB_ERR_FORMAT) {
            r = AMB_ERR_CHECKSUM;
        }
        if (r < 0) {
            return amb_fail(err, r, "store %s: what generation %" PRIu64 " replaced cannot be read (%s)", store->dir,
                            minted->generation.number, amb_error_name(r));
        }
    }
    return 0;
}

/* *i: from *i down, the next of this dataset; false: none. */
static bool history_find(size_t *i, const struct amb_store_history *history, const struct amb_hash128 *dataset) {
    while (*i > 0) {
        --*i;
        if (amb_hash128_equal(&history->minted[*i].generation.dataset, dataset)) {
            return true;
        }
    }
    return false;
}

static int generation_check(const struct amb_annotation *values, uint32_t n_samples, const struct amb_store *store,
                            const struct amb_store_minted *minted, struct amb_error *err) {
    struct amb_hash128 fingerprint;

    if (amb_annotations_fingerprint(&fingerprint, values, n_samples) < 0) {
        return amb_fail(err, -ENOMEM, "store %s: out of memory", store->dir);
    }
    if (!amb_hash128_equal(&fingerprint, &minted->generation.annotations)) {
        return amb_fail(err, AMB_ERR_CHECKSUM,
                        "store %s: the values rebuilt for generation %" PRIu64 " have another fingerprint", store->dir,
                        minted->generation.number);
    }
    return 0;
}

int amb_store_rebuild(struct amb_annotation *values, uint32_t n_samples, const struct amb_store *store,
                      const struct amb_hash128 *dataset, const struct amb_hash128 *annotations,
                      struct amb_error *err) {
    const struct amb_store_history *history = &store->history;
    char asked[AMB_HASH128_TEXT_BYTES];
    size_t i = history->n_minted;
    int r;

    if (!history_find(&i, history, dataset)) {
        return amb_fail(err, AMB_ERR_NOT_FOUND, "store %s: no generation of this dataset is recorded", store->dir);
    }
    for (;;) {
        const struct amb_store_minted *minted = &history->minted[i];

        if (minted->generation.n_samples != n_samples) {
            return amb_fail(err, AMB_ERR_NOT_FOUND, "store %s: generation %" PRIu64 " has %u samples, given are %u",
                            store->dir, minted->generation.number, minted->generation.n_samples, n_samples);
        }
        if (amb_hash128_equal(&minted->generation.annotations, annotations)) {
            return generation_check(values, n_samples, store, minted, err);
        }
        if (!minted->has_before || !history_find(&i, history, dataset)) {
            amb_hash128_text(asked, annotations);
            return amb_fail(err, AMB_ERR_NOT_FOUND,
                            "store %s: annotations %s are gone; what was before generation %" PRIu64 " is not kept",
                            store->dir, asked, minted->generation.number);
        }
        r = generation_undo(values, n_samples, store, minted, err);
        if (r < 0) {
            return r;
        }
    }
}
