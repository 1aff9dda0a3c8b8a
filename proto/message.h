#pragma once
/* Message: the packed payloads of the streaming path: LEND, DONE, REQUEST. Everything else is JSON. */
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/hash.h"

#define AMBP_LEND_BYTES    48u /* before the state */
#define AMBP_DONE_BYTES    8u
#define AMBP_REQUEST_BYTES 48u /* before the sigmas */

#define AMBP_LEND_MOVED 1u /* the first batch drawn under new fingerprints */
#define AMBP_LEND_LAST  2u /* the stream ends behind this batch */

/* A slot is lent to the client. */
struct ambp_lend {
    uint32_t slot;
    uint32_t count;       /* samples in the batch; less than the batch size only at the end of `sequential`, and in requests */
    uint64_t step;        /* of this batch, from 0; of a request: q */
    uint64_t k;           /* the stream's counter before this step; of a request: 0 */
    uint32_t flags;
    uint32_t n_replaced;  /* samples of the batch with `replaced` set */
    uint64_t fill_ns;     /* time from the first draw to the last byte, for stalls by cause */
    uint32_t state_bytes;
    const char *state;    /* JSON of the state after this batch, borrowed, not terminated; empty in requests */
};

/* The client gives a slot back. */
struct ambp_done {
    uint32_t slot;
};

/* The client sends sigmas and gets samples that fit them. */
struct ambp_request {
    uint32_t n_sigmas;
    uint32_t scale;       /* 0: VE scale s, 1: native t */
    uint64_t q;           /* requests yielded in this rank before */
    struct amb_hash128 dataset, annotations;
    const uint8_t *sigmas; /* f64le each, borrowed; read by ambp_load_f64le */
};

/* Encoders write into out and return the number of bytes, or -ENOSPC. Decoders prove every length and that reserved
 * bytes are zero: AMB_ERR_PROTOCOL. Thread: any. */
int ambp_lend_encode(uint8_t *out, size_t out_bytes, const struct ambp_lend *lend);
int ambp_lend_decode(struct ambp_lend *out, const uint8_t *payload, size_t bytes, struct amb_error *err);
int ambp_done_encode(uint8_t *out, size_t out_bytes, const struct ambp_done *done);
int ambp_done_decode(struct ambp_done *out, const uint8_t *payload, size_t bytes, struct amb_error *err);
int ambp_request_encode(uint8_t *out, size_t out_bytes, const struct ambp_request *request);
int ambp_request_decode(struct ambp_request *out, const uint8_t *payload, size_t bytes, struct amb_error *err);
