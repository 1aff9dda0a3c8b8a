/*
 * Subjects: a sample is read as a stream reads it, then brought to the model's size; nothing is cached.
 */
#include "daemon/subjects.h"

#include <errno.h>
#include <string.h>

#include "batch/load.h"

int ambd_subjects_init(struct ambd_subjects *subjects, const struct amb_dataset *dataset,
                       const struct amb_codec_limits *limits, enum amb_resample resample, struct amb_error *err) {
    subjects->dataset = dataset;
    subjects->resample = resample;
    subjects->height = dataset->shape.height;
    subjects->width = dataset->shape.width;
    return amb_filler_init(&subjects->filler, limits, err);
}

void ambd_subjects_deinit(struct ambd_subjects *subjects) {
    amb_filler_deinit(&subjects->filler);
    amb_buf_deinit(&subjects->planes);
    amb_buf_deinit(&subjects->picture);
    amb_buf_deinit(&subjects->x);
    amb_buf_deinit(&subjects->label);
}

/* Planes to the model's own size. */
static int subject_resize(const uint8_t **out, struct ambd_subjects *subjects, const uint8_t *planes, struct amb_error *err) {
    const struct amb_shape *shape = &subjects->dataset->shape;
    const size_t n = (size_t)shape->height * shape->width, c = shape->channels;
    struct amb_transform transform = {AMB_CROP_SQUASH, subjects->resample, subjects->width,
                                      subjects->height, shape->channels};
    struct amb_image image;
    int r;

    if (amb_buf_reserve(&subjects->picture, n * c) < 0 ||
        amb_buf_reserve(&subjects->planes, (size_t)subjects->width * subjects->height * c) < 0) {
        return amb_fail(err, -ENOMEM, "no memory to resize a sample");
    }
    for (size_t k = 0; k < c; k++) {
        for (size_t i = 0; i < n; i++) {
            subjects->picture.data[i * c + k] = planes[k * n + i];
        }
    }
    image = (struct amb_image){subjects->picture.data, shape->width, shape->height, shape->channels,
                               (size_t)shape->width * c, AMB_DTYPE_U8};
    r = amb_transform_apply(subjects->planes.data, &transform, &image, subjects->filler.decoder, err);
    *out = subjects->planes.data;
    return r;
}

/* A latent as the trainer sees its mean. */
static int subject_load_latent(const float **out, struct ambd_subjects *subjects, const uint8_t *stored, struct amb_error *err) {
    const struct amb_dataset *dataset = subjects->dataset;
    const size_t n = (size_t)dataset->shape.height * dataset->shape.width;
    float *x;

    if (amb_buf_reserve(&subjects->x, n * dataset->shape.channels * sizeof *x) < 0) {
        return amb_fail(err, -ENOMEM, "no memory for a latent");
    }
    x = (float *)(void *)subjects->x.data;
    for (uint32_t c = 0; c < dataset->shape.channels; c++) {
        for (size_t i = 0; i < n; i++) {
            float mean;

            memcpy(&mean, stored + (c * n + i) * sizeof mean, sizeof mean);
            x[c * n + i] = mean * dataset->latent_scale[c] + dataset->latent_shift[c];
        }
    }
    *out = x;
    return 0;
}

/* Left as it is where labels are integers, or there are none. */
static int subject_load_label(const float **out, struct ambd_subjects *subjects, uint32_t i_sample, struct amb_error *err) {
    const struct amb_dataset *dataset = subjects->dataset;
    const uint32_t width = dataset->shape.label_width;
    float *label;

    if (width == 0) {
        return 0;
    }
    if (amb_buf_reserve(&subjects->label, width * sizeof *label) < 0) {
        return amb_fail(err, -ENOMEM, "no memory for a label of %u numbers", width);
    }
    label = (float *)(void *)subjects->label.data;
    amb_catalog_get_label(label, dataset->catalog, i_sample);
    *out = label;
    return 0;
}

int ambd_subjects_load(struct amb_subject *out, struct ambd_subjects *subjects, uint32_t i_sample, struct amb_error *err) {
    const struct amb_dataset *dataset = subjects->dataset;
    const uint8_t *stored;
    struct amb_sample_info info;
    int r;

    amb_catalog_get(&info, dataset->catalog, i_sample);
    *out = (struct amb_subject){.i_sample = i_sample,
                                .uid = amb_catalog_uid(dataset->catalog, i_sample),
                                .label = info.label};
    r = subject_load_label(&out->label_vector, subjects, i_sample, err);
    r = r < 0 ? r : amb_fill_load(&stored, &subjects->filler, dataset, i_sample, err);
    if (r < 0) {
        return r;
    }
    if (dataset->shape.latent) {
        return subject_load_latent(&out->x, subjects, stored, err);
    }
    out->u8 = stored;
    return subjects->height == dataset->shape.height && subjects->width == dataset->shape.width
               ? 0
               : subject_resize(&out->u8, subjects, stored, err);
}
