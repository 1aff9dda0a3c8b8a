/*
 * Number: the grammar of RFC 8259, section 6, with a short way for what files really hold.
 *
 * Up to 19 digits are gathered into an integer. If it is below 2^53 and the power of ten at most 22, both are exact
 * in f64 and one rounded operation gives the nearest value (Clinger 1990). Everything else goes to strtod, on a copy
 * with an end. The result is that of strtod, always.
 *
 * Not here: NaN and Infinity, which are no JSON (record.c takes the words that Python writes).
 */
#include "annotate/number.h"

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_BYTES_MAX 512u /* of a text for strtod; an f64 needs at most 17 digits, not tuned */
#define NUMBER_EXACT     22   /* 10^22 is the largest power of ten that is exact in f64 */

/* What the text says, before rounding: digits * 10^exponent10. */
struct number_parts {
    const char *end;  /* behind the number */
    uint64_t digits;  /* meaningless where n_digits > 19 */
    size_t n_digits;  /* without leading zeros */
    int exponent10;
    bool negative;
};

static bool number_is_digit(const char *p, const char *end) {
    return p < end && *p >= '0' && *p <= '9';
}

static const char *number_scan_digits(struct number_parts *parts, const char *p, const char *end) {
    for (; number_is_digit(p, end); p++) {
        parts->digits = parts->digits * 10 + (uint64_t)(*p - '0');
        parts->n_digits += parts->n_digits != 0 || *p != '0';
    }
    return p;
}

/* Behind the "e"; NULL where no digit follows. */
static const char *number_scan_exponent(struct number_parts *parts, const char *p, const char *end) {
    bool negative = p < end && *p == '-';
    int value = 0;

    p += p < end && (*p == '-' || *p == '+');
    if (!number_is_digit(p, end)) {
        return NULL;
    }
    for (; number_is_digit(p, end); p++) {
        value = value < 10000 ? value * 10 + (*p - '0') : value;
    }
    parts->exponent10 += negative ? -value : value;
    return p;
}

static bool number_scan(struct number_parts *parts, const char *p, const char *end) {
    const char *whole, *point;

    *parts = (struct number_parts){.negative = p < end && *p == '-'};
    p += parts->negative;
    whole = p;
    p = number_scan_digits(parts, p, end);
    if (p == whole || (*whole == '0' && p - whole > 1)) {
        return false; /* no digit, or a leading zero */
    }
    if (p < end && *p == '.') {
        point = ++p;
        p = number_scan_digits(parts, p, end);
        if (p == point) {
            return false;
        }
        parts->exponent10 -= (int)(p - point < 10000 ? p - point : 10000);
    }
    if (p < end && (*p | 32) == 'e') {
        p = number_scan_exponent(parts, p + 1, end);
    }
    parts->end = p;
    return p != NULL;
}

static bool number_round(double *out, const char *p, const char *end) {
    char text[NUMBER_BYTES_MAX + 1];
    const size_t bytes = (size_t)(end - p);

    if (bytes > NUMBER_BYTES_MAX) {
        return false;
    }
    memcpy(text, p, bytes);
    text[bytes] = '\0';
    *out = strtod(text, NULL);
    return isfinite(*out);
}

bool amb_number_decode(double *out, const char **p, const char *end) {
    static const double powers[NUMBER_EXACT + 1] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                                    1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                                    1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    struct number_parts parts;
    double value;

    if (!number_scan(&parts, *p, end)) {
        return false;
    }
    if (parts.n_digits <= 19 && parts.digits <= UINT64_C(1) << 53 && parts.exponent10 >= -NUMBER_EXACT &&
        parts.exponent10 <= NUMBER_EXACT) {
        value = (double)parts.digits;
        value = parts.exponent10 < 0 ? value / powers[-parts.exponent10] : value * powers[parts.exponent10];
        value = parts.negative ? -value : value;
    } else if (!number_round(&value, *p, parts.end)) {
        return false;
    }
    *out = value;
    *p = parts.end;
    return true;
}
