/*
 * Jsontext: RFC 8259 without a tree. A tree of the labels of ImageNet takes 300 MB; this takes none.
 *
 * It is not a validator: what it skips it only brackets and unquotes. What it returns is exact.
 */
#include "shard/jsontext.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define JSONTEXT_NUMBER_BYTES 64u /* longest number text that writers make; 17 digits would do */

void amb_jsontext_init(struct amb_jsontext *in, const uint8_t *text, size_t bytes) {
    in->start = in->p = (const char *)text;
    in->end = in->start + bytes;
    in->no_memory = false;
    if (bytes >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        in->p += 3; /* byte order mark of editors on Windows */
    }
}

char amb_jsontext_peek(struct amb_jsontext *in) {
    while (in->p < in->end && (*in->p == ' ' || *in->p == '\n' || *in->p == '\t' || *in->p == '\r')) {
        in->p++;
    }
    return in->p < in->end ? *in->p : '\0';
}

bool amb_jsontext_take(struct amb_jsontext *in, char c) {
    if (amb_jsontext_peek(in) != c || in->p == in->end) {
        return false;
    }
    in->p++;
    return true;
}

bool amb_jsontext_word(struct amb_jsontext *in, const char *word) {
    size_t n = strlen(word);

    amb_jsontext_peek(in);
    if ((size_t)(in->end - in->p) < n || memcmp(in->p, word, n) != 0) {
        return false;
    }
    in->p += n;
    return true;
}

static bool jsontext_hex4(uint32_t *out, struct amb_jsontext *in) {
    uint32_t v = 0;

    if (in->end - in->p < 4) {
        return false;
    }
    for (int i = 0; i < 4; i++) {
        char c = *in->p++;

        if (c >= '0' && c <= '9') {
            v = v << 4 | (uint32_t)(c - '0');
        } else if ((c | 32) >= 'a' && (c | 32) <= 'f') {
            v = v << 4 | (uint32_t)((c | 32) - 'a' + 10);
        } else {
            return false;
        }
    }
    *out = v;
    return true;
}

static bool jsontext_push(struct amb_jsontext *in, struct amb_buf *out, const void *data, size_t bytes) {
    bool pushed = amb_buf_push(out, data, bytes) == 0;

    in->no_memory = in->no_memory || !pushed;
    return pushed;
}

static bool jsontext_push_utf8(struct amb_jsontext *in, struct amb_buf *out, uint32_t c) {
    uint8_t b[4];
    size_t n;

    if (c < 0x80) {
        b[0] = (uint8_t)c;
        n = 1;
    } else if (c < 0x800) {
        b[0] = (uint8_t)(0xC0 | c >> 6);
        n = 2;
    } else if (c < 0x10000) {
        b[0] = (uint8_t)(0xE0 | c >> 12);
        n = 3;
    } else {
        b[0] = (uint8_t)(0xF0 | c >> 18);
        n = 4;
    }
    for (size_t i = 1; i < n; i++) {
        b[i] = (uint8_t)(0x80 | (c >> (6 * (n - 1 - i)) & 0x3F));
    }
    return jsontext_push(in, out, b, n);
}

/* Behind "\u". A lone surrogate is no character and refused, but for \udc80 to \udcff: so Python (surrogateescape)
 * writes the stray bytes of a name that is not UTF-8, and such a byte comes back. */
static bool jsontext_unicode(struct amb_buf *out, struct amb_jsontext *in) {
    uint32_t c, low;

    if (!jsontext_hex4(&c, in)) {
        return false;
    }
    if (c >= 0xD800 && c < 0xDC00) {
        if (in->end - in->p < 6 || in->p[0] != '\\' || in->p[1] != 'u') {
            return false;
        }
        in->p += 2;
        if (!jsontext_hex4(&low, in) || low < 0xDC00 || low > 0xDFFF) {
            return false;
        }
        c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
    } else if (c >= 0xDC80 && c < 0xDD00) {
        return jsontext_push(in, out, &(uint8_t){(uint8_t)c}, 1);
    } else if (c >= 0xDC00 && c < 0xE000) {
        return false;
    }
    return jsontext_push_utf8(in, out, c);
}

static bool jsontext_escape(struct amb_buf *out, struct amb_jsontext *in) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *hit;

    if (in->p == in->end) {
        return false;
    }
    if (*in->p == 'u') {
        in->p++;
        return jsontext_unicode(out, in);
    }
    hit = *in->p != '\0' ? strchr(from, *in->p) : NULL;
    if (hit == NULL) {
        return false;
    }
    in->p++;
    return jsontext_push(in, out, &to[hit - from], 1);
}

bool amb_jsontext_string(struct amb_buf *out, struct amb_jsontext *in) {
    out->n_bytes = 0;
    if (!amb_jsontext_take(in, '"')) {
        return false;
    }
    for (;;) {
        const char *run = in->p;

        while (in->p < in->end && *in->p != '"' && *in->p != '\\' && (unsigned char)*in->p >= 0x20) {
            in->p++;
        }
        if (in->p == in->end || !jsontext_push(in, out, run, (size_t)(in->p - run))) {
            return false;
        }
        if (*in->p == '"') {
            in->p++;
            return true;
        }
        if (*in->p != '\\') {
            return false;
        }
        in->p++;
        if (!jsontext_escape(out, in)) {
            return false;
        }
    }
}

bool amb_jsontext_number(double *out, struct amb_jsontext *in) {
    char text[JSONTEXT_NUMBER_BYTES + 1];
    size_t n = 0;
    char *stop;
    double v;

    amb_jsontext_peek(in);
    while (in->p + n < in->end && n < JSONTEXT_NUMBER_BYTES && in->p[n] != '\0' &&
           strchr("+-0123456789.eE", in->p[n]) != NULL) {
        text[n] = in->p[n];
        n++;
    }
    text[n] = '\0';
    if (n == 0 || text[0] == '+' || text[0] == '.') {
        return false;
    }
    v = strtod(text, &stop);
    if (*stop != '\0' || !isfinite(v)) {
        return false;
    }
    in->p += n;
    *out = v;
    return true;
}

static bool jsontext_skip_string(struct amb_jsontext *in) {
    in->p++;
    while (in->p < in->end && *in->p != '"') {
        in->p += *in->p == '\\' && in->end - in->p > 1 ? 2 : 1;
    }
    if (in->p == in->end) {
        return false;
    }
    in->p++;
    return true;
}

bool amb_jsontext_skip(struct amb_jsontext *in) {
    unsigned depth = 0;

    do {
        char c = amb_jsontext_peek(in);

        if (in->p == in->end) {
            return false;
        }
        if (c == '"') {
            if (!jsontext_skip_string(in)) {
                return false;
            }
            continue;
        }
        if (c == '{' || c == '[') {
            if (++depth > AMB_JSONTEXT_DEPTH_MAX) {
                return false;
            }
        } else if (c == '}' || c == ']') {
            if (depth == 0) {
                return false;
            }
            depth--;
        } else if (depth == 0) {
            /* a number or a word: ends at a delimiter */
            while (in->p < in->end && *in->p != '\0' && strchr(",]} \n\t\r", *in->p) == NULL) {
                in->p++;
            }
            return true;
        }
        in->p++;
    } while (depth != 0);
    return true;
}

bool amb_jsontext_field(struct amb_jsontext *in, struct amb_buf *scratch, const char *field) {
    size_t n = strlen(field);
    const char *at;

    if (!amb_jsontext_take(in, '{') || amb_jsontext_peek(in) == '}') {
        return false;
    }
    do {
        at = in->p - 1; /* before the field: a '}' behind half of one does not end the object */
        if (!amb_jsontext_string(scratch, in) || !amb_jsontext_take(in, ':')) {
            in->p = at;
            return false;
        }
        if (scratch->n_bytes == n && memcmp(scratch->data, field, n) == 0) {
            return true;
        }
        if (!amb_jsontext_skip(in)) {
            in->p = at;
            return false;
        }
    } while (amb_jsontext_take(in, ','));
    return false;
}

size_t amb_jsontext_line(const struct amb_jsontext *in) {
    size_t line = 1;

    for (const char *p = in->start; p < in->p && p < in->end; p++) {
        line += *p == '\n';
    }
    return line;
}
