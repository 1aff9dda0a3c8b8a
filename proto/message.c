/*
 * Message: packed payloads; each offset below stands in the tables of proto/README.md.
 */
#include "proto/message.h"

#include <errno.h>

#include "proto/wire.h"

int ambp_lend_encode(uint8_t *out, size_t out_bytes, const struct ambp_lend *lend) {
    if (out_bytes < AMBP_LEND_BYTES + (size_t)lend->state_bytes) {
        return -ENOSPC;
    }
    ambp_store_u32le(out, lend->slot);
    ambp_store_u32le(out + 4, lend->count);
    ambp_store_u64le(out + 8, lend->step);
    ambp_store_u64le(out + 16, lend->k);
    ambp_store_u32le(out + 24, lend->flags);
    ambp_store_u32le(out + 28, lend->n_replaced);
    ambp_store_u64le(out + 32, lend->fill_ns);
    ambp_store_u32le(out + 40, lend->state_bytes);
    ambp_store_u32le(out + 44, 0);
    if (lend->state_bytes != 0) {
        memcpy(out + AMBP_LEND_BYTES, lend->state, lend->state_bytes);
    }
    return (int)(AMBP_LEND_BYTES + lend->state_bytes);
}

int ambp_lend_decode(struct ambp_lend *out, const uint8_t *payload, size_t bytes, struct amb_error *err) {
    struct ambp_lend lend;

    if (bytes < AMBP_LEND_BYTES) {
        return amb_fail(err, AMB_ERR_PROTOCOL, "LEND of %zu bytes, at least %u", bytes, AMBP_LEND_BYTES);
    }
    lend = (struct ambp_lend){
        .slot = ambp_load_u32le(payload),
        .count = ambp_load_u32le(payload + 4),
        .step = ambp_load_u64le(payload + 8),
        .k = ambp_load_u64le(payload + 16),
        .flags = ambp_load_u32le(payload + 24),
        .n_replaced = ambp_load_u32le(payload + 28),
        .fill_ns = ambp_load_u64le(payload + 32),
        .state_bytes = ambp_load_u32le(payload + 40),
        .state = (const char *)payload + AMBP_LEND_BYTES,
    };
    if (lend.state_bytes != bytes - AMBP_LEND_BYTES) {
        return amb_fail(err, AMB_ERR_PROTOCOL, "LEND says %u bytes of state, carries %zu", lend.state_bytes,
                        bytes - AMBP_LEND_BYTES);
    }
    if ((lend.flags & ~(AMBP_LEND_MOVED | AMBP_LEND_LAST)) != 0 || ambp_load_u32le(payload + 44) != 0) {
        return amb_fail(err, AMB_ERR_PROTOCOL, "LEND with flags 0x%x and reserved word 0x%x, allowed flags 0x3, 0",
                        lend.flags, ambp_load_u32le(payload + 44));
    }
    *out = lend;
    return 0;
}

int ambp_done_encode(uint8_t *out, size_t out_bytes, const struct ambp_done *done) {
    if (out_bytes < AMBP_DONE_BYTES) {
        return -ENOSPC;
    }
    ambp_store_u32le(out, done->slot);
    ambp_store_u32le(out + 4, 0);
    return AMBP_DONE_BYTES;
}

int ambp_done_decode(struct ambp_done *out, const uint8_t *payload, size_t bytes, struct amb_error *err) {
    if (bytes != AMBP_DONE_BYTES) {
        return amb_fail(err, AMB_ERR_PROTOCOL, "DONE of %zu bytes, expected %u", bytes, AMBP_DONE_BYTES);
    }
    if (ambp_load_u32le(payload + 4) != 0) {
        return amb_fail(err, AMB_ERR_PROTOCOL, "DONE with reserved word 0x%x, expected 0",
                        ambp_load_u32le(payload + 4));
    }
    out->slot = ambp_load_u32le(payload);
    return 0;
}

int ambp_request_encode(uint8_t *out, size_t out_bytes, const struct ambp_request *request) {
    size_t total = AMBP_REQUEST_BYTES + (size_t)request->n_sigmas * 8;

    if (out_bytes < total) {
        return -ENOSPC;
    }
    ambp_store_u32le(out, request->n_sigmas);
    ambp_store_u32le(out + 4, request->scale);
    ambp_store_u64le(out + 8, request->q);
    memcpy(out + 16, request->dataset.bytes, 16);
    memcpy(out + 32, request->annotations.bytes, 16);
    if (request->n_sigmas != 0) {
        memcpy(out + AMBP_REQUEST_BYTES, request->sigmas, total - AMBP_REQUEST_BYTES);
    }
    return (int)total;
}

int ambp_request_decode(struct ambp_request *out, const uint8_t *payload, size_t bytes, struct amb_error *err) {
    struct ambp_request request;

    if (bytes < AMBP_REQUEST_BYTES) {
        return amb_fail(err, AMB_ERR_PROTOCOL, "REQUEST of %zu bytes, at least %u", bytes, AMBP_REQUEST_BYTES);
    }
    request = (struct ambp_request){
        .n_sigmas = ambp_load_u32le(payload),
        .scale = ambp_load_u32le(payload + 4),
        .q = ambp_load_u64le(payload + 8),
        .sigmas = payload + AMBP_REQUEST_BYTES,
    };
    memcpy(request.dataset.bytes, payload + 16, 16);
    memcpy(request.annotations.bytes, payload + 32, 16);
    if (request.n_sigmas == 0 || (uint64_t)request.n_sigmas * 8 != bytes - AMBP_REQUEST_BYTES) {
        return amb_fail(err, AMB_ERR_PROTOCOL, "REQUEST says %u sigmas, carries %zu bytes of them", request.n_sigmas,
                        bytes - AMBP_REQUEST_BYTES);
    }
    if (request.scale > 1) {
        return amb_fail(err, AMB_ERR_PROTOCOL, "REQUEST with scale %u, allowed 0 (s) or 1 (t)", request.scale);
    }
    *out = request;
    return 0;
}
