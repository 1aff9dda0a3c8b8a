/*
 * Slab: what SUBSCRIBED says of the slots, proven once; after that a field is a plain pointer.
 *
 * A batch belongs to the slab of the session that lent it, so it outlives that session while the caller holds it.
 *
 * Not here: which slots are lent (stream.c), and how a field is found (batch.c).
 */
#include "clients/c/slab.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/image.h"
#include "base/size.h"
#include "clients/c/connection.h"

#define FIELD_ALIGN 4096u /* proto/README.md section 2: fields of a slot begin at multiples of it */

/* Shape: the batch size, then the sides of a row. */
static int field_load_shape(struct ambient_array *array, const cJSON *shape, struct amb_error *err) {
    const size_t n_dims_max = sizeof array->dims / sizeof array->dims[0];
    const cJSON *dim;

    cJSON_ArrayForEach(dim, shape) {
        if (array->n_dims == n_dims_max || !cJSON_IsNumber(dim) || !(dim->valuedouble >= 0) ||
            dim->valuedouble > UINT32_MAX || (double)(uint32_t)dim->valuedouble != dim->valuedouble) {
            return amb_fail(err, AMB_ERR_PROTOCOL,
                            "side %u of the shape of field %s, allowed: at most %zu sides, integers from 0 to %u",
                            array->n_dims, array->name, n_dims_max, UINT32_MAX);
        }
        array->dims[array->n_dims++] = (uint32_t)dim->valuedouble;
    }
    return 0;
}

static int field_load(struct client_field *out, const cJSON *json, size_t slot_bytes, struct amb_error *err) {
    struct ambient_array *array = &out->array;
    uint64_t offset = 0, bytes = 0, row_bytes = 0;
    bool ragged = false, stacked = false;
    const cJSON *shape = NULL;

    if (ambp_json_get_string(&array->name, json, "name", true, err) < 0 ||
        ambp_json_get_string(&array->dtype, json, "dtype", true, err) < 0 ||
        ambp_json_get_array(&shape, json, "shape", true, err) < 0 ||
        ambp_json_get_u64(&offset, json, "offset", 0, SIZE_MAX >> 8, true, err) < 0 ||
        ambp_json_get_u64(&row_bytes, json, "row_bytes", 0, slot_bytes, true, err) < 0 ||
        ambp_json_get_u64(&bytes, json, "bytes", 0, slot_bytes, true, err) < 0 ||
        ambp_json_get_bool(&ragged, json, "ragged", false, err) < 0 ||
        ambp_json_get_bool(&stacked, json, "stacked", false, err) < 0 || field_load_shape(array, shape, err) < 0) {
        return err->code;
    }
    if (ragged && stacked) {
        return amb_fail(err, AMB_ERR_PROTOCOL, "field %s is ragged and stacked, allowed: one of them", array->name);
    }
    array->ragged = ragged || stacked;
    array->row_bytes = (size_t)row_bytes;
    array->bytes = (size_t)bytes;
    out->offset = (size_t)offset;
    return 0;
}

/* A row has the bytes that its shape and dtype make. */
static int field_check_row(const struct ambient_array *array, uint32_t batch_size, struct amb_error *err) {
    enum amb_dtype dtype;
    size_t bytes;
    bool fits = true;

    if (!amb_dtype_parse(&dtype, array->dtype)) {
        return amb_fail(err, AMB_ERR_PROTOCOL, "field %s of dtype %s, allowed: u8 f16 bf16 f32 f64 i32 i64 u32 u64",
                        array->name, array->dtype);
    }
    if (array->n_dims == 0 || array->dims[0] != batch_size) {
        return amb_fail(err, AMB_ERR_PROTOCOL, "the shape of field %s has %u rows, the batch size is %u", array->name,
                        array->dims[0], batch_size);
    }
    bytes = amb_dtype_bytes(dtype);
    for (uint32_t i = 1; i < array->n_dims; i++) {
        fits = fits && amb_size_mul(&bytes, bytes, array->dims[i]);
    }
    if (!fits || bytes != array->row_bytes) {
        return amb_fail(err, AMB_ERR_PROTOCOL, "field %s has rows of %zu bytes, its shape and dtype make another number",
                        array->name, array->row_bytes);
    }
    return 0;
}

/* The field lies in the slot, and all its rows in the field, behind their lengths where it has such. */
static int field_check(const struct client_field *field, const struct client_slab *slab, struct amb_error *err) {
    const struct ambient_array *array = &field->array;
    size_t bytes = array->row_bytes + (array->ragged ? sizeof(int64_t) : 0);
    int r = field_check_row(array, slab->batch_size, err);

    if (r < 0) {
        return r;
    }
    if (!amb_size_mul(&bytes, bytes, slab->batch_size) || bytes != array->bytes) {
        return amb_fail(err, AMB_ERR_PROTOCOL, "field %s of %zu bytes for %u rows of %zu%s", array->name, array->bytes,
                        slab->batch_size, array->row_bytes, array->ragged ? " and a length of 8 each" : "");
    }
    if (!amb_span_ok(field->offset, array->bytes, slab->slot_bytes) || field->offset % FIELD_ALIGN != 0) {
        return amb_fail(err, AMB_ERR_PROTOCOL, "field %s at [%zu, +%zu) of a slot of %zu bytes, allowed: inside, at a multiple of %u",
                        array->name, field->offset, array->bytes, slab->slot_bytes, FIELD_ALIGN);
    }
    return 0;
}

static int slab_load_fields(struct client_slab *slab, const cJSON *fields, struct amb_error *err) {
    const cJSON *json;

    slab->fields = amb_calloc((size_t)cJSON_GetArraySize(fields) + 1, sizeof *slab->fields);
    if (slab->fields == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for %d fields", cJSON_GetArraySize(fields));
    }
    cJSON_ArrayForEach(json, fields) {
        struct client_field *field = &slab->fields[slab->n_fields++];
        int r = field_load(field, json, slab->slot_bytes, err);

        r = r < 0 ? r : field_check(field, slab, err);
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

static int slab_load(struct client_slab *slab, struct amb_error *err) {
    const cJSON *json = slab->json, *state = NULL, *fields = NULL;
    uint64_t n_slots = 0, slot_bytes = 0, total_bytes = 0, batch_size = 0, steps = UINT64_MAX;

    if (ambp_json_get_u64(&n_slots, json, "slots", 1, CLIENT_SLOTS_MAX, true, err) < 0 ||
        ambp_json_get_u64(&slot_bytes, json, "slot_bytes", 1, SIZE_MAX >> 8, true, err) < 0 ||
        ambp_json_get_u64(&total_bytes, json, "total_bytes", n_slots * slot_bytes, SIZE_MAX >> 8, true, err) < 0 ||
        ambp_json_get_u64(&batch_size, json, "batch_size", 1, CLIENT_BATCH_MAX, true, err) < 0 ||
        ambp_json_get_array(&fields, json, "fields", true, err) < 0 ||
        ambp_json_get_object(&state, json, "state", true, err) < 0 ||
        ambp_json_get_u64(&slab->step, state, "step", 0, UINT64_MAX, true, err) < 0 ||
        ambp_json_get_u64(&steps, json, "steps", 0, UINT64_MAX, false, err) < 0) {
        return err->code;
    }
    if (slot_bytes % FIELD_ALIGN != 0) {
        return amb_fail(err, AMB_ERR_PROTOCOL, "a slot of %llu bytes, allowed: multiples of %u",
                        (unsigned long long)slot_bytes, FIELD_ALIGN);
    }
    slab->end_step = steps < UINT64_MAX - slab->step ? slab->step + steps : UINT64_MAX;
    slab->n_slots = (uint32_t)n_slots;
    slab->slot_bytes = (size_t)slot_bytes;
    slab->bytes = (size_t)total_bytes;
    slab->batch_size = (uint32_t)batch_size;
    return slab_load_fields(slab, fields, err);
}

static int slab_map(struct client_slab *slab, int fd, struct ambient_error *err) {
    struct stat st;
    void *data;

    if (fd < 0 || fstat(fd, &st) < 0 || (uint64_t)st.st_size < slab->bytes) {
        return client_fail(err, AMB_ERR_PROTOCOL, "SUBSCRIBED without shared memory of %zu bytes", slab->bytes);
    }
    data = mmap(NULL, slab->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED) {
        return client_fail(err, -errno, "cannot map %zu bytes of slots: %s", slab->bytes, strerror(errno));
    }
    slab->data = data;
    return 0;
}

void slab_unmap(struct client_slab *slab) {
    if (slab->data != NULL) {
        munmap(slab->data, slab->bytes);
        slab->data = NULL;
    }
}

static void slab_closep(struct client_slab **slab) {
    slab_close(*slab);
}

int slab_open(struct client_slab **out, const void *text, size_t bytes, int fd, struct ambient_error *err) {
    AMB_CLEANUP(slab_closep) struct client_slab *slab = amb_calloc(1, sizeof *slab);
    struct amb_error bad = AMB_ERROR_NULL;
    int r;

    if (slab != NULL) {
        slab->text = amb_calloc(1, bytes + 1);
    }
    if (slab == NULL || slab->text == NULL) {
        return client_fail(err, -ENOMEM, "no memory for the subscription");
    }
    memcpy(slab->text, text, bytes);
    if (ambp_json_decode(&slab->json, slab->text, bytes, AMBP_JSON_DEPTH_MAX, &bad) < 0 || slab_load(slab, &bad) < 0) {
        return client_fail(err, bad.code == -ENOMEM ? -ENOMEM : AMB_ERR_PROTOCOL, "SUBSCRIBED: %s", bad.message);
    }
    r = slab_map(slab, fd, err);
    if (r == 0) {
        *out = amb_steal_ptr(slab);
    }
    return r;
}

struct client_slab *slab_close(struct client_slab *slab) {
    if (slab == NULL) {
        return NULL;
    }
    slab_unmap(slab);
    for (size_t i = 0; i < CLIENT_SLOTS_MAX; i++) {
        amb_buf_deinit(&slab->batches[i].state);
    }
    amb_free(slab->fields);
    cJSON_Delete(slab->json);
    amb_free(slab->text);
    amb_free(slab);
    return NULL;
}
