/*
 * Imports: the place of a store where there is none.
 *
 * As in a store, it is what was read that stays, by sample, not the file: that may be gone or say something else by the
 * next reload. A side that a later import sets replaces that side of an earlier one.
 */
#include "daemon/imports.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

struct ambd_imports_row {
    struct amb_hash128 uid;
    struct amb_annotation value; /* of a side that is not set: 0 */
    unsigned sides;              /* enum amb_side */
    uint32_t order;              /* while they are sorted: the later wins */
};

void ambd_imports_deinit(struct ambd_imports *imports) {
    amb_free(imports->rows);
    *imports = (struct ambd_imports){0};
}

static int row_compare_uid(const void *a, const void *b) {
    const struct ambd_imports_row *x = a, *y = b;

    return memcmp(x->uid.bytes, y->uid.bytes, sizeof x->uid.bytes);
}

static int row_compare(const void *a, const void *b) {
    const struct ambd_imports_row *x = a, *y = b;
    int order = row_compare_uid(a, b);

    return order != 0 ? order : (x->order > y->order) - (x->order < y->order);
}

static void row_replace(struct ambd_imports_row *row, const struct ambd_imports_row *later) {
    row->value.sigma_min = (later->sides & AMB_SIDE_MIN) != 0 ? later->value.sigma_min : row->value.sigma_min;
    row->value.sigma_max = (later->sides & AMB_SIDE_MAX) != 0 ? later->value.sigma_max : row->value.sigma_max;
    row->sides |= later->sides;
}

/* Sorted rows, each uid once; returns how many are left. */
static size_t rows_fold(struct ambd_imports_row *rows, size_t n) {
    size_t n_left = 0;

    for (size_t i = 0; i < n; i++) {
        if (n_left > 0 && row_compare_uid(&rows[n_left - 1], &rows[i]) == 0) {
            row_replace(&rows[n_left - 1], &rows[i]);
        } else {
            rows[n_left++] = rows[i];
        }
    }
    return n_left;
}

int ambd_imports_put(struct ambd_imports *imports, const struct amb_store_record *records, size_t n,
                     struct amb_error *err) {
    struct ambd_imports_row *rows = amb_realloc(imports->rows, (imports->n + n + 1) * sizeof *rows);

    if (rows == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for %zu annotations", n);
    }
    for (size_t i = 0; i < imports->n; i++) {
        rows[i].order = 0;
    }
    for (size_t i = 0; i < n; i++) {
        rows[imports->n + i] = (struct ambd_imports_row){
            .uid = records[i].uid,
            .value = {records[i].sigma_min, records[i].sigma_max},
            .sides = records[i].sides,
            .order = (uint32_t)(i + 1),
        };
    }
    qsort(rows, imports->n + n, sizeof *rows, row_compare);
    imports->rows = rows;
    imports->n = rows_fold(rows, imports->n + n);
    return 0;
}

void ambd_imports_replay(struct amb_ledger *ledger, const struct ambd_imports *imports,
                         const struct amb_catalog *catalog) {
    const uint32_t n = imports->n > 0 ? amb_catalog_count(catalog) : 0;

    for (uint32_t i = 0; i < n; i++) {
        const struct ambd_imports_row key = {.uid = amb_catalog_uid(catalog, i)};
        const struct ambd_imports_row *row =
            bsearch(&key, imports->rows, imports->n, sizeof key, row_compare_uid);

        if (row != NULL) {
            amb_ledger_put(ledger, i, AMB_ORIGIN_IMPORT, (enum amb_side)row->sides, row->value);
        }
    }
}
