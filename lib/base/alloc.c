/*
 * Alloc: thin counted layer over malloc. Codec libraries allocate on their own and are not counted.
 */
#include "base/alloc.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static _Atomic uint64_t n_allocs;

static void alloc_note(void) {
    atomic_fetch_add_explicit(&n_allocs, 1, memory_order_relaxed);
}

void *amb_malloc(size_t bytes) {
    alloc_note();
    return malloc(bytes != 0 ? bytes : 1);
}

void *amb_calloc(size_t n, size_t bytes) {
    alloc_note();
    return calloc(n != 0 ? n : 1, bytes != 0 ? bytes : 1);
}

void *amb_realloc(void *p, size_t bytes) {
    alloc_note();
    return realloc(p, bytes != 0 ? bytes : 1);
}

char *amb_strdup(const char *s) {
    alloc_note();
    return strdup(s);
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
