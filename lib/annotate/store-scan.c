/*
 * Scan: a window of the file moves forward; a record is seen only if all of it lies in the window, so the window is
 * never smaller than the longest record. A record counts if magic, length, type, salt and checksum fit: which sequence
 * it may have is the caller's to judge.
 */
#include "annotate/store-scan.h"

#define SCAN_WINDOW_BYTES (2u * AMB_RECORD_BYTES_MAX) /* half of it is read anew at a time; not tuned */

void amb_scan_init(struct amb_scan *scan, const struct amb_io *io, int fd, uint64_t salt, uint64_t begin,
                   uint64_t end) {
    *scan = AMB_SCAN_NULL;
    scan->io = io;
    scan->fd = fd;
    scan->salt = salt;
    scan->at = begin;
    scan->end = end;
}

void amb_scan_deinit(struct amb_scan *scan) {
    amb_buf_deinit(&scan->window);
}

/* Have [offset, offset + bytes) in the window, or up to the end; *n: how much of it is there. */
static int scan_load(const uint8_t **p, size_t *n, struct amb_scan *scan, uint64_t offset, size_t bytes) {
    uint64_t window_end = scan->window_offset + scan->window.n_bytes;
    size_t wanted, got;
    int r;

    if (bytes > scan->end - offset) {
        bytes = (size_t)(scan->end - offset);
    }
    if (offset < scan->window_offset || offset + bytes > window_end) {
        wanted = scan->end - offset < SCAN_WINDOW_BYTES ? (size_t)(scan->end - offset) : SCAN_WINDOW_BYTES;
        scan->window.n_bytes = 0;
        r = amb_buf_reserve(&scan->window, wanted);
        if (r < 0) {
            return r;
        }
        scan->window.n_bytes = 0;
        r = amb_io_read(&got, scan->io, scan->fd, scan->window.data, wanted, offset);
        if (r < 0) {
            return r;
        }
        scan->window.n_bytes = got;
        scan->window_offset = offset;
        if (got < wanted) {
            scan->end = offset + got; /* the file was cut meanwhile */
        }
        bytes = bytes < got ? bytes : got;
    }
    *p = scan->window.data + (offset - scan->window_offset);
    *n = bytes;
    return 0;
}

int amb_scan_next(struct amb_scan_record *out, struct amb_scan *scan) {
    const uint8_t *p;
    uint32_t payload_bytes, type;
    size_t n;
    int r;

    if (scan->at >= scan->end) {
        return AMB_SCAN_E_END;
    }
    r = scan_load(&p, &n, scan, scan->at, AMB_RECORD_HEADER_BYTES);
    if (r < 0) {
        return r;
    }
    if (n < AMB_RECORD_HEADER_BYTES || ambp_load_u32le(p) != AMB_RECORD_MAGIC) {
        return AMB_SCAN_E_BAD;
    }
    payload_bytes = ambp_load_u32le(p + 8);
    type = ambp_load_u32le(p + 12); /* three zero bytes included */
    if (payload_bytes > AMB_RECORD_PAYLOAD_MAX || type == 0 || type >= AMB_RECORD_TYPE_N ||
        ambp_load_u64le(p + 16) != scan->salt ||
        ambp_load_u64le(p + 24) > AMB_STORE_SEQUENCE_END - (type != AMB_RECORD_MARK)) {
        return AMB_SCAN_E_BAD;
    }
    r = scan_load(&p, &n, scan, scan->at, AMB_RECORD_HEADER_BYTES + payload_bytes);
    if (r < 0) {
        return r;
    }
    if (n < AMB_RECORD_HEADER_BYTES + payload_bytes || ambp_load_u32le(p + 4) != amb_record_crc(p, payload_bytes)) {
        return AMB_SCAN_E_BAD;
    }
    out->type = (enum amb_record_type)type;
    out->sequence = ambp_load_u64le(p + 24);
    out->offset = scan->at;
    out->payload = p + AMB_RECORD_HEADER_BYTES;
    out->payload_bytes = payload_bytes;
    scan->at += n;
    return 0;
}

int amb_scan_resync(struct amb_scan *scan) {
    uint64_t at = scan->at + 1;
    uint8_t magic[4];

    ambp_store_u32le(magic, AMB_RECORD_MAGIC);
    while (at < scan->end && scan->end - at >= AMB_RECORD_HEADER_BYTES) {
        const uint8_t *p, *hit;
        struct amb_scan_record record;
        size_t n;
        int r = scan_load(&p, &n, scan, at, AMB_RECORD_BYTES_MAX);

        if (r < 0) {
            return r;
        }
        hit = memmem(p, n, magic, sizeof magic);
        if (hit == NULL) {
            if (n <= sizeof magic) {
                break;
            }
            at += n - (sizeof magic - 1);
            continue;
        }
        scan->at = at + (size_t)(hit - p);
        r = amb_scan_next(&record, scan);
        if (r == 0) {
            scan->at = record.offset;
        }
        if (r <= 0) {
            return r;
        }
        at = scan->at + 1;
    }
    scan->at = scan->end;
    return AMB_SCAN_E_END;
}

bool amb_record_check(const uint8_t *record, size_t bytes, uint64_t salt, enum amb_record_type type) {
    return bytes >= AMB_RECORD_HEADER_BYTES && bytes <= AMB_RECORD_BYTES_MAX &&
           ambp_load_u32le(record) == AMB_RECORD_MAGIC &&
           ambp_load_u32le(record + 8) == bytes - AMB_RECORD_HEADER_BYTES &&
           ambp_load_u32le(record + 12) == (uint32_t)type && ambp_load_u64le(record + 16) == salt &&
           ambp_load_u32le(record + 4) == amb_record_crc(record, (uint32_t)bytes - AMB_RECORD_HEADER_BYTES);
}
