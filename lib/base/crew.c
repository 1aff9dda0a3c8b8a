/*
 * Crew: a thread takes pieces by counting up. Whoever comes when all are taken is not waited for: on a busy machine that
 * may be long, and with the scheduler's idle class for ever.
 */
#include "base/crew.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "base/alloc.h"

struct amb_crew {
    pthread_mutex_t lock;
    pthread_cond_t begun, done;
    unsigned n_threads; /* beside the caller */
    unsigned n_busy;    /* of them, at the present work */
    unsigned work;      /* its number */
    bool open;          /* it may be joined */
    bool ends;

    /* of the present work */
    void (*piece)(void *opaque, size_t i);
    void *opaque;
    size_t n;
    _Atomic size_t next;
    pthread_t threads[];
};

static void crew_take_pieces(struct amb_crew *crew) {
    for (size_t i = atomic_fetch_add(&crew->next, 1); i < crew->n; i = atomic_fetch_add(&crew->next, 1)) {
        crew->piece(crew->opaque, i);
    }
}

static void *crew_main(void *opaque) {
    struct amb_crew *crew = opaque;
    unsigned work = 0;

    pthread_mutex_lock(&crew->lock);
    for (;;) {
        while ((crew->work == work || !crew->open) && !crew->ends) {
            pthread_cond_wait(&crew->begun, &crew->lock);
        }
        if (crew->ends) {
            break;
        }
        work = crew->work;
        crew->n_busy++;
        pthread_mutex_unlock(&crew->lock);
        crew_take_pieces(crew);
        pthread_mutex_lock(&crew->lock);
        if (--crew->n_busy == 0) {
            pthread_cond_signal(&crew->done);
        }
    }
    pthread_mutex_unlock(&crew->lock);
    return NULL;
}

int amb_crew_new(struct amb_crew **out, unsigned n_hands, struct amb_error *err) {
    struct amb_crew *crew;

    assert(n_hands >= 1);
    crew = amb_calloc(1, sizeof *crew + (n_hands - 1) * sizeof crew->threads[0]);

    if (crew == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for %u threads", n_hands);
    }
    pthread_mutex_init(&crew->lock, NULL);
    pthread_cond_init(&crew->begun, NULL);
    pthread_cond_init(&crew->done, NULL);
    for (; crew->n_threads + 1 < n_hands; crew->n_threads++) {
        int r = pthread_create(&crew->threads[crew->n_threads], NULL, crew_main, crew);

        if (r != 0) {
            unsigned n = crew->n_threads + 1;

            amb_crew_free(crew);
            return amb_fail(err, -r, "cannot start thread %u of %u: %s", n, n_hands - 1, strerror(r));
        }
    }
    *out = crew;
    return 0;
}

struct amb_crew *amb_crew_free(struct amb_crew *crew) {
    if (crew == NULL) {
        return NULL;
    }
    pthread_mutex_lock(&crew->lock);
    crew->ends = true;
    pthread_cond_broadcast(&crew->begun);
    pthread_mutex_unlock(&crew->lock);
    for (unsigned i = 0; i < crew->n_threads; i++) {
        pthread_join(crew->threads[i], NULL);
    }
    pthread_cond_destroy(&crew->begun);
    pthread_cond_destroy(&crew->done);
    pthread_mutex_destroy(&crew->lock);
    amb_free(crew);
    return NULL;
}

void amb_crew_run(struct amb_crew *crew, size_t n, void (*piece)(void *opaque, size_t i), void *opaque) {
    pthread_mutex_lock(&crew->lock);
    crew->piece = piece;
    crew->opaque = opaque;
    crew->n = n;
    atomic_store(&crew->next, 0);
    crew->open = true;
    crew->work++;
    pthread_cond_broadcast(&crew->begun);
    pthread_mutex_unlock(&crew->lock);
    crew_take_pieces(crew);
    pthread_mutex_lock(&crew->lock);
    crew->open = false;
    while (crew->n_busy > 0) {
        pthread_cond_wait(&crew->done, &crew->lock);
    }
    pthread_mutex_unlock(&crew->lock);
}
