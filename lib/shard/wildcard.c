/*
 * Wildcard: one component of the pattern at a time, a folder is listed only for a component with a wildcard.
 *
 * Not glob(3): glibc's takes a folder that could be read in part for a whole one, so that shards go missing without a word,
 * and it frees what it has twice when memory is out (glob.c, prefix_array).
 */
#include "shard/wildcard.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct wildcard {
    const char *pattern; /* whole, for messages */
    amb_wildcard_visit visit;
    void *opaque;
    char path[PATH_MAX];
};

static int wildcard_take(struct wildcard *wildcard, size_t n, const char *rest, struct amb_error *err);

/* Append to the n bytes of path; backslashes go if asked. The length, or -ENAMETOOLONG. */
static int wildcard_append(struct wildcard *wildcard, size_t n, const char *text, size_t bytes, bool unescape,
                           struct amb_error *err) {
    for (size_t i = 0; i < bytes; i++) {
        if (n + 1 >= sizeof wildcard->path) {
            return amb_fail(err, -ENAMETOOLONG, "pattern '%.200s': a path of more than %d bytes", wildcard->pattern, PATH_MAX);
        }
        i += unescape && text[i] == '\\' && i + 1 < bytes;
        wildcard->path[n++] = text[i];
    }
    wildcard->path[n] = '\0';
    return (int)n;
}

static int wildcard_list(struct wildcard *wildcard, size_t n, const char *component, const char *rest, struct amb_error *err) {
    DIR *folder = opendir(n > 0 ? wildcard->path : ".");
    struct dirent *entry;
    int r = 0;

    if (folder == NULL && (errno == ENOENT || errno == ENOTDIR)) {
        return 0;
    }
    while (folder != NULL && r == 0) {
        errno = 0;
        entry = readdir(folder);
        if (entry == NULL) {
            break;
        }
        if (fnmatch(component, entry->d_name, FNM_PERIOD) == 0) {
            r = wildcard_append(wildcard, n, entry->d_name, strlen(entry->d_name), false, err);
            r = r < 0 ? r : wildcard_take(wildcard, (size_t)r, rest, err);
        }
    }
    if (r == 0 && errno != 0) {
        wildcard->path[n] = '\0';
        r = amb_fail(err, -errno, "pattern '%.200s': %s cannot be listed: %s", wildcard->pattern, n > 0 ? wildcard->path : ".",
                     strerror(errno));
    }
    if (folder != NULL) {
        closedir(folder);
    }
    return r;
}

/* path holds n bytes; what is left of the pattern matches below them. */
static int wildcard_take(struct wildcard *wildcard, size_t n, const char *rest, struct amb_error *err) {
    size_t n_slashes = strspn(rest, "/"), bytes = strcspn(rest + n_slashes, "/");
    const char *end = rest + n_slashes + bytes;
    char component[NAME_MAX + 1];
    struct stat st;
    int r;

    if (*rest == '\0' && lstat(wildcard->path, &st) == 0) {
        return wildcard->visit(wildcard->opaque, wildcard->path, err);
    }
    if (*rest == '\0') { /* what is there but cannot be looked at now must not go missing without a word */
        return errno == ENOENT || errno == ENOTDIR || errno == ELOOP || errno == EACCES
                   ? 0
                   : amb_fail(err, -errno, "pattern '%.200s': %s cannot be examined: %s", wildcard->pattern, wildcard->path,
                              strerror(errno));
    }
    r = wildcard_append(wildcard, n, rest, n_slashes, false, err);
    if (r < 0) {
        return r;
    }
    n = (size_t)r;
    snprintf(component, sizeof component, "%.*s", (int)bytes, rest + n_slashes);
    if (bytes < sizeof component && strpbrk(component, "*?[") != NULL) {
        return wildcard_list(wildcard, n, component, end, err);
    }
    r = wildcard_append(wildcard, n, rest + n_slashes, bytes, true, err);
    return r < 0 ? r : wildcard_take(wildcard, (size_t)r, end, err);
}

int amb_wildcard_walk(const char *pattern, amb_wildcard_visit visit, void *opaque, struct amb_error *err) {
    struct wildcard wildcard = {.pattern = pattern, .visit = visit, .opaque = opaque};

    return wildcard_take(&wildcard, 0, pattern, err);
}
