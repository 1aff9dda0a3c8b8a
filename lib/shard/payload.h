#pragma once
/* Payload: bytes of a member into the caller's buffer. */
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "shard/map.h"

#define AMB_PAYLOAD_BYTES_MAX                                                                                \
    (256u << 20) /* DESIGN section 9: inflate 256 MiB per sample; the same for stored ones */

/* As stored. AMB_ERR_LIMIT above AMB_PAYLOAD_BYTES_MAX; -ENOMEM; those of amb_map_copy. Thread: any. */
int amb_payload_copy(struct amb_buf *out, const struct amb_map *map, uint64_t offset, uint64_t bytes,
                     struct amb_error *err);

/**
 * Raw deflate data at [offset, offset + stored) that must become exactly `bytes` bytes.
 *
 * The compressed bytes are copied behind the place of the result in the same buffer, so nothing else is
 * allocated. Errors: AMB_ERR_FORMAT no deflate data, or of another length; AMB_ERR_LIMIT. Thread: any.
 */
int amb_payload_inflate(struct amb_buf *out, const struct amb_map *map, uint64_t offset, uint64_t stored,
                        uint64_t bytes, struct amb_error *err);

/* Append an extension to the list in out ("jpg,cls"); left out where it does not fit. out begins as "". */
void amb_payload_list(char *out, size_t out_bytes, const char *ext, size_t ext_bytes);
