/*
 * Index: view of an image.
 *
 * Image: a header of HEADER_BYTES, then the sections, each at a multiple of 8. The XXH3-128 at byte 16 covers
 * all that follows it, so whatever is torn, half-written or flipped is found before anything is believed. It is
 * no signature: an image that somebody made may lie. So every offset, length and text in it is proven once, at
 * opening, and the accessors below need no checks of their own. Both cost about 0.1 ns a byte and 2 ns a name.
 *
 * The file that is mapped here lies in the daemon's own cache folder and is only ever replaced by rename;
 * unlike a shard it is not foreign, and it is read without a guard.
 */
#include "shard/index.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/alloc.h"
#include "base/size.h"
#include "proto/wire.h"
#include "shard/index-layout.h"
#include "shard/varint.h"

static uint32_t index_load_u24(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16;
}

void amb_index_deinit(struct amb_index *index) {
    if (index->image != NULL && index->is_mapped) {
        munmap(index->image, index->image_bytes);
    } else {
        amb_free(index->image);
    }
    *index = AMB_INDEX_NULL;
}

/* Sizes that follow from the counts; NAMES, SIDE and texts are free, their contents are proven below. */
static bool index_sizes_ok(const struct amb_index *index) {
    const uint64_t n = index->n_samples, *bytes = index->section_bytes;
    uint64_t wide = index->label_width != 0 ? 4 * (uint64_t)index->label_width * n : 8 * n;

    return bytes[AMB_INDEX_RECORDS] == 16 * n && bytes[AMB_INDEX_BLOCKS] == 8 * ((n + 7) / 8) &&
           (bytes[AMB_INDEX_WIDE] == wide || (bytes[AMB_INDEX_WIDE] == 0 && index->label_width == 0)) &&
           (bytes[AMB_INDEX_CORRUPTION] == 8 * n || bytes[AMB_INDEX_CORRUPTION] == 0) &&
           (bytes[AMB_INDEX_SIDE_FIRST] == 4 * (n + 1) || bytes[AMB_INDEX_SIDE_FIRST] == 0) &&
           bytes[AMB_INDEX_SIDE] % INDEX_SIDE_BYTES == 0 && index->label_width <= AMB_LABEL_WIDTH_MAX;
}

/* Names lie one behind another, each longer than the prefix, and every 8th where BLOCKS says. */
static bool index_names_ok(const struct amb_index *index) {
    const uint8_t *names = index->section[AMB_INDEX_NAMES], *p = names;
    const uint8_t *end = names + index->section_bytes[AMB_INDEX_NAMES];

    for (uint32_t i = 0; i < index->n_samples; i++) {
        const uint8_t *block = index->section[AMB_INDEX_BLOCKS] + (size_t)8 * (i / INDEX_NAMES_BLOCK);
        uint32_t bytes;

        if ((i % INDEX_NAMES_BLOCK == 0 && ambp_load_u64le(block) != (uint64_t)(p - names)) ||
            !amb_varint_take(&bytes, &p, end) || bytes > (size_t)(end - p) || bytes <= index->prefix_bytes ||
            bytes - index->prefix_bytes > AMB_KEY_BYTES_MAX) {
            return false;
        }
        p += bytes;
    }
    return true;
}

/* SIDE_FIRST never falls and ends at SIDE's own end; extensions begin inside SIDE_EXT, which ends with a zero. */
static bool index_sides_ok(const struct amb_index *index) {
    const uint8_t *first = index->section[AMB_INDEX_SIDE_FIRST], *side = index->section[AMB_INDEX_SIDE];
    uint64_t n_side = index->section_bytes[AMB_INDEX_SIDE] / INDEX_SIDE_BYTES;
    uint64_t ext_bytes = index->section_bytes[AMB_INDEX_SIDE_EXT];
    uint32_t before = 0;

    if (index->section_bytes[AMB_INDEX_SIDE_FIRST] == 0) {
        return n_side == 0;
    }
    for (uint32_t i = 0; i <= index->n_samples; i++) {
        uint32_t at = ambp_load_u32le(first + (size_t)4 * i);

        if (at < before || at > n_side) {
            return false;
        }
        before = at;
    }
    if (n_side != 0 && (ext_bytes == 0 || index->section[AMB_INDEX_SIDE_EXT][ext_bytes - 1] != '\0')) {
        return false;
    }
    for (uint64_t i = 0; i < n_side; i++) {
        if (ambp_load_u32le(side + INDEX_SIDE_BYTES * i + 8) >= ext_bytes) {
            return false;
        }
    }
    return true;
}

static int index_decode_sections(struct amb_index *index, struct amb_error *err) {
    for (size_t i = 0; i < AMB_INDEX_SECTION_N; i++) {
        const uint8_t *p = index->image + INDEX_AT_SECTIONS + 16 * i;
        uint64_t offset = ambp_load_u64le(p), bytes = ambp_load_u64le(p + 8);

        if (!amb_span_ok(offset, bytes, index->image_bytes)) {
            return amb_fail(err, AMB_ERR_FORMAT, "index: section %zu ends past the file", i);
        }
        index->section[i] = index->image + offset;
        index->section_bytes[i] = bytes;
    }
    if (!index_sizes_ok(index)) {
        return amb_fail(err, AMB_ERR_FORMAT, "index: a section does not fit %u samples", index->n_samples);
    }
    if (!index_names_ok(index) || !index_sides_ok(index)) {
        return amb_fail(err, AMB_ERR_FORMAT, "index: a name or an extension ends past its section");
    }
    return 0;
}

static int index_check(const uint8_t *image, size_t image_bytes, const struct amb_index_key *key,
                       struct amb_error *err) {
    struct amb_hash128 sum;
    uint8_t encoded[INDEX_KEY_BYTES];

    if (image_bytes < INDEX_HEADER_BYTES || memcmp(image, INDEX_MAGIC, 8) != 0) {
        return amb_fail(err, AMB_ERR_FORMAT, "index: no index file");
    }
    if (ambp_load_u32le(image + 8) != AMB_INDEX_VERSION) {
        return amb_fail(err, AMB_ERR_VERSION, "index: version %u, known is %u", ambp_load_u32le(image + 8),
                        AMB_INDEX_VERSION);
    }
    amb_index_key_encode(encoded, key);
    if (memcmp(image + INDEX_AT_KEY, encoded, sizeof encoded) != 0) {
        return amb_fail(err, AMB_ERR_CHANGED, "index: made of another shard or with other options");
    }
    sum = amb_hash128_encode(image + INDEX_AT_SUMMED, image_bytes - INDEX_AT_SUMMED);
    if (memcmp(image + INDEX_AT_SUM, sum.bytes, sizeof sum.bytes) != 0) {
        return amb_fail(err, AMB_ERR_CHECKSUM, "index: damaged");
    }
    return 0;
}

/* The three texts must end inside their section. */
static int index_decode_texts(struct amb_index *out, struct amb_error *err) {
    const char **texts[] = {&out->first_without_image, &out->first_bad_label, &out->first_hidden};
    const char *p = (const char *)out->section[AMB_INDEX_TEXTS],
               *end = p + out->section_bytes[AMB_INDEX_TEXTS];

    for (size_t i = 0; i < 3; i++) {
        const char *zero = p < end ? memchr(p, '\0', (size_t)(end - p)) : NULL;

        if (zero == NULL) {
            return amb_fail(err, AMB_ERR_FORMAT, "index: its texts are not ended");
        }
        *texts[i] = p;
        p = zero + 1;
    }
    return 0;
}

static void index_decode_counts(struct amb_index *out, const uint8_t *image) {
    const uint8_t *p = image + INDEX_AT_COUNTS;

    out->n_samples = ambp_load_u32le(p);
    out->format = ambp_load_u32le(p + 4);
    out->label_width = ambp_load_u32le(p + 8);
    out->prefix_bytes = ambp_load_u32le(p + 12);
    out->key_bytes_max = ambp_load_u32le(p + 16);
    out->has_integers = ambp_load_u32le(p + 20) != 0;
    p = image + INDEX_AT_NOTES;
    out->n_members = ambp_load_u64le(p);
    out->n_without_image = ambp_load_u64le(p + 8);
    out->n_bad_labels = ambp_load_u64le(p + 16);
    out->n_symlinks = ambp_load_u64le(p + 24);
    out->n_hidden = ambp_load_u64le(p + 32);
}

int amb_index_decode(struct amb_index *out, uint8_t *image, size_t image_bytes, bool is_mapped,
                     const struct amb_index_key *key, struct amb_error *err) {
    struct amb_index index = {.image = image, .image_bytes = image_bytes, .is_mapped = is_mapped};
    int r;

    r = index_check(image, image_bytes, key, err);
    if (r < 0) {
        return r;
    }
    index_decode_counts(&index, image);
    if (index.format >= AMB_SHARD_FORMAT_N) {
        return amb_fail(err, AMB_ERR_FORMAT, "index: format %u", index.format);
    }
    r = index_decode_sections(&index, err);
    if (r == 0) {
        r = index_decode_texts(&index, err);
    }
    if (r < 0) {
        return r;
    }
    *out = index;
    return 0;
}

const uint8_t *amb_index_record(const struct amb_index *index, uint32_t i) {
    return index->section[AMB_INDEX_RECORDS] + (size_t)AMB_INDEX_RECORD_BYTES * i;
}

const char *amb_index_name(const struct amb_index *index, uint32_t i, size_t *name_bytes) {
    const uint8_t *p = index->section[AMB_INDEX_NAMES];

    p += ambp_load_u64le(index->section[AMB_INDEX_BLOCKS] + (size_t)8 * (i / INDEX_NAMES_BLOCK));
    for (uint32_t k = i % INDEX_NAMES_BLOCK; k > 0; k--) {
        uint32_t skip;

        p = amb_varint_load(&skip, p);
        p += skip;
    }
    {
        uint32_t n;

        p = amb_varint_load(&n, p);
        *name_bytes = n;
    }
    return (const char *)p;
}

int64_t amb_index_label(const struct amb_index *index, uint32_t i) {
    uint32_t label;

    if (index->label_width != 0) {
        return AMB_LABEL_NONE;
    }
    if (index->section_bytes[AMB_INDEX_WIDE] != 0) {
        return (int64_t)ambp_load_u64le(index->section[AMB_INDEX_WIDE] + (size_t)8 * i);
    }
    label = index_load_u24(amb_index_record(index, i) + INDEX_RECORD_LABEL);
    return label == AMB_INDEX_LABEL_NONE ? AMB_LABEL_NONE : (int64_t)label;
}

void amb_index_vector(float *out, const struct amb_index *index, uint32_t i) {
    const uint8_t *p = index->section[AMB_INDEX_WIDE] + (size_t)4 * index->label_width * i;

    for (uint32_t k = 0; k < index->label_width; k++) {
        uint32_t bits = ambp_load_u32le(p + (size_t)4 * k);

        memcpy(&out[k], &bits, sizeof bits);
    }
}

int64_t amb_index_corruption(const struct amb_index *index, uint32_t i, int64_t otherwise) {
    if (index->section_bytes[AMB_INDEX_CORRUPTION] == 0) {
        return otherwise;
    }
    return (int64_t)ambp_load_u64le(index->section[AMB_INDEX_CORRUPTION] + (size_t)8 * i);
}

uint64_t amb_index_payload_bytes(const struct amb_index *index, uint32_t i) {
    static const uint8_t at[AMB_SHARD_FORMAT_N] = {
        [AMB_SHARD_TAR] = 6, [AMB_SHARD_ZIP] = 5, [AMB_SHARD_FOLDER] = 8};

    return ambp_load_u32le(amb_index_record(index, i) + at[index->format]);
}

uint32_t amb_index_checksum(const struct amb_index *index, uint32_t i) {
    const uint8_t *record = amb_index_record(index, i);

    if (index->format == AMB_SHARD_TAR) {
        return index_load_u24(record + 10);
    }
    return index->format == AMB_SHARD_ZIP ? ambp_load_u32le(record + 9) : 0;
}

bool amb_index_side(uint64_t *place, const char **ext, const struct amb_index *index, uint32_t i,
                    uint32_t k) {
    const uint8_t *first = index->section[AMB_INDEX_SIDE_FIRST], *side;

    if (index->section_bytes[AMB_INDEX_SIDE_FIRST] == 0) {
        return false;
    }
    first += (size_t)4 * i;
    if (k >= ambp_load_u32le(first + 4) - ambp_load_u32le(first)) {
        return false;
    }
    side = index->section[AMB_INDEX_SIDE] + (size_t)INDEX_SIDE_BYTES * (ambp_load_u32le(first) + k);
    *place = ambp_load_u64le(side);
    *ext = (const char *)index->section[AMB_INDEX_SIDE_EXT] + ambp_load_u32le(side + 8);
    return true;
}

uint64_t amb_index_names_bytes(const struct amb_index *index) {
    return index->section_bytes[AMB_INDEX_NAMES] + index->section_bytes[AMB_INDEX_BLOCKS] +
           index->section_bytes[AMB_INDEX_SIDE_EXT] + index->section_bytes[AMB_INDEX_TEXTS];
}
