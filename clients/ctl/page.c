/*
 * Page: cairo draws, in one plain style: black on white, one accent, hair lines for axes, no frame.
 */
#include "clients/ctl/page.h"

#include <cairo.h>
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define FONT      "DejaVu Sans"
#define SCALE     2.0 /* pixels a unit: sharp in print */
#define ACCENT    0.80, 0.20, 0.10
#define BLUE      0.13, 0.34, 0.62
#define TILE      88.0
#define TILE_GAP  10.0
#define CURVE_REACH 0.3 /* of log sigma: single answers vary by 0.2, a line through fewer would follow them */

static void text_at(cairo_t *cr, double x, double y, double size, double align, const char *text) {
    cairo_text_extents_t extents;

    cairo_set_font_size(cr, size);
    cairo_text_extents(cr, text, &extents);
    cairo_move_to(cr, x - align * extents.x_advance, y);
    cairo_show_text(cr, text);
}

static cairo_t *page_begin(cairo_surface_t **surface, double width, double height) {
    cairo_t *cr;

    *surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, (int)(width * SCALE), (int)(height * SCALE));
    cr = cairo_create(*surface);
    cairo_scale(cr, SCALE, SCALE);
    cairo_set_source_rgb(cr, 1, 1, 1);
    cairo_paint(cr);
    cairo_set_source_rgb(cr, 0, 0, 0);
    cairo_select_font_face(cr, FONT, CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_NORMAL);
    return cr;
}

static int page_end(cairo_t *cr, cairo_surface_t *surface, const char *path, struct amb_error *err) {
    cairo_status_t status = cairo_status(cr);
    int r = 0;

    cairo_destroy(cr);
    errno = 0; /* drawing leaves one behind, of fonts that it looked for */
    if (status == CAIRO_STATUS_SUCCESS) {
        status = cairo_surface_write_to_png(surface, path);
    }
    if (status != CAIRO_STATUS_SUCCESS) {
        r = amb_fail(err, errno != 0 ? -errno : -EIO, "cannot write %s: %s", path,
                     errno != 0 ? strerror(errno) : cairo_status_to_string(status));
    }
    cairo_surface_destroy(surface);
    return r;
}

/* Enlarged pixel by pixel, never smoothed: flaws are what one wants to see. */
static void image_at(cairo_t *cr, const struct page_image *image, double x, double y, double side) {
    cairo_surface_t *surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, (int)image->width, (int)image->height);
    const size_t plane = (size_t)image->width * image->height;
    uint8_t *pixels = cairo_image_surface_get_data(surface);
    double scale = side / fmax(image->width, image->height);

    if (cairo_surface_status(surface) != CAIRO_STATUS_SUCCESS) {
        cairo_surface_destroy(surface);
        return;
    }
    for (uint32_t i = 0; i < image->height; i++) {
        for (uint32_t j = 0; j < image->width; j++) {
            uint32_t word = 0;

            for (uint32_t c = 0; c < 3; c++) {
                word = word << 8 | image->data[(image->channels >= 3 ? c : 0) * plane + (size_t)i * image->width + j];
            }
            memcpy(pixels + (size_t)i * (size_t)cairo_image_surface_get_stride(surface) + 4 * (size_t)j, &word, sizeof word);
        }
    }
    cairo_surface_mark_dirty(surface);
    cairo_save(cr);
    cairo_translate(cr, x, y);
    cairo_scale(cr, scale, scale);
    cairo_set_source_surface(cr, surface, 0, 0);
    cairo_pattern_set_filter(cairo_get_source(cr), scale >= 1 ? CAIRO_FILTER_NEAREST : CAIRO_FILTER_GOOD);
    cairo_paint(cr);
    cairo_restore(cr);
    cairo_surface_destroy(surface);
    cairo_set_source_rgb(cr, 0, 0, 0);
}

/* The curve */

struct axes {
    double left, top, width, height, lo, hi; /* log sigma */
};

static double axes_x(const struct axes *axes, double sigma) {
    double at = (log(sigma) - axes->lo) / (axes->hi - axes->lo);

    return axes->left + axes->width * (at < 0 ? 0 : at > 1 ? 1 : at);
}

static double axes_y(const struct axes *axes, double p) {
    return axes->top + axes->height * (1 - p);
}

static void axes_draw(cairo_t *cr, const struct axes *axes) {
    static const double steps[] = {1, 2, 5};
    double last = -1e9;
    char text[32];

    cairo_set_line_width(cr, 0.6);
    cairo_set_source_rgb(cr, 0, 0, 0);
    cairo_move_to(cr, axes->left, axes->top);
    cairo_line_to(cr, axes->left, axes->top + axes->height);
    cairo_line_to(cr, axes->left + axes->width, axes->top + axes->height);
    cairo_stroke(cr);
    for (int i = 0; i <= 4; i++) {
        double y = axes_y(axes, i / 4.0);

        cairo_move_to(cr, axes->left - 4, y);
        cairo_line_to(cr, axes->left, y);
        cairo_stroke(cr);
        snprintf(text, sizeof text, "%.2f", i / 4.0);
        text_at(cr, axes->left - 8, y + 3.5, 10, 1, text);
    }
    for (int decade = -5; decade <= 4; decade++) {
        for (int k = 0; k < 3; k++) {
            double sigma = steps[k] * pow(10, decade), x = axes_x(axes, sigma);

            if (log(sigma) < axes->lo - 1e-9 || log(sigma) > axes->hi + 1e-9) {
                continue;
            }
            cairo_move_to(cr, x, axes->top + axes->height);
            cairo_line_to(cr, x, axes->top + axes->height + (k == 0 ? 5 : 3));
            cairo_stroke(cr);
            if (x - last > 34) {
                snprintf(text, sizeof text, "%g", sigma);
                text_at(cr, x, axes->top + axes->height + 17, 10, 0.5, text);
                last = x;
            }
        }
    }
    text_at(cr, axes->left + axes->width / 2, axes->top + axes->height + 36, 11, 0.5, "noise level σ");
    cairo_save(cr);
    cairo_translate(cr, axes->left - 44, axes->top + axes->height / 2);
    cairo_rotate(cr, -M_PI / 2);
    text_at(cr, 0, 0, 11, 0.5, "P(low quality)");
    cairo_restore(cr);
}

/* Mean over the nearest points, weighed by a kernel as wide as they reach: few points or many, no gaps. */
static double curve_mean(const struct page_curve *curve, double z) {
    const size_t wanted = curve->n / 10 > 6 ? curve->n / 10 : 6;
    double sum = 0, weights = 0, reach;
    size_t lo = 0, hi;

    while (lo < curve->n && log(curve->sigmas[lo]) < z) {
        lo++;
    }
    for (hi = lo; hi - lo < wanted && (lo > 0 || hi < curve->n);) { /* grow towards the nearer neighbour */
        bool left = hi == curve->n || (lo > 0 && z - log(curve->sigmas[lo - 1]) < log(curve->sigmas[hi]) - z);

        lo -= left;
        hi += !left;
    }
    reach = fmax(fmax(z - log(curve->sigmas[lo]), log(curve->sigmas[hi - 1]) - z) * 1.05, CURVE_REACH);
    for (; lo > 0 && z - log(curve->sigmas[lo - 1]) < reach; lo--) {
    }
    for (; hi < curve->n && log(curve->sigmas[hi]) - z < reach; hi++) {
    }
    for (size_t i = lo; i < hi; i++) {
        double d = (log(curve->sigmas[i]) - z) / reach, w = (1 - d * d) * (1 - d * d);

        sum += w * curve->p[i];
        weights += w;
    }
    return sum / weights;
}

static void curve_line(cairo_t *cr, const struct axes *axes, const struct page_curve *curve) {
    const double lo = fmax(axes->lo, log(curve->sigmas[0])), hi = fmin(axes->hi, log(curve->sigmas[curve->n - 1]));

    cairo_set_source_rgb(cr, BLUE);
    cairo_set_line_width(cr, 1.8);
    for (int i = 0; i <= 240; i++) {
        double z = lo + (hi - lo) * i / 240;

        cairo_line_to(cr, axes_x(axes, exp(z)), axes_y(axes, curve_mean(curve, z)));
    }
    cairo_stroke(cr);
}

static void curve_points(cairo_t *cr, const struct axes *axes, const struct page_curve *curve) {
    cairo_set_source_rgba(cr, 0.13, 0.34, 0.62, curve->n > 1000 ? 0.25 : 0.45);
    for (size_t i = 0; i < curve->n; i++) {
        cairo_arc(cr, axes_x(axes, curve->sigmas[i]), axes_y(axes, curve->p[i]), curve->n > 1000 ? 1.0 : 1.9, 0, 2 * M_PI);
        cairo_fill(cr);
    }
}

static void curve_marks(cairo_t *cr, const struct axes *axes, const struct page_curve *curve) {
    static const double dashes[] = {4, 3};
    double x = axes_x(axes, curve->sigma_min), y = axes_y(axes, curve->threshold);
    bool right = x > axes->left + 0.72 * axes->width;
    char text[64];

    if (curve->hi > 0 && isfinite(curve->lo)) {
        cairo_set_source_rgba(cr, ACCENT, 0.12);
        cairo_rectangle(cr, axes_x(axes, curve->lo), axes->top, axes_x(axes, curve->hi) - axes_x(axes, curve->lo), axes->height);
        cairo_fill(cr);
    }
    cairo_set_line_width(cr, 0.9);
    cairo_set_source_rgb(cr, 0.35, 0.35, 0.35);
    cairo_set_dash(cr, dashes, 2, 0);
    cairo_move_to(cr, axes->left, y);
    cairo_line_to(cr, axes->left + axes->width, y);
    cairo_stroke(cr);
    cairo_set_dash(cr, NULL, 0, 0);
    snprintf(text, sizeof text, "threshold %.2f", curve->threshold);
    text_at(cr, axes->left + 6, y - 4, 9, 0, text);
    if (!isfinite(curve->sigma_min) || curve->sigma_min <= 0) {
        return;
    }
    cairo_set_source_rgb(cr, ACCENT);
    cairo_set_line_width(cr, 1.2);
    cairo_move_to(cr, x, axes->top);
    cairo_line_to(cr, x, axes->top + axes->height);
    cairo_stroke(cr);
    snprintf(text, sizeof text, "σ_min = %.3g", curve->sigma_min);
    text_at(cr, x + (right ? -6 : 6), axes->top + 10, 11, right ? 1 : 0, text);
    if (curve->hi > 0 && isfinite(curve->lo)) {
        snprintf(text, sizeof text, "[%.3g, %.3g]", curve->lo, curve->hi);
        text_at(cr, x + (right ? -6 : 6), axes->top + 24, 9, right ? 1 : 0, text);
    }
}

int page_store_curve(const char *path, const struct page_curve *curve, struct amb_error *err) {
    const double width = 640, height = 400;
    struct axes axes = {.left = 70, .top = 66, .width = width - 70 - 24, .height = height - 66 - 56};
    cairo_surface_t *surface;
    cairo_t *cr = page_begin(&surface, width, height);

    axes.lo = log(curve->sigmas[curve->n > 64 ? 1 : 0]) - 0.1; /* the outermost point of a random grid lies far out */
    axes.hi = log(curve->sigmas[curve->n - 1]) + 0.1;
    text_at(cr, 24, 28, 14, 0, curve->title);
    cairo_set_source_rgb(cr, 0.35, 0.35, 0.35);
    text_at(cr, 24, 46, 10, 0, curve->subtitle);
    curve_marks(cr, &axes, curve);
    curve_points(cr, &axes, curve);
    curve_line(cr, &axes, curve);
    axes_draw(cr, &axes);
    if (curve->image.data != NULL) {
        image_at(cr, &curve->image, width - 24 - 56, 6, 56);
    }
    return page_end(cr, surface, path, err);
}

/* The grid */

static void text_fit(cairo_t *cr, double x, double y, double size, double room, const char *text) {
    char cut[72];
    size_t n = strlen(text);
    cairo_text_extents_t extents;

    snprintf(cut, sizeof cut, "%s", text);
    cairo_set_font_size(cr, size);
    for (cairo_text_extents(cr, cut, &extents); extents.x_advance > room && n > 1; cairo_text_extents(cr, cut, &extents)) {
        n--;
        while (n > 1 && ((unsigned char)text[n] & 0xC0) == 0x80) {
            n--; /* not inside a UTF-8 character */
        }
        snprintf(cut, sizeof cut, "%.*s…", (int)n, text);
    }
    cairo_move_to(cr, x, y);
    cairo_show_text(cr, cut);
}

int page_store_grid(const char *path, const struct page_grid *grid, struct amb_error *err) {
    const double left = 136, top = 72, row_high = TILE + 34;
    const double width = left + grid->n_columns * (TILE + TILE_GAP) + 14, height = top + grid->n_rows * row_high + 10;
    cairo_surface_t *surface;
    cairo_t *cr = page_begin(&surface, width, height);

    text_at(cr, 24, 28, 14, 0, grid->title);
    cairo_set_source_rgb(cr, 0.35, 0.35, 0.35);
    text_at(cr, 24, 46, 10, 0, grid->subtitle);
    for (uint32_t i = 0; i < grid->n_rows; i++) {
        double y = top + i * row_high;

        cairo_set_source_rgb(cr, 0, 0, 0);
        text_at(cr, 24, y + TILE / 2 - 2, 12, 0, grid->headings[i][0]);
        cairo_set_source_rgb(cr, 0.35, 0.35, 0.35);
        text_at(cr, 24, y + TILE / 2 + 12, 10, 0, grid->headings[i][1]);
        for (uint32_t j = 0; j < grid->n_columns; j++) {
            const struct page_cell *cell = &grid->cells[i * grid->n_columns + j];
            double x = left + j * (TILE + TILE_GAP);

            if (cell->image.data == NULL) {
                continue;
            }
            image_at(cr, &cell->image, x, y, TILE);
            text_at(cr, x, y + TILE + 13, 11, 0, cell->caption);
            cairo_set_source_rgb(cr, 0.45, 0.45, 0.45);
            text_fit(cr, x, y + TILE + 25, 8, TILE, cell->key);
            cairo_set_source_rgb(cr, 0, 0, 0);
        }
    }
    return page_end(cr, surface, path, err);
}
