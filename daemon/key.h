#pragma once
/* Key: one row of the table that reads, checks and documents the configuration. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cjson/cJSON.h>

#include "base/error.h"

enum ambd_key_kind {
    AMBD_KEY_STRING, /* const char *, borrowed from the tree           */
    AMBD_KEY_BOOL,   /* bool                                           */
    AMBD_KEY_U64,    /* uint64_t in [lo, hi]                           */
    AMBD_KEY_BYTES,  /* uint64_t in [lo, hi]; a number or "2G"         */
    AMBD_KEY_F64,    /* double, > 0                                    */
    AMBD_KEY_CUSTOM, /* apply() reads it                               */
};

struct ambd_key {
    const char *name;
    const char *kind_text;    /* for people: "integer", "string", "array of strings" */
    const char *default_text; /* for people */
    const char *help;
    enum ambd_key_kind kind;
    size_t offset; /* of the field in the object */
    uint64_t lo, hi;
    int (*apply)(void *object, const cJSON *value, const char *where, struct amb_error *err);
};

struct ambd_section {
    const char *title; /* "datasets.NAME.image", for people */
    const char *intro;
    const struct ambd_key *keys;
    size_t n_keys;
};

/**
 * Read `json` into `object` by the rows of a section; keys that are absent or null leave their default.
 *
 * where:  path of the object for messages, "datasets.main.image"; "" at the root.
 * Errors: AMB_ERR_CONFIG: not an object, unknown key with the nearest known one, twice, wrong type or range;
 * each begins with the path of the key. Thread: any.
 */
int ambd_section_load(void *object, const struct ambd_section *section, const cJSON *json, const char *where,
                      struct amb_error *err);

/* Print the section's keys for people. */
void ambd_section_print(FILE *out, const struct ambd_section *section);

/* "4096", "64K", "2G", "1.5G" (powers of 1,024) to bytes. -1: no such number. */
int ambd_bytes_parse(uint64_t *out, const char *text);

/* Put `where` "." `key` before the message of err and return its code. */
int ambd_key_fail(struct amb_error *err, const char *where, const char *key);
