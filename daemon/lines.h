#pragma once
/* Lines: what was noticed on the way, for people; of a reload, and of annotations that were read. */
#include <stdbool.h>
#include <stddef.h>

#include <cjson/cJSON.h>

/* An owner's, and one thread's at a time; all zero: none. */
struct ambd_lines {
    char **lines; /* owned */
    size_t n;
    size_t n_more; /* that came too late or found no memory */
};
void ambd_lines_deinit(struct ambd_lines *lines); /* idempotent */

/* A copy of text at the end. */
void ambd_lines_push(struct ambd_lines *lines, const char *text);
void ambd_lines_printf(struct ambd_lines *lines, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

bool ambd_lines_any(const struct ambd_lines *lines);

/* An array of strings, at most as long as an answer has room for; then "and N more". The caller's. */
cJSON *ambd_lines_encode(const struct ambd_lines *lines);
