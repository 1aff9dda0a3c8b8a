#pragma once
/* Layout: which fields a batch has and where each lies in its slot. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/image.h"
#include "codec/npy.h"

#define AMB_LAYOUT_FIELDS_MAX 32u    /* not tuned */
#define AMB_LAYOUT_ALIGN      4096u  /* DESIGN section 6 */
#define AMB_MEMBER_EXT_BYTES  64u
#define AMB_MEMBER_BYTES_DEFAULT 4096u

enum amb_field {
    AMB_FIELD_X_T, AMB_FIELD_X_TN, AMB_FIELD_X0, AMB_FIELD_U8, AMB_FIELD_NOISE,
    AMB_FIELD_SIGMA_T, AMB_FIELD_SIGMA_TN, AMB_FIELD_S_T, AMB_FIELD_S_TN,
    AMB_FIELD_SIGMA_MIN, AMB_FIELD_SIGMA_MAX, AMB_FIELD_WEIGHT,
    AMB_FIELD_LABEL, AMB_FIELD_INDEX, AMB_FIELD_UID, AMB_FIELD_KEY,
    AMB_FIELD_CORRUPTION_LABEL, AMB_FIELD_REPLACED, AMB_FIELD_SEEDS, AMB_FIELD_MEMBER,
    AMB_FIELD_N,
};

/* What the stored samples look like: the same for the whole dataset. */
struct amb_shape {
    uint32_t channels, height, width; /* of x                                                    */
    bool latent;                      /* f32 planes instead of u8                                */
    bool latent_std;                  /* 2 * channels planes: mean, then std                     */
    uint32_t label_width;             /* D of f32[D] labels; 0: i64                              */
    uint32_t key_bytes_max;           /* longest key of the dataset                              */
};

/*
 * A fixed field is n rows of `row_bytes` at `offset`. Ragged and stacked fields begin with i64
 * lengths[n], -1 for a sample without such a member; n rows follow at once:
 *   ragged   bytes (key, a member as it is stored): lengths[i] is the true length, min(length, row_bytes)
 *            bytes lie in the row, the rest of the row is zero.
 *   stacked  an array of one dtype and shape (a .npy member without its header): lengths[i] is row_bytes or
 *            -1; the row of a missing one is zero.
 */
struct amb_layout_field {
    enum amb_field field;
    enum amb_dtype dtype;
    char member_ext[AMB_MEMBER_EXT_BYTES]; /* of member:EXT */
    bool ragged, stacked;              /* at most one of them */
    bool member_error;                 /* a member that is too long ends the stream; set after push */
    uint32_t n_dims;                   /* of one row: shape in the reply, behind the batch size */
    uint32_t dims[AMB_NPY_DIMS_MAX];
    size_t offset, row_bytes;
    size_t bytes;                      /* whole field with its lengths, unpadded */
};

struct amb_layout {
    struct amb_shape shape;
    uint32_t batch_size;
    uint32_t n_fields;
    struct amb_layout_field fields[AMB_LAYOUT_FIELDS_MAX];
    size_t slot_bytes;                 /* multiple of AMB_LAYOUT_ALIGN */
};

const char *amb_field_name(enum amb_field field);

/**
 * Add a field by name: "x_t", "x_t:f16", "member:txt", with JSON options resolved by the caller.
 *
 * dtype:            AMB_DTYPE_N: the one in the name, or else the default (f32 for images and sigmas).
 * member_max_bytes: cell of a member kept as bytes; 0: AMB_MEMBER_BYTES_DEFAULT. Ignored by other fields.
 * Errors: AMB_ERR_CONFIG with the nearest known field; a dtype that the field cannot have; u8 of latents;
 *         a field twice; more than AMB_LAYOUT_FIELDS_MAX. The layout is unchanged then.
 * Thread: any.
 */
int amb_layout_push(struct amb_layout *layout, const char *name, enum amb_dtype dtype,
                    size_t member_max_bytes, struct amb_error *err);

/**
 * Lay the fields that were pushed out for samples of another shape; none of them is stacked or placed.
 *
 * Errors: as those of amb_layout_push for fields that such samples do not have. The layout is unchanged then. Thread: any.
 */
int amb_layout_reshape(struct amb_layout *layout, const struct amb_shape *shape, struct amb_error *err);

/* Make a pushed member a stacked array of this dtype and shape; see amb_fill_probe_members. AMB_ERR_LIMIT. */
int amb_layout_stack(struct amb_layout_field *field, const struct amb_npy *npy, struct amb_error *err);

/**
 * Place all fields at multiples of AMB_LAYOUT_ALIGN and set slot_bytes.
 *
 * batch_size and shape are set before the first push.
 * Errors: AMB_ERR_LIMIT where sizes do not fit; AMB_ERR_CONFIG without fields or with batch_size 0.
 */
int amb_layout_place(struct amb_layout *layout, struct amb_error *err);

/* The field of this kind, or NULL: of members the first. Borrowed. */
const struct amb_layout_field *amb_layout_get(const struct amb_layout *layout, enum amb_field field);

/* Where row i_row of a placed field lies in its slot, behind the lengths where there are any. */
static inline size_t amb_layout_row(const struct amb_layout *layout, const struct amb_layout_field *field,
                                    uint32_t i_row) {
    size_t lengths = field->ragged || field->stacked ? sizeof(int64_t) * layout->batch_size : 0;

    return field->offset + lengths + field->row_bytes * i_row;
}
