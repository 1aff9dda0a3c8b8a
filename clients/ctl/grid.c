/*
 * Grid: samples around several quantiles of sigma_min, a row each.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
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

/* Samples of row i: as many as there are columns, around its quantile, evenly spaced where there are plenty. */
static size_t grid_pick(const struct grid *grid, size_t i_row, size_t n_rows, size_t i_column, size_t n_columns) {
    const size_t middle = (grid->n - 1) * i_row / (n_rows - 1), reach = grid->n / (4 * n_rows) + n_columns / 2;
    const size_t lo = middle > reach ? middle - reach : 0, hi = middle + reach < grid->n ? middle + reach : grid->n - 1;

    return lo + (hi - lo) * i_column / (n_columns > 1 ? n_columns - 1 : 1);
}

static int grid_fetch(struct grid *grid, struct ctl *ctl, const struct ctl_columns *columns, size_t n_rows, size_t n_columns) {
    AMB_CLEANUP(ambp_json_deletep) cJSON *reply = NULL;
    cJSON *request = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(request, "index"), *row;
    struct page_image image = {0};
    size_t i = 0;

    for (size_t k = 0; k < n_rows * n_columns; k++) {
        size_t at = grid_pick(grid, k / n_columns, n_rows, k % n_columns, n_columns);

        cJSON_AddItemToArray(list, cJSON_CreateNumber(grid->order[at]));
    }
    if (ctl_ask(&reply, ctl, "PICTURES", request) != CTL_OK || reply == NULL) {
        return CTL_FAILED;
    }
    image.channels = (uint32_t)ctl_get_number(reply, "channels");
    image.height = (uint32_t)ctl_get_number(reply, "height");
    image.width = (uint32_t)ctl_get_number(reply, "width");
    cJSON_ArrayForEach(row, cJSON_GetObjectItemCaseSensitive(reply, "rows")) {
        struct page_cell *cell = &grid->cells[i];
        size_t bytes = 0, index = (size_t)ctl_get_number(row, "index");

        grid->data[i] = ctl_base64_load(&bytes, ctl_get_string(row, "u8"));
        cell->image = image;
        cell->image.data =
            bytes == (size_t)image.channels * image.height * image.width && bytes > 0 ? grid->data[i] : NULL;
        snprintf(cell->caption, sizeof cell->caption, "%.3g", index < columns->n ? (double)columns->sigma_min[index] : 0.0);
        snprintf(cell->key, sizeof cell->key, "%.60s", ctl_get_string(row, "key"));
        i++;
    }
    return CTL_OK;
}

static int grid_store(struct grid *grid, const struct ctl_columns *columns, const char *path, size_t n_rows,
                      size_t n_columns) {
    struct amb_error err = AMB_ERROR_NULL;
    char subtitle[160];
    struct page_grid page = {
        .title = "Samples by the noise level from which they may be used",
        .subtitle = subtitle,
        .n_rows = (uint32_t)n_rows,
        .n_columns = (uint32_t)n_columns,
        .headings = grid->headings,
        .cells = grid->cells,
    };

    snprintf(subtitle, sizeof subtitle, "σ_min under each picture; rows are quantiles of %zu annotated samples, the best first",
             grid->n);
    for (size_t i = 0; i < n_rows; i++) {
        double value = (double)columns->sigma_min[grid->order[(grid->n - 1) * i / (n_rows - 1)]];

        snprintf(grid->headings[i][0], sizeof grid->headings[i][0], i == 0 ? "lowest" : i + 1 == n_rows ? "highest" : "%.0f %%",
                 100.0 * (double)i / (double)(n_rows - 1));
        snprintf(grid->headings[i][1], sizeof grid->headings[i][1], "σ_min %.3g", value);
    }
    if (page_store_grid(path, &page, &err) < 0) {
        fprintf(stderr, "ambientctl: %s\n", err.message);
        return CTL_FAILED;
    }
    printf("%zu pictures written to %s\n", n_rows * n_columns, path);
    return CTL_OK;
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
    int r = ctl_parse(ctl, command, options, sizeof options / sizeof options[0], 0, argc, argv);

    if (r >= 0) {
        return r;
    }
    if (path == NULL || rows < 2 || rows > ROWS_MAX || n_columns < 1 || n_columns > COLUMNS_MAX) {
        return path == NULL ? ctl_usage(command, "no --output FILE")
                            : ctl_usage(command, "%llu rows of %llu, allowed: 2 to %u of 1 to %u", (unsigned long long)rows,
                                        (unsigned long long)n_columns, ROWS_MAX, COLUMNS_MAX);
    }
    ctl->json = false; /* the answer is a picture */
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
    r = grid_fetch(grid, ctl, &columns, (size_t)rows, (size_t)n_columns);
    return r != CTL_OK ? r : grid_store(grid, &columns, path, (size_t)rows, (size_t)n_columns);
}
