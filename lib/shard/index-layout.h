#pragma once
/* Index layout: where things lie in an index image; shared by the view and the builder, and by nobody else.
 */
#include <stdint.h>
#include <string.h>

#include "proto/wire.h"
#include "shard/index.h"

#define INDEX_MAGIC        "AMBINDEX"
#define INDEX_AT_SUM       16u /* XXH3-128 from INDEX_AT_SUMMED on; u32 version at 8, zero at 12 */
#define INDEX_AT_SUMMED    32u
#define INDEX_AT_KEY       32u
#define INDEX_KEY_BYTES    56u  /* 5 x u64 identity, 16 bytes options */
#define INDEX_AT_COUNTS    88u  /* u32: samples, format, label width, prefix, longest key, has integers */
#define INDEX_AT_SECTIONS  112u /* AMB_INDEX_SECTION_N x (u64 offset, u64 bytes) */
#define INDEX_AT_NOTES     256u /* 5 x u64 */
#define INDEX_HEADER_BYTES 296u
#define INDEX_NAMES_BLOCK                                                                                    \
    8u /* names behind one offset: 1 byte of offset a sample, half a cache line to walk */
#define INDEX_RECORD_LABEL 13u /* u24 in every record */
#define INDEX_SIDE_BYTES   12u

static inline void amb_index_key_encode(uint8_t out[INDEX_KEY_BYTES], const struct amb_index_key *key) {
    const struct amb_identity *id = &key->identity;
    const uint64_t words[] = {id->dev, id->ino, id->size, id->mtime_ns, id->ctime_ns};

    for (size_t i = 0; i < 5; i++) {
        ambp_store_u64le(out + 8 * i, words[i]);
    }
    memcpy(out + 40, key->options.bytes, 16);
}
