/*
 * Annotations: an array of values behind a reference count, with the fingerprint that streams name.
 *
 * Immutable from new on, so that every thread reads it without a lock. The fingerprint is taken over the bytes of
 * the values as little-endian f32, never over memory, so that two machines agree.
 *
 * Not here: who set a value (ledger.c) and the orders that the sampler keeps over them (sampler/orders.c).
 */
#include "annotate/annotations.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "proto/wire.h"

#define FINGERPRINT_CHUNK 1024u /* values stored at a time; 8 KiB of stack, not tuned */

static void store_f32le(uint8_t *p, float value) {
    uint32_t bits;

    memcpy(&bits, &value, sizeof bits);
    ambp_store_u32le(p, bits);
}

int amb_annotations_fingerprint(struct amb_hash128 *out, const struct amb_annotation *values, uint32_t n_samples) {
    struct amb_hasher *hasher = amb_hasher_new();
    uint8_t bytes[FINGERPRINT_CHUNK * 8];

    if (hasher == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < n_samples;) {
        size_t n = 0;

        for (; n < FINGERPRINT_CHUNK && i < n_samples; n++, i++) {
            assert(values[i].sigma_min >= 0 && values[i].sigma_max >= 0); /* NaN fails too */
            store_f32le(bytes + 8 * n, values[i].sigma_min);
            store_f32le(bytes + 8 * n + 4, values[i].sigma_max);
        }
        amb_hasher_push(hasher, bytes, 8 * n);
    }
    *out = amb_hasher_get(hasher);
    amb_hasher_free(hasher);
    return 0;
}

int amb_annotations_new(struct amb_annotations **out, struct amb_annotation *values, uint32_t n_samples, uint64_t n_set,
                        uint64_t number, struct amb_error *err) {
    AMB_CLEANUP(amb_freep) struct amb_annotations *annotations = amb_calloc(1, sizeof *annotations);

    if (annotations == NULL || amb_annotations_fingerprint(&annotations->fingerprint, values, n_samples) < 0) {
        return amb_fail(err, -ENOMEM, "out of memory for annotation generation %llu of %u samples",
                        (unsigned long long)number, n_samples);
    }
    annotations->n_refs = 1;
    annotations->number = number;
    annotations->n_samples = n_samples;
    annotations->n_set = n_set;
    annotations->values = values;
    *out = amb_steal_ptr(annotations);
    return 0;
}

struct amb_annotations *amb_annotations_ref(struct amb_annotations *annotations) {
    __atomic_fetch_add(&annotations->n_refs, 1, __ATOMIC_RELAXED);
    return annotations;
}

struct amb_annotations *amb_annotations_unref(struct amb_annotations *annotations) {
    /* acq_rel instead of release and a fence: the thread sanitizer does not know fences */
    if (annotations == NULL || __atomic_fetch_sub(&annotations->n_refs, 1, __ATOMIC_ACQ_REL) != 1) {
        return NULL;
    }
    amb_free(annotations->values);
    amb_free(annotations);
    return NULL;
}
