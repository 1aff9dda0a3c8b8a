/*
 * Kernels of an architecture without a set of its own: the compiler's vectors of the scalar one.
 */
#include "codec/kernels.h"

const struct amb_kernels *amb_kernels_vector(void) {
    return NULL;
}
