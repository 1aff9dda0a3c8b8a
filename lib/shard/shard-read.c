/*
 * Shard, reads: first the identity of the file, then the bytes.
 */
#include <string.h>

#include "proto/wire.h"
#include "shard/folder.h"
#include "shard/member.h"
#include "shard/payload.h"
#include "shard/shard.h"
#include "shard/tar.h"
#include "shard/zip.h"

const char *amb_shard_picture(const struct amb_shard *shard, uint32_t i, size_t *bytes) {
    const char *name = amb_index_name(&shard->index, i, bytes);

    *bytes -= shard->index.prefix_bytes;
    return name + shard->index.prefix_bytes;
}

const char *amb_shard_key(const struct amb_shard *shard, uint32_t i, size_t *bytes) {
    const char *name = amb_index_name(&shard->index, i, bytes);

    *bytes = shard->index.prefix_bytes +
             amb_member_key(name + shard->index.prefix_bytes, *bytes - shard->index.prefix_bytes);
    return name;
}

static int shard_check(const struct amb_shard *shard, struct amb_error *err) {
    return shard->format == AMB_SHARD_FOLDER ? 0 : amb_map_check(&shard->map, err);
}

int amb_shard_read(struct amb_buf *payload, const struct amb_shard *shard, uint32_t i,
                   struct amb_error *err) {
    const uint8_t *record = amb_index_record(&shard->index, i);
    size_t bytes;
    const char *name = amb_shard_picture(shard, i, &bytes);
    int r = shard_check(shard, err);

    if (r < 0) {
        return r;
    }
    switch (shard->format) {
    case AMB_SHARD_TAR:
        return amb_tar_read(payload, &shard->map, record, name, bytes, err);
    case AMB_SHARD_ZIP:
        return amb_zip_read(payload, &shard->map, amb_zip_place(record), err);
    default:
        return amb_folder_read(payload, shard->folder_fd, shard->path, name, bytes, ambp_load_u64le(record),
                               err);
    }
}

/* The file beside the picture is called as the picture, with another extension. */
static int shard_read_beside(struct amb_buf *payload, const struct amb_shard *shard, const char *name,
                             size_t key_bytes, const char *ext, uint64_t identity, struct amb_error *err) {
    char path[AMB_KEY_BYTES_MAX];
    size_t ext_bytes = strlen(ext);

    if (key_bytes + 1 + ext_bytes > sizeof path) {
        return AMB_CATALOG_E_MISSING;
    }
    memcpy(path, name, key_bytes + 1);
    memcpy(path + key_bytes + 1, ext, ext_bytes);
    return amb_folder_read(payload, shard->folder_fd, shard->path, path, key_bytes + 1 + ext_bytes, identity,
                           err);
}

static int shard_read_side(struct amb_buf *payload, const struct amb_shard *shard, uint32_t i,
                           const char *name, size_t key_bytes, const char *ext, struct amb_error *err) {
    const char *found;
    uint64_t place;

    for (uint32_t k = 0; amb_index_side(&place, &found, &shard->index, i, k); k++) {
        if (!amb_member_ext_equal(found, strlen(found), ext, strlen(ext))) {
            continue;
        }
        return shard->format == AMB_SHARD_ZIP
                   ? amb_zip_read(payload, &shard->map, place, err)
                   : shard_read_beside(payload, shard, name, key_bytes, found, place, err);
    }
    return AMB_CATALOG_E_MISSING;
}

int amb_shard_read_member(struct amb_buf *payload, const struct amb_shard *shard, uint32_t i, const char *ext,
                          struct amb_error *err) {
    size_t bytes, key_bytes;
    const char *name = amb_shard_picture(shard, i, &bytes);
    int r = shard_check(shard, err);

    if (r < 0) {
        return r;
    }
    if (shard->format == AMB_SHARD_TAR) {
        return amb_tar_read_member(payload, &shard->map, amb_index_record(&shard->index, i), name, bytes, ext,
                                   err);
    }
    key_bytes = amb_member_key(name, bytes);
    if (amb_member_ext_equal(name + key_bytes + 1, bytes - key_bytes - 1, ext, strlen(ext))) {
        return amb_shard_read(payload, shard, i, err);
    }
    return shard_read_side(payload, shard, i, name, key_bytes, ext, err);
}

int amb_shard_list_members(char *out, size_t out_bytes, const struct amb_shard *shard, uint32_t i,
                           struct amb_error *err) {
    size_t bytes, key_bytes;
    const char *name = amb_shard_picture(shard, i, &bytes), *ext;
    uint64_t place;
    int r = shard_check(shard, err);

    out[0] = '\0';
    if (r < 0) {
        return r;
    }
    if (shard->format == AMB_SHARD_TAR) {
        return amb_tar_list_members(out, out_bytes, &shard->map, amb_index_record(&shard->index, i), name,
                                    bytes, err);
    }
    key_bytes = amb_member_key(name, bytes);
    amb_payload_list(out, out_bytes, name + key_bytes + 1, bytes - key_bytes - 1);
    for (uint32_t k = 0; amb_index_side(&place, &ext, &shard->index, i, k); k++) {
        amb_payload_list(out, out_bytes, ext, strlen(ext));
    }
    return 0;
}

uint64_t amb_shard_offset(const struct amb_shard *shard, uint32_t i) {
    return shard->format == AMB_SHARD_TAR ? amb_tar_offset(amb_index_record(&shard->index, i)) : 0;
}

uint64_t amb_shard_sample_identity(const struct amb_shard *shard, uint32_t i) {
    return shard->format == AMB_SHARD_FOLDER ? ambp_load_u64le(amb_index_record(&shard->index, i))
                                             : shard->identity;
}
