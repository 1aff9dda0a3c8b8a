/*
 * Index builder: sections grow in buffers, then are laid out as one image.
 *
 * Integer labels live in 24 bits of the record until one does not fit; then all of them move to the WIDE
 * section.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/size.h"
#include "proto/wire.h"
#include "shard/index-layout.h"
#include "shard/index.h"
#include "shard/varint.h"

void amb_index_builder_init(struct amb_index_builder *builder, enum amb_shard_format format,
                            bool has_corruption) {
    memset(builder, 0, sizeof *builder);
    builder->format = format;
    builder->has_corruption = has_corruption;
}

void amb_index_builder_deinit(struct amb_index_builder *builder) {
    for (size_t i = 0; i < AMB_INDEX_SECTION_N; i++) {
        amb_buf_deinit(&builder->section[i]);
    }
}

static int builder_push_u64(struct amb_index_builder *builder, enum amb_index_section section, uint64_t v) {
    uint8_t bytes[8];

    ambp_store_u64le(bytes, v);
    return amb_buf_push(&builder->section[section], bytes, sizeof bytes);
}

static int builder_push_u32(struct amb_index_builder *builder, enum amb_index_section section, uint32_t v) {
    uint8_t bytes[4];

    ambp_store_u32le(bytes, v);
    return amb_buf_push(&builder->section[section], bytes, sizeof bytes);
}

static uint32_t builder_load_label(const uint8_t *record) {
    return (uint32_t)record[13] | (uint32_t)record[14] << 8 | (uint32_t)record[15] << 16;
}

static void builder_store_label(uint8_t *record, uint32_t label) {
    record[INDEX_RECORD_LABEL] = (uint8_t)label;
    record[INDEX_RECORD_LABEL + 1] = (uint8_t)(label >> 8);
    record[INDEX_RECORD_LABEL + 2] = (uint8_t)(label >> 16);
}

/* Move the labels of the samples before this one to WIDE. */
static int builder_widen(struct amb_index_builder *builder) {
    builder->is_wide = true;
    for (uint32_t i = 0; i < builder->n_samples; i++) {
        uint32_t label = builder_load_label(builder->section[AMB_INDEX_RECORDS].data + (size_t)16 * i);
        int64_t wide = label == AMB_INDEX_LABEL_NONE ? AMB_LABEL_NONE : (int64_t)label;
        int r = builder_push_u64(builder, AMB_INDEX_WIDE, (uint64_t)wide);

        if (r < 0) {
            return r;
        }
    }
    return 0;
}

static int builder_push_int(struct amb_index_builder *builder, uint8_t *record, int64_t value) {
    bool fits = value == AMB_LABEL_NONE || (value >= 0 && value < AMB_INDEX_LABEL_NONE);
    int r;

    builder_store_label(record, fits && value >= 0 ? (uint32_t)value : AMB_INDEX_LABEL_NONE);
    if (!fits && !builder->is_wide) {
        r = builder_widen(builder);
        if (r < 0) {
            return r;
        }
    }
    return builder->is_wide ? builder_push_u64(builder, AMB_INDEX_WIDE, (uint64_t)value) : 0;
}

/* A shard has integers, or vectors of one width for every sample: a vector that is missing has no stand-in.
 */
static int builder_push_label(struct amb_index_builder *builder, uint8_t *record, const char *name,
                              size_t name_bytes, const struct amb_label *label, struct amb_error *err) {
    bool is_vector = label->kind == AMB_LABEL_KIND_VECTOR;
    bool was_vector = builder->label_width != 0;

    if (is_vector ? (was_vector ? label->width != builder->label_width
                                : builder->any_label || builder->n_samples != 0)
                  : was_vector) {
        return amb_fail(err, AMB_ERR_FORMAT,
                        "%.*s: its label is %s of %u, labels before it are of %u numbers "
                        "(0: integer or none); all labels of a shard must be alike",
                        (int)amb_size_min(name_bytes, 200), name,
                        is_vector ? "a vector" : "an integer or missing, width", is_vector ? label->width : 0,
                        builder->label_width);
    }
    if (is_vector) {
        builder->label_width = label->width;
        builder_store_label(record, AMB_INDEX_LABEL_NONE);
        return amb_buf_push(&builder->section[AMB_INDEX_WIDE], label->vector, (size_t)4 * label->width);
    }
    builder->any_label |= label->kind == AMB_LABEL_KIND_INT;
    return builder_push_int(builder, record,
                            label->kind == AMB_LABEL_KIND_INT ? label->value : AMB_LABEL_NONE);
}

static int builder_push_name(struct amb_index_builder *builder, const char *prefix, const char *name,
                             size_t name_bytes) {
    struct amb_buf *names = &builder->section[AMB_INDEX_NAMES];
    size_t prefix_bytes = strlen(prefix);
    uint8_t length[5];
    int r = 0;

    if (builder->n_samples % INDEX_NAMES_BLOCK == 0) {
        r = builder_push_u64(builder, AMB_INDEX_BLOCKS, names->n_bytes);
    }
    if (r == 0) {
        r = amb_buf_push(names, length, amb_varint_store(length, (uint32_t)(prefix_bytes + name_bytes)));
    }
    if (r == 0) {
        r = amb_buf_push(names, prefix, prefix_bytes);
    }
    return r == 0 ? amb_buf_push(names, name, name_bytes) : r;
}

int amb_index_push(struct amb_index_builder *builder, uint8_t record[AMB_INDEX_RECORD_BYTES],
                   const char *prefix, const char *name, size_t name_bytes, size_t key_bytes,
                   const struct amb_label *label, int64_t corruption, struct amb_error *err) {
    uint32_t full_key_bytes = (uint32_t)(strlen(prefix) + key_bytes);
    int r;

    if (builder->n_samples == AMB_INDEX_SAMPLES_MAX) {
        return amb_fail(err, AMB_ERR_LIMIT, "more than %u samples in one shard; split it",
                        AMB_INDEX_SAMPLES_MAX);
    }
    if (full_key_bytes > AMB_KEY_BYTES_MAX) {
        return amb_fail(err, AMB_ERR_LIMIT, "a key of %u bytes, allowed are %u: '%.60s...'", full_key_bytes,
                        AMB_KEY_BYTES_MAX, name);
    }
    r = builder_push_label(builder, record, name, name_bytes, label, err);
    if (r < 0 && r != -ENOMEM) {
        return r;
    }
    if (r == 0) {
        r = builder_push_name(builder, prefix, name, name_bytes);
    }
    if (r == 0 && builder->has_corruption) {
        r = builder_push_u64(builder, AMB_INDEX_CORRUPTION, (uint64_t)corruption);
    }
    if (r == 0) {
        r = builder_push_u32(builder, AMB_INDEX_SIDE_FIRST, builder->n_side);
    }
    if (r == 0) {
        r = amb_buf_push(&builder->section[AMB_INDEX_RECORDS], record, AMB_INDEX_RECORD_BYTES);
    }
    if (r < 0) {
        return amb_fail(err, r, "index: out of memory after %u samples", builder->n_samples);
    }
    builder->n_samples++;
    builder->prefix_bytes = (uint32_t)strlen(prefix);
    if (full_key_bytes > builder->key_bytes_max) {
        builder->key_bytes_max = full_key_bytes;
    }
    return 0;
}

int amb_index_push_side(struct amb_index_builder *builder, uint64_t place, const char *ext, size_t ext_bytes,
                        struct amb_error *err) {
    struct amb_buf *exts = &builder->section[AMB_INDEX_SIDE_EXT];
    int r;

    if (exts->n_bytes > UINT32_MAX || builder->n_side == UINT32_MAX) {
        return amb_fail(err, AMB_ERR_LIMIT, "index: more than 4 GiB of extensions; split the shard");
    }
    r = builder_push_u64(builder, AMB_INDEX_SIDE, place);
    if (r == 0) {
        r = builder_push_u32(builder, AMB_INDEX_SIDE, (uint32_t)exts->n_bytes);
    }
    if (r == 0) {
        r = amb_buf_push(exts, ext, ext_bytes);
    }
    if (r == 0) {
        r = amb_buf_push(exts, "", 1);
    }
    builder->n_side++;
    builder->any_side = true;
    return r < 0 ? amb_fail(err, r, "index: out of memory") : 0;
}

static void builder_store_header(uint8_t *image, const struct amb_index_builder *builder,
                                 const struct amb_index_key *key) {
    const uint32_t counts[] = {builder->n_samples,    builder->format,        builder->label_width,
                               builder->prefix_bytes, builder->key_bytes_max, builder->any_label};
    const struct amb_index_notes *notes = &builder->notes;
    uint8_t *p = image + INDEX_AT_NOTES;

    memcpy(image, INDEX_MAGIC, 8);
    ambp_store_u32le(image + 8, AMB_INDEX_VERSION);
    amb_index_key_encode(image + INDEX_AT_KEY, key);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        ambp_store_u32le(image + INDEX_AT_COUNTS + 4 * i, counts[i]);
    }
    ambp_store_u64le(p, notes->n_members);
    ambp_store_u64le(p + 8, notes->n_without_image);
    ambp_store_u64le(p + 16, notes->n_bad_labels);
    ambp_store_u64le(p + 24, notes->n_symlinks);
    ambp_store_u64le(p + 32, notes->n_hidden);
}

static int builder_push_texts(struct amb_index_builder *builder) {
    const char *texts[] = {builder->notes.first_without_image, builder->notes.first_bad_label,
                           builder->notes.first_hidden};
    int r = 0;

    for (size_t i = 0; i < 3 && r == 0; i++) {
        r = amb_buf_push(&builder->section[AMB_INDEX_TEXTS], texts[i], strlen(texts[i]) + 1);
    }
    return r;
}

int amb_index_encode(uint8_t **image, size_t *image_bytes, struct amb_index_builder *builder,
                     const struct amb_index_key *key, struct amb_error *err) {
    size_t total = INDEX_HEADER_BYTES;
    struct amb_hash128 sum;
    uint8_t *out;

    _Static_assert(INDEX_AT_SECTIONS + 16 * AMB_INDEX_SECTION_N == INDEX_AT_NOTES,
                   "sections end at the notes");
    _Static_assert(INDEX_AT_NOTES + 40 == INDEX_HEADER_BYTES, "notes end the header");
    if (!builder->any_side) {
        amb_buf_deinit(&builder->section[AMB_INDEX_SIDE_FIRST]);
    }
    if (builder_push_texts(builder) < 0) {
        return amb_fail(err, -ENOMEM, "index: out of memory");
    }
    if (builder->any_side && builder_push_u32(builder, AMB_INDEX_SIDE_FIRST, builder->n_side) < 0) {
        return amb_fail(err, -ENOMEM, "index: out of memory");
    }
    for (size_t i = 0; i < AMB_INDEX_SECTION_N; i++) {
        total += (builder->section[i].n_bytes + 7) & ~(size_t)7;
    }
    out = amb_calloc(1, total);
    if (out == NULL) {
        return amb_fail(err, -ENOMEM, "index: no memory for %zu bytes", total);
    }
    builder_store_header(out, builder, key);
    total = INDEX_HEADER_BYTES;
    for (size_t i = 0; i < AMB_INDEX_SECTION_N; i++) {
        struct amb_buf *section = &builder->section[i];

        ambp_store_u64le(out + INDEX_AT_SECTIONS + 16 * i, total);
        ambp_store_u64le(out + INDEX_AT_SECTIONS + 16 * i + 8, section->n_bytes);
        if (section->n_bytes != 0) {
            memcpy(out + total, section->data, section->n_bytes);
        }
        total += (section->n_bytes + 7) & ~(size_t)7;
        amb_buf_deinit(section);
    }
    sum = amb_hash128_encode(out + INDEX_AT_SUMMED, total - INDEX_AT_SUMMED);
    memcpy(out + INDEX_AT_SUM, sum.bytes, sizeof sum.bytes);
    *image = out;
    *image_bytes = total;
    return 0;
}
