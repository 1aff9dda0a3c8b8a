/*
 * Alloc: thin counted layer over malloc. Codec libraries allocate on their own and are not counted.
 */
#include "base/alloc.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static _Atomic uint64_t n_allocs;
static _Atomic uint64_t fail_first = UINT64_MAX, fail_last; /* numbers of calls that are made to fail */

/* Count the call; true: it is made to fail. */
static bool alloc_note(void) {
    uint64_t i = atomic_fetch_add_explicit(&n_allocs, 1, memory_order_relaxed);

    return i >= atomic_load_explicit(&fail_first, memory_order_relaxed) &&
           i <= atomic_load_explicit(&fail_last, memory_order_relaxed);
}

void amb_alloc_fail(uint64_t n, bool is_forever) {
    uint64_t first = n != 0 ? amb_alloc_count() + n - 1 : UINT64_MAX;

    atomic_store(&fail_first, first);
    atomic_store(&fail_last, is_forever ? UINT64_MAX : first);
}

void *amb_malloc(size_t bytes) {
    return alloc_note() ? NULL : malloc(bytes != 0 ? bytes : 1);
}

void *amb_calloc(size_t n, size_t bytes) {
    return alloc_note() ? NULL : calloc(n != 0 ? n : 1, bytes != 0 ? bytes : 1);
}

void *amb_realloc(void *p, size_t bytes) {
    return alloc_note() ? NULL : realloc(p, bytes != 0 ? bytes : 1);
}

char *amb_strdup(const char *s) {
    return alloc_note() ? NULL : strdup(s);
}

void amb_free(void *p) {
    free(p);
}

void amb_freep(void *pp) {
    void *p;

    memcpy(&p, pp, sizeof p); /* pp is a T ** of unknown T */
    free(p);
}

uint64_t amb_alloc_count(void) {
    return atomic_load_explicit(&n_allocs, memory_order_relaxed);
}
