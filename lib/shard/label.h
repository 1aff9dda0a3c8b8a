#pragma once
/* Label: what a sample's class is, read from .cls, a JSON field, or dataset.json. */
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

#define AMB_LABEL_WIDTH_MAX 65536u             /* floats of a vector label; not tuned */
#define AMB_LABEL_INT_MAX   (INT64_C(1) << 53) /* integers that JSON carries exactly */

enum amb_label_kind {
    AMB_LABEL_KIND_NONE, /* absent or null */
    AMB_LABEL_KIND_INT,
    AMB_LABEL_KIND_VECTOR,
    AMB_LABEL_KIND_BAD, /* there, but no label */
    AMB_LABEL_KIND_NO_MEMORY, /* of amb_label_decode_field: nothing is known */
};

struct amb_label {
    enum amb_label_kind kind;
    int64_t value;         /* INT */
    const uint8_t *vector; /* VECTOR: little-endian f32[width], borrowed */
    uint32_t width;
};
#define AMB_LABEL_NULL ((struct amb_label){.kind = AMB_LABEL_KIND_NONE})

/* Text of a .cls member: a decimal integer, spaces and newlines around it. Else BAD. */
struct amb_label amb_label_decode_cls(const uint8_t *text, size_t bytes);

/**
 * Field of the object that is the whole of a .json member. A number without fraction, true or false, or a
 * string of decimal digits is INT; an array of numbers is VECTOR, whose floats lie in `floats`; text that is
 * no JSON object is BAD. NO_MEMORY where there was none.
 */
struct amb_label amb_label_decode_field(struct amb_buf *floats, const uint8_t *text, size_t bytes,
                                        const char *field);

/* The labels of a dataset.json: {"labels": [[name, integer or [floats]], ...]} or {"labels": null}. */
struct amb_labels;

/* Errors: AMB_ERR_FORMAT with the line; AMB_ERR_LIMIT; -ENOMEM. *out is NULL where there are no labels. */
int amb_labels_new(struct amb_labels **out, const uint8_t *text, size_t bytes, struct amb_error *err);
struct amb_labels *amb_labels_free(struct amb_labels *labels);
/* Label of a file by its name relative to dataset.json; NONE if it is not listed. Borrowed from labels. */
struct amb_label amb_labels_get(const struct amb_labels *labels, const char *name, size_t name_bytes);
