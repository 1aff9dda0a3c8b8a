#pragma once
/* Annotator: the entries of "annotations" in the configuration, put into a ledger. */
#include <stddef.h>

#include <cjson/cJSON.h>

#include "annotate/import.h"
#include "annotate/ledger.h"
#include "base/error.h"
#include "daemon/lines.h"

#define AMBD_ANNOTATOR_HELP                                                                                  \
    "{\"import\": FILE, \"sigmas\": FILE, \"epsilon\": 0.05, \"span\": 32, \"inf_from\": 300,\n"             \
    " \"crop_threshold\": 0.25}: annotations.jsonl in every form that exists.\n"                             \
    "{\"fixed\": [{\"source\": NAME, \"key\": GLOB, \"label\": N, \"sigma_min\": S, \"sigma_max\": S}, "     \
    "...]}:\n"                                                                                               \
    " samples that fit every condition given get the sides given.\n"                                         \
    "{\"score\": {\"key\": FIELD, \"source\": NAME, \"quantiles\": [[0, S], [0.5, S, S], ...]}}: the field\n"   \
    " of the .json member, or with \"file\": FILE of that file's lines; a sample gets sigma_min, and sigma_max\n"  \
    " where it is given, of the last row whose share of lower scores it reaches. \"table\": [[SCORE, S], ...]\n"   \
    " instead of quantiles: of the last row whose score it reaches."

/* Keys, types and ranges of the array; no file is touched. AMB_ERR_CONFIG with the path of the key. Thread:
 * loop. */
int ambd_annotator_check(const cJSON *annotations, const char *where, struct amb_error *err);

/* Who hears of what was found. */
struct ambd_annotator_ear {
    struct ambd_lines *reports; /* a line or more for each entry: STATUS and --check show them */
    void (*problem)(void *opaque, const struct amb_error *why); /* each entry that is bad; then the others are looked at, and
                                                                   apply fails at the end. NULL: the first ends it */
    void *opaque;
    bool forgives; /* a bad entry is left out, whoever knows of it already */
};

/**
 * Put every entry into the ledger, in order.
 *
 * annotations: checked; NULL ok. Errors: those of amb_import_jsonl and of reading members.
 * Thread:      desk; blocks.
 */
int ambd_annotator_apply(const struct ambd_annotator_ear *ear, struct amb_ledger *ledger, struct amb_catalog *catalog,
                         const cJSON *annotations, struct amb_error *err);

/* Are the files there that apply would import? Each that is not, to ear->problem. Thread: desk; blocks. */
void ambd_annotator_look(const struct ambd_annotator_ear *ear, const cJSON *annotations);

/* A report as JSON, and as one line. */
cJSON *ambd_import_report_encode(const struct amb_import_report *report);
void ambd_import_report_text(char *out, size_t bytes, const char *path,
                             const struct amb_import_report *report);
