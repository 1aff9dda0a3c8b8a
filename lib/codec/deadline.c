/*
 * Deadline: CPU time of the decoding thread, read lazily.
 *
 * The CPU clock is a system call (some 200 ns, 1 % of a 32 x 32 picture), the wall clock is not. A thread
 * cannot spend more CPU time than wall time, so the CPU clock is first read when an eighth of the limit has
 * passed on the wall; the limit counts from there. A picture is stopped between 1 and 9/8 of its limit, and a
 * thread that merely waits for its turn is never stopped.
 */
#include "codec/deadline.h"

#include <time.h>

static uint64_t clock_ns(clockid_t clock) {
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

void amb_deadline_start(struct amb_deadline *deadline, uint64_t limit_ns) {
    *deadline = (struct amb_deadline){.limit_ns = limit_ns, .wall_ns = clock_ns(CLOCK_MONOTONIC)};
}

bool amb_deadline_passed(struct amb_deadline *deadline) {
    if (!deadline->armed) {
        if (clock_ns(CLOCK_MONOTONIC) - deadline->wall_ns <= deadline->limit_ns / 8) {
            return false;
        }
        deadline->armed = true;
        deadline->cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
        return false;
    }
    return clock_ns(CLOCK_THREAD_CPUTIME_ID) - deadline->cpu_ns > deadline->limit_ns;
}
