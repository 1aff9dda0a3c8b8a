/*
 * Resize: x first, rounded to u8, then y, as Pillow does; a pass that changes nothing is left out.
 *
 * Pillow 13 turns the passes where the height shrinks much more than the width, which costs a little
 * rounding: 0.3/255 on average, on such pictures only. We keep the order of 3.3 to 12, in which the published
 * data sets were made.
 *
 * The pass along x runs only over the rows that the window's outputs use, the pass along y straight into the
 * planes.
 */
#include "codec/resize.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/* Rows that both passes read or write: interleaved, at a stride. */
struct rows {
    const uint8_t *data;
    size_t row_bytes;
};

/* Where finished rows go: planes, or interleaved rows where plane_bytes is 0. */
struct target {
    uint8_t *data;
    size_t plane_bytes, row_bytes;
};

void amb_resizer_init(struct amb_resizer *resizer) {
    *resizer = (struct amb_resizer){.kernels = amb_kernels_get()};
}

void amb_resizer_deinit(struct amb_resizer *resizer) {
    amb_taps_cache_deinit(&resizer->taps);
    amb_buf_deinit(&resizer->narrow);
    amb_buf_deinit(&resizer->edge);
    amb_buf_deinit(&resizer->row);
    amb_buf_deinit(&resizer->halves[0]);
    amb_buf_deinit(&resizer->halves[1]);
}

static bool axis_rests(const struct amb_axis *axis) {
    return axis->in_size == axis->out_size;
}

static int resizer_fail(struct amb_error *err, size_t bytes) {
    return amb_fail(err, -ENOMEM, "no memory for %zu bytes of a resize", bytes);
}

/* Copy the last row to where reading past its end is harmless. */
static int resizer_pad_edge(const uint8_t **out, struct amb_resizer *resizer, const uint8_t *row,
                            size_t row_bytes, struct amb_error *err) {
    if (amb_buf_reserve(&resizer->edge, row_bytes + AMB_KERNELS_PAD) < 0) {
        return resizer_fail(err, row_bytes);
    }
    memcpy(resizer->edge.data, row, row_bytes);
    *out = resizer->edge.data;
    return 0;
}

/* The pass along x over n_rows rows from first_row. */
static int resize_across(struct rows *out, struct amb_resizer *resizer, const struct amb_image *src,
                         const struct amb_taps *taps, uint32_t first_row, uint32_t n_rows,
                         struct amb_error *err) {
    size_t row_bytes = (size_t)taps->axis.n * src->channels;
    size_t stride = (row_bytes + AMB_KERNELS_PAD + 63) & ~(size_t)63;
    const struct amb_kernels *kernels = taps->inside ? resizer->kernels : &amb_kernels_scalar;
    const uint8_t *edge = NULL;
    int r;

    if (amb_buf_reserve(&resizer->narrow, stride * n_rows) < 0) {
        return resizer_fail(err, stride * n_rows);
    }
    r = resizer_pad_edge(&edge, resizer, src->data + (size_t)(src->height - 1) * src->row_bytes,
                         (size_t)src->width * src->channels, err);
    if (r < 0) {
        return r;
    }
    for (uint32_t y = 0; y < n_rows; y += AMB_KERNELS_ROWS) {
        const uint8_t *from[AMB_KERNELS_ROWS];
        uint8_t *to[AMB_KERNELS_ROWS];

        for (uint32_t i = 0; i < AMB_KERNELS_ROWS; i++) {
            uint32_t i_row =
                y + i < n_rows ? y + i : n_rows - 1; /* the last one again: same bytes, same place */

            from[i] = first_row + i_row + 1 == src->height ? edge
                                                           : src->data + (first_row + i_row) * src->row_bytes;
            to[i] = resizer->narrow.data + i_row * stride;
        }
        kernels->across(to, from, taps, src->channels);
    }
    *out = (struct rows){resizer->narrow.data, stride};
    return 0;
}

static void target_put(const struct target *target, const struct amb_kernels *kernels, uint32_t y,
                       const uint8_t *row, uint32_t n, uint32_t channels) {
    if (target->plane_bytes == 0) {
        memcpy(target->data + y * target->row_bytes, row, (size_t)n * channels);
    } else if (channels == 3) {
        kernels->split(target->data + y * target->row_bytes, target->plane_bytes, row, n);
    } else {
        assert(channels == 1);
        memcpy(target->data + y * target->row_bytes, row, n);
    }
}

static int resize_to(const struct target *target, struct amb_resizer *resizer, const struct amb_image *src,
                     const struct amb_axis *x, const struct amb_axis *y, enum amb_resample resample,
                     struct amb_error *err) {
    const struct amb_taps *taps_x = NULL, *taps_y = NULL;
    uint32_t first_row = y->first, n_rows = y->n;
    size_t row_bytes = (size_t)x->n * src->channels;
    struct rows rows;
    int r;

    assert(x->in_size == src->width && y->in_size == src->height && src->dtype == AMB_DTYPE_U8);
    if (!axis_rests(y)) {
        r = amb_taps_get(&taps_y, &resizer->taps, y, resample, err);
        if (r < 0) {
            return r;
        }
        /* At the bottom edge a window may begin earlier than Pillow's, with zero weights: starts still rise.
         */
        first_row = taps_y->starts[0];
        n_rows = taps_y->starts[y->n - 1] + taps_y->counts[y->n - 1] - first_row;
    }
    rows = (struct rows){src->data + (size_t)first_row * src->row_bytes + (size_t)x->first * src->channels,
                         src->row_bytes};
    if (!axis_rests(x)) {
        r = amb_taps_get(&taps_x, &resizer->taps, x, resample, err);
        if (r < 0) {
            return r;
        }
        r = resize_across(&rows, resizer, src, taps_x, first_row, n_rows, err);
        if (r < 0) {
            return r;
        }
    }
    if (amb_buf_reserve(&resizer->row, row_bytes) < 0) {
        return resizer_fail(err, row_bytes);
    }
    for (uint32_t i = 0; i < y->n; i++) {
        const uint8_t *row = rows.data + i * rows.row_bytes;

        if (taps_y != NULL) {
            row = rows.data + (taps_y->starts[i] - first_row) * rows.row_bytes;
            resizer->kernels->down(resizer->row.data, row, rows.row_bytes, taps_y, i, row_bytes);
            row = resizer->row.data;
        }
        target_put(target, resizer->kernels, i, row, x->n, src->channels);
    }
    return 0;
}

int amb_resize_apply(uint8_t *dst, struct amb_resizer *resizer, const struct amb_image *src,
                     const struct amb_axis *x, const struct amb_axis *y, enum amb_resample resample,
                     struct amb_error *err) {
    struct target target = {.data = dst, .plane_bytes = (size_t)x->n * y->n, .row_bytes = x->n};

    return resize_to(&target, resizer, src, x, y, resample, err);
}

int amb_resize_halve(struct amb_image *out, struct amb_resizer *resizer, const struct amb_image *src,
                     struct amb_error *err) {
    /* the one that src does not lie in */
    struct amb_buf *half = &resizer->halves[src->data == resizer->halves[0].data ? 1 : 0];
    struct amb_axis x = {src->width, src->width / 2, 0, src->width / 2};
    struct amb_axis y = {src->height, src->height / 2, 0, src->height / 2};
    size_t row_bytes = (size_t)x.n * src->channels;
    struct target target;

    assert(src->width >= 2 && src->height >= 2);
    if (amb_buf_reserve(half, row_bytes * y.n) < 0) {
        return resizer_fail(err, row_bytes * y.n);
    }
    *out = (struct amb_image){half->data, x.n, y.n, src->channels, row_bytes, AMB_DTYPE_U8};
    if (src->width % 2 != 0 || src->height % 2 != 0) {
        target = (struct target){.data = half->data, .row_bytes = row_bytes};
        return resize_to(&target, resizer, src, &x, &y, AMB_RESAMPLE_BOX, err);
    }
    for (uint32_t i = 0; i < y.n; i++) {
        const uint8_t *upper = src->data + 2 * (size_t)i * src->row_bytes;

        resizer->kernels->halve(half->data + i * row_bytes, upper, upper + src->row_bytes, x.n,
                                src->channels);
    }
    return 0;
}
