#pragma once
/* File: whether all that was printed has arrived. */
#include <stdio.h>

#include "base/error.h"

/**
 * Flush what was printed to `file`; an earlier write that failed counts too.
 *
 * Returns: 0, or -E... with a message that calls the file `name`.
 * Thread:  any, one owner of the file.
 */
int amb_file_flush(FILE *file, const char *name, struct amb_error *err);
