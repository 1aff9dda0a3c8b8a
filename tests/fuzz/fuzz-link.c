/*
 * Link: the daemon's side of a socket that receives these bytes in pieces. The frames that come out must be those
 * that the bytes hold when read at once, whatever the pieces.
 *
 * The first byte of the input is the size of the pieces.
 */
#include "fuzz.h"

#include <errno.h>
#include <sys/socket.h>

#include "daemon/link.h"

#define PAYLOAD_MAX 4096u

static int pair[2] = {-1, -1};

/* What is left in the socket from the input before is of no interest. */
static void pair_drain(void) {
    uint8_t rest[4096];

    while (recv(pair[0], rest, sizeof rest, MSG_DONTWAIT) > 0) {
    }
}

/* The next frame of `left` as the bytes lie: its payload is where a link must have it. */
static const uint8_t *expect_frame(const struct ambd_link *link, const uint8_t *at, const uint8_t *end) {
    struct ambp_header header;

    FUZZ_REQUIRE((size_t)(end - at) >= AMBP_HEADER_BYTES);
    FUZZ_REQUIRE(ambp_header_decode(&header, at, NULL) == 0);
    FUZZ_REQUIRE(memcmp(&header, &link->header, sizeof header) == 0);
    FUZZ_REQUIRE(header.length <= PAYLOAD_MAX && header.length <= (size_t)(end - at) - AMBP_HEADER_BYTES);
    FUZZ_REQUIRE(header.length == 0 || memcmp(link->payload.data, at + AMBP_HEADER_BYTES, header.length) == 0);
    return at + AMBP_HEADER_BYTES + header.length;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    struct amb_error err = AMB_ERROR_NULL;
    struct ambd_link link;
    const uint8_t *at = data + 1, *end = data + bytes;
    size_t piece, sent = 1;
    int r = AMBD_LINK_E_AGAIN;

    if (bytes < 2) {
        return 0;
    }
    if (pair[0] < 0 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
        abort();
    }
    piece = bytes / 8 + data[0] + 1;
    ambd_link_init(&link, pair[0], PAYLOAD_MAX, 1u << 20);
    while (sent < bytes && r != AMBD_LINK_E_END) {
        size_t n = piece < bytes - sent ? piece : bytes - sent;

        FUZZ_REQUIRE(send(pair[1], data + sent, n, MSG_DONTWAIT) == (ssize_t)n);
        sent += n;
        do {
            r = fuzz_check(ambd_link_read(&link, &err), &err);
            if (r == AMBD_LINK_E_FRAME) {
                at = expect_frame(&link, at, end);
            }
        } while (r == AMBD_LINK_E_FRAME);
        if (r < 0) {
            break;
        }
        FUZZ_REQUIRE(r == AMBD_LINK_E_AGAIN);
    }
    link.fd = -1; /* kept for the next input */
    ambd_link_deinit(&link);
    if (r < 0) {
        pair_drain();
    }
    return 0;
}
