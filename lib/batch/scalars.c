/*
 * Scalars: the small fields of a row. All of them follow from the draw and the catalog; none reads
 * the picture.
 *
 * A row that could not be read in `sequential` (replaced = 2) keeps what names the sample and its level, and
 * says nothing about its content: labels -1 (vectors zero) and weight 0, so that it counts in no loss.
 */
#include "batch/row.h"

#include <assert.h>
#include <string.h>

#include "base/size.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "slots are little-endian; numbers are stored as they lie");

void amb_row_store_length(const struct amb_row *row, const struct amb_layout_field *field, int64_t length) {
    memcpy(row->slot + field->offset + sizeof length * row->i_row, &length, sizeof length);
}

void amb_row_store_bytes(const struct amb_row *row, const struct amb_layout_field *field, const void *data,
                         size_t n_bytes) {
    uint8_t *out = amb_row_get(row, field);
    size_t n = amb_size_min(n_bytes, field->row_bytes);

    if (n != 0) {
        memcpy(out, data, n);
    }
    memset(out + n, 0, field->row_bytes - n);
}

static void scalars_store_real(const struct amb_row *row, const struct amb_layout_field *field,
                               double value) {
    float rounded = (float)value; /* computed in f64, rounded once */

    if (field->dtype == AMB_DTYPE_F64) {
        memcpy(amb_row_get(row, field), &value, sizeof value);
    } else {
        memcpy(amb_row_get(row, field), &rounded, sizeof rounded);
    }
}

static void scalars_store_i64(const struct amb_row *row, const struct amb_layout_field *field,
                              int64_t value) {
    memcpy(amb_row_get(row, field), &value, sizeof value);
}

static bool row_readable(const struct amb_row *row) {
    return row->draw->replaced != AMB_REPLACED_UNREADABLE;
}

static double row_weight(const struct amb_row *row) {
    const struct amb_fill_stream *stream = row->stream;

    if (!row_readable(row)) {
        return 0;
    }
    return amb_weight_get(stream->weight, stream->options.process, row->step.s, row->step.s_n);
}

static void scalars_store_label(const struct amb_row *row, const struct amb_layout_field *field) {
    const struct amb_layout *layout = row->stream->layout;

    if (layout->shape.label_width == 0) {
        scalars_store_i64(row, field, row_readable(row) ? row->info.label : AMB_LABEL_NONE);
    } else if (row_readable(row)) {
        amb_catalog_get_label((float *)(void *)amb_row_get(row, field), row->stream->dataset->catalog,
                              row->draw->i_sample);
    } else {
        memset(amb_row_get(row, field), 0, field->row_bytes);
    }
}

static void scalars_store_seeds(const struct amb_row *row, const struct amb_layout_field *field) {
    const uint64_t seeds[4] = {amb_hash_uid_version(&row->uid, 0), row->draw->counter, row->draw->flip, 0};

    memcpy(amb_row_get(row, field), seeds, sizeof seeds);
}

static void scalars_store(const struct amb_row *row, const struct amb_layout_field *field) {
    const struct amb_draw *draw = row->draw;

    switch (field->field) {
    case AMB_FIELD_SIGMA_T:
        scalars_store_real(row, field, row->step.t);
        break;
    case AMB_FIELD_SIGMA_TN:
        scalars_store_real(row, field, row->step.tn);
        break;
    case AMB_FIELD_S_T:
        scalars_store_real(row, field, row->step.s);
        break;
    case AMB_FIELD_S_TN:
        scalars_store_real(row, field, row->step.s_n);
        break;
    case AMB_FIELD_SIGMA_MIN:
        scalars_store_real(row, field, (double)draw->sigma_min);
        break;
    case AMB_FIELD_SIGMA_MAX:
        scalars_store_real(row, field, (double)draw->sigma_max);
        break;
    case AMB_FIELD_WEIGHT:
        scalars_store_real(row, field, row_weight(row));
        break;
    case AMB_FIELD_LABEL:
        scalars_store_label(row, field);
        break;
    case AMB_FIELD_INDEX:
        scalars_store_i64(row, field, draw->i_sample);
        break;
    case AMB_FIELD_UID:
        memcpy(amb_row_get(row, field), row->uid.bytes, sizeof row->uid.bytes);
        break;
    case AMB_FIELD_KEY:
        amb_row_store_length(row, field, (int64_t)row->info.key_bytes);
        amb_row_store_bytes(row, field, row->info.key, row->info.key_bytes);
        break;
    case AMB_FIELD_CORRUPTION_LABEL:
        scalars_store_i64(row, field, row_readable(row) ? row->info.corruption_label : AMB_LABEL_NONE);
        break;
    case AMB_FIELD_REPLACED:
        *amb_row_get(row, field) = draw->replaced;
        break;
    case AMB_FIELD_SEEDS:
        scalars_store_seeds(row, field);
        break;
    case AMB_FIELD_X_T:
    case AMB_FIELD_X_TN:
    case AMB_FIELD_X0:
    case AMB_FIELD_U8:
    case AMB_FIELD_NOISE:
    case AMB_FIELD_MEMBER:
        break; /* fill.c, member.c */
    case AMB_FIELD_N:
        assert(0);
    }
}

void amb_row_store_scalars(const struct amb_row *row) {
    const struct amb_layout *layout = row->stream->layout;

    for (uint32_t i = 0; i < layout->n_fields; i++) {
        scalars_store(row, &layout->fields[i]);
    }
}
