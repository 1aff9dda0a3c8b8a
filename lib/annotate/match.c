/*
 * Match: files were written by other programs, on other machines, before the images were packed into shards. So a
 * name may have folders in front that no shard knows, and an extension that the images no longer have. Both are
 * taken off step by step, the longest name that means a sample decides, and the report counts how names were
 * understood.
 *
 * What "means a sample" is belongs to the catalog (amb_catalog_find).
 */
#include "annotate/match.h"

#include <assert.h>
#include <string.h>

static const char *const rule_names[AMB_MATCH_N] = {
    [AMB_MATCH_SOURCE_KEY] = "source/key", [AMB_MATCH_KEY] = "key",     [AMB_MATCH_PATH] = "path",
    [AMB_MATCH_BASE] = "base name",        [AMB_MATCH_TAIL] = "end of the path",
    [AMB_MATCH_INDEX] = "index",
};

const char *amb_match_rule_name(enum amb_match_rule rule) {
    assert((unsigned)rule < AMB_MATCH_N);
    return rule_names[rule];
}

/* Length of a name up to its last dot; 0 where its base name has none, or begins with it. */
static size_t match_stem_bytes(const char *name, size_t bytes) {
    const char *slash = memrchr(name, '/', bytes), *base = slash != NULL ? slash + 1 : name;
    const char *dot = memrchr(base, '.', bytes - (size_t)(base - name));

    return dot != NULL && dot != base ? (size_t)(dot - name) : 0;
}

/* As it stands, then without extension. */
static uint32_t match_find_once(uint32_t *i_sample, struct amb_catalog *cat, const char *name, size_t bytes) {
    uint32_t n = bytes > 0 ? amb_catalog_find(i_sample, cat, name, bytes) : 0;
    size_t stem_bytes = n == 0 ? match_stem_bytes(name, bytes) : 0;

    return stem_bytes > 0 ? amb_catalog_find(i_sample, cat, name, stem_bytes) : n;
}

/* *is_tail: leading folders had to be taken off. */
static uint32_t match_find_name(uint32_t *i_sample, bool *is_tail, struct amb_catalog *cat, const char *name,
                                size_t bytes) {
    const char *end = name + bytes, *slash;
    uint32_t n = match_find_once(i_sample, cat, name, bytes);

    *is_tail = false;
    while (n == 0) {
        slash = memchr(name, '/', (size_t)(end - name));
        if (slash == NULL) {
            return 0;
        }
        name = slash + 1;
        *is_tail = true;
        n = match_find_once(i_sample, cat, name, (size_t)(end - name));
    }
    return n;
}

/* The catalog does not say which of its rules matched; compare the name with what it matched. */
static enum amb_match_rule match_rule_of(const struct amb_catalog *cat, uint32_t i_sample, const char *name,
                                         size_t bytes) {
    struct amb_sample_info info;
    uint32_t first, count;
    double repeat;
    const char *source;
    size_t source_bytes;

    amb_catalog_get(&info, cat, i_sample);
    source = amb_catalog_source(cat, info.i_source, &first, &count, &repeat);
    source_bytes = strlen(source);
    if (bytes == info.key_bytes && memcmp(name, info.key, bytes) == 0) {
        return AMB_MATCH_KEY;
    }
    if (bytes == source_bytes + 1 + info.key_bytes && memcmp(name, source, source_bytes) == 0 &&
        name[source_bytes] == '/' && memcmp(name + source_bytes + 1, info.key, info.key_bytes) == 0) {
        return AMB_MATCH_SOURCE_KEY;
    }
    if (bytes > info.key_bytes && memcmp(name, info.key, info.key_bytes) == 0 && name[info.key_bytes] == '.') {
        return AMB_MATCH_PATH;
    }
    return AMB_MATCH_BASE;
}

static int match_outcome(uint32_t n_samples) {
    return n_samples == 0 ? AMB_MATCH_E_NONE : n_samples == 1 ? 0 : AMB_MATCH_E_AMBIGUOUS;
}

int amb_match_find(struct amb_match *out, struct amb_catalog *cat, const struct amb_record *record) {
    struct amb_match first = {.rule = AMB_MATCH_INDEX};

    for (unsigned i = 0; i < AMB_RECORD_NAMES_N; i++) {
        struct amb_match match = {.name = (const char *)record->names[i].data, .name_bytes = record->names[i].n_bytes};
        bool is_tail;
        uint32_t n;

        if (match.name_bytes == 0) {
            continue;
        }
        n = match_find_name(&match.i_sample, &is_tail, cat, match.name, match.name_bytes);
        if (n > 0) {
            match.rule = is_tail ? AMB_MATCH_TAIL : match_rule_of(cat, match.i_sample, match.name, match.name_bytes);
            *out = match;
            return match_outcome(n);
        }
        first = first.name == NULL ? match : first;
    }
    if (record->has_index && record->index < amb_catalog_count(cat)) {
        *out = (struct amb_match){.rule = AMB_MATCH_INDEX, .i_sample = (uint32_t)record->index};
        return 0;
    }
    *out = first;
    return AMB_MATCH_E_NONE;
}
