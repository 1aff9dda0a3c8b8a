#pragma once
/* Frame: the 16-byte header before every message, and the names of the messages (proto/README.md). */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define AMBP_MAGIC             0x50424D41u /* "AMBP" as it lies on the wire */
#define AMBP_VERSION           1u
#define AMBP_HEADER_BYTES      16u
#define AMBP_PAYLOAD_BYTES_MAX 65536u      /* DESIGN section 9: frame 64 KiB */

enum ambp_type {
    AMBP_HELLO = 1,
    AMBP_WELCOME = 2,
    AMBP_ERROR = 3,
    AMBP_REPLY = 4,
    AMBP_DATA = 5,
    AMBP_EVENT = 6,

    AMBP_PING = 16,
    AMBP_STATUS = 17,
    AMBP_LIST = 18,
    AMBP_SAMPLE = 19,
    AMBP_COVERAGE = 20,
    AMBP_QUARANTINE = 21,
    AMBP_GENERATIONS = 22,
    AMBP_ANNOTATIONS = 23,
    AMBP_CURVE = 24,
    AMBP_STATS = 25,
    AMBP_PICTURES = 26,
    AMBP_JOBS = 27,
    AMBP_WATCH = 28,
    AMBP_VERIFY = 29,

    AMBP_SUBSCRIBE = 32,
    AMBP_SUBSCRIBED = 33,
    AMBP_LEND = 34,
    AMBP_DONE = 35,
    AMBP_END = 36,
    AMBP_REQUEST = 37,
    AMBP_ADVANCE = 38,
    AMBP_CANCEL_ADVANCE = 39,

    AMBP_IMPORT = 48,
    AMBP_ANNOTATE = 49,
    AMBP_JOB = 50,
    AMBP_MINT = 51,
    AMBP_EXPORT = 52,
    AMBP_MERGE = 53,
    AMBP_RELOAD = 54,
    AMBP_TYPE_N = 55,
};

#define AMBP_FLAG_MORE 1u /* of DATA: another DATA frame of this reply follows */

struct ambp_header {
    uint8_t version, type;
    uint16_t flags;
    uint32_t length;     /* of the payload behind the header */
    uint32_t request_id; /* chosen by the asker, repeated in the answer; 0 in what nobody asked for */
};

/* "HELLO", ...; "type 77" is said by the caller where this returns NULL. Static. */
const char *ambp_type_name(unsigned type);

void ambp_header_encode(uint8_t out[AMBP_HEADER_BYTES], const struct ambp_header *header);

/**
 * Read a header and refuse what must not be buffered: wrong magic, version 0, unknown type or flags, a payload
 * over AMBP_PAYLOAD_BYTES_MAX.
 *
 * Errors: AMB_ERR_PROTOCOL, AMB_ERR_VERSION, AMB_ERR_LIMIT, with what was found and what is allowed.
 * Thread: any.
 */
int ambp_header_decode(struct ambp_header *out, const uint8_t bytes[AMBP_HEADER_BYTES], struct amb_error *err);
