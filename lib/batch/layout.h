#pragma once
/* Layout: which fields a batch has and where each lies in its slot. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/image.h"

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

/* How a ragged field (key, member as bytes) lies at its offset: i64 lengths[n] (true length, -1 missing), then
 * n cells of `cell_bytes`. A fixed field is n rows of `row_bytes`. */
struct amb_layout_field {
    enum amb_field field;
    enum amb_dtype dtype;
    char member_ext[AMB_MEMBER_EXT_BYTES]; /* of member:EXT */
    bool ragged;
    bool member_error;                 /* option error: a member that is too long ends the stream */
    uint32_t n_dims;                   /* of one row: shape in the reply */
    uint32_t dims[8];
    size_t offset, row_bytes;          /* row_bytes: also the cell of a ragged field */
    size_t bytes;                      /* whole field, unpadded */
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
 * dtype: AMB_DTYPE_N: the field's default (f32 for images and sigmas).
 * Errors: AMB_ERR_CONFIG with the nearest known field; a dtype that the field cannot have; u8 of latents;
 *         a field twice.
 */
int amb_layout_push(struct amb_layout *layout, const char *name, enum amb_dtype dtype, size_t member_max_bytes,
                    struct amb_error *err);

/* Place all fields; AMB_ERR_LIMIT where sizes do not fit. batch_size and shape are set before the first push. */
int amb_layout_place(struct amb_layout *layout, struct amb_error *err);
