#pragma once
/* Store layout: the bytes of a store's files, as proto/store.md fixes them. */
#include <stdint.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/hash.h"
#include "proto/wire.h"

#define AMB_STORE_VERSION 1u

/* Record of a journal or of a table's streams: u32 magic, u32 crc, u32 payload bytes, u8 type, u8[3] zero, u64 salt,
 * u64 sequence of its first item; payload. crc covers all of it but magic and itself. */
#define AMB_RECORD_MAGIC        0x4A424D41u /* "AMBJ" */
#define AMB_RECORD_HEADER_BYTES 32u
#define AMB_RECORD_BYTES_MAX    (1u << 20) /* DESIGN section 9; header included */
#define AMB_RECORD_PAYLOAD_MAX  (AMB_RECORD_BYTES_MAX - AMB_RECORD_HEADER_BYTES)

enum amb_record_type {
    AMB_RECORD_ROWS = 1,
    AMB_RECORD_CURVE = 2,
    AMB_RECORD_MODEL = 3,
    AMB_RECORD_TEXT = 4,
    AMB_RECORD_GENERATION = 5,
    AMB_RECORD_UNDO = 6,
    AMB_RECORD_MARK = 7, /* all before it was on disk when it was written */
    AMB_RECORD_TYPE_N,
};

/* Segment header: magic 8, u32 version, u32 zero, store id 16, u64 salt, u64 first sequence, u64 number, u32 zero, u32 crc. */
#define AMB_SEGMENT_MAGIC        "AMBJRNL"
#define AMB_SEGMENT_HEADER_BYTES 64u

/* Row of 47 bytes: uid 16, u32 version, f32 sigma_min, sigma_max, lo, hi, u40 sequence, u16 model, u24 evaluations,
 * u8 origin | sides << 4. sides 0: sigma_min holds the code as i32. */
#define AMB_ROW_BYTES           47u
#define AMB_STORE_SEQUENCE_MAX  ((UINT64_C(1) << 40) - 1)
#define AMB_STORE_SEQUENCE_END  (AMB_STORE_SEQUENCE_MAX + 1) /* what follows the last; nothing on disk says more */
#define AMB_ROW_EVALUATIONS_MAX ((1u << 24) - 1)

/* Sorted entries lie in blocks of a page, each with its checksum in the last four bytes. */
#define AMB_BLOCK_BYTES         4096u
#define AMB_ROWS_PER_BLOCK      87u /* 87 x 47 + 3 + 4 */
#define AMB_CURVE_ENTRY_BYTES   32u /* uid 16, u32 version, u32 record bytes, u64 offset in the stream of bulk */
#define AMB_CURVES_PER_BLOCK    127u

#define AMB_TABLE_MAGIC    "AMBTABL"
#define AMB_MANIFEST_MAGIC "AMBSTOR"

#define AMB_STORE_CURVE_MAX      65536u /* pairs: half a journal record */
#define AMB_STORE_TEXT_MAX       65536u
#define AMB_STORE_NAME_MAX       64u
#define AMB_STORE_MODEL_BYTES    64u    /* hex digits of a sha256 */
#define AMB_STORE_MODEL_LOST     "0000000000000000000000000000000000000000000000000000000000000000" /* it had the number */

/* Where a record lies: segment 0 is the table's stream of bulk. */
struct amb_location {
    uint64_t segment;
    uint64_t offset;
    uint32_t bytes; /* header included */
};

struct amb_record_header {
    uint64_t salt, sequence;
    uint32_t payload_bytes;
    uint8_t type;
};

static inline uint32_t amb_record_crc(const uint8_t *record, uint32_t payload_bytes) {
    return amb_crc32c(0, record + 8, AMB_RECORD_HEADER_BYTES - 8 + payload_bytes);
}

/* Put the header before a payload that lies at record + AMB_RECORD_HEADER_BYTES. */
static inline void amb_record_seal(uint8_t *record, const struct amb_record_header *header) {
    ambp_store_u32le(record, AMB_RECORD_MAGIC);
    ambp_store_u32le(record + 8, header->payload_bytes);
    ambp_store_u32le(record + 12, header->type);
    ambp_store_u64le(record + 16, header->salt);
    ambp_store_u64le(record + 24, header->sequence);
    ambp_store_u32le(record + 4, amb_record_crc(record, header->payload_bytes));
}

static inline void amb_store_f32le(uint8_t *p, float value) {
    uint32_t bits;

    memcpy(&bits, &value, sizeof bits);
    ambp_store_u32le(p, bits);
}

static inline float amb_load_f32le(const uint8_t *p) {
    uint32_t bits = ambp_load_u32le(p);
    float value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline void amb_store_u40le(uint8_t *p, uint64_t v) {
    ambp_store_u32le(p, (uint32_t)v);
    p[4] = (uint8_t)(v >> 32);
}

static inline uint64_t amb_load_u40le(const uint8_t *p) {
    return ambp_load_u32le(p) | (uint64_t)p[4] << 32;
}

/* The salt of a segment, or of the streams of tables (number 0): a byte run of another store, or of another segment of
 * this one, is never taken for a record. */
static inline uint64_t amb_store_salt(const uint8_t store_id[16], uint64_t number) {
    const uint64_t words[3] = {ambp_load_u64le(store_id), ambp_load_u64le(store_id + 8), number};

    return amb_hash_words("store-salt", words, 3);
}
