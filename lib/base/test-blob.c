/*
 * Test blob: a reference count before the bytes. Who writes gets one of its own.
 */
#include "base/test-blob.h"

#include <stdlib.h>
#include <string.h>

void *test_check(void *p) {
    if (p == NULL) {
        abort();
    }
    return p;
}

struct test_blob {
    int n_refs;
    size_t bytes, capacity;
    uint8_t data[];
};

void test_blob_ref(struct test_blob *blob) {
    if (blob != NULL) {
        blob->n_refs++;
    }
}

void test_blob_unref(struct test_blob *blob) {
    if (blob != NULL && --blob->n_refs == 0) {
        free(blob);
    }
}

/* One of its own with room for `capacity`. */
static struct test_blob *blob_own(struct test_blob *blob, size_t capacity) {
    struct test_blob *own;

    if (blob != NULL && blob->n_refs == 1 && blob->capacity >= capacity) {
        return blob;
    }
    if (blob != NULL && capacity < blob->bytes) {
        capacity = blob->bytes;
    }
    capacity += capacity / 4 + 256;
    own = test_check(malloc(sizeof *own + capacity));
    own->n_refs = 1;
    own->capacity = capacity;
    own->bytes = blob != NULL ? blob->bytes : 0;
    if (own->bytes != 0) {
        memcpy(own->data, blob->data, own->bytes);
    }
    test_blob_unref(blob);
    return own;
}

size_t test_blob_bytes(const struct test_blob *blob) {
    return blob != NULL ? blob->bytes : 0;
}

struct test_blob *test_blob_resize(struct test_blob *blob, size_t bytes) {
    if (bytes == test_blob_bytes(blob)) {
        return blob;
    }
    blob = blob_own(blob, bytes);
    if (bytes > blob->bytes) {
        memset(blob->data + blob->bytes, 0, bytes - blob->bytes);
    }
    blob->bytes = bytes;
    return blob;
}

struct test_blob *test_blob_write(struct test_blob *blob, uint64_t offset, const uint8_t *data, size_t bytes) {
    if (bytes == 0) {
        return blob;
    }
    blob = blob_own(blob, offset + bytes);
    if (offset + bytes > blob->bytes) {
        blob = test_blob_resize(blob, offset + bytes);
    }
    memcpy(blob->data + offset, data, bytes);
    return blob;
}

const uint8_t *test_blob_data(const struct test_blob *blob) {
    return blob != NULL ? blob->data : (const uint8_t *)"";
}
