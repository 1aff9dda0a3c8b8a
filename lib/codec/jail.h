#pragma once
/* Jail: what a process gives up before it looks at a stranger's bytes. */
#include <stdint.h>

#include "base/error.h"

/**
 * Close every file, give up memory beyond memory_bytes, cores, privileges and all but a few system calls.
 *
 * What is left: waiting, anonymous memory, clocks, ending. Anything else kills the process (SIGSYS).
 * parent:  the process must still be its child, and dies with the thread that started it.
 * Errors:  which step failed. What was given up before stays given up.
 */
int amb_jail_enter(uint64_t memory_bytes, int parent, struct amb_error *err);
