#pragma once
/* File: what a path that a person wrote down may be: a regular file, which is read to its end; and whether all that was
 * printed has arrived. */
#include <stddef.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/error.h"

/**
 * Open a regular file to be read. Whatever else lies there is refused at once: a pipe would wait for a writer.
 *
 * *out: a descriptor. Errors: errno values, AMB_ERR_FORMAT no regular file; with the path. Thread: any; blocks.
 */
int amb_file_open(int *out, const char *path, struct amb_error *err);

/**
 * Such a file whole, with a zero byte behind it that n_bytes does not count.
 *
 * Errors: those of open; AMB_ERR_LIMIT more than bytes_max; -ENOMEM. Thread: any; blocks.
 */
int amb_file_load(struct amb_buf *out, const char *path, size_t bytes_max, struct amb_error *err);

/* Standard input, output and errors that were closed stay so: a file or socket that took such a number would get what is
 * printed. To be called before anything is opened. Thread: main. */
void amb_file_hold_standard(void);

/**
 * Flush what was printed to `file`; an earlier write that failed counts too.
 *
 * Returns: 0, or -E... with a message that calls the file `name`.
 * Thread:  any, one owner of the file.
 */
int amb_file_flush(FILE *file, const char *name, struct amb_error *err);
