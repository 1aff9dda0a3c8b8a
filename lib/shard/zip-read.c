/*
 * Zip, scan and reads.
 *
 * Samples are numbered in the order of their names, as the datasets that write such archives do. All local
 * headers are read once while scanning; their data must not overlap, which sorting by offset shows in n log n
 * (comparing pairs would itself be an attack). A record points at the central directory entry, which says at
 * each read all that is needed, so nothing about sizes is kept twice.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <zlib.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/size.h"
#include "proto/wire.h"
#include "shard/payload.h"
#include "shard/zip.h"

#define ZIP_PLACE_MAX    (UINT64_C(1) << 40) /* bytes of the field in the record */
#define ZIP_ENTRY_BYTES_MAX     8192u         /* of the directory, on average: names are at most 4,096; not tuned */
#define ZIP_DIRECTORY_BYTES_MAX (1024u << 20) /* ten million entries of 100 bytes */
#define ZIP_LABELS_SMALL (16u << 20)         /* a dataset.json up to this may be as dense as it likes; not tuned */
#define ZIP_LABELS_RATIO 200u                /* lists of labels deflate 10 to 30 times; not tuned */

/* One entry while scanning. */
struct zip_row {
    const char *name;
    uint64_t place, local, end, stored;
    uint32_t crc;
    uint16_t name_bytes;
};

static int zip_compare_name(const void *a, const void *b) {
    const struct zip_row *x = a, *y = b;
    size_t n = x->name_bytes < y->name_bytes ? x->name_bytes : y->name_bytes;
    int order = memcmp(x->name, y->name, n);

    return order != 0 ? order : (x->name_bytes > y->name_bytes) - (x->name_bytes < y->name_bytes);
}

static int zip_compare_local(const void *a, const void *b) {
    const struct zip_row *x = a, *y = b;

    if (x->local != y->local) {
        return x->local < y->local ? -1 : 1;
    }
    return (x->end > y->end) - (x->end < y->end);
}

static int zip_check_overlap(struct zip_row *rows, size_t n, const struct amb_zip_end *end,
                             const struct amb_map *map, struct amb_error *err) {
    qsort(rows, n, sizeof *rows, zip_compare_local);
    for (size_t i = 0; i < n; i++) {
        uint64_t limit = i + 1 < n ? rows[i + 1].local : end->directory;

        if (rows[i].end > limit) {
            return amb_fail(err, AMB_ERR_FORMAT, "%s: entry '%.*s' [%llu, %llu) overlaps what begins at %llu",
                            map->path, (int)amb_size_min(rows[i].name_bytes, 200), rows[i].name,
                            (unsigned long long)rows[i].local, (unsigned long long)rows[i].end,
                            (unsigned long long)limit);
        }
    }
    return 0;
}

static int zip_check_names(struct zip_row *rows, size_t n, const struct amb_map *map, struct amb_error *err) {
    qsort(rows, n, sizeof *rows, zip_compare_name);
    for (size_t i = 1; i < n; i++) {
        if (zip_compare_name(&rows[i - 1], &rows[i]) == 0) {
            return amb_fail(err, AMB_ERR_DUPLICATE,
                            "%s: two entries are called '%.*s'; readers disagree on which one "
                            "counts: write the archive anew",
                            map->path, (int)amb_size_min(rows[i].name_bytes, 200), rows[i].name);
        }
    }
    return 0;
}

/* All entries into rows; the directory lies in `text`. */
static int zip_load_rows(struct zip_row *rows, const struct amb_zip_end *end, const uint8_t *text,
                         const struct amb_map *map, struct amb_error *err) {
    uint64_t at = 0, payload;
    int r;

    for (uint64_t i = 0; i < end->n_entries; i++) {
        struct amb_zip_entry e;
        const char *name;

        r = amb_zip_entry_decode(&e, text + at, end->directory_bytes - at, map, err);
        if (r < 0) {
            return r;
        }
        name = (const char *)text + at + e.name;
        if (memchr(name, '\0', e.name_bytes) != NULL) {
            return amb_fail(err, AMB_ERR_FORMAT, "%s: the name of entry %llu has a zero byte", map->path,
                            (unsigned long long)i);
        }
        r = amb_zip_local_load(&payload, &e, name, map, err);
        if (r < 0) {
            return r;
        }
        rows[i] = (struct zip_row){name,  end->directory + at,   e.local, payload + e.stored, e.stored,
                                   e.crc, (uint16_t)e.name_bytes};
        at += e.entry_bytes;
    }
    if (at != end->directory_bytes) {
        return amb_fail(err, AMB_ERR_FORMAT,
                        "%s: the central directory has %llu bytes behind its %llu entries", map->path,
                        (unsigned long long)(end->directory_bytes - at), (unsigned long long)end->n_entries);
    }
    return 0;
}

/* The entry without its comment, copied and checked anew: the file may have changed. */
static int zip_load_entry(struct amb_zip_entry *out, uint8_t *text, size_t text_bytes,
                          const struct amb_map *map, uint64_t place, struct amb_error *err) {
    size_t n;
    int r = amb_map_copy(text, map, place, AMB_ZIP_ENTRY_BYTES, err);

    if (r < 0) {
        return r;
    }
    n = AMB_ZIP_ENTRY_BYTES + (size_t)ambp_load_u16le(text + 28) + ambp_load_u16le(text + 30);
    if (n > text_bytes) {
        return amb_fail(err, AMB_ERR_CHANGED, "%s: the entry at %llu is not the one that was indexed",
                        map->path, (unsigned long long)place);
    }
    ambp_store_u16le(text + 32, 0);
    r = amb_map_copy(text + AMB_ZIP_ENTRY_BYTES, map, place + AMB_ZIP_ENTRY_BYTES, n - AMB_ZIP_ENTRY_BYTES,
                     err);
    return r < 0 ? r : amb_zip_entry_decode(out, text, n, map, err);
}

/* AMB_INDEXER_E_LONG where it says that it inflates to more than bytes_max. record: of the index, or NULL. */
static int zip_read(struct amb_buf *payload, const struct amb_map *map, uint64_t place, uint64_t bytes_max,
                    const uint8_t *record, struct amb_error *err) {
    uint8_t text[AMB_ZIP_ENTRY_BYTES + AMB_KEY_BYTES_MAX + AMB_ZIP_EXTRA_MAX];
    struct amb_zip_entry e;
    uint64_t at;
    int r;

    r = zip_load_entry(&e, text, sizeof text, map, place, err);
    if (r == 0 && record != NULL && e.crc != ambp_load_u32le(record + 9)) {
        return amb_fail(err, AMB_ERR_CHANGED, "%s: the entry at %llu is not the one that was indexed", map->path,
                        (unsigned long long)place);
    }
    if (r == 0 && e.bytes > bytes_max) {
        return AMB_INDEXER_E_LONG;
    }
    if (r == 0) {
        r = amb_zip_local_load(&at, &e, (const char *)text + e.name, map, err);
    }
    if (r == 0) {
        r = e.method == AMB_ZIP_STORED ? amb_payload_copy(payload, map, at, e.stored, err)
                                       : amb_payload_inflate(payload, map, at, e.stored, e.bytes, err);
    }
    if (r < 0) {
        return r;
    }
    if (crc32(0, payload->data, (unsigned)payload->n_bytes) != e.crc) {
        return amb_fail(err, AMB_ERR_CHECKSUM, "%s: member '%.*s': CRC-32 is wrong, the bytes are damaged",
                        map->path, (int)amb_size_min(e.name_bytes, 200), (const char *)text + e.name);
    }
    return 0;
}

static struct amb_member zip_member(const struct zip_row *row) {
    return (struct amb_member){row->name, row->name_bytes, row->place, 0, row->stored, row->crc};
}

/* A text of 250 KB may inflate to 256 MiB: what is read while indexing is bounded before it is inflated. */
static int zip_load_labels(struct amb_zip_scan *scan, const struct zip_row *row, struct amb_error *err) {
    AMB_CLEANUP(amb_buf_deinit) struct amb_buf text = AMB_BUF_NULL;
    uint64_t bytes_max = row->stored * ZIP_LABELS_RATIO > ZIP_LABELS_SMALL ? row->stored * ZIP_LABELS_RATIO
                                                                          : ZIP_LABELS_SMALL;
    struct amb_error why;
    int r = zip_read(&text, scan->map, row->place, bytes_max, NULL, err);

    if (r == AMB_INDEXER_E_LONG) {
        return amb_fail(err, AMB_ERR_LIMIT,
                        "%s: its dataset.json of %llu bytes inflates to more than %llu, which no list of labels does",
                        scan->map->path, (unsigned long long)row->stored, (unsigned long long)bytes_max);
    }
    if (r < 0) {
        return r;
    }
    r = amb_labels_new(&scan->labels, text.data, text.n_bytes, &why);
    return r < 0 ? amb_fail(err, r, "%s: %s", scan->map->path, why.message) : 0;
}

static bool zip_is_labels(const struct zip_row *row) {
    return row->name_bytes == 12 && memcmp(row->name, "dataset.json", 12) == 0;
}

static int zip_push_rows(struct amb_indexer *indexer, struct amb_zip_scan *scan, const struct zip_row *rows,
                         size_t n, struct amb_error *err) {
    int r = 0;

    for (size_t i = 0; i < n && r == 0; i++) {
        if (zip_is_labels(&rows[i])) {
            r = zip_load_labels(scan, &rows[i], err);
        }
    }
    for (size_t i = 0; i < n && r == 0; i++) {
        struct amb_member member = zip_member(&rows[i]);

        if (!zip_is_labels(&rows[i]) && rows[i].name_bytes > 0 &&
            rows[i].name[rows[i].name_bytes - 1] != '/') {
            r = amb_indexer_push(indexer, &member, err);
        }
    }
    return r == 0 ? amb_indexer_finish(indexer, err) : r;
}

int amb_zip_scan(struct amb_indexer *indexer, struct amb_zip_scan *scan, struct amb_error *err) {
    AMB_CLEANUP(amb_buf_deinit) struct amb_buf text = AMB_BUF_NULL;
    AMB_CLEANUP(amb_freep) struct zip_row *rows = NULL;
    const struct amb_map *map = scan->map;
    struct amb_zip_end end;
    size_t n;
    int r;

    r = amb_zip_end_load(&end, map, err);
    if (r < 0) {
        return r;
    }
    n = (size_t)end.n_entries;
    if (end.directory_bytes / AMB_ZIP_ENTRY_BYTES < end.n_entries) {
        return amb_fail(err, AMB_ERR_FORMAT, "%s: %zu entries do not fit a central directory of %llu bytes",
                        map->path, n, (unsigned long long)end.directory_bytes);
    }
    if (end.directory_bytes / ZIP_ENTRY_BYTES_MAX > end.n_entries || end.directory_bytes > ZIP_DIRECTORY_BYTES_MAX) {
        return amb_fail(err, AMB_ERR_LIMIT, "%s: a central directory of %llu bytes for %zu entries, allowed: %u for each and %u",
                        map->path, (unsigned long long)end.directory_bytes, n, ZIP_ENTRY_BYTES_MAX, ZIP_DIRECTORY_BYTES_MAX);
    }
    rows = amb_malloc(n * sizeof *rows);
    if (rows == NULL || amb_buf_reserve(&text, (size_t)end.directory_bytes) < 0) {
        return amb_fail(err, -ENOMEM, "%s: no memory for %zu entries", map->path, n);
    }
    r = amb_map_copy(text.data, map, end.directory, (size_t)end.directory_bytes, err);
    if (r == 0) {
        r = zip_load_rows(rows, &end, text.data, map, err);
    }
    if (r == 0) {
        r = zip_check_overlap(rows, n, &end, map, err);
    }
    if (r == 0) {
        r = zip_check_names(rows, n, map, err);
    }
    return r == 0 ? zip_push_rows(indexer, scan, rows, n, err) : r;
}

static int zip_load(struct amb_buf *out, void *opaque, const struct amb_member *member,
                    struct amb_error *err) {
    const struct amb_zip_scan *scan = opaque;

    return zip_read(out, scan->map, member->place, AMB_SIDE_TEXT_MAX, NULL, err);
}

static int zip_pack(uint8_t record[AMB_INDEX_RECORD_BYTES], const struct amb_member *first,
                    const struct amb_member *picture, struct amb_error *err) {
    uint64_t stored = picture->bytes < AMB_INDEX_BYTES_OVER ? picture->bytes : AMB_INDEX_BYTES_OVER;

    (void)first;
    if (picture->place >= ZIP_PLACE_MAX) {
        return amb_fail(err, AMB_ERR_LIMIT, "an archive of more than 1 TiB; split it");
    }
    ambp_store_u32le(record, (uint32_t)picture->place);
    record[4] = (uint8_t)(picture->place >> 32);
    ambp_store_u32le(record + 5, (uint32_t)stored);
    ambp_store_u32le(record + 9, picture->checksum);
    return 0;
}

static struct amb_label zip_label(void *opaque, const struct amb_member *picture) {
    const struct amb_zip_scan *scan = opaque;

    return scan->labels == NULL ? AMB_LABEL_NULL
                                : amb_labels_get(scan->labels, picture->name, picture->name_bytes);
}

const struct amb_indexer_format amb_zip_format = {zip_load, zip_pack, zip_label, true};

uint64_t amb_zip_place(const uint8_t *record) {
    return (uint64_t)ambp_load_u32le(record) | (uint64_t)record[4] << 32;
}

int amb_zip_read(struct amb_buf *payload, const struct amb_map *map, uint64_t place, struct amb_error *err) {
    return zip_read(payload, map, place, UINT64_MAX, NULL, err);
}

int amb_zip_read_picture(struct amb_buf *payload, const struct amb_map *map, const uint8_t *record,
                         struct amb_error *err) {
    return zip_read(payload, map, amb_zip_place(record), UINT64_MAX, record, err);
}
