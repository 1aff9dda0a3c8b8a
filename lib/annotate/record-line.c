/*
 * Record line: what all forms share: messages that show the place, and the strict reader of what nobody reads.
 *
 * A message repeats at most the beginning of a wrong value, as ASCII, because it may be shown anywhere.
 */
#include "annotate/record-line.h"

#include <errno.h>
#include <string.h>

#include "annotate/number.h"

#define RECORD_FOUND_BYTES 40u /* of a wrong value that a message repeats; not tuned */

/* The text at `at` as a message may carry it: cut at `RECORD_FOUND_BYTES`, all but printable ASCII as '?'. */
static void record_quote(char out[RECORD_FOUND_BYTES + 4], const struct record_line *line, const char *at) {
    size_t n = 0;

    while (n < RECORD_FOUND_BYTES && at + n < line->in.end) {
        out[n] = at[n];
        if (out[n] < 0x20 || out[n] > 0x7e) {
            out[n] = '?';
        }
        n++;
    }
    memcpy(out + n, at + n < line->in.end ? "..." : "", at + n < line->in.end ? 4 : 1);
}

int record_fail_syntax(const struct record_line *line, struct amb_error *err) {
    const char *at = line->in.p < line->in.end ? line->in.p : line->in.end;
    char found[RECORD_FOUND_BYTES + 4];

    if (line->in.no_memory) {
        return amb_fail(err, -ENOMEM, "out of memory at line %llu (%s)", (unsigned long long)line->record->i_line,
                        line->record->options.path);
    }
    if (at == line->in.end) {
        return amb_fail(err, AMB_ERR_FORMAT, "line %llu column %zu: ends too early, allowed: one object a line (%s)",
                        (unsigned long long)line->record->i_line, (size_t)(at - line->in.start) + 1,
                        line->record->options.path);
    }
    record_quote(found, line, at);
    return amb_fail(err, AMB_ERR_FORMAT, "line %llu column %zu: not JSON at '%s', allowed: one object a line (%s)",
                    (unsigned long long)line->record->i_line, (size_t)(at - line->in.start) + 1, found,
                    line->record->options.path);
}

int record_fail_value(const struct record_line *line, const char *at, const char *allowed,
                             struct amb_error *err) {
    char found[RECORD_FOUND_BYTES + 4];

    record_quote(found, line, at);
    return amb_fail(err, AMB_ERR_FORMAT, "line %llu column %zu: %s: found %s, allowed: %s (%s)",
                    (unsigned long long)line->record->i_line, (size_t)(at - line->in.start) + 1, line->field, found,
                    allowed, line->record->options.path);
}

static bool record_skip_object(struct record_line *line, unsigned depth) {
    struct amb_jsontext *in = &line->in;

    if (amb_jsontext_take(in, '}')) {
        return true;
    }
    do {
        if (!amb_jsontext_string(&line->record->text, in) || !amb_jsontext_take(in, ':') ||
            !record_skip(line, depth + 1)) {
            return false;
        }
    } while (amb_jsontext_take(in, ','));
    return amb_jsontext_take(in, '}');
}

static bool record_skip_array(struct record_line *line, unsigned depth) {
    struct amb_jsontext *in = &line->in;

    if (amb_jsontext_take(in, ']')) {
        return true;
    }
    do {
        if (!record_skip(line, depth + 1)) {
            return false;
        }
    } while (amb_jsontext_take(in, ','));
    return amb_jsontext_take(in, ']');
}

bool record_skip(struct record_line *line, unsigned depth) {
    struct amb_jsontext *in = &line->in;
    double number;

    switch (amb_jsontext_peek(in)) {
    case '{':
        return depth < AMB_JSONTEXT_DEPTH_MAX && amb_jsontext_take(in, '{') && record_skip_object(line, depth);
    case '[':
        return depth < AMB_JSONTEXT_DEPTH_MAX && amb_jsontext_take(in, '[') && record_skip_array(line, depth);
    case '"':
        return amb_jsontext_string(&line->record->text, in);
    case '\0':
        return false;
    default:
        return amb_number_decode(&number, &in->p, in->end) || amb_jsontext_word(in, "null") ||
               amb_jsontext_word(in, "true") || amb_jsontext_word(in, "false") || amb_jsontext_word(in, "NaN") ||
               amb_jsontext_word(in, "Infinity") || amb_jsontext_word(in, "-Infinity");
    }
}
