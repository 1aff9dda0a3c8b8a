#pragma once
/* Alloc: the heap of our own code, counted, so that a test can prove a steady state without allocation. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* NULL when memory is out; the caller answers -ENOMEM. Freed by amb_free. Thread: any. */
void *amb_malloc(size_t bytes);
void *amb_calloc(size_t n, size_t bytes);
void *amb_realloc(void *p, size_t bytes);
char *amb_strdup(const char *s);
void amb_free(void *p); /* NULL ok */

/* For AMB_CLEANUP on a pointer of any type. */
void amb_freep(void *pp);

/* Calls of malloc, calloc, realloc and strdup above since the start of the process. Thread: any. */
uint64_t amb_alloc_count(void);

/* For tests: the n-th of these calls from now on answers NULL, and all behind it if is_forever; 0: none does. */
void amb_alloc_fail(uint64_t n, bool is_forever);
