/*
 * Image: names of element types; the view itself has no code.
 */
#include "base/image.h"

#include <string.h>

static const char *const dtype_names[AMB_DTYPE_N] = {"u8",  "f16", "bf16", "f32", "f64",
                                                     "i32", "i64", "u32",  "u64"};

const char *amb_dtype_name(enum amb_dtype dtype) {
    return dtype_names[dtype];
}

bool amb_dtype_parse(enum amb_dtype *out, const char *name) {
    for (unsigned i = 0; i < AMB_DTYPE_N; i++) {
        if (strcmp(name, dtype_names[i]) == 0) {
            *out = (enum amb_dtype)i;
            return true;
        }
    }
    return false;
}
