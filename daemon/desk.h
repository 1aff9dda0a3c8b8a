#pragma once
/* Desk: one thread that does slow, rare work off the loop, one task after the other. */
#include <pthread.h>
#include <stdbool.h>

#include <uv.h>

#include "base/error.h"

/* Embedded in what the task is about. Belongs to the loop, from push until `done` to the desk. */
struct ambd_task {
    void (*run)(struct ambd_task *task);  /* Thread: desk. */
    void (*done)(struct ambd_task *task); /* Thread: loop. */
    struct ambd_task *next;
};

struct ambd_desk {
    /* loop only */
    uv_async_t async;
    size_t n_tasks; /* pushed, not yet done */
    bool started;

    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t work;
    /* guarded by lock */
    struct ambd_task *first, *last; /* to run */
    struct ambd_task *done_first, *done_last;
    bool stop;
};

/* Thread: loop. */
int ambd_desk_init(struct ambd_desk *desk, uv_loop_t *loop, const char *name, struct amb_error *err);
void ambd_desk_push(struct ambd_desk *desk, struct ambd_task *task);
/* Join the thread (n_tasks must be 0) and close the async handle; the memory must live until the loop has
 * run. */
void ambd_desk_close(struct ambd_desk *desk);
