#pragma once
/* Import: annotations.jsonl in every form that existing files have -> records in a ledger. */
#include <stddef.h>
#include <stdint.h>

#include "annotate/jsonl.h"
#include "annotate/ledger.h"
#include "annotate/match.h"
#include "annotate/rule.h"

#define AMB_IMPORT_EXAMPLES      3u
#define AMB_IMPORT_EXAMPLE_BYTES 128u
#define AMB_IMPORT_LINE_BYTES    AMB_JSONL_LINE_BYTES

struct amb_import_options {
    const char *sigmas_path;      /* grid of `probabilities`; NULL: sigmas.txt beside the file               */
    double epsilon;               /* first grid sigma with p < 0.5 + epsilon; default 0.05                   */
    unsigned span;                /* EMA; >= 1; default 32                                                   */
    double inf_from;              /* sigma_min at or above means inf; default 300; 0 turns the rule off      */
    double crop_threshold;        /* q_N above; default 0.25                                                 */
};
#define AMB_IMPORT_OPTIONS_DEFAULT                                                                            \
    ((struct amb_import_options){NULL, AMB_RULE_EPSILON, AMB_RULE_SPAN, 300.0, AMB_RULE_CROP_THRESHOLD})

struct amb_import_examples {
    uint64_t n;
    char text[AMB_IMPORT_EXAMPLES][AMB_IMPORT_EXAMPLE_BYTES]; /* "line 12: 'cat.png'" */
};

/* What a person wants to know after an import; filled also on failure, up to there. */
struct amb_import_report {
    uint64_t n_lines, n_matched; /* lines that are not blank; those that named one sample                        */
    uint64_t n_repeated;         /* lines that named a sample again: the later line wins                         */
    uint64_t n_inf_rule;         /* lines whose sigma_min was read as inf because it is at least inf_from        */
    uint64_t n_empty;            /* matched lines that set nothing: every side null or missing                   */
    uint64_t n_by_rule[AMB_MATCH_N]; /* matched lines by how the name was understood                             */
    struct amb_import_examples unmatched, ambiguous, repeated;
    uint64_t n_without_annotation; /* samples of the catalog that no line named */
    char rule[64];                 /* how names were matched most often: "key", "base name", ...; "" if none */
};

/* Count one more and keep its text, if there is room: "line 12: 'cat.png'". Names are cut to fit. */
void amb_import_examples_push(struct amb_import_examples *examples, uint64_t i_line, const char *name,
                              size_t name_bytes);

/**
 * Read a file line by line into the ledger with origin import; forms and names: proto/annotations.md.
 *
 * Errors: the first line that is not JSON, or has NaN, a negative or a non-number: AMB_ERR_FORMAT with its number,
 *         what was found and what is allowed; nothing of the file is recorded then. AMB_ERR_CONFIG for an option
 *         out of range; errno values for files.
 * Memory: 9 bytes for each sample of the catalog, and the longest line.
 * Thread: any; blocks.
 */
int amb_import_jsonl(struct amb_import_report *report, struct amb_ledger *ledger, const char *path,
                     const struct amb_import_options *options, struct amb_error *err);

/**
 * Read a file line by line: the number in field `key` of each line is the score of the sample that it names.
 *
 * scores:  one for each sample of the catalog; of samples that no line gives a number they stay as they are. The later
 *          line of a sample wins. Errors: as amb_import_jsonl, without NaN and the like, which are no scores.
 * Thread:  any; blocks.
 */
int amb_import_scores(double *scores, struct amb_import_report *report, struct amb_catalog *cat, const char *path,
                      const char *key, struct amb_error *err);
