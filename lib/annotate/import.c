/*
 * Import: lines -> records -> samples -> a staging array by sample -> the ledger.
 *
 * Nothing reaches the ledger before the whole file was read, so a file is taken whole or not at all. The staging
 * array is by sample, not by line: its size is bounded by the catalog, whatever the file holds, and the later line
 * of a sample wins for each side by itself.
 */
#include "annotate/import.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "annotate/record.h"
#include "base/alloc.h"
#include "base/cleanup.h"

#define STAGE_NAMED 4u /* beside the bits of enum amb_side: a line named the sample */

/* What the file says of each sample, until it is known to be good. */
struct import_stage {
    uint32_t n_samples;
    struct amb_annotation *values;
    uint8_t *marks; /* amb_side bits and STAGE_NAMED */
    double *scores; /* borrowed; NULL: annotations are read */
};

static void import_stage_deinit(struct import_stage *stage) {
    amb_free(stage->values);
    amb_free(stage->marks);
}

static int import_stage_init(struct import_stage *stage, uint32_t n_samples, struct amb_error *err) {
    stage->n_samples = n_samples;
    stage->values = amb_calloc((size_t)n_samples + 1, sizeof *stage->values);
    stage->marks = amb_calloc((size_t)n_samples + 1, sizeof *stage->marks);
    if (stage->values == NULL || stage->marks == NULL) {
        return amb_fail(err, -ENOMEM, "out of memory to import annotations of %u samples", n_samples);
    }
    return 0;
}

/* Copy a name for people: cut to fit, never inside a character, controls as '?'. */
static void import_quote(char *out, size_t out_bytes, const char *name, size_t bytes) {
    size_t n = bytes < out_bytes ? bytes : out_bytes - 4;

    while (n < bytes && n > 0 && ((unsigned char)name[n] & 0xC0) == 0x80) {
        n--; /* the cut would part a UTF-8 sequence */
    }
    for (size_t i = 0; i < n; i++) {
        out[i] = (unsigned char)name[i] < 0x20 || name[i] == 0x7f ? '?' : name[i];
    }
    memcpy(out + n, n < bytes ? "..." : "", n < bytes ? 4 : 1);
}

void amb_import_examples_push(struct amb_import_examples *examples, uint64_t i_line, const char *name,
                              size_t name_bytes) {
    char quoted[AMB_IMPORT_EXAMPLE_BYTES - sizeof "line 18446744073709551615: ''"];

    if (examples->n < AMB_IMPORT_EXAMPLES) {
        import_quote(quoted, sizeof quoted, name, name_bytes);
        snprintf(examples->text[examples->n], AMB_IMPORT_EXAMPLE_BYTES, "line %llu: '%s'",
                 (unsigned long long)i_line, quoted);
    }
    examples->n++;
}

static void import_example(struct amb_import_examples *examples, const struct amb_record *record,
                           const struct amb_match *match) {
    char index[32];

    if (match->name != NULL) {
        amb_import_examples_push(examples, record->i_line, match->name, match->name_bytes);
        return;
    }
    snprintf(index, sizeof index, "index %llu", (unsigned long long)record->index);
    amb_import_examples_push(examples, record->i_line, index, strlen(index));
}

static void import_stage_put(struct amb_import_report *report, struct import_stage *stage,
                             const struct amb_record *record, const struct amb_match *match, double inf_from) {
    uint8_t *mark = &stage->marks[match->i_sample];
    struct amb_annotation *value = &stage->values[match->i_sample];

    report->n_matched++;
    report->n_by_rule[match->rule]++;
    report->n_empty += record->sides == 0 && isnan(record->score);
    if ((*mark & STAGE_NAMED) != 0) {
        report->n_repeated++;
        import_example(&report->repeated, record, match);
    }
    if ((record->sides & AMB_SIDE_MIN) != 0) {
        const bool is_inf = inf_from > 0 && !record->min_is_ruled && isfinite(record->sigma_min) &&
                            record->sigma_min >= inf_from;

        report->n_inf_rule += is_inf;
        value->sigma_min = is_inf ? INFINITY : (float)record->sigma_min;
    }
    if ((record->sides & AMB_SIDE_MAX) != 0) {
        value->sigma_max = (float)record->sigma_max;
    }
    if (!isnan(record->score)) {
        stage->scores[match->i_sample] = record->score;
    }
    *mark = (uint8_t)(*mark | record->sides | STAGE_NAMED);
}

static int import_lines(struct amb_import_report *report, struct import_stage *stage, struct amb_catalog *cat,
                        struct amb_record *record, double inf_from, struct amb_error *err) {
    AMB_CLEANUP(amb_jsonl_deinit) struct amb_jsonl jsonl = AMB_JSONL_NULL;
    int r = amb_jsonl_init(&jsonl, record->options.path, err);

    while (r == 0) {
        struct amb_match match;
        const char *line;
        size_t bytes;

        r = amb_jsonl_pop(&line, &bytes, &jsonl, err);
        if (r != 0) {
            break;
        }
        record->i_line = jsonl.i_line;
        report->n_lines++;
        r = amb_record_decode(record, line, bytes, err);
        if (r < 0) {
            return r;
        }
        switch (amb_match_find(&match, cat, record)) {
        case 0:
            import_stage_put(report, stage, record, &match, inf_from);
            break;
        case AMB_MATCH_E_AMBIGUOUS:
            import_example(&report->ambiguous, record, &match);
            break;
        default:
            import_example(&report->unmatched, record, &match);
        }
    }
    return r == AMB_JSONL_E_END ? 0 : r;
}

static void import_commit(struct amb_import_report *report, struct amb_ledger *ledger,
                          const struct import_stage *stage) {
    for (uint32_t i = 0; i < stage->n_samples; i++) {
        const unsigned sides = stage->marks[i] & AMB_SIDE_BOTH;

        report->n_without_annotation += stage->marks[i] == 0;
        if (sides != 0) {
            amb_ledger_put(ledger, i, AMB_ORIGIN_IMPORT, (enum amb_side)sides, stage->values[i]);
        }
    }
}

static void import_name_rule(struct amb_import_report *report) {
    unsigned best = 0;

    for (unsigned i = 1; i < AMB_MATCH_N; i++) {
        best = report->n_by_rule[i] > report->n_by_rule[best] ? i : best;
    }
    if (report->n_by_rule[best] > 0) {
        snprintf(report->rule, sizeof report->rule, "%s", amb_match_rule_name((enum amb_match_rule)best));
    }
}

static int import_check_options(const struct amb_import_options *options, struct amb_error *err) {
    if (options->span < 1) {
        return amb_fail(err, AMB_ERR_CONFIG, "'span' is %u, allowed: 1 and more", options->span);
    }
    if (!isfinite(options->epsilon)) {
        return amb_fail(err, AMB_ERR_CONFIG, "'epsilon' is %g, allowed: a finite number", options->epsilon);
    }
    if (!(options->inf_from >= 0)) {
        return amb_fail(err, AMB_ERR_CONFIG, "'inf_from' is %g, allowed: a number >= 0, 0 for off",
                        options->inf_from);
    }
    if (!isfinite(options->crop_threshold)) {
        return amb_fail(err, AMB_ERR_CONFIG, "'crop_threshold' is %g, allowed: a finite number",
                        options->crop_threshold);
    }
    return 0;
}

int amb_import_jsonl(struct amb_import_report *report, struct amb_ledger *ledger, const char *path,
                     const struct amb_import_options *options, struct amb_error *err) {
    AMB_CLEANUP(import_stage_deinit) struct import_stage stage = {0};
    AMB_CLEANUP(amb_record_deinit) struct amb_record record = {0};
    struct amb_catalog *cat = amb_ledger_peek_catalog(ledger);
    int r;

    memset(report, 0, sizeof *report);
    amb_record_init(&record, &(struct amb_record_options){.path = path,
                                                          .sigmas_path = options->sigmas_path,
                                                          .epsilon = options->epsilon,
                                                          .span = options->span,
                                                          .crop_threshold = options->crop_threshold});
    r = import_check_options(options, err);
    r = r < 0 ? r : amb_catalog_load_names(cat, err);
    r = r < 0 ? r : import_stage_init(&stage, amb_catalog_count(cat), err);
    r = r < 0 ? r : import_lines(report, &stage, cat, &record, options->inf_from, err);
    import_name_rule(report);
    if (r < 0) {
        return r;
    }
    import_commit(report, ledger, &stage);
    return 0;
}

int amb_import_scores(double *scores, struct amb_import_report *report, struct amb_catalog *cat, const char *path,
                      const char *key, struct amb_error *err) {
    AMB_CLEANUP(import_stage_deinit) struct import_stage stage = {.scores = scores};
    AMB_CLEANUP(amb_record_deinit) struct amb_record record = {0};
    int r;

    memset(report, 0, sizeof *report);
    amb_record_init(&record, &(struct amb_record_options){.path = path, .score_key = key});
    r = amb_catalog_load_names(cat, err);
    r = r < 0 ? r : import_stage_init(&stage, amb_catalog_count(cat), err);
    r = r < 0 ? r : import_lines(report, &stage, cat, &record, 0, err);
    import_name_rule(report);
    for (uint32_t i = 0; r == 0 && i < stage.n_samples; i++) {
        report->n_without_annotation += stage.marks[i] == 0;
    }
    return r;
}
