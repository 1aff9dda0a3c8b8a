#pragma once
/* Catalog: one immutable state of a dataset's shards: global sample number -> where it lies and what it is. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/hash.h"

#define AMB_CATALOG_SHARDS_MAX 65536u /* not tuned */
#define AMB_KEY_BYTES_MAX      4096u  /* DESIGN section 9: name 4 KiB */
#define AMB_SOURCE_NAME_MAX    64u    /* not tuned; names come from the config, never from a path */
#define AMB_LABEL_NONE         (-1)

enum amb_shard_format {
    AMB_SHARD_AUTO, /* by what the path is and how the file begins */
    AMB_SHARD_TAR,
    AMB_SHARD_ZIP,
    AMB_SHARD_FOLDER,
    AMB_SHARD_FORMAT_N,
};

/* What the config says of one source. All strings are borrowed for the call of open. */
struct amb_source_options {
    const char *name;                  /* "main", "main2", ...; enters every uid                              */
    const char *const *patterns;       /* paths, globs, brace lists {000000..000012} {a,b}; a folder is a shard */
    size_t n_patterns;
    enum amb_shard_format format;
    double repeat;                     /* weight, > 0; 1 = each sample once                                   */
    bool key_scope_shard;              /* key = base name of the shard "/" key                                */
    bool pread;                        /* never map this source's shards                                      */
    bool skip_bad_shards;              /* leave out a shard that cannot be indexed instead of refusing        */
    int64_t corruption_label;          /* of every sample, AMB_LABEL_NONE = unknown                           */
    const char *label_key;             /* field of the .json member that is the label; NULL: .cls, dataset.json, folder */
    const char *corruption_key;        /* field of the .json member that is the corruption label; NULL        */
};

/* Progress of indexing, called on the thread of open, at most ten times a second and once at the end. */
typedef void (*amb_catalog_progress)(void *opaque, size_t n_done, size_t n_shards, uint64_t n_samples);

struct amb_catalog_options {
    const char *cache_dir;             /* index cache; NULL: index in memory only                             */
    unsigned n_threads;                /* 0: as many as the machine has cores                                 */
    const char *const *excludes;       /* "source/key" of samples to leave out                                */
    size_t n_excludes;
    amb_catalog_progress progress;     /* NULL ok */
    void *opaque;
    const struct amb_catalog *before;  /* its shards serve again where file and options are the same; NULL: none */
    void (*problem)(void *problem_opaque, const struct amb_error *why); /* each pattern and shard that is bad, under
                                          a lock, or where none is, whatever else; then open goes on looking and fails at
                                          the end. NULL: the first ends it */
    void *problem_opaque;
    int (*rest)(void *rest_opaque, uint64_t used_ns, struct amb_error *err); /* every so many members and samples, and behind
                                          each shard, on a thread that indexes: processor time that it used since the call
                                          before. May sleep, so that others get on; < 0 ends open, as no problem. NULL: none */
    void *rest_opaque;
};

/* What was found while indexing and is worth telling a person. */
struct amb_catalog_report {
    uint64_t n_samples, n_shards, n_excluded;
    uint64_t n_without_image;          /* runs of members that hold no picture or array: not samples          */
    uint64_t n_bad_shards;             /* left out by skip_bad_shards                                         */
    uint64_t n_indexed, n_cached;      /* shards scanned now, shards taken from the index cache               */
    uint64_t n_kept;                   /* shards of the catalog before that serve again                       */
    uint64_t index_bytes, names_bytes; /* of all shards                                                       */
    char first_without_image[256];     /* "" if none: shard and key                                           */
    char first_bad_shard[256];
    uint64_t n_bad_labels;             /* .cls or JSON fields that are no label: the sample has none          */
    char first_bad_label[256];
    uint64_t n_hidden;                 /* further pictures of one key, "a.png" beside "a.jpg": not samples     */
    char first_hidden[256];
    uint64_t n_symlinks;               /* inside folders, never followed                                      */
    uint64_t n_repeated;               /* keys repeated under key_scope_shard: bad samples, all but the first */
    uint64_t n_uncached;               /* indexes that could not be written to cache_dir; kept in memory      */
    int uncached_code;                 /* -E... of the first of them                                          */
};

struct amb_sample_info {
    uint32_t i_source, i_shard;
    uint32_t i_in_shard;
    uint32_t group;                    /* room for curricula: the source's number for now                     */
    const char *key;                   /* not terminated; valid until the catalog is freed                    */
    size_t key_bytes;
    int64_t label;                     /* AMB_LABEL_NONE if none                                              */
    int64_t corruption_label;
    uint64_t offset;                   /* of the payload in a tar; 0 elsewhere, and where finding it takes a walk */
    uint64_t payload_bytes;            /* as stored                                                           */
    uint32_t checksum;                 /* the container's own, 0 if it has none                               */
};

struct amb_catalog; /* reference counted; immutable after open; Thread: any */

/**
 * Expand the patterns, index each shard (or take its index from the cache) and number all samples: sources in
 * order, in each the shards in the order of the patterns (a glob's matches sorted), in each its samples.
 *
 * Errors: -ENOENT a pattern matches nothing; AMB_ERR_FORMAT, AMB_ERR_LIMIT, -E... for the first bad shard;
 *         AMB_ERR_DUPLICATE a key repeated in a source, with both places.
 * report: may be NULL.
 * Thread: any; blocks.
 */
int amb_catalog_open(struct amb_catalog **out, const struct amb_source_options *sources, size_t n_sources,
                     const struct amb_catalog_options *options, struct amb_catalog_report *report,
                     struct amb_error *err);
struct amb_catalog *amb_catalog_ref(struct amb_catalog *cat);
struct amb_catalog *amb_catalog_unref(struct amb_catalog *cat); /* NULL ok; returns NULL */

uint32_t amb_catalog_count(const struct amb_catalog *cat);
size_t amb_catalog_count_sources(const struct amb_catalog *cat);
size_t amb_catalog_count_shards(const struct amb_catalog *cat);

/* A source's name, weight and the range [*first, *first + *count) of its sample numbers. Borrowed. */
const char *amb_catalog_source(const struct amb_catalog *cat, size_t i_source, uint32_t *first, uint32_t *count,
                               double *repeat);
/* A shard's path, format and range of sample numbers. Borrowed. */
const char *amb_catalog_shard(const struct amb_catalog *cat, size_t i_shard, enum amb_shard_format *format,
                              uint32_t *first, uint32_t *count);
/* What is known of a shard as a whole; path is borrowed. */
struct amb_shard_facts {
    const char *path;
    uint32_t i_source, n_samples;
    uint64_t bytes, mtime_ns; /* of the file; of a folder: of the walk */
};
void amb_catalog_get_shard(struct amb_shard_facts *out, const struct amb_catalog *cat, size_t i_shard);

size_t amb_catalog_key_bytes_max(const struct amb_catalog *cat); /* longest key */
/* Width D of vector labels (f32[D]); 0 where labels are integers or absent. */
uint32_t amb_catalog_label_width(const struct amb_catalog *cat);

void amb_catalog_get(struct amb_sample_info *out, const struct amb_catalog *cat, uint32_t i_sample);
struct amb_hash128 amb_catalog_uid(const struct amb_catalog *cat, uint32_t i_sample);
/* Copy the vector label, label_width floats; zeros where the sample's shard has no labels. */
void amb_catalog_get_label(float *out, const struct amb_catalog *cat, uint32_t i_sample);

/* Outcomes of the readers. */
enum amb_catalog_outcome {
    AMB_CATALOG_E_MISSING = 1, /* the sample has no such member */
};

/**
 * Was its key there before, under key_scope_shard? Such a sample is never read. Thread: any.
 */
bool amb_catalog_is_repeated(const struct amb_catalog *cat, uint32_t i_sample);

/**
 * Read the stored picture or array of a sample: guarded copy from the map, pread, or inflate.
 *
 * payload: reserved and filled by the call, n_bytes set.
 * Errors:  AMB_ERR_CHANGED the file is not the one indexed; -EIO unreadable; AMB_ERR_FORMAT, AMB_ERR_CHECKSUM,
 *          AMB_ERR_LIMIT for the bytes; AMB_ERR_DUPLICATE a key repeated under key_scope_shard.
 *          -EIO and -ENOMEM are transient, the others are causes in the bytes.
 * Thread:  any; no lock, no allocation beyond payload's growth.
 */
int amb_catalog_read(struct amb_buf *payload, const struct amb_catalog *cat, uint32_t i_sample,
                     struct amb_error *err);

/* Read what lies beside the picture: ext without dot, in any case: "txt", "json", "t5.npy". 0 or
 * AMB_CATALOG_E_MISSING; errors as above. Thread: any. */
int amb_catalog_read_member(struct amb_buf *payload, const struct amb_catalog *cat, uint32_t i_sample,
                            const char *ext, struct amb_error *err);

/* Extensions of the members of a sample, comma separated, for people: "jpg,cls,json". Cut to fit. */
int amb_catalog_get_members(char *out, size_t out_bytes, const struct amb_catalog *cat, uint32_t i_sample,
                            struct amb_error *err);

/* Path of the picture inside its shard or folder, not terminated. Valid until the catalog is freed. Thread: any. */
const char *amb_catalog_peek_path(size_t *bytes, const struct amb_catalog *cat, uint32_t i_sample);

/* The number in `to` of a sample of `from`, if both stand on one shard; false: it has none. */
bool amb_catalog_translate(uint32_t *out, const struct amb_catalog *to, const struct amb_catalog *from,
                           uint32_t i_sample);

/* The same shards in the same order, shared by both, and the same samples in them. */
bool amb_catalog_same(const struct amb_catalog *a, const struct amb_catalog *b);

/* The 64-bit digest of the identity of the sample's shard, or of its file in a folder: for cache keys. */
uint64_t amb_catalog_identity(const struct amb_catalog *cat, uint32_t i_sample);

/**
 * Find a sample by what a person or an annotations file calls it: tried in this order "source/key", key,
 * path of the picture inside its shard or folder, base name with extension, base name without.
 *
 * The lookup tables are built at the first call (thread-safe) and kept; without memory for them nothing is found, so whoever
 * has to tell the two apart calls amb_catalog_load_names first.
 * Returns: the number of samples that match by the first rule that matches any (0 none, 1 unique, more:
 *          ambiguous); *i_sample is the first of them.
 */
uint32_t amb_catalog_find(uint32_t *i_sample, struct amb_catalog *cat, const char *name, size_t name_bytes);
/* Build the tables of amb_catalog_find, where they are not. -ENOMEM. Thread: any. */
int amb_catalog_load_names(struct amb_catalog *cat, struct amb_error *err);

/**
 * Digest of the samples alone: running XXH3-128 over, for each sample in order, uid, version 0, group, label,
 * corruption label, payload length, checksum (proto/README.md "Fingerprints"). Cached with the indexes.
 */
struct amb_hash128 amb_catalog_digest(struct amb_catalog *cat);
