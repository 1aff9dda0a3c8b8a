/*
 * Crc32c: eight bytes a step by tables (slicing by 8), or the processor's instruction. The tables are computed once.
 */
#include "base/crc32c.h"

#include <pthread.h>
#include <string.h>

#define CRC32C_POLYNOMIAL 0x82F63B78u /* Castagnoli, reflected */

static uint32_t crc32c_tables[8][256];
static pthread_once_t crc32c_once = PTHREAD_ONCE_INIT;

static void crc32c_init(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;

        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ ((crc & 1) != 0 ? CRC32C_POLYNOMIAL : 0);
        }
        crc32c_tables[0][i] = crc;
    }
    for (uint32_t i = 0; i < 256; i++) {
        for (int k = 1; k < 8; k++) {
            uint32_t before = crc32c_tables[k - 1][i];

            crc32c_tables[k][i] = before >> 8 ^ crc32c_tables[0][before & 255];
        }
    }
}

static uint32_t crc32c_load(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

uint32_t amb_crc32c_scalar(uint32_t crc, const void *data, size_t bytes) {
    const uint8_t *p = data;

    pthread_once(&crc32c_once, crc32c_init);
    crc = ~crc;
    for (; bytes >= 8; p += 8, bytes -= 8) {
        uint32_t low = crc ^ crc32c_load(p), high = crc32c_load(p + 4);

        crc = crc32c_tables[7][low & 255] ^ crc32c_tables[6][low >> 8 & 255] ^ crc32c_tables[5][low >> 16 & 255] ^
              crc32c_tables[4][low >> 24] ^ crc32c_tables[3][high & 255] ^ crc32c_tables[2][high >> 8 & 255] ^
              crc32c_tables[1][high >> 16 & 255] ^ crc32c_tables[0][high >> 24];
    }
    for (; bytes > 0; p++, bytes--) {
        crc = crc >> 8 ^ crc32c_tables[0][(crc ^ *p) & 255];
    }
    return ~crc;
}

uint32_t amb_crc32c(uint32_t crc, const void *data, size_t bytes) {
    return amb_crc32c_has_vector() ? amb_crc32c_vector(crc, data, bytes) : amb_crc32c_scalar(crc, data, bytes);
}
