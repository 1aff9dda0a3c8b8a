/*
 * Record: one object a line; a table of the fields that mean something, in one pass and without a tree.
 *
 * The grammar is RFC 8259, checked to the last byte also in fields that nobody reads, plus what Python's json module
 * writes and takes: Infinity and NaN as bare words, the later of two equal fields. A bare NaN is legal only in
 * fields that are not read. Several fields may say the same side (files that carry a curve and what was made of it);
 * then the plainest form decides, in the order of enum record_min and record_max.
 *
 * Not here: which sample a name means (match.c), what a large sigma_min means (import.c).
 */
#include "annotate/record.h"

#include <math.h>
#include <string.h>

#include "annotate/ledger.h"
#include "annotate/number.h"
#include "annotate/record-line.h"

#define RECORD_CROP_PREFIX "crop_predictions_"

#define ALLOWED_SIGMA "a number >= 0, \"inf\" or null"

/* Read the value of a field. `arg` says which of its kind. */
typedef int (*record_load)(struct record_line *line, unsigned arg, struct amb_error *err);

struct record_field {
    const char *name;
    record_load load;
    unsigned arg;
};

static bool record_text_is(const struct amb_record *record, const char *text) {
    return record->text.n_bytes == strlen(text) && memcmp(record->text.data, text, record->text.n_bytes) == 0;
}

/* Names. */

static int record_load_name(struct record_line *line, unsigned i_name, struct amb_error *err) {
    struct amb_buf *name = &line->record->names[i_name];
    const char *at;

    name->n_bytes = 0;
    if (amb_jsontext_peek(&line->in) != '"') {
        at = line->in.p;
        return amb_jsontext_word(&line->in, "null") ? 0 : record_fail_value(line, at, "a string or null", err);
    }
    return amb_jsontext_string(name, &line->in) ? 0 : record_fail_syntax(line, err);
}

static int record_load_index(struct record_line *line, unsigned arg, struct amb_error *err) {
    const char *at;
    double value;

    (void)arg;
    line->record->has_index = false;
    amb_jsontext_peek(&line->in);
    at = line->in.p;
    if (amb_jsontext_word(&line->in, "null")) {
        return 0;
    }
    if (!amb_number_decode(&value, &line->in.p, line->in.end) || !(value >= 0 && value < 0x1p53) ||
        value != floor(value)) {
        return record_fail_value(line, at, "an integer >= 0 or null", err);
    }
    line->record->has_index = true;
    line->record->index = (uint64_t)value;
    return 0;
}

/* Sigmas. */

/* A sigma, or NaN for null. */
static int record_read_sigma(double *out, struct record_line *line, struct amb_error *err) {
    struct amb_record *record = line->record;
    const bool is_text = amb_jsontext_peek(&line->in) == '"';
    const char *at = line->in.p;

    *out = NAN;
    if (is_text) {
        if (!amb_jsontext_string(&record->text, &line->in)) {
            return record_fail_syntax(line, err);
        }
        if (!record_text_is(record, "inf") && !record_text_is(record, "Infinity")) {
            return record_fail_value(line, at, ALLOWED_SIGMA, err);
        }
        *out = INFINITY;
        return 0;
    }
    if (amb_jsontext_word(&line->in, "null")) {
        return 0;
    }
    if (amb_jsontext_word(&line->in, "Infinity")) {
        *out = INFINITY;
        return 0;
    }
    if (!amb_number_decode(out, &line->in.p, line->in.end) || *out < 0) {
        return record_fail_value(line, at, ALLOWED_SIGMA, err);
    }
    return 0;
}

static int record_load_min(struct record_line *line, unsigned form, struct amb_error *err) {
    return record_read_sigma(&line->min[form], line, err);
}

static int record_load_max(struct record_line *line, unsigned form, struct amb_error *err) {
    return record_read_sigma(&line->max[form], line, err);
}

/* A number is sigma_min; a pair is both. */
static int record_load_annotation(struct record_line *line, unsigned arg, struct amb_error *err) {
    const char *at;
    int r;

    (void)arg;
    line->max[RECORD_MAX_ANNOTATION] = NAN;
    if (amb_jsontext_peek(&line->in) != '[') {
        return record_read_sigma(&line->min[RECORD_MIN_ANNOTATION], line, err);
    }
    at = line->in.p;
    amb_jsontext_take(&line->in, '[');
    r = record_read_sigma(&line->min[RECORD_MIN_ANNOTATION], line, err);
    if (r == 0 && !amb_jsontext_take(&line->in, ',')) {
        return record_fail_value(line, at, "a sigma or a pair [sigma_min, sigma_max]", err);
    }
    r = r < 0 ? r : record_read_sigma(&line->max[RECORD_MAX_ANNOTATION], line, err);
    if (r == 0 && !amb_jsontext_take(&line->in, ']')) {
        return record_fail_value(line, at, "a sigma or a pair [sigma_min, sigma_max]", err);
    }
    return r;
}

/* Scores. */

/* Whatever is no number is no score, as in a sample's .json member. */
static int record_load_score(struct record_line *line, struct amb_error *err) {
    double value;

    line->record->score = NAN;
    amb_jsontext_peek(&line->in);
    if (amb_number_decode(&value, &line->in.p, line->in.end)) {
        line->record->score = value;
        return 0;
    }
    return record_skip(line, 1) ? 0 : record_fail_syntax(line, err);
}

/* The line. */

/* The names first, AMB_RECORD_NAMES_N of them, in the order in which they are tried. */
#define FIELDS_WHO (AMB_RECORD_NAMES_N + 2u) /* those that say which sample is meant */
static const struct record_field fields[] = {
    {"key", record_load_name, 0},
    {"__key__", record_load_name, 1},
    {"filename", record_load_name, 2},
    {"file_name", record_load_name, 3},
    {"path", record_load_name, 4},
    {"file", record_load_name, 5},
    {"image", record_load_name, 6},
    {"name", record_load_name, 7},
    {"index", record_load_index, 0},
    {"idx", record_load_index, 0},
    {"sigma_min", record_load_min, RECORD_MIN_PLAIN},
    {"sigma_max", record_load_max, RECORD_MAX_PLAIN},
    {"annotation", record_load_annotation, 0},
    {"sigma", record_load_min, RECORD_MIN_SIGMA},
    {"probabilities", record_load_probabilities, 0},
};

/* The size behind the prefix, as an index of amb_rule_crops; -1 for any other text. */
static int record_crop_row(const char *text, size_t bytes) {
    const size_t prefix = sizeof RECORD_CROP_PREFIX - 1;
    unsigned size = 0;

    if (bytes == prefix || bytes > prefix + 4 || text[prefix] == '0') {
        return -1;
    }
    for (size_t i = prefix; i < bytes; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return -1;
        }
        size = size * 10 + (unsigned)(text[i] - '0');
    }
    return amb_rule_crop_find(size);
}

static int record_load_field(struct record_line *line, struct amb_error *err) {
    struct amb_record *record = line->record;
    const char *score_key = record->options.score_key;
    const size_t n = score_key != NULL ? FIELDS_WHO : sizeof fields / sizeof fields[0];

    if (score_key != NULL && record_text_is(record, score_key)) {
        return record_load_score(line, err);
    }
    for (size_t i = 0; i < n; i++) {
        if (record_text_is(record, fields[i].name)) {
            line->field = fields[i].name;
            return fields[i].load(line, fields[i].arg, err);
        }
    }
    if (score_key == NULL && record->text.n_bytes >= sizeof RECORD_CROP_PREFIX - 1 &&
        memcmp(record->text.data, RECORD_CROP_PREFIX, sizeof RECORD_CROP_PREFIX - 1) == 0) {
        int row = record_crop_row((const char *)record->text.data, record->text.n_bytes);

        line->field = "crop_predictions";
        return row >= 0 ? record_load_crops(line, (unsigned)row, err)
                        : record_fail_value(line, line->in.p, "patches of size 1, 4, 8, 16, 24, 32, 48 or 64", err);
    }
    return record_skip(line, 1) ? 0 : record_fail_syntax(line, err);
}

static void record_settle(struct amb_record *record, struct record_line *line) {
    if (line->has_crops) {
        line->max[RECORD_MAX_CROPS] = amb_rule_sigma_max(line->q, NULL, record->options.crop_threshold);
    }
    for (unsigned i = RECORD_MIN_N; i-- > 0;) {
        if (!isnan(line->min[i])) {
            record->sigma_min = line->min[i];
            record->min_is_ruled = i == RECORD_MIN_PROBABILITIES;
            record->sides |= AMB_SIDE_MIN;
        }
    }
    for (unsigned i = RECORD_MAX_N; i-- > 0;) {
        if (!isnan(line->max[i])) {
            record->sigma_max = line->max[i];
            record->sides |= AMB_SIDE_MAX;
        }
    }
}

static void record_clear(struct amb_record *record, struct record_line *line) {
    for (unsigned i = 0; i < AMB_RECORD_NAMES_N; i++) {
        record->names[i].n_bytes = 0;
    }
    record->has_index = record->min_is_ruled = false;
    record->sides = 0;
    record->score = NAN;
    line->record = record;
    line->has_crops = false;
    for (unsigned i = 0; i < RECORD_MIN_N; i++) {
        line->min[i] = NAN;
    }
    for (unsigned i = 0; i < RECORD_MAX_N; i++) {
        line->max[i] = NAN;
    }
    for (unsigned i = 0; i < AMB_RULE_CROPS_N; i++) {
        line->q[i] = NAN;
    }
}

static bool record_has_name(const struct amb_record *record) {
    for (unsigned i = 0; i < AMB_RECORD_NAMES_N; i++) {
        if (record->names[i].n_bytes > 0) {
            return true;
        }
    }
    return record->has_index;
}

int amb_record_decode(struct amb_record *record, const char *text, size_t bytes, struct amb_error *err) {
    struct record_line line;

    record_clear(record, &line);
    line.in = (struct amb_jsontext){.p = text, .end = text + bytes, .start = text};
    if (!amb_jsontext_take(&line.in, '{')) {
        return record_fail_syntax(&line, err);
    }
    if (!amb_jsontext_take(&line.in, '}')) {
        do {
            int r;

            if (!amb_jsontext_string(&record->text, &line.in) || !amb_jsontext_take(&line.in, ':')) {
                return record_fail_syntax(&line, err);
            }
            r = record_load_field(&line, err);
            if (r < 0) {
                return r;
            }
        } while (amb_jsontext_take(&line.in, ','));
        if (!amb_jsontext_take(&line.in, '}')) {
            return record_fail_syntax(&line, err);
        }
    }
    amb_jsontext_peek(&line.in);
    if (line.in.p != line.in.end) {
        return record_fail_syntax(&line, err);
    }
    if (!record_has_name(record)) {
        line.field = "name of the sample";
        return record_fail_value(&line, text, "one of the fields key, filename, path, name, index", err);
    }
    record_settle(record, &line);
    return 0;
}

void amb_record_init(struct amb_record *record, const struct amb_record_options *options) {
    *record = (struct amb_record){.options = *options};
}

void amb_record_deinit(struct amb_record *record) {
    for (unsigned i = 0; i < AMB_RECORD_NAMES_N; i++) {
        amb_buf_deinit(&record->names[i]);
    }
    amb_buf_deinit(&record->text);
    amb_buf_deinit(&record->numbers);
    amb_grid_deinit(&record->grid);
}
