/*
 * Label: dataset.json is read once into a table of (hash of name, value), sorted by hash. Names are kept, so
 * equal hashes decide nothing.
 */
#include "shard/label.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/hash.h"
#include "proto/wire.h"
#include "shard/jsontext.h"

#define LABEL_CLS_BYTES 32u /* 20 characters of an i64 and spaces around them */

struct label_entry {
    uint64_t hash;
    uint64_t name; /* offset in names */
    int64_t value; /* INT; VECTOR: number of the vector; INT64_MIN: null */
    uint32_t name_bytes;
};

struct amb_labels {
    struct label_entry *entries;
    size_t n, capacity;
    uint32_t width; /* 0: integers */
    struct amb_buf names, floats;
};

static const struct amb_label label_bad = {.kind = AMB_LABEL_KIND_BAD};

/* What could not be taken from `in`. */
static struct amb_label label_untaken(const struct amb_jsontext *in) {
    return (struct amb_label){.kind = in->no_memory ? AMB_LABEL_KIND_NO_MEMORY : AMB_LABEL_KIND_BAD};
}

static bool label_digits(int64_t *out, const char *text, size_t bytes) {
    char digits[LABEL_CLS_BYTES + 1], *stop;
    long long v;

    while (bytes > 0 && strchr(" \t\r\n", text[bytes - 1]) != NULL) {
        bytes--;
    }
    while (bytes > 0 && strchr(" \t\r\n", *text) != NULL) {
        text++;
        bytes--;
    }
    if (bytes == 0 || bytes > LABEL_CLS_BYTES) {
        return false;
    }
    memcpy(digits, text, bytes);
    digits[bytes] = '\0';
    errno = 0;
    v = strtoll(digits, &stop, 10);
    if (errno != 0 || stop != digits + bytes) {
        return false;
    }
    *out = v;
    return true;
}

struct amb_label amb_label_decode_cls(const uint8_t *text, size_t bytes) {
    struct amb_label label = {.kind = AMB_LABEL_KIND_INT};

    return label_digits(&label.value, (const char *)text, bytes) ? label : label_bad;
}

static bool label_from_number(struct amb_label *out, double v) {
    if (v != (double)(int64_t)v) {
        return false;
    }
    *out = (struct amb_label){.kind = AMB_LABEL_KIND_INT, .value = (int64_t)v};
    return true;
}

static bool label_push_float(struct amb_buf *floats, double v) {
    float f = (float)v;
    uint32_t bits;
    uint8_t bytes[4];

    memcpy(&bits, &f, sizeof bits);
    ambp_store_u32le(bytes, bits);
    return amb_buf_push(floats, bytes, sizeof bytes) == 0;
}

/* Appends to floats; the vector is the last width floats. */
static bool label_take_vector(struct amb_label *out, struct amb_buf *floats, struct amb_jsontext *in) {
    uint32_t width = 0;
    double v;

    if (!amb_jsontext_take(in, '[')) {
        return false;
    }
    do {
        if (width == AMB_LABEL_WIDTH_MAX || !amb_jsontext_number(&v, in)) {
            return false;
        }
        if (!label_push_float(floats, v)) {
            in->no_memory = true;
            return false;
        }
        width++;
    } while (amb_jsontext_take(in, ','));
    *out = (struct amb_label){.kind = AMB_LABEL_KIND_VECTOR, .width = width};
    return amb_jsontext_take(in, ']');
}

static bool label_take(struct amb_label *out, struct amb_buf *floats, struct amb_jsontext *in) {
    char c = amb_jsontext_peek(in);
    double v;

    if (c == '[') {
        return label_take_vector(out, floats, in);
    }
    if (c == 'n') {
        *out = AMB_LABEL_NULL;
        return amb_jsontext_word(in, "null");
    }
    if (c == 't' || c == 'f') {
        *out = (struct amb_label){.kind = AMB_LABEL_KIND_INT, .value = c == 't'};
        return amb_jsontext_word(in, c == 't' ? "true" : "false");
    }
    return amb_jsontext_number(&v, in) && v >= (double)-AMB_LABEL_INT_MAX && v <= (double)AMB_LABEL_INT_MAX &&
           label_from_number(out, v);
}

struct amb_label amb_label_decode_field(struct amb_buf *floats, const uint8_t *text, size_t bytes,
                                        const char *field) {
    struct amb_jsontext in;
    struct amb_label label;

    amb_jsontext_init(&in, text, bytes);
    if (amb_jsontext_peek(&in) != '{') {
        return label_bad;
    }
    if (!amb_jsontext_field(&in, floats, field)) {
        return !in.no_memory && amb_jsontext_peek(&in) == '}' ? AMB_LABEL_NULL : label_untaken(&in);
    }
    if (amb_jsontext_peek(&in) == '"') {
        label.kind = AMB_LABEL_KIND_INT;
        if (!amb_jsontext_string(floats, &in) ||
            !label_digits(&label.value, (const char *)floats->data, floats->n_bytes)) {
            return label_untaken(&in);
        }
        return label;
    }
    floats->n_bytes = 0;
    if (!label_take(&label, floats, &in)) {
        return label_untaken(&in);
    }
    label.vector = floats->data;
    return label;
}

static uint64_t label_hash(const char *name, size_t bytes) {
    struct amb_hash128 h = amb_hash128_encode(name, bytes);

    return ambp_load_u64le(h.bytes);
}

static int label_entry_compare(const void *a, const void *b) {
    const struct label_entry *x = a, *y = b;

    return x->hash != y->hash ? (x->hash < y->hash ? -1 : 1) : (x->name < y->name ? -1 : x->name > y->name);
}

static int labels_push(struct amb_labels *labels, const struct amb_buf *name, const struct amb_label *label) {
    struct label_entry *entry;

    if (labels->n == labels->capacity) {
        size_t capacity = labels->capacity == 0 ? 1024 : labels->capacity * 2;
        struct label_entry *grown = amb_realloc(labels->entries, capacity * sizeof *grown);

        if (grown == NULL) {
            return -ENOMEM;
        }
        labels->entries = grown;
        labels->capacity = capacity;
    }
    entry = &labels->entries[labels->n++];
    entry->hash = label_hash((const char *)name->data, name->n_bytes);
    entry->name = labels->names.n_bytes;
    entry->name_bytes = (uint32_t)name->n_bytes;
    entry->value = label->value;
    if (label->kind == AMB_LABEL_KIND_NONE) {
        entry->value = INT64_MIN;
    } else if (label->kind == AMB_LABEL_KIND_VECTOR) {
        entry->value = (int64_t)(labels->floats.n_bytes / 4 / label->width) - 1;
    }
    return amb_buf_push(&labels->names, name->data, name->n_bytes);
}

static int labels_fail(const struct amb_jsontext *in, struct amb_error *err, const char *what) {
    if (in->no_memory) {
        return amb_fail(err, -ENOMEM, "labels: out of memory");
    }
    return amb_fail(err, AMB_ERR_FORMAT,
                    "dataset.json: line %zu, byte %zu: %s; expected is "
                    "{\"labels\": [[\"name\", 3], ...]} with an integer, or a list of numbers, for each name",
                    amb_jsontext_line(in), (size_t)(in->p - in->start), what);
}

static int labels_take_entry(struct amb_labels *labels, struct amb_buf *name, struct amb_jsontext *in,
                             struct amb_error *err) {
    struct amb_label label;
    uint32_t width;

    if (!amb_jsontext_take(in, '[') || !amb_jsontext_string(name, in) || !amb_jsontext_take(in, ',') ||
        !label_take(&label, &labels->floats, in) || !amb_jsontext_take(in, ']')) {
        return labels_fail(in, err, "no [name, label] here");
    }
    width = label.kind == AMB_LABEL_KIND_VECTOR ? label.width : 0;
    if (labels->n == 0) {
        labels->width = width;
    }
    if (width != labels->width && !(label.kind == AMB_LABEL_KIND_NONE && labels->width == 0)) {
        return labels_fail(in, err, "labels of different kind or length");
    }
    return labels_push(labels, name, &label) < 0 ? amb_fail(err, -ENOMEM, "labels: out of memory") : 0;
}

static int labels_decode(struct amb_labels *labels, struct amb_jsontext *in, struct amb_error *err) {
    AMB_CLEANUP(amb_buf_deinit) struct amb_buf name = AMB_BUF_NULL;
    int r;

    if (amb_jsontext_peek(in) != '{') {
        return labels_fail(in, err, "no object");
    }
    if (!amb_jsontext_field(in, &name, "labels")) {
        return !in->no_memory && amb_jsontext_peek(in) == '}' ? 0 : labels_fail(in, err, "not JSON");
    }
    if (amb_jsontext_word(in, "null")) {
        return 0;
    }
    if (!amb_jsontext_take(in, '[')) {
        return labels_fail(in, err, "\"labels\" is no list");
    }
    if (amb_jsontext_take(in, ']')) {
        return 0;
    }
    do {
        r = labels_take_entry(labels, &name, in, err);
        if (r < 0) {
            return r;
        }
    } while (amb_jsontext_take(in, ','));
    return amb_jsontext_take(in, ']') ? 0 : labels_fail(in, err, "the list of labels is not closed");
}

static void labels_freep(struct amb_labels **labels) {
    *labels = amb_labels_free(*labels);
}

int amb_labels_new(struct amb_labels **out, const uint8_t *text, size_t bytes, struct amb_error *err) {
    AMB_CLEANUP(labels_freep) struct amb_labels *labels = amb_calloc(1, sizeof *labels);
    struct amb_jsontext in;
    int r;

    if (labels == NULL) {
        return amb_fail(err, -ENOMEM, "labels: out of memory");
    }
    amb_jsontext_init(&in, text, bytes);
    r = labels_decode(labels, &in, err);
    if (r < 0) {
        return r;
    }
    if (labels->n == 0) {
        *out = NULL;
        return 0;
    }
    qsort(labels->entries, labels->n, sizeof *labels->entries, label_entry_compare);
    *out = amb_steal_ptr(labels);
    return 0;
}

struct amb_labels *amb_labels_free(struct amb_labels *labels) {
    if (labels != NULL) {
        amb_buf_deinit(&labels->names);
        amb_buf_deinit(&labels->floats);
        amb_free(labels->entries);
        amb_free(labels);
    }
    return NULL;
}

/* First entry whose hash is not below. */
static size_t labels_bound(const struct amb_labels *labels, uint64_t hash) {
    size_t lo = 0, hi = labels->n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (labels->entries[mid].hash < hash) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

struct amb_label amb_labels_get(const struct amb_labels *labels, const char *name, size_t name_bytes) {
    uint64_t hash = label_hash(name, name_bytes);
    const struct label_entry *hit = NULL;

    /* a name listed twice: the last one counts, as in the dict() of the datasets that write such files */
    for (size_t i = labels_bound(labels, hash); i < labels->n && labels->entries[i].hash == hash; i++) {
        const struct label_entry *e = &labels->entries[i];

        if (e->name_bytes == name_bytes && memcmp(labels->names.data + e->name, name, name_bytes) == 0) {
            hit = e;
        }
    }
    if (hit == NULL || hit->value == INT64_MIN) {
        return AMB_LABEL_NULL;
    }
    if (labels->width == 0) {
        return (struct amb_label){.kind = AMB_LABEL_KIND_INT, .value = hit->value};
    }
    return (struct amb_label){.kind = AMB_LABEL_KIND_VECTOR,
                              .vector = labels->floats.data + (size_t)hit->value * 4 * labels->width,
                              .width = labels->width};
}
