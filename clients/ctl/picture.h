#pragma once
/* Picture: a labelled grid of images as PNG; drawn by cairo, or by nobody where that was absent at build time. */
#include <stdint.h>

#include "base/error.h"

#define PICTURE_ROWS 3u

struct picture_column {
    const float *x[PICTURE_ROWS]; /* channels x height x width, -1..1 after the gain */
    double gain[PICTURE_ROWS];
    uint32_t channels, height, width;
    char lines[3][48];            /* below the images */
};

/* Write columns, `per_band` side by side, bands below each other. -ENOSYS without cairo. */
int picture_store(const char *path, const char *title, const char *subtitle, const struct picture_column *columns,
                  uint32_t count, uint32_t per_band, struct amb_error *err);
