/*
 * Tar: walking headers.
 *
 * One rule table, because readers that disagree on where the next header lies are a class of exploits of
 * their own: regular   '0' '\0' '7'            a member; '\0' with a name that ends in '/' is a folder no
 * data   '1' '2' '3' '4' '5' '6' passed over, whatever their size field says local     'x' 'X' (PAX), 'L'
 * (GNU) apply to the next member only; 'K' is passed over global    'g'                     passed over;
 * refused if it sets path or size sparse    'S', PAX GNU.sparse.*   passed over: the bytes on disk are not
 * those of the file others                            passed over by their size The size of an extension
 * header is always its own. The archive ends at the first block of zeros, or where the file ends between
 * members; anything cut inside a member is an error.
 */
#include "shard/tar.h"

#include <errno.h>
#include <string.h>

#include "base/size.h"

#define TAR_EXT_BYTES_MAX (1u << 20) /* extended attributes are at most 64 KiB each; not tuned */

/* Offsets in a header: POSIX.1-2017, pax, "ustar Interchange Format". */
enum {
    TAR_NAME = 0,
    TAR_NAME_BYTES = 100,
    TAR_SIZE = 124,
    TAR_SIZE_BYTES = 12,
    TAR_SUM = 148,
    TAR_SUM_BYTES = 8,
    TAR_TYPE = 156,
    TAR_MAGIC = 257,
    TAR_PREFIX = 345,
    TAR_PREFIX_BYTES = 155,
    TAR_GNU_EXTENDED = 482,       /* old GNU sparse: another block of the sparse map follows */
    TAR_GNU_EXTENDED_AGAIN = 504, /* the same flag in such a block */
};

/* What extension headers say of the member that follows them. */
struct tar_pending {
    uint64_t head; /* first extension header */
    uint64_t size;
    size_t path_bytes; /* the path is in walk->name */
    bool any, has_path, has_size, is_sparse;
};

static int tar_fail(const struct amb_tar_walk *walk, struct amb_error *err, int code, uint64_t at,
                    const char *what) {
    return amb_fail(err, code, "%s: header at %llu: %s", walk->map->path, (unsigned long long)at, what);
}

static uint32_t tar_sum(const uint8_t *h, bool is_signed) {
    uint32_t sum = 0;

    for (size_t i = 0; i < AMB_TAR_BLOCK; i++) {
        uint8_t b = i - TAR_SUM < TAR_SUM_BYTES ? ' ' : h[i];

        sum += is_signed && b > 127 ? b - 256u : b; /* wraps, as the sum of signed bytes would */
    }
    return sum;
}

uint32_t amb_tar_sum(const uint8_t header[AMB_TAR_BLOCK]) {
    return tar_sum(header, false);
}

/* Octal digits, spaces before, a space, a zero or the end behind; or base 256 if the first bit is set. */
static bool tar_number(uint64_t *out, const uint8_t *p, size_t n) {
    uint64_t v = 0;
    size_t i = 0;

    if ((p[0] & 0x80) != 0) {
        if (p[0] != 0x80) {
            return false; /* negative, or 2^88 and more */
        }
        for (i = 1; i < n; i++) {
            if (v >> 55 != 0) {
                return false;
            }
            v = v << 8 | p[i];
        }
        *out = v;
        return true;
    }
    while (i < n && p[i] == ' ') {
        i++;
    }
    for (; i < n && p[i] >= '0' && p[i] <= '7'; i++) {
        v = v << 3 | (uint64_t)(p[i] - '0');
    }
    if (i < n && p[i] != ' ' && p[i] != '\0') {
        return false;
    }
    *out = v;
    return true;
}

static bool tar_is_zero(const uint8_t *h) {
    for (size_t i = 0; i < AMB_TAR_BLOCK; i++) {
        if (h[i] != 0) {
            return false;
        }
    }
    return true;
}

/* AMB_TAR_E_END, or a header whose checksum is right. */
static int tar_load_header(uint8_t h[AMB_TAR_BLOCK], uint32_t *sum, struct amb_tar_walk *walk,
                           struct amb_error *err) {
    uint64_t stored;
    int r;

    if (walk->offset == walk->map->identity.size) {
        return AMB_TAR_E_END;
    }
    r = amb_map_copy(h, walk->map, walk->offset, AMB_TAR_BLOCK, err);
    if (r < 0) {
        return r;
    }
    if (tar_is_zero(h)) {
        return AMB_TAR_E_END;
    }
    *sum = tar_sum(h, false);
    if (!tar_number(&stored, h + TAR_SUM, TAR_SUM_BYTES) || (stored != *sum && stored != tar_sum(h, true))) {
        return tar_fail(walk, err, AMB_ERR_FORMAT, walk->offset,
                        "its checksum is wrong: no tar archive, or damaged here");
    }
    return 0;
}

/* Bytes of the data and where the header behind it lies; refused if that is past the file. */
static int tar_advance(struct amb_tar_walk *walk, uint64_t at, uint64_t data, uint64_t bytes,
                       struct amb_error *err) {
    uint64_t total = walk->map->identity.size,
             padded = (bytes + AMB_TAR_BLOCK - 1) / AMB_TAR_BLOCK * AMB_TAR_BLOCK;

    if (bytes > UINT64_MAX / 2 || !amb_span_ok(data, bytes, total)) {
        return amb_fail(err, AMB_ERR_FORMAT,
                        "%s: truncated: the member at %llu has %llu bytes from %llu on, the file ends "
                        "at %llu",
                        walk->map->path, (unsigned long long)at, (unsigned long long)bytes,
                        (unsigned long long)data, (unsigned long long)total);
    }
    /* the padding of the last member may be missing; nothing is lost by that */
    walk->offset = padded > total - data ? total : data + padded;
    return 0;
}

static int tar_set_path(struct amb_tar_walk *walk, struct tar_pending *pending, uint64_t from, size_t bytes,
                        struct amb_error *err) {
    char path[AMB_KEY_BYTES_MAX];
    int r;

    if (bytes > AMB_KEY_BYTES_MAX) {
        return amb_fail(err, AMB_ERR_LIMIT, "%s: header at %llu: a name of %zu bytes, allowed are %u",
                        walk->map->path, (unsigned long long)walk->offset, bytes, AMB_KEY_BYTES_MAX);
    }
    r = amb_map_copy(path, walk->map, from, bytes, err);
    if (r < 0) {
        return r;
    }
    if (memchr(path, '\0', bytes) != NULL || bytes == 0) {
        return tar_fail(walk, err, AMB_ERR_FORMAT, walk->offset, "an empty name, or one with a zero byte");
    }
    if (pending->has_path && (pending->path_bytes != bytes || memcmp(walk->name, path, bytes) != 0)) {
        return tar_fail(walk, err, AMB_ERR_FORMAT, walk->offset, "two long names for one member");
    }
    memcpy(walk->name, path, bytes);
    pending->path_bytes = bytes;
    pending->has_path = true;
    return 0;
}

/* GNU 'L': the whole data is the name, ended by zeros. */
static int tar_take_long_name(struct amb_tar_walk *walk, struct tar_pending *pending, uint64_t data,
                              uint64_t bytes, struct amb_error *err) {
    uint8_t last;
    int r = 0;

    while (bytes > 0) {
        r = amb_map_copy(&last, walk->map, data + bytes - 1, 1, err);
        if (r < 0 || last != '\0') {
            break;
        }
        bytes--;
    }
    return r < 0 ? r : tar_set_path(walk, pending, data, bytes, err);
}

static int tar_set_size(struct amb_tar_walk *walk, struct tar_pending *pending, uint64_t from, size_t bytes,
                        struct amb_error *err) {
    char text[20];
    uint64_t v = 0;
    int r;

    if (bytes == 0 || bytes > 19) { /* 19 digits fit 64 bits */
        return tar_fail(walk, err, AMB_ERR_FORMAT, walk->offset,
                        "a PAX size that is no number of up to 19 digits");
    }
    r = amb_map_copy(text, walk->map, from, bytes, err);
    if (r < 0) {
        return r;
    }
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return tar_fail(walk, err, AMB_ERR_FORMAT, walk->offset,
                            "a PAX size that is negative or no number");
        }
        v = v * 10 + (uint64_t)(text[i] - '0');
    }
    if (pending->has_size && pending->size != v) {
        return tar_fail(walk, err, AMB_ERR_FORMAT, walk->offset, "two PAX sizes for one member");
    }
    pending->size = v;
    pending->has_size = true;
    return 0;
}

/* One PAX record "LENGTH KEY=VALUE\n". */
struct tar_record {
    uint64_t bytes, value; /* value: offset in the file */
    size_t value_bytes;
    char key[24]; /* as much as tells the keys apart that matter */
};

static int tar_load_record(struct tar_record *out, const struct amb_tar_walk *walk, uint64_t at,
                           uint64_t left, struct amb_error *err) {
    char text[48];
    size_t n = amb_size_min(left, sizeof text), i = 0, key;
    uint8_t end = 0;
    char *equals;
    int r = amb_map_copy(text, walk->map, at, n, err);

    if (r < 0) {
        return r;
    }
    out->bytes = 0;
    for (; i < n && i < 8 && text[i] >= '0' && text[i] <= '9'; i++) {
        out->bytes = out->bytes * 10 + (uint64_t)(text[i] - '0');
    }
    if (i == 0 || i == n || text[i] != ' ' || out->bytes > left || out->bytes < i + 4) {
        return tar_fail(walk, err, AMB_ERR_FORMAT, walk->offset, "a PAX record whose length is wrong");
    }
    r = amb_map_copy(&end, walk->map, at + out->bytes - 1, 1, err);
    if (r < 0) {
        return r;
    }
    if (end != '\n') {
        return tar_fail(walk, err, AMB_ERR_FORMAT, walk->offset,
                        "a PAX record that does not end at its length");
    }
    key = i + 1;
    n = amb_size_min(n, (size_t)out->bytes);
    equals = memchr(text + key, '=', n - key);
    memset(out->key, 0, sizeof out->key);
    memcpy(out->key, text + key,
           amb_size_min(equals == NULL ? n - key : (size_t)(equals - text) - key, sizeof out->key - 1));
    if (equals != NULL) {
        out->value = at + (uint64_t)(equals - text) + 1;
        out->value_bytes = (size_t)(out->bytes - (uint64_t)(equals - text) - 2);
    } else {
        out->value = at; /* a longer key than any that matters here */
        out->value_bytes = 0;
    }
    return 0;
}

static int tar_take_pax(struct amb_tar_walk *walk, struct tar_pending *pending, uint64_t data, uint64_t bytes,
                        bool is_global, struct amb_error *err) {
    int r = 0;

    for (uint64_t done = 0; done < bytes && r == 0;) {
        struct tar_record record;

        r = tar_load_record(&record, walk, data + done, bytes - done, err);
        if (r < 0) {
            return r;
        }
        done += record.bytes;
        if (strcmp(record.key, "path") == 0 || strcmp(record.key, "size") == 0) {
            if (is_global) {
                return tar_fail(walk, err, AMB_ERR_FORMAT, walk->offset,
                                "a global PAX header that sets path or size");
            }
            r = record.key[0] == 'p' ? tar_set_path(walk, pending, record.value, record.value_bytes, err)
                                     : tar_set_size(walk, pending, record.value, record.value_bytes, err);
        } else if (strncmp(record.key, "GNU.sparse.", 11) == 0) {
            pending->is_sparse = true;
        }
    }
    return r;
}

static size_t tar_text(char *out, const uint8_t *p, size_t n) {
    size_t bytes = strnlen((const char *)p, n);

    memcpy(out, p, bytes);
    return bytes;
}

/* The name in the header itself, with the prefix of ustar. */
static size_t tar_header_name(char *out, const uint8_t *h) {
    size_t n = 0;

    if (memcmp(h + TAR_MAGIC, "ustar", 6) == 0 && h[TAR_PREFIX] != 0) {
        n = tar_text(out, h + TAR_PREFIX, TAR_PREFIX_BYTES);
        out[n++] = '/';
    }
    return n + tar_text(out + n, h + TAR_NAME, TAR_NAME_BYTES);
}

/* Before ustar a folder was a file whose name ends in a slash. */
static bool tar_is_folder(const uint8_t *h) {
    size_t n = strnlen((const char *)h + TAR_NAME, TAR_NAME_BYTES);

    return n > 0 && h[TAR_NAME + n - 1] == '/';
}

/* 'x' 'X' 'g' 'L' 'K' at walk->offset. */
static int tar_take_extension(struct amb_tar_walk *walk, struct tar_pending *pending, char type,
                              uint64_t bytes, struct amb_error *err) {
    uint64_t at = walk->offset, data = at + AMB_TAR_BLOCK;
    int r;

    if (!pending->any && type != 'g') {
        pending->any = true;
        pending->head = at;
    }
    if (bytes > TAR_EXT_BYTES_MAX) {
        return tar_fail(walk, err, AMB_ERR_LIMIT, at, "an extension header of more than 1 MiB");
    }
    if (!amb_span_ok(data, bytes, walk->map->identity.size)) {
        return tar_advance(walk, at, data, bytes, err);
    }
    r = 0;
    if (type == 'L') {
        r = tar_take_long_name(walk, pending, data, bytes, err);
    } else if (type != 'K') {
        r = tar_take_pax(walk, pending, data, bytes, type == 'g', err);
    }
    return r < 0 ? r : tar_advance(walk, at, data, bytes, err);
}

/* Old GNU sparse files may have more blocks of map behind the header. */
static int tar_skip_sparse(struct amb_tar_walk *walk, const uint8_t *h, uint64_t bytes,
                           struct amb_error *err) {
    uint64_t at = walk->offset, data = at + AMB_TAR_BLOCK;
    uint8_t more = h[TAR_GNU_EXTENDED];
    int r;

    while (more != 0) {
        r = amb_map_copy(&more, walk->map, data + TAR_GNU_EXTENDED_AGAIN, 1, err);
        if (r < 0) {
            return r;
        }
        data += AMB_TAR_BLOCK;
    }
    return tar_advance(walk, at, data, bytes, err);
}

/* A header that is no extension. 1: it is a member, and walk->member says so; 0: passed over. */
static int tar_take_file(struct amb_tar_walk *walk, const struct tar_pending *pending, const uint8_t *h,
                         uint64_t size, uint32_t sum, struct amb_error *err) {
    char type = (char)h[TAR_TYPE];
    uint64_t at = walk->offset;
    struct amb_member *m = &walk->member;
    int r;

    if (type == 'S') {
        return tar_skip_sparse(walk, h, size, err);
    }
    if ((type >= '1' && type <= '6') || (type == '\0' && tar_is_folder(h))) {
        walk->offset = at + AMB_TAR_BLOCK;
        return 0;
    }
    m->bytes = pending->has_size ? pending->size : size;
    r = tar_advance(walk, at, at + AMB_TAR_BLOCK, m->bytes, err);
    if (r < 0 || pending->is_sparse || (type != '0' && type != '\0' && type != '7')) {
        return r;
    }
    m->name = walk->name;
    m->name_bytes = pending->has_path ? pending->path_bytes : tar_header_name(walk->name, h);
    if (m->name_bytes == 0 || walk->name[m->name_bytes - 1] == '/') {
        return 0;
    }
    m->place = pending->any ? pending->head : at;
    m->payload = at + AMB_TAR_BLOCK;
    m->checksum = sum;
    return 1;
}

void amb_tar_walk_init(struct amb_tar_walk *walk, const struct amb_map *map, uint64_t offset) {
    walk->map = map;
    walk->offset = offset;
    walk->member = (struct amb_member){0};
}

int amb_tar_walk_next(struct amb_tar_walk *walk, struct amb_error *err) {
    struct tar_pending pending = {0};

    for (;;) {
        uint8_t h[AMB_TAR_BLOCK];
        uint64_t size;
        uint32_t sum;
        int r = tar_load_header(h, &sum, walk, err);

        if (r == AMB_TAR_E_END && pending.any) {
            return tar_fail(walk, err, AMB_ERR_FORMAT, pending.head,
                            "truncated: an extension header without its member");
        }
        if (r != 0) {
            return r;
        }
        if (!tar_number(&size, h + TAR_SIZE, TAR_SIZE_BYTES)) {
            return tar_fail(walk, err, AMB_ERR_FORMAT, walk->offset,
                            "a size that is negative, too large, or no number");
        }
        if (h[TAR_TYPE] != '\0' && strchr("xXgLK", (char)h[TAR_TYPE]) != NULL) {
            r = tar_take_extension(walk, &pending, (char)h[TAR_TYPE], size, err);
            if (r < 0) {
                return r;
            }
            continue;
        }
        r = tar_take_file(walk, &pending, h, size, sum, err);
        if (r != 0) {
            return r < 0 ? r : 0;
        }
        pending = (struct tar_pending){0};
    }
}
