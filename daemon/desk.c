/*
 * Desk: opening datasets, preparing streams, reading annotation files and answering queries that walk a
 * catalog may take seconds, so they never run on the loop; and since one thread runs them in order, what only
 * one desk touches (a ledger) needs no lock.
 *
 * A task is a value that changes hands: loop -> desk (push) -> loop (done). A task cannot be cancelled:
 * whoever asked may be gone when `done` comes, and `done` must cope.
 */
#include "daemon/desk.h"

#include <string.h>

static void desk_append(struct ambd_task **first, struct ambd_task **last, struct ambd_task *task) {
    task->next = NULL;
    if (*first == NULL) {
        *first = task;
    } else {
        (*last)->next = task;
    }
    *last = task;
}

static struct ambd_task *desk_next_locked(struct ambd_desk *desk) {
    struct ambd_task *task;

    while (desk->first == NULL && !desk->stop) {
        pthread_cond_wait(&desk->work, &desk->lock);
    }
    task = desk->first;
    if (task != NULL) {
        desk->first = task->next;
    }
    return task;
}

static void *desk_main(void *opaque) {
    struct ambd_desk *desk = opaque;

    for (;;) {
        struct ambd_task *task;

        pthread_mutex_lock(&desk->lock);
        task = desk_next_locked(desk);
        pthread_mutex_unlock(&desk->lock);
        if (task == NULL) {
            return NULL;
        }
        task->run(task);
        pthread_mutex_lock(&desk->lock);
        desk_append(&desk->done_first, &desk->done_last, task);
        pthread_mutex_unlock(&desk->lock);
        uv_async_send(&desk->async);
    }
}

static void desk_on_done(uv_async_t *async) {
    struct ambd_desk *desk = async->data;
    struct ambd_task *task;

    pthread_mutex_lock(&desk->lock);
    task = desk->done_first;
    desk->done_first = NULL;
    pthread_mutex_unlock(&desk->lock);
    while (task != NULL) {
        struct ambd_task *next = task->next;

        desk->n_tasks--;
        task->done(task);
        task = next;
    }
}

int ambd_desk_init(struct ambd_desk *desk, uv_loop_t *loop, const char *name, struct amb_error *err) {
    int r;

    memset(desk, 0, sizeof *desk);
    pthread_mutex_init(&desk->lock, NULL);
    pthread_cond_init(&desk->work, NULL);
    r = uv_async_init(loop, &desk->async, desk_on_done);
    if (r < 0) {
        return amb_fail(err, r, "cannot make a wake-up: %s", uv_strerror(r));
    }
    desk->async.data = desk;
    r = pthread_create(&desk->thread, NULL, desk_main, desk);
    if (r != 0) {
        return amb_fail(err, -r, "cannot start the thread '%s': %s", name, strerror(r));
    }
    pthread_setname_np(desk->thread, name);
    desk->started = true;
    return 0;
}

void ambd_desk_push(struct ambd_desk *desk, struct ambd_task *task) {
    desk->n_tasks++;
    pthread_mutex_lock(&desk->lock);
    desk_append(&desk->first, &desk->last, task);
    pthread_cond_signal(&desk->work);
    pthread_mutex_unlock(&desk->lock);
}

void ambd_desk_close(struct ambd_desk *desk) {
    if (!desk->started) {
        return;
    }
    desk->started = false;
    pthread_mutex_lock(&desk->lock);
    desk->stop = true;
    pthread_cond_signal(&desk->work);
    pthread_mutex_unlock(&desk->lock);
    pthread_join(desk->thread, NULL);
    uv_close((uv_handle_t *)&desk->async, NULL);
}
