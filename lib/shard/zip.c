/*
 * Zip: APPNOTE 6.3.10, as far as data sets go: one disk, stored or deflated, zip64.
 *
 * The central directory is what counts, and it must be the only possible one: it fills the bytes up to its
 * end record, an end record counts only if its comment ends with the file, and two such records are refused,
 * so a comment that contains a false end record fools nobody. Each local header must agree with its entry.
 */
#include "shard/zip.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/size.h"
#include "proto/wire.h"
#include "shard/payload.h"

#define ZIP_SIG_LOCAL   0x04034B50u
#define ZIP_SIG_ENTRY   0x02014B50u
#define ZIP_SIG_END     0x06054B50u
#define ZIP_SIG_END64   0x06064B50u
#define ZIP_SIG_LOCATOR 0x07064B50u

#define ZIP_END_BYTES     22u
#define ZIP_END64_BYTES   56u
#define ZIP_LOCATOR_BYTES 20u
#define ZIP_LOCAL_BYTES   30u
#define ZIP_COMMENT_MAX   65535u
#define ZIP_EXTRA_ZIP64   1u
#define ZIP_U16           0xFFFFu
#define ZIP_U32           0xFFFFFFFFu

static int zip_fail(const struct amb_map *map, struct amb_error *err, int code, uint64_t at,
                    const char *what) {
    return amb_fail(err, code, "%s: at %llu: %s", map->path, (unsigned long long)at, what);
}

/* The zip64 end record, if a locator stands before the end record. *limit: where the directory must end. */
static int zip_end64_load(struct amb_zip_end *out, uint64_t *limit, const struct amb_map *map, uint64_t end,
                          struct amb_error *err) {
    uint8_t p[ZIP_END64_BYTES], locator[ZIP_LOCATOR_BYTES];
    uint64_t at;
    int r;

    if (end < ZIP_LOCATOR_BYTES) {
        return 0;
    }
    r = amb_map_copy(locator, map, end - ZIP_LOCATOR_BYTES, sizeof locator, err);
    if (r < 0 || ambp_load_u32le(locator) != ZIP_SIG_LOCATOR) {
        return r;
    }
    at = ambp_load_u64le(locator + 8);
    if (!amb_span_ok(at, ZIP_END64_BYTES, end - ZIP_LOCATOR_BYTES)) {
        return zip_fail(map, err, AMB_ERR_FORMAT, end - ZIP_LOCATOR_BYTES,
                        "its zip64 locator points past it");
    }
    r = amb_map_copy(p, map, at, sizeof p, err);
    if (r < 0) {
        return r;
    }
    if (ambp_load_u32le(p) != ZIP_SIG_END64 || ambp_load_u64le(p + 4) != end - ZIP_LOCATOR_BYTES - at - 12) {
        return zip_fail(map, err, AMB_ERR_FORMAT, at, "no zip64 end record, or not as long as it says");
    }
    if (ambp_load_u32le(p + 16) != 0 || ambp_load_u32le(p + 20) != 0 ||
        ambp_load_u64le(p + 24) != ambp_load_u64le(p + 32)) {
        return zip_fail(map, err, AMB_ERR_UNSUPPORTED, at, "an archive of several disks");
    }
    *out = (struct amb_zip_end){ambp_load_u64le(p + 32), ambp_load_u64le(p + 48), ambp_load_u64le(p + 40)};
    *limit = at;
    return 0;
}

/* A field of the short record may be all ones, then zip64 has it; otherwise the two must agree. */
static bool zip_agrees(uint64_t small, uint64_t ones, uint64_t large) {
    return small == ones || small == large;
}

static int zip_end_decode(struct amb_zip_end *out, const struct amb_map *map, const uint8_t *p, uint64_t at,
                          struct amb_error *err) {
    struct amb_zip_end small = {ambp_load_u16le(p + 10), ambp_load_u32le(p + 16), ambp_load_u32le(p + 12)};
    struct amb_zip_end end = small;
    uint64_t limit = at;
    int r = zip_end64_load(&end, &limit, map, at, err);

    if (r < 0) {
        return r;
    }
    if (!zip_agrees(small.n_entries, ZIP_U16, end.n_entries) ||
        !zip_agrees(small.directory, ZIP_U32, end.directory) ||
        !zip_agrees(small.directory_bytes, ZIP_U32, end.directory_bytes)) {
        return zip_fail(map, err, AMB_ERR_FORMAT, at, "end record and zip64 end record disagree");
    }
    if ((ambp_load_u16le(p + 4) != 0 && ambp_load_u16le(p + 4) != ZIP_U16) ||
        (ambp_load_u16le(p + 8) != ambp_load_u16le(p + 10))) {
        return zip_fail(map, err, AMB_ERR_UNSUPPORTED, at, "an archive of several disks");
    }
    if (!amb_span_ok(end.directory, end.directory_bytes, limit) ||
        end.directory + end.directory_bytes != limit) {
        return amb_fail(err, AMB_ERR_FORMAT,
                        "%s: the central directory [%llu, +%llu) does not end at its end record at %llu: "
                        "something was put before or into the archive, or it is damaged",
                        map->path, (unsigned long long)end.directory, (unsigned long long)end.directory_bytes,
                        (unsigned long long)limit);
    }
    *out = end;
    return 0;
}

static int zip_end_choose(struct amb_zip_end *out, const struct amb_map *map, const uint8_t *tail,
                          size_t tail_bytes, struct amb_error *err) {
    uint64_t base = map->identity.size - tail_bytes;
    unsigned n_found = 0;
    int r = AMB_ERR_FORMAT;

    for (size_t i = tail_bytes - ZIP_END_BYTES + 1; i-- > 0;) {
        struct amb_zip_end end;
        struct amb_error ignored;

        if (ambp_load_u32le(tail + i) != ZIP_SIG_END ||
            i + ZIP_END_BYTES + ambp_load_u16le(tail + i + 20) != tail_bytes) {
            continue;
        }
        r = zip_end_decode(&end, map, tail + i, base + i, n_found == 0 ? err : &ignored);
        if (r < 0) {
            continue;
        }
        if (++n_found > 1) {
            return zip_fail(map, err, AMB_ERR_FORMAT, base + i,
                            "two records that both could be the end of the archive: "
                            "readers disagree on such a file");
        }
        *out = end;
    }
    if (n_found == 1) {
        return 0;
    }
    return err != NULL && err->code != 0
               ? err->code
               : zip_fail(map, err, AMB_ERR_FORMAT, map->identity.size,
                          "no end of central directory: no zip archive, or truncated");
}

int amb_zip_end_load(struct amb_zip_end *out, const struct amb_map *map, struct amb_error *err) {
    AMB_CLEANUP(amb_buf_deinit) struct amb_buf tail = AMB_BUF_NULL;
    struct amb_error why = AMB_ERROR_NULL;
    size_t n =
        (size_t)(map->identity.size < ZIP_END_BYTES + ZIP_COMMENT_MAX ? map->identity.size
                                                                      : ZIP_END_BYTES + ZIP_COMMENT_MAX);
    int r;

    if (n < ZIP_END_BYTES) {
        return zip_fail(map, err, AMB_ERR_FORMAT, 0, "too short for a zip archive");
    }
    r = amb_buf_reserve(&tail, n);
    if (r < 0) {
        return amb_fail(err, r, "%s: out of memory", map->path);
    }
    r = amb_map_copy(tail.data, map, map->identity.size - n, n, err);
    if (r < 0) {
        return r;
    }
    r = zip_end_choose(out, map, tail.data, n, &why);
    if (r < 0) {
        return amb_fail(err, r, "%s", why.message);
    }
    if (out->n_entries > AMB_INDEX_SAMPLES_MAX) {
        return amb_fail(err, AMB_ERR_LIMIT, "%s: %llu entries, allowed are %u; split the archive", map->path,
                        (unsigned long long)out->n_entries, AMB_INDEX_SAMPLES_MAX);
    }
    return 0;
}

/* Take the 64-bit fields that `p` (extra fields, n bytes) has for those of `fields` that are all ones, in
 * order. */
static bool zip_take_zip64(uint64_t *const *fields, size_t n_fields, const uint8_t *p, size_t n) {
    const uint8_t *found = NULL;
    size_t found_bytes = 0, at = 0;

    while (n >= 4) {
        size_t bytes = ambp_load_u16le(p + 2);

        if (bytes > n - 4) {
            return false;
        }
        if (ambp_load_u16le(p) == ZIP_EXTRA_ZIP64 && found == NULL) {
            found = p + 4;
            found_bytes = bytes;
        }
        p += 4 + bytes;
        n -= 4 + bytes;
    }
    for (size_t i = 0; i < n_fields; i++) {
        if (*fields[i] != ZIP_U32) {
            continue;
        }
        if (found == NULL || at + 8 > found_bytes) {
            return false;
        }
        *fields[i] = ambp_load_u64le(found + at);
        at += 8;
    }
    return true;
}

int amb_zip_entry_decode(struct amb_zip_entry *out, const uint8_t *p, uint64_t left,
                         const struct amb_map *map, struct amb_error *err) {
    struct amb_zip_entry e;
    uint64_t *const fields[] = {&e.bytes, &e.stored, &e.local};
    size_t extra, comment;

    if (left < AMB_ZIP_ENTRY_BYTES || ambp_load_u32le(p) != ZIP_SIG_ENTRY) {
        return amb_fail(err, AMB_ERR_FORMAT,
                        "%s: its central directory is damaged: no entry where one must be", map->path);
    }
    e.flags = ambp_load_u16le(p + 8);
    e.method = ambp_load_u16le(p + 10);
    e.crc = ambp_load_u32le(p + 16);
    e.stored = ambp_load_u32le(p + 20);
    e.bytes = ambp_load_u32le(p + 24);
    e.local = ambp_load_u32le(p + 42);
    e.name = AMB_ZIP_ENTRY_BYTES;
    e.name_bytes = ambp_load_u16le(p + 28);
    extra = ambp_load_u16le(p + 30);
    comment = ambp_load_u16le(p + 32);
    e.entry_bytes = AMB_ZIP_ENTRY_BYTES + e.name_bytes + extra + comment;
    if (e.entry_bytes > left) {
        return amb_fail(err, AMB_ERR_FORMAT, "%s: an entry of the central directory ends past it", map->path);
    }
    if (e.name_bytes > AMB_KEY_BYTES_MAX) {
        return amb_fail(err, AMB_ERR_LIMIT, "%s: a name of %zu bytes, allowed are %u", map->path,
                        e.name_bytes, AMB_KEY_BYTES_MAX);
    }
    if (extra > AMB_ZIP_EXTRA_MAX) {
        return amb_fail(err, AMB_ERR_LIMIT, "%s: entry '%.*s' has %zu bytes of extra fields, allowed are %u",
                        map->path, (int)amb_size_min(e.name_bytes, 200), (const char *)p + e.name, extra,
                        AMB_ZIP_EXTRA_MAX);
    }
    if (!zip_take_zip64(fields, 3, p + e.name + e.name_bytes, extra)) {
        return amb_fail(err, AMB_ERR_FORMAT,
                        "%s: the extra fields of entry '%.*s' are damaged, or lack a zip64 size", map->path,
                        (int)amb_size_min(e.name_bytes, 200), (const char *)p + e.name);
    }
    *out = e;
    return 0;
}

static int zip_local_fail(const struct amb_map *map, const struct amb_zip_entry *e, const char *name,
                          const char *what, struct amb_error *err) {
    return amb_fail(err, AMB_ERR_FORMAT, "%s: entry '%.*s': its local header at %llu %s", map->path,
                    (int)amb_size_min(e->name_bytes, 200), name, (unsigned long long)e->local, what);
}

/* Sizes and CRC of the local header, zip64 or not. They may be zero where they stand behind the data. */
static int zip_local_compare(const struct amb_zip_entry *e, const uint8_t *p, const char *name,
                             uint64_t extra_at, const struct amb_map *map, struct amb_error *err) {
    uint64_t stored = ambp_load_u32le(p + 18), bytes = ambp_load_u32le(p + 22);
    uint64_t *const fields[] = {&bytes, &stored};
    bool later = (e->flags & AMB_ZIP_FLAG_LATER) != 0;

    if (stored == ZIP_U32 || bytes == ZIP_U32) {
        AMB_CLEANUP(amb_buf_deinit) struct amb_buf extra = AMB_BUF_NULL;
        int r = amb_payload_copy(&extra, map, extra_at, ambp_load_u16le(p + 28), err);

        if (r < 0) {
            return r;
        }
        if (!zip_take_zip64(fields, 2, extra.data, extra.n_bytes)) {
            return zip_local_fail(map, e, name, "lacks its zip64 sizes", err);
        }
    }
    if ((stored != e->stored && !(later && stored == 0)) || (bytes != e->bytes && !(later && bytes == 0)) ||
        (ambp_load_u32le(p + 14) != e->crc && !(later && ambp_load_u32le(p + 14) == 0))) {
        return zip_local_fail(map, e, name, "has another size or CRC than the central directory", err);
    }
    return 0;
}

int amb_zip_local_load(uint64_t *payload, const struct amb_zip_entry *entry, const char *name,
                       const struct amb_map *map, struct amb_error *err) {
    uint8_t p[ZIP_LOCAL_BYTES];
    char local_name[AMB_KEY_BYTES_MAX];
    uint64_t names = entry->local + ZIP_LOCAL_BYTES, at;
    int r;

    if (!amb_span_ok(entry->local, ZIP_LOCAL_BYTES, map->identity.size)) {
        return zip_local_fail(map, entry, name, "lies past the file", err);
    }
    r = amb_map_copy(p, map, entry->local, sizeof p, err);
    if (r < 0) {
        return r;
    }
    if (ambp_load_u32le(p) != ZIP_SIG_LOCAL) {
        return zip_local_fail(map, entry, name, "is none", err);
    }
    if (ambp_load_u16le(p + 26) != entry->name_bytes) {
        return zip_local_fail(map, entry, name, "has another name", err);
    }
    r = amb_map_copy(local_name, map, names, entry->name_bytes, err);
    if (r < 0) {
        return r;
    }
    if (memcmp(local_name, name, entry->name_bytes) != 0 || ambp_load_u16le(p + 8) != entry->method ||
        ((ambp_load_u16le(p + 6) ^ entry->flags) & (AMB_ZIP_FLAG_CRYPT | AMB_ZIP_FLAG_LATER)) != 0) {
        return zip_local_fail(map, entry, name, "has another name, method or flags", err);
    }
    if ((entry->flags & AMB_ZIP_FLAG_CRYPT) != 0 ||
        (entry->method != AMB_ZIP_STORED && entry->method != AMB_ZIP_DEFLATED)) {
        return amb_fail(err, AMB_ERR_UNSUPPORTED,
                        "%s: entry '%.*s' is encrypted or has compression method %u; allowed are "
                        "stored and deflated",
                        map->path, (int)amb_size_min(entry->name_bytes, 200), name, entry->method);
    }
    at = names + entry->name_bytes + ambp_load_u16le(p + 28);
    if (!amb_span_ok(at, entry->stored, map->identity.size)) {
        return zip_local_fail(map, entry, name, "is followed by fewer bytes than it says", err);
    }
    if (entry->method == AMB_ZIP_STORED && entry->stored != entry->bytes) {
        return zip_local_fail(map, entry, name, "is of a stored member of two sizes", err);
    }
    r = zip_local_compare(entry, p, name, names + entry->name_bytes, map, err);
    if (r == 0) {
        *payload = at;
    }
    return r;
}
