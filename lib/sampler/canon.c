/*
 * Canon: a cursor over a buffer. Numbers are written in the shortest of %.15g, %.16g and %.17g that reads back as the
 * same bits, integers that an f64 may not hold exactly as strings (proto/state.md).
 */
#include "sampler/canon.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void amb_canon_init(struct amb_canon *canon, char *out, size_t out_bytes) {
    *canon = (struct amb_canon){.out = out, .capacity_bytes = out_bytes};
}

void amb_canon_push(struct amb_canon *canon, const char *text) {
    size_t n = strlen(text);

    if (canon->full || n >= canon->capacity_bytes - canon->n_bytes) {
        canon->full = true;
        return;
    }
    memcpy(canon->out + canon->n_bytes, text, n);
    canon->n_bytes += n;
}

void amb_canon_push_string(struct amb_canon *canon, const char *string) {
    amb_canon_push(canon, "\"");
    for (const char *p = string; *p != '\0'; p++) {
        unsigned char c = (unsigned char)*p;
        char text[8] = {*p};

        if (c < 0x20) {
            snprintf(text, sizeof text, "\\u%04x", c);
        } else if (c == '"' || c == '\\') {
            snprintf(text, sizeof text, "\\%c", c);
        }
        amb_canon_push(canon, text);
    }
    amb_canon_push(canon, "\"");
}

void amb_canon_push_u64(struct amb_canon *canon, uint64_t value) {
    char text[32];

    snprintf(text, sizeof text, value < UINT64_C(1) << 53 ? "%" PRIu64 : "\"%" PRIu64 "\"", value);
    amb_canon_push(canon, text);
}

void amb_canon_push_f64(struct amb_canon *canon, double value) {
    char text[40];

    if (isinf(value)) {
        amb_canon_push(canon, value > 0 ? "\"inf\"" : "\"-inf\"");
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) {
            break;
        }
    }
    for (char *p = text; *p != '\0'; p++) {
        *p = *p == ',' ? '.' : *p; /* a host program may have set a locale */
    }
    amb_canon_push(canon, text);
}

int amb_canon_get(struct amb_canon *canon) {
    if (canon->full || canon->n_bytes >= canon->capacity_bytes) {
        return -ENOSPC;
    }
    canon->out[canon->n_bytes] = '\0';
    return (int)canon->n_bytes;
}
