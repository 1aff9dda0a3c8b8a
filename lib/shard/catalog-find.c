/*
 * Catalog, find: from a name to samples.
 *
 * A picture's path is its key, a dot and its extension, so paths and base names with extension need no tables
 * of their own: the part before the first dot finds the candidates, comparing does the rest. Where no key has
 * a folder the base name is the key, and where no key has a prefix the path's key is the key; then one table
 * does.
 */
#include <errno.h>
#include <string.h>

#include "shard/catalog-private.h"
#include "shard/member.h"

/* One name of a sample. */
struct find_text {
    const char *text;
    size_t bytes;
};

enum find_rule {
    FIND_KEY,         /* the whole key                            */
    FIND_PATH,        /* path of the picture inside the shard     */
    FIND_BASE,        /* base name of the picture                 */
    FIND_BASE_NO_EXT, /* without its last, or without all, extensions */
};

static const struct amb_shard *find_shard(uint32_t *i, const struct amb_catalog *cat, uint32_t i_sample) {
    size_t i_shard;

    return catalog_locate(&i_shard, i, cat, i_sample)->shard;
}

const char *amb_catalog_peek_path(size_t *bytes, const struct amb_catalog *cat, uint32_t i_sample) {
    uint32_t i;
    const struct amb_shard *shard = find_shard(&i, cat, i_sample);

    return amb_shard_picture(shard, i, bytes);
}

static struct find_text find_path(const struct amb_catalog *cat, uint32_t i_sample) {
    struct find_text path;

    path.text = amb_catalog_peek_path(&path.bytes, cat, i_sample);
    return path;
}

static struct find_text find_base(struct find_text path) {
    size_t at = amb_member_base(path.text, path.bytes);

    return (struct find_text){path.text + at, path.bytes - at};
}

/* Up to the first dot of the base name; all of it where there is none. */
static struct find_text find_stem(struct find_text name) {
    size_t base = amb_member_base(name.text, name.bytes);
    const char *dot = memchr(name.text + base, '.', name.bytes - base);

    return (struct find_text){name.text, dot == NULL ? name.bytes : (size_t)(dot - name.text)};
}

static bool find_equal(struct find_text a, struct find_text b) {
    return a.bytes == b.bytes && memcmp(a.text, b.text, a.bytes) == 0;
}

static bool find_matches(const struct amb_catalog *cat, uint32_t i_sample, enum find_rule rule,
                         struct find_text name) {
    struct find_text path = find_path(cat, i_sample), base = find_base(path), stem = find_stem(base);
    struct amb_sample_info info;

    switch (rule) {
    case FIND_KEY:
        amb_catalog_get(&info, cat, i_sample);
        return find_equal((struct find_text){info.key, info.key_bytes}, name);
    case FIND_PATH:
        return find_equal(path, name);
    case FIND_BASE:
        return find_equal(base, name);
    case FIND_BASE_NO_EXT: {
        const char *dot = memrchr(base.text, '.', base.bytes);

        return find_equal(stem, name) ||
               find_equal((struct find_text){base.text, (size_t)(dot - base.text)}, name);
    }
    }
    return false;
}

static uint32_t find_hash(struct find_text name) {
    return amb_lookup_hash(name.text, name.bytes);
}

/* Samples in the range that match; *i_sample is the first. */
static uint32_t find_in(uint32_t *i_sample, const struct amb_catalog *cat, const struct amb_lookup *lookup,
                        uint32_t hash, enum find_rule rule, struct find_text name, uint32_t first,
                        uint32_t count) {
    uint32_t i, n = 0, end = amb_lookup_get(&i, lookup, hash);

    for (; i < end; i++) {
        uint32_t sample = amb_lookup_sample(lookup, i);

        if (sample - first < count && find_matches(cat, sample, rule, name)) {
            if (n++ == 0) {
                *i_sample = sample;
            }
        }
    }
    return n;
}

static int find_push(struct amb_lookup *lookup, const struct amb_catalog *cat, bool base_only) {
    int r = amb_lookup_init(lookup, cat->n_samples, NULL);

    for (uint32_t i = 0; i < cat->n_samples && r == 0; i++) {
        struct find_text path = find_path(cat, i);

        amb_lookup_push(lookup, find_hash(find_stem(base_only ? find_base(path) : path)), i);
    }
    return r == 0 ? amb_lookup_seal(lookup, NULL) : r;
}

static bool find_any_folder(const struct amb_catalog *cat) {
    for (uint32_t i = 0; i < cat->n_samples; i++) {
        struct find_text path = find_path(cat, i);

        if (memchr(path.text, '/', path.bytes) != NULL) {
            return true;
        }
    }
    return false;
}

static bool find_build_locked(struct amb_catalog *cat) {
    int r = 0;

    if (cat->has_lookups) {
        return true;
    }
    r = catalog_lookup_keys(&cat->by_key, cat, NULL, NULL);
    if (r == 0 && (cat->any_prefix || find_any_folder(cat))) {
        r = find_push(&cat->by_base, cat, true);
    }
    if (r == 0 && cat->any_prefix) {
        r = find_push(&cat->by_path, cat, false);
    }
    if (r < 0) {
        amb_lookup_deinit(&cat->by_key);
        amb_lookup_deinit(&cat->by_base);
        amb_lookup_deinit(&cat->by_path);
        return false;
    }
    cat->has_lookups = true;
    return true;
}

/* "source/key", in each source whose name it could begin with. */
static uint32_t find_with_source(uint32_t *i_sample, const struct amb_catalog *cat, struct find_text name) {
    for (size_t s = 0; s < cat->n_sources; s++) {
        const struct catalog_source *source = &cat->sources[s];
        size_t n = strlen(source->name);

        if (name.bytes > n + 1 && name.text[n] == '/' && memcmp(name.text, source->name, n) == 0) {
            struct find_text key = {name.text + n + 1, name.bytes - n - 1};

            return find_in(i_sample, cat, &cat->by_key, find_hash(key), FIND_KEY, key, source->first,
                           source->count);
        }
    }
    return 0;
}

static bool find_build(struct amb_catalog *cat) {
    bool built;

    pthread_mutex_lock(&cat->lock);
    built = find_build_locked(cat);
    pthread_mutex_unlock(&cat->lock);
    return built;
}

int amb_catalog_load_names(struct amb_catalog *cat, struct amb_error *err) {
    return find_build(cat) ? 0 : amb_fail(err, -ENOMEM, "no memory to look up %u keys", cat->n_samples);
}

uint32_t amb_catalog_find(uint32_t *i_sample, struct amb_catalog *cat, const char *name, size_t name_bytes) {
    const struct find_text given = {name, name_bytes}, stem = find_stem(given);
    const struct amb_lookup *by_path, *by_base;
    uint32_t n;

    if (!find_build(cat)) {
        return 0;
    }
    by_path = cat->by_path.entries != NULL ? &cat->by_path : &cat->by_key;
    by_base = cat->by_base.entries != NULL ? &cat->by_base : &cat->by_key;
    n = find_with_source(i_sample, cat, given);
    if (n == 0) {
        n = find_in(i_sample, cat, &cat->by_key, find_hash(given), FIND_KEY, given, 0, cat->n_samples);
    }
    if (n == 0) {
        n = find_in(i_sample, cat, by_path, find_hash(stem), FIND_PATH, given, 0, cat->n_samples);
    }
    if (n == 0) {
        n = find_in(i_sample, cat, by_base, find_hash(stem), FIND_BASE, given, 0, cat->n_samples);
    }
    return n != 0
               ? n
               : find_in(i_sample, cat, by_base, find_hash(stem), FIND_BASE_NO_EXT, given, 0, cat->n_samples);
}
