/*
 * Row: fixed fields, little-endian. A sample that was given up has no sigmas, so its code lies in their place.
 */
#include "annotate/store-row.h"

#include <assert.h>
#include <math.h>

void amb_row_encode(uint8_t row[AMB_ROW_BYTES], const struct amb_store_record *record) {
    uint32_t n_evaluations = record->n_evaluations;

    assert(record->origin > AMB_ORIGIN_DEFAULT && record->origin < AMB_ORIGIN_N);
    assert(record->sides <= AMB_SIDE_BOTH && record->sequence <= AMB_STORE_SEQUENCE_MAX);
    if (n_evaluations > AMB_ROW_EVALUATIONS_MAX) {
        n_evaluations = AMB_ROW_EVALUATIONS_MAX;
    }
    memset(row, 0, AMB_ROW_BYTES);
    memcpy(row, record->uid.bytes, 16);
    ambp_store_u32le(row + 16, record->version);
    if (record->sides == 0) {
        ambp_store_u32le(row + 20, (uint32_t)(int32_t)record->code);
    }
    if ((record->sides & AMB_SIDE_MIN) != 0) {
        assert(record->sigma_min >= 0); /* NaN fails too */
        amb_store_f32le(row + 20, record->sigma_min);
    }
    if ((record->sides & AMB_SIDE_MAX) != 0) {
        assert(record->sigma_max >= 0);
        amb_store_f32le(row + 24, record->sigma_max);
    }
    amb_store_f32le(row + 28, record->lo);
    amb_store_f32le(row + 32, record->hi);
    amb_store_u40le(row + 36, record->sequence);
    ambp_store_u16le(row + 41, record->model);
    ambp_store_u16le(row + 43, (uint16_t)n_evaluations);
    row[45] = (uint8_t)(n_evaluations >> 16);
    row[46] = (uint8_t)((unsigned)record->origin | record->sides << 4);
}

bool amb_row_decode(struct amb_store_record *out, const uint8_t row[AMB_ROW_BYTES]) {
    unsigned origin = row[46] & 15u, sides = row[46] >> 4;

    if (origin == AMB_ORIGIN_DEFAULT || origin >= AMB_ORIGIN_N || sides > AMB_SIDE_BOTH) {
        return false;
    }
    *out = (struct amb_store_record){
        .version = ambp_load_u32le(row + 16),
        .origin = (enum amb_origin)origin,
        .sides = sides,
        .lo = amb_load_f32le(row + 28),
        .hi = amb_load_f32le(row + 32),
        .n_evaluations = ambp_load_u16le(row + 43) | (uint32_t)row[45] << 16,
        .model = ambp_load_u16le(row + 41),
        .sequence = amb_load_u40le(row + 36),
    };
    memcpy(out->uid.bytes, row, 16);
    if (sides == 0) {
        out->code = (int16_t)(uint16_t)ambp_load_u32le(row + 20);
        return true;
    }
    if ((sides & AMB_SIDE_MIN) != 0) {
        out->sigma_min = amb_load_f32le(row + 20);
    }
    if ((sides & AMB_SIDE_MAX) != 0) {
        out->sigma_max = amb_load_f32le(row + 24);
    }
    return out->sigma_min >= 0 && out->sigma_max >= 0; /* NaN fails too */
}
