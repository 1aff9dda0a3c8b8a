/*
 * Undo: by column, because sigmas of one side resemble each other more than the two sides of one sample: distances
 * of sample numbers as varints, then all sigma_min, then all sigma_max; zstd over it.
 */
#include "annotate/store-undo.h"

#include <errno.h>
#include <string.h>

#include <zstd.h>

#include "base/cleanup.h"
#include "shard/varint.h"

#define UNDO_HEAD_BYTES  24u
#define UNDO_ENTRY_BYTES 13u /* varint of at most 5, two f32 */
#define UNDO_LEVEL       3   /* zstd's default */

static bool undo_differs(const struct amb_annotation *a, const struct amb_annotation *b) {
    return memcmp(a, b, sizeof *a) != 0;
}

static void undo_store_head(uint8_t *p, const struct amb_undo_head *head) {
    memset(p, 0, UNDO_HEAD_BYTES);
    ambp_store_u64le(p, head->number);
    ambp_store_u32le(p + 8, head->i_chunk);
    ambp_store_u32le(p + 12, head->n_entries);
    ambp_store_u32le(p + 16, head->raw_bytes);
}

/* raw: u32 bytes of varints, varints, sigma_min, sigma_max. samples: room for a record's sample numbers. */
static void undo_fill(uint8_t *raw, struct amb_undo_head *head, const uint32_t *samples,
                      const struct amb_annotation *before) {
    uint8_t *p = raw + 4;
    uint32_t last = 0;

    for (uint32_t i = 0; i < head->n_entries; i++) {
        p += amb_varint_store(p, samples[i] - last);
        last = samples[i];
    }
    ambp_store_u32le(raw, (uint32_t)(p - raw - 4));
    for (uint32_t i = 0; i < head->n_entries; i++, p += 4) {
        amb_store_f32le(p, before[samples[i]].sigma_min);
        amb_store_f32le(p + 4 * (size_t)head->n_entries, before[samples[i]].sigma_max);
    }
    head->raw_bytes = (uint32_t)(p - raw) + 4 * head->n_entries;
}

int amb_undo_encode(struct amb_buf *out, struct amb_undo_head *head, uint32_t *i_sample,
                    const struct amb_annotation *before, const struct amb_annotation *after, uint32_t n_samples) {
    AMB_CLEANUP(amb_buf_deinit) struct amb_buf raw = AMB_BUF_NULL, samples = AMB_BUF_NULL;
    uint32_t *list;
    size_t n;

    if (amb_buf_reserve(&samples, AMB_UNDO_ENTRIES_MAX * sizeof *list) < 0) {
        return -ENOMEM;
    }
    list = (uint32_t *)(void *)samples.data;
    for (head->n_entries = 0; *i_sample < n_samples && head->n_entries < AMB_UNDO_ENTRIES_MAX; ++*i_sample) {
        if (undo_differs(&before[*i_sample], &after[*i_sample])) {
            list[head->n_entries++] = *i_sample;
        }
    }
    if (head->n_entries == 0) {
        return 0;
    }
    if (amb_buf_reserve(&raw, 4 + (size_t)head->n_entries * UNDO_ENTRY_BYTES) < 0) {
        return -ENOMEM;
    }
    undo_fill(raw.data, head, list, before);
    if (amb_buf_reserve(out, UNDO_HEAD_BYTES + ZSTD_compressBound(head->raw_bytes)) < 0) {
        return -ENOMEM;
    }
    n = ZSTD_compress(out->data + UNDO_HEAD_BYTES, out->n_bytes - UNDO_HEAD_BYTES, raw.data, head->raw_bytes,
                      UNDO_LEVEL);
    if (ZSTD_isError(n)) {
        return -ENOMEM; /* the only reason that is left: the room suffices */
    }
    out->n_bytes = UNDO_HEAD_BYTES + n;
    undo_store_head(out->data, head);
    return 0;
}

static int undo_put_back(struct amb_annotation *values, uint32_t n_samples, const uint8_t *raw, uint32_t raw_bytes,
                         uint32_t n_entries) {
    const uint32_t varint_bytes = raw_bytes < 4 ? 0 : ambp_load_u32le(raw);
    const uint8_t *p = raw + 4, *mins;
    uint64_t i_sample = 0;

    if ((uint64_t)4 + varint_bytes + 8 * (uint64_t)n_entries != raw_bytes || varint_bytes < n_entries ||
        (varint_bytes != 0 && (p[varint_bytes - 1] & 0x80) != 0)) {
        return AMB_ERR_FORMAT;
    }
    mins = p + varint_bytes;
    for (uint32_t i = 0; i < n_entries; i++) {
        uint32_t delta;
        const uint8_t *end = p;

        while (end < mins && (*end & 0x80) != 0 && end - p < 4) {
            end++;
        }
        if (end >= mins || (*end & 0x80) != 0) {
            return AMB_ERR_FORMAT;
        }
        p = amb_varint_load(&delta, p);
        i_sample += delta;
        if (i_sample >= n_samples) {
            return AMB_ERR_FORMAT;
        }
        values[i_sample].sigma_min = amb_load_f32le(mins + 4 * (size_t)i);
        values[i_sample].sigma_max = amb_load_f32le(mins + 4 * ((size_t)n_entries + i));
        if (!(values[i_sample].sigma_min >= 0 && values[i_sample].sigma_max >= 0)) { /* NaN too */
            return AMB_ERR_FORMAT;
        }
    }
    return p == mins ? 0 : AMB_ERR_FORMAT;
}

int amb_undo_apply(struct amb_annotation *values, uint32_t n_samples, const struct amb_undo_head *expected,
                   const uint8_t *payload, uint32_t payload_bytes) {
    AMB_CLEANUP(amb_buf_deinit) struct amb_buf raw = AMB_BUF_NULL;
    uint32_t n_entries, raw_bytes;
    size_t n;

    if (payload_bytes < UNDO_HEAD_BYTES || ambp_load_u64le(payload) != expected->number ||
        ambp_load_u32le(payload + 8) != expected->i_chunk) {
        return AMB_ERR_FORMAT;
    }
    n_entries = ambp_load_u32le(payload + 12);
    raw_bytes = ambp_load_u32le(payload + 16);
    if (n_entries > AMB_UNDO_ENTRIES_MAX || raw_bytes > 4 + AMB_UNDO_ENTRIES_MAX * UNDO_ENTRY_BYTES) {
        return AMB_ERR_FORMAT;
    }
    if (amb_buf_reserve(&raw, raw_bytes) < 0) {
        return -ENOMEM;
    }
    n = ZSTD_decompress(raw.data, raw_bytes, payload + UNDO_HEAD_BYTES, payload_bytes - UNDO_HEAD_BYTES);
    if (ZSTD_isError(n) || n != raw_bytes) {
        return AMB_ERR_FORMAT;
    }
    return undo_put_back(values, n_samples, raw.data, raw_bytes, n_entries);
}
