#pragma once
/* Index: the samples of one shard, 16 bytes each and their names, as one flat image that a file can hold. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/hash.h"
#include "shard/catalog.h"
#include "shard/label.h"
#include "shard/map.h"

#define AMB_INDEX_VERSION      1u
#define AMB_INDEX_RECORD_BYTES 16u
#define AMB_INDEX_SAMPLES_MAX  10000000u   /* DESIGN section 9: archive entries per shard */
#define AMB_INDEX_LABEL_NONE   0xFFFFFFu   /* in the 24 bits of a record */
#define AMB_INDEX_TEXT_BYTES   256u        /* of a text in the notes, with its end; not tuned */
#define AMB_INDEX_BYTES_OVER   0xFFFFFFFFu /* payload of 4 GiB - 1 or more: no sample is read from it */

/*
 * Record, little-endian:
 *   tar:    u32 first header of the sample (blocks of 512), u16 blocks from there to the picture's bytes
 * (0xFFFF: walk), u32 bytes, u24 header checksum of the picture, u24 label zip:    u40 central directory
 * entry of the picture, u32 stored bytes, u32 CRC-32, u24 label folder: u64 identity hash of the picture's
 * file, u32 bytes, u8 zero, u24 label A tar has its other members behind the first header. A zip or a folder
 * with members beside its pictures has the sections SIDE: what they cost is not bounded by 16 bytes a sample
 * but by 12 bytes and a name for each such member.
 */
enum amb_index_section {
    AMB_INDEX_RECORDS, /* 16 x n */
    AMB_INDEX_BLOCKS,  /* u64 offset in NAMES of every 8th name */
    AMB_INDEX_NAMES,   /* varint length, bytes: path of the picture, behind the prefix of key_scope shard */
    AMB_INDEX_WIDE,    /* i64 x n, where an integer label does not fit 24 bits; or f32 x width x n */
    AMB_INDEX_CORRUPTION, /* i64 x n, where asked for */
    AMB_INDEX_SIDE_FIRST, /* u32 x (n + 1): first of SIDE for each sample */
    AMB_INDEX_SIDE, /* u64 place (zip: central directory entry; folder: identity hash), u32 offset in SIDE_EXT
                     */
    AMB_INDEX_SIDE_EXT, /* extensions, each ended by a zero byte */
    AMB_INDEX_TEXTS,    /* the three texts of the notes, each ended by a zero byte */
    AMB_INDEX_SECTION_N,
};

/* What is worth telling about the shard, kept with it; as it is collected. */
struct amb_index_notes {
    uint64_t n_members, n_without_image, n_bad_labels, n_symlinks;
    uint64_t n_hidden;                              /* further pictures of a sample, "a.png" beside "a.jpg" */
    char first_without_image[AMB_INDEX_TEXT_BYTES]; /* key; "" if none */
    char first_bad_label[AMB_INDEX_TEXT_BYTES];     /* member */
    char first_hidden[AMB_INDEX_TEXT_BYTES];        /* member */
};

/* An image, seen: pointers into it. Immutable; Thread: any. */
struct amb_index {
    uint32_t n_samples, label_width, prefix_bytes, key_bytes_max;
    bool has_integers; /* some sample has an integer label */
    enum amb_shard_format format;
    uint64_t n_members, n_without_image, n_bad_labels, n_symlinks, n_hidden;
    const char *first_without_image, *first_bad_label,
        *first_hidden; /* key, members; "" if none; in the image */
    const uint8_t *section[AMB_INDEX_SECTION_N];
    uint64_t section_bytes[AMB_INDEX_SECTION_N];
    uint8_t *image; /* owned: a map of a cache file, or heap */
    size_t image_bytes;
    bool is_mapped;
};
#define AMB_INDEX_NULL ((struct amb_index){0})
void amb_index_deinit(struct amb_index *index); /* idempotent */

/* What the image was made of; another value means another index. */
struct amb_index_key {
    struct amb_identity identity;
    struct amb_hash128 options; /* format and options that decide contents */
};

/**
 * View an image: checksum, version, key, and that every section lies inside and has the size that n_samples
 * wants.
 *
 * Takes image over on success only. Errors: AMB_ERR_VERSION, AMB_ERR_CHECKSUM, AMB_ERR_FORMAT,
 * AMB_ERR_CHANGED (made of something else). Thread: any.
 */
int amb_index_decode(struct amb_index *out, uint8_t *image, size_t image_bytes, bool is_mapped,
                     const struct amb_index_key *key, struct amb_error *err);

const uint8_t *amb_index_record(const struct amb_index *index, uint32_t i);
/* Prefix and path of the picture. Borrowed from the index. */
const char *amb_index_name(const struct amb_index *index, uint32_t i, size_t *name_bytes);
int64_t amb_index_label(const struct amb_index *index, uint32_t i); /* AMB_LABEL_NONE if none, or vectors */
void amb_index_vector(float *out, const struct amb_index *index, uint32_t i); /* label_width floats */
int64_t amb_index_corruption(const struct amb_index *index, uint32_t i, int64_t otherwise);
uint64_t amb_index_payload_bytes(const struct amb_index *index, uint32_t i);
uint32_t amb_index_checksum(const struct amb_index *index, uint32_t i);

/* The k-th member beside the picture in a zip or folder; false past the last. *ext is borrowed. */
bool amb_index_side(uint64_t *place, const char **ext, const struct amb_index *index, uint32_t i, uint32_t k);

/* Bytes of NAMES, BLOCKS, SIDE_EXT and TEXTS. */
uint64_t amb_index_names_bytes(const struct amb_index *index);

/* Collects samples in order; then one image. One thread. */
struct amb_index_builder {
    enum amb_shard_format format;
    uint32_t n_samples, n_side, label_width, key_bytes_max, prefix_bytes;
    bool any_label, is_wide, any_side, has_corruption;
    struct amb_index_notes notes;
    struct amb_buf section[AMB_INDEX_SECTION_N];
};
void amb_index_builder_init(struct amb_index_builder *builder, enum amb_shard_format format,
                            bool has_corruption);
void amb_index_builder_deinit(struct amb_index_builder *builder);

/**
 * Append a sample.
 *
 * record: bytes 0-12 filled; the label goes into 13-15. key_bytes: without prefix.
 * Errors: AMB_ERR_LIMIT; AMB_ERR_FORMAT labels of two kinds; -ENOMEM.
 */
int amb_index_push(struct amb_index_builder *builder, uint8_t record[AMB_INDEX_RECORD_BYTES],
                   const char *prefix, const char *name, size_t name_bytes, size_t key_bytes,
                   const struct amb_label *label, int64_t corruption, struct amb_error *err);
/* Add a member beside the picture of the sample pushed last. */
int amb_index_push_side(struct amb_index_builder *builder, uint64_t place, const char *ext, size_t ext_bytes,
                        struct amb_error *err);

/* One heap image with checksum; owned by the caller. -ENOMEM. */
int amb_index_encode(uint8_t **image, size_t *image_bytes, struct amb_index_builder *builder,
                     const struct amb_index_key *key, struct amb_error *err);
