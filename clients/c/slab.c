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
#include "base/size.h"
#include "clients/c/connection.h"

/* Every field lies inside a slot. */
static int slab_check_field(const cJSON *field, uint64_t slot_bytes, struct amb_error *err) {
    uint64_t offset = 0, bytes = 0, row_bytes = 0;
    const char *name = NULL, *dtype = NULL;
    const cJSON *shape = NULL;

    if (ambp_json_get_string(&name, field, "name", true, err) < 0 ||
        ambp_json_get_string(&dtype, field, "dtype", true, err) < 0 ||
        ambp_json_get_array(&shape, field, "shape", true, err) < 0 ||
        ambp_json_get_u64(&offset, field, "offset", 0, slot_bytes, true, err) < 0 ||
        ambp_json_get_u64(&row_bytes, field, "row_bytes", 0, slot_bytes, true, err) < 0 ||
        ambp_json_get_u64(&bytes, field, "bytes", 0, slot_bytes, true, err) < 0) {
        return err->code;
    }
    if (!amb_span_ok(offset, bytes, slot_bytes) || cJSON_GetArraySize(shape) > 8) {
        return amb_fail(err, AMB_ERR_PROTOCOL, "field %s: [%llu, +%llu) of a slot of %llu bytes", name,
                        (unsigned long long)offset, (unsigned long long)bytes, (unsigned long long)slot_bytes);
    }
    return 0;
}

static int slab_check(struct client_slab *slab, struct amb_error *err) {
    const cJSON *json = slab->json, *state = NULL, *field;
    uint64_t n_slots = 0, slot_bytes = 0, total_bytes = 0;

    if (ambp_json_get_u64(&n_slots, json, "slots", 1, CLIENT_SLOTS_MAX, true, err) < 0 ||
        ambp_json_get_u64(&slot_bytes, json, "slot_bytes", 1, SIZE_MAX >> 8, true, err) < 0 ||
        ambp_json_get_u64(&total_bytes, json, "total_bytes", n_slots * slot_bytes, SIZE_MAX >> 8, true, err) < 0 ||
        ambp_json_get_array(&slab->fields, json, "fields", true, err) < 0 ||
        ambp_json_get_object(&state, json, "state", true, err) < 0 ||
        ambp_json_get_u64(&slab->step, state, "step", 0, UINT64_MAX, true, err) < 0) {
        return err->code;
    }
    cJSON_ArrayForEach(field, slab->fields) {
        int r = slab_check_field(field, slot_bytes, err);

        if (r < 0) {
            return r;
        }
    }
    slab->n_slots = (uint32_t)n_slots;
    slab->slot_bytes = (size_t)slot_bytes;
    slab->bytes = (size_t)total_bytes;
    return 0;
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
    if (ambp_json_decode(&slab->json, slab->text, bytes, AMBP_JSON_DEPTH_MAX, &bad) < 0 || slab_check(slab, &bad) < 0) {
        return client_fail_from(err, &bad);
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
    cJSON_Delete(slab->json);
    amb_free(slab->text);
    amb_free(slab);
    return NULL;
}
