#pragma once
/* Json: cJSON behind checks: bounded depth, typed fields, unknown keys refused with the nearest known one. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cjson/cJSON.h>

#include "base/error.h"

#define AMBP_JSON_DEPTH_MAX 16u /* DESIGN section 9 */

/* cJSON's allocations are amb_malloc's from here on, and one that fails is remembered. At start, before other threads. */
void ambp_json_init(void);
/* cJSON leaves out what it has no memory for and says nothing: true if a tree that this thread built since the last call may
 * have such a hole. Thread: any. */
bool ambp_json_take_hole(void);
void ambp_json_note_hole(void); /* something was left out by us */
/* Take `item` into an object, or an array (key NULL). Without memory it is deleted, and there is a hole. */
void ambp_json_add_item(cJSON *parent, const char *key, cJSON *item);

/**
 * Parse one JSON value that fills `bytes` (spaces around it apart): strict RFC 8259 (proto/json-grammar.h).
 *
 * depth_max: nesting allowed; checked before cJSON recurses.
 * Errors:    AMB_ERR_FORMAT with line and column; AMB_ERR_LIMIT too deep; -ENOMEM.
 * Returns:   0 and *out, to be released by cJSON_Delete.
 */
int ambp_json_decode(cJSON **out, const char *text, size_t bytes, unsigned depth_max, struct amb_error *err);
void ambp_json_deletep(cJSON **json); /* for AMB_CLEANUP */

/* `object` has only known keys, each at most once; `where` names it in the message: "image". AMB_ERR_CONFIG. */
int ambp_json_check_keys(const cJSON *object, const char *where, const char *const *known, size_t n_known,
                         struct amb_error *err);

/*
 * Typed access to a field. Absent or null: *out is left alone (its default) and 0 returned, unless `required`.
 * Wrong type or range: AMB_ERR_CONFIG with what was found and what is allowed. Strings are borrowed from the tree.
 */
int ambp_json_get_string(const char **out, const cJSON *object, const char *key, bool required, struct amb_error *err);
int ambp_json_get_bool(bool *out, const cJSON *object, const char *key, bool required, struct amb_error *err);
/* A number, or the string "inf" / "Infinity". */
int ambp_json_get_f64(double *out, const cJSON *object, const char *key, bool required, struct amb_error *err);
/* An integer in [lo, hi]: a number below 2^53, or a string of decimal digits (exact up to 2^64 - 1). */
int ambp_json_get_u64(uint64_t *out, const cJSON *object, const char *key, uint64_t lo, uint64_t hi, bool required,
                      struct amb_error *err);
int ambp_json_get_object(const cJSON **out, const cJSON *object, const char *key, bool required,
                         struct amb_error *err);
int ambp_json_get_array(const cJSON **out, const cJSON *object, const char *key, bool required,
                        struct amb_error *err);

/* Add a number that may be infinite ("inf") or past 2^53 (decimal string). */
void ambp_json_add_f64(cJSON *object, const char *key, double value);
void ambp_json_add_u64(cJSON *object, const char *key, uint64_t value);

/* "a number", "a string", ... for messages. Static. */
const char *ambp_json_kind(const cJSON *value);
