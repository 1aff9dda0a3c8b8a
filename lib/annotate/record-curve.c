/*
 * Record curve: what a model said at each noise level or patch size, and the rule that makes a sigma of it.
 *
 * Arrays are read as they come, number by number, into one scratch array of means: a line holds 8,192 numbers.
 */
#include "annotate/record-line.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "annotate/number.h"

#define ALLOWED_SHARES "numbers from 0 to 1"

static int record_read_share(double *out, struct record_line *line, struct amb_error *err) {
    const char *at;

    amb_jsontext_peek(&line->in);
    at = line->in.p;
    if (!amb_number_decode(out, &line->in.p, line->in.end) || !(*out >= 0 && *out <= 1)) {
        return record_fail_value(line, at, ALLOWED_SHARES, err);
    }
    return 0;
}

/* Mean of a number or of a non-empty array of them. */
static int record_read_mean(double *out, struct record_line *line, struct amb_error *err) {
    double sum = 0, share;
    size_t n = 0;

    if (amb_jsontext_peek(&line->in) != '[') {
        return record_read_share(out, line, err);
    }
    amb_jsontext_take(&line->in, '[');
    do {
        int r = record_read_share(&share, line, err);

        if (r < 0) {
            return r;
        }
        sum += share;
        n++;
    } while (amb_jsontext_take(&line->in, ','));
    if (!amb_jsontext_take(&line->in, ']')) {
        return record_fail_syntax(line, err);
    }
    *out = sum / (double)n;
    return 0;
}

/* sigmas.txt beside the file, unless an option names another. */
static int record_load_grid(struct amb_record *record, struct amb_error *err) {
    const char *path = record->options.path, *slash = strrchr(path, '/');
    int n = slash != NULL ? (int)(slash - path) + 1 : 0;
    char beside[4096]; /* PATH_MAX */

    if (record->options.sigmas_path != NULL) {
        return amb_grid_load(&record->grid, record->options.sigmas_path, err);
    }
    if (snprintf(beside, sizeof beside, "%.*ssigmas.txt", n, path) >= (int)sizeof beside) {
        return amb_fail(err, -ENAMETOOLONG, "path of sigmas.txt beside the file is too long");
    }
    return amb_grid_load(&record->grid, beside, err);
}

static int record_rule_min(struct record_line *line, const char *at, struct amb_error *err) {
    struct amb_record *record = line->record;
    double *p = (double *)(void *)record->numbers.data; /* 64-aligned */
    const size_t n = record->numbers.n_bytes / sizeof *p;
    char allowed[80];

    if (n != record->grid.n) {
        snprintf(allowed, sizeof allowed, "as many entries as sigmas, %zu, not %zu", record->grid.n, n);
        return record_fail_value(line, at, allowed, err);
    }
    amb_rule_smooth(p, n, record->options.span);
    line->min[RECORD_MIN_PROBABILITIES] = amb_rule_sigma_min(p, record->grid.sigmas, n, record->options.epsilon);
    return 0;
}

/* [grid][trials], or [grid] of means. */
int record_load_probabilities(struct record_line *line, unsigned arg, struct amb_error *err) {
    struct amb_record *record = line->record;
    const char *at;
    double mean;
    int r;

    (void)arg;
    line->min[RECORD_MIN_PROBABILITIES] = NAN;
    record->numbers.n_bytes = 0;
    amb_jsontext_peek(&line->in);
    at = line->in.p;
    if (amb_jsontext_word(&line->in, "null")) {
        return 0;
    }
    if (!amb_jsontext_take(&line->in, '[')) {
        return record_fail_value(line, at, "an array of " ALLOWED_SHARES " or of arrays of them", err);
    }
    r = record->grid.n == 0 ? record_load_grid(record, err) : 0;
    if (r < 0) {
        return r;
    }
    do {
        r = record_read_mean(&mean, line, err);
        if (r < 0) {
            return r;
        }
        if (amb_buf_push(&record->numbers, &mean, sizeof mean) < 0) {
            return amb_fail(err, -ENOMEM, "out of memory at line %llu (%s)", (unsigned long long)record->i_line,
                            record->options.path);
        }
    } while (amb_jsontext_take(&line->in, ','));
    if (!amb_jsontext_take(&line->in, ']')) {
        return record_fail_syntax(line, err);
    }
    return record_rule_min(line, at, err);
}

int record_load_crops(struct record_line *line, unsigned row, struct amb_error *err) {
    amb_jsontext_peek(&line->in);
    if (amb_jsontext_word(&line->in, "null")) {
        line->q[row] = NAN;
        return 0;
    }
    line->has_crops = true;
    return record_read_mean(&line->q[row], line, err);
}
