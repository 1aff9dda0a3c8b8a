#include "base/test.h"

#include <math.h>

#include <zstd.h>

#include "annotate/store-undo.h"
#include "base/alloc.h"
#include "base/cleanup.h"

#define N          100u
#define HEAD_BYTES 24u /* proto/store.md, Undo */

static struct amb_annotation before[N], after[N];

/* Values that differ at every third sample. */
static void values_fill(void) {
    for (uint32_t i = 0; i < N; i++) {
        before[i] = (struct amb_annotation){(float)i, 0.25f};
        after[i] = i % 3 == 1 ? (struct amb_annotation){(float)i + 1, 0.5f} : before[i];
    }
}

static void payload_make(struct amb_buf *out, struct amb_undo_head *head) {
    uint32_t i_sample = 0;

    *head = (struct amb_undo_head){.number = 7};
    values_fill();
    assert_int_equal(amb_undo_encode(out, head, &i_sample, before, after, N), 0);
    assert_int_equal(head->n_entries, 33);
    assert_int_equal(i_sample, N);
}

/* A payload of our own making: head, then what zstd is given. */
static void payload_of(struct amb_buf *out, uint32_t n_entries, const uint8_t *raw, uint32_t raw_bytes) {
    size_t n;

    assert_int_equal(amb_buf_reserve(out, HEAD_BYTES + ZSTD_compressBound(raw_bytes)), 0);
    memset(out->data, 0, HEAD_BYTES);
    ambp_store_u64le(out->data, 7);
    ambp_store_u32le(out->data + 12, n_entries);
    ambp_store_u32le(out->data + 16, raw_bytes);
    n = ZSTD_compress(out->data + HEAD_BYTES, out->n_bytes - HEAD_BYTES, raw, raw_bytes, 1);
    assert_false(ZSTD_isError(n));
    out->n_bytes = HEAD_BYTES + n;
}

static int apply(const struct amb_buf *payload, uint64_t number, uint32_t i_chunk) {
    const struct amb_undo_head expected = {.number = number, .i_chunk = i_chunk};
    struct amb_annotation values[N];

    values_fill();
    memcpy(values, after, sizeof values);
    return amb_undo_apply(values, N, &expected, payload->data, (uint32_t)payload->n_bytes);
}

TEST(undo_leads_back_exactly) {
    AMB_CLEANUP(amb_buf_deinit) struct amb_buf payload = AMB_BUF_NULL;
    struct amb_undo_head head;

    payload_make(&payload, &head);
    assert_int_equal(amb_undo_apply(after, N, &(struct amb_undo_head){.number = 7}, payload.data,
                                    (uint32_t)payload.n_bytes), 0);
    assert_memory_equal(after, before, sizeof before);
}

TEST(undo_of_another_generation_or_chunk_is_refused) {
    AMB_CLEANUP(amb_buf_deinit) struct amb_buf payload = AMB_BUF_NULL;
    struct amb_undo_head head;

    payload_make(&payload, &head);
    assert_int_equal(apply(&payload, 7, 0), 0);
    assert_int_equal(apply(&payload, 8, 0), AMB_ERR_FORMAT);
    assert_int_equal(apply(&payload, 7, 1), AMB_ERR_FORMAT);
    payload.n_bytes = HEAD_BYTES - 1;
    assert_int_equal(apply(&payload, 7, 0), AMB_ERR_FORMAT);
}

TEST(undo_that_is_cut_or_longer_than_it_says_is_refused) {
    AMB_CLEANUP(amb_buf_deinit) struct amb_buf payload = AMB_BUF_NULL;
    struct amb_undo_head head;

    payload_make(&payload, &head);
    payload.n_bytes--;
    assert_int_equal(apply(&payload, 7, 0), AMB_ERR_FORMAT);
    payload.n_bytes++;
    ambp_store_u32le(payload.data + 16, head.raw_bytes + 1); /* zstd gives one less */
    assert_int_equal(apply(&payload, 7, 0), AMB_ERR_FORMAT);
    ambp_store_u32le(payload.data + 16, head.raw_bytes);
    ambp_store_u32le(payload.data + 12, head.n_entries - 1);
    assert_int_equal(apply(&payload, 7, 0), AMB_ERR_FORMAT);
    ambp_store_u32le(payload.data + 12, AMB_UNDO_ENTRIES_MAX + 1);
    assert_int_equal(apply(&payload, 7, 0), AMB_ERR_FORMAT);
    ambp_store_u32le(payload.data + 12, head.n_entries);
    ambp_store_u32le(payload.data + 16, UINT32_MAX); /* no memory is asked for */
    assert_int_equal(apply(&payload, 7, 0), AMB_ERR_FORMAT);
}

/* Whole frames of zstd whose contents lie: u32 bytes of varints, varints, values. */
TEST(undo_whose_numbers_lie_is_refused) {
    static const struct {
        const char *what;
        uint32_t n_entries;
        uint8_t varints[8];
        uint32_t varint_bytes, says;
        float sigma_min, sigma_max;
        int r;
    } cases[] = {
        {"one entry", 1, {99}, 1, 1, 1, 0.5f, 0},
        {"two entries", 2, {1, 98}, 2, 2, 1, 0.5f, 0},
        {"a long varint of a small number", 1, {0x81, 0x80, 0x00}, 3, 3, 1, 0.5f, 0},
        {"sample behind the last", 1, {100}, 1, 1, 1, 0.5f, AMB_ERR_FORMAT},
        {"sum behind the last", 2, {60, 60}, 2, 2, 1, 0.5f, AMB_ERR_FORMAT},
        {"more varints than entries", 1, {1, 1}, 2, 2, 1, 0.5f, AMB_ERR_FORMAT},
        {"fewer varints than entries", 2, {1}, 1, 1, 1, 0.5f, AMB_ERR_FORMAT},
        {"varints longer than they are", 1, {1}, 1, 2, 1, 0.5f, AMB_ERR_FORMAT},
        {"varint without end", 1, {0x81}, 1, 1, 1, 0.5f, AMB_ERR_FORMAT},
        {"varint of six bytes", 1, {0x81, 0x80, 0x80, 0x80, 0x80, 0x00}, 6, 6, 1, 0.5f, AMB_ERR_FORMAT},
        {"one too few varints, as bytes", 2, {0x81, 0x00}, 2, 2, 1, 0.5f, AMB_ERR_FORMAT},
        {"sigma_min below zero", 1, {1}, 1, 1, -1, 0.5f, AMB_ERR_FORMAT},
        {"sigma_max NaN", 1, {1}, 1, 1, 1, NAN, AMB_ERR_FORMAT},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        AMB_CLEANUP(amb_buf_deinit) struct amb_buf payload = AMB_BUF_NULL;
        uint8_t raw[64], *p = raw + 4;
        int r;

        ambp_store_u32le(raw, cases[i].says);
        memcpy(p, cases[i].varints, cases[i].varint_bytes);
        p += cases[i].varint_bytes;
        for (uint32_t k = 0; k < 2 * cases[i].n_entries; k++, p += 4) {
            amb_store_f32le(p, k < cases[i].n_entries ? cases[i].sigma_min : cases[i].sigma_max);
        }
        payload_of(&payload, cases[i].n_entries, raw, (uint32_t)(p - raw));
        r = apply(&payload, 7, 0);
        if (r != cases[i].r) {
            fail_msg("%s: %d, expected %d", cases[i].what, r, cases[i].r);
        }
    }
    {
        AMB_CLEANUP(amb_buf_deinit) struct amb_buf payload = AMB_BUF_NULL;

        payload_of(&payload, 0, (const uint8_t[2]){0}, 2); /* not even a length */
        assert_int_equal(apply(&payload, 7, 0), AMB_ERR_FORMAT);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(undo_leads_back_exactly),
    cmocka_unit_test(undo_of_another_generation_or_chunk_is_refused),
    cmocka_unit_test(undo_that_is_cut_or_longer_than_it_says_is_refused),
    cmocka_unit_test(undo_whose_numbers_lie_is_refused),
};

TEST_MAIN(tests)
