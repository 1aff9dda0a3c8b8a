#pragma once
/* Fill: draws -> rows of a slot: read, decode or cache, transform, noise, scalars, members. */
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "batch/cache.h"
#include "batch/layout.h"
#include "batch/quarantine.h"
#include "codec/decode.h"
#include "codec/transform.h"
#include "noise/weight.h"
#include "sampler/sampler.h"
#include "shard/catalog.h"

#define AMB_LATENT_CHANNELS_MAX 64u
#define AMB_PROBE_SAMPLES       1024u /* samples looked at by the probes; not tuned */

/* Values of draw->replaced and of the field `replaced`. */
enum amb_replaced {
    AMB_REPLACED_NO = 0,
    AMB_REPLACED_YES = 1,        /* a cause in the bytes: the same in every run                          */
    AMB_REPLACED_UNREADABLE = 2, /* `sequential`: nothing in its place; planes, weight 0, labels -1      */
    AMB_REPLACED_TRANSIENT = 3,  /* a fault of the moment: another run may deliver the sample itself     */
};

/* One dataset as the filler sees it: immutable while fills that use it are in flight. All borrowed. */
struct amb_dataset {
    struct amb_catalog *catalog;
    struct amb_shape shape;
    struct amb_transform transform;    /* images */
    uint64_t transform_hash;           /* of everything that decides stored bytes; part of the cache key */
    uint64_t noise_seed;
    float latent_scale[AMB_LATENT_CHANNELS_MAX]; /* of latents; 1 if unset */
    float latent_shift[AMB_LATENT_CHANNELS_MAX]; /* of latents; 0 if unset */
    struct amb_cache *cache;
    struct amb_quarantine *quarantine;
};

/* One stream as the filler sees it. Borrowed, immutable while its fills are in flight. */
struct amb_fill_stream {
    const struct amb_dataset *dataset;
    const struct amb_sampler *sampler;
    const struct amb_layout *layout;
    struct amb_stream_options options;
    enum amb_weight weight;
    struct amb_fill_keys {
        uint64_t fixed;                /* ('fixed', noise_seed)                            */
        uint64_t fresh, latent;        /* ('fresh', seed), ('latent', seed)                */
        uint64_t request_fresh, request_latent; /* ('request fresh', seed), ...            */
    } keys;
};
void amb_fill_keys_get(struct amb_fill_keys *out, uint64_t noise_seed, uint64_t seed);

#define AMB_AHEAD_MAX 16u /* pictures that a sandbox decodes ahead; a worker takes at most as many rows at once */

/* Pictures on their way through the filler's decoder. */
struct amb_ahead {
    const struct amb_dataset *dataset;
    uint32_t n, samples[AMB_AHEAD_MAX]; /* the ticket is the place */
};

/* Scratch of one worker: allocates nothing once warm. Counters are added up by the owner. */
struct amb_filler {
    struct amb_decoder *decoder;
    struct amb_buf payload, stored, scratch, member;
    struct amb_ahead ahead;
    uint64_t n_decoded, n_replaced;          /* rows with `replaced` set                           */
    uint64_t n_transient, n_members_unread;  /* faults, retries apart; members lost to errors      */
    uint64_t n_limited, n_timed_out;         /* pictures past the limits of size and scans; of time, retries apart */
    uint64_t read_bytes;
    uint64_t read_ns, decode_ns, noise_ns;   /* CLOCK_MONOTONIC; decode with the transform         */
    uint64_t *tried_ns;                      /* atomic, borrowed: when the sample at hand was begun; NULL: nobody asks */
};
int amb_filler_init(struct amb_filler *filler, const struct amb_codec_limits *limits, struct amb_error *err);
void amb_filler_deinit(struct amb_filler *filler);

/**
 * Fill row i_row of a slot from a draw; a bad sample is replaced (draw->replaced says so).
 *
 * slot:   base of the slot; only the row's bytes of each field are written.
 * Errors: AMB_ERR_EXHAUSTED 64 replacements bad, naming the sigma; AMB_ERR_LIMIT member too long with option
 *         error; -ENOMEM.
 * Thread: worker; rows of one slot may be filled by several workers at once.
 */
int amb_fill_row(uint8_t *slot, uint32_t i_row, struct amb_filler *filler,
                 const struct amb_fill_stream *stream, struct amb_draw *draw, struct amb_error *err);

/**
 * Announce the draws whose rows come next: with a sandbox their pictures are decoded meanwhile.
 *
 * Changes no byte of any row. What does not fit is decoded when its row is filled.
 * Thread: worker.
 */
void amb_fill_ahead(struct amb_filler *filler, const struct amb_fill_stream *stream,
                    const struct amb_draw *draws, uint32_t n);

/* Decode one sample to its stored form (C x H x W planes) through the cache, without noise: preview,
 * annotators. Quarantines nothing. *stored points into the filler; valid until its next call. */
int amb_fill_load(const uint8_t **stored, struct amb_filler *filler, const struct amb_dataset *dataset,
                  uint32_t i_sample, struct amb_error *err);

/**
 * Probe the first readable of the first AMB_PROBE_SAMPLES samples: what `--size` none or `auto` resolves to.
 *
 * channels:   3 for pictures, grey ones too (1 is the dataset's own choice); channels of a u8 .npy picture;
 *             planes of a latent, that is 2C where the file holds mean and std.
 * npy_latent: the sample is a C x H x W f16 or f32 array.
 * Errors:     those of the last sample tried; AMB_ERR_NOT_FOUND the catalog is empty.
 * Thread:     any, one filler each; blocks.
 */
int amb_fill_probe(uint32_t *width, uint32_t *height, uint32_t *channels, bool *npy_latent,
                   struct amb_filler *filler, struct amb_catalog *catalog, struct amb_error *err);

/**
 * Settle how each pushed member lies in the slot, between the last push and amb_layout_place.
 *
 * member:EXT whose EXT ends in "npy" becomes a stacked array of the dtype and shape that the first sample has
 * whose member is an array, looked for among the first AMB_PROBE_SAMPLES samples; without one it stays bytes.
 * Errors: -EIO and the like: reading failed, and what lies in the slots must not depend on that;
 *         AMB_ERR_LIMIT.
 * Thread: any, one filler each; blocks.
 */
int amb_fill_probe_members(struct amb_layout *layout, struct amb_filler *filler,
                           const struct amb_catalog *catalog, struct amb_error *err);
