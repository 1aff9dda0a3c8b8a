/*
 * Number: our decimal reader against strtod, bit by bit, at every place of a text.
 */
#include "fuzz.h"

#include <math.h>

#include "annotate/number.h"

#define TEXT_BYTES 400u /* longer than any double that a test writes out in full needs */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    char text[TEXT_BYTES + 1];
    const char *p, *end;

    bytes = bytes < TEXT_BYTES ? bytes : TEXT_BYTES;
    memcpy(text, data, bytes);
    text[bytes] = '\0';
    end = text + bytes;
    for (p = text; p < end;) {
        const char *at = p;
        double value, expected;
        char number[TEXT_BYTES + 1];

        if (!amb_number_decode(&value, &p, end)) {
            FUZZ_REQUIRE(p == at);
            p++;
            continue;
        }
        FUZZ_REQUIRE(p > at && p <= end && isfinite(value));
        memcpy(number, at, (size_t)(p - at));
        number[p - at] = '\0';
        expected = strtod(number, NULL);
        FUZZ_REQUIRE(memcmp(&value, &expected, sizeof value) == 0);
    }
    return 0;
}
