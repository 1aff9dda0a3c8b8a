#pragma once
/* Record: one line of an annotations file -> the sample it names and the sides it sets. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cjson/cJSON.h>

#include "annotate/grid.h"
#include "annotate/import.h"
#include "annotate/ledger.h"

/* How a line called its sample. */
enum amb_record_name {
    AMB_RECORD_KEY,      /* the key itself, or source/key           */
    AMB_RECORD_FILE,     /* path in the shard, or base name         */
    AMB_RECORD_LAST,     /* last part of a path that lies elsewhere */
    AMB_RECORD_INDEX,    /* number of the sample                    */
    AMB_RECORD_NAME_N,
};
const char *amb_record_name(enum amb_record_name name);

struct amb_record {
    const char *name;    /* borrowed from the line; NULL: by index */
    uint64_t index;
    unsigned sides;      /* of enum amb_side; 0: the line sets nothing */
    bool inf_rule;       /* sigma_min was taken as inf */
    struct amb_annotation value;
};

/**
 * Read every form that annotation files have (import.h) from one parsed line.
 *
 * grid:   of `probabilities`; NULL where none could be loaded, and why in grid_error.
 * Errors: AMB_ERR_FORMAT with what was found and what is allowed (without the line's number).
 * Thread: any.
 */
int amb_record_decode(struct amb_record *out, const cJSON *line, const struct amb_import_options *options,
                      const struct amb_grid *grid, const struct amb_error *grid_error, struct amb_error *err);

/* The samples that a record names: their number, the first of them, and how. See amb_catalog_find. */
uint32_t amb_record_find(uint32_t *i_sample, enum amb_record_name *how, const struct amb_record *record,
                         struct amb_catalog *cat);
