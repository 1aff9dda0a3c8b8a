/*
 * Npy: a strict reader of the header that numpy writes.
 *
 * The header is a Python dict literal with exactly the keys descr, fortran_order and shape, in any order.
 * Nothing else of Python is understood: no structured types, no expressions, no comments. Every length is
 * checked against the input before it is used, and the data must end where the input ends.
 */
#include "codec/npy.h"

#include <stdbool.h>
#include <string.h>

#include "base/size.h"

/* A cursor over the header text. */
struct text {
    const char *p, *end;
};

static void text_skip(struct text *t) {
    while (t->p < t->end && (*t->p == ' ' || *t->p == '\n' || *t->p == '\t' || *t->p == '\r')) {
        t->p++;
    }
}

/* Take one character, spaces before it skipped. */
static bool text_take(struct text *t, char c) {
    text_skip(t);
    if (t->p == t->end || *t->p != c) {
        return false;
    }
    t->p++;
    return true;
}

/* Take a word, which must not go on. */
static bool text_take_word(struct text *t, const char *word) {
    size_t n = strlen(word);

    text_skip(t);
    if ((size_t)(t->end - t->p) < n || memcmp(t->p, word, n) != 0) {
        return false;
    }
    t->p += n;
    return true;
}

/* Take a quoted string without escapes; out is cut off nowhere: a longer one is refused. */
static bool text_take_string(struct text *t, char *out, size_t out_bytes) {
    char quote;
    size_t n = 0;

    text_skip(t);
    if (t->p == t->end || (*t->p != '\'' && *t->p != '"')) {
        return false;
    }
    quote = *t->p++;
    while (t->p < t->end && *t->p != quote) {
        if (*t->p < ' ' || *t->p > '~' || *t->p == '\\' || n + 1 == out_bytes) {
            return false;
        }
        out[n++] = *t->p++;
    }
    out[n] = '\0';
    return text_take(t, quote);
}

static bool text_take_number(struct text *t, uint64_t *out) {
    uint64_t value = 0;
    bool any = false;

    text_skip(t);
    while (t->p < t->end && *t->p >= '0' && *t->p <= '9') {
        if (__builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*t->p - '0'), &value)) {
            return false;
        }
        t->p++;
        any = true;
    }
    if (t->p < t->end && *t->p == 'L') { /* as Python 2 wrote it */
        t->p++;
    }
    *out = value;
    return any;
}

static const struct {
    const char *descr;
    enum amb_dtype dtype;
} descrs[] = {
    {"|u1", AMB_DTYPE_U8},  {"<u1", AMB_DTYPE_U8},  {"<f2", AMB_DTYPE_F16},
    {"<f4", AMB_DTYPE_F32}, {"<f8", AMB_DTYPE_F64}, {"<i4", AMB_DTYPE_I32},
    {"<i8", AMB_DTYPE_I64}, {"<u4", AMB_DTYPE_U32}, {"<u8", AMB_DTYPE_U64},
};

static int npy_take_descr(struct amb_npy *npy, struct text *t, struct amb_error *err) {
    char descr[32];

    if (!text_take_string(t, descr, sizeof descr)) {
        return amb_fail(err, AMB_ERR_UNSUPPORTED, ".npy with a structured or damaged descr");
    }
    for (size_t i = 0; i < sizeof descrs / sizeof descrs[0]; i++) {
        if (strcmp(descr, descrs[i].descr) == 0) {
            npy->dtype = descrs[i].dtype;
            return 0;
        }
    }
    return amb_fail(err, AMB_ERR_UNSUPPORTED,
                    ".npy of type '%s'; allowed are u1 and, little-endian, f2 f4 f8 i4 i8 u4 u8", descr);
}

static int npy_take_order(struct text *t, struct amb_error *err) {
    if (text_take_word(t, "False")) {
        return 0;
    }
    if (text_take_word(t, "True")) {
        return amb_fail(err, AMB_ERR_UNSUPPORTED,
                        ".npy in Fortran order; save numpy.ascontiguousarray(a) instead");
    }
    return amb_fail(err, AMB_ERR_FORMAT, ".npy whose fortran_order is neither True nor False");
}

static int npy_take_shape(struct amb_npy *npy, struct text *t, struct amb_error *err) {
    npy->n_dims = 0;
    if (!text_take(t, '(')) {
        return amb_fail(err, AMB_ERR_FORMAT, ".npy whose shape is no tuple");
    }
    while (!text_take(t, ')')) {
        if (npy->n_dims == AMB_NPY_DIMS_MAX) {
            return amb_fail(err, AMB_ERR_UNSUPPORTED, ".npy of more than %d dimensions", AMB_NPY_DIMS_MAX);
        }
        if (!text_take_number(t, &npy->dims[npy->n_dims])) {
            return amb_fail(err, AMB_ERR_FORMAT, ".npy whose dimension %u is no number", npy->n_dims);
        }
        npy->n_dims++;
        if (!text_take(t, ',') && (t->p == t->end || *t->p != ')')) {
            return amb_fail(err, AMB_ERR_FORMAT, ".npy whose shape is damaged after dimension %u",
                            npy->n_dims - 1);
        }
    }
    return 0;
}

enum npy_key {
    NPY_DESCR = 1,
    NPY_ORDER = 2,
    NPY_SHAPE = 4,
    NPY_ALL = 7,
};

static int npy_take_item(struct amb_npy *npy, unsigned *seen, struct text *t, struct amb_error *err) {
    char name[32];
    unsigned key;
    int r;

    if (!text_take_string(t, name, sizeof name) || !text_take(t, ':')) {
        return amb_fail(err, AMB_ERR_FORMAT,
                        ".npy whose header is no dict of descr, fortran_order and shape");
    }
    if (strcmp(name, "descr") == 0) {
        key = NPY_DESCR;
        r = npy_take_descr(npy, t, err);
    } else if (strcmp(name, "fortran_order") == 0) {
        key = NPY_ORDER;
        r = npy_take_order(t, err);
    } else if (strcmp(name, "shape") == 0) {
        key = NPY_SHAPE;
        r = npy_take_shape(npy, t, err);
    } else {
        return amb_fail(err, AMB_ERR_FORMAT, ".npy with unknown header key '%s'", name);
    }
    if (r < 0) {
        return r;
    }
    if (*seen & key) {
        return amb_fail(err, AMB_ERR_FORMAT, ".npy with header key '%s' twice", name);
    }
    *seen |= key;
    return 0;
}

static int npy_take_header(struct amb_npy *npy, struct text *t, struct amb_error *err) {
    unsigned seen = 0;

    if (!text_take(t, '{')) {
        return amb_fail(err, AMB_ERR_FORMAT, ".npy whose header is no dict");
    }
    while (!text_take(t, '}')) {
        int r = npy_take_item(npy, &seen, t, err);

        if (r < 0) {
            return r;
        }
        if (!text_take(t, ',') && (t->p == t->end || *t->p != '}')) {
            return amb_fail(err, AMB_ERR_FORMAT, ".npy whose header is damaged or cut");
        }
    }
    text_skip(t);
    if (seen != NPY_ALL || t->p != t->end) {
        return amb_fail(err, AMB_ERR_FORMAT, ".npy whose header %s",
                        seen != NPY_ALL ? "lacks descr, fortran_order or shape" : "goes on after its dict");
    }
    return 0;
}

/* Size of the preamble and of the header text after it. */
static int npy_measure(size_t *preamble, size_t *header, const uint8_t *data, size_t bytes,
                       struct amb_error *err) {
    if (bytes < 10 || memcmp(data, "\x93NUMPY", 6) != 0) {
        return amb_fail(err, AMB_ERR_FORMAT, "%zu bytes that do not begin as a .npy", bytes);
    }
    if (data[6] == 1) {
        *preamble = 10;
        *header = (size_t)data[8] | (size_t)data[9] << 8;
    } else if (data[6] == 2 || data[6] == 3) {
        *preamble = 12;
        if (bytes < 12) {
            return amb_fail(err, AMB_ERR_FORMAT, ".npy of %zu bytes is truncated", bytes);
        }
        *header = (size_t)data[8] | (size_t)data[9] << 8 | (size_t)data[10] << 16 | (size_t)data[11] << 24;
    } else {
        return amb_fail(err, AMB_ERR_VERSION, ".npy of version %u.%u; known are 1 to 3", data[6], data[7]);
    }
    if (!amb_span_ok(*preamble, *header, bytes)) {
        return amb_fail(err, AMB_ERR_FORMAT, ".npy of %zu bytes with a header of %zu is truncated", bytes,
                        *header);
    }
    return 0;
}

int amb_npy_decode(struct amb_npy *out, const uint8_t *data, size_t bytes, struct amb_error *err) {
    struct amb_npy npy = {0};
    size_t preamble = 0, header = 0, wanted;
    struct text text;
    int r;

    r = npy_measure(&preamble, &header, data, bytes, err);
    if (r < 0) {
        return r;
    }
    text.p = (const char *)data + preamble;
    text.end = text.p + header;
    r = npy_take_header(&npy, &text, err);
    if (r < 0) {
        return r;
    }
    npy.data_offset = preamble + header;
    wanted = amb_dtype_bytes(npy.dtype);
    for (uint32_t i = 0; i < npy.n_dims; i++) {
        if (npy.dims[i] > SIZE_MAX || !amb_size_mul(&wanted, wanted, (size_t)npy.dims[i])) {
            return amb_fail(err, AMB_ERR_LIMIT, ".npy whose shape is larger than any memory");
        }
    }
    npy.data_bytes = bytes - npy.data_offset;
    if (npy.data_bytes != wanted) {
        return amb_fail(err, AMB_ERR_FORMAT, ".npy whose shape wants %zu bytes of data; there are %zu",
                        wanted, npy.data_bytes);
    }
    *out = npy;
    return 0;
}
