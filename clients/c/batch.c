/*
 * Batch: the fields of a lent slot, looked up by name; the slab has proven where they lie.
 */
#include <string.h>

#include "clients/c/slab.h"

static const struct client_field *batch_field(const struct ambient_batch *batch, const char *name) {
    const struct client_slab *slab = batch->slab;

    for (size_t i = 0; i < slab->n_fields; i++) {
        if (strcmp(slab->fields[i].array.name, name) == 0) {
            return &slab->fields[i];
        }
    }
    return NULL;
}

void *ambient_batch_data(const struct ambient_batch *batch, const char *name, struct ambient_array *array) {
    const struct client_field *field = batch_field(batch, name);
    const struct client_slab *slab = batch->slab;

    if (field == NULL) {
        return NULL;
    }
    if (array != NULL) {
        *array = field->array;
    }
    return slab->data + slab->slot_bytes * batch->slot + field->offset;
}

const void *ambient_batch_cell(const struct ambient_batch *batch, const char *name, uint32_t i, int64_t *length) {
    struct ambient_array array = {0};
    const uint8_t *data = ambient_batch_data(batch, name, &array);

    if (data == NULL || !array.ragged || i >= array.dims[0]) {
        return NULL;
    }
    if (length != NULL) {
        memcpy(length, data + 8 * (size_t)i, sizeof *length);
    }
    return data + 8 * (size_t)array.dims[0] + array.row_bytes * i;
}

uint32_t ambient_batch_count(const struct ambient_batch *batch) {
    return batch->count;
}

uint64_t ambient_batch_step(const struct ambient_batch *batch) {
    return batch->step;
}

const char *ambient_batch_state(const struct ambient_batch *batch) {
    return (const char *)batch->state.data;
}
