/*
 * Look: patterns are matched as the catalog matches them, so that a shard that came counts as much as one that changed,
 * and what was found before a reload can be compared with what is there behind it, whatever was adopted.
 *
 * A folder of which a pattern has a wildcard is watched at each component: the shard may come at the end of it, or a
 * folder in the middle. What the daemon writes itself is left out: each reload would bring the next.
 *
 * Not here: what follows from a difference (lookout.c).
 */
#include "daemon/look.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/hash.h"
#include "shard/folder.h"
#include "shard/map.h"
#include "shard/pattern.h"

#define VIEWS_MAX 8192u /* fs.inotify.max_user_watches is 8192 on small machines */

/* Views */

static void view_deinit(struct ambd_view *view) {
    amb_free(view->folder);
    amb_free(view->glob);
}

static int view_compare(const void *a, const void *b) {
    const struct ambd_view *x = a, *y = b;
    int order = strcmp(x->folder, y->folder);

    order = order != 0 ? order : strcmp(x->glob, y->glob);
    return order != 0 ? order : (x->kind > y->kind) - (x->kind < y->kind);
}

bool ambd_view_is_first(const struct ambd_view *views, size_t i) {
    return i == 0 || strcmp(views[i - 1].folder, views[i].folder) != 0;
}

static void look_sort(struct ambd_look *look) {
    size_t n = 0;

    if (look->n_views > 0) {
        qsort(look->views, look->n_views, sizeof *look->views, view_compare);
    }
    for (size_t i = 0; i < look->n_views; i++) {
        if (n > 0 && view_compare(&look->views[n - 1], &look->views[i]) == 0) {
            view_deinit(&look->views[i]);
        } else {
            look->views[n++] = look->views[i];
        }
    }
    look->n_views = n;
}

/* Names that fit the first `glob_bytes` of `glob`, in the first `bytes` of `folder`. */
static void look_push_view(struct ambd_look *look, const char *folder, size_t bytes, const char *glob, size_t glob_bytes,
                           enum ambd_view_kind kind) {
    struct ambd_view *grown, view = {.kind = kind};

    if (look->n_views == VIEWS_MAX) {
        return;
    }
    while (bytes > 1 && folder[bytes - 1] == '/') {
        bytes--;
    }
    grown = amb_realloc(look->views, (look->n_views + 1) * sizeof *grown);
    look->views = grown != NULL ? grown : look->views;
    view.folder = amb_malloc(bytes + 2);
    view.glob = amb_malloc(glob_bytes + 1);
    if (grown == NULL || view.folder == NULL || view.glob == NULL) {
        view_deinit(&view);
        return;
    }
    snprintf(view.folder, bytes + 2, "%.*s", (int)(bytes > 0 ? bytes : 1), bytes > 0 ? folder : ".");
    snprintf(view.glob, glob_bytes + 1, "%.*s", (int)glob_bytes, glob);
    grown[look->n_views++] = view;
}

/* Digest */

/* What is gone or out of reach is found so by a reload too; anything else may be otherwise in a moment. */
static void look_mind_errno(struct ambd_look *look, int code) {
    look->failed = look->failed || (code != ENOENT && code != ENOTDIR && code != ELOOP && code != EACCES);
}

static void look_push_path(struct ambd_look *look, const char *path, const struct amb_identity *identity) {
    amb_hasher_push(look->hasher, path, strlen(path) + 1);
    amb_hasher_push(look->hasher, identity, sizeof *identity);
}

static void look_at_tree(struct ambd_look *look, const char *path, unsigned depth);

/* One entry of a folder shard: a file adds to *sum, so that the order in which a folder is listed does not count. */
static void look_at_entry(struct ambd_look *look, uint64_t *sum, DIR *dir, const char *path, const char *name, unsigned depth) {
    char inner[4096];
    struct amb_identity identity;
    struct stat st;

    if (fstatat(dirfd(dir), name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        look_mind_errno(look, errno);
    } else if (S_ISDIR(st.st_mode) && snprintf(inner, sizeof inner, "%s/%s", path, name) < (int)sizeof inner) {
        look_at_tree(look, inner, depth + 1);
    } else if (S_ISREG(st.st_mode) && st.st_ino == look->log_ino && st.st_dev == look->log_dev) {
        look_push_view(look, path, strlen(path), name, strlen(name), AMBD_VIEW_LOG);
    } else if (S_ISREG(st.st_mode)) {
        amb_identity_encode(&identity, &st);
        *sum += amb_identity_hash(&identity);
    }
}

/* A folder that is a shard, with the folders in it; links are not followed, as in shard/folder.c. */
static void look_at_tree(struct ambd_look *look, const char *path, unsigned depth) {
    DIR *dir = depth <= AMB_FOLDER_DEPTH_MAX ? opendir(path) : NULL;
    uint64_t sum = 0;

    if (dir == NULL) {
        look_mind_errno(look, depth <= AMB_FOLDER_DEPTH_MAX ? errno : ENOENT);
        return;
    }
    look_push_view(look, path, strlen(path), "*", 1, AMBD_VIEW_FILES);
    for (;;) {
        struct dirent *entry;

        errno = 0;
        entry = readdir(dir);
        if (entry == NULL) {
            break;
        }
        if (entry->d_name[0] != '.') {
            look_at_entry(look, &sum, dir, path, entry->d_name, depth);
        }
    }
    look->failed = look->failed || errno != 0;
    closedir(dir);
    amb_hasher_push(look->hasher, &sum, sizeof sum);
}

static void look_at_path(struct ambd_look *look, const char *path) {
    struct amb_identity identity = {0};
    struct stat st;

    if (stat(path, &st) != 0) {
        look_mind_errno(look, errno);
    } else if (S_ISDIR(st.st_mode)) {
        look_at_tree(look, path, 0); /* its own times tell of names that a shard does not have */
    } else {
        amb_identity_encode(&identity, &st);
    }
    look_push_path(look, path, &identity);
}

/* Configuration */

/* A file, of which the folder may see another one take its place. */
static void look_at_file(struct ambd_look *look, const char *path) {
    const char *slash = strrchr(path, '/'), *name = slash != NULL ? slash + 1 : path;

    look_push_view(look, path, (size_t)(name - path), name, strlen(name), AMBD_VIEW_FILES);
    look_at_path(look, path);
}

/* What names a component stands for: itself, but for braces, which fnmatch does not know and a slash may part. */
static void look_push_component(struct ambd_look *look, const char *folder, size_t bytes, const char *component,
                                size_t component_bytes, enum ambd_view_kind kind) {
    const char *open = memchr(component, '{', component_bytes), *close = memrchr(component, '}', component_bytes);
    AMB_CLEANUP(amb_freep) char *glob = amb_malloc(component_bytes + 1);

    if (open == NULL && close == NULL) {
        look_push_view(look, folder, bytes, component, component_bytes, kind);
    } else if (glob == NULL || open == NULL || close < open || memchr(component, '\\', component_bytes) != NULL) {
        look_push_view(look, folder, bytes, "*", 1, kind);
    } else {
        snprintf(glob, component_bytes + 1, "%.*s*%.*s", (int)(open - component), component,
                 (int)(component + component_bytes - close - 1), close + 1);
        look_push_view(look, folder, bytes, glob, strlen(glob), kind);
    }
}

/* The same in each folder that the first `bytes` of a pattern stand for. */
static void look_push_components(struct ambd_look *look, const char *pattern, size_t bytes, size_t end, enum ambd_view_kind kind) {
    AMB_CLEANUP(amb_paths_deinit) struct amb_paths folders = AMB_PATHS_NULL;
    AMB_CLEANUP(amb_freep) char *folder = amb_malloc(bytes);

    if (folder == NULL) {
        return;
    }
    snprintf(folder, bytes, "%s", pattern); /* without its slash */
    amb_paths_push_pattern(&folders, folder, NULL); /* of an error: those before it; a reload meets it too */
    for (size_t i = 0; i < folders.n; i++) {
        struct stat st;

        if (stat(folders.items[i], &st) == 0 && S_ISDIR(st.st_mode) && !ambd_premises_hold(look->premises, folders.items[i])) {
            look_push_component(look, folders.items[i], strlen(folders.items[i]), pattern + bytes, end - bytes, kind);
        }
    }
}

static void look_at_pattern(struct ambd_look *look, const char *pattern) {
    AMB_CLEANUP(amb_paths_deinit) struct amb_paths paths = AMB_PATHS_NULL;
    size_t first = strcspn(pattern, "*?[{"), end;
    int r = amb_paths_push_pattern(&paths, pattern, NULL);

    look->failed = look->failed || (r < 0 && r != -ENOENT);
    while (first > 0 && pattern[first - 1] != '/') {
        first--;
    }
    for (size_t at = first; at <= strlen(pattern); at = end + 1) {
        enum ambd_view_kind kind;

        end = at + strcspn(pattern + at, "/");
        kind = pattern[end] == '/' ? AMBD_VIEW_FOLDERS : AMBD_VIEW_FILES;
        if (at == first) {
            look_push_component(look, pattern, at, pattern + at, end - at, kind);
        } else if (end > at) {
            look_push_components(look, pattern, at, end, kind);
        }
    }
    for (size_t i = 0; i < paths.n; i++) {
        look_at_path(look, paths.items[i]);
    }
}

/* An import reads sigmas.txt beside it, unless it names another (annotate/record-curve.c). */
static void look_at_import(struct ambd_look *look, const cJSON *entry) {
    const char *path = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(entry, "import"));
    const char *sigmas = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(entry, "sigmas")), *slash;
    char beside[4096];

    if (path == NULL) {
        return;
    }
    slash = strrchr(path, '/');
    snprintf(beside, sizeof beside, "%.*ssigmas.txt", slash != NULL ? (int)(slash - path) + 1 : 0, path);
    look_at_file(look, path);
    look_at_file(look, sigmas != NULL ? sigmas : beside);
}

static void look_at_dataset(struct ambd_look *look, const struct ambd_dataset_config *dataset) {
    const cJSON *entry;

    for (size_t k = 0; k < dataset->n_sources; k++) {
        for (size_t p = 0; p < dataset->sources[k].options.n_patterns; p++) {
            look_at_pattern(look, dataset->sources[k].options.patterns[p]);
        }
    }
    if (dataset->excludes_path != NULL) {
        look_at_file(look, dataset->excludes_path);
    }
    cJSON_ArrayForEach(entry, dataset->annotations) {
        const cJSON *score = cJSON_GetObjectItemCaseSensitive(entry, "score");
        const char *file = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(score, "file"));

        look_at_import(look, entry);
        if (file != NULL) {
            look_at_file(look, file);
        }
    }
}

void ambd_look_take(struct ambd_look *out, const struct ambd_config *config, const char *config_path,
                    const struct ambd_premises *premises) {
    struct ambd_look look = {.premises = premises, .hasher = amb_hasher_new()};
    struct amb_hash128 hash;
    struct stat log;

    if (fstat(STDERR_FILENO, &log) == 0) {
        look.log_dev = log.st_dev;
        look.log_ino = log.st_ino;
    }
    look.failed = look.hasher == NULL;
    if (look.failed) {
        *out = look;
        return;
    }
    if (config_path != NULL) {
        look_at_file(&look, config_path);
    }
    for (size_t i = 0; i < config->n_datasets; i++) {
        look_at_dataset(&look, &config->datasets[i]);
    }
    look_sort(&look);
    hash = amb_hasher_get(look.hasher);
    memcpy(&look.digest, hash.bytes, sizeof look.digest);
    look.hasher = amb_hasher_free(look.hasher);
    *out = look;
}

void ambd_look_deinit(struct ambd_look *look) {
    for (size_t i = 0; i < look->n_views; i++) {
        view_deinit(&look->views[i]);
    }
    amb_free(look->views);
    look->views = NULL;
    look->n_views = 0;
}

bool ambd_look_same_views(const struct ambd_look *a, const struct ambd_look *b) {
    bool same = a->n_views == b->n_views;

    for (size_t i = 0; same && i < a->n_views; i++) {
        same = view_compare(&a->views[i], &b->views[i]) == 0;
    }
    return same;
}
