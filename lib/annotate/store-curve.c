/*
 * Curves: written once, never held; memory and table know where they lie.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "annotate/store-private.h"
#include "base/alloc.h"
#include "base/cleanup.h"

int amb_store_put_curve(struct amb_store *store, const struct amb_hash128 *uid, uint32_t version, const float *sigmas,
                        const float *p, size_t n, struct amb_error *err) {
    uint8_t entry[AMB_RECENT_CURVE_BYTES], *payload;
    struct amb_location where;
    uint64_t sequence;
    int r;

    assert(n <= AMB_STORE_CURVE_MAX && !store->is_read_only);
    payload = amb_recent_reserve(&store->recent_curves, 1) < 0
                  ? NULL
                  : amb_journal_push(&sequence, &store->journal, AMB_RECORD_CURVE,
                                     AMB_CURVE_HEAD_BYTES + 8 * (uint32_t)n, 1);
    if (payload == NULL) {
        return amb_fail(err, -ENOMEM, "store %s: out of memory for a curve of %zu points", store->dir, n);
    }
    memcpy(payload, uid->bytes, 16);
    ambp_store_u32le(payload + 16, version);
    ambp_store_u32le(payload + 20, (uint32_t)n);
    memcpy(entry, payload, 20);
    for (size_t i = 0; i < n; i++) {
        amb_store_f32le(payload + AMB_CURVE_HEAD_BYTES + 4 * i, sigmas[i]);
        amb_store_f32le(payload + AMB_CURVE_HEAD_BYTES + 4 * (n + i), p[i]);
    }
    r = amb_journal_flush(&where, &store->journal, err);
    if (r < 0) {
        return r;
    }
    ambp_store_u64le(entry + 20, where.segment);
    ambp_store_u64le(entry + 28, where.offset);
    ambp_store_u32le(entry + 36, where.bytes);
    amb_recent_put(&store->recent_curves, entry);
    return 0;
}

bool amb_store_find_curve(struct amb_location *out, const struct amb_store *store, const uint8_t uid[16],
                          uint32_t version) {
    uint8_t found[AMB_CURVE_ENTRY_BYTES];
    const uint8_t *entry;
    struct amb_key key = {.version = version};
    uint64_t i_damaged;
    uint32_t n;

    memcpy(key.uid, uid, sizeof key.uid);
    entry = amb_recent_peek(&store->recent_curves, &key);
    if (entry != NULL) {
        *out = (struct amb_location){ambp_load_u64le(entry + 20), ambp_load_u64le(entry + 28),
                                     ambp_load_u32le(entry + 36)};
        return true;
    }
    n = amb_blocks_find(found, 1, &i_damaged, &store->table.curves, uid, version);
    if (i_damaged != UINT64_MAX) {
        amb_table_note(store, true, i_damaged);
    }
    if (n != 0) {
        *out = (struct amb_location){0, ambp_load_u64le(found + 24), ambp_load_u32le(found + 20)};
    }
    return n != 0;
}

/* One of no pairs says that there is none any more. */
static bool curve_find(struct amb_location *out, const struct amb_store *store, const struct amb_hash128 *uid,
                       uint32_t version) {
    return amb_store_find_curve(out, store, uid->bytes, version) &&
           out->bytes != AMB_RECORD_HEADER_BYTES + AMB_CURVE_HEAD_BYTES;
}

bool amb_store_has_curve(const struct amb_store *store, const struct amb_hash128 *uid, uint32_t version) {
    struct amb_location where;

    return curve_find(&where, store, uid, version);
}

static int curve_decode(float **sigmas, float **p, size_t *n, const uint8_t *payload) {
    AMB_CLEANUP(amb_freep) float *x = NULL;
    AMB_CLEANUP(amb_freep) float *y = NULL;
    uint32_t count = ambp_load_u32le(payload + 20);

    x = amb_malloc((count + 1) * sizeof *x);
    y = amb_malloc((count + 1) * sizeof *y);
    if (x == NULL || y == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        x[i] = amb_load_f32le(payload + AMB_CURVE_HEAD_BYTES + 4 * i);
        y[i] = amb_load_f32le(payload + AMB_CURVE_HEAD_BYTES + 4 * (count + i));
    }
    *sigmas = amb_steal_ptr(x);
    *p = amb_steal_ptr(y);
    *n = count;
    return 0;
}

int amb_store_get_curve(float **sigmas, float **p, size_t *n, const struct amb_store *store,
                        const struct amb_hash128 *uid, uint32_t version, struct amb_error *err) {
    AMB_CLEANUP(amb_buf_deinit) struct amb_buf buf = AMB_BUF_NULL;
    struct amb_location where;
    const uint8_t *payload;
    int r;

    if (!curve_find(&where, store, uid, version)) {
        *sigmas = *p = NULL;
        *n = 0;
        return 0;
    }
    r = amb_store_read(&payload, &buf, store, AMB_RECORD_CURVE, &where);
    if (r == 0 && (memcmp(payload, uid->bytes, 16) != 0 || ambp_load_u32le(payload + 16) != version ||
                   where.bytes != AMB_RECORD_HEADER_BYTES + AMB_CURVE_HEAD_BYTES +
                                      8 * (uint64_t)ambp_load_u32le(payload + 20))) {
        r = AMB_ERR_CHECKSUM;
    }
    if (r == 0) {
        r = curve_decode(sigmas, p, n, payload);
    }
    return r < 0 ? amb_fail(err, r, "store %s: a curve cannot be read (%s)", store->dir, amb_error_name(r)) : 0;
}
