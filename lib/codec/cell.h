#pragma once
/* Cell: the process that decodes for one decoder, and the pictures on their way to it and back. */
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/image.h"
#include "codec/decode.h"

struct amb_cell; /* Thread: worker, one owner */

/* limits->sandbox says how. Only memory is set up: the process starts with the first picture. -EMFILE,
 * -ENOMEM. */
int amb_cell_new(struct amb_cell **out, const struct amb_codec_limits *limits, struct amb_error *err);
struct amb_cell *amb_cell_free(struct amb_cell *cell); /* NULL ok; ends the process; returns NULL */

/* As amb_decoder_decode, _push, _pop and _reset. */
int amb_cell_decode(struct amb_image *out, struct amb_cell *cell, const uint8_t *data, size_t bytes,
                    uint32_t channels, struct amb_error *err);
int amb_cell_push(struct amb_cell *cell, uint64_t ticket, const uint8_t *data, size_t bytes,
                  uint32_t channels);
int amb_cell_pop(struct amb_image *out, struct amb_cell *cell, uint64_t ticket, struct amb_error *err);
void amb_cell_reset(struct amb_cell *cell);
