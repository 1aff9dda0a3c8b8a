#pragma once
/* Image: a described view of pixels; never assumed contiguous. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum amb_dtype {
    AMB_DTYPE_U8,
    AMB_DTYPE_F16,
    AMB_DTYPE_BF16,
    AMB_DTYPE_F32,
    AMB_DTYPE_F64,
    AMB_DTYPE_I32,
    AMB_DTYPE_I64,
    AMB_DTYPE_U32,
    AMB_DTYPE_U64,
    AMB_DTYPE_N,
};

static inline size_t amb_dtype_bytes(enum amb_dtype dtype) {
    static const uint8_t bytes[AMB_DTYPE_N] = {1, 2, 2, 4, 8, 4, 8, 4, 8};

    return bytes[dtype];
}

/* As numpy writes it, bf16 apart: "u8", "f16", "bf16", "f32", "f64", "i32", "i64", "u32", "u64". */
const char *amb_dtype_name(enum amb_dtype dtype);
bool amb_dtype_parse(enum amb_dtype *out, const char *name);

/* Rows of interleaved channels (height x width x channels), row_bytes apart. Memory is somebody else's. */
struct amb_image {
    uint8_t *data;
    uint32_t width, height, channels;
    size_t row_bytes;
    enum amb_dtype dtype;
};
