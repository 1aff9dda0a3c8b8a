#pragma once
/* Json grammar: RFC 8259 and nothing else, checked before cJSON sees a text. */
#include <stddef.h>

#include "base/error.h"

#define AMBP_JSON_NUMBER_BYTES 63u /* cJSON copies a number into 64 bytes */

/**
 * One value that fills `bytes`, spaces around it and a byte order mark before it apart.
 *
 * Stricter than the RFC in two things: a string holds no zero character (C strings end there, so "a\u0000b" would
 * pass for "a"), and an escaped surrogate has its other half.
 * depth_max: nesting allowed.
 * Errors:    AMB_ERR_FORMAT, AMB_ERR_LIMIT too deep; both with line and column.
 * Thread:    any.
 */
int ambp_json_check(const char *text, size_t bytes, unsigned depth_max, struct amb_error *err);
