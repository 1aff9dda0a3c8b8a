/*
 * File: stdio keeps an error until somebody asks, and nobody asks each printf.
 */
#include "base/file.h"

#include <errno.h>
#include <string.h>

int amb_file_flush(FILE *file, const char *name, struct amb_error *err) {
    errno = 0;
    if (fflush(file) == 0 && !ferror(file)) {
        return 0;
    }
    return amb_fail(err, errno != 0 ? -errno : -EIO, "cannot write %s: %s", name,
                    errno != 0 ? strerror(errno) : "an earlier write failed");
}
