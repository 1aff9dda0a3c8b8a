#pragma once
/* Pace: how much of the processors indexing takes while fill workers are at work. */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "daemon/producer.h"

struct ambd_pace {
    struct ambd_producer *producer; /* borrowed: those who are given way */
    _Atomic bool stop;              /* set by the loop: the daemon is stopping */
    uint64_t owed_ns;               /* of rest, too short to be taken yet; only of the thread that indexes */
};

/**
 * Sleep until what was used is a tenth of the workers' time and no more; not at all where none of them is at work.
 *
 * pace: struct ambd_pace *; the form is amb_catalog_options.rest. Errors: -ESHUTDOWN: index no further.
 * Thread: one that indexes, of those that share a pace one at a time.
 */
int ambd_pace_rest(void *pace, uint64_t used_ns, struct amb_error *err);
