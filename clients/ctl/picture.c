/*
 * Picture: cairo draws; layout is in units of one tile, so small images are shown enlarged, pixel by pixel.
 */
#include "clients/ctl/picture.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include <cairo.h>

#define TILE       112.0 /* side of an image on the page */
#define TILE_GAP   8.0
#define MARGIN     24.0
#define LABELS     108.0 /* width of the row names */
#define TITLE_HIGH 64.0
#define LINE_HIGH  15.0
#define BAND_HIGH  (PICTURE_ROWS * (TILE + 4) + 3 * LINE_HIGH + 26)

static const char *const row_names[PICTURE_ROWS][2] = {
    {"x0", "as stored"},
    {"x_tn", "trusted from here"},
    {"x_t", "what is trained on"},
};

static uint8_t picture_byte(float x, double gain) {
    double value = ((double)x * gain + 1) * 127.5;

    return (uint8_t)lround(value < 0 ? 0 : value > 255 ? 255 : value);
}

static void picture_text(cairo_t *cr, double x, double y, double size, double grey, const char *text) {
    cairo_set_font_size(cr, size);
    cairo_set_source_rgb(cr, grey, grey, grey);
    cairo_move_to(cr, x, y);
    cairo_show_text(cr, text);
}

/* Cut a text to the width of a tile, with an ellipsis. */
static void picture_fit(cairo_t *cr, double x, double y, double size, double grey, const char *text) {
    char cut[64];
    size_t n = strlen(text);
    cairo_text_extents_t extents;

    memcpy(cut, text, n + 1);
    cairo_set_font_size(cr, size);
    cairo_text_extents(cr, cut, &extents);
    while (extents.x_advance > TILE && n > 1) {
        n--;
        while (n > 1 && ((unsigned char)text[n] & 0xC0) == 0x80) {
            n--; /* not inside a UTF-8 character */
        }
        memcpy(cut, text, n);
        memcpy(cut + n, "…", 4);
        cairo_text_extents(cr, cut, &extents);
    }
    picture_text(cr, x, y, size, grey, cut);
}

static void picture_tile(cairo_t *cr, const struct picture_column *column, uint32_t row, double x, double y) {
    cairo_surface_t *image =
        cairo_image_surface_create(CAIRO_FORMAT_RGB24, (int)column->width, (int)column->height);
    uint8_t *pixels = cairo_image_surface_get_data(image);
    size_t stride = (size_t)cairo_image_surface_get_stride(image), plane = (size_t)column->width * column->height;
    double scale = TILE / fmax(column->width, column->height);

    if (cairo_surface_status(image) != CAIRO_STATUS_SUCCESS) {
        cairo_surface_destroy(image);
        return;
    }
    for (uint32_t i = 0; i < column->height; i++) {
        for (uint32_t j = 0; j < column->width; j++) {
            uint32_t word = 0;

            for (uint32_t c = 0; c < 3; c++) {
                size_t channel = column->channels >= 3 ? c : 0; /* grey, or the first channels of a latent */
                float value = column->x[row][channel * plane + (size_t)i * column->width + j];

                word = word << 8 | picture_byte(value, column->gain[row]);
            }
            memcpy(pixels + stride * i + 4 * (size_t)j, &word, sizeof word);
        }
    }
    cairo_surface_mark_dirty(image);
    cairo_save(cr);
    cairo_translate(cr, x, y);
    cairo_scale(cr, scale, scale);
    cairo_set_source_surface(cr, image, 0, 0);
    cairo_pattern_set_filter(cairo_get_source(cr), scale >= 1 ? CAIRO_FILTER_NEAREST : CAIRO_FILTER_GOOD);
    cairo_paint(cr);
    cairo_restore(cr);
    cairo_surface_destroy(image);
}

static void picture_column_draw(cairo_t *cr, const struct picture_column *column, double x, double y) {
    for (uint32_t row = 0; row < PICTURE_ROWS; row++) {
        picture_tile(cr, column, row, x, y + row * (TILE + 4));
    }
    y += PICTURE_ROWS * (TILE + 4) + 10;
    picture_fit(cr, x, y, 11.5, 0.1, column->lines[0]);
    picture_fit(cr, x, y + LINE_HIGH, 11.5, 0.1, column->lines[1]);
    picture_fit(cr, x, y + 2 * LINE_HIGH, 11, 0.45, column->lines[2]);
}

static void picture_draw(cairo_t *cr, const char *title, const char *subtitle, const struct picture_column *columns, uint32_t count,
                         uint32_t per_band) {
    cairo_set_source_rgb(cr, 1, 1, 1);
    cairo_paint(cr);
    cairo_select_font_face(cr, "DejaVu Sans", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_BOLD);
    picture_text(cr, MARGIN, MARGIN + 12, 17, 0.1, title);
    cairo_select_font_face(cr, "DejaVu Sans", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_NORMAL);
    picture_text(cr, MARGIN, MARGIN + 32, 12, 0.4, subtitle);
    for (uint32_t i = 0; i < count; i++) {
        double x = MARGIN + LABELS + (i % per_band) * (TILE + TILE_GAP);
        double y = MARGIN + TITLE_HIGH + (i / per_band) * BAND_HIGH;

        if (i % per_band == 0) {
            for (uint32_t row = 0; row < PICTURE_ROWS; row++) {
                double middle = y + row * (TILE + 4) + TILE / 2;

                picture_text(cr, MARGIN, middle, 15, 0.1, row_names[row][0]);
                picture_text(cr, MARGIN, middle + 15, 9.5, 0.45, row_names[row][1]);
            }
        }
        picture_column_draw(cr, &columns[i], x, y);
    }
}

int picture_store(const char *path, const char *title, const char *subtitle, const struct picture_column *columns,
                  uint32_t count, uint32_t per_band, struct amb_error *err) {
    uint32_t across = count < per_band ? count : per_band, bands = (count + per_band - 1) / per_band;
    double width = 2 * MARGIN + LABELS + across * (TILE + TILE_GAP);
    double height = 2 * MARGIN + TITLE_HIGH + bands * BAND_HIGH;
    cairo_surface_t *page =
        cairo_image_surface_create(CAIRO_FORMAT_RGB24, (int)fmax(width, 1100), (int)height);
    cairo_t *cr = cairo_create(page);
    cairo_status_t status;

    picture_draw(cr, title, subtitle, columns, count, per_band);
    status = cairo_status(cr);
    errno = 0; /* drawing leaves one behind, of fonts that it looked for */
    if (status == CAIRO_STATUS_SUCCESS) {
        status = cairo_surface_write_to_png(page, path);
    }
    cairo_destroy(cr);
    cairo_surface_destroy(page);
    if (status != CAIRO_STATUS_SUCCESS) {
        return amb_fail(err, errno != 0 ? -errno : -EIO, "cannot write %s: %s", path,
                        errno != 0 ? strerror(errno) : cairo_status_to_string(status));
    }
    return 0;
}
