#pragma once
/* Store: the durable memory of a dataset's annotations: a journal, compacted into a mapped table. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "annotate/ledger.h"
#include "base/error.h"
#include "base/hash.h"

struct amb_io; /* base/io.h: the table of system calls */

/* What one annotator found out about one sample. The later record of a (uid, version, origin) replaces the earlier. */
struct amb_store_record {
    struct amb_hash128 uid;
    uint32_t version;
    enum amb_origin origin;    /* IMPORT, CLASSIFIER, CROPS, SCORE */
    unsigned sides;            /* enum amb_side bits that it sets; 0: the annotator gave the sample up, or took it back */
    float sigma_min, sigma_max; /* of these sides */
    float lo, hi;              /* interval of the side that was searched; 0, 0: none */
    uint32_t n_evaluations;    /* capped at 2^24 - 1 */
    uint16_t model;            /* amb_store_put_model; 0: none */
    int16_t code;              /* sides 0: why, an amb_err or errno value; else 0 */
    uint64_t sequence;         /* given by put */
};

struct amb_store_options {
    const struct amb_io *io;   /* NULL: the system's */
    bool read_only;            /* for verify and merge: no lock is taken, nothing is written */
    uint64_t segment_bytes;    /* 0: 64 MiB */
    uint64_t keep_ns;          /* how long what was replaced stays; 0: 30 days */
};

/* What opening or verifying found, for people. */
struct amb_store_report {
    uint64_t n_records;        /* live; until verify counts, those replaced since the last compaction count twice */
    uint64_t n_replayed;       /* from the journal */
    uint64_t n_generations;
    uint64_t torn_bytes;       /* cut off a tail: never acknowledged */
    uint64_t n_damaged;        /* bad stretches that were skipped, their segments kept aside */
    char first_damage[256];    /* "SEGMENT offset 4096: ..." */
    uint64_t table_bytes, journal_bytes;
};

/* One annotation generation, as minted. */
struct amb_store_generation {
    uint64_t number;
    struct amb_hash128 dataset, annotations; /* fingerprints */
    uint64_t last_sequence;
    uint64_t unix_ns;          /* for people; order is by number */
    uint32_t n_samples;
    uint64_t n_changed;        /* effective values that differ from the generation before */
};

struct amb_store; /* one owner at a time */

/**
 * Open DIR (made, mode 0700, if it is missing) and recover: map the table, replay the journal.
 *
 * Errors: AMB_ERR_BUSY another process has it; AMB_ERR_VERSION a store of another version; AMB_ERR_FORMAT no store
 *         can be made of it; errno values. Damage in the middle is no error: see report.
 * Thread: any, one owner; blocks.
 */
int amb_store_open(struct amb_store **out, const char *dir, const struct amb_store_options *options,
                   struct amb_store_report *report, struct amb_error *err);
/* As open gave it, with today's numbers and what reading found damaged since. */
void amb_store_get_report(struct amb_store_report *report, const struct amb_store *store);
bool amb_store_is_poisoned(const struct amb_store *store); /* no write is taken any more */
struct amb_store *amb_store_close(struct amb_store *store); /* what is not committed is lost; NULL ok; returns NULL */

/**
 * Write records behind the journal; they hold once commit returns.
 *
 * records: sequence is filled in.
 * Errors:  -ENOSPC, -EDQUOT, -ENOMEM, or no new segment could be made (-EMFILE): nothing of this call was written, later
 *          calls may succeed. AMB_ERR_LIMIT: 2^40 records were written. Any other failure poisons the store: every
 *          later write answers it (never retried: a failed fsync leaves the pages unknown) until it is opened again.
 * Thread:  the owner's.
 */
int amb_store_put(struct amb_store *store, struct amb_store_record *records, size_t n, struct amb_error *err);

/* The curve of a sample, beside its record: n pairs, rising sigmas; 0: it has none any more. At most 65,536 (journal record
 * of 1 MiB). */
int amb_store_put_curve(struct amb_store *store, const struct amb_hash128 *uid, uint32_t version, const float *sigmas,
                        const float *p, size_t n, struct amb_error *err);

/* A model by its sha256 (hex): its number, found or put. At most 65,535. */
int amb_store_put_model(uint16_t *out, struct amb_store *store, const char sha256[65], struct amb_error *err);
const char *amb_store_peek_model(const struct amb_store *store, uint16_t model); /* NULL: unknown; valid until close */
uint32_t amb_store_count_models(const struct amb_store *store); /* numbers given out, those that were lost included */

/* A small text under a name: jobs and the like. bytes 0 takes it away. Names <= 64 bytes, texts <= 64 KiB. */
int amb_store_put_text(struct amb_store *store, const char *name, const char *text, size_t bytes,
                       struct amb_error *err);
const char *amb_store_peek_text(size_t *bytes, const struct amb_store *store, const char *name); /* NULL: none */
/* Names in order: the first that is greater than `after` (NULL: the first of all); NULL: none. */
const char *amb_store_next_text(const struct amb_store *store, const char *after);

/* Everything put before is on disk when it returns (fdatasync). Errors as of put. */
int amb_store_commit(struct amb_store *store, struct amb_error *err);
bool amb_store_is_dirty(const struct amb_store *store); /* something waits for commit */

/* Live records of a sample, each origin at most one; *n of at most AMB_ORIGIN_N, by rising sequence and origin. */
void amb_store_get(struct amb_store_record out[AMB_ORIGIN_N], size_t *n, const struct amb_store *store,
                   const struct amb_hash128 *uid, uint32_t version);

bool amb_store_has_curve(const struct amb_store *store, const struct amb_hash128 *uid, uint32_t version);
/* Copy the curve; *n pairs, 0: none. sigmas, p: amb_malloc'ed, the caller's. Errors: AMB_ERR_CHECKSUM, errno. */
int amb_store_get_curve(float **sigmas, float **p, size_t *n, const struct amb_store *store,
                        const struct amb_hash128 *uid, uint32_t version, struct amb_error *err);

/* Sequence of what was put last; 0: nothing yet. */
uint64_t amb_store_last_sequence(const struct amb_store *store);

/* Every live record, in no order; a visitor that returns non-zero ends the walk, and that is returned. */
int amb_store_walk(const struct amb_store *store, int (*visit)(void *opaque, const struct amb_store_record *record),
                   void *opaque);

/* Generations */

/**
 * Record that a generation was minted, and durably (commit included).
 *
 * before, after: effective values, n_samples each; before NULL: there is none under this dataset fingerprint. The
 *                values of `before` that differ are kept, compressed, so that the older generation can be rebuilt.
 */
int amb_store_put_generation(struct amb_store *store, const struct amb_store_generation *generation,
                             const struct amb_annotation *before, const struct amb_annotation *after,
                             struct amb_error *err);
size_t amb_store_count_generations(const struct amb_store *store);
const struct amb_store_generation *amb_store_peek_generation(const struct amb_store *store, size_t i); /* oldest first */

/**
 * Rebuild the values of an older generation from those of the newest of its dataset fingerprint.
 *
 * values: in: of the newest recorded generation of that dataset fingerprint; out: of the one asked for.
 * Errors: AMB_ERR_NOT_FOUND not recorded, or what its successors replaced is gone (says since when);
 *         AMB_ERR_CHECKSUM what comes out has another fingerprint; -ENOMEM, errno.
 */
int amb_store_rebuild(struct amb_annotation *values, uint32_t n_samples, const struct amb_store *store,
                      const struct amb_hash128 *dataset, const struct amb_hash128 *annotations,
                      struct amb_error *err);

/* Compaction */

/* The journal outgrew the table; behind a compaction that failed, it grew by another segment. */
bool amb_store_wants_compaction(const struct amb_store *store);
/**
 * Write the next table beside the present one and move over to it; readers of another process keep the old.
 *
 * now_unix_ns: what was replaced longer ago than keep_ns goes.
 * Commits first. Blocks for as long as it takes to read and write the whole store.
 * Errors:      -ENOSPC: the old table and journal stay, nothing is lost.
 */
int amb_store_compact(struct amb_store *store, uint64_t now_unix_ns, struct amb_error *err);

/* Read all of a store, closed or not, and check every record. report is filled; 0 even where damage was found. */
int amb_store_verify(struct amb_store_report *report, const char *dir, const struct amb_io *io,
                     struct amb_error *err);
