/*
 * Transform: each crop rule settles two axes (full size after the resize, window kept), then one resize does
 * it.
 *
 * Cropping first (center-crop) and cropping last (the others) differ at the borders: a filter never looks
 * past the edge of what it is given. So the first is a view of the picture, the others are windows of the
 * result.
 */
#include "codec/transform.h"

#include <assert.h>
#include <string.h>

#include "codec/decoder.h"

static const char *const crop_names[AMB_CROP_N] = {
    [AMB_CROP_NONE] = "none",
    [AMB_CROP_CENTER] = "center-crop",
    [AMB_CROP_CENTER_DHARIWAL] = "center-crop-dhariwal",
    [AMB_CROP_SHORTEST] = "shortest+crop",
    [AMB_CROP_SQUASH] = "squash",
};

static const char *const resample_names[AMB_RESAMPLE_N] = {
    [AMB_RESAMPLE_LANCZOS] = "lanczos",
    [AMB_RESAMPLE_BICUBIC] = "bicubic",
    [AMB_RESAMPLE_BOX] = "box",
};

const char *amb_crop_name(enum amb_crop crop) {
    return crop_names[crop];
}

bool amb_crop_parse(enum amb_crop *out, const char *name) {
    for (unsigned i = 0; i < AMB_CROP_N; i++) {
        if (strcmp(name, crop_names[i]) == 0) {
            *out = (enum amb_crop)i;
            return true;
        }
    }
    return false;
}

const char *amb_resample_name(enum amb_resample resample) {
    return resample_names[resample];
}

bool amb_resample_parse(enum amb_resample *out, const char *name) {
    for (unsigned i = 0; i < AMB_RESAMPLE_N; i++) {
        if (strcmp(name, resample_names[i]) == 0) {
            *out = (enum amb_resample)i;
            return true;
        }
    }
    return false;
}

/* What a rule has settled. */
struct plan {
    struct amb_image src;
    struct amb_axis x, y;
    enum amb_resample resample;
};

/* x >= 0, rounded to the nearest whole number, halves to even, as Python's round. */
static uint32_t round_even(double x) {
    uint32_t floor = (uint32_t)x;
    double rest = x - (double)floor;

    return rest > 0.5 || (rest == 0.5 && floor % 2 == 1) ? floor + 1 : floor;
}

static uint32_t at_least(uint32_t a, uint32_t b) {
    return a > b ? a : b;
}

static bool is_wider(const struct amb_image *src, const struct amb_transform *t) {
    return (uint64_t)src->width * t->height > (uint64_t)src->height * t->width;
}

/* round(a b / c), at least 1. */
static uint32_t scale_whole(uint32_t a, uint32_t b, uint32_t c) {
    return at_least((uint32_t)((2 * (uint64_t)a * b + c) / (2 * (uint64_t)c)), 1);
}

static void plan_whole(struct plan *plan, const struct amb_transform *t) {
    plan->x = (struct amb_axis){plan->src.width, t->width, 0, t->width};
    plan->y = (struct amb_axis){plan->src.height, t->height, 0, t->height};
}

static void plan_center(struct plan *plan, const struct amb_transform *t) {
    struct amb_image *src = &plan->src;
    uint32_t width = src->width, height = src->height;

    if (is_wider(src, t)) {
        width = scale_whole(height, t->width, t->height);
    } else {
        height = scale_whole(width, t->height, t->width);
    }
    src->data += (size_t)((src->height - height) / 2) * src->row_bytes +
                 (size_t)((src->width - width) / 2) * src->channels;
    src->width = width;
    src->height = height;
    plan_whole(plan, t);
}

static int plan_dhariwal(struct plan *plan, const struct amb_transform *t, struct amb_decoder *decoder,
                         struct amb_error *err) {
    struct amb_image *src = &plan->src;
    double scale;
    uint32_t width, height;

    while (src->width / 2 >= t->width && src->height / 2 >= t->height) {
        struct amb_image whole = *src;
        int r = amb_resize_halve(src, &decoder->resizer, &whole, err);

        if (r < 0) {
            return r;
        }
    }
    scale = is_wider(src, t) ? (double)t->height / src->height : (double)t->width / src->width;
    width = at_least(round_even(src->width * scale), t->width);
    height = at_least(round_even(src->height * scale), t->height);
    plan->x = (struct amb_axis){src->width, width, (width - t->width) / 2, t->width};
    plan->y = (struct amb_axis){src->height, height, (height - t->height) / 2, t->height};
    plan->resample = AMB_RESAMPLE_BICUBIC;
    return 0;
}

static void plan_shortest(struct plan *plan, const struct amb_transform *t) {
    const struct amb_image *src = &plan->src;
    uint32_t width = t->width, height = t->height;

    if (is_wider(src, t)) {
        width = at_least((uint32_t)((uint64_t)height * src->width / src->height), t->width);
    } else {
        height = at_least((uint32_t)((uint64_t)width * src->height / src->width), t->height);
    }
    plan->x = (struct amb_axis){src->width, width, round_even((width - t->width) / 2.0), t->width};
    plan->y = (struct amb_axis){src->height, height, round_even((height - t->height) / 2.0), t->height};
}

int amb_transform_apply(uint8_t *dst, const struct amb_transform *transform, const struct amb_image *src,
                        struct amb_decoder *decoder, struct amb_error *err) {
    struct plan plan = {.src = *src, .resample = transform->resample};
    int r;

    assert(src->channels == transform->channels && src->dtype == AMB_DTYPE_U8);
    assert(transform->width >= 1 && transform->height >= 1);
    switch (transform->crop) {
    case AMB_CROP_CENTER:
        plan_center(&plan, transform);
        break;
    case AMB_CROP_CENTER_DHARIWAL:
        r = plan_dhariwal(&plan, transform, decoder, err);
        if (r < 0) {
            return r;
        }
        break;
    case AMB_CROP_SHORTEST:
        plan_shortest(&plan, transform);
        break;
    case AMB_CROP_SQUASH:
        plan_whole(&plan, transform);
        break;
    default:
        if (src->width != transform->width || src->height != transform->height) {
            return amb_fail(
                err, AMB_ERR_FORMAT,
                "picture of %u x %u where the dataset wants %u x %u; choose a transform that resizes",
                src->width, src->height, transform->width, transform->height);
        }
        plan_whole(&plan, transform);
    }
    return amb_resize_apply(dst, &decoder->resizer, &plan.src, &plan.x, &plan.y, plan.resample, err);
}
