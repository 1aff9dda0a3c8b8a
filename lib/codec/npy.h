#pragma once
/* Npy: the header of a .npy array (numpy format 1.0 to 3.0), C order, u8 f16 f32 (and i64 f64 i32 for members). */
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/image.h"

#define AMB_NPY_DIMS_MAX 8

struct amb_npy {
    enum amb_dtype dtype;
    uint32_t n_dims;
    uint64_t dims[AMB_NPY_DIMS_MAX];
    size_t data_offset, data_bytes; /* proven to lie inside the input */
};

/* Parse; the data is little-endian at data + data_offset, aligned as the input is. Thread: any. */
int amb_npy_decode(struct amb_npy *out, const uint8_t *data, size_t bytes, struct amb_error *err);

/* n elements of u8 (as is), f16 or f32 at src (any alignment) to f32. */
void amb_npy_load_f32(float *dst, const uint8_t *src, enum amb_dtype dtype, size_t n);
