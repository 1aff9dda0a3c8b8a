#pragma once
/* Import: annotations.jsonl in every form that existing files have -> records in a ledger. */
#include <stddef.h>
#include <stdint.h>

#include "annotate/ledger.h"

#define AMB_IMPORT_EXAMPLES     3u
#define AMB_IMPORT_LINE_BYTES   (64u << 20) /* a line with 2048 x 4 probabilities is 77 KB; not tuned */

struct amb_import_options {
    const char *sigmas_path;      /* grid of `probabilities`; NULL: sigmas.txt beside the file               */
    double epsilon;               /* first grid sigma with p < 0.5 + epsilon; default 0.05                   */
    unsigned span;                /* EMA; default 32                                                         */
    double inf_from;              /* sigma_min at or above means inf; default 300; 0 turns the rule off      */
    double crop_threshold;        /* q_N above; default 0.25                                                 */
};
#define AMB_IMPORT_OPTIONS_DEFAULT ((struct amb_import_options){NULL, 0.05, 32, 300.0, 0.25})

struct amb_import_examples {
    uint64_t n;
    char text[AMB_IMPORT_EXAMPLES][128]; /* "line 12: 'cat.png'" */
};

/* What a person wants to know after an import; filled also on failure, up to there. */
struct amb_import_report {
    uint64_t n_lines, n_matched, n_repeated, n_inf_rule;
    struct amb_import_examples unmatched, ambiguous, repeated;
    uint64_t n_without_annotation; /* samples of the catalog that no line named */
    char rule[64];                 /* how names were matched most often: "key", "base name", ... */
};

/**
 * Read a file line by line into the ledger with origin import.
 *
 * Errors: the first line that is not JSON, or has NaN, a negative or a non-number: AMB_ERR_FORMAT with its number,
 *         what was found and what is allowed; nothing of the file is recorded then.
 * Thread: any; blocks.
 */
int amb_import_jsonl(struct amb_import_report *report, struct amb_ledger *ledger, const char *path,
                     const struct amb_import_options *options, struct amb_error *err);
