/*
 * Crc32c by the instruction of SSE4.2: eight bytes each three cycles, which is faster than what is checksummed arrives.
 */
#include "base/crc32c.h"

#include <string.h>

int amb_crc32c_has_vector(void) {
    return __builtin_cpu_supports("sse4.2") != 0;
}

__attribute__((target("sse4.2"))) uint32_t amb_crc32c_vector(uint32_t crc, const void *data, size_t bytes) {
    const uint8_t *p = data;
    uint64_t wide = ~crc;

    for (; bytes >= 8; p += 8, bytes -= 8) {
        uint64_t word;

        memcpy(&word, p, sizeof word);
        wide = __builtin_ia32_crc32di(wide, word);
    }
    crc = (uint32_t)wide;
    for (; bytes > 0; p++, bytes--) {
        crc = __builtin_ia32_crc32qi(crc, *p);
    }
    return ~crc;
}
