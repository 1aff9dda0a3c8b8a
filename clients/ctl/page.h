#pragma once
/* Page: diagrams and picture grids as PNG; drawn by cairo, or by nobody where that was absent at build time. */
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* A sample's picture: C x H x W u8; owned by the caller; data NULL: none. */
struct page_image {
    const uint8_t *data;
    uint32_t channels, height, width;
};

/* Probability of low quality against sigma. */
struct page_curve {
    const char *title, *subtitle;
    const double *sigmas, *p; /* n of them, rising sigmas > 0 */
    size_t n;
    double threshold, sigma_min, lo, hi; /* lo, hi NaN: no interval */
    struct page_image image;
};

/* Rows of pictures; a heading at the left of each, a caption under each picture. */
struct page_cell {
    struct page_image image;
    char caption[24], key[64];
};
struct page_grid {
    const char *title, *subtitle;
    uint32_t n_rows, n_columns;
    const char (*headings)[2][32]; /* n_rows: two lines */
    const struct page_cell *cells; /* n_rows x n_columns; without image: the words alone */
};

/* Errors: -ENOSYS without cairo; errno values of the file, with its path. */
int page_store_curve(const char *path, const struct page_curve *curve, struct amb_error *err);
int page_store_grid(const char *path, const struct page_grid *grid, struct amb_error *err);
