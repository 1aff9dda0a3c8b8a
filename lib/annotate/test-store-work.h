#pragma once
/* Test work: what is done to a store, what must come back, and the verdict over a disk that it left. */
#include "base/test-disk.h"

#include "annotate/store-private.h"

#define WORK_KEYS    512u
#define WORK_ISSUED  20000u
#define WORK_CURVES  64u
#define WORK_SAMPLES 48u /* of a generation */
#define WORK_MINTED  64u

struct work_key {
    struct amb_key key;
    uint64_t digest; /* of its present row; 0: none */
};

/*
 * The oracle lies outside the store: digests[s] is the sum of the digests of all that is live after sequence s, in any
 * order. So one number says whether what was recovered is exactly the first s that were issued.
 */
struct work {
    struct amb_store *store;
    const struct amb_io *io;
    struct test_disk *disk; /* NULL: a real one */
    const char *dir;
    uint64_t segment_bytes, random;

    uint64_t digests[WORK_ISSUED]; /* of all but curves */
    uint64_t curve_sums[WORK_ISSUED];
    uint64_t n_issued; /* last sequence with a digest */
    uint64_t digest, curve_sum; /* of the model as it is */
    uint64_t acked;    /* last sequence whose commit came back */

    struct work_key keys[WORK_KEYS];
    uint32_t n_keys;
    struct amb_key curves[WORK_CURVES];
    uint64_t curve_digests[WORK_CURVES];
    uint32_t n_curves;
    uint64_t text_digests[4];
    uint64_t seen[2 * WORK_ISSUED]; /* digest of each row, curve, text, model and generation that was ever issued */
    uint32_t n_seen;
    uint32_t n_models;
    uint32_t n_minted;
    struct amb_annotation values[WORK_MINTED + 1][WORK_SAMPLES];
    struct amb_hash128 fingerprints[WORK_MINTED + 1];
};

void work_init(struct work *work, struct test_disk *disk, uint64_t segment_bytes, uint64_t seed);
int work_open(struct work *work); /* the store of the disk; 0 or what opening answered */
void work_close(struct work *work);

/* Each answers what the store answered. n rows of keys out of n_keys. */
int work_put(struct work *work, uint32_t n, uint32_t n_keys);
int work_curve(struct work *work, uint32_t n_curves, uint32_t n);
int work_text(struct work *work);
int work_model(struct work *work);
int work_mint(struct work *work);
int work_commit(struct work *work);
int work_compact(struct work *work);
/* One of these at random. */
int work_step(struct work *work);

uint64_t work_digest_row(const struct amb_store_record *record);
/* Sums over what is live in a store: all but curves, and curves. */
uint64_t work_digest(const struct amb_store *store);
int work_digest_curves(uint64_t *sum, const struct work *work, const struct amb_store *store); /* or what reading answered */

/* What a store serves that nobody ever put there; *n_lost: rows that are not as they were last put. */
uint32_t work_count_wrong(uint32_t *n_lost, struct work *work, const struct amb_store *store);

struct verdict_options {
    bool with_curves;  /* read their bytes too */
    bool with_rebuild; /* and go back one generation */
    bool may_append_fail;
};

/**
 * Recover twice and append: (i) acked is there, (ii) a prefix, (iii) the second recovery changes nothing, (iv) appends.
 *
 * Returns: 0, or 1 with a line on stderr that begins with `what`.
 */
int work_verdict(const struct work *work, struct test_disk *disk, uint64_t acked, const struct verdict_options *options,
                 const char *what);
