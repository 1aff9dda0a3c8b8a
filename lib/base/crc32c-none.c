/*
 * Crc32c without an instruction of the processor.
 */
#include "base/crc32c.h"

int amb_crc32c_has_vector(void) {
    return 0;
}

uint32_t amb_crc32c_vector(uint32_t crc, const void *data, size_t bytes) {
    return amb_crc32c_scalar(crc, data, bytes);
}
