#pragma once
/* Record line: a line of an annotations file while it is read; for record*.c only. */
#include "annotate/record.h"
#include "annotate/rule.h"
#include "shard/jsontext.h"

/* Forms of a side, the first that is given decides. */
enum record_min {
    RECORD_MIN_PLAIN,
    RECORD_MIN_ANNOTATION,
    RECORD_MIN_SIGMA,
    RECORD_MIN_PROBABILITIES,
    RECORD_MIN_N,
};

enum record_max {
    RECORD_MAX_PLAIN,
    RECORD_MAX_ANNOTATION,
    RECORD_MAX_CROPS,
    RECORD_MAX_N,
};

/* While a line is read. NaN: not given. */
struct record_line {
    struct amb_record *record;
    struct amb_jsontext in;
    const char *field; /* whose value is read, for messages; static or borrowed */
    double min[RECORD_MIN_N], max[RECORD_MAX_N];
    double q[AMB_RULE_CROPS_N];
    bool has_crops;
};

/* AMB_ERR_FORMAT at the place where reading stopped. */
int record_fail_syntax(const struct record_line *line, struct amb_error *err);
/* AMB_ERR_FORMAT: the value that begins at `at` is not what the field allows. */
int record_fail_value(const struct record_line *line, const char *at, const char *allowed, struct amb_error *err);

/* Any value, checked to the last byte; `depth` objects and arrays are open around it. */
bool record_skip(struct record_line *line, unsigned depth);

/* `probabilities`, and a `crop_predictions_N` by its row of amb_rule_crops. */
int record_load_probabilities(struct record_line *line, unsigned arg, struct amb_error *err);
int record_load_crops(struct record_line *line, unsigned row, struct amb_error *err);
