/*
 * Quarantine: one bit a sample for the workers, a list in order of discovery for people.
 *
 * The bit is only a memory of what decoding would find again: nothing that decides a byte may depend on
 * whether a bad sample was known before. Reasons are kept for the first AMB_QUARANTINE_REASONS_MAX samples,
 * so that a set of ten million broken files does not fill the memory with sentences; numbers and codes are
 * kept for all.
 */
#include "batch/quarantine.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"

struct quarantine_entry {
    uint32_t i_sample;
    int code;
};

struct amb_quarantine {
    /* immutable after new */
    uint32_t n_samples;
    _Atomic uint64_t *bits;
    _Atomic uint64_t n_rows; /* written under lock */

    /* guarded by lock */
    pthread_mutex_t lock;
    struct quarantine_entry *entries;
    uint64_t entries_capacity;
    char (*reasons)[sizeof((struct amb_quarantine_row *)0)->reason];
    uint64_t reasons_capacity;
};

static void quarantine_freep(struct amb_quarantine **quarantine) {
    *quarantine = amb_quarantine_free(*quarantine);
}

int amb_quarantine_new(struct amb_quarantine **out, uint32_t n_samples, struct amb_error *err) {
    AMB_CLEANUP(quarantine_freep) struct amb_quarantine *quarantine = amb_calloc(1, sizeof *quarantine);

    if (quarantine == NULL) {
        return amb_fail(err, -ENOMEM, "out of memory for a quarantine of %u samples", n_samples);
    }
    pthread_mutex_init(&quarantine->lock, NULL);
    quarantine->n_samples = n_samples;
    quarantine->bits = amb_calloc((size_t)n_samples / 64 + 1, sizeof *quarantine->bits);
    if (quarantine->bits == NULL) {
        return amb_fail(err, -ENOMEM, "out of memory for a quarantine of %u samples", n_samples);
    }
    *out = amb_steal_ptr(quarantine);
    return 0;
}

struct amb_quarantine *amb_quarantine_free(struct amb_quarantine *quarantine) {
    if (quarantine != NULL) {
        pthread_mutex_destroy(&quarantine->lock);
        amb_free(quarantine->reasons);
        amb_free(quarantine->entries);
        amb_free((void *)quarantine->bits);
        amb_free(quarantine);
    }
    return NULL;
}

int amb_quarantine_peek(const struct amb_quarantine *quarantine, uint32_t i_sample) {
    assert(i_sample < quarantine->n_samples);
    return (int)(atomic_load_explicit(&quarantine->bits[i_sample / 64], memory_order_acquire) >>
                     (i_sample % 64) &
                 1);
}

/* Room for one more row; false: out of memory. */
static bool quarantine_grow_locked(struct amb_quarantine *quarantine, uint64_t n_rows) {
    if (n_rows == quarantine->entries_capacity) {
        uint64_t capacity = n_rows != 0 ? 2 * n_rows : 64;
        struct quarantine_entry *entries = amb_realloc(quarantine->entries, capacity * sizeof *entries);

        if (entries == NULL) {
            return false;
        }
        quarantine->entries = entries;
        quarantine->entries_capacity = capacity;
    }
    if (n_rows == quarantine->reasons_capacity && n_rows < AMB_QUARANTINE_REASONS_MAX) {
        uint64_t capacity = n_rows != 0 ? 2 * n_rows : 64;
        void *reasons = amb_realloc(quarantine->reasons, capacity * sizeof *quarantine->reasons);

        if (reasons == NULL) {
            return false;
        }
        quarantine->reasons = reasons;
        quarantine->reasons_capacity = capacity;
    }
    return true;
}

/* AMB_ERROR_MESSAGE_BYTES; valid under the lock. */
static const char *quarantine_peek_reason_locked(const struct amb_quarantine *quarantine, uint64_t i) {
    static const char not_kept[AMB_ERROR_MESSAGE_BYTES] = "(reason not kept: too many bad samples)";

    return i < AMB_QUARANTINE_REASONS_MAX ? quarantine->reasons[i] : not_kept;
}

static int quarantine_put_locked(struct amb_quarantine *quarantine, uint32_t i_sample,
                                 const struct amb_error *why) {
    uint64_t n_rows = atomic_load_explicit(&quarantine->n_rows, memory_order_relaxed);

    if (amb_quarantine_peek(quarantine, i_sample) != 0 || !quarantine_grow_locked(quarantine, n_rows)) {
        return 0;
    }
    quarantine->entries[n_rows] = (struct quarantine_entry){i_sample, why->code};
    if (n_rows < AMB_QUARANTINE_REASONS_MAX) {
        snprintf(quarantine->reasons[n_rows], sizeof quarantine->reasons[n_rows], "%s", why->message);
    }
    atomic_store_explicit(&quarantine->n_rows, n_rows + 1, memory_order_release);
    atomic_fetch_or_explicit(&quarantine->bits[i_sample / 64], UINT64_C(1) << (i_sample % 64),
                             memory_order_release);
    return 1;
}

int amb_quarantine_put(struct amb_quarantine *quarantine, uint32_t i_sample, const struct amb_error *why) {
    int r;

    pthread_mutex_lock(&quarantine->lock);
    r = quarantine_put_locked(quarantine, i_sample, why);
    pthread_mutex_unlock(&quarantine->lock);
    return r;
}

static void quarantine_forget_locked(struct amb_quarantine *quarantine, int code) {
    uint64_t n_rows = atomic_load_explicit(&quarantine->n_rows, memory_order_relaxed), n = 0;

    for (uint64_t i = 0; i < n_rows; i++) {
        const struct quarantine_entry entry = quarantine->entries[i];

        if (entry.code == code) {
            atomic_fetch_and_explicit(&quarantine->bits[entry.i_sample / 64], ~(UINT64_C(1) << (entry.i_sample % 64)),
                                      memory_order_release);
            continue;
        }
        quarantine->entries[n] = entry;
        if (n < i && n < AMB_QUARANTINE_REASONS_MAX) {
            memcpy(quarantine->reasons[n], quarantine_peek_reason_locked(quarantine, i), sizeof quarantine->reasons[n]);
        }
        n++;
    }
    atomic_store_explicit(&quarantine->n_rows, n, memory_order_release);
}

void amb_quarantine_forget(struct amb_quarantine *quarantine, int code) {
    pthread_mutex_lock(&quarantine->lock);
    quarantine_forget_locked(quarantine, code);
    pthread_mutex_unlock(&quarantine->lock);
}

uint64_t amb_quarantine_count(const struct amb_quarantine *quarantine) {
    return atomic_load_explicit(&quarantine->n_rows, memory_order_acquire);
}

static void quarantine_load_locked(struct amb_quarantine_row *out, const struct amb_quarantine *quarantine,
                                   uint64_t i) {
    out->i_sample = quarantine->entries[i].i_sample;
    out->code = quarantine->entries[i].code;
    memcpy(out->reason, quarantine_peek_reason_locked(quarantine, i), sizeof out->reason);
}

int amb_quarantine_get(struct amb_quarantine_row *out, struct amb_quarantine *quarantine, uint64_t i) {
    int r = AMB_QUARANTINE_E_END;

    pthread_mutex_lock(&quarantine->lock);
    if (i < amb_quarantine_count(quarantine)) {
        quarantine_load_locked(out, quarantine, i);
        r = 0;
    }
    pthread_mutex_unlock(&quarantine->lock);
    return r;
}
