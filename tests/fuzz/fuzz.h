#pragma once
/* Fuzz: what the targets share. A target is one file with LLVMFuzzerTestOneInput, linked with libFuzzer (option `fuzz`,
 * clang) or with replay.c, which runs files that exist; either way a wrong result aborts like a wrong access does. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* libFuzzer's own; does nothing in a replay. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t bytes, size_t bytes_max);
/* A target may bring one, to repair checksums that mutations would otherwise never get past. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t bytes_max, unsigned seed);

#define FUZZ_REQUIRE(condition)                                                                                        \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                                    \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

/* Below zero: err says the same code and why. */
static inline int fuzz_check(int r, const struct amb_error *err) {
    if (r < 0) {
        FUZZ_REQUIRE(err->code == r && err->message[0] != '\0');
        FUZZ_REQUIRE(strnlen(err->message, sizeof err->message) < sizeof err->message);
    }
    return r;
}
