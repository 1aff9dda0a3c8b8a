/*
 * Catalog, digest: what of the samples enters fingerprints (proto/README.md, section 4). Neither paths nor
 * times do.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "proto/wire.h"
#include "shard/catalog-private.h"

static void digest_push_label(struct amb_hasher *hasher, const struct amb_catalog *cat, uint32_t i_sample,
                              float *vector) {
    uint8_t bytes[4];

    amb_catalog_get_label(vector, cat, i_sample);
    for (uint32_t k = 0; k < cat->label_width; k++) {
        uint32_t bits;

        memcpy(&bits, &vector[k], sizeof bits);
        ambp_store_u32le(bytes, bits);
        amb_hasher_push(hasher, bytes, sizeof bytes);
    }
}

static void digest_push(struct amb_hasher *hasher, const struct amb_catalog *cat, uint32_t i_sample,
                        float *vector) {
    struct amb_sample_info info;
    struct amb_hash128 uid;
    uint8_t row[52]; /* uid 16, version 4, group 4, label 8, corruption label 8, payload 8, checksum 4 */

    amb_catalog_get(&info, cat, i_sample);
    uid = amb_hash128_uid(cat->sources[info.i_source].name, info.key, info.key_bytes);
    memcpy(row, uid.bytes, 16);
    ambp_store_u32le(row + 16, 0);
    ambp_store_u32le(row + 20, info.group);
    ambp_store_u64le(row + 24, (uint64_t)info.label);
    ambp_store_u64le(row + 32, (uint64_t)info.corruption_label);
    ambp_store_u64le(row + 40, info.payload_bytes);
    ambp_store_u32le(row + 48, info.checksum);
    if (cat->label_width == 0) {
        amb_hasher_push(hasher, row, sizeof row);
        return;
    }
    amb_hasher_push(hasher, row, 24);
    digest_push_label(hasher, cat, i_sample, vector);
    amb_hasher_push(hasher, row + 32, 20);
}

int catalog_find_digest(struct catalog_facts *facts, const struct amb_catalog *cat, struct amb_rest *rest,
                        struct amb_error *err) {
    AMB_CLEANUP(amb_freep) float *vector = amb_malloc(cat->label_width * sizeof *vector);
    struct amb_hasher *hasher = amb_hasher_new();
    int r = 0;

    if (vector == NULL || hasher == NULL) {
        amb_hasher_free(hasher);
        return amb_fail(err, -ENOMEM, "digest: out of memory");
    }
    for (uint32_t i = 0; i < cat->n_samples && r == 0; i++) {
        digest_push(hasher, cat, i, vector);
        r = amb_rest_step(rest, err);
    }
    facts->digest = amb_hasher_get(hasher);
    amb_hasher_free(hasher);
    return r;
}
