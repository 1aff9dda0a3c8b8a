#pragma once
/* Guard: a memcpy out of mapped files that survives SIGBUS. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Install the SIGBUS handler of the process; each opening of a map does. Nothing else may handle SIGBUS while
 * maps are read. Thread: any. */
int amb_guard_install(struct amb_error *err);

/**
 * Copy out of the map [map, map + map_bytes), in which [src, src + bytes) lies.
 *
 * Returns: true; false where a page of the map could not be read (file truncated, medium failed): dst then
 * holds rubbish. A SIGBUS anywhere else ends the process with the default action. Thread:  any, after
 * install. Not from a signal handler.
 */
bool amb_guard_copy(void *dst, const void *src, size_t bytes, const void *map, size_t map_bytes);

/* Faults caught since the start of the process. Thread: any. */
uint64_t amb_guard_count(void);
