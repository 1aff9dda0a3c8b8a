#pragma once
/* Crc32c: the Castagnoli checksum of what is written to disk. */
#include <stddef.h>
#include <stdint.h>

/**
 * CRC-32C of a byte run that follows one whose CRC-32C is `crc` (0: nothing came before).
 *
 * Uses the processor's own instruction where it has one; the same value everywhere.
 * Thread: any.
 */
uint32_t amb_crc32c(uint32_t crc, const void *data, size_t bytes);

/* The portable way, for comparison. */
uint32_t amb_crc32c_scalar(uint32_t crc, const void *data, size_t bytes);

/* In crc32c-x86.c or crc32c-none.c; false where the processor lacks it. */
int amb_crc32c_has_vector(void);
uint32_t amb_crc32c_vector(uint32_t crc, const void *data, size_t bytes);
