#pragma once
/* Onnx scan: which files beside it an ONNX model reads, found before anybody else parses it. */
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Called for each `location` of external data, as it stands: not terminated, maybe many times the same. A result
 * that is not 0 ends the scan and is returned. */
typedef int (*amb_onnx_visit)(void *opaque, const char *location, size_t bytes, struct amb_error *err);

/**
 * Walk the protobuf messages of a model as far as tensors can lie in them.
 *
 * name:   of the model, for errors.
 * Errors: AMB_ERR_FORMAT not a model (no graph in it), cut off, or malformed, with the byte; AMB_ERR_LIMIT nested
 *         deeper than 64.
 * Thread: any.
 */
int amb_onnx_scan(const char *name, const uint8_t *data, size_t bytes, amb_onnx_visit visit, void *opaque,
                  struct amb_error *err);
