/*
 * Lookout: a hint, not the contract. Folders that hold shards, annotation files and the configuration are watched by
 * inotify, for names that fit the patterns and files; a burst of changes is one reload, once it has been quiet for a
 * moment. Where inotify does not see (network file systems, a file changed in place by another machine, targets of links,
 * too few watches) sizes and times are compared now and then.
 *
 * Each look is compared with the one before it. A reload takes one before it reads anything, and one behind it: so every
 * change is in a reload that began later, or is seen.
 *
 * What is looked at (look.c) is found out on the surveyor's desk: folders of shards may be deep, and file systems slow.
 */
#include "daemon/lookout.h"

#include <fnmatch.h>
#include <string.h>

#include "base/alloc.h"
#include "daemon/log.h"
#include "daemon/reload.h"
#include "daemon/server.h"

#define QUIET_MS    500u                  /* a shard and its neighbour come together; not tuned */
#define PATIENCE_NS UINT64_C(10000000000) /* somebody who never stops writing does not hold back the others */

enum survey_kind {
    SURVEY_BEFORE, /* a reload reads the files: it needs no other */
    SURVEY_AFTER,
    SURVEY_POLL,
};

/* Belongs to the desk until done. */
struct survey {
    struct ambd_task task;
    struct ambd_server *server;
    struct ambd_config *config; /* a reference */
    enum survey_kind kind;
    struct ambd_look look;
};

/* Desk */

static void survey_run(struct ambd_task *task) {
    struct survey *survey = (struct survey *)task;

    ambd_look_take(&survey->look, survey->config, survey->server->config_path, &survey->server->lookout.premises);
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

    lookout->due = true;
    lookout->first_ns = lookout->first_ns != 0 ? lookout->first_ns : now_ns;
    if (now_ns - lookout->first_ns < PATIENCE_NS) {
        uv_timer_start(&lookout->quiet, lookout_on_quiet, QUIET_MS, 0);
    }
}

static bool view_has(const struct ambd_view *view, const char *name) {
    return strcmp(view->glob, name) == 0 || fnmatch(view->glob, name, FNM_PERIOD) == 0; /* a name may have brackets in it */
}

/* Does a change of `name` in this folder count? */
static bool lookout_minds(const struct ambd_lookout *lookout, const char *folder, const char *name, int events) {
    const char *base = strrchr(folder, '/');
    bool minds = name == NULL || strcmp(name, base != NULL ? base + 1 : folder) == 0; /* the folder itself */

    for (size_t i = 0; i < lookout->last.n_views && name != NULL; i++) {
        const struct ambd_view *view = &lookout->last.views[i];

        if (strcmp(view->folder, folder) != 0) {
            continue;
        }
        if (view->kind == AMBD_VIEW_LOG && strcmp(view->glob, name) == 0) {
            return false;
        }
        minds = minds || ((view->kind == AMBD_VIEW_FILES || (events & UV_RENAME)) && view_has(view, name));
    }
    return minds;
}

static void lookout_on_event(uv_fs_event_t *event, const char *name, int events, int status) {
    struct ambd_lookout *lookout = event->data;

    if (status < 0 || lookout_minds(lookout, event->path, name, events)) { /* a folder that goes is a change too */
        lookout_note(lookout);
    }
}

static void lookout_watch(struct ambd_lookout *lookout) {
    size_t n_blind = 0, n_folders = 0;

    lookout_close_events(lookout);
    lookout->events = amb_calloc(lookout->last.n_views + 1, sizeof *lookout->events);
    for (size_t i = 0; i < lookout->last.n_views && lookout->events != NULL; i++) {
        uv_fs_event_t *event;

        if (!ambd_view_is_first(lookout->last.views, i)) {
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
        if (uv_fs_event_start(event, lookout_on_event, lookout->last.views[i].folder, 0) < 0) {
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

static void lookout_take(struct ambd_lookout *lookout, struct survey *survey) {
    struct ambd_look last = lookout->last;
    bool changed = survey->look.digest != last.digest;

    if (survey->look.failed) {
        return; /* the next poll is tried instead */
    }
    lookout->last = survey->look;
    survey->look = last;
    if (!ambd_look_same_views(&lookout->last, &last)) {
        lookout_watch(lookout);
    }
    if ((changed && survey->kind != SURVEY_BEFORE) || (lookout->due && survey->kind == SURVEY_POLL)) {
        lookout_note(lookout); /* behind the watch: what changed before anybody watched is in the reload */
    }
}

static void survey_done(struct ambd_task *task) {
    struct survey *survey = (struct survey *)task;
    struct ambd_server *server = survey->server;
    struct ambd_lookout *lookout = &server->lookout;

    lookout->n_surveys--;
    if (lookout->started && !server->stopping) {
        lookout_take(lookout, survey);
        uv_timer_again(&lookout->poll);
    }
    ambd_look_deinit(&survey->look);
    ambd_config_unref(survey->config);
    amb_free(survey);
    ambd_server_continue_stop(server);
}

/* Without memory for one, the next poll finds what differs from the last. */
static void lookout_survey(struct ambd_lookout *lookout, enum survey_kind kind) {
    struct ambd_server *server = lookout->server;
    struct survey *survey = server->stopping ? NULL : amb_calloc(1, sizeof *survey);

    if (survey == NULL) {
        return;
    }
    survey->task = (struct ambd_task){.run = survey_run, .done = survey_done};
    survey->server = server;
    survey->config = ambd_config_ref(server->latest);
    survey->kind = kind;
    lookout->n_surveys++;
    ambd_desk_push(&server->surveyor, &survey->task);
}

static void lookout_on_poll(uv_timer_t *timer) {
    struct ambd_lookout *lookout = timer->data;

    if (lookout->n_surveys == 0) {
        lookout_survey(lookout, SURVEY_POLL);
    }
}

int ambd_lookout_start(struct ambd_lookout *lookout, struct ambd_server *server, struct amb_error *err) {
    (void)err;
    if (!server->config->watch) {
        return 0;
    }
    lookout->server = server;
    lookout->premises = (struct ambd_premises){.state_dir = server->config->state_dir, .cache_dir = server->cache_dir};
    lookout->started = true;
    uv_timer_init(&server->loop, &lookout->quiet);
    uv_timer_init(&server->loop, &lookout->poll);
    lookout->quiet.data = lookout->poll.data = lookout;
    uv_timer_start(&lookout->poll, lookout_on_poll, server->config->watch_poll_s * 1000, server->config->watch_poll_s * 1000);
    lookout_survey(lookout, SURVEY_AFTER);
    return 0;
}

void ambd_lookout_begin_reload(struct ambd_lookout *lookout) {
    if (lookout->started) {
        lookout->due = false;
        lookout_survey(lookout, SURVEY_BEFORE);
    }
}

void ambd_lookout_end_reload(struct ambd_lookout *lookout, bool again) {
    if (lookout->started) {
        lookout->due = lookout->due || again;
        lookout_survey(lookout, SURVEY_AFTER); /* of what may be another configuration */
    }
}

void ambd_lookout_stop(struct ambd_lookout *lookout) {
    if (!lookout->started) {
        return;
    }
    lookout->started = false;
    lookout_close_events(lookout);
    ambd_look_deinit(&lookout->last);
    uv_close((uv_handle_t *)&lookout->quiet, NULL);
    uv_close((uv_handle_t *)&lookout->poll, NULL);
}
