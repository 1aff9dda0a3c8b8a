/*
 * Layout: a table of fields, the dtypes each may have, and the arithmetic that places them.
 *
 * Everything a name can say is settled in push, so that place cannot fail for anything but sizes. A slot is
 * written row by row by several workers, hence each field is one array of rows and no row shares a byte with
 * another.
 */
#include "batch/layout.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/size.h"
#include "base/suggest.h"

#define DTYPE(name) (1u << AMB_DTYPE_##name)

static const unsigned dtypes_plane = DTYPE(F32) | DTYPE(F16) | DTYPE(BF16);
static const unsigned dtypes_sigma = DTYPE(F32) | DTYPE(F64);

/* The default is what an experienced user expects; labels choose between i64 and f32[D] by the dataset. */
static const struct layout_kind {
    const char *name;
    enum amb_dtype dtype;
    unsigned allowed; /* bit per dtype; 0: the one above alone */
    enum { ROW_PLANE, ROW_ONE, ROW_FIXED, ROW_LABEL, ROW_KEY, ROW_MEMBER } row;
    uint32_t width; /* of ROW_FIXED */
} kinds[AMB_FIELD_N] = {
    [AMB_FIELD_X_T] = {"x_t", AMB_DTYPE_F32, dtypes_plane, ROW_PLANE, 0},
    [AMB_FIELD_X_TN] = {"x_tn", AMB_DTYPE_F32, dtypes_plane, ROW_PLANE, 0},
    [AMB_FIELD_X0] = {"x0", AMB_DTYPE_F32, dtypes_plane, ROW_PLANE, 0},
    [AMB_FIELD_U8] = {"u8", AMB_DTYPE_U8, 0, ROW_PLANE, 0},
    [AMB_FIELD_NOISE] = {"noise", AMB_DTYPE_F32, dtypes_plane, ROW_PLANE, 0},
    [AMB_FIELD_SIGMA_T] = {"sigma_t", AMB_DTYPE_F32, dtypes_sigma, ROW_ONE, 0},
    [AMB_FIELD_SIGMA_TN] = {"sigma_tn", AMB_DTYPE_F32, dtypes_sigma, ROW_ONE, 0},
    [AMB_FIELD_S_T] = {"s_t", AMB_DTYPE_F32, dtypes_sigma, ROW_ONE, 0},
    [AMB_FIELD_S_TN] = {"s_tn", AMB_DTYPE_F32, dtypes_sigma, ROW_ONE, 0},
    [AMB_FIELD_SIGMA_MIN] = {"sigma_min", AMB_DTYPE_F32, 0, ROW_ONE, 0},
    [AMB_FIELD_SIGMA_MAX] = {"sigma_max", AMB_DTYPE_F32, 0, ROW_ONE, 0},
    [AMB_FIELD_WEIGHT] = {"weight", AMB_DTYPE_F32, 0, ROW_ONE, 0},
    [AMB_FIELD_LABEL] = {"label", AMB_DTYPE_I64, 0, ROW_LABEL, 0},
    [AMB_FIELD_INDEX] = {"index", AMB_DTYPE_I64, 0, ROW_ONE, 0},
    [AMB_FIELD_UID] = {"uid", AMB_DTYPE_U8, 0, ROW_FIXED, 16},
    [AMB_FIELD_KEY] = {"key", AMB_DTYPE_U8, 0, ROW_KEY, 0},
    [AMB_FIELD_CORRUPTION_LABEL] = {"corruption_label", AMB_DTYPE_I64, 0, ROW_ONE, 0},
    [AMB_FIELD_REPLACED] = {"replaced", AMB_DTYPE_U8, 0, ROW_ONE, 0},
    [AMB_FIELD_SEEDS] = {"seeds", AMB_DTYPE_U64, 0, ROW_FIXED, 4},
    [AMB_FIELD_MEMBER] = {"member", AMB_DTYPE_U8, 0, ROW_MEMBER, 0},
};

#define MEMBER_PREFIX "member:"
#define NAME_BYTES    (sizeof MEMBER_PREFIX + AMB_MEMBER_EXT_BYTES)

const char *amb_field_name(enum amb_field field) {
    assert(field < AMB_FIELD_N);
    return kinds[field].name;
}

static int layout_fail_unknown(const char *name, struct amb_error *err) {
    const char *known[AMB_FIELD_N], *nearest;

    for (unsigned i = 0; i < AMB_FIELD_N; i++) {
        known[i] = kinds[i].name;
    }
    nearest = amb_suggest_get(name, known, AMB_FIELD_N);
    return amb_fail(
        err, AMB_ERR_CONFIG,
        "no field is called \"%.64s\"%s%s%s; fields are x_t, x_tn, x0, u8, noise, sigma_t, sigma_tn, s_t, "
        "s_tn, sigma_min, sigma_max, weight, label, index, uid, key, corruption_label, replaced, seeds and "
        "member:EXT",
        name, nearest != NULL ? ", did you mean \"" : "", nearest != NULL ? nearest : "",
        nearest != NULL ? "\"?" : "");
}

/* "x_t:f16" -> field and dtype; "member:txt" -> field and ext (an ext has no dtype: its bytes are as
 * stored). */
static int layout_parse(struct amb_layout_field *field, const char *name, enum amb_dtype *dtype,
                        struct amb_error *err) {
    const char *colon = strchr(name, ':');
    char base[NAME_BYTES];
    size_t length = colon != NULL ? (size_t)(colon - name) : strlen(name);

    if (length >= sizeof base) {
        return layout_fail_unknown(name, err);
    }
    memcpy(base, name, length);
    base[length] = '\0';
    for (field->field = 0; field->field < AMB_FIELD_N; field->field++) {
        if (strcmp(base, kinds[field->field].name) == 0) {
            break;
        }
    }
    if (field->field == AMB_FIELD_N) {
        return layout_fail_unknown(base, err);
    }
    if (field->field == AMB_FIELD_MEMBER) {
        const char *ext = colon != NULL ? colon + 1 : "";

        ext += *ext == '.';
        if (*ext == '\0' || strlen(ext) >= AMB_MEMBER_EXT_BYTES) {
            return amb_fail(
                err, AMB_ERR_CONFIG,
                "\"%.96s\": a member is asked for by its extension, 1 to %u characters as in member:txt "
                "or member:t5.npy",
                name, AMB_MEMBER_EXT_BYTES - 1);
        }
        snprintf(field->member_ext, sizeof field->member_ext, "%s", ext);
        return 0;
    }
    if (colon != NULL) {
        enum amb_dtype named;

        if (!amb_dtype_parse(&named, colon + 1)) {
            return amb_fail(err, AMB_ERR_CONFIG,
                            "\"%.96s\": no dtype is called \"%.32s\"; images may be f32, f16, bf16", name,
                            colon + 1);
        }
        if (*dtype != AMB_DTYPE_N && *dtype != named) {
            return amb_fail(err, AMB_ERR_CONFIG, "\"%.96s\" is asked for as %s as well; give one dtype", name,
                            amb_dtype_name(*dtype));
        }
        *dtype = named;
    }
    return 0;
}

static int layout_set_dtype(struct amb_layout_field *field, const struct amb_shape *shape,
                            enum amb_dtype dtype, struct amb_error *err) {
    const struct layout_kind *kind = &kinds[field->field];
    enum amb_dtype usual = kind->row == ROW_LABEL && shape->label_width != 0 ? AMB_DTYPE_F32 : kind->dtype;
    unsigned allowed = kind->allowed | 1u << usual;
    char list[64] = "";

    field->dtype = dtype == AMB_DTYPE_N ? usual : dtype;
    if ((allowed >> field->dtype & 1u) != 0) {
        return 0;
    }
    for (unsigned i = 0; i < AMB_DTYPE_N; i++) {
        if ((allowed >> i & 1u) != 0) {
            size_t n = strlen(list);

            snprintf(list + n, sizeof list - n, "%s%s", n != 0 ? ", " : "", amb_dtype_name(i));
        }
    }
    return amb_fail(err, AMB_ERR_CONFIG, "field \"%s\" cannot be %s; it may be %s", kind->name,
                    amb_dtype_name(field->dtype), list);
}

static void layout_set_row(struct amb_layout_field *field, const struct amb_shape *shape,
                           size_t member_max_bytes) {
    const struct layout_kind *kind = &kinds[field->field];

    field->n_dims = 1;
    switch (kind->row) {
    case ROW_PLANE:
        field->n_dims = 3;
        field->dims[0] = shape->channels;
        field->dims[1] = shape->height;
        field->dims[2] = shape->width;
        break;
    case ROW_ONE:
        field->n_dims = 0;
        break;
    case ROW_FIXED:
        field->dims[0] = kind->width;
        break;
    case ROW_LABEL:
        field->n_dims = shape->label_width != 0;
        field->dims[0] = shape->label_width;
        break;
    case ROW_KEY:
        field->ragged = true;
        field->dims[0] = shape->key_bytes_max != 0 ? shape->key_bytes_max : 1;
        break;
    case ROW_MEMBER:
        field->ragged = true;
        field->dims[0] = (uint32_t)(member_max_bytes != 0 ? member_max_bytes : AMB_MEMBER_BYTES_DEFAULT);
        break;
    }
}

/* row_bytes from dims; false where it does not fit. */
static bool layout_measure(struct amb_layout_field *field) {
    size_t bytes = amb_dtype_bytes(field->dtype);

    for (uint32_t i = 0; i < field->n_dims; i++) {
        if (!amb_size_mul(&bytes, bytes, field->dims[i])) {
            return false;
        }
    }
    field->row_bytes = bytes;
    return bytes <= PTRDIFF_MAX;
}

static bool layout_has(const struct amb_layout *layout, const struct amb_layout_field *field) {
    for (uint32_t i = 0; i < layout->n_fields; i++) {
        const struct amb_layout_field *other = &layout->fields[i];

        if (other->field == field->field && strcmp(other->member_ext, field->member_ext) == 0) {
            return true;
        }
    }
    return false;
}

int amb_layout_push(struct amb_layout *layout, const char *name, enum amb_dtype dtype,
                    size_t member_max_bytes, struct amb_error *err) {
    struct amb_layout_field field = {0};
    int r;

    r = layout_parse(&field, name, &dtype, err);
    if (r < 0) {
        return r;
    }
    if (field.field == AMB_FIELD_U8 && layout->shape.latent) {
        return amb_fail(err, AMB_ERR_CONFIG,
                        "field \"u8\" is of pictures and this dataset holds latents; ask for x0");
    }
    r = layout_set_dtype(&field, &layout->shape, dtype, err);
    if (r < 0) {
        return r;
    }
    if (layout_has(layout, &field)) {
        return amb_fail(err, AMB_ERR_CONFIG,
                        "field \"%.96s\" is asked for twice; a field comes once, in one dtype", name);
    }
    if (layout->n_fields == AMB_LAYOUT_FIELDS_MAX) {
        return amb_fail(err, AMB_ERR_CONFIG, "\"%.96s\" is one field too many, at most %u are allowed", name,
                        AMB_LAYOUT_FIELDS_MAX);
    }
    if (field.field == AMB_FIELD_MEMBER && member_max_bytes > UINT32_MAX) {
        return amb_fail(err, AMB_ERR_LIMIT, "\"%.96s\": max_bytes is %zu, at most %u is allowed", name,
                        member_max_bytes, UINT32_MAX);
    }
    layout_set_row(&field, &layout->shape, member_max_bytes);
    if (!layout_measure(&field)) {
        return amb_fail(err, AMB_ERR_LIMIT, "a row of field \"%.96s\" is larger than memory can address",
                        name);
    }
    layout->fields[layout->n_fields++] = field;
    return 0;
}

int amb_layout_reshape(struct amb_layout *layout, const struct amb_shape *shape, struct amb_error *err) {
    struct amb_layout other = {.shape = *shape, .batch_size = layout->batch_size};

    for (uint32_t i = 0; i < layout->n_fields; i++) {
        const struct amb_layout_field *field = &layout->fields[i];
        const bool is_member = field->field == AMB_FIELD_MEMBER;
        char name[sizeof "member:" + AMB_MEMBER_EXT_BYTES];
        int r;

        snprintf(name, sizeof name, is_member ? "member:%s" : "%s",
                 is_member ? field->member_ext : amb_field_name(field->field));
        r = amb_layout_push(&other, name, field->field == AMB_FIELD_LABEL ? AMB_DTYPE_N : field->dtype, field->dims[0], err);
        if (r < 0) {
            return r;
        }
        other.fields[i].member_error = field->member_error;
    }
    *layout = other;
    return 0;
}

int amb_layout_stack(struct amb_layout_field *field, const struct amb_npy *npy, struct amb_error *err) {
    struct amb_layout_field stacked = *field;

    assert(field->field == AMB_FIELD_MEMBER && npy->n_dims <= AMB_NPY_DIMS_MAX);
    stacked.ragged = false;
    stacked.stacked = true;
    stacked.dtype = npy->dtype;
    stacked.n_dims = npy->n_dims;
    for (uint32_t i = 0; i < npy->n_dims; i++) {
        if (npy->dims[i] > UINT32_MAX) {
            return amb_fail(err, AMB_ERR_LIMIT,
                            "member:%s has a side of %llu elements, at most %u are allowed",
                            field->member_ext, (unsigned long long)npy->dims[i], UINT32_MAX);
        }
        stacked.dims[i] = (uint32_t)npy->dims[i];
    }
    if (!layout_measure(&stacked)) {
        return amb_fail(err, AMB_ERR_LIMIT, "an array of member:%s is larger than memory can address",
                        field->member_ext);
    }
    *field = stacked;
    return 0;
}

/* bytes of the whole field, and the first offset behind it; false where it does not fit. */
static bool layout_place_field(struct amb_layout_field *field, size_t *end, uint32_t batch_size) {
    size_t row = field->row_bytes;

    if ((field->ragged || field->stacked) && !amb_size_add(&row, row, sizeof(int64_t))) {
        return false;
    }
    field->offset = *end;
    return amb_size_mul(&field->bytes, row, batch_size) && amb_size_add(end, *end, field->bytes) &&
           amb_size_align(end, *end, AMB_LAYOUT_ALIGN) && *end <= PTRDIFF_MAX;
}

int amb_layout_place(struct amb_layout *layout, struct amb_error *err) {
    size_t end = 0;

    if (layout->n_fields == 0) {
        return amb_fail(err, AMB_ERR_CONFIG,
                        "no fields are asked for; a batch needs one at least, such as x_t");
    }
    if (layout->batch_size == 0) {
        return amb_fail(err, AMB_ERR_CONFIG, "batch_size is 0, at least 1 is allowed");
    }
    for (uint32_t i = 0; i < layout->n_fields; i++) {
        struct amb_layout_field *field = &layout->fields[i];

        if (!layout_place_field(field, &end, layout->batch_size)) {
            return amb_fail(
                err, AMB_ERR_LIMIT,
                "%u rows of %zu bytes of field \"%s\" do not fit in a slot; take a smaller batch or fewer "
                "fields",
                layout->batch_size, field->row_bytes, amb_field_name(field->field));
        }
    }
    layout->slot_bytes = end;
    return 0;
}

const struct amb_layout_field *amb_layout_get(const struct amb_layout *layout, enum amb_field field) {
    for (uint32_t i = 0; i < layout->n_fields; i++) {
        if (layout->fields[i].field == field) {
            return &layout->fields[i];
        }
    }
    return NULL;
}
