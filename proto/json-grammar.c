/*
 * Json grammar: one pass over the text, recursion no deeper than depth_max.
 *
 * cJSON takes more than JSON: control characters and bytes that are not UTF-8 inside strings, any byte up to 0x20 as a
 * space, 01 and 1. as numbers, "\u12g4" as a zero character, which then ends the string. Two readers that disagree on
 * a text are a way past the one that checks, and bytes that are not UTF-8 come back in answers that no client can
 * decode.
 */
#include "proto/json-grammar.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/utf8.h"

struct grammar {
    const char *p, *end, *start;
    unsigned depth, depth_max;
    bool too_deep;
    const char *what; /* of what could not be read at p */
};

static bool grammar_fail(struct grammar *g, const char *what) {
    g->what = what;
    return false;
}

static void grammar_skip(struct grammar *g) {
    while (g->p < g->end && (*g->p == ' ' || *g->p == '\n' || *g->p == '\t' || *g->p == '\r')) {
        g->p++;
    }
}

/* The next character that is no space; not taken. */
static char grammar_peek(struct grammar *g) {
    grammar_skip(g);
    return g->p < g->end ? *g->p : '\0';
}

static bool grammar_take(struct grammar *g, char c) {
    if (g->p == g->end || *g->p != c) {
        return false;
    }
    g->p++;
    return true;
}

static bool grammar_word(struct grammar *g, const char *word) {
    size_t n = strlen(word);

    if ((size_t)(g->end - g->p) < n || memcmp(g->p, word, n) != 0) {
        return grammar_fail(g, "not JSON");
    }
    g->p += n;
    return true;
}

static size_t grammar_digits(struct grammar *g) {
    const char *from = g->p;

    while (g->p < g->end && *g->p >= '0' && *g->p <= '9') {
        g->p++;
    }
    return (size_t)(g->p - from);
}

static bool grammar_number(struct grammar *g) {
    const char *from = g->p;

    (void)grammar_take(g, '-');
    if (!grammar_take(g, '0') && grammar_digits(g) == 0) {
        return grammar_fail(g, "not JSON");
    }
    if (grammar_take(g, '.') && grammar_digits(g) == 0) {
        return grammar_fail(g, "not JSON");
    }
    if (grammar_take(g, 'e') || grammar_take(g, 'E')) {
        if (!grammar_take(g, '+')) {
            (void)grammar_take(g, '-');
        }
        if (grammar_digits(g) == 0) {
            return grammar_fail(g, "not JSON");
        }
    }
    return (size_t)(g->p - from) <= AMBP_JSON_NUMBER_BYTES || grammar_fail(g, "a number of more than 63 characters");
}

static bool grammar_hex4(uint32_t *out, struct grammar *g) {
    uint32_t v = 0;

    for (int i = 0; i < 4; i++, g->p++) {
        char c = g->p < g->end ? *g->p : '\0';

        if (c >= '0' && c <= '9') {
            v = v << 4 | (uint32_t)(c - '0');
        } else if ((c | 32) >= 'a' && (c | 32) <= 'f') {
            v = v << 4 | (uint32_t)((c | 32) - 'a' + 10);
        } else {
            return grammar_fail(g, "not JSON");
        }
    }
    *out = v;
    return true;
}

/* Behind "\u". */
static bool grammar_unicode(struct grammar *g) {
    uint32_t c, low;

    if (!grammar_hex4(&c, g)) {
        return false;
    }
    if (c == 0) {
        return grammar_fail(g, "a string with a zero character");
    }
    if (c < 0xD800 || c > 0xDFFF) {
        return true;
    }
    if (c > 0xDBFF || !grammar_take(g, '\\') || !grammar_take(g, 'u') || !grammar_hex4(&low, g) || low < 0xDC00 ||
        low > 0xDFFF) {
        return grammar_fail(g, "half a surrogate pair");
    }
    return true;
}

static bool grammar_escape(struct grammar *g) {
    if (grammar_take(g, 'u')) {
        return grammar_unicode(g);
    }
    if (g->p == g->end || *g->p == '\0' || strchr("\"\\/bfnrt", *g->p) == NULL) {
        return grammar_fail(g, "not JSON");
    }
    g->p++;
    return true;
}

static bool grammar_character(struct grammar *g) {
    size_t n = amb_utf8_peek(g->p, (size_t)(g->end - g->p));

    g->p += n;
    return n > 0 || grammar_fail(g, "a string that is not UTF-8");
}

static bool grammar_string(struct grammar *g) {
    if (!grammar_take(g, '"')) {
        return grammar_fail(g, "not JSON");
    }
    while (g->p < g->end && *g->p != '"') {
        unsigned char c = (unsigned char)*g->p;

        if (c == '\\') {
            g->p++;
            if (!grammar_escape(g)) {
                return false;
            }
        } else if (c >= 0x80) {
            if (!grammar_character(g)) {
                return false;
            }
        } else if (c < 0x20) {
            return grammar_fail(g, "a string with a control character that is not escaped");
        } else {
            g->p++;
        }
    }
    return grammar_take(g, '"') || grammar_fail(g, "not JSON");
}

static bool grammar_value(struct grammar *g);

/* Items of an array or an object up to its end. */
static bool grammar_items(struct grammar *g, bool is_object) {
    char close = is_object ? '}' : ']';

    if (grammar_peek(g) == close) {
        g->p++;
        return true;
    }
    do {
        if (is_object) {
            grammar_skip(g);
            if (!grammar_string(g)) {
                return false;
            }
            if (grammar_peek(g) != ':') {
                return grammar_fail(g, "not JSON");
            }
            g->p++;
        }
        if (!grammar_value(g)) {
            return false;
        }
        grammar_skip(g);
    } while (grammar_take(g, ','));
    return grammar_take(g, close) || grammar_fail(g, "not JSON");
}

static bool grammar_nested(struct grammar *g, bool is_object) {
    bool ok;

    if (g->depth == g->depth_max) {
        g->too_deep = true;
        return false;
    }
    g->depth++;
    g->p++;
    ok = grammar_items(g, is_object);
    g->depth--;
    return ok;
}

static bool grammar_value(struct grammar *g) {
    switch (grammar_peek(g)) {
    case '{':
        return grammar_nested(g, true);
    case '[':
        return grammar_nested(g, false);
    case '"':
        return grammar_string(g);
    case 't':
        return grammar_word(g, "true");
    case 'f':
        return grammar_word(g, "false");
    case 'n':
        return grammar_word(g, "null");
    default:
        return grammar_number(g);
    }
}

static int grammar_report(const struct grammar *g, struct amb_error *err) {
    unsigned line = 1, column = 1;
    char found[17];
    size_t n = 0;

    for (const char *p = g->start; p < g->p; p++) {
        line += *p == '\n';
        column = *p == '\n' ? 1 : column + 1;
    }
    if (g->too_deep) {
        return amb_fail(err, AMB_ERR_LIMIT, "line %u column %u: JSON nested deeper than %u", line, column, g->depth_max);
    }
    if (g->p == g->end) {
        return amb_fail(err, AMB_ERR_FORMAT, "line %u column %u: JSON ends too early", line, column);
    }
    for (const char *p = g->p; p < g->end && n + 1 < sizeof found; p++, n++) {
        found[n] = *p >= 0x20 && *p <= 0x7E ? *p : '?';
    }
    found[n] = '\0';
    return amb_fail(err, AMB_ERR_FORMAT, "line %u column %u: %s at '%s'", line, column, g->what, found);
}

int ambp_json_check(const char *text, size_t bytes, unsigned depth_max, struct amb_error *err) {
    struct grammar g = {.p = text, .end = text + bytes, .start = text, .depth_max = depth_max, .what = "not JSON"};

    if (bytes >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        g.p += 3;
    }
    if (!grammar_value(&g)) {
        return grammar_report(&g, err);
    }
    grammar_skip(&g);
    if (g.p != g.end) {
        g.what = "not JSON";
        return grammar_report(&g, err);
    }
    return 0;
}
