#pragma once
/* Test blob: bytes of a file in memory, shared until one writes; NULL is an empty one. */
#include <stddef.h>
#include <stdint.h>

struct test_blob;

void test_blob_ref(struct test_blob *blob);
void test_blob_unref(struct test_blob *blob);
size_t test_blob_bytes(const struct test_blob *blob);
const uint8_t *test_blob_data(const struct test_blob *blob);

/* Each takes the reference and gives another. What grows is zero. */
struct test_blob *test_blob_resize(struct test_blob *blob, size_t bytes);
struct test_blob *test_blob_write(struct test_blob *blob, uint64_t offset, const uint8_t *data, size_t bytes);

void *test_check(void *p); /* p; aborts where it is NULL: a test that is out of memory has nothing to say */
