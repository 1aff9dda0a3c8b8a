/*
 * Onnx scan: a walk over protobuf wire format, led by a table of the fields in which tensors can hide.
 *
 * A model may tell the runtime to read any file into a tensor. The runtime's own checks had holes more than once
 * (CVE-2022-25882, CVE-2024-27318), so every location is seen and judged here first. Fields that are not in the
 * table are stepped over by their length; recursion is bounded by depth, work by the size of the file.
 */
#include "annotate/onnx-scan.h"

#include <stdbool.h>
#include <string.h>

#define DEPTH_MAX 64u /* graphs in graphs; protobuf's own default is 100 */

enum message {
    MESSAGE_MODEL,
    MESSAGE_GRAPH,
    MESSAGE_FUNCTION,
    MESSAGE_TRAINING,
    MESSAGE_NODE,
    MESSAGE_ATTRIBUTE,
    MESSAGE_TENSOR,
    MESSAGE_SPARSE,
    MESSAGE_ENTRY, /* key and value of external data */
};

/* onnx.proto3: field `number` of `in` holds messages of kind `holds`. */
static const struct {
    enum message in;
    uint32_t number;
    enum message holds;
} fields[] = {
    {MESSAGE_MODEL, 7, MESSAGE_GRAPH},       {MESSAGE_MODEL, 20, MESSAGE_TRAINING},
    {MESSAGE_MODEL, 25, MESSAGE_FUNCTION},   {MESSAGE_TRAINING, 1, MESSAGE_GRAPH},
    {MESSAGE_TRAINING, 2, MESSAGE_GRAPH},    {MESSAGE_GRAPH, 1, MESSAGE_NODE},
    {MESSAGE_GRAPH, 5, MESSAGE_TENSOR},      {MESSAGE_GRAPH, 15, MESSAGE_SPARSE},
    {MESSAGE_FUNCTION, 7, MESSAGE_NODE},     {MESSAGE_FUNCTION, 11, MESSAGE_ATTRIBUTE},
    {MESSAGE_NODE, 5, MESSAGE_ATTRIBUTE},    {MESSAGE_ATTRIBUTE, 5, MESSAGE_TENSOR},
    {MESSAGE_ATTRIBUTE, 6, MESSAGE_GRAPH},   {MESSAGE_ATTRIBUTE, 10, MESSAGE_TENSOR},
    {MESSAGE_ATTRIBUTE, 11, MESSAGE_GRAPH},  {MESSAGE_ATTRIBUTE, 22, MESSAGE_SPARSE},
    {MESSAGE_ATTRIBUTE, 23, MESSAGE_SPARSE}, {MESSAGE_SPARSE, 1, MESSAGE_TENSOR},
    {MESSAGE_SPARSE, 2, MESSAGE_TENSOR},     {MESSAGE_TENSOR, 13, MESSAGE_ENTRY},
};

struct scan {
    const char *name;
    const uint8_t *data;
    size_t bytes;
    amb_onnx_visit visit;
    void *opaque;
    struct amb_error *err;
    bool has_graph;
};

struct field {
    uint32_t number, wire;
    size_t begin, end; /* of the value of a length-delimited field */
};

static bool varint_load(uint64_t *out, size_t *at, const struct scan *scan, size_t end) {
    uint64_t value = 0;

    for (unsigned shift = 0; shift < 64 && *at < end; shift += 7) {
        uint8_t byte = scan->data[(*at)++];

        value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) {
            *out = value;
            return true;
        }
    }
    return false;
}

static int scan_fail(const struct scan *scan, size_t at, const char *what) {
    return amb_fail(scan->err, AMB_ERR_FORMAT, "%s is not an ONNX model, or cut off: %s at byte %zu of %zu", scan->name, what,
                    at, scan->bytes);
}

/* Read the field at *at, before `end`, and move behind it. */
static int field_load(struct field *out, size_t *at, const struct scan *scan, size_t end) {
    size_t began = *at;
    uint64_t tag, length = 0;

    if (!varint_load(&tag, at, scan, end) || tag >> 3 == 0 || tag >> 3 > UINT32_MAX) {
        return scan_fail(scan, began, "no field");
    }
    *out = (struct field){.number = (uint32_t)(tag >> 3), .wire = (uint32_t)(tag & 7)};
    switch (out->wire) {
    case 0:
        return varint_load(&length, at, scan, end) ? 0 : scan_fail(scan, began, "an unfinished number");
    case 1:
    case 5:
        length = out->wire == 1 ? 8 : 4;
        break;
    case 2:
        if (!varint_load(&length, at, scan, end)) {
            return scan_fail(scan, began, "an unfinished length");
        }
        break;
    default:
        return scan_fail(scan, began, "a field of an unknown kind");
    }
    if (length > end - *at) {
        return scan_fail(scan, began, "a field that ends behind what holds it");
    }
    out->begin = *at;
    out->end = *at += (size_t)length;
    return 0;
}

static int entry_scan(struct scan *scan, size_t begin, size_t end) {
    struct field field = {0}, value = {0};
    bool location = false;

    while (begin < end) {
        int r = field_load(&field, &begin, scan, end);

        if (r < 0) {
            return r;
        }
        if (field.wire == 2 && field.number == 1) {
            location = field.end - field.begin == 8 && memcmp(scan->data + field.begin, "location", 8) == 0;
        } else if (field.wire == 2 && field.number == 2) {
            value = field;
        }
    }
    return location ? scan->visit(scan->opaque, (const char *)scan->data + value.begin, value.end - value.begin,
                                  scan->err)
                    : 0;
}

static int message_scan(struct scan *scan, enum message message, size_t begin, size_t end, unsigned depth) {
    if (depth > DEPTH_MAX) {
        return amb_fail(scan->err, AMB_ERR_LIMIT, "%s is nested deeper than %u at byte %zu", scan->name, DEPTH_MAX, begin);
    }
    if (message == MESSAGE_ENTRY) {
        return entry_scan(scan, begin, end);
    }
    while (begin < end) {
        struct field field = {0};
        int r = field_load(&field, &begin, scan, end);

        for (size_t i = 0; r == 0 && i < sizeof fields / sizeof fields[0]; i++) {
            if (fields[i].in == message && fields[i].number == field.number && field.wire == 2) {
                scan->has_graph = scan->has_graph || fields[i].holds == MESSAGE_GRAPH;
                r = message_scan(scan, fields[i].holds, field.begin, field.end, depth + 1);
            }
        }
        if (r != 0) {
            return r;
        }
    }
    return 0;
}

int amb_onnx_scan(const char *name, const uint8_t *data, size_t bytes, amb_onnx_visit visit, void *opaque,
                  struct amb_error *err) {
    struct scan scan = {.name = name, .data = data, .bytes = bytes, .visit = visit, .opaque = opaque, .err = err};
    int r = message_scan(&scan, MESSAGE_MODEL, 0, bytes, 0);

    return r != 0 ? r : scan.has_graph ? 0 : scan_fail(&scan, bytes, "no graph");
}
