/*
 * Payload: caps before any allocation, then one guarded copy.
 *
 * zlib gets its state from an arena on the stack. With the whole input and the whole room for the output in
 * one call it needs no window, only the state (7 KiB in zlib 1.2 and 1.3, more in forks).
 */
#include "shard/payload.h"

#include <errno.h>
#include <stdalign.h>
#include <string.h>

#include <zlib.h>

#include "base/size.h"

#define PAYLOAD_ARENA_BYTES                                                                                  \
    65536u /* state of zlib or zlib-ng, and a window of 32 KiB if a fork asks for it at once */
#define PAYLOAD_RATIO_MAX 1032u /* deflate cannot do better: zlib technical notes */

struct payload_arena {
    size_t used;
    alignas(64) uint8_t bytes[PAYLOAD_ARENA_BYTES];
};

static void *payload_zalloc(void *opaque, unsigned n, unsigned size) {
    struct payload_arena *arena = opaque;
    size_t bytes, end;

    if (!amb_size_mul(&bytes, n, size) || !amb_size_align(&bytes, bytes, 64) ||
        !amb_size_add(&end, arena->used, bytes) || end > sizeof arena->bytes) {
        return NULL;
    }
    arena->used = end;
    return arena->bytes + end - bytes;
}

static void payload_zfree(void *opaque, void *p) {
    (void)opaque;
    (void)p;
}

static int payload_reserve(struct amb_buf *out, const struct amb_map *map, uint64_t bytes, uint64_t more,
                           struct amb_error *err) {
    int r;

    if (bytes > AMB_PAYLOAD_BYTES_MAX || more > AMB_PAYLOAD_BYTES_MAX) {
        return amb_fail(err, AMB_ERR_LIMIT, "%s: a member of %llu bytes, allowed are %u", map->path,
                        (unsigned long long)(bytes > more ? bytes : more), AMB_PAYLOAD_BYTES_MAX);
    }
    r = amb_buf_reserve(out, (size_t)(bytes + more));
    return r < 0 ? amb_fail(err, r, "%s: no memory for a member of %llu bytes", map->path,
                            (unsigned long long)bytes)
                 : 0;
}

int amb_payload_copy(struct amb_buf *out, const struct amb_map *map, uint64_t offset, uint64_t bytes,
                     struct amb_error *err) {
    int r = payload_reserve(out, map, bytes, 0, err);

    return r < 0 ? r : amb_map_copy(out->data, map, offset, (size_t)bytes, err);
}

static int payload_inflate(uint8_t *dst, size_t bytes, uint8_t *src, size_t stored) {
    struct payload_arena arena;
    z_stream z = {.next_in = src,
                  .avail_in = (unsigned)stored,
                  .next_out = dst,
                  .avail_out = (unsigned)bytes,
                  .zalloc = payload_zalloc,
                  .zfree = payload_zfree,
                  .opaque = &arena};
    int r;

    arena.used = 0;
    if (inflateInit2(&z, -MAX_WBITS) != Z_OK) {
        return -ENOMEM;
    }
    r = inflate(&z, Z_FINISH);
    inflateEnd(&z);
    return r == Z_STREAM_END && z.avail_out == 0 && z.avail_in == 0 ? 0 : AMB_ERR_FORMAT;
}

int amb_payload_inflate(struct amb_buf *out, const struct amb_map *map, uint64_t offset, uint64_t stored,
                        uint64_t bytes, struct amb_error *err) {
    int r;

    if (bytes / PAYLOAD_RATIO_MAX > stored) {
        return amb_fail(err, AMB_ERR_LIMIT,
                        "%s: %llu bytes at %llu say that they inflate to %llu, more than deflate can do",
                        map->path, (unsigned long long)stored, (unsigned long long)offset,
                        (unsigned long long)bytes);
    }
    r = payload_reserve(out, map, bytes, stored, err);
    if (r == 0) {
        r = amb_map_copy(out->data + bytes, map, offset, (size_t)stored, err);
    }
    if (r < 0) {
        return r;
    }
    r = payload_inflate(out->data, (size_t)bytes, out->data + bytes, (size_t)stored);
    out->n_bytes = (size_t)bytes;
    return r < 0 ? amb_fail(err, r, "%s: the deflated bytes at %llu are damaged, or do not become %llu bytes",
                            map->path, (unsigned long long)offset, (unsigned long long)bytes)
                 : 0;
}

void amb_payload_list(char *out, size_t out_bytes, const char *ext, size_t ext_bytes) {
    size_t n = strlen(out), comma = n != 0;

    if (n + comma + ext_bytes + 1 > out_bytes) {
        return;
    }
    if (comma) {
        out[n++] = ',';
    }
    memcpy(out + n, ext, ext_bytes);
    out[n + ext_bytes] = '\0';
}
