/*
 * Frame: encode and decode of the header; what a payload holds is in message.c (packed) and json.c.
 *
 * The reader of a socket decodes the header before it buffers one byte of payload, so a peer that lies about
 * lengths costs nothing.
 */
#include "proto/frame.h"

#include "proto/wire.h"

static const char *const type_names[AMBP_TYPE_N] = {
    [AMBP_HELLO] = "HELLO",
    [AMBP_WELCOME] = "WELCOME",
    [AMBP_ERROR] = "ERROR",
    [AMBP_REPLY] = "REPLY",
    [AMBP_DATA] = "DATA",
    [AMBP_EVENT] = "EVENT",
    [AMBP_PING] = "PING",
    [AMBP_STATUS] = "STATUS",
    [AMBP_LIST] = "LIST",
    [AMBP_SAMPLE] = "SAMPLE",
    [AMBP_COVERAGE] = "COVERAGE",
    [AMBP_QUARANTINE] = "QUARANTINE",
    [AMBP_GENERATIONS] = "GENERATIONS",
    [AMBP_ANNOTATIONS] = "ANNOTATIONS",
    [AMBP_CURVE] = "CURVE",
    [AMBP_STATS] = "STATS",
    [AMBP_PICTURES] = "PICTURES",
    [AMBP_JOBS] = "JOBS",
    [AMBP_WATCH] = "WATCH",
    [AMBP_VERIFY] = "VERIFY",
    [AMBP_SUBSCRIBE] = "SUBSCRIBE",
    [AMBP_SUBSCRIBED] = "SUBSCRIBED",
    [AMBP_LEND] = "LEND",
    [AMBP_DONE] = "DONE",
    [AMBP_END] = "END",
    [AMBP_REQUEST] = "REQUEST",
    [AMBP_ADVANCE] = "ADVANCE",
    [AMBP_CANCEL_ADVANCE] = "CANCEL_ADVANCE",
    [AMBP_IMPORT] = "IMPORT",
    [AMBP_ANNOTATE] = "ANNOTATE",
    [AMBP_JOB] = "JOB",
    [AMBP_MINT] = "MINT",
    [AMBP_EXPORT] = "EXPORT",
    [AMBP_MERGE] = "MERGE",
    [AMBP_RELOAD] = "RELOAD",
};

const char *ambp_type_name(unsigned type) {
    return type < AMBP_TYPE_N ? type_names[type] : NULL;
}

void ambp_header_encode(uint8_t out[AMBP_HEADER_BYTES], const struct ambp_header *header) {
    ambp_store_u32le(out, AMBP_MAGIC);
    out[4] = header->version;
    out[5] = header->type;
    ambp_store_u16le(out + 6, header->flags);
    ambp_store_u32le(out + 8, header->length);
    ambp_store_u32le(out + 12, header->request_id);
}

int ambp_header_decode(struct ambp_header *out, const uint8_t bytes[AMBP_HEADER_BYTES], struct amb_error *err) {
    struct ambp_header header = {
        .version = bytes[4],
        .type = bytes[5],
        .flags = ambp_load_u16le(bytes + 6),
        .length = ambp_load_u32le(bytes + 8),
        .request_id = ambp_load_u32le(bytes + 12),
    };
    uint32_t magic = ambp_load_u32le(bytes);
    uint16_t flags_allowed = header.type == AMBP_DATA ? AMBP_FLAG_MORE : 0;

    if (magic != AMBP_MAGIC) {
        return amb_fail(err, AMB_ERR_PROTOCOL, "frame begins with 0x%08x, expected 0x%08x (\"AMBP\")", magic,
                        AMBP_MAGIC);
    }
    if (header.version != AMBP_VERSION) {
        return amb_fail(err, AMB_ERR_VERSION, "frame of protocol version %u, this side speaks %u", header.version,
                        AMBP_VERSION);
    }
    if (ambp_type_name(header.type) == NULL) {
        return amb_fail(err, AMB_ERR_PROTOCOL, "frame of unknown type %u", header.type);
    }
    if ((header.flags & ~flags_allowed) != 0) {
        return amb_fail(err, AMB_ERR_PROTOCOL, "%s frame with flags 0x%x, allowed 0x%x",
                        ambp_type_name(header.type), header.flags, flags_allowed);
    }
    if (header.length > AMBP_PAYLOAD_BYTES_MAX) {
        return amb_fail(err, AMB_ERR_LIMIT, "%s frame of %u bytes, limit %u", ambp_type_name(header.type),
                        header.length, AMBP_PAYLOAD_BYTES_MAX);
    }
    *out = header;
    return 0;
}
