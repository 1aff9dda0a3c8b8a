#pragma once
/* Jsonl: a text file line by line, of any size, with lines up to a limit. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

#define AMB_JSONL_LINE_BYTES (64u << 20) /* a line with 2048 x 4 probabilities is 77 KB; not tuned */

enum amb_jsonl_outcome {
    AMB_JSONL_E_END = 1, /* there is no further line */
};

struct amb_jsonl {
    int fd;              /* owned; -1 before open */
    const char *path;    /* borrowed */
    struct amb_buf buf;  /* what was read and not yet popped begins at `begin` */
    size_t begin;
    size_t line_bytes_max;
    uint64_t i_line;     /* of the line popped last, from 1, blank ones counted */
    bool ended;
};

#define AMB_JSONL_NULL ((struct amb_jsonl){.fd = -1})

/* path: borrowed until deinit. Errors: those of amb_file_open. Thread: any; blocks. */
int amb_jsonl_init(struct amb_jsonl *jsonl, const char *path, struct amb_error *err);
void amb_jsonl_deinit(struct amb_jsonl *jsonl); /* idempotent; also for AMB_CLEANUP */

/**
 * Next line that is not blank, without its end ("\n" or "\r\n"), without the byte order mark of the first.
 *
 * line:    valid until the next call.
 * Returns: 0 or AMB_JSONL_E_END. AMB_ERR_LIMIT: longer than line_bytes_max; -EIO and other errno values.
 * Thread:  any; blocks.
 */
int amb_jsonl_pop(const char **line, size_t *bytes, struct amb_jsonl *jsonl, struct amb_error *err);
