/*
 * Request: sigmas of the client -> a slot of samples that fit them, on the fingerprints that the request
 * names.
 *
 * Each takes a free slot and moves nothing: neither k nor a cursor. The target of each generation asked for
 * is kept only while it is the one last used, since a trainer asks on the fingerprints of its present state.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "daemon/stream.h"
#include "proto/json.h"
#include "proto/wire.h"

#define SIGMAS_TOLD_MAX 1024u /* of those that nothing admits: an ERROR is one frame */

struct retarget {
    struct ambd_task task;
    struct ambd_stream *stream;
    uint32_t id;
    struct ambd_slot *slot;             /* reserved: FILLING, but not pushed */
    struct ambd_generation *generation; /* pinned */
    struct ambd_target *target;
    struct amb_sampler_report report;
    struct amb_error error;
};

static uint64_t stream_kept(const struct ambd_stream *stream) {
    return stream->server->config->limits.generations_kept;
}

void ambd_stream_on_request_failed(struct ambd_stream *stream, struct ambd_slot *slot) {
    struct ambd_fill *fill = &slot->fill;
    cJSON *detail = NULL, *list;

    if (fill->error.code == AMB_ERR_GAP) {
        detail = cJSON_CreateObject();
        list = cJSON_AddArrayToObject(detail, "sigmas");
        for (uint32_t j = 0, n_told = 0; j < fill->n_sigmas && n_told < SIGMAS_TOLD_MAX; j++) {
            if (!isnan(fill->sigmas[j])) {
                double level = slot->k == 1
                                   ? amb_process_t(stream->subscription.options.process, fill->sigmas[j])
                                   : fill->sigmas[j];

                n_told++;
                ambp_json_add_item(list, NULL,
                                     isinf(level) ? cJSON_CreateString("inf") : cJSON_CreateNumber(level));
            }
        }
    }
    ambd_session_fail(stream->session, slot->request_id, &fill->error, detail, false);
}

/* Sigmas to the VE scale, into the slot's array. */
static int request_load_sigmas(struct ambd_stream *stream, struct ambd_slot *slot,
                               const struct ambp_request *request, struct amb_error *err) {
    size_t i_slot = (size_t)(slot - stream->slots);
    enum amb_process process = stream->subscription.options.process;
    double *sigmas = stream->sigmas + i_slot * stream->subscription.batch_size;

    if (request->n_sigmas == 0 || request->n_sigmas > stream->subscription.batch_size) {
        return amb_fail(err, AMB_ERR_CONFIG, "REQUEST of %u sigmas, allowed: 1 to the batch size %u",
                        request->n_sigmas, stream->subscription.batch_size);
    }
    for (uint32_t j = 0; j < request->n_sigmas; j++) {
        double level = ambp_load_f64le(request->sigmas + 8 * (size_t)j), s = level;
        int r;

        if (request->scale == AMB_SCALE_T && process != AMB_PROCESS_VE && !(level >= 0 && level <= 1)) {
            return amb_fail(err, AMB_ERR_CONFIG,
                            "sigma %u of the REQUEST is %g, allowed with process %s: 0 to 1", j, level,
                            amb_process_name(process));
        }
        if (!(level >= 0)) {
            return amb_fail(err, AMB_ERR_CONFIG, "sigma %u of the REQUEST is %g, allowed: from 0", j, level);
        }
        s = request->scale == AMB_SCALE_T ? amb_process_s(process, level) : level;
        r = ambd_subscription_check_level(&stream->subscription, s, err);
        if (r < 0) {
            return r;
        }
        sigmas[j] = s;
    }
    slot->fill.sigmas = sigmas;
    slot->fill.n_sigmas = request->n_sigmas;
    return 0;
}

static void request_push(struct ambd_stream *stream, struct ambd_slot *slot, uint32_t id) {
    ambd_stream_push_fill(stream, slot, stream->target);
    slot->request_id = id;
    stream->server->counters.requests++;
}

static void retarget_run(struct ambd_task *task) {
    struct retarget *retarget = (struct retarget *)task;

    ambd_target_new(&retarget->target, retarget->generation, &retarget->stream->subscription,
                    &retarget->stream->layout, &retarget->report, &retarget->error);
}

static void stream_set_target(struct ambd_stream *stream, struct ambd_target *target) {
    stream->target->generation->n_streams--;
    target->generation->n_streams++;
    ambd_target_unref(stream->target, stream_kept(stream));
    stream->target = target;
}

static void retarget_done(struct ambd_task *task) {
    struct retarget *retarget = (struct retarget *)task;
    struct ambd_stream *stream = retarget->stream;
    struct ambd_session *session = stream->session;

    retarget->slot->state = AMBD_SLOT_FREE;
    if (retarget->target == NULL) {
        ambd_dataset_unpin(stream->subscription.dataset, retarget->generation, stream_kept(stream));
    }
    if (stream->abandoned) {
        ambd_target_unref(retarget->target, stream_kept(stream));
    } else if (retarget->target != NULL) {
        stream_set_target(stream, retarget->target);
        request_push(stream, retarget->slot, retarget->id);
    } else {
        ambd_session_fail(session, retarget->id, &retarget->error,
                          retarget->error.code == AMB_ERR_GAP ? ambd_gap_encode(&retarget->report) : NULL,
                          false);
    }
    amb_free(retarget);
    ambd_session_set_busy(session, false);
    if (!ambd_stream_drop(stream)) {
        ambd_session_pump(session);
    }
}

static int retarget_push(struct ambd_stream *stream, struct ambd_slot *slot, uint32_t id,
                         struct ambd_generation *generation, struct amb_error *err) {
    struct retarget *retarget = amb_calloc(1, sizeof *retarget);

    if (retarget == NULL) {
        return amb_fail(err, -ENOMEM, "no memory to prepare a generation");
    }
    retarget->task = (struct ambd_task){.run = retarget_run, .done = retarget_done};
    retarget->stream = stream;
    retarget->id = id;
    retarget->slot = slot;
    retarget->generation = ambd_dataset_pin(generation);
    slot->state = AMBD_SLOT_FILLING;
    ambd_stream_hold(stream);
    ambd_session_set_busy(stream->session, true);
    ambd_desk_push(&stream->server->builder, &retarget->task);
    return 0;
}

int ambd_stream_request(struct ambd_stream *stream, uint32_t id, const struct ambp_request *request,
                        struct amb_error *err) {
    struct ambd_move_request named = {
        .has_dataset = true,
        .has_annotations = true,
        .dataset = request->dataset,
        .annotations = request->annotations,
    };
    struct ambd_generation *generation;
    struct ambd_slot *slot;
    int r;

    if (!stream->subscription.request_mode) {
        return amb_fail(err, AMB_ERR_CONFIG,
                        "REQUEST in a session of mode 'stream'; open another with mode 'request'");
    }
    slot = ambd_stream_find_free(stream);
    if (slot == NULL) {
        return amb_fail(err, AMB_ERR_BUSY, "REQUEST while all %u slots are in use; give one back first",
                        stream->subscription.n_slots);
    }
    r = request_load_sigmas(stream, slot, request, err);
    r = r < 0 ? r : ambd_stream_find_generation(&generation, stream->session, stream->subscription.dataset, &named, NULL, err);
    if (r < 0) {
        return r;
    }
    slot->step = request->q;
    slot->k = request->scale; /* of the sigmas, for the answer where they are refused */
    slot->fill.kind = AMBD_FILL_REQUEST;
    slot->fill.state.q = request->q;
    if (stream->target->generation != generation) {
        return retarget_push(stream, slot, id, generation, err);
    }
    request_push(stream, slot, id);
    return 0;
}
