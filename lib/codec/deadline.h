#pragma once
/* Deadline: the CPU time that one picture may take, cheap enough to ask for in a row loop. */
#include <stdbool.h>
#include <stdint.h>

struct amb_deadline {
    uint64_t limit_ns;
    uint64_t wall_ns; /* CLOCK_MONOTONIC at the start              */
    uint64_t cpu_ns;  /* CLOCK_THREAD_CPUTIME_ID when armed        */
    bool armed;
};

/* Begin to count on the calling thread. */
void amb_deadline_start(struct amb_deadline *deadline, uint64_t limit_ns);

/* True once the calling thread, the one of start, has spent its CPU time. */
bool amb_deadline_passed(struct amb_deadline *deadline);
