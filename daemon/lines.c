#include "daemon/lines.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "daemon/text.h"

#define LINES_MAX       1000u  /* kept; more are counted */
#define LINES_BYTES_MAX 32768u /* of them in an answer: an ERROR is one frame */

void ambd_lines_deinit(struct ambd_lines *lines) {
    for (size_t i = 0; i < lines->n; i++) {
        amb_free(lines->lines[i]);
    }
    amb_free(lines->lines);
    *lines = (struct ambd_lines){0};
}

void ambd_lines_push(struct ambd_lines *lines, const char *text) {
    char **grown = lines->n < LINES_MAX ? amb_realloc(lines->lines, (lines->n + 1) * sizeof *grown) : NULL;

    if (grown != NULL) {
        lines->lines = grown;
        grown[lines->n] = amb_strdup(text);
    }
    if (grown != NULL && grown[lines->n] != NULL) {
        lines->n++;
    } else {
        lines->n_more++;
    }
}

void ambd_lines_printf(struct ambd_lines *lines, const char *fmt, ...) {
    char text[1024];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    ambd_lines_push(lines, text);
}

bool ambd_lines_any(const struct ambd_lines *lines) {
    return lines->n > 0 || lines->n_more > 0;
}

/* Bytes of a line in JSON, at most. */
static size_t line_bytes(const char *line) {
    size_t n = 3;

    for (const char *p = line; *p != '\0'; p++) {
        n += (unsigned char)*p < 0x20 || *p == '"' || *p == '\\' || (unsigned char)*p >= 0x80 ? 6 : 1;
    }
    return n;
}

cJSON *ambd_lines_encode(const struct ambd_lines *lines) {
    cJSON *list = cJSON_CreateArray();
    size_t i, bytes = 0;
    char more[64];

    for (i = 0; i < lines->n; i++) {
        bytes += line_bytes(lines->lines[i]);
        if (bytes > LINES_BYTES_MAX) {
            break;
        }
        ambd_json_add_text(list, NULL, lines->lines[i], strlen(lines->lines[i]));
    }
    if (i < lines->n || lines->n_more > 0) {
        snprintf(more, sizeof more, "and %zu more", lines->n - i + lines->n_more);
        ambd_json_add_text(list, NULL, more, strlen(more));
    }
    return list;
}
