/*
 * Reload: survey (a desk of its own, at low priority: shards), file (the clerk's desk: annotations), adopt (loop).
 *
 * Until the last of them nothing has changed for anybody. Survey and filing go on behind the first bad shard and file, so
 * that a refusal names everything that is wrong; of annotations whose shards are bad, what can be told without them. What
 * cannot change in a running daemon is told, and left as it is.
 *
 * Not here: how streams come to stand on what was adopted (move.c), who watches for changes (lookout.c).
 */
#include "daemon/reload.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/alloc.h"
#include "batch/load.h"
#include "daemon/lines.h"
#include "daemon/log.h"
#include "daemon/notify.h"
#include "daemon/open.h"
#include "daemon/session.h"
#include "daemon/text.h"
#include "proto/json.h"

#define RELOAD_NICE 19 /* a seventieth of a fill worker's share where both want a core; never starved */

struct reload_request {
    struct reload_request *next;
    struct ambd_session *session; /* held and busy; NULL: nobody waits */
    uint32_t id;
    bool check;
};

struct reload_row {
    struct ambd_dataset *dataset;
    struct ambd_edition *before; /* pinned */
    struct ambd_installment installment;
    bool in_config, changed, new_subscription, new_annotations;
    struct amb_catalog_report report; /* of the new edition */
    struct amb_hash128 fingerprint, annotations;
};

struct ambd_reload {
    struct ambd_task task;
    struct ambd_server *server;
    struct reload_request *requests; /* answered by this one */
    bool check;
    uint64_t began_ns;
    _Atomic uint64_t n_shards, n_done;

    /* the desk's that has it */
    struct ambd_config *config; /* a reference */
    struct reload_row *rows;    /* one for each dataset of the server */
    size_t n_rows;
    struct ambd_lines problems, notes;
    int code;     /* of the first problem */
    bool passing; /* one of them may be gone in a moment, with the files as they are */
};

/* Too many files open, a disk that is full, a server that does not answer. A path that is wrong is told by the same kind of
 * code, and stays wrong until somebody changes something. */
static bool code_is_passing(int code) {
    return amb_load_is_transient(code) && code != -ENOENT && code != -ENOTDIR && code != -EISDIR && code != -ELOOP &&
           code != -ENAMETOOLONG && code != -EACCES && code != -EPERM;
}

/* A thing that is wrong. */
static void reload_object(struct ambd_reload *reload, const struct amb_error *why) {
    reload->passing = reload->passing || code_is_passing(why->code);
    reload->code = ambd_lines_any(&reload->problems) ? reload->code : why->code;
    ambd_lines_push(&reload->problems, why->message);
}

/* Whoever failed has told why, unless there are no more problems than the n_told of before. */
static void reload_object_untold(struct ambd_reload *reload, size_t n_told, const struct amb_error *why) {
    if (reload->problems.n + reload->problems.n_more == n_told) {
        reload_object(reload, why);
    }
}

static void reload_on_problem(void *opaque, const struct amb_error *why) {
    struct ambd_reload *reload = opaque;

    reload_object(reload, why);
}

/* Survey */

static void reload_on_progress(void *opaque, size_t n_done, size_t n_shards, uint64_t n_samples) {
    struct ambd_reload *reload = opaque;

    (void)n_samples;
    atomic_store_explicit(&reload->n_done, n_done, memory_order_relaxed);
    atomic_store_explicit(&reload->n_shards, n_shards, memory_order_relaxed);
}

static int survey_configure(struct ambd_reload *reload, struct amb_error *err) {
    const struct ambd_server *server = reload->server;
    cJSON *tree;
    int r;

    if (server->config_path != NULL) {
        return ambd_config_open(&reload->config, server->config_path, err);
    }
    tree = cJSON_Duplicate(server->config->tree, true);
    r = tree == NULL ? amb_fail(err, -ENOMEM, "no memory for a configuration") : ambd_config_load(&reload->config, tree, err);
    if (r < 0) {
        cJSON_Delete(tree);
    }
    return r;
}

/* Keys of the configuration that only a start reads. */
static void survey_compare(struct ambd_reload *reload) {
    const cJSON *was = reload->server->config->tree, *is = reload->config->tree, *item;

    cJSON_ArrayForEach(item, is) {
        if (strcmp(item->string, "datasets") != 0 &&
            !cJSON_Compare(item, cJSON_GetObjectItemCaseSensitive(was, item->string), true)) {
            ambd_lines_printf(&reload->notes, "%.80s: changed, holds from the next start on", item->string);
        }
    }
    cJSON_ArrayForEach(item, was) {
        if (cJSON_GetObjectItemCaseSensitive(is, item->string) == NULL) {
            ambd_lines_printf(&reload->notes, "%.80s: left out, holds from the next start on", item->string);
        }
    }
    for (size_t i = 0; i < reload->config->n_datasets; i++) {
        const char *name = reload->config->datasets[i].name;
        bool known = false;

        for (size_t k = 0; k < reload->n_rows; k++) {
            known = known || strcmp(reload->rows[k].dataset->name, name) == 0;
        }
        if (!known) {
            ambd_lines_printf(&reload->notes, "dataset '%.64s': new, served from the next start on", name);
        }
    }
}

static void survey_row(struct ambd_reload *reload, struct reload_row *row) {
    const struct ambd_server *server = reload->server;
    struct ambd_installment *installment = &row->installment;
    struct ambd_edition_options options = {
        .config = reload->config,
        .options = ambd_config_find(reload->config, row->dataset->name),
        .state_dir = server->config->state_dir,
        .cache_dir = server->cache_dir,
        .limits = &server->codec_limits,
        .cache = server->cache,
        .before = row->before,
        .n_threads = 1,
        .progress = reload_on_progress,
        .progress_opaque = reload,
        .problem = reload_on_problem,
        .problem_opaque = reload,
        .pace = &reload->server->pace,
    };
    const size_t n_told = reload->problems.n + reload->problems.n_more;
    struct amb_error why = AMB_ERROR_NULL;

    row->in_config = options.options != NULL;
    if (!row->in_config) {
        ambd_lines_printf(&reload->notes, "dataset '%.64s': left out, served until the next start", row->dataset->name);
        return;
    }
    if (ambd_edition_open(&installment->edition, &options, &why) < 0) {
        reload_object_untold(reload, n_told, &why);
        return;
    }
    installment->config = ambd_config_ref(reload->config);
    installment->options = options.options;
    row->report = installment->edition->report;
    row->fingerprint = installment->edition->fingerprint;
    row->changed = !ambd_edition_same(row->before, installment->edition);
    row->new_subscription =
        ambd_edition_fits(installment->edition, &row->before->fill.shape, row->before->fill.noise_seed, NULL) < 0;
    if (!row->changed) {
        installment->edition = ambd_edition_close(installment->edition);
    }
}

/* Closing a thousand shards takes a while: here, not on the loop. */
static void reload_drop(struct ambd_reload *reload) {
    for (size_t i = 0; i < reload->n_rows; i++) {
        ambd_installment_deinit(&reload->rows[i].installment);
    }
}

/* They will not be filed: what is wrong with them is told now. */
static void survey_annotations(struct ambd_reload *reload) {
    const struct ambd_annotator_ear ear = {.problem = reload_on_problem, .opaque = reload};

    for (size_t i = 0; i < reload->n_rows; i++) {
        const struct ambd_dataset_config *dataset = ambd_config_find(reload->config, reload->rows[i].dataset->name);

        if (dataset != NULL) {
            ambd_annotator_look(&ear, dataset->annotations);
        }
    }
}

static void survey_run(struct ambd_task *task) {
    struct ambd_reload *reload = (struct ambd_reload *)task;
    struct amb_error why = AMB_ERROR_NULL;

    setpriority(PRIO_PROCESS, (id_t)gettid(), RELOAD_NICE); /* of this thread and those that it starts */
    if (survey_configure(reload, &why) < 0) {
        reload_object(reload, &why);
        return;
    }
    survey_compare(reload);
    for (size_t i = 0; i < reload->n_rows; i++) {
        survey_row(reload, &reload->rows[i]);
    }
    if (ambd_lines_any(&reload->problems)) {
        survey_annotations(reload);
        reload_drop(reload);
    }
}

/* Filing */

static void file_run(struct ambd_task *task) {
    struct ambd_reload *reload = (struct ambd_reload *)task;

    for (size_t i = 0; i < reload->n_rows; i++) {
        struct reload_row *row = &reload->rows[i];
        const size_t n_told = reload->problems.n + reload->problems.n_more;
        struct amb_error why = AMB_ERROR_NULL;

        if (row->installment.config == NULL) {
            continue;
        }
        if (ambd_dataset_prepare(&row->installment, row->dataset, reload_on_problem, reload, &why) < 0) {
            reload_object_untold(reload, n_told, &why);
            continue;
        }
        row->annotations = row->installment.minted.generation->annotations->fingerprint;
        row->new_annotations = !amb_hash128_equal(&row->annotations, &row->dataset->last_fingerprint);
    }
    if (ambd_lines_any(&reload->problems) || reload->check) {
        reload_drop(reload);
        return;
    }
    for (size_t i = 0; i < reload->n_rows; i++) {
        struct reload_row *row = &reload->rows[i];

        if (row->installment.config != NULL) {
            /* whoever stays on it reads those files again: they may have come back as they were */
            amb_quarantine_forget(row->before->fill.quarantine, AMB_ERR_CHANGED);
            ambd_dataset_install(&row->installment, row->dataset);
        }
    }
}

/* Answering */

static cJSON *row_encode(const struct ambd_reload *reload, const struct reload_row *row) {
    const struct ambd_dataset *dataset = row->dataset;
    const struct amb_catalog_report *report = row->in_config ? &row->report : &row->before->report;
    size_t n_before = amb_catalog_count_shards(row->before->fill.catalog);
    cJSON *json = cJSON_CreateObject(), *annotations;
    char text[AMB_HASH128_TEXT_BYTES];

    cJSON_AddBoolToObject(json, "changed", row->changed);
    if (reload->check && row->changed) {
        cJSON_AddNullToObject(json, "number");
    } else {
        ambp_json_add_u64(json, "number", dataset->edition->number);
    }
    amb_hash128_text(text, row->in_config ? &row->fingerprint : &row->before->fingerprint);
    cJSON_AddStringToObject(json, "fingerprint", text);
    ambp_json_add_u64(json, "samples", report->n_samples);
    ambp_json_add_u64(json, "shards", report->n_shards);
    ambp_json_add_u64(json, "kept", row->in_config ? report->n_kept : n_before);
    ambp_json_add_u64(json, "opened", report->n_shards - (row->in_config ? report->n_kept : n_before));
    ambp_json_add_u64(json, "gone", row->in_config && n_before > report->n_kept ? n_before - report->n_kept : 0);
    cJSON_AddBoolToObject(json, "new_subscription", row->new_subscription);
    annotations = cJSON_AddObjectToObject(json, "annotations");
    cJSON_AddBoolToObject(annotations, "changed", row->new_annotations);
    if (reload->check && (row->changed || row->new_annotations)) {
        cJSON_AddNullToObject(annotations, "number");
    } else {
        ambp_json_add_u64(annotations, "number", dataset->current->number);
    }
    amb_hash128_text(text, row->in_config ? &row->annotations : &dataset->current->annotations->fingerprint);
    cJSON_AddStringToObject(annotations, "fingerprint", text);
    return json;
}

static char *reload_answer(const struct ambd_reload *reload, bool changed) {
    cJSON *json = cJSON_CreateObject(), *datasets;

    cJSON_AddBoolToObject(json, "check", reload->check);
    cJSON_AddBoolToObject(json, "changed", changed);
    ambp_json_add_f64(json, "seconds", (double)(ambd_now_ns() - reload->began_ns) * 1e-9);
    ambp_json_add_item(json, "needs_restart", ambd_lines_encode(&reload->notes));
    datasets = cJSON_AddObjectToObject(json, "datasets");
    for (size_t i = 0; i < reload->n_rows; i++) {
        ambp_json_add_item(datasets, reload->rows[i].dataset->name, row_encode(reload, &reload->rows[i]));
    }
    return ambd_json_print(json);
}

static void request_answer(struct reload_request *request, const struct ambd_reload *reload, bool changed) {
    struct ambd_session *session = request->session;
    struct amb_error why;
    cJSON *detail;

    if (session == NULL) {
        return;
    }
    if (!session->closing && ambd_lines_any(&reload->problems)) {
        size_t n = reload->problems.n + reload->problems.n_more;
        char many[64] = "";

        if (n > 1) {
            snprintf(many, sizeof many, "%zu problems, the first: ", n);
        }
        amb_fail(&why, reload->code, "not reloaded: %s%s", many,
                 reload->problems.n > 0 ? reload->problems.lines[0] : "out of memory");
        detail = cJSON_CreateObject();
        ambp_json_add_item(detail, "problems", ambd_lines_encode(&reload->problems));
        ambd_session_fail(session, request->id, &why, detail, false);
    } else if (!session->closing) {
        ambd_session_reply(session, request->id, reload_answer(reload, changed));
    }
    ambd_session_set_busy(session, false);
    ambd_session_pump(session);
    ambd_session_drop(session);
}

static void reload_refuse_waiting(struct ambd_server *server, int code, const char *why) {
    struct ambd_reload nothing = {.server = server};

    while (server->reload_requests != NULL) {
        struct reload_request *request = server->reload_requests;

        server->reload_requests = request->next;
        nothing.code = code;
        ambd_lines_push(&nothing.problems, why);
        request_answer(request, &nothing, false);
        ambd_lines_deinit(&nothing.problems);
        amb_free(request);
    }
}

/* Adopting */

static bool row_adopt(struct ambd_reload *reload, struct reload_row *row) {
    struct ambd_server *server = reload->server;
    struct ambd_dataset *dataset = row->dataset;
    struct ambd_lines old = dataset->reports;
    bool changed = row->installment.minted.generation != NULL;

    server->jobs.changes++; /* watchers hear of it */
    if (row->installment.config == NULL) {
        return false;
    }
    ambd_lines_deinit(&dataset->refused);
    dataset->reports = row->installment.minted.reports;
    row->installment.minted.reports = old;
    ambd_server_adopt(server, dataset, &row->installment.minted);
    if (row->changed) {
        ambd_open_log(dataset, reload->began_ns);
        ambd_jobs_renew(&server->jobs, dataset);
    }
    ambd_log(AMBD_INFO, "reload.done dataset=%s changed=%d generation=%llu samples=%llu shards=%llu kept=%llu", dataset->name,
             row->changed, (unsigned long long)dataset->edition->number, (unsigned long long)row->report.n_samples,
             (unsigned long long)row->report.n_shards, (unsigned long long)row->report.n_kept);
    return changed || row->changed;
}

static void reload_log(const struct ambd_reload *reload) {
    for (size_t i = 0; i < reload->problems.n; i++) {
        ambd_log(AMBD_ERROR, "reload.refused check=%d reason=\"%s\"", reload->check, reload->problems.lines[i]);
    }
    for (size_t i = 0; i < reload->notes.n; i++) {
        ambd_log(AMBD_WARN, "reload.later what=\"%s\"", reload->notes.lines[i]);
    }
}

static void reload_free(struct ambd_reload *reload) {
    reload_drop(reload);
    for (size_t i = 0; i < reload->n_rows; i++) {
        if (reload->rows[i].before != NULL) {
            ambd_dataset_unpin_edition(reload->rows[i].dataset, reload->rows[i].before);
        }
    }
    ambd_lines_deinit(&reload->problems);
    ambd_lines_deinit(&reload->notes);
    ambd_config_unref(reload->config);
    amb_free(reload->rows);
    amb_free(reload);
}

static void reload_start(struct ambd_server *server);

static void reload_finish(struct ambd_reload *reload) {
    struct ambd_server *server = reload->server;
    bool refused = ambd_lines_any(&reload->problems), check = reload->check, again = reload->passing, changed = false;

    reload_log(reload);
    for (size_t i = 0; i < reload->n_rows && !refused; i++) {
        struct reload_row *row = &reload->rows[i];

        changed = (reload->check ? row->changed || row->new_annotations : row_adopt(reload, row)) || changed;
    }
    server->counters.reloads += !refused && !reload->check;
    server->counters.reloads_refused += refused && !reload->check;
    if (!refused && !reload->check) {
        ambd_config_unref(server->latest);
        server->latest = ambd_config_ref(reload->config);
    }
    server->reload = NULL;
    while (reload->requests != NULL) {
        struct reload_request *next = reload->requests->next;

        request_answer(reload->requests, reload, changed);
        amb_free(reload->requests);
        reload->requests = next;
    }
    reload_free(reload);
    if (!server->stopping) {
        ambd_notify("READY=1");
        if (!check) {
            ambd_lookout_end_reload(&server->lookout, again);
        }
        reload_start(server);
    }
    ambd_server_continue_stop(server);
}

static void file_done(struct ambd_task *task) {
    reload_finish((struct ambd_reload *)task);
}

static void survey_done(struct ambd_task *task) {
    struct ambd_reload *reload = (struct ambd_reload *)task;

    if (ambd_lines_any(&reload->problems) || reload->server->stopping) {
        if (!ambd_lines_any(&reload->problems)) {
            reload->code = -ESHUTDOWN;
            ambd_lines_push(&reload->problems, "the daemon is stopping");
        }
        reload_finish(reload);
        return;
    }
    reload->task.run = file_run;
    reload->task.done = file_done;
    ambd_desk_push(&reload->server->clerk, &reload->task);
}

/* Starting */

static struct ambd_reload *reload_new(struct ambd_server *server) {
    struct ambd_reload *reload = amb_calloc(1, sizeof *reload);

    if (reload == NULL) {
        return NULL;
    }
    reload->rows = amb_calloc(server->n_datasets, sizeof *reload->rows);
    if (reload->rows == NULL) {
        amb_free(reload);
        return NULL;
    }
    reload->task = (struct ambd_task){.run = survey_run, .done = survey_done};
    reload->server = server;
    reload->began_ns = ambd_now_ns();
    reload->n_rows = server->n_datasets;
    for (size_t i = 0; i < reload->n_rows; i++) {
        reload->rows[i].dataset = server->datasets[i];
        reload->rows[i].before = ambd_dataset_pin_edition(server->datasets[i]->edition);
    }
    return reload;
}

/* Take all that wait and ask for the same as the first of them. */
static void reload_start(struct ambd_server *server) {
    struct reload_request **at = &server->reload_requests, **end;
    struct ambd_reload *reload;

    if (server->reload != NULL || *at == NULL) {
        return;
    }
    reload = reload_new(server);
    if (reload == NULL) {
        ambd_log(AMBD_ERROR, "reload.refused reason=\"out of memory\"");
        reload_refuse_waiting(server, -ENOMEM, "no memory for a reload");
        return;
    }
    reload->check = (*at)->check;
    end = &reload->requests;
    while (*at != NULL) {
        struct reload_request *request = *at;

        if (request->check != reload->check) {
            at = &request->next;
            continue;
        }
        *at = request->next;
        request->next = NULL;
        *end = request;
        end = &request->next;
    }
    server->reload = reload;
    ambd_notify_reloading();
    if (!reload->check) {
        ambd_lookout_begin_reload(&server->lookout);
    }
    ambd_desk_push(&server->surveyor, &reload->task);
}

void ambd_reload_push(struct ambd_server *server, struct ambd_session *session, uint32_t id, bool check) {
    struct reload_request *request = amb_calloc(1, sizeof *request), **at = &server->reload_requests;
    struct amb_error err;

    if (request == NULL) {
        amb_fail(&err, -ENOMEM, "no memory for a reload");
        ambd_log(AMBD_ERROR, "reload.refused reason=\"%s\"", err.message);
        if (session != NULL) {
            ambd_session_fail(session, id, &err, NULL, false);
        }
        return;
    }
    *request = (struct reload_request){.session = session, .id = id, .check = check};
    while (*at != NULL) {
        if (session == NULL && (*at)->session == NULL && (*at)->check == check) {
            amb_free(request); /* a storm of signals is one */
            return;
        }
        at = &(*at)->next;
    }
    *at = request;
    if (session != NULL) {
        ambd_session_hold(session);
        ambd_session_set_busy(session, true);
    }
    reload_start(server);
}

int ambd_query_reload(struct ambd_session *session, uint32_t id, const cJSON *json, struct amb_error *err) {
    static const char *const keys[] = {"check"};
    bool check = false;
    int r = ambp_json_check_keys(json, "RELOAD", keys, 1, err);

    r = r < 0 ? r : ambp_json_get_bool(&check, json, "check", false, err);
    if (r == 0) {
        ambd_reload_push(session->server, session, id, check);
    }
    return r;
}

bool ambd_reload_stop(struct ambd_server *server) {
    reload_refuse_waiting(server, -ESHUTDOWN, "the daemon is stopping");
    return server->reload == NULL;
}

cJSON *ambd_reload_encode(const struct ambd_server *server) {
    struct ambd_reload *reload = server->reload;
    cJSON *json;

    if (reload == NULL) {
        return cJSON_CreateNull();
    }
    json = cJSON_CreateObject();
    cJSON_AddBoolToObject(json, "check", reload->check);
    ambp_json_add_u64(json, "shards", atomic_load_explicit(&reload->n_shards, memory_order_relaxed));
    ambp_json_add_u64(json, "shards_done", atomic_load_explicit(&reload->n_done, memory_order_relaxed));
    ambp_json_add_f64(json, "seconds", (double)(ambd_now_ns() - reload->began_ns) * 1e-9);
    return json;
}
