/*
 * Apply: what a record of the journal, or of a table's meta, changes in memory.
 */
#include <errno.h>
#include <string.h>

#include "annotate/store-private.h"
#include "annotate/store-row.h"

static int apply_rows(struct amb_store *store, const struct amb_scan_record *record) {
    uint32_t n = record->payload_bytes / AMB_ROW_BYTES;
    struct amb_store_record row;
    uint16_t model = 0;

    if (n == 0 || record->payload_bytes % AMB_ROW_BYTES != 0) {
        return AMB_ERR_FORMAT;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (!amb_row_decode(&row, record->payload + (size_t)i * AMB_ROW_BYTES) || row.sequence != record->sequence + i) {
            return AMB_ERR_FORMAT;
        }
        model = row.model > model ? row.model : model;
    }
    /* a model's record may be lost, and then its number must not come to mean another */
    if (amb_models_skip(&store->models, model) < 0 || amb_recent_reserve(&store->recent, n) < 0) {
        return -ENOMEM;
    }
    amb_recent_put_all(&store->recent, record->payload, n);
    return 0;
}

static int apply_curve(struct amb_store *store, const struct amb_scan_record *record, uint64_t segment) {
    uint8_t entry[AMB_RECENT_CURVE_BYTES];

    if (record->payload_bytes < AMB_CURVE_HEAD_BYTES ||
        record->payload_bytes != AMB_CURVE_HEAD_BYTES + 8 * (uint64_t)ambp_load_u32le(record->payload + 20)) {
        return AMB_ERR_FORMAT;
    }
    if (amb_recent_reserve(&store->recent_curves, 1) < 0) {
        return -ENOMEM;
    }
    memcpy(entry, record->payload, 20);
    ambp_store_u64le(entry + 20, segment);
    ambp_store_u64le(entry + 28, record->offset);
    ambp_store_u32le(entry + 36, AMB_RECORD_HEADER_BYTES + record->payload_bytes);
    amb_recent_put(&store->recent_curves, entry);
    return 0;
}

static int apply_model(struct amb_store *store, const struct amb_scan_record *record) {
    uint16_t number;

    if (record->payload_bytes != 2 + AMB_STORE_MODEL_BYTES || ambp_load_u16le(record->payload) == 0) {
        return AMB_ERR_FORMAT;
    }
    number = ambp_load_u16le(record->payload);
    if (memcmp(record->payload + 2, AMB_STORE_MODEL_LOST, AMB_STORE_MODEL_BYTES) == 0) {
        return amb_models_skip(&store->models, number);
    }
    if (amb_models_reserve(&store->models, number) < 0) {
        return -ENOMEM;
    }
    amb_models_put(&store->models, number, (const char *)record->payload + 2);
    return 0;
}

static int apply_text(struct amb_store *store, const struct amb_scan_record *record) {
    const uint8_t *p = record->payload;
    size_t name_bytes = record->payload_bytes != 0 ? p[0] : 0;

    if (name_bytes == 0 || name_bytes > AMB_STORE_NAME_MAX || record->payload_bytes < 1 + name_bytes ||
        memchr(p + 1, 0, name_bytes) != NULL || record->payload_bytes > 1 + name_bytes + AMB_STORE_TEXT_MAX) {
        return AMB_ERR_FORMAT;
    }
    return amb_texts_put(&store->texts, (const char *)p + 1, name_bytes, (const char *)p + 1 + name_bytes,
                         record->payload_bytes - 1 - name_bytes);
}

int amb_store_apply(struct amb_store *store, const struct amb_scan_record *record, uint64_t segment) {
    const struct amb_location where = {segment, record->offset, AMB_RECORD_HEADER_BYTES + record->payload_bytes};

    switch (record->type) {
    case AMB_RECORD_ROWS:
        return apply_rows(store, record);
    case AMB_RECORD_CURVE:
        return apply_curve(store, record, segment);
    case AMB_RECORD_MODEL:
        return apply_model(store, record);
    case AMB_RECORD_TEXT:
        return apply_text(store, record);
    case AMB_RECORD_GENERATION:
        return amb_history_push(&store->history, record->payload, record->payload_bytes);
    case AMB_RECORD_UNDO:
        return amb_history_push_undo(&store->history, record, &where);
    default:
        return record->payload_bytes == 0 ? 0 : AMB_ERR_FORMAT; /* a mark */
    }
}
