/*
 * Shard, reads: the identity of the file, the bytes, and the identity once more.
 *
 * Nobody keeps others from writing to a shard while it is copied, and few formats have checksums that would tell.
 * What was copied counts if the file is the indexed one before and after, and its inode did not change in between. A
 * rename or a new link changes that as well, without harm: then it is read again.
 */
#include <errno.h>
#include <string.h>

#include "proto/wire.h"
#include "shard/folder.h"
#include "shard/member.h"
#include "shard/payload.h"
#include "shard/shard.h"
#include "shard/tar.h"
#include "shard/zip.h"

#define SHARD_TRIES 4u /* renamed so often within one read: no publisher does that; not tuned */

/* What is asked of one sample. */
struct shard_query {
    uint32_t i;
    const char *ext;         /* of a member */
    struct amb_buf *payload; /* or a list: */
    char *out;
    size_t out_bytes;
};

typedef int (*shard_reader)(const struct shard_query *query, const struct amb_shard *shard, struct amb_error *err);

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

/* Files of a folder are opened, and watched, one by one. */
static int shard_check(uint64_t *ctime_ns, const struct amb_shard *shard, struct amb_error *err) {
    *ctime_ns = 0;
    return shard->format == AMB_SHARD_FOLDER ? 0 : amb_map_check(ctime_ns, &shard->map, err);
}

/* Whatever the reader found in bytes that changed under it, that they changed is what counts. */
static int shard_ask(shard_reader reader, const struct shard_query *query, const struct amb_shard *shard,
                     struct amb_error *err) {
    for (unsigned i_try = 0; i_try < SHARD_TRIES; i_try++) {
        uint64_t before, after;
        int checked, r = shard_check(&before, shard, err);

        if (r < 0) {
            return r;
        }
        r = reader(query, shard, err);
        checked = shard_check(&after, shard, err);
        if (checked < 0) {
            return checked;
        }
        if (before == after) {
            return r;
        }
    }
    return amb_fail(err, -EAGAIN, "%s: is changed all the time, or renamed", shard->path);
}

static int shard_read(const struct shard_query *query, const struct amb_shard *shard, struct amb_error *err) {
    const uint8_t *record = amb_index_record(&shard->index, query->i);
    size_t bytes;
    const char *name = amb_shard_picture(shard, query->i, &bytes);

    switch (shard->format) {
    case AMB_SHARD_TAR:
        return amb_tar_read(query->payload, &shard->map, record, name, bytes, err);
    case AMB_SHARD_ZIP:
        return amb_zip_read_picture(query->payload, &shard->map, record, err);
    default:
        return amb_folder_read(query->payload, shard->folder_fd, shard->path, name, bytes,
                               ambp_load_u64le(record), err);
    }
}

int amb_shard_read(struct amb_buf *payload, const struct amb_shard *shard, uint32_t i,
                   struct amb_error *err) {
    const struct shard_query query = {.i = i, .payload = payload};

    return shard_ask(shard_read, &query, shard, err);
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

static int shard_read_member(const struct shard_query *query, const struct amb_shard *shard, struct amb_error *err) {
    size_t bytes, key_bytes;
    const char *name = amb_shard_picture(shard, query->i, &bytes), *ext = query->ext;

    if (shard->format == AMB_SHARD_TAR) {
        return amb_tar_read_member(query->payload, &shard->map, amb_index_record(&shard->index, query->i), name,
                                   bytes, ext, err);
    }
    key_bytes = amb_member_key(name, bytes);
    if (amb_member_ext_equal(name + key_bytes + 1, bytes - key_bytes - 1, ext, strlen(ext))) {
        return shard_read(query, shard, err);
    }
    return shard_read_side(query->payload, shard, query->i, name, key_bytes, ext, err);
}

int amb_shard_read_member(struct amb_buf *payload, const struct amb_shard *shard, uint32_t i, const char *ext,
                          struct amb_error *err) {
    const struct shard_query query = {.i = i, .ext = ext, .payload = payload};

    return shard_ask(shard_read_member, &query, shard, err);
}

static int shard_list_members(const struct shard_query *query, const struct amb_shard *shard, struct amb_error *err) {
    size_t bytes, key_bytes;
    const char *name = amb_shard_picture(shard, query->i, &bytes), *ext;
    uint64_t place;

    query->out[0] = '\0';
    if (shard->format == AMB_SHARD_TAR) {
        return amb_tar_list_members(query->out, query->out_bytes, &shard->map,
                                    amb_index_record(&shard->index, query->i), name, bytes, err);
    }
    key_bytes = amb_member_key(name, bytes);
    amb_payload_list(query->out, query->out_bytes, name + key_bytes + 1, bytes - key_bytes - 1);
    for (uint32_t k = 0; amb_index_side(&place, &ext, &shard->index, query->i, k); k++) {
        amb_payload_list(query->out, query->out_bytes, ext, strlen(ext));
    }
    return 0;
}

int amb_shard_list_members(char *out, size_t out_bytes, const struct amb_shard *shard, uint32_t i,
                           struct amb_error *err) {
    const struct shard_query query = {.i = i, .out = out, .out_bytes = out_bytes};

    out[0] = '\0';
    return shard_ask(shard_list_members, &query, shard, err);
}

uint64_t amb_shard_offset(const struct amb_shard *shard, uint32_t i) {
    return shard->format == AMB_SHARD_TAR ? amb_tar_offset(amb_index_record(&shard->index, i)) : 0;
}

uint64_t amb_shard_sample_identity(const struct amb_shard *shard, uint32_t i) {
    return shard->format == AMB_SHARD_FOLDER ? ambp_load_u64le(amb_index_record(&shard->index, i))
                                             : shard->identity;
}
