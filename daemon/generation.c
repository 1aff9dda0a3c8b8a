/*
 * Generation: annotations that streams stand on. Counts of pins and users are our own and decide what stays
 * in memory; references of lib/ only keep objects alive.
 */
#include "daemon/generation.h"

#include <errno.h>

#include "base/alloc.h"

#define SHELF_IDLE_MAX 2u /* orders with a buffer that nobody uses; not tuned */

struct ambd_shelf_row {
    struct amb_orders *orders; /* a reference */
    const struct amb_annotations *annotations;
    double buffer;
    unsigned n_users;
    struct ambd_shelf_row *next;
};

int ambd_generation_new(struct ambd_generation **out, struct ambd_edition *edition, const struct amb_ledger *ledger,
                        uint64_t number, struct amb_error *err) {
    struct ambd_generation *generation = amb_calloc(1, sizeof *generation);
    int r;

    if (generation == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for a generation");
    }
    generation->number = number;
    generation->edition = edition;
    r = amb_ledger_mint(&generation->annotations, ledger, number, err);
    if (r < 0) {
        ambd_generation_free(generation);
        return r;
    }
    amb_ledger_count(generation->min_counts, generation->max_counts, ledger);
    *out = generation;
    return 0;
}

int ambd_generation_load(struct ambd_generation **out, struct ambd_edition *edition, struct amb_annotation **values,
                         uint32_t n_samples, uint64_t number, struct amb_error *err) {
    struct ambd_generation *generation = amb_calloc(1, sizeof *generation);
    int r;

    if (generation == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for a generation");
    }
    generation->number = number;
    generation->edition = edition;
    r = amb_annotations_new(&generation->annotations, *values, n_samples, 0, number, err);
    if (r < 0) {
        ambd_generation_free(generation);
        return r;
    }
    *values = NULL; /* taken */
    *out = generation;
    return 0;
}

struct ambd_generation *ambd_generation_free(struct ambd_generation *generation) {
    if (generation != NULL) {
        amb_annotations_unref(generation->annotations);
        amb_free(generation);
    }
    return NULL;
}

void ambd_shelf_init(struct ambd_shelf *shelf) {
    *shelf = (struct ambd_shelf){0};
    pthread_mutex_init(&shelf->lock, NULL);
}

/* Take out rows that nobody uses and that need not stay; returned as a list, so that freeing needs no lock. Of the present
 * annotations those without a buffer stay, which nearly all streams want, and the newest with one: clients may think of
 * as many buffers as there are numbers. */
static struct ambd_shelf_row *shelf_sweep_locked(struct ambd_shelf *shelf, bool all) {
    struct ambd_shelf_row *swept = NULL, **at = &shelf->rows;
    unsigned n_idle = 0;

    while (*at != NULL) {
        struct ambd_shelf_row *row = *at;
        bool is_kept = row->annotations == shelf->kept && (row->buffer == 1 || n_idle < SHELF_IDLE_MAX);

        n_idle += row->n_users == 0 && row->annotations == shelf->kept && row->buffer != 1;
        if (row->n_users == 0 && (all || !is_kept)) {
            *at = row->next;
            row->next = swept;
            swept = row;
        } else {
            at = &row->next;
        }
    }
    return swept;
}

static void shelf_free(struct ambd_shelf_row *rows) {
    while (rows != NULL) {
        struct ambd_shelf_row *next = rows->next;

        amb_orders_unref(rows->orders);
        amb_free(rows);
        rows = next;
    }
}

void ambd_shelf_deinit(struct ambd_shelf *shelf) {
    shelf_free(shelf_sweep_locked(shelf, true));
}

static struct amb_orders *shelf_find_locked(struct ambd_shelf *shelf,
                                            const struct amb_annotations *annotations, double buffer) {
    for (struct ambd_shelf_row *row = shelf->rows; row != NULL; row = row->next) {
        if (row->annotations == annotations && row->buffer == buffer) {
            row->n_users++;
            return row->orders;
        }
    }
    return NULL;
}

int ambd_shelf_acquire(struct amb_orders **out, struct ambd_shelf *shelf, struct amb_annotations *annotations,
                       const struct amb_orders_source *sources, size_t n_sources, double buffer,
                       struct amb_error *err) {
    struct amb_orders *orders;
    struct ambd_shelf_row *row;
    int r;

    pthread_mutex_lock(&shelf->lock);
    orders = shelf_find_locked(shelf, annotations, buffer);
    pthread_mutex_unlock(&shelf->lock);
    if (orders != NULL) {
        *out = orders;
        return 0;
    }
    r = amb_orders_new(&orders, annotations, sources, n_sources, buffer, err);
    if (r < 0) {
        return r;
    }
    row = amb_calloc(1, sizeof *row);
    if (row == NULL) {
        amb_orders_unref(orders);
        return amb_fail(err, -ENOMEM, "no memory for orders");
    }
    row->orders = orders;
    row->annotations = annotations;
    row->buffer = buffer;
    row->n_users = 1;
    pthread_mutex_lock(&shelf->lock);
    row->next = shelf->rows;
    shelf->rows = row;
    pthread_mutex_unlock(&shelf->lock);
    *out = orders;
    return 0;
}

void ambd_shelf_release(struct ambd_shelf *shelf, struct amb_orders *orders) {
    struct ambd_shelf_row *swept;

    if (orders == NULL) {
        return;
    }
    pthread_mutex_lock(&shelf->lock);
    for (struct ambd_shelf_row *row = shelf->rows; row != NULL; row = row->next) {
        if (row->orders == orders) {
            row->n_users--;
            break;
        }
    }
    swept = shelf_sweep_locked(shelf, false);
    pthread_mutex_unlock(&shelf->lock);
    shelf_free(swept);
}

void ambd_shelf_keep(struct ambd_shelf *shelf, const struct amb_annotations *annotations) {
    struct ambd_shelf_row *swept;

    pthread_mutex_lock(&shelf->lock);
    shelf->kept = annotations;
    swept = shelf_sweep_locked(shelf, false);
    pthread_mutex_unlock(&shelf->lock);
    shelf_free(swept);
}
