/*
 * Record: what a store reads back from its files, piece by piece, thousands of times a second; whole recoveries, some
 * hundred a second, are journal's.
 *
 * The first byte says which piece. Checksums are put right before each, since mutations would never get past them. The
 * search for records is checked against a plain one that tries every byte.
 */
#include "fuzz.h"

#include <errno.h>
#include <math.h>
#include <zstd.h>

#include "annotate/store-blocks.h"
#include "annotate/store-journal.h"
#include "annotate/store-manifest.h"
#include "annotate/store-row.h"
#include "annotate/store-scan.h"
#include "annotate/store-undo.h"
#include "base/cleanup.h"

#define STRETCH_BYTES 8192u
#define BLOCKS_N      2u
#define N_SAMPLES     64u
#define SALT          UINT64_C(0x5EA1ED5A17)

static const uint8_t store_id[16] = "fuzz's own store";

struct input {
    const uint8_t *at, *end;
};

static uint8_t take_u8(struct input *in) {
    return in->at < in->end ? *in->at++ : 0;
}

static size_t take(uint8_t *out, struct input *in, size_t bytes) {
    const size_t n = bytes < (size_t)(in->end - in->at) ? bytes : (size_t)(in->end - in->at);

    memcpy(out, in->at, n);
    memset(out + n, 0, bytes - n);
    in->at += n;
    return n;
}

/* Rows */

static void check_row(const uint8_t bytes[AMB_ROW_BYTES]) {
    struct amb_store_record record, again;
    uint8_t row[AMB_ROW_BYTES], same[AMB_ROW_BYTES];

    if (!amb_row_decode(&record, bytes)) {
        return;
    }
    FUZZ_REQUIRE(record.sigma_min >= 0 && record.sigma_max >= 0 && record.sides <= AMB_SIDE_BOTH);
    amb_row_encode(row, &record);
    FUZZ_REQUIRE(amb_row_decode(&again, row));
    amb_row_encode(same, &again);
    FUZZ_REQUIRE(memcmp(row, same, sizeof row) == 0);
    FUZZ_REQUIRE(memcmp(row + 28, bytes + 28, sizeof row - 28) == 0); /* what no side may leave out */
}

/* A stretch of a journal */

struct stretch {
    uint8_t data[STRETCH_BYTES];
    size_t bytes;
};

static ssize_t stretch_pread(void *opaque, int fd, void *data, size_t bytes, uint64_t offset) {
    const struct stretch *stretch = opaque;
    const size_t left = offset < stretch->bytes ? stretch->bytes - (size_t)offset : 0, n = bytes < left ? bytes : left;

    (void)fd;
    memcpy(data, stretch->data + (n != 0 ? offset : 0), n);
    return (ssize_t)n;
}

static int stretch_size(void *opaque, uint64_t *out, int fd) {
    (void)fd;
    *out = ((const struct stretch *)opaque)->bytes;
    return 0;
}

static void make_record(struct stretch *stretch, struct input *in) {
    const uint8_t type = take_u8(in), twist = take_u8(in), n = take_u8(in);
    const struct amb_record_header header = {.salt = SALT + ((twist & 1) != 0),
                                             .sequence = (twist & 2) != 0 ? AMB_STORE_SEQUENCE_END - take_u8(in) : twist,
                                             .payload_bytes = n,
                                             .type = type % (AMB_RECORD_TYPE_N + 1)};
    uint8_t *record = stretch->data + stretch->bytes;

    if (STRETCH_BYTES - stretch->bytes < AMB_RECORD_HEADER_BYTES + n) {
        return;
    }
    take(record + AMB_RECORD_HEADER_BYTES, in, n);
    amb_record_seal(record, &header);
    stretch->bytes += AMB_RECORD_HEADER_BYTES + n - ((twist & 4) != 0 ? n / 2 : 0);
}

static void make_raw(struct stretch *stretch, struct input *in) {
    const size_t n = take_u8(in);

    if (STRETCH_BYTES - stretch->bytes >= n) {
        stretch->bytes += take(stretch->data + stretch->bytes, in, n);
    }
}

static void make_magic(struct stretch *stretch, struct input *in) {
    (void)in;
    if (STRETCH_BYTES - stretch->bytes >= 4) {
        ambp_store_u32le(stretch->data + stretch->bytes, AMB_RECORD_MAGIC);
        stretch->bytes += 4;
    }
}

static void make_flip(struct stretch *stretch, struct input *in) {
    const size_t back = take_u8(in) | (size_t)take_u8(in) << 8;
    const uint8_t mask = take_u8(in);

    if (stretch->bytes != 0) {
        stretch->data[stretch->bytes - 1 - back % stretch->bytes] ^= mask;
    }
}

/* Bytes of the record that begins there; 0: none does. */
static size_t plain_record(const struct stretch *stretch, size_t at) {
    const uint8_t *p = stretch->data + at;
    const size_t left = stretch->bytes - at;
    size_t payload_bytes;

    if (left < AMB_RECORD_HEADER_BYTES || ambp_load_u32le(p) != AMB_RECORD_MAGIC) {
        return 0;
    }
    payload_bytes = ambp_load_u32le(p + 8);
    if (payload_bytes > left - AMB_RECORD_HEADER_BYTES || p[12] == 0 || p[12] >= AMB_RECORD_TYPE_N || p[13] != 0 ||
        p[14] != 0 || p[15] != 0 || ambp_load_u64le(p + 16) != SALT ||
        ambp_load_u64le(p + 24) > AMB_STORE_SEQUENCE_END - (p[12] != AMB_RECORD_MARK) ||
        ambp_load_u32le(p + 4) != amb_crc32c(0, p + 8, AMB_RECORD_HEADER_BYTES - 8 + payload_bytes)) {
        return 0;
    }
    return AMB_RECORD_HEADER_BYTES + payload_bytes;
}

static void check_stretch(struct input *in) {
    static void (*const makers[])(struct stretch *, struct input *) = {make_record, make_record, make_raw, make_magic, make_flip};
    static struct stretch stretch;
    const struct amb_io io = {.opaque = &stretch, .pread = stretch_pread, .size = stretch_size};
    const size_t more = take_u8(in); /* that the file had when its size was asked */
    struct amb_scan_record record;
    struct amb_scan scan;
    size_t at = 0;

    stretch.bytes = 0;
    while (in->at < in->end) {
        makers[take_u8(in) % (sizeof makers / sizeof makers[0])](&stretch, in);
    }
    amb_scan_init(&scan, &io, 3, SALT, 0, stretch.bytes + more);
    for (;;) {
        const size_t bytes = at < stretch.bytes ? plain_record(&stretch, at) : 0;
        int r = amb_scan_next(&record, &scan);

        if (r == AMB_SCAN_E_END) {
            FUZZ_REQUIRE(at >= stretch.bytes && bytes == 0);
            break;
        }
        if (r == 0) {
            FUZZ_REQUIRE(bytes != 0 && record.offset == at && record.payload_bytes == bytes - AMB_RECORD_HEADER_BYTES);
            FUZZ_REQUIRE(memcmp(record.payload, stretch.data + at + AMB_RECORD_HEADER_BYTES, record.payload_bytes) == 0);
            FUZZ_REQUIRE(amb_record_check(stretch.data + at, bytes, SALT, record.type));
            at += bytes;
            FUZZ_REQUIRE(scan.at == at);
            continue;
        }
        FUZZ_REQUIRE(r == AMB_SCAN_E_BAD && bytes == 0 && scan.at == at);
        r = amb_scan_resync(&scan);
        do {
            at++;
        } while (at < stretch.bytes && plain_record(&stretch, at) == 0);
        if (r == AMB_SCAN_E_END) {
            FUZZ_REQUIRE(at >= stretch.bytes);
            break;
        }
        FUZZ_REQUIRE(r == 0 && scan.at == at);
    }
    amb_scan_deinit(&scan);
}

/* Undo: the columns as they stand in the input, packed. */
static void check_undo(struct input *in) {
    AMB_CLEANUP(amb_buf_deinit) struct amb_buf payload = AMB_BUF_NULL;
    const struct amb_undo_head expected = {.number = 7, .i_chunk = 1};
    struct amb_annotation values[N_SAMPLES] = {0};
    const uint8_t twist = take_u8(in), n_entries = take_u8(in), n_samples = take_u8(in) % (N_SAMPLES + 1);
    const size_t raw_bytes = (size_t)(in->end - in->at);
    size_t n;
    int r;

    FUZZ_REQUIRE(amb_buf_reserve(&payload, 24 + ZSTD_compressBound(raw_bytes)) == 0);
    memset(payload.data, 0, 24);
    ambp_store_u64le(payload.data, expected.number + ((twist & 1) != 0));
    ambp_store_u32le(payload.data + 8, expected.i_chunk);
    ambp_store_u32le(payload.data + 12, n_entries + ((twist & 2) != 0 ? 1u << 28 : 0));
    ambp_store_u32le(payload.data + 16, (uint32_t)raw_bytes + ((twist & 4) != 0 ? (uint32_t)twist << 20 : 0));
    if ((twist & 8) != 0) {
        n = take(payload.data + 24, in, raw_bytes);
    } else {
        n = ZSTD_compress(payload.data + 24, payload.n_bytes - 24, in->at, raw_bytes, 1);
        FUZZ_REQUIRE(!ZSTD_isError(n));
    }
    r = amb_undo_apply(values, n_samples, &expected, payload.data, (uint32_t)((twist & 16) != 0 ? twist % (24 + n) : 24 + n));
    FUZZ_REQUIRE(r == 0 || r == AMB_ERR_FORMAT);
    for (size_t i = 0; i < N_SAMPLES && r == 0; i++) {
        FUZZ_REQUIRE(values[i].sigma_min >= 0 && values[i].sigma_max >= 0);
        FUZZ_REQUIRE(i < n_samples || (values[i].sigma_min == 0 && values[i].sigma_max == 0));
    }
}

static void check_heads(struct input *in) {
    uint8_t bytes[AMB_MANIFEST_PART_BYTES], again[AMB_MANIFEST_PART_BYTES], segment[AMB_SEGMENT_HEADER_BYTES];
    struct amb_manifest manifest, same;
    uint64_t first_sequence;
    uint32_t version;
    const uint8_t twist = take_u8(in);

    take(bytes, in, sizeof bytes);
    memcpy(segment, bytes, sizeof segment);
    if ((twist & 1) != 0) {
        memcpy(bytes, AMB_MANIFEST_MAGIC, 8);
        ambp_store_u32le(bytes + AMB_MANIFEST_PART_BYTES - 4, amb_crc32c(0, bytes, AMB_MANIFEST_PART_BYTES - 4));
    }
    if (amb_manifest_decode(&manifest, bytes, AMB_MANIFEST_MAGIC, &version)) {
        FUZZ_REQUIRE(version == ambp_load_u32le(bytes + 8));
        amb_manifest_encode(again, &manifest, AMB_MANIFEST_MAGIC);
        FUZZ_REQUIRE(amb_manifest_decode(&same, again, AMB_MANIFEST_MAGIC, &version) && version == AMB_STORE_VERSION);
        FUZZ_REQUIRE(memcmp(&manifest, &same, sizeof same) == 0);
        amb_manifest_table_bytes(&manifest);
    }
    if ((twist & 2) != 0) {
        amb_segment_encode(segment, store_id, 5, ambp_load_u64le(bytes));
        segment[bytes[8] % AMB_SEGMENT_HEADER_BYTES] ^= bytes[9];
        ambp_store_u32le(segment + 60, amb_crc32c(0, segment, 60));
    }
    if (amb_segment_decode(&first_sequence, segment, store_id, 5)) {
        FUZZ_REQUIRE(first_sequence == ambp_load_u64le(segment + 40));
    }
}

/* Sorted or not, damaged or not: a search ends, and answers nothing but entries of its key. */
static void check_blocks(struct input *in) {
    static uint8_t map[BLOCKS_N * AMB_BLOCK_BYTES];
    const uint8_t twist = take_u8(in), repeat = (uint8_t)(1 + take_u8(in) % 60);
    struct amb_blocks blocks = {.map = map, .map_bytes = sizeof map - (twist & 64u), .entry_bytes = AMB_ROW_BYTES,
                                .per_block = AMB_ROWS_PER_BLOCK, .has_origin = true};
    struct amb_blocks_cursor cursor;
    uint8_t found[8 * AMB_ROW_BYTES], uid[16] = {0};
    uint64_t i_damaged, n = 0;

    memset(map, 0, sizeof map);
    while (in->at < in->end && blocks.n_entries < BLOCKS_N * AMB_ROWS_PER_BLOCK) {
        const uint8_t key = take_u8(in), version = take_u8(in);

        for (unsigned i = 0; i < repeat && blocks.n_entries < BLOCKS_N * AMB_ROWS_PER_BLOCK; i++, blocks.n_entries++) {
            uint8_t *row = map + blocks.n_entries / AMB_ROWS_PER_BLOCK * AMB_BLOCK_BYTES +
                           blocks.n_entries % AMB_ROWS_PER_BLOCK * AMB_ROW_BYTES;

            row[0] = key;
            row[15] = (uint8_t)i;
            row[16] = version;
            row[46] = 1;
        }
    }
    for (uint64_t i = 0; i < BLOCKS_N; i++) {
        amb_blocks_seal(map + i * AMB_BLOCK_BYTES, i + ((twist >> i & 1) != 0));
    }
    blocks.n_entries += (twist & 32) != 0 ? 500 : 0;
    amb_blocks_cursor_init(&cursor, &blocks);
    for (const uint8_t *row = amb_blocks_cursor_next(&cursor); row != NULL; row = amb_blocks_cursor_next(&cursor)) {
        n++;
    }
    FUZZ_REQUIRE(n + cursor.n_damaged * AMB_ROWS_PER_BLOCK >= blocks.n_entries && n <= blocks.n_entries);
    for (unsigned key = 0; key < 4; key++) {
        uint32_t n_found;

        uid[0] = map[key * 29 * AMB_ROW_BYTES];
        uid[15] = twist % repeat;
        n_found = amb_blocks_find(found, 8, &i_damaged, &blocks, uid, key % 2);
        FUZZ_REQUIRE(n_found <= 8);
        FUZZ_REQUIRE(i_damaged == UINT64_MAX || cursor.n_damaged != 0);
        for (uint32_t i = 0; i < n_found; i++) {
            FUZZ_REQUIRE(memcmp(found + i * AMB_ROW_BYTES, uid, 16) == 0 && found[i * AMB_ROW_BYTES + 16] == key % 2);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    struct input in = {data, data + bytes};
    uint8_t row[AMB_ROW_BYTES];

    switch (take_u8(&in) % 8) {
    case 0:
        check_undo(&in);
        break;
    case 1:
        check_heads(&in);
        break;
    case 2:
        check_blocks(&in);
        break;
    case 3:
        while (in.at < in.end) {
            take(row, &in, sizeof row);
            check_row(row);
        }
        break;
    default:
        check_stretch(&in);
    }
    return 0;
}
