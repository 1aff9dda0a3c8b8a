/*
 * Catalog, reads: the sample's shard does them.
 */
#include <stdlib.h>

#include "base/size.h"
#include "shard/catalog-private.h"

static bool read_is_repeated(const struct amb_catalog *cat, uint32_t i_sample) {
    uint64_t lo = 0, hi = cat->facts.n_repeated;

    while (lo < hi) {
        uint64_t mid = lo + (hi - lo) / 2;

        if (cat->facts.repeated[mid] < i_sample) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo < cat->facts.n_repeated && cat->facts.repeated[lo] == i_sample;
}

bool amb_catalog_is_repeated(const struct amb_catalog *cat, uint32_t i_sample) {
    return cat->facts.n_repeated != 0 && read_is_repeated(cat, i_sample);
}

static int read_fail_repeated(const struct amb_catalog *cat, uint32_t i_sample, struct amb_error *err) {
    struct amb_sample_info info;

    amb_catalog_get(&info, cat, i_sample);
    return amb_fail(err, AMB_ERR_DUPLICATE,
                    "%s: key '%.*s' was there before; the first sample of this key counts",
                    cat->shards[info.i_shard].shard->path, (int)amb_size_min(info.key_bytes, 200), info.key);
}

int amb_catalog_read(struct amb_buf *payload, const struct amb_catalog *cat, uint32_t i_sample,
                     struct amb_error *err) {
    size_t i_shard;
    uint32_t i;
    const struct catalog_shard *shard = catalog_locate(&i_shard, &i, cat, i_sample);

    if (amb_catalog_is_repeated(cat, i_sample)) {
        return read_fail_repeated(cat, i_sample, err);
    }
    return amb_shard_read(payload, shard->shard, i, err);
}

int amb_catalog_read_member(struct amb_buf *payload, const struct amb_catalog *cat, uint32_t i_sample,
                            const char *ext, struct amb_error *err) {
    size_t i_shard;
    uint32_t i;
    const struct catalog_shard *shard = catalog_locate(&i_shard, &i, cat, i_sample);

    return amb_shard_read_member(payload, shard->shard, i, ext, err);
}

int amb_catalog_get_members(char *out, size_t out_bytes, const struct amb_catalog *cat, uint32_t i_sample,
                            struct amb_error *err) {
    size_t i_shard;
    uint32_t i;
    const struct catalog_shard *shard = catalog_locate(&i_shard, &i, cat, i_sample);

    return amb_shard_list_members(out, out_bytes, shard->shard, i, err);
}
