#pragma once
/* Transform: decoded picture -> u8 planes of the dataset's size. Deterministic: no random crops. */
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/image.h"
#include "codec/decode.h"

/*
 * w, h are the picture's sides, W, H the wanted ones. Where W = H each is, byte for byte, what the tool does.
 *
 *   none                  w = W and h = H, else an error; nothing is resized
 *   center-crop           EDM, StyleGAN (dataset_tool.py): the largest central rectangle of the aspect W : H (the
 *                         central square), its corner rounded down; resize
 *   center-crop-dhariwal  ADM, EDM: halve by the box filter while w >= 2 W and h >= 2 H; resize by bicubic so that
 *                         W x H is just covered, sides rounded half to even; cut the centre, its corner rounded down
 *   shortest+crop         torchvision's Resize, CenterCrop: resize so that W x H is just covered, the longer side
 *                         rounded down; cut the centre, its corner rounded half to even
 *   squash                resize to W x H
 *
 * What a config leaves open is the daemon's affair. The tools' own filters: center-crop lanczos, dhariwal box and
 * bicubic (fixed: `resample` is not looked at), shortest+crop bicubic, squash lanczos.
 */
enum amb_crop {
    AMB_CROP_NONE,
    AMB_CROP_CENTER,
    AMB_CROP_CENTER_DHARIWAL,
    AMB_CROP_SHORTEST,
    AMB_CROP_SQUASH,
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
