/*
 * Lookout: a hint, not the contract. Folders that hold shards, annotation files and the configuration are watched by
 * inotify, for names that fit the patterns and files; a burst of changes is one reload, once it has been quiet for a
 * moment. Where inotify does not see (network file systems, a file changed in place by another machine, too few watches)
 * sizes and times are compared now and then.
 *
 * What is looked at is found out on the surveyor's desk: folders of shards may be deep, and file systems slow.
 */
#include "daemon/lookout.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "daemon/log.h"
#include "daemon/reload.h"
#include "daemon/server.h"

#define QUIET_MS    500u                  /* a shard and its neighbour come together; not tuned */
#define PATIENCE_NS UINT64_C(10000000000) /* somebody who never stops writing does not hold back the others */
#define VIEWS_MAX   8192u                 /* fs.inotify.max_user_watches is 8192 on small machines */

/* A look around; belongs to the desk until done. */
struct look {
    struct ambd_task task;
    struct ambd_server *server;
    struct ambd_config *config;   /* a reference */
    struct ambd_edition **editions; /* pinned; one for each dataset */
    size_t n_editions;
    struct ambd_view *views;
    size_t n_views;
    struct amb_hasher *hasher;
    uint64_t digest;
};

/* Desk */

/* Names that fit `glob` in the first `bytes` of `path`. */
static void look_push_view(struct look *look, const char *path, size_t bytes, const char *glob) {
    struct ambd_view *grown, view;

    if (look->n_views == VIEWS_MAX) {
        return;
    }
    grown = amb_realloc(look->views, (look->n_views + 1) * sizeof *grown);
    if (grown == NULL) {
        return;
    }
    look->views = grown;
    view.folder = amb_malloc(bytes + 2);
    view.glob = amb_strdup(glob);
    if (view.folder == NULL || view.glob == NULL) {
        amb_free(view.folder);
        amb_free(view.glob);
        return;
    }
    snprintf(view.folder, bytes + 2, "%.*s", (int)(bytes > 0 ? bytes : 1), bytes > 0 ? path : ".");
    grown[look->n_views++] = view;
}

/* What a name may be that the rest of a pattern stands for: as it is, but for {a,b} and {0..9}, which fnmatch does not
 * know; anything where it goes on into folders. */
static void pattern_glob(char *out, size_t bytes, const char *rest) {
    size_t n = 0;

    if (strchr(rest, '/') != NULL || strlen(rest) >= bytes) {
        rest = "*";
    }
    while (*rest != '\0') {
        const char *end = *rest == '{' ? strchr(rest, '}') : NULL;

        out[n++] = end != NULL ? '*' : *rest;
        rest = end != NULL ? end + 1 : rest + 1;
    }
    out[n] = '\0';
}

/* The folder in which a file lies; of a pattern: the last one before anything that stands for several. */
static void look_push_parent(struct look *look, const char *path) {
    size_t n = strcspn(path, "*?[{");
    char glob[1024];

    while (n > 0 && path[n - 1] != '/') {
        n--;
    }
    pattern_glob(glob, sizeof glob, path + n);
    while (n > 1 && path[n - 1] == '/') {
        n--;
    }
    look_push_view(look, path, n, glob);
}

static void look_push_stat(struct look *look, const char *path) {
    struct stat st;
    uint64_t words[4] = {0};

    if (stat(path, &st) == 0) {
        words[0] = st.st_ino;
        words[1] = (uint64_t)st.st_size;
        words[2] = (uint64_t)st.st_mtim.tv_sec * UINT64_C(1000000000) + (uint64_t)st.st_mtim.tv_nsec;
        words[3] = 1;
    }
    amb_hasher_push(look->hasher, words, sizeof words);
}

/* A folder that is a shard, with the folders in it; links are not followed, as in shard/folder.c. */
static void look_push_tree(struct look *look, const char *path, unsigned depth) {
    DIR *dir = depth < 64 ? opendir(path) : NULL;
    char inner[4096];

    if (dir == NULL) {
        return;
    }
    look_push_view(look, path, strlen(path), "*");
    look_push_stat(look, path);
    for (struct dirent *entry = readdir(dir); entry != NULL && look->n_views < VIEWS_MAX; entry = readdir(dir)) {
        struct stat st;

        if (entry->d_name[0] != '.' && fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISDIR(st.st_mode) && snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name) < (int)sizeof inner) {
            look_push_tree(look, inner, depth + 1);
        }
    }
    closedir(dir);
}

static void look_at_config(struct look *look) {
    for (size_t i = 0; i < look->config->n_datasets; i++) {
        const struct ambd_dataset_config *dataset = &look->config->datasets[i];
        const cJSON *entry;

        for (size_t k = 0; k < dataset->n_sources; k++) {
            for (size_t p = 0; p < dataset->sources[k].options.n_patterns; p++) {
                look_push_parent(look, dataset->sources[k].options.patterns[p]);
            }
        }
        cJSON_ArrayForEach(entry, dataset->annotations) {
            const cJSON *path = cJSON_GetObjectItemCaseSensitive(entry, "import");

            if (cJSON_IsString(path)) {
                look_push_parent(look, path->valuestring);
                look_push_stat(look, path->valuestring);
            }
        }
    }
    if (look->server->config_path != NULL) {
        look_push_parent(look, look->server->config_path);
        look_push_stat(look, look->server->config_path);
    }
}

static void look_at_shards(struct look *look, const struct amb_catalog *catalog) {
    for (size_t i = 0; i < amb_catalog_count_shards(catalog); i++) {
        enum amb_shard_format format;
        const char *path = amb_catalog_shard(catalog, i, &format, NULL, NULL);

        if (format == AMB_SHARD_FOLDER) {
            look_push_tree(look, path, 0);
        } else {
            look_push_stat(look, path);
        }
    }
}

static int view_compare(const void *a, const void *b) {
    const struct ambd_view *x = a, *y = b;
    int order = strcmp(x->folder, y->folder);

    return order != 0 ? order : strcmp(x->glob, y->glob);
}

static void view_deinit(struct ambd_view *view) {
    amb_free(view->folder);
    amb_free(view->glob);
}

static void look_sort(struct look *look) {
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

/* The first view of its folder. */
static bool view_is_first(const struct ambd_view *views, size_t i) {
    return i == 0 || strcmp(views[i - 1].folder, views[i].folder) != 0;
}

static void look_run(struct ambd_task *task) {
    struct look *look = (struct look *)task;
    struct amb_hash128 hash;

    look_at_config(look);
    for (size_t i = 0; i < look->n_editions; i++) {
        look_at_shards(look, look->editions[i]->fill.catalog);
    }
    look_sort(look);
    for (size_t i = 0; i < look->n_views; i++) {
        if (view_is_first(look->views, i)) {
            look_push_stat(look, look->views[i].folder);
        }
    }
    hash = amb_hasher_get(look->hasher);
    memcpy(&look->digest, hash.bytes, sizeof look->digest);
}

/* Loop */

static void lookout_on_event_closed(uv_handle_t *handle) {
    amb_free(handle);
}

static void lookout_close_events(struct ambd_lookout *lookout) {
    for (size_t i = 0; i < lookout->n_events; i++) {
        uv_close((uv_handle_t *)lookout->events[i], lookout_on_event_closed);
    }
    amb_free(lookout->events);
    lookout->events = NULL;
    lookout->n_events = 0;
}

static void views_free(struct ambd_view *views, size_t n) {
    for (size_t i = 0; i < n; i++) {
        view_deinit(&views[i]);
    }
    amb_free(views);
}

static void lookout_on_quiet(uv_timer_t *timer) {
    struct ambd_lookout *lookout = timer->data;

    lookout->first_ns = 0;
    if (!lookout->server->stopping) {
        ambd_log(AMBD_INFO, "reload.begun reason=\"files have changed\"");
        ambd_reload_push(lookout->server, NULL, 0, false);
    }
}

static void lookout_note(struct ambd_lookout *lookout) {
    uint64_t now_ns = ambd_now_ns();

    lookout->first_ns = lookout->first_ns != 0 ? lookout->first_ns : now_ns;
    if (now_ns - lookout->first_ns < PATIENCE_NS) {
        uv_timer_start(&lookout->quiet, lookout_on_quiet, QUIET_MS, 0);
    }
}

/* Does a change of `name` in this folder count? */
static bool lookout_minds(const struct ambd_lookout *lookout, const char *folder, const char *name) {
    const char *base = strrchr(folder, '/');

    if (name == NULL || strcmp(name, base != NULL ? base + 1 : folder) == 0) {
        return true; /* the folder itself */
    }
    for (size_t i = 0; i < lookout->n_views; i++) {
        if (strcmp(lookout->views[i].folder, folder) == 0 && fnmatch(lookout->views[i].glob, name, 0) == 0) {
            return true;
        }
    }
    return false;
}

static void lookout_on_event(uv_fs_event_t *event, const char *name, int events, int status) {
    struct ambd_lookout *lookout = event->data;

    (void)events;
    if (status < 0 || lookout_minds(lookout, event->path, name)) { /* a folder that goes is a change too */
        lookout_note(lookout);
    }
}

static void lookout_watch(struct ambd_lookout *lookout) {
    size_t n_blind = 0, n_folders = 0;

    lookout_close_events(lookout);
    lookout->events = amb_calloc(lookout->n_views + 1, sizeof *lookout->events);
    for (size_t i = 0; i < lookout->n_views && lookout->events != NULL; i++) {
        uv_fs_event_t *event;

        if (!view_is_first(lookout->views, i)) {
            continue;
        }
        n_folders++;
        event = amb_calloc(1, sizeof *event);
        if (event == NULL) {
            n_blind++;
            continue;
        }
        uv_fs_event_init(&lookout->server->loop, event);
        event->data = lookout;
        if (uv_fs_event_start(event, lookout_on_event, lookout->views[i].folder, 0) < 0) {
            uv_close((uv_handle_t *)event, lookout_on_event_closed);
            n_blind++;
            continue;
        }
        lookout->events[lookout->n_events++] = event;
    }
    if (n_blind > 0 && !lookout->told) {
        ambd_log(AMBD_WARN, "watch.blind folders=%zu of=%zu reason=\"inotify refuses; they are looked at every %llu s\"", n_blind,
                 n_folders, (unsigned long long)lookout->server->config->watch_poll_s);
        lookout->told = true;
    }
}

static bool lookout_has(const struct ambd_lookout *lookout, const struct look *look) {
    bool same = lookout->n_views == look->n_views;

    for (size_t i = 0; same && i < look->n_views; i++) {
        same = view_compare(&lookout->views[i], &look->views[i]) == 0;
    }
    return same;
}

static void look_free(struct look *look) {
    for (size_t i = 0; i < look->n_editions; i++) {
        ambd_dataset_unpin_edition(look->server->datasets[i], look->editions[i]);
    }
    views_free(look->views, look->n_views);
    amb_hasher_free(look->hasher);
    ambd_config_unref(look->config);
    amb_free(look->editions);
    amb_free(look);
}

static void lookout_survey(struct ambd_lookout *lookout);

static void look_done(struct ambd_task *task) {
    struct look *look = (struct look *)task;
    struct ambd_server *server = look->server;
    struct ambd_lookout *lookout = &server->lookout;

    lookout->surveying = false;
    if (lookout->stale) {
        lookout->stale = false;
        lookout_survey(lookout);
    } else if (lookout->started && !server->stopping) {
        if (!lookout_has(lookout, look)) {
            struct ambd_view *views = lookout->views;
            size_t n = lookout->n_views;

            lookout->views = look->views;
            lookout->n_views = look->n_views;
            look->views = views;
            look->n_views = n;
            lookout_watch(lookout);
            lookout_note(lookout); /* what changed before anybody watched */
        }
        if (lookout->surveyed && look->digest != lookout->digest) {
            lookout_note(lookout);
        }
        lookout->surveyed = true;
        lookout->digest = look->digest;
        uv_timer_again(&lookout->poll);
    }
    look_free(look);
    ambd_server_continue_stop(server);
}

static void lookout_survey(struct ambd_lookout *lookout) {
    struct ambd_server *server = lookout->server;
    struct look *look = lookout->surveying || server->stopping ? NULL : amb_calloc(1, sizeof *look);

    if (look == NULL) {
        return;
    }
    look->editions = amb_calloc(server->n_datasets, sizeof *look->editions);
    look->hasher = amb_hasher_new();
    if (look->editions == NULL || look->hasher == NULL) {
        amb_hasher_free(look->hasher);
        amb_free(look->editions);
        amb_free(look);
        return;
    }
    look->task = (struct ambd_task){.run = look_run, .done = look_done};
    look->server = server;
    look->config = ambd_config_ref(server->latest);
    look->n_editions = server->n_datasets;
    for (size_t i = 0; i < look->n_editions; i++) {
        look->editions[i] = ambd_dataset_pin_edition(server->datasets[i]->edition);
    }
    lookout->surveying = true;
    ambd_desk_push(&server->surveyor, &look->task);
}

static void lookout_on_poll(uv_timer_t *timer) {
    lookout_survey(timer->data);
}

int ambd_lookout_start(struct ambd_lookout *lookout, struct ambd_server *server, struct amb_error *err) {
    (void)err;
    if (!server->config->watch) {
        return 0;
    }
    lookout->server = server;
    lookout->started = true;
    uv_timer_init(&server->loop, &lookout->quiet);
    uv_timer_init(&server->loop, &lookout->poll);
    lookout->quiet.data = lookout->poll.data = lookout;
    uv_timer_start(&lookout->poll, lookout_on_poll, server->config->watch_poll_s * 1000, server->config->watch_poll_s * 1000);
    lookout_survey(lookout);
    return 0;
}

void ambd_lookout_renew(struct ambd_lookout *lookout) {
    if (lookout->started) {
        lookout->surveyed = false; /* what has changed up to now is in the reload, or is seen by an event */
        lookout->stale = lookout->surveying;
        lookout_survey(lookout);
    }
}

void ambd_lookout_stop(struct ambd_lookout *lookout) {
    if (!lookout->started) {
        return;
    }
    lookout->started = false;
    lookout_close_events(lookout);
    views_free(lookout->views, lookout->n_views);
    uv_close((uv_handle_t *)&lookout->quiet, NULL);
    uv_close((uv_handle_t *)&lookout->poll, NULL);
}
