/*
 * Frames: the header, then the packed payload that its type names. What decodes must encode to the same bytes.
 */
#include "fuzz.h"

#include "proto/frame.h"
#include "proto/message.h"

static void check_lend(const uint8_t *payload, size_t bytes) {
    static uint8_t out[AMBP_PAYLOAD_BYTES_MAX];
    struct amb_error err = AMB_ERROR_NULL;
    struct ambp_lend lend;

    if (fuzz_check(ambp_lend_decode(&lend, payload, bytes, &err), &err) == 0) {
        FUZZ_REQUIRE(ambp_lend_encode(out, sizeof out, &lend) == (int)bytes);
        FUZZ_REQUIRE(memcmp(out, payload, bytes) == 0);
    }
}

static void check_done(const uint8_t *payload, size_t bytes) {
    uint8_t out[AMBP_DONE_BYTES];
    struct amb_error err = AMB_ERROR_NULL;
    struct ambp_done done;

    if (fuzz_check(ambp_done_decode(&done, payload, bytes, &err), &err) == 0) {
        FUZZ_REQUIRE(ambp_done_encode(out, sizeof out, &done) == (int)bytes);
        FUZZ_REQUIRE(memcmp(out, payload, bytes) == 0);
    }
}

static void check_request(const uint8_t *payload, size_t bytes) {
    static uint8_t out[AMBP_PAYLOAD_BYTES_MAX];
    struct amb_error err = AMB_ERROR_NULL;
    struct ambp_request request;

    if (fuzz_check(ambp_request_decode(&request, payload, bytes, &err), &err) == 0) {
        FUZZ_REQUIRE(ambp_request_encode(out, sizeof out, &request) == (int)bytes);
        FUZZ_REQUIRE(memcmp(out, payload, bytes) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    struct amb_error err = AMB_ERROR_NULL;
    struct ambp_header header;
    uint8_t out[AMBP_HEADER_BYTES];

    while (bytes >= AMBP_HEADER_BYTES) {
        if (fuzz_check(ambp_header_decode(&header, data, &err), &err) < 0) {
            return 0;
        }
        ambp_header_encode(out, &header);
        FUZZ_REQUIRE(memcmp(out, data, sizeof out) == 0);
        FUZZ_REQUIRE(header.length <= AMBP_PAYLOAD_BYTES_MAX && ambp_type_name(header.type) != NULL);
        data += AMBP_HEADER_BYTES;
        bytes -= AMBP_HEADER_BYTES;
        if (header.length > bytes) {
            return 0;
        }
        switch (header.type) {
        case AMBP_LEND:
            check_lend(data, header.length);
            break;
        case AMBP_DONE:
            check_done(data, header.length);
            break;
        case AMBP_REQUEST:
            check_request(data, header.length);
            break;
        default:
            break;
        }
        data += header.length;
        bytes -= header.length;
    }
    return 0;
}
