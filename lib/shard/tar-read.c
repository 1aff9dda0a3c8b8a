/*
 * Tar, scan and reads: a record points at the first header of its sample and at the picture's bytes. Reads
 * verify the checksum of the picture's header once more, so that a shard overwritten in place is noticed even
 * where its times were put back.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/size.h"
#include "proto/wire.h"
#include "shard/payload.h"
#include "shard/tar.h"

#define TAR_DELTA_WALK 0xFFFFu

static int tar_load(struct amb_buf *out, void *opaque, const struct amb_member *member,
                    struct amb_error *err) {
    const struct amb_map *map = opaque;

    return member->bytes > AMB_SIDE_TEXT_MAX
               ? AMB_INDEXER_E_LONG
               : amb_payload_copy(out, map, member->payload, member->bytes, err);
}

static int tar_pack(uint8_t record[AMB_INDEX_RECORD_BYTES], const struct amb_member *first,
                    const struct amb_member *picture, struct amb_error *err) {
    uint64_t head = first->place / AMB_TAR_BLOCK, delta = (picture->payload - first->place) / AMB_TAR_BLOCK;
    uint64_t bytes = picture->bytes < AMB_INDEX_BYTES_OVER ? picture->bytes : AMB_INDEX_BYTES_OVER;

    if (head > UINT32_MAX) {
        return amb_fail(err, AMB_ERR_LIMIT, "an archive of more than 2 TiB; split it");
    }
    ambp_store_u32le(record, (uint32_t)head);
    ambp_store_u16le(record + 4, delta < TAR_DELTA_WALK ? (uint16_t)delta : TAR_DELTA_WALK);
    ambp_store_u32le(record + 6, (uint32_t)bytes);
    ambp_store_u16le(record + 10, (uint16_t)picture->checksum);
    record[12] = (uint8_t)(picture->checksum >> 16);
    return 0;
}

int amb_tar_scan(struct amb_indexer *indexer, const struct amb_map *map, struct amb_error *err) {
    struct amb_tar_walk walk;
    int r;

    amb_tar_walk_init(&walk, map, 0);
    for (;;) {
        r = amb_tar_walk_next(&walk, err);
        if (r != 0) {
            break;
        }
        r = amb_indexer_push(indexer, &walk.member, err);
        if (r < 0) {
            return r;
        }
        if (indexer->builder.notes.n_members > AMB_INDEX_SAMPLES_MAX) {
            return amb_fail(err, AMB_ERR_LIMIT, "more than %u members; split the archive",
                            AMB_INDEX_SAMPLES_MAX);
        }
    }
    return r < 0 ? r : amb_indexer_finish(indexer, err);
}

const struct amb_indexer_format amb_tar_format = {.load = tar_load, .pack = tar_pack};

static uint64_t tar_head(const uint8_t *record) {
    return (uint64_t)ambp_load_u32le(record) * AMB_TAR_BLOCK;
}

uint64_t amb_tar_offset(const uint8_t *record) {
    uint16_t delta = ambp_load_u16le(record + 4);

    return delta == TAR_DELTA_WALK ? 0 : tar_head(record) + (uint64_t)delta * AMB_TAR_BLOCK;
}

static int tar_changed(const struct amb_map *map, uint64_t at, struct amb_error *err) {
    return amb_fail(err, AMB_ERR_CHANGED,
                    "%s: the header at %llu is not the one that was indexed; publish shards by "
                    "rename and reload",
                    map->path, (unsigned long long)at);
}

/* Next member of the run of `name`'s key, or AMB_TAR_E_END behind its last. */
static int tar_run_next(struct amb_tar_walk *walk, const char *name, size_t key_bytes,
                        struct amb_error *err) {
    for (;;) {
        size_t n;
        int r = amb_tar_walk_next(walk, err);

        if (r != 0) {
            return r;
        }
        n = amb_member_key(walk->member.name, walk->member.name_bytes);
        if (n != 0) {
            return n == key_bytes && memcmp(walk->member.name, name, n) == 0 ? 0 : AMB_TAR_E_END;
        }
    }
}

static int tar_find_picture(uint64_t *offset, const struct amb_map *map, const uint8_t *record,
                            const char *name, size_t name_bytes, struct amb_error *err) {
    size_t key_bytes = amb_member_key(name, name_bytes);
    struct amb_tar_walk walk;
    int r;

    *offset = amb_tar_offset(record);
    if (*offset != 0) {
        return 0;
    }
    amb_tar_walk_init(&walk, map, tar_head(record));
    for (;;) {
        r = tar_run_next(&walk, name, key_bytes, err);
        if (r != 0) {
            return r < 0 ? r : tar_changed(map, tar_head(record), err);
        }
        if (walk.member.name_bytes == name_bytes && memcmp(walk.member.name, name, name_bytes) == 0) {
            *offset = walk.member.payload;
            return 0;
        }
    }
}

static uint32_t tar_record_sum(const uint8_t *record) {
    return (uint32_t)record[10] | (uint32_t)record[11] << 8 | (uint32_t)record[12] << 16;
}

int amb_tar_read(struct amb_buf *payload, const struct amb_map *map, const uint8_t *record, const char *name,
                 size_t name_bytes, struct amb_error *err) {
    uint8_t header[AMB_TAR_BLOCK];
    uint64_t offset;
    int r;

    r = tar_find_picture(&offset, map, record, name, name_bytes, err);
    if (r == 0) {
        r = amb_map_copy(header, map, offset - AMB_TAR_BLOCK, sizeof header, err);
    }
    if (r < 0) {
        return r;
    }
    if (amb_tar_sum(header) != tar_record_sum(record)) {
        return tar_changed(map, offset - AMB_TAR_BLOCK, err);
    }
    return amb_payload_copy(payload, map, offset, ambp_load_u32le(record + 6), err);
}

int amb_tar_read_member(struct amb_buf *payload, const struct amb_map *map, const uint8_t *record,
                        const char *name, size_t name_bytes, const char *ext, struct amb_error *err) {
    size_t key_bytes = amb_member_key(name, name_bytes), ext_bytes = strlen(ext);
    struct amb_tar_walk walk;
    int r;

    amb_tar_walk_init(&walk, map, tar_head(record));
    for (;;) {
        const struct amb_member *m = &walk.member;

        r = tar_run_next(&walk, name, key_bytes, err);
        if (r != 0) {
            return r < 0 ? r : AMB_CATALOG_E_MISSING;
        }
        if (amb_member_ext_equal(m->name + key_bytes + 1, m->name_bytes - key_bytes - 1, ext, ext_bytes)) {
            return amb_payload_copy(payload, map, m->payload, m->bytes, err);
        }
    }
}

int amb_tar_list_members(char *out, size_t out_bytes, const struct amb_map *map, const uint8_t *record,
                         const char *name, size_t name_bytes, struct amb_error *err) {
    size_t key_bytes = amb_member_key(name, name_bytes);
    struct amb_tar_walk walk;
    int r;

    amb_tar_walk_init(&walk, map, tar_head(record));
    for (;;) {
        r = tar_run_next(&walk, name, key_bytes, err);
        if (r != 0) {
            return r < 0 ? r : 0;
        }
        amb_payload_list(out, out_bytes, walk.member.name + key_bytes + 1,
                         walk.member.name_bytes - key_bytes - 1);
    }
}
