#pragma once
/* Scan: the records of one stretch of a file, one after the other, and where they begin again behind rubbish. */
#include <stdbool.h>
#include <stdint.h>

#include "annotate/store-layout.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/io.h"

enum amb_scan_outcome {
    AMB_SCAN_E_END = 1, /* nothing is left */
    AMB_SCAN_E_BAD = 2, /* no record begins here */
};

/* Valid until the next call. */
struct amb_scan_record {
    enum amb_record_type type;
    uint64_t sequence, offset;
    const uint8_t *payload;
    uint32_t payload_bytes;
};

struct amb_scan {
    const struct amb_io *io;
    int fd;           /* borrowed */
    uint64_t salt;
    uint64_t at, end; /* of the file */
    struct amb_buf window;
    uint64_t window_offset;
};
#define AMB_SCAN_NULL ((struct amb_scan){0})
void amb_scan_init(struct amb_scan *scan, const struct amb_io *io, int fd, uint64_t salt, uint64_t begin, uint64_t end);
void amb_scan_deinit(struct amb_scan *scan); /* idempotent */

/* The record at `at`, and past it. AMB_SCAN_E_END, AMB_SCAN_E_BAD (`at` stays); errno values. */
int amb_scan_next(struct amb_scan_record *out, struct amb_scan *scan);

/* Move `at` to the next place behind it where a record begins; AMB_SCAN_E_END: there is none. errno values. */
int amb_scan_resync(struct amb_scan *scan);

/* Are these bytes one whole record of that salt and type? */
bool amb_record_check(const uint8_t *record, size_t bytes, uint64_t salt, enum amb_record_type type);
