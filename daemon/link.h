#pragma once
/* Link: frames over one non-blocking socket, in and out, both bounded. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "proto/frame.h"

struct ambd_link {
    int fd; /* owned */
    size_t payload_bytes_max, out_bytes_max;

    uint8_t header_bytes[AMBP_HEADER_BYTES];
    size_t n_header; /* bytes of the header that are here */
    struct ambp_header header;
    struct amb_buf payload; /* grows to the largest frame seen */
    size_t n_payload;

    struct amb_buf out; /* [n_sent, out.n_bytes) is queued */
    size_t n_sent;
    int fd_to_send;   /* owned by somebody else; -1: none */
    size_t fd_offset; /* of the frame that it goes with, in out */
};

enum ambd_link_outcome {
    AMBD_LINK_E_FRAME = 1, /* a whole frame is here: header and payload; valid until the next read */
    AMBD_LINK_E_AGAIN = 2, /* nothing more for now */
    AMBD_LINK_E_END = 3,   /* the peer closed */
};

void ambd_link_init(struct ambd_link *link, int fd, size_t payload_bytes_max, size_t out_bytes_max);
void ambd_link_deinit(struct ambd_link *link); /* closes the fd; idempotent */

/**
 * Read towards the next frame; never past it. A header is checked before one byte of its payload is buffered.
 *
 * Errors: of ambp_header_decode; AMB_ERR_LIMIT; -E... of the socket.
 * Thread: loop.
 */
int ambd_link_read(struct ambd_link *link, struct amb_error *err);

/**
 * Queue a frame and send what the socket takes.
 *
 * parts:  payload is `a` followed by `b` (either may be empty); copied.
 * fd:     goes with the first byte of this frame; -1: none. Stays the caller's, open until the queue has
 * drained. Errors: AMB_ERR_LIMIT the queue would pass out_bytes_max; -E... of the socket. The link is then of
 * no more use. Thread: loop; allocates only where the queue grows.
 */
int ambd_link_push(struct ambd_link *link, const struct ambp_header *header, const void *a, size_t a_bytes,
                   const void *b, size_t b_bytes, int fd, struct amb_error *err);

/* Send what is queued. 0 (also if not all went) or -E... */
int ambd_link_flush(struct ambd_link *link, struct amb_error *err);

static inline size_t ambd_link_queued(const struct ambd_link *link) {
    return link->out.n_bytes - link->n_sent;
}
