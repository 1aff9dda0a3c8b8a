#pragma once
/* Transform: decoded picture -> u8 planes of the dataset's size. Deterministic: no random crops. */
#include <stdint.h>

#include "base/error.h"
#include "base/image.h"
#include "codec/decode.h"

enum amb_crop {
    AMB_CROP_NONE,                 /* the size must fit already: else AMB_ERR_FORMAT                         */
    AMB_CROP_CENTER,               /* EDM center-crop: central square of the short side, then resize         */
    AMB_CROP_CENTER_DHARIWAL,      /* EDM center-crop-dhariwal: box halvings, bicubic, central crop          */
    AMB_CROP_SHORTEST,             /* shortest+crop: resize the short side, then central crop                */
    AMB_CROP_SQUASH,               /* resize, aspect ignored                                                 */
    AMB_CROP_N,
};

enum amb_resample {
    AMB_RESAMPLE_LANCZOS,
    AMB_RESAMPLE_BICUBIC,
    AMB_RESAMPLE_BOX,
    AMB_RESAMPLE_N,
};

struct amb_transform {
    enum amb_crop crop;
    enum amb_resample resample;
    uint32_t width, height, channels; /* of the output */
};

const char *amb_crop_name(enum amb_crop crop);             /* "none", "center-crop", ... as the config says */
bool amb_crop_parse(enum amb_crop *out, const char *name);
const char *amb_resample_name(enum amb_resample resample);
bool amb_resample_parse(enum amb_resample *out, const char *name);

/**
 * Resize and crop as Pillow does (8-bit fixed point, two passes), within 1/255 on average.
 *
 * dst:     channels x height x width u8, contiguous planes.
 * src:     of src->channels == transform->channels; may be the decoder's own picture.
 * decoder: lends its buffers for taps and rows.
 * Errors:  AMB_ERR_FORMAT the size does not fit (crop none); -ENOMEM.
 * Thread:  worker.
 */
int amb_transform_apply(uint8_t *dst, const struct amb_transform *transform, const struct amb_image *src,
                        struct amb_decoder *decoder, struct amb_error *err);
