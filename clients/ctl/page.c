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
#define CURVE_LEAST 4u  /* points of each mean where they lie farther apart */
#define TICK_ROOM   34.0

static void text_at(cairo_t *cr, double x, double y, double size, double align, const char *text) {
    cairo_text_extents_t extents;

    cairo_set_font_size(cr, size);
    cairo_text_extents(cr, text, &extents);
    cairo_move_to(cr, x - align * extents.x_advance, y);
    cairo_show_text(cr, text);
}

/* Cut to the room there is, with an ellipsis. */
static void text_fit(cairo_t *cr, double x, double y, double size, double room, const char *text) {
    char cut[200];
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

static void axes_draw_p(cairo_t *cr, const struct axes *axes) {
    char text[32];

    for (int i = 0; i <= 4; i++) {
        double y = axes_y(axes, i / 4.0);

        cairo_move_to(cr, axes->left - 4, y);
        cairo_line_to(cr, axes->left, y);
        cairo_stroke(cr);
        snprintf(text, sizeof text, "%.2f", i / 4.0);
        text_at(cr, axes->left - 8, y + 3.5, 10, 1, text);
    }
}

static void axes_draw_tick(cairo_t *cr, const struct axes *axes, double sigma, double length) {
    double x = axes_x(axes, sigma), y = axes->top + axes->height;
    char text[32];

    cairo_move_to(cr, x, y);
    cairo_line_to(cr, x, y + length);
    cairo_stroke(cr);
    if (length > 3) {
        snprintf(text, sizeof text, "%.3g", sigma);
        text_at(cr, x, y + 17, 10, 0.5, text);
    }
}

/* Ticks at 1 to 9 of each decade, figures at 1, 2 and 5 where there is room; a short axis has more, or its ends. */
static void axes_draw_sigma(cairo_t *cr, const struct axes *axes) {
    const bool is_short = axes->hi - axes->lo < M_LN10;
    double last = -1e9;
    unsigned n_figures = 0;

    for (int decade = (int)floor(axes->lo / M_LN10); decade <= axes->hi / M_LN10; decade++) {
        for (int k = 1; k <= 9; k++) {
            double sigma = k * pow(10, decade), x = axes_x(axes, sigma);
            bool figure = (is_short || k == 1 || k == 2 || k == 5) && x - last > TICK_ROOM;

            if (log(sigma) < axes->lo || log(sigma) > axes->hi) {
                continue;
            }
            axes_draw_tick(cr, axes, sigma, figure ? 5 : 3);
            last = figure ? x : last;
            n_figures += figure;
        }
    }
    if (n_figures < 2) {
        axes_draw_tick(cr, axes, exp(axes->lo), 5);
        axes_draw_tick(cr, axes, exp(axes->hi), 5);
    }
}

static void axes_draw(cairo_t *cr, const struct axes *axes) {
    cairo_set_line_width(cr, 0.6);
    cairo_set_source_rgb(cr, 0, 0, 0);
    cairo_move_to(cr, axes->left, axes->top);
    cairo_line_to(cr, axes->left, axes->top + axes->height);
    cairo_line_to(cr, axes->left + axes->width, axes->top + axes->height);
    cairo_stroke(cr);
    axes_draw_p(cr, axes);
    axes_draw_sigma(cr, axes);
    text_at(cr, axes->left + axes->width / 2, axes->top + axes->height + 36, 11, 0.5, "noise level σ");
    cairo_save(cr);
    cairo_translate(cr, axes->left - 44, axes->top + axes->height / 2);
    cairo_rotate(cr, -M_PI / 2);
    text_at(cr, 0, 0, 11, 0.5, "P(low quality)");
    cairo_restore(cr);
}

/* Mean over the nearest points, weighed by a kernel as wide as they reach: few points or many, no gaps. */
static double curve_mean(const struct page_curve *curve, double z) {
    double sum = 0, weights = 0, reach;
    size_t lo = 0, hi;

    while (lo < curve->n && log(curve->sigmas[lo]) < z) {
        lo++;
    }
    for (hi = lo; hi - lo < CURVE_LEAST && (lo > 0 || hi < curve->n);) { /* grow towards the nearer neighbour */
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

static void curve_interval(cairo_t *cr, const struct axes *axes, const struct page_curve *curve) {
    cairo_set_source_rgba(cr, ACCENT, 0.12);
    cairo_rectangle(cr, axes_x(axes, curve->lo), axes->top, axes_x(axes, curve->hi) - axes_x(axes, curve->lo), axes->height);
    cairo_fill(cr);
}

static void curve_threshold(cairo_t *cr, const struct axes *axes, double threshold) {
    static const double dashes[] = {4, 3};
    double y = axes_y(axes, threshold);

    cairo_set_line_width(cr, 0.9);
    cairo_set_source_rgb(cr, 0.35, 0.35, 0.35);
    cairo_set_dash(cr, dashes, 2, 0);
    cairo_move_to(cr, axes->left, y);
    cairo_line_to(cr, axes->left + axes->width, y);
    cairo_stroke(cr);
    cairo_set_dash(cr, NULL, 0, 0);
}

/* The figure stands above the axes, where no point can lie below it. */
static void curve_sigma_min(cairo_t *cr, const struct axes *axes, const struct page_curve *curve, bool has_interval) {
    double x = axes_x(axes, curve->sigma_min), right = axes->left + axes->width;
    char text[96];
    cairo_text_extents_t extents;
    int n = snprintf(text, sizeof text, "σₘᵢₙ = %.3g", curve->sigma_min);

    if (has_interval) {
        snprintf(text + n, sizeof text - (size_t)n, "  in [%.3g, %.3g]", curve->lo, curve->hi);
    }
    cairo_set_source_rgb(cr, ACCENT);
    cairo_set_line_width(cr, 1.2);
    cairo_move_to(cr, x, axes->top - 4);
    cairo_line_to(cr, x, axes->top + axes->height);
    cairo_stroke(cr);
    cairo_set_font_size(cr, 10);
    cairo_text_extents(cr, text, &extents);
    text_at(cr, fmin(fmax(x, axes->left + extents.x_advance / 2), right - extents.x_advance / 2), axes->top - 8, 10, 0.5, text);
}

/* A word of the legend behind its sign, which is 18 wide; where the next begins. */
static double legend_text(cairo_t *cr, double x, double y, const char *text) {
    cairo_text_extents_t extents;

    cairo_set_source_rgb(cr, 0.35, 0.35, 0.35);
    text_at(cr, x + 23, y, 9, 0, text);
    cairo_text_extents(cr, text, &extents);
    return x + 23 + extents.x_advance + 16;
}

static void curve_legend(cairo_t *cr, const struct page_curve *curve, double x, double y, bool has_interval) {
    struct axes dashes = {.top = y - 8, .width = 18, .height = 9};
    char text[32];

    snprintf(text, sizeof text, "threshold %.3g", curve->threshold);
    cairo_set_source_rgb(cr, BLUE);
    cairo_arc(cr, x + 9, y - 3.5, 1.9, 0, 2 * M_PI);
    cairo_fill(cr);
    x = legend_text(cr, x, y, "answers of the classifier");
    cairo_set_source_rgb(cr, BLUE);
    cairo_set_line_width(cr, 1.8);
    cairo_move_to(cr, x, y - 3.5);
    cairo_line_to(cr, x + 18, y - 3.5);
    cairo_stroke(cr);
    x = legend_text(cr, x, y, "their local mean");
    dashes.left = x;
    curve_threshold(cr, &dashes, 0.5);
    x = legend_text(cr, x, y, text);
    if (has_interval) {
        cairo_set_source_rgba(cr, ACCENT, 0.2);
        cairo_rectangle(cr, x, y - 8, 18, 9);
        cairo_fill(cr);
        legend_text(cr, x, y, "interval of σₘᵢₙ");
    }
}

int page_store_curve(const char *path, const struct page_curve *curve, struct amb_error *err) {
    const double width = 640, height = 430, room = width - 48 - (curve->image.data != NULL ? 68 : 0);
    const bool has_sigma_min = isfinite(curve->sigma_min) && curve->sigma_min > 0;
    const bool has_interval = has_sigma_min && isfinite(curve->lo) && curve->hi > curve->lo;
    struct axes axes = {.left = 70, .top = 102, .width = width - 70 - 24, .height = height - 102 - 56};
    cairo_surface_t *surface;
    cairo_t *cr = page_begin(&surface, width, height);

    axes.lo = log(curve->sigmas[0]) - 0.1;
    axes.hi = log(curve->sigmas[curve->n - 1]) + 0.1;
    text_fit(cr, 24, 28, 14, room, curve->title);
    cairo_set_source_rgb(cr, 0.35, 0.35, 0.35);
    text_fit(cr, 24, 46, 10, room, curve->subtitle);
    curve_legend(cr, curve, 24, 66, has_interval);
    if (has_interval) {
        curve_interval(cr, &axes, curve);
    }
    curve_threshold(cr, &axes, curve->threshold);
    curve_points(cr, &axes, curve);
    curve_line(cr, &axes, curve);
    if (has_sigma_min) {
        curve_sigma_min(cr, &axes, curve, has_interval);
    }
    axes_draw(cr, &axes);
    if (curve->image.data != NULL) {
        image_at(cr, &curve->image, width - 24 - 56, 8, 56);
    }
    return page_end(cr, surface, path, err);
}

/* The grid */

int page_store_grid(const char *path, const struct page_grid *grid, struct amb_error *err) {
    const double left = 136, top = 72, row_high = TILE + 34;
    const double width = fmax(left + grid->n_columns * (TILE + TILE_GAP) + 14, 440), height = top + grid->n_rows * row_high + 10;
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

            if (cell->image.data != NULL) {
                image_at(cr, &cell->image, x, y, TILE);
            }
            text_at(cr, x, y + TILE + 13, 11, 0, cell->caption);
            cairo_set_source_rgb(cr, 0.45, 0.45, 0.45);
            text_fit(cr, x, y + TILE + 25, 8, TILE, cell->key);
            cairo_set_source_rgb(cr, 0, 0, 0);
        }
    }
    return page_end(cr, surface, path, err);
}
