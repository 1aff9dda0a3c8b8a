/*
 * Subscribe: layout, quota, orders and sampler, slab; all of it may take seconds, so it runs on the builder's
 * desk while the session reads nothing. SUBSCRIBED carries the memfd.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/size.h"
#include "daemon/log.h"
#include "daemon/stream.h"
#include "daemon/text.h"
#include "proto/json.h"

struct subscribe {
    struct ambd_task task;
    struct ambd_stream *stream;
    struct ambd_generation *generation; /* pinned */
    struct ambd_target *target;
    struct amb_sampler_report report;
    struct amb_error error;
};

static uint64_t stream_kept(const struct ambd_stream *stream) {
    return stream->server->config->limits.generations_kept;
}

/* Desk */

static int subscribe_probe_members(const struct subscribe *subscribe, struct amb_error *err) {
    struct ambd_stream *stream = subscribe->stream;
    AMB_CLEANUP(amb_filler_deinit) struct amb_filler filler = {0};
    bool any = false;
    int r;

    for (uint32_t i = 0; i < stream->layout.n_fields; i++) {
        any = any || stream->layout.fields[i].field == AMB_FIELD_MEMBER;
    }
    if (!any) {
        return 0;
    }
    r = amb_filler_init(&filler, &stream->server->codec_limits, err);
    return r < 0 ? r
                 : amb_fill_probe_members(&stream->layout, &filler,
                                          subscribe->generation->edition->fill.catalog, err);
}

static int subscribe_charge(struct ambd_stream *stream, struct amb_error *err) {
    size_t n_slots = stream->subscription.n_slots, batch_size = stream->subscription.batch_size, slab, draws;
    size_t row = sizeof(struct amb_draw) + (stream->subscription.request_mode ? sizeof(double) : 0);
    int r;

    if (!amb_size_mul(&slab, stream->layout.slot_bytes, n_slots) ||
        !amb_size_mul(&draws, row * n_slots, batch_size) || !amb_size_add(&slab, slab, draws)) {
        return amb_fail(err, AMB_ERR_LIMIT, "%zu slots of %zu bytes are more than memory can address",
                        n_slots, stream->layout.slot_bytes);
    }
    r = ambd_quota_acquire(&stream->server->quota, stream->uid, slab, err);
    stream->quota_bytes = r < 0 ? 0 : slab;
    return r;
}

static int subscribe_allocate(struct ambd_stream *stream, struct amb_error *err) {
    size_t n_rows = (size_t)stream->subscription.n_slots * stream->subscription.batch_size;

    stream->slots = amb_calloc(stream->subscription.n_slots, sizeof *stream->slots);
    stream->draws = amb_calloc(n_rows, sizeof *stream->draws);
    stream->sigmas = stream->subscription.request_mode ? amb_calloc(n_rows, sizeof *stream->sigmas) : NULL;
    if (stream->slots == NULL || stream->draws == NULL ||
        (stream->subscription.request_mode && stream->sigmas == NULL)) {
        return amb_fail(err, -ENOMEM, "no memory for %zu draws; ask for a smaller batch or fewer slots",
                        n_rows);
    }
    return amb_slab_init(&stream->slab, stream->subscription.n_slots, stream->layout.slot_bytes, err);
}

static int subscribe_check_cursors(const struct subscribe *subscribe, struct amb_error *err) {
    const struct ambd_subscription *subscription = &subscribe->stream->subscription;

    if (subscription->has_state && !subscribe->stream->continued && subscription->state.n_cursors != 0 &&
        subscription->options.policy == AMB_POLICY_PASS &&
        subscription->state.n_cursors != subscribe->report.n_intervals) {
        return amb_fail(err, AMB_ERR_STATE,
                        "the state has cursors of %u intervals, its annotations have %u: it is damaged",
                        subscription->state.n_cursors, subscribe->report.n_intervals);
    }
    return 0;
}

static void subscribe_run(struct ambd_task *task) {
    struct subscribe *subscribe = (struct subscribe *)task;
    struct ambd_stream *stream = subscribe->stream;
    struct amb_error *err = &subscribe->error;
    int r = subscribe_probe_members(subscribe, err);

    r = r < 0 ? r : amb_layout_place(&stream->layout, err);
    r = r < 0 ? r : subscribe_charge(stream, err);
    r = r < 0 ? r
              : ambd_target_new(&subscribe->target, subscribe->generation, &stream->subscription,
                                &stream->layout, &subscribe->report, err);
    r = r < 0 ? r : subscribe_check_cursors(subscribe, err);
    if (r == 0) {
        subscribe_allocate(stream, err);
    }
}

/* Loop */

cJSON *ambd_gap_encode(const struct amb_sampler_report *report) {
    cJSON *json = cJSON_CreateObject(), *gap = cJSON_AddArrayToObject(json, "gap");
    const double ends[] = {report->gap_lo, report->gap_hi};

    for (int i = 0; i < 2; i++) {
        ambp_json_add_item(gap, NULL, isinf(ends[i]) ? cJSON_CreateString("inf") : cJSON_CreateNumber(ends[i]));
    }
    ambp_json_add_f64(json, "mass", report->gap_mass);
    return json;
}

static void encode_fields(cJSON *json, const struct amb_layout *layout) {
    cJSON *fields = cJSON_AddArrayToObject(json, "fields");

    for (uint32_t i = 0; i < layout->n_fields; i++) {
        const struct amb_layout_field *field = &layout->fields[i];
        cJSON *row = cJSON_CreateObject(), *shape;
        char name[16 + AMB_MEMBER_EXT_BYTES];

        snprintf(name, sizeof name, "%s%s%s", amb_field_name(field->field),
                 field->field == AMB_FIELD_MEMBER ? ":" : "",
                 field->field == AMB_FIELD_MEMBER ? field->member_ext : "");
        ambd_json_add_string(row, "name", name);
        cJSON_AddStringToObject(row, "dtype", amb_dtype_name(field->dtype));
        shape = cJSON_AddArrayToObject(row, "shape");
        ambp_json_add_item(shape, NULL, cJSON_CreateNumber(layout->batch_size));
        for (uint32_t d = 0; d < field->n_dims; d++) {
            ambp_json_add_item(shape, NULL, cJSON_CreateNumber(field->dims[d]));
        }
        ambp_json_add_u64(row, "offset", field->offset);
        ambp_json_add_u64(row, "bytes", field->bytes);
        ambp_json_add_u64(row, "row_bytes", field->row_bytes);
        cJSON_AddBoolToObject(row, "ragged", field->ragged);
        cJSON_AddBoolToObject(row, "stacked", field->stacked);
        ambp_json_add_item(fields, NULL, row);
    }
}

static void encode_keys(cJSON *json, const struct amb_fill_keys *keys) {
    const struct {
        const char *name;
        uint64_t key;
    } rows[] = {
        {"fixed", keys->fixed},
        {"fresh", keys->fresh},
        {"latent", keys->latent},
        {"request_fresh", keys->request_fresh},
        {"request_latent", keys->request_latent},
    };
    cJSON *object = cJSON_AddObjectToObject(json, "keys");
    char text[24];

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        snprintf(text, sizeof text, "%016llx", (unsigned long long)rows[i].key);
        cJSON_AddStringToObject(object, rows[i].name, text);
    }
}

static void encode_warnings(cJSON *json, const struct ambd_stream *stream) {
    const struct ambd_subscription *subscription = &stream->subscription;
    cJSON *warnings = cJSON_AddArrayToObject(json, "warnings");
    char text[400];

    if (subscription->has_state && strcmp(subscription->state.codecs, stream->settled.codecs) != 0) {
        snprintf(text, sizeof text, "the state was made with codecs '%s', these are '%s': pixels may differ",
                 subscription->state.codecs, stream->settled.codecs);
        ambd_json_add_text(warnings, NULL, text, strlen(text));
    }
    if (stream->continued) {
        ambd_json_add_text(warnings, NULL, stream->refused.message, strlen(stream->refused.message));
    }
}

static char *subscribed_encode(struct ambd_stream *stream, const struct amb_sampler_report *report) {
    const struct ambd_subscription *subscription = &stream->subscription;
    cJSON *json = cJSON_CreateObject();
    int n = amb_state_encode(stream->state_text, sizeof stream->state_text, &stream->settled);

    ambp_json_add_u64(json, "slots", subscription->n_slots);
    ambp_json_add_u64(json, "slot_bytes", stream->slab.slot_bytes);
    ambp_json_add_u64(json, "total_bytes", stream->slab.total_bytes);
    ambp_json_add_u64(json, "batch_size", subscription->batch_size);
    ambp_json_add_u64(json, "rank", subscription->rank);
    ambp_json_add_u64(json, "world_size", subscription->world_size);
    encode_fields(json, &stream->layout);
    encode_keys(json, &stream->target->fill.keys);
    ambp_json_add_item(json, "state",
                          n > 0 ? cJSON_ParseWithLength(stream->state_text, (size_t)n) : cJSON_CreateNull());
    if (stream->end_step == UINT64_MAX) {
        cJSON_AddNullToObject(json, "steps");
    } else {
        ambp_json_add_u64(json, "steps", stream->end_step - stream->next_lend);
    }
    ambp_json_add_u64(json, "entries_per_pass", report->n_entries);
    ambp_json_add_item(json, "gap", report->gap_mass > 0 ? ambd_gap_encode(report) : cJSON_CreateNull());
    encode_warnings(json, stream);
    return ambd_json_print(json);
}

static uint64_t steps_of(double n_entries, uint64_t per_step) {
    double n = ceil(n_entries / (double)per_step);

    return n < 1 ? 1 : n > 0x1p62 ? UINT64_C(1) << 62 : (uint64_t)n;
}

/* Where the stream ends, in steps; steps are counted from the state's. */
static void stream_set_end(struct ambd_stream *stream, const struct amb_sampler_report *report) {
    const struct ambd_subscription *subscription = &stream->subscription;
    uint64_t per_step = subscription->batch_size * subscription->world_size, start = stream->settled.step;

    stream->end_step = stream->end_k = UINT64_MAX;
    if (subscription->n_steps != 0) {
        stream->end_step = start + subscription->n_steps;
    } else if (subscription->n_passes > 0 && subscription->options.policy != AMB_POLICY_SEQUENTIAL) {
        stream->end_step = start + steps_of(subscription->n_passes * (double)report->n_entries, per_step);
    }
    if (subscription->options.policy == AMB_POLICY_SEQUENTIAL) {
        uint64_t left = stream->settled.k < report->n_entries ? report->n_entries - stream->settled.k : 0;
        uint64_t n = left / per_step + (left % per_step != 0);

        stream->end_k = report->n_entries;
        stream->end_step = start + n < stream->end_step ? start + n : stream->end_step;
    }
}

static int stream_set_moves(struct ambd_stream *stream, struct amb_error *err) {
    for (size_t i = 0; i < stream->subscription.n_moves; i++) {
        const struct ambd_move_request *request = &stream->subscription.moves[i];
        int r = request->step <= stream->next_lend
                    ? 0 /* made already: it is in the state, or it chose the first generation */
                    : ambd_stream_schedule(stream, request->step, NULL, request, err);

        if (r < 0) {
            return r;
        }
    }
    return 0;
}

static void stream_start(struct ambd_stream *stream, struct subscribe *subscribe) {
    struct ambd_subscription *subscription = &stream->subscription;

    stream->target = subscribe->target;
    subscribe->target = NULL;
    stream->settled = subscription->has_state ? subscription->state : (struct amb_state){0};
    stream->settled.options = subscription->options;
    if (subscription->has_state) {
        stream->moved = ambd_target_adopt(&stream->settled, stream->target); /* only where it continues on another */
    }
    stream->settled.dataset = stream->target->generation->edition->fingerprint;
    stream->settled.annotations = stream->target->generation->annotations->fingerprint;
    snprintf(stream->settled.codecs, sizeof stream->settled.codecs, "%s", amb_codec_versions());
    stream->next_lend = stream->settled.step;
    stream->last_move = UINT64_MAX;
    stream->follow_number = stream->target->generation->number;
    stream->target->generation->n_streams++;
    stream_set_end(stream, &subscribe->report);
    stream->since_ns = ambd_now_ns();
    stream->ready = true;
}

static void stream_answer(struct ambd_stream *stream, const struct amb_sampler_report *report) {
    struct amb_error err = AMB_ERROR_NULL;
    struct ambd_session *session = stream->session;
    char *text = subscribed_encode(stream, report);

    if (text == NULL || strlen(text) > AMBP_PAYLOAD_BYTES_MAX || stream_set_moves(stream, &err) < 0) {
        amb_fail(&err, -ENOMEM, "no memory for the answer to SUBSCRIBE");
        ambd_session_fail(session, stream->subscribe_id, &err, NULL, true);
    } else {
        ambd_session_push(session, AMBP_SUBSCRIBED, stream->subscribe_id, text, strlen(text), NULL, 0,
                          stream->slab.fd);
        if (session->link.fd_to_send < 0) { /* sent: the mapping is all that is needed from here on */
            close(amb_steal_fd(&stream->slab.fd));
        }
        stream->server->counters.subscribes++;
        ambd_log_client(session->uid, AMBD_INFO,
                        "stream.opened session=%llu dataset=%s rank=%llu world_size=%llu batch_size=%u "
                        "step=%llu bytes=%zu",
                        (unsigned long long)session->id, stream->subscription.dataset->name,
                        (unsigned long long)stream->subscription.rank,
                        (unsigned long long)stream->subscription.world_size, stream->subscription.batch_size,
                        (unsigned long long)stream->next_lend, stream->slab.total_bytes);
    }
    cJSON_free(text);
}

static void subscribe_refuse(struct ambd_stream *stream, struct subscribe *subscribe) {
    cJSON *detail = subscribe->error.code == AMB_ERR_GAP ? ambd_gap_encode(&subscribe->report) : NULL;

    ambd_session_fail(stream->session, stream->subscribe_id, &subscribe->error, detail, false);
    if (!stream->abandoned) {
        ambd_stream_abandon(stream); /* the session lives on and may subscribe again */
    }
}

static void subscribe_done(struct ambd_task *task) {
    struct subscribe *subscribe = (struct subscribe *)task;
    struct ambd_stream *stream = subscribe->stream;
    struct ambd_session *session = stream->session;

    if (subscribe->target == NULL) {
        ambd_dataset_unpin(stream->subscription.dataset, subscribe->generation, stream_kept(stream));
    }
    if (!stream->abandoned && subscribe->error.code == 0) {
        stream_start(stream, subscribe);
        stream_answer(stream, &subscribe->report);
        ambd_stream_follow(stream);
    } else if (!stream->abandoned) {
        subscribe_refuse(stream, subscribe);
    }
    ambd_target_unref(subscribe->target, stream_kept(stream));
    amb_free(subscribe);
    ambd_session_hold(session);
    ambd_session_set_busy(session, false);
    ambd_stream_drop(stream);
    ambd_session_pump(session);
    ambd_session_drop(session);
}

static int stream_check_state(const struct ambd_subscription *subscription, struct amb_error *err) {
    if (subscription->has_state && subscription->strict &&
        strcmp(subscription->state.codecs, amb_codec_versions()) != 0) {
        return amb_fail(
            err, AMB_ERR_STATE,
            "the state was made with codecs '%s', these are '%s', and 'strict' is set: install those, or "
            "subscribe without strict",
            subscription->state.codecs, amb_codec_versions());
    }
    return 0;
}

/* What the first step stands on: the state's fingerprints, or a move at step 0, or the current generation. */
static int stream_first_generation(struct ambd_generation **out, struct ambd_session *session,
                                   const struct ambd_subscription *subscription, struct amb_error *err) {
    struct ambd_move_request request = {0};

    if (subscription->has_state) {
        request = (struct ambd_move_request){
            .has_dataset = true,
            .has_annotations = true,
            .dataset = subscription->state.dataset,
            .annotations = subscription->state.annotations,
        };
    } else if (subscription->n_moves > 0 && subscription->moves[0].step == 0) {
        request = subscription->moves[0];
    }
    return ambd_stream_find_generation(out, session, subscription->dataset, &request,
                                       subscription->dataset->current, err);
}

int ambd_stream_open(struct ambd_session *session, uint32_t id, struct ambd_subscription *subscription,
                     struct amb_error *err) {
    struct ambd_generation *generation;
    struct subscribe *subscribe;
    struct ambd_stream *stream;
    struct amb_error why = AMB_ERROR_NULL;
    int r = stream_check_state(subscription, err);

    r = r < 0 ? r : stream_first_generation(&generation, session, subscription, err);
    if (r < 0 && subscription->continues && subscription->has_state && session->recall.dataset == NULL) {
        why = *err; /* nor does the store or the archive have it: what there is now will do */
        generation = subscription->dataset->current;
        subscription->noise_seed = generation->edition->fill.noise_seed;
        r = amb_layout_reshape(&subscription->layout, &generation->edition->fill.shape, err);
    }
    if (r < 0) {
        return r;
    }
    stream = amb_calloc(1, sizeof *stream);
    subscribe = amb_calloc(1, sizeof *subscribe);
    if (stream == NULL || subscribe == NULL) {
        amb_free(stream);
        amb_free(subscribe);
        return amb_fail(err, -ENOMEM, "no memory for a stream");
    }
    stream->session = session;
    stream->server = session->server;
    stream->uid = session->uid;
    stream->subscribe_id = id;
    stream->subscription = *subscription;
    *subscription = (struct ambd_subscription){0};
    stream->layout = stream->subscription.layout;
    stream->slab = AMB_SLAB_NULL;
    stream->continued = why.code != 0;
    if (stream->continued) {
        amb_fail(&stream->refused, why.code, "the stream continues on the present generation, as asked: %.380s", why.message);
    }
    ambd_stream_hold(stream);
    subscribe->task = (struct ambd_task){.run = subscribe_run, .done = subscribe_done};
    subscribe->stream = stream;
    subscribe->generation = ambd_dataset_pin(generation);
    session->stream = stream;
    ambd_session_set_busy(session, true);
    ambd_desk_push(&session->server->builder, &subscribe->task);
    return 0;
}
