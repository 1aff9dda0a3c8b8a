#pragma once
/* Member: one named file inside a shard; how its name splits into key and extension. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct amb_member {
    const char *name; /* path inside the shard, not terminated, at most AMB_KEY_BYTES_MAX */
    size_t name_bytes;
    uint64_t place;    /* tar: first header block; zip: central directory entry; folder: identity hash */
    uint64_t payload;  /* tar: offset of the bytes; else 0 */
    uint64_t bytes;    /* as stored */
    uint32_t checksum; /* tar: of the header; zip: CRC-32; folder: 0 */
};

/*
 * WebDataset's rule: the key is the path up to the first dot of the base name, the extension what follows
 * that dot.
 *
 * Returns: length of the key; 0 for names that belong to no sample: no dot, a base name that begins with a
 * dot or ends with its first one, "__name__", a folder.
 */
size_t amb_member_key(const char *name, size_t name_bytes);

/* Where the base name begins: behind the last slash. */
size_t amb_member_base(const char *name, size_t name_bytes);

/* What a member may be to its sample, the lower the better: the first of the lowest rank is the picture. */
enum amb_member_rank {
    AMB_RANK_PICTURE,      /* extension is png, jpg, jpeg or webp, in any case         */
    AMB_RANK_PICTURE_MORE, /* last part of the extension is one of them: "seg.png"      */
    AMB_RANK_ARRAY,        /* extension is npy, or base name is img*.npy                */
    AMB_RANK_ARRAY_MORE,   /* last part of the extension is npy: "t5.npy"               */
    AMB_RANK_NONE,
};
enum amb_member_rank amb_member_rank_get(const char *name, size_t name_bytes);

/* True if the two extensions are equal, letters of any case. */
bool amb_member_ext_equal(const char *a, size_t a_bytes, const char *b, size_t b_bytes);
