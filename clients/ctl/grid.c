/*
 * Grid: samples in the order of their sigma_min, evenly spread over its quantiles, so that a row is a band of them.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/utf8.h"
#include "clients/ctl/annotations.h"
#include "clients/ctl/columns.h"
#include "clients/ctl/page.h"

#define ROWS_MAX    16u
#define COLUMNS_MAX 16u /* together at most what PICTURES answers at once */

struct grid {
    uint32_t *order; /* sample numbers by rising sigma_min; owned */
    size_t n;
    struct page_cell cells[ROWS_MAX * COLUMNS_MAX];
    uint8_t *data[ROWS_MAX * COLUMNS_MAX]; /* owned */
    size_t n_images;  /* of the cells; latents have none */
    char reason[161]; /* why the last of the others has none */
    char headings[ROWS_MAX][2][32];
};

static void grid_freep(struct grid **grid) {
    if (*grid != NULL) {
        for (size_t i = 0; i < ROWS_MAX * COLUMNS_MAX; i++) {
            amb_free((*grid)->data[i]);
        }
        amb_free((*grid)->order);
        amb_free(*grid);
    }
}

static const float *order_values; /* of the comparison below */

static int order_compare(const void *a, const void *b) {
    uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
    float x = order_values[i], y = order_values[j];

    return x < y ? -1 : x > y ? 1 : i < j ? -1 : i > j;
}

static bool grid_sort(struct grid *grid, const struct ctl_columns *columns) {
    grid->order = amb_calloc(columns->n + 1, sizeof *grid->order);
    if (grid->order == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < columns->n; i++) {
        if (columns->min_origin[i] != 0 && columns->state[i] == 1 && isfinite(columns->sigma_min[i])) {
            grid->order[grid->n++] = i;
        }
    }
    order_values = columns->sigma_min;
    qsort(grid->order, grid->n, sizeof *grid->order, order_compare);
    return true;
}

/* The k-th of so many pictures, evenly over all samples. */
static size_t grid_pick(const struct grid *grid, size_t k, size_t n_cells) {
    return n_cells > 1 ? (grid->n - 1) * k / (n_cells - 1) : 0;
}

static int grid_fetch(struct grid *grid, struct ctl *ctl, const struct ctl_columns *columns, size_t n_cells) {
    AMB_CLEANUP(ambp_json_deletep) cJSON *reply = NULL;
    cJSON *request = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(request, "index"), *row;
    struct page_image image = {0};
    size_t i = 0;

    for (size_t k = 0; k < n_cells; k++) {
        ambp_json_add_item(list, NULL, cJSON_CreateNumber(grid->order[grid_pick(grid, k, n_cells)]));
    }
    if (ctl_ask(&reply, ctl, "PICTURES", request) != CTL_OK) {
        return CTL_FAILED;
    }
    image.channels = (uint32_t)ctl_get_number(reply, "channels");
    image.height = (uint32_t)ctl_get_number(reply, "height");
    image.width = (uint32_t)ctl_get_number(reply, "width");
    cJSON_ArrayForEach(row, cJSON_GetObjectItemCaseSensitive(reply, "rows")) {
        struct page_cell *cell = &grid->cells[i];
        const char *key = ctl_get_string(row, "key");
        size_t bytes = 0, index = (size_t)ctl_get_number(row, "index");

        grid->data[i] = ctl_base64_load(&bytes, ctl_get_string(row, "u8"));
        cell->image = image;
        cell->image.data =
            bytes == (size_t)image.channels * image.height * image.width && bytes > 0 ? grid->data[i] : NULL;
        if (cell->image.data != NULL) {
            grid->n_images++;
        } else {
            snprintf(grid->reason, sizeof grid->reason, "%s", ctl_get_string(row, "reason"));
        }
        snprintf(cell->caption, sizeof cell->caption, "%.3g", index < columns->n ? (double)columns->sigma_min[index] : 0.0);
        amb_utf8_store(cell->key, sizeof cell->key, key, strlen(key));
        i++;
    }
    return CTL_OK;
}

static int grid_store(struct ctl *ctl, struct grid *grid, const struct ctl_columns *columns, const char *path, size_t n_cells, size_t n_columns) {
    const size_t n_rows = (n_cells + n_columns - 1) / n_columns;
    struct amb_error err = AMB_ERROR_NULL;
    char subtitle[160], number[CTL_TEXT_BYTES];
    struct page_grid page = {
        .title = "Samples by the noise level from which they may be used",
        .subtitle = subtitle,
        .n_rows = (uint32_t)n_rows,
        .n_columns = (uint32_t)n_columns,
        .headings = grid->headings,
        .cells = grid->cells,
    };

    snprintf(subtitle, sizeof subtitle, "σₘᵢₙ under each picture, evenly over %s annotated samples, the best first",
             ctl_text_count(number, (double)grid->n));
    for (size_t i = 0; i < n_rows; i++) {
        size_t begin = i * n_columns, end = begin + n_columns < n_cells ? begin + n_columns : n_cells;
        double least = (double)columns->sigma_min[grid->order[grid_pick(grid, begin, n_cells)]];
        double largest = (double)columns->sigma_min[grid->order[grid_pick(grid, end - 1, n_cells)]];

        snprintf(grid->headings[i][0], sizeof grid->headings[i][0], "%.0f to %.0f %%",
                 100.0 * (double)begin / (double)n_cells, 100.0 * (double)end / (double)n_cells);
        if (largest > least) {
            snprintf(grid->headings[i][1], sizeof grid->headings[i][1], "σ %.2g to %.2g", least, largest);
        } else {
            snprintf(grid->headings[i][1], sizeof grid->headings[i][1], "σ %.2g", least);
        }
    }
    if (page_store_grid(path, &page, &err) < 0) {
        fprintf(stderr, "ambientctl: %s\n", err.message);
        return CTL_FAILED;
    }
    return ctl_print_picture(ctl, path, grid->n_images);
}

int ctl_annotations_grid(struct ctl *ctl, const struct ctl_command *command, int argc, char **argv) {
    AMB_CLEANUP(ctl_columns_deinit) struct ctl_columns columns = {0};
    AMB_CLEANUP(grid_freep) struct grid *grid = NULL;
    const char *path = NULL;
    uint64_t rows = 6, n_columns = 10;
    const struct ctl_option options[] = {
        {"output", 'o', "FILE", "the PNG; needed", CTL_STRING, &path},
        {"rows", 'r', "N", "quantiles, 2 to 16, default 6", CTL_COUNT, &rows},
        {"columns", 'c', "N", "pictures of each, 1 to 16, default 10", CTL_COUNT, &n_columns},
    };
    size_t n_cells;
    int r = ctl_parse(ctl, command, options, sizeof options / sizeof options[0], 0, argc, argv);

    r = r != CTL_PARSED ? r : ctl_check_count(command, "rows", rows, 2, ROWS_MAX);
    r = r != CTL_PARSED ? r : ctl_check_count(command, "columns", n_columns, 1, COLUMNS_MAX);
    if (r >= 0) {
        return r;
    }
    if (path == NULL) {
        return ctl_usage(command, "no --output FILE");
    }
    if (ctl_columns_load(&columns, ctl) != CTL_OK) {
        return CTL_FAILED;
    }
    grid = amb_calloc(1, sizeof *grid);
    if (grid == NULL || !grid_sort(grid, &columns)) {
        fprintf(stderr, "ambientctl: no memory for a picture\n");
        return CTL_FAILED;
    }
    if (grid->n == 0) {
        fprintf(stderr, "ambientctl: no sample has a finite sigma_min yet; `ambientctl annotate --model FILE` finds them\n");
        return CTL_FAILED;
    }
    n_cells = grid->n < rows * n_columns ? grid->n : (size_t)(rows * n_columns);
    n_columns = n_columns < n_cells ? n_columns : n_cells;
    r = grid_fetch(grid, ctl, &columns, n_cells);
    if (r == CTL_OK && grid->n_images == 0) {
        fprintf(stderr, "ambientctl: none of %zu samples has a picture: %s\n", n_cells, grid->reason);
        return CTL_FAILED;
    }
    return r != CTL_OK ? r : grid_store(ctl, grid, &columns, path, n_cells, (size_t)n_columns);
}
