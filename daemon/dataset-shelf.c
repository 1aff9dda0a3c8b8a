/*
 * Dataset shelf: the editions and generations that the loop has, the current ones and older ones that somebody stands on.
 *
 * A generation of the current edition that nobody pins stays for a while (limits.generations_kept), so that the state of
 * a stream that died can name it; one of an older edition goes at once, and the edition with its last generation: files
 * and maps are worth more than a rebuild.
 */
#include "base/alloc.h"
#include "daemon/dataset.h"
#include "daemon/server.h"

/* Editions */

struct disposal {
    struct ambd_task task;
    struct ambd_server *server;
    struct ambd_edition *edition;
};

static void disposal_run(struct ambd_task *task) {
    ambd_edition_close(((struct disposal *)task)->edition);
}

static void disposal_done(struct ambd_task *task) {
    struct ambd_server *server = ((struct disposal *)task)->server;

    amb_free(task);
    ambd_server_continue_stop(server);
}

/* Closing a thousand files takes a while: it is done on a desk. */
static void edition_dispose(struct ambd_dataset *dataset, struct ambd_edition *edition) {
    struct ambd_server *server = dataset->server;
    struct disposal *disposal = server != NULL && server->surveyor.started ? amb_calloc(1, sizeof *disposal) : NULL;

    if (disposal == NULL) {
        ambd_edition_close(edition);
        return;
    }
    disposal->task = (struct ambd_task){.run = disposal_run, .done = disposal_done};
    disposal->server = server;
    disposal->edition = edition;
    ambd_desk_push(&server->surveyor, &disposal->task);
}

struct ambd_edition *ambd_dataset_pin_edition(struct ambd_edition *edition) {
    edition->n_pins++;
    return edition;
}

void ambd_dataset_unpin_edition(struct ambd_dataset *dataset, struct ambd_edition *edition) {
    struct ambd_edition **at = &dataset->edition;

    if (--edition->n_pins > 0) {
        return;
    }
    while (*at != edition) {
        at = &(*at)->older;
    }
    *at = edition->older;
    edition_dispose(dataset, edition);
}

void ambd_dataset_shelve_edition(struct ambd_dataset *dataset, struct ambd_edition *edition) {
    edition->older = dataset->edition->older;
    dataset->edition->older = ambd_dataset_pin_edition(edition);
}

struct ambd_edition *ambd_dataset_find_edition(struct ambd_dataset *dataset, const struct amb_hash128 *fingerprint) {
    struct ambd_edition *edition = dataset->edition;

    while (edition != NULL && !amb_hash128_equal(&edition->fingerprint, fingerprint)) {
        edition = edition->older;
    }
    return edition;
}

unsigned ambd_dataset_count_streams(const struct ambd_dataset *dataset, const struct ambd_edition *edition) {
    unsigned n = 0;

    for (const struct ambd_generation *g = dataset->oldest; g != NULL; g = g->newer) {
        n += g->edition == edition ? g->n_streams : 0;
    }
    return n;
}

/* Generations */

static void dataset_sweep(struct ambd_dataset *dataset, uint64_t n_kept) {
    struct ambd_generation **at;
    uint64_t n_idle = 0;

    for (struct ambd_generation *g = dataset->oldest; g != dataset->current; g = g->newer) {
        n_idle += g->n_pins == 0 && g->edition == dataset->edition;
    }
    for (at = &dataset->oldest; *at != dataset->current;) {
        struct ambd_generation *generation = *at;
        struct ambd_edition *edition = generation->edition;

        if (generation->n_pins > 0 || (edition == dataset->edition && n_idle <= n_kept)) {
            at = &generation->newer;
            continue;
        }
        n_idle -= edition == dataset->edition;
        *at = generation->newer;
        ambd_generation_free(generation);
        ambd_dataset_unpin_edition(dataset, edition);
    }
}

void ambd_dataset_shelve(struct ambd_dataset *dataset, struct ambd_generation *generation) {
    struct ambd_generation **at = &dataset->oldest;

    while (*at != dataset->current && (*at)->number < generation->number) {
        at = &(*at)->newer;
    }
    generation->newer = *at;
    *at = generation;
    ambd_dataset_pin_edition(generation->edition);
}

void ambd_dataset_adopt(struct ambd_dataset *dataset, struct ambd_minted *minted, uint64_t n_kept) {
    struct ambd_generation *generation = minted->generation;
    struct ambd_edition *before = dataset->edition;

    minted->generation = NULL;
    if (generation == NULL) {
        return;
    }
    if (generation->edition != before) {
        generation->edition->older = before;
        before->left_ns = ambd_now_ns();
        dataset->edition = ambd_dataset_pin_edition(generation->edition);
        ambd_shelf_keep(&before->shelf, NULL);
    }
    ambd_dataset_pin_edition(generation->edition);
    dataset->current->newer = generation;
    dataset->current = generation;
    ambd_shelf_keep(&generation->edition->shelf, generation->annotations);
    if (generation->edition != before) {
        ambd_dataset_unpin_edition(dataset, before); /* it is the current one no more */
    }
    dataset_sweep(dataset, n_kept);
}

struct ambd_generation *ambd_dataset_find(struct ambd_dataset *dataset, const struct ambd_edition *edition,
                                          const struct amb_hash128 *annotations) {
    struct ambd_generation *found = NULL;

    for (struct ambd_generation *g = dataset->oldest; g != NULL; g = g->newer) {
        if (amb_hash128_equal(&g->edition->fingerprint, &edition->fingerprint) &&
            amb_hash128_equal(&g->annotations->fingerprint, annotations)) {
            found = g; /* the newest of equal ones */
        }
    }
    return found;
}

struct ambd_generation *ambd_dataset_newest(struct ambd_dataset *dataset, const struct ambd_edition *edition) {
    struct ambd_generation *found = NULL;

    for (struct ambd_generation *g = dataset->oldest; g != NULL; g = g->newer) {
        found = amb_hash128_equal(&g->edition->fingerprint, &edition->fingerprint) ? g : found;
    }
    return found;
}

struct ambd_generation *ambd_dataset_pin(struct ambd_generation *generation) {
    generation->n_pins++;
    return generation;
}

void ambd_dataset_unpin(struct ambd_dataset *dataset, struct ambd_generation *generation, uint64_t n_kept) {
    generation->n_pins--;
    dataset_sweep(dataset, n_kept);
}
