/*
 * Import: a file of JSON lines -> records in a ledger, all of them or none.
 *
 * Lines are read one at a time; what they say is staged, 16 bytes a record, and goes into the ledger once the last
 * line has been understood, so that a bad line 40,000 leaves no half of a file behind. A line that names no sample of
 * ours, or several, is counted and told, not refused: annotation files outlive data sets.
 *
 * Python writes Infinity and NaN as bare words, which are no JSON: Infinity is taken for "inf", NaN is refused.
 */
#include "annotate/import.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "annotate/grid.h"
#include "annotate/record.h"
#include "base/alloc.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "proto/json.h"

#define IMPORT_DEPTH_MAX 8u /* probabilities are three deep */

struct import_staged {
    uint32_t i_sample;
    unsigned sides;
    struct amb_annotation value;
};

struct import {
    struct amb_import_report *report;
    struct amb_ledger *ledger;
    struct amb_catalog *catalog;
    const struct amb_import_options *options;
    const char *path;
    struct amb_buf staged; /* of struct import_staged */
    uint8_t *seen;         /* a bit for each sample */
    uint64_t n_by[AMB_RECORD_NAME_N];
    struct amb_grid grid;
    bool grid_tried;
    struct amb_error grid_error;
};

static void import_deinit(struct import *import) {
    amb_buf_deinit(&import->staged);
    amb_free(import->seen);
    amb_grid_deinit(&import->grid);
}

static void import_note(struct amb_import_examples *examples, uint64_t line, const struct amb_record *record) {
    if (examples->n < AMB_IMPORT_EXAMPLES) {
        char *text = examples->text[examples->n];

        if (record->name != NULL) {
            snprintf(text, sizeof examples->text[0], "line %llu: '%.80s'", (unsigned long long)line, record->name);
        } else {
            snprintf(text, sizeof examples->text[0], "line %llu: index %llu", (unsigned long long)line,
                     (unsigned long long)record->index);
        }
    }
    examples->n++;
}

/* The grid is needed by `probabilities` only, and looked for once. */
static void import_load_grid(struct import *import) {
    char beside[4096];
    const char *slash = strrchr(import->path, '/'), *path = import->options->sigmas_path;

    if (import->grid_tried) {
        return;
    }
    import->grid_tried = true;
    if (path == NULL) {
        snprintf(beside, sizeof beside, "%.*ssigmas.txt", slash != NULL ? (int)(slash + 1 - import->path) : 0,
                 import->path);
        path = beside;
    }
    (void)amb_grid_load(&import->grid, path, &import->grid_error);
}

/* Bare Infinity becomes 1e999, which reads as inf; bare NaN is refused. Words inside strings stay. */
static int import_words(char *text, size_t bytes, struct amb_error *err) {
    bool in_string = false;

    if (strstr(text, "Infinity") == NULL && strstr(text, "NaN") == NULL) {
        return 0;
    }
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] == '\\' && in_string) {
            i++;
        } else if (text[i] == '"') {
            in_string = !in_string;
        } else if (!in_string && strncmp(text + i, "Infinity", 8) == 0) {
            memcpy(text + i, "1e999   ", 8);
        } else if (!in_string && strncmp(text + i, "NaN", 3) == 0) {
            return amb_fail(err, AMB_ERR_FORMAT, "found NaN, allowed: a number from 0 on, \"inf\" or null");
        }
    }
    return 0;
}

static int import_stage(struct import *import, const struct amb_record *record, uint32_t i_sample, uint64_t line,
                        struct amb_error *err) {
    struct import_staged staged = {i_sample, record->sides, record->value};
    uint8_t bit = (uint8_t)(1u << (i_sample & 7));

    if ((import->seen[i_sample >> 3] & bit) != 0) {
        import_note(&import->report->repeated, line, record);
        import->report->n_repeated++;
    }
    import->seen[i_sample >> 3] |= bit;
    import->report->n_matched++;
    import->report->n_inf_rule += record->inf_rule;
    if (record->sides == 0) {
        return 0;
    }
    return amb_buf_push(&import->staged, &staged, sizeof staged) < 0
               ? amb_fail(err, -ENOMEM, "no memory for %zu bytes of records", import->staged.n_bytes)
               : 0;
}

static int import_line(struct import *import, char *text, size_t bytes, uint64_t line, struct amb_error *err) {
    AMB_CLEANUP(ambp_json_deletep) cJSON *json = NULL;
    struct amb_record record = {0};
    enum amb_record_name how;
    uint32_t i_sample = 0, n;
    int r = import_words(text, bytes, err);

    if (r == 0) {
        r = ambp_json_decode(&json, text, bytes, IMPORT_DEPTH_MAX, err);
    }
    if (r < 0) {
        return r;
    }
    if (cJSON_GetObjectItemCaseSensitive(json, "probabilities") != NULL) {
        import_load_grid(import);
    }
    r = amb_record_decode(&record, json, import->options, import->grid.n > 0 ? &import->grid : NULL,
                          &import->grid_error, err);
    if (r < 0) {
        return r;
    }
    n = amb_record_find(&i_sample, &how, &record, import->catalog);
    if (n == 1) {
        import->n_by[how]++;
        return import_stage(import, &record, i_sample, line, err);
    }
    import_note(n == 0 ? &import->report->unmatched : &import->report->ambiguous, line, &record);
    return 0;
}

/* Put path and line before a message. */
static int import_fail(const struct import *import, uint64_t line, struct amb_error *err) {
    char message[AMB_ERROR_MESSAGE_BYTES];

    if (err == NULL) {
        return AMB_ERR_FORMAT;
    }
    memcpy(message, err->message, sizeof message);
    /* JSON's own "line 1 column 5" speaks of this line alone */
    return amb_fail(err, err->code, "%s line %llu: %s; nothing of the file was taken", import->path,
                    (unsigned long long)line, strncmp(message, "line 1 ", 7) == 0 ? message + 7 : message);
}

static int import_read(struct import *import, FILE *file, struct amb_error *err) {
    char *text = NULL;
    size_t capacity = 0;
    ssize_t got;
    int r = 0;

    while (r == 0 && (got = getline(&text, &capacity, file)) >= 0) {
        char *at = text;
        size_t bytes = (size_t)got;

        import->report->n_lines++;
        if (import->report->n_lines == 1 && bytes >= 3 && memcmp(at, "\xef\xbb\xbf", 3) == 0) {
            at += 3;
            bytes -= 3;
        }
        while (bytes > 0 && strchr(" \t\r\n", at[bytes - 1]) != NULL) {
            bytes--;
        }
        if (bytes > AMB_IMPORT_LINE_BYTES) {
            r = amb_fail(err, AMB_ERR_LIMIT, "%zu bytes, allowed: %u", bytes, AMB_IMPORT_LINE_BYTES);
        } else if (bytes > 0) {
            at[bytes] = '\0';
            r = import_line(import, at, bytes, import->report->n_lines, err);
        }
        if (r < 0) {
            r = import_fail(import, import->report->n_lines, err);
        }
    }
    free(text);
    if (r == 0 && ferror(file)) {
        return amb_fail(err, -EIO, "cannot read %s", import->path);
    }
    return r;
}

static void import_finish(struct import *import) {
    const struct import_staged *staged = (const struct import_staged *)(const void *)import->staged.data;
    struct amb_import_report *report = import->report;
    uint64_t n_samples = amb_catalog_count(import->catalog), n_named = 0;
    enum amb_record_name most = AMB_RECORD_KEY;

    for (size_t i = 0; i < import->staged.n_bytes / sizeof *staged; i++) {
        amb_ledger_put(import->ledger, staged[i].i_sample, AMB_ORIGIN_IMPORT, (enum amb_side)staged[i].sides,
                       staged[i].value);
    }
    for (unsigned how = 0; how < AMB_RECORD_NAME_N; how++) {
        n_named += import->n_by[how];
        most = import->n_by[how] > import->n_by[most] ? (enum amb_record_name)how : most;
    }
    report->n_without_annotation = n_samples - (report->n_matched - report->n_repeated);
    if (n_named > 0) {
        snprintf(report->rule, sizeof report->rule, "%s", amb_record_name(most));
    }
}

int amb_import_jsonl(struct amb_import_report *report, struct amb_ledger *ledger, const char *path,
                     const struct amb_import_options *options, struct amb_error *err) {
    AMB_CLEANUP(amb_file_closep) FILE *file = fopen(path, "re");
    AMB_CLEANUP(import_deinit) struct import import = {
        .report = report,
        .ledger = ledger,
        .catalog = amb_ledger_peek_catalog(ledger),
        .options = options,
        .path = path,
        .staged = AMB_BUF_NULL,
    };
    int r;

    *report = (struct amb_import_report){0};
    if (file == NULL) {
        return amb_fail(err, -errno, "cannot open the annotations %s: %s", path, strerror(errno));
    }
    import.seen = amb_calloc(amb_catalog_count(import.catalog) / 8 + 1, 1);
    if (import.seen == NULL) {
        return amb_fail(err, -ENOMEM, "no memory to import %s", path);
    }
    r = import_read(&import, file, err);
    if (r < 0) {
        return r;
    }
    import_finish(&import);
    return 0;
}
