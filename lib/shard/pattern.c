/*
 * Pattern: one brace group is expanded at a time, the first one from the left; what comes of it is expanded
 * again. That is bash's order of results. Depth is the number of groups; the count is capped before it can
 * hurt.
 */
#include "shard/pattern.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "shard/catalog.h"
#include "shard/wildcard.h"

#define PATTERN_GROUPS_MAX 32u /* brace groups in one pattern; not tuned */

void amb_paths_deinit(struct amb_paths *paths) {
    for (size_t i = 0; i < paths->n; i++) {
        amb_free(paths->items[i]);
    }
    amb_free(paths->items);
    *paths = AMB_PATHS_NULL;
}

static int paths_push(struct amb_paths *paths, const char *path, struct amb_error *err) {
    if (paths->n == AMB_CATALOG_SHARDS_MAX) {
        return amb_fail(err, AMB_ERR_LIMIT, "more than %u shards, at '%s'; make fewer, larger ones",
                        AMB_CATALOG_SHARDS_MAX, path);
    }
    if (paths->n == paths->capacity) {
        size_t capacity = paths->capacity == 0 ? 64 : paths->capacity * 2;
        char **grown = amb_realloc(paths->items, capacity * sizeof *grown);

        if (grown == NULL) {
            return amb_fail(err, -ENOMEM, "patterns: out of memory");
        }
        paths->items = grown;
        paths->capacity = capacity;
    }
    paths->items[paths->n] = amb_strdup(path);
    if (paths->items[paths->n] == NULL) {
        return amb_fail(err, -ENOMEM, "patterns: out of memory");
    }
    paths->n++;
    return 0;
}

static int paths_compare(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int paths_on_match(void *opaque, const char *path, struct amb_error *err) {
    return paths_push(opaque, path, err);
}

static int paths_push_glob(struct amb_paths *paths, const char *path, struct amb_error *err) {
    size_t first = paths->n;
    struct stat st;
    int r;

    if (stat(path, &st) == 0) {
        return paths_push(paths, path, err);
    }
    r = amb_wildcard_walk(path, paths_on_match, paths, err);
    if (r == 0 && paths->n == first) {
        return amb_fail(err, -ENOENT, "pattern '%s' matches nothing: no such file or folder", path);
    }
    if (paths->n > first) {
        qsort(paths->items + first, paths->n - first, sizeof *paths->items, paths_compare);
    }
    return r;
}

/* A brace group [open, close] of `p`; commas at its own level. */
struct pattern_group {
    const char *open, *close;
    bool has_comma;
};

static const char *pattern_match(const char *open, bool *has_comma) {
    unsigned depth = 0;

    *has_comma = false;
    for (const char *q = open; *q != '\0'; q++) {
        if (*q == '\\' && q[1] != '\0') {
            q++;
        } else if (*q == '{') {
            depth++;
        } else if (*q == '}') {
            if (--depth == 0) {
                return q;
            }
        } else if (*q == ',' && depth == 1) {
            *has_comma = true;
        }
    }
    return NULL;
}

/* "{a..b}" or "{a..b..step}" with integers, or single letters. */
struct pattern_range {
    long from, to, step;
    int width; /* digits to pad to */
    bool letters;
};

static bool pattern_take_integer(long *out, int *width, const char **p) {
    char *stop;
    const char *digits = **p == '-' ? *p + 1 : *p;
    size_t n = strspn(digits, "0123456789");

    if (n == 0 || n > 18) {
        return false;
    }
    *out = strtol(*p, &stop, 10);
    if (*digits == '0' && n > 1 && (int)(stop - *p) > *width) {
        *width = (int)(stop - *p);
    }
    *p = stop;
    return true;
}

static bool pattern_take_step(long *step, const char **p) {
    int ignored = 0;

    *step = 1;
    if (strncmp(*p, "..", 2) != 0) {
        return true;
    }
    *p += 2;
    if (!pattern_take_integer(step, &ignored, p)) {
        return false;
    }
    *step = *step == 0 ? 1 : labs(*step);
    return true;
}

static bool pattern_is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool pattern_range_decode(struct pattern_range *out, const struct pattern_group *group) {
    const char *p = group->open + 1;
    int width = 0;

    *out = (struct pattern_range){0};
    if (pattern_is_letter(p[0]) && strncmp(p + 1, "..", 2) == 0 && pattern_is_letter(p[3])) {
        out->from = p[0];
        out->to = p[3];
        out->letters = true;
        p += 4;
    } else {
        if (!pattern_take_integer(&out->from, &width, &p) || strncmp(p, "..", 2) != 0) {
            return false;
        }
        p += 2;
        if (!pattern_take_integer(&out->to, &width, &p)) {
            return false;
        }
    }
    out->width = width;
    return pattern_take_step(&out->step, &p) && p == group->close;
}

/* The first group that means something, from p on. */
static bool pattern_find_group(struct pattern_group *out, struct pattern_range *range, const char *p) {
    for (; *p != '\0'; p++) {
        if (*p == '\\' && p[1] != '\0') {
            p++;
            continue;
        }
        if (*p != '{') {
            continue;
        }
        out->open = p;
        out->close = pattern_match(p, &out->has_comma);
        if (out->close != NULL && (out->has_comma || pattern_range_decode(range, out))) {
            return true;
        }
    }
    return false;
}

static int pattern_expand(struct amb_paths *paths, const char *pattern, unsigned depth,
                          struct amb_error *err);

/* head + middle + tail, expanded further. Braces in middle are still to be expanded, so all of it goes round
 * again. */
static int pattern_expand_with(struct amb_paths *paths, const char *pattern,
                               const struct pattern_group *group, const char *middle, size_t middle_bytes,
                               unsigned depth, struct amb_error *err) {
    char text[PATH_MAX];
    int n = snprintf(text, sizeof text, "%.*s%.*s%s", (int)(group->open - pattern), pattern,
                     (int)middle_bytes, middle, group->close + 1);

    if (n < 0 || n >= (int)sizeof text) {
        return amb_fail(err, -ENAMETOOLONG, "pattern '%.100s...' becomes a path of more than %d bytes",
                        pattern, PATH_MAX);
    }
    return pattern_expand(paths, text, depth + 1, err);
}

static int pattern_expand_list(struct amb_paths *paths, const char *pattern,
                               const struct pattern_group *group, unsigned depth, struct amb_error *err) {
    const char *from = group->open + 1;
    unsigned level = 0;
    int r = 0;

    for (const char *q = from; q <= group->close && r == 0; q++) {
        if (*q == '\\' && q + 1 < group->close) {
            q++;
        } else if (*q == '{') {
            level++;
        } else if (*q == '}' && q < group->close) {
            level--;
        } else if (q == group->close || (*q == ',' && level == 0)) {
            r = pattern_expand_with(paths, pattern, group, from, (size_t)(q - from), depth, err);
            from = q + 1;
        }
    }
    return r;
}

static int pattern_expand_range(struct amb_paths *paths, const char *pattern,
                                const struct pattern_group *group, const struct pattern_range *range,
                                unsigned depth, struct amb_error *err) {
    long step = range->from <= range->to ? range->step : -range->step;
    unsigned long count = (unsigned long)labs(range->to - range->from) / (unsigned long)range->step + 1;
    int r = 0;

    if (count > AMB_CATALOG_SHARDS_MAX) {
        return amb_fail(err, AMB_ERR_LIMIT, "pattern '%s' stands for %lu paths, allowed are %u", pattern,
                        count, AMB_CATALOG_SHARDS_MAX);
    }
    for (unsigned long i = 0; i < count && r == 0; i++) {
        long v = range->from + (long)i * step;
        char text[32];
        int n = range->letters ? snprintf(text, sizeof text, "%c", (char)v)
                               : snprintf(text, sizeof text, "%0*ld", range->width, v);

        r = pattern_expand_with(paths, pattern, group, text, (size_t)n, depth, err);
    }
    return r;
}

/* Backslashes have done their work on braces; wildcard.c keeps those before its own characters. */
static void pattern_unescape(char *text) {
    char *to = text;

    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '\\' && (p[1] == '{' || p[1] == '}' || p[1] == ',')) {
            p++;
        }
        *to++ = *p;
    }
    *to = '\0';
}

static int pattern_expand(struct amb_paths *paths, const char *pattern, unsigned depth,
                          struct amb_error *err) {
    struct pattern_group group;
    struct pattern_range range = {0};
    char text[PATH_MAX];
    size_t n = strlen(pattern);

    if (depth > PATTERN_GROUPS_MAX) {
        return amb_fail(err, AMB_ERR_LIMIT, "pattern '%.200s' has more than %u brace groups", pattern,
                        PATTERN_GROUPS_MAX);
    }
    if (pattern_find_group(&group, &range, pattern)) {
        return group.has_comma ? pattern_expand_list(paths, pattern, &group, depth, err)
                               : pattern_expand_range(paths, pattern, &group, &range, depth, err);
    }
    if (n >= sizeof text) {
        return amb_fail(err, -ENAMETOOLONG, "pattern '%.100s...' is longer than %d bytes", pattern, PATH_MAX);
    }
    memcpy(text, pattern, n + 1);
    pattern_unescape(text);
    return paths_push_glob(paths, text, err);
}

int amb_paths_push_pattern(struct amb_paths *paths, const char *pattern, struct amb_error *err) {
    struct stat st;

    if (*pattern == '\0') {
        return amb_fail(err, -ENOENT, "an empty pattern; give the path of a shard, a glob or a brace list");
    }
    return stat(pattern, &st) == 0 ? paths_push(paths, pattern, err) : pattern_expand(paths, pattern, 0, err);
}
