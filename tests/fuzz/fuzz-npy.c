/*
 * Npy: header and elements. The data that a header promises lies inside the input, and is as long as its shape says.
 */
#include "fuzz.h"

#include "base/alloc.h"
#include "codec/npy.h"

#define ELEMENTS_LOADED 4096u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    struct amb_error err = AMB_ERROR_NULL;
    static float values[ELEMENTS_LOADED];
    struct amb_npy npy;
    size_t n;

    if (fuzz_check(amb_npy_decode(&npy, data, bytes, &err), &err) < 0) {
        return 0;
    }
    FUZZ_REQUIRE(npy.n_dims <= AMB_NPY_DIMS_MAX && npy.data_offset + npy.data_bytes == bytes);
    n = npy.data_bytes / amb_dtype_bytes(npy.dtype);
    if (n <= ELEMENTS_LOADED &&
        (npy.dtype == AMB_DTYPE_U8 || npy.dtype == AMB_DTYPE_F16 || npy.dtype == AMB_DTYPE_F32)) {
        amb_npy_load_f32(values, data + npy.data_offset, npy.dtype, n);
    }
    return 0;
}
