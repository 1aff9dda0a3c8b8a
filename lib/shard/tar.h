#pragma once
/* Tar: the members of a tar archive, one after another, where their bytes lie. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "shard/catalog.h"
#include "shard/index.h"
#include "shard/indexer.h"
#include "shard/map.h"
#include "shard/member.h"

#define AMB_TAR_BLOCK 512u

enum amb_tar_outcome {
    AMB_TAR_E_END = 1, /* end of the archive */
};

/* A walk over headers. No allocation: names lie in it, so it is large; keep one on the stack. */
struct amb_tar_walk {
    const struct amb_map *map;
    uint64_t offset; /* next header */
    struct amb_member member;
    char name[AMB_KEY_BYTES_MAX + 1];
};

/* Begin at a header; `offset` is 0, or what member.place was. */
void amb_tar_walk_init(struct amb_tar_walk *walk, const struct amb_map *map, uint64_t offset);

/**
 * Advance to the next regular file; `walk->member` is valid until the next call.
 *
 * Other types are passed over, and so are sparse files. PAX size and path win over the header's, and are
 * never applied to extension headers; two long names or sizes for one member that contradict each other are
 * refused, because readers disagree on them. Errors: AMB_ERR_FORMAT, AMB_ERR_LIMIT with the position; those
 * of amb_map_copy. Thread: any.
 */
int amb_tar_walk_next(struct amb_tar_walk *walk, struct amb_error *err);

/* Checksum of a header: its bytes added, the checksum's own taken as spaces. */
uint32_t amb_tar_sum(const uint8_t header[AMB_TAR_BLOCK]);

/* Scan a whole archive into an indexer of this format, whose opaque is the map. */
extern const struct amb_indexer_format amb_tar_format;
int amb_tar_scan(struct amb_indexer *indexer, const struct amb_map *map, struct amb_error *err);

/* Read the picture, or a member, of the sample of this record. Name: path of the picture inside the archive.
 */
int amb_tar_read(struct amb_buf *payload, const struct amb_map *map, const uint8_t *record, const char *name,
                 size_t name_bytes, struct amb_error *err);
int amb_tar_read_member(struct amb_buf *payload, const struct amb_map *map, const uint8_t *record,
                        const char *name, size_t name_bytes, const char *ext, struct amb_error *err);
/* Offset of the picture's bytes; 0 if it cannot be found without walking. */
uint64_t amb_tar_offset(const uint8_t *record);
/* Extensions of all members, comma separated; what does not fit is left out. */
int amb_tar_list_members(char *out, size_t out_bytes, const struct amb_map *map, const uint8_t *record,
                         const char *name, size_t name_bytes, struct amb_error *err);
