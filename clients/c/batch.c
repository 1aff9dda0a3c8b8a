/*
 * Batch: the fields of a lent slot, looked up by name in what the subscription said.
 */
#include <string.h>

#include "clients/c/connection.h"

static const cJSON *batch_field(const struct ambient_batch *batch, const char *name) {
    const cJSON *field;

    cJSON_ArrayForEach(field, batch->slab->fields) {
        if (strcmp(cJSON_GetObjectItemCaseSensitive(field, "name")->valuestring, name) == 0) {
            return field;
        }
    }
    return NULL;
}

static size_t batch_number(const cJSON *field, const char *key) {
    return (size_t)cJSON_GetObjectItemCaseSensitive(field, key)->valuedouble; /* proven at subscription */
}

void *ambient_batch_data(const struct ambient_batch *batch, const char *name, struct ambient_array *array) {
    const struct client_slab *slab = batch->slab;
    const cJSON *field = batch_field(batch, name), *dim;

    if (field == NULL) {
        return NULL;
    }
    if (array != NULL) {
        *array = (struct ambient_array){
            .name = cJSON_GetObjectItemCaseSensitive(field, "name")->valuestring,
            .dtype = cJSON_GetObjectItemCaseSensitive(field, "dtype")->valuestring,
            .row_bytes = batch_number(field, "row_bytes"),
            .bytes = batch_number(field, "bytes"),
            .ragged = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(field, "ragged")),
        };
        cJSON_ArrayForEach(dim, cJSON_GetObjectItemCaseSensitive(field, "shape")) {
            array->dims[array->n_dims++] = (uint32_t)dim->valuedouble;
        }
    }
    return slab->data + slab->slot_bytes * batch->slot + batch_number(field, "offset");
}

const void *ambient_batch_cell(const struct ambient_batch *batch, const char *name, uint32_t i, int64_t *length) {
    struct ambient_array array = {0};
    const uint8_t *data = ambient_batch_data(batch, name, &array);

    if (data == NULL || !array.ragged || array.n_dims == 0 || i >= array.dims[0]) {
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
