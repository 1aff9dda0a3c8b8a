/*
 * Columns: base64 columns of ANNOTATIONS into arrays; the answer is the daemon's, but its lengths are checked.
 */
#include "clients/ctl/columns.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"

void ctl_columns_deinit(struct ctl_columns *columns) {
    amb_free(columns->sigma_min);
    amb_free(columns->sigma_max);
    amb_free(columns->min_origin);
    amb_free(columns->state);
    *columns = (struct ctl_columns){0};
}

static int base64_digit(char c) {
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

uint8_t *ctl_base64_load(size_t *bytes, const char *text) {
    size_t n = strlen(text), used = 0;
    uint8_t *out = n % 4 == 0 ? amb_malloc(n / 4 * 3 + 1) : NULL;
    uint32_t word = 0;
    unsigned n_digits = 0;

    if (out == NULL) {
        return NULL;
    }
    while (n > 0 && text[n - 1] == '=') {
        n--;
    }
    for (size_t i = 0; i < n; i++) {
        int digit = base64_digit(text[i]);

        if (digit < 0) {
            amb_free(out);
            return NULL;
        }
        word = word << 6 | (uint32_t)digit;
        if (++n_digits == 4) {
            out[used++] = (uint8_t)(word >> 16);
            out[used++] = (uint8_t)(word >> 8);
            out[used++] = (uint8_t)word;
            n_digits = 0;
        }
    }
    if (n_digits >= 2) {
        out[used++] = (uint8_t)(word >> (n_digits == 3 ? 10 : 4));
    }
    if (n_digits == 3) {
        out[used++] = (uint8_t)(word >> 2);
    }
    *bytes = used;
    return out;
}

/* Append `count` values of `width` bytes of the column called `name` behind *n of *data. */
static int column_append(void *data, size_t n, const cJSON *reply, const char *name, size_t count, size_t width) {
    const cJSON *column = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(reply, "columns"), name);
    AMB_CLEANUP(amb_freep) uint8_t *bytes = NULL;
    size_t n_bytes = 0;
    void *old, *grown;

    bytes = ctl_base64_load(&n_bytes, ctl_get_string(column, "data"));
    memcpy(&old, data, sizeof old);
    grown = bytes != NULL && n_bytes == count * width ? amb_realloc(old, (n + count) * width) : NULL;
    if (grown == NULL) {
        fprintf(stderr, "ambientctl: the daemon's column '%s' has %zu bytes, expected %zu\n", name, n_bytes, count * width);
        return CTL_FAILED;
    }
    memcpy((uint8_t *)grown + n * width, bytes, n_bytes);
    memcpy(data, &grown, sizeof grown);
    return CTL_OK;
}

static int columns_append(struct ctl_columns *out, const cJSON *reply) {
    size_t count = (size_t)ctl_get_number(reply, "count");
    int r = column_append(&out->sigma_min, out->n, reply, "sigma_min", count, 4);

    r = r != CTL_OK ? r : column_append(&out->sigma_max, out->n, reply, "sigma_max", count, 4);
    r = r != CTL_OK ? r : column_append(&out->min_origin, out->n, reply, "min_origin", count, 1);
    r = r != CTL_OK ? r : column_append(&out->state, out->n, reply, "state", count, 1);
    out->n += r == CTL_OK ? count : 0;
    return r;
}

int ctl_columns_load(struct ctl_columns *out, struct ctl *ctl) {
    double total = 1;

    while ((double)out->n < total) {
        AMB_CLEANUP(ambp_json_deletep) cJSON *reply = NULL;
        cJSON *request = cJSON_CreateObject();
        size_t before = out->n;

        ambp_json_add_u64(request, "start", out->n);
        if (ctl_ask(&reply, ctl, "ANNOTATIONS", request) != CTL_OK || columns_append(out, reply) != CTL_OK) {
            return CTL_FAILED;
        }
        total = ctl_get_number(reply, "total");
        if (out->n == before) {
            break;
        }
    }
    return CTL_OK;
}
