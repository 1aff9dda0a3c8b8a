/*
 * Member: what lies beside the picture, as bytes or as arrays of one dtype and shape.
 *
 * A member is extra: one that is missing, unreadable, or an array of another kind has length -1 and a zero
 * row; the sample is delivered all the same and is not quarantined for it.
 */
#include "batch/row.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "batch/load.h"
#include "codec/npy.h"

/* 0, or AMB_CATALOG_E_MISSING also where it cannot be read; only -ENOMEM is an error. */
static int member_read(struct amb_filler *filler, const struct amb_row *row, const char *ext) {
    int r = 0;

    for (int i_try = 0; i_try < 2; i_try++) {
        r = amb_catalog_read_member(&filler->member, row->stream->dataset->catalog, row->draw->i_sample, ext,
                                    NULL);
        if (r >= 0) {
            return r;
        }
        if (!amb_load_is_transient(r)) {
            break;
        }
        filler->n_transient++;
    }
    filler->n_members_unread++;
    return r == -ENOMEM ? r : AMB_CATALOG_E_MISSING;
}

static bool member_fits(const struct amb_layout_field *field, const struct amb_npy *npy) {
    if (npy->dtype != field->dtype || npy->n_dims != field->n_dims) {
        return false;
    }
    for (uint32_t i = 0; i < npy->n_dims; i++) {
        if (npy->dims[i] != field->dims[i]) {
            return false;
        }
    }
    return npy->data_bytes == field->row_bytes;
}

static void member_store_missing(const struct amb_row *row, const struct amb_layout_field *field) {
    amb_row_store_length(row, field, -1);
    amb_row_store_bytes(row, field, NULL, 0);
}

static void member_store_array(const struct amb_row *row, const struct amb_layout_field *field,
                               const struct amb_buf *member) {
    struct amb_npy npy;

    if (amb_npy_decode(&npy, member->data, member->n_bytes, NULL) != 0 || !member_fits(field, &npy)) {
        member_store_missing(row, field);
        return;
    }
    amb_row_store_length(row, field, (int64_t)field->row_bytes);
    amb_row_store_bytes(row, field, member->data + npy.data_offset, npy.data_bytes);
}

static int member_store_bytes(const struct amb_row *row, const struct amb_layout_field *field,
                              const struct amb_buf *member, struct amb_error *err) {
    if (field->member_error && member->n_bytes > field->row_bytes) {
        return amb_fail(
            err, AMB_ERR_LIMIT,
            "member \"%s\" of sample \"%.*s\" has %zu bytes, max_bytes is %zu; raise it, or take overflow "
            "\"cut\"",
            field->member_ext, (int)(row->info.key_bytes < 200 ? row->info.key_bytes : 200), row->info.key,
            member->n_bytes, field->row_bytes);
    }
    amb_row_store_length(row, field, (int64_t)member->n_bytes);
    amb_row_store_bytes(row, field, member->data, member->n_bytes);
    return 0;
}

static int member_store(const struct amb_row *row, const struct amb_layout_field *field,
                        struct amb_filler *filler, struct amb_error *err) {
    int r = AMB_CATALOG_E_MISSING;

    if (row->draw->replaced != AMB_REPLACED_UNREADABLE) {
        r = member_read(filler, row, field->member_ext);
    }
    if (r < 0) {
        return amb_fail(err, r, "out of memory for member \"%s\" of sample %" PRIu32, field->member_ext,
                        row->draw->i_sample);
    }
    if (r == AMB_CATALOG_E_MISSING) {
        member_store_missing(row, field);
    } else if (field->stacked) {
        member_store_array(row, field, &filler->member);
    } else {
        return member_store_bytes(row, field, &filler->member, err);
    }
    return 0;
}

int amb_row_store_members(const struct amb_row *row, struct amb_filler *filler, struct amb_error *err) {
    const struct amb_layout *layout = row->stream->layout;

    for (uint32_t i = 0; i < layout->n_fields; i++) {
        const struct amb_layout_field *field = &layout->fields[i];
        int r = field->field == AMB_FIELD_MEMBER ? member_store(row, field, filler, err) : 0;

        if (r < 0) {
            return r;
        }
    }
    return 0;
}
