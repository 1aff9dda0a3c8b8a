#pragma once
/* Cell, process part: its memory, its start, its end and why it ended; inside the codec folder only. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "codec/cell-shared.h"
#include "codec/sandbox.h"

enum cell_outcome {
    CELL_E_ENDED = 2, /* process->end says why */
};

enum cell_cause {
    CELL_FAULT, /* a signal that a bug in the process raises, or an answer that cannot be */
    CELL_LATE,  /* killed: too much CPU time, or too long without any */
    CELL_LOST,  /* killed from outside, or it left */
};

struct cell_end {
    enum cell_cause cause;
    char text[64]; /* "SIGSEGV", "exit status 3" */
};

struct cell_process {
    struct amb_codec_limits limits;
    struct amb_sandbox *sandbox;
    int fd;
    struct cell_shared *shared;
    size_t total_bytes, pixels_offset;
    pid_t pid; /* 0: none runs */
    clockid_t clock;
    uint64_t cpu_ns; /* of it, counted */
    bool had_one;
    unsigned n_ends;          /* in a row, no picture between them */
    uint64_t retry_ns;        /* no start before that */
    struct amb_error refused; /* of the last start */
    struct cell_end end;      /* of the last process */
};

int amb_cell_process_init(struct cell_process *process, const struct amb_codec_limits *limits,
                          struct amb_error *err);
void amb_cell_process_deinit(struct cell_process *process); /* idempotent */

/* Start one if none runs, and wait until it has locked itself in. -EAGAIN with the reason. */
int amb_cell_process_start(struct cell_process *process, struct amb_error *err);

/* 0: it lives; CELL_E_ENDED: it did, until now. One must run. */
int amb_cell_process_check(struct cell_process *process);

/* Wait until `wanted` answers are there, within the limits of time; who must sleep sleeps until `enough` are.
 * 0, or CELL_E_ENDED. */
int amb_cell_process_wait(struct cell_process *process, uint32_t wanted, uint32_t enough);

/* Kill and reap. text: of `end`, where the cause is not how it died. Returns CELL_E_ENDED. */
int amb_cell_process_stop(struct cell_process *process, enum cell_cause cause, const char *text);

/* Count what CPU time it has spent. One must run. */
void amb_cell_process_account(struct cell_process *process);

/* Give memory of large pictures back; nothing in the memory may be in use. */
void amb_cell_process_trim(struct cell_process *process);
