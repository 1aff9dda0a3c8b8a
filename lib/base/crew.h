#pragma once
/* Crew: threads that do the pieces of one piece of work together with whoever asks for it. */
#include <stddef.h>

#include "base/error.h"

struct amb_crew; /* one caller at a time */

/**
 * Threads that wait for work; they inherit scheduling class and nice value of the caller.
 *
 * n_hands: with the caller's, at least 1: none is made then.
 * Errors:  -ENOMEM, -EAGAIN; nothing is left.
 * Thread:  any.
 */
int amb_crew_new(struct amb_crew **out, unsigned n_hands, struct amb_error *err);
struct amb_crew *amb_crew_free(struct amb_crew *crew); /* joins them; NULL ok; returns NULL */

/* piece(opaque, i) once for each i below n, on any of the threads, in any order, at once; returns when all are done. */
void amb_crew_run(struct amb_crew *crew, size_t n, void (*piece)(void *opaque, size_t i), void *opaque);
