#include "base/test.h"

#include "annotate/store-blocks.h"
#include "annotate/store-journal.h"
#include "annotate/store-row.h"

/* Bytes that a reader written from proto/store.md alone made: what is on disks must be read for ever. */

static const uint8_t store_id[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

static const uint8_t segment[AMB_SEGMENT_HEADER_BYTES] = {
    0x41, 0x4d, 0x42, 0x4a, 0x52, 0x4e, 0x4c, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f,
    0x11, 0x5b, 0xe9, 0x3b, 0x1e, 0x5e, 0x4e, 0xcb, 0x05, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x07, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x34, 0x12, 0x6f, 0x58,
};

static const uint8_t rows[AMB_RECORD_HEADER_BYTES + AMB_ROW_BYTES] = {
    0x41, 0x4d, 0x42, 0x4a, 0x87, 0xf0, 0xdc, 0x20, 0x2f, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x11, 0x5b, 0xe9, 0x3b,
    0x1e, 0x5e, 0x4e, 0xcb, 0x05, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17,
    0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x3f, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x80, 0x3e, 0x00, 0x00, 0x80, 0x3f, 0x05, 0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0xe8, 0x03, 0x00, 0x13,
};

static const struct amb_store_record record = {
    .uid = {{16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31}},
    .version = 3,
    .origin = AMB_ORIGIN_CLASSIFIER,
    .sides = AMB_SIDE_MIN,
    .sigma_min = 0.5f,
    .lo = 0.25f,
    .hi = 1.0f,
    .n_evaluations = 1000,
    .model = 2,
    .sequence = 5,
};

TEST(segment_begins_as_the_page_says) {
    uint8_t header[AMB_SEGMENT_HEADER_BYTES];
    uint64_t first = 0;

    amb_segment_encode(header, store_id, 7, 5);
    assert_memory_equal(header, segment, sizeof header);
    assert_true(amb_segment_decode(&first, segment, store_id, 7));
    assert_int_equal(first, 5);
}

TEST(row_and_its_record_are_as_the_page_says) {
    const struct amb_record_header header = {amb_store_salt(store_id, 7), 5, AMB_ROW_BYTES, AMB_RECORD_ROWS};
    uint8_t bytes[sizeof rows];
    struct amb_store_record out;

    amb_row_encode(bytes + AMB_RECORD_HEADER_BYTES, &record);
    amb_record_seal(bytes, &header);
    assert_memory_equal(bytes, rows, sizeof bytes);
    assert_true(amb_row_decode(&out, rows + AMB_RECORD_HEADER_BYTES));
    assert_true(out.sigma_min == 0.5f && out.lo == 0.25f && out.hi == 1.0f && out.n_evaluations == 1000);
    assert_true(amb_hash128_equal(&out.uid, &record.uid) && out.version == 3 && out.model == 2 && out.sequence == 5);
}

TEST(block_of_a_table_is_sealed_as_the_page_says) {
    uint8_t block[AMB_BLOCK_BYTES] = {0};

    assert_true(amb_store_salt(store_id, 0) == 0xae2bd271faff0876u);
    amb_row_encode(block, &record);
    amb_blocks_seal(block, 9);
    assert_int_equal(ambp_load_u32le(block + AMB_BLOCK_BYTES - 4), 0x234e2520);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(segment_begins_as_the_page_says),
    cmocka_unit_test(row_and_its_record_are_as_the_page_says),
    cmocka_unit_test(block_of_a_table_is_sealed_as_the_page_says),
};

TEST_MAIN(tests)
