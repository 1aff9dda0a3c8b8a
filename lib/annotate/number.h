#pragma once
/* Number: decimal text to f64, exactly rounded and fast, for arrays of probabilities. */
#include <stdbool.h>

/**
 * Read one number as JSON writes it from [*p, end) and move *p behind it.
 *
 * Returns: false where none begins at *p or it is no finite f64; *p and *out are left alone then.
 * Thread:  any.
 */
bool amb_number_decode(double *out, const char **p, const char *end);
