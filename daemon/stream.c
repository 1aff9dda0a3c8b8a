/*
 * Stream: slots walk FREE -> FILLING -> READY -> LENT -> FREE; steps are lent in order.
 *
 * What the client was told is settled: `settled` is the state before the next step to lend, its move made.
 * Everything drawn beyond that is work ahead, which a change of generation may throw away and draw anew; so a
 * batch is a function of the state that the client saw before it, whatever was prefetched.
 *
 * A slot that a worker writes to is never freed or reused before the producer has given it back (on_done),
 * however its session ended.
 *
 * Not here: preparing (subscribe.c), moves (move.c), requests (request.c).
 */
#include "daemon/stream.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "daemon/log.h"
#include "daemon/text.h"
#include "proto/json.h"

static uint64_t stream_kept(const struct ambd_stream *stream) {
    return stream->server->config->limits.generations_kept;
}

void ambd_stream_account(struct ambd_stream *stream) {
    uint64_t now_ns = ambd_now_ns(), waited_ns = now_ns - stream->since_ns;
    bool any_ready = false;

    stream->since_ns = now_ns;
    if (!stream->ready || stream->ended || stream->subscription.request_mode) {
        return;
    }
    if (stream->n_lent == stream->subscription.n_slots) {
        stream->stats.wait_client_ns += waited_ns;
        return;
    }
    for (uint32_t i = 0; i < stream->subscription.n_slots; i++) {
        any_ready = any_ready || stream->slots[i].state == AMBD_SLOT_READY;
    }
    if (stream->n_lent == 0 && !any_ready) {
        stream->stats.wait_fill_ns += waited_ns;
    }
}

/* Slots */

static void slot_free(struct ambd_stream *stream, struct ambd_slot *slot) {
    slot->target = ambd_target_unref(slot->target, stream_kept(stream));
    slot->state = AMBD_SLOT_FREE;
    slot->discarded = slot->drawn = false;
    slot->request_id = 0;
}

struct ambd_slot *ambd_stream_find_free(struct ambd_stream *stream) {
    for (uint32_t i = 0; i < stream->subscription.n_slots; i++) {
        if (stream->slots[i].state == AMBD_SLOT_FREE) {
            return &stream->slots[i];
        }
    }
    return NULL;
}

/* The slot that carries a step, filling or ready; NULL if it has not been begun. */
static struct ambd_slot *stream_find_step(struct ambd_stream *stream, uint64_t step) {
    for (uint32_t i = 0; i < stream->subscription.n_slots; i++) {
        struct ambd_slot *slot = &stream->slots[i];

        if ((slot->state == AMBD_SLOT_FILLING || slot->state == AMBD_SLOT_READY) && !slot->discarded &&
            slot->request_id == 0 && slot->step == step) {
            return slot;
        }
    }
    return NULL;
}

static void slot_discard(struct ambd_stream *stream, struct ambd_slot *slot) {
    stream->server->counters.thrown_away++;
    if (slot->state == AMBD_SLOT_READY) {
        slot_free(stream, slot);
        return;
    }
    slot->discarded = true;
    ambd_fill_cancel(&slot->fill);
}

void ambd_stream_discard_from(struct ambd_stream *stream, uint64_t step) {
    ambd_stream_account(stream);
    for (uint32_t i = 0; i < stream->subscription.n_slots; i++) {
        struct ambd_slot *slot = &stream->slots[i];

        if ((slot->state == AMBD_SLOT_FILLING || slot->state == AMBD_SLOT_READY) && !slot->discarded &&
            slot->request_id == 0 && slot->step >= step) {
            slot_discard(stream, slot);
        }
    }
}

void ambd_stream_push_fill(struct ambd_stream *stream, struct ambd_slot *slot, struct ambd_target *target) {
    size_t i_slot = (size_t)(slot - stream->slots);

    ambd_stream_account(stream);
    slot->state = AMBD_SLOT_FILLING;
    slot->discarded = slot->drawn = false;
    slot->target = ambd_target_ref(target);
    slot->fill.owner = stream;
    slot->fill.stream = &target->fill;
    slot->fill.slot = amb_slab_get(&stream->slab, (uint32_t)i_slot);
    slot->fill.draws = stream->draws + i_slot * stream->subscription.batch_size;
    slot->fill.n_rows_max = stream->subscription.batch_size;
    slot->fill.n_before = stream->subscription.rank * stream->subscription.batch_size;
    slot->fill.n_after =
        (stream->subscription.world_size - 1 - stream->subscription.rank) * stream->subscription.batch_size;
    slot->fill.rank = stream->subscription.rank;
    stream->n_in_flight++;
    ambd_producer_push(&stream->server->producer, &stream->lane, &slot->fill);
}

/* The end */

static void stream_end(struct ambd_stream *stream, const char *reason, const struct amb_error *why) {
    cJSON *json = cJSON_CreateObject();
    char message[96], *text;

    snprintf(message, sizeof message, "the stream ended before step %llu",
             (unsigned long long)stream->next_lend);
    cJSON_AddStringToObject(json, "reason", reason);
    if (why != NULL) {
        ambp_json_add_item(json, "error", ambd_error_encode(why, NULL, false));
    }
    ambd_json_add_string(json, "message", why != NULL ? why->message : message);
    text = ambd_json_print(json);
    ambd_stream_account(stream);
    stream->ended = true;
    ambd_stream_discard_from(stream, 0);
    ambd_stream_forget_moves(stream);
    if (text != NULL) {
        ambd_session_push(stream->session, AMBP_END, stream->subscribe_id, text, strlen(text), NULL, 0, -1);
    } else { /* who waits for an END that does not come would wait for ever */
        struct amb_error err;

        amb_fail(&err, -ENOMEM, "no memory for END");
        ambd_session_close(stream->session, &err);
    }
    cJSON_free(text);
}

void ambd_stream_fail(struct ambd_stream *stream, const struct amb_error *why) {
    if (stream->ended || stream->abandoned) {
        return;
    }
    ambd_log_client(stream->uid, AMBD_INFO, "stream.failed session=%llu step=%llu code=%s reason=\"%s\"",
                    (unsigned long long)stream->session->id, (unsigned long long)stream->next_lend,
                    amb_error_name(why->code), why->message);
    stream_end(stream, "error", why);
}

static void stream_end_if_over(struct ambd_stream *stream) {
    bool sequential =
        stream->subscription.options.policy == AMB_POLICY_SEQUENTIAL && stream->settled.k >= stream->end_k;

    if (!stream->ended && stream->next_lend >= stream->end_step) {
        stream_end(stream, sequential ? "sequential" : "steps", NULL);
    }
}

/* Lending */

static void slot_lend(struct ambd_stream *stream, struct ambd_slot *slot, const struct ambp_lend *lend) {
    uint8_t head[AMBP_LEND_BYTES + AMB_STATE_BYTES_MAX];
    int n = ambp_lend_encode(head, sizeof head, lend);
    struct ambd_counters *counters = &stream->server->counters;

    ambd_stream_account(stream);
    slot->target = ambd_target_unref(slot->target, stream_kept(stream));
    slot->state = AMBD_SLOT_LENT;
    slot->lent_ns = ambd_now_ns();
    stream->n_lent++;
    stream->stats.n_images += lend->count;
    stream->stats.n_bytes += stream->slab.slot_bytes;
    counters->batches++;
    counters->images += lend->count;
    counters->batch_bytes += stream->slab.slot_bytes;
    ambd_session_push(stream->session, AMBP_LEND, slot->request_id, head, (size_t)(n < 0 ? 0 : n), NULL, 0,
                      -1);
}

static void stream_lend_request(struct ambd_stream *stream, struct ambd_slot *slot) {
    slot_lend(stream, slot,
              &(struct ambp_lend){
                  .slot = (uint32_t)(slot - stream->slots),
                  .count = slot->fill.n_rows,
                  .step = slot->step,
                  .n_replaced = slot->fill.stats.n_replaced,
                  .fill_ns = slot->fill.ended_ns - slot->fill.began_ns,
              });
}

/* Lend the step `next_lend`; with it the next step's fingerprints are settled. */
static void stream_lend_step(struct ambd_stream *stream, struct ambd_slot *slot) {
    struct amb_state *state = &slot->fill.state;
    struct ambp_lend lend = {
        .slot = (uint32_t)(slot - stream->slots),
        .count = slot->fill.n_rows,
        .step = slot->step,
        .k = slot->k,
        .n_replaced = slot->fill.stats.n_replaced,
        .fill_ns = slot->fill.ended_ns - slot->fill.began_ns,
        .flags = stream->moved ? AMBP_LEND_MOVED : 0,
    };
    int n;

    stream->moved = false;
    stream->next_lend++;
    ambd_stream_settle(stream, state);
    stream->settled = *state;
    n = amb_state_encode(stream->state_text, sizeof stream->state_text, state);
    lend.flags |= stream->next_lend >= stream->end_step ? AMBP_LEND_LAST : 0;
    lend.state = stream->state_text;
    lend.state_bytes = n > 0 ? (uint32_t)n : 0;
    slot_lend(stream, slot, &lend);
    stream_end_if_over(stream);
}

static bool stream_lend_one(struct ambd_stream *stream) {
    struct ambd_slot *slot;
    struct ambd_move *move;

    for (uint32_t i = 0; i < stream->subscription.n_slots; i++) {
        slot = &stream->slots[i];
        if (slot->state == AMBD_SLOT_READY && slot->request_id != 0) {
            stream_lend_request(stream, slot);
            return true;
        }
    }
    slot = stream->ended ? NULL : stream_find_step(stream, stream->next_lend);
    if (slot == NULL || slot->state != AMBD_SLOT_READY) {
        return false;
    }
    if (slot->fill.error.code != 0) {
        struct amb_error why = slot->fill.error;

        ambd_stream_fail(stream, &why);
        return false;
    }
    move = ambd_stream_find_move(stream, stream->next_lend + 1);
    if (move != NULL && move->target == NULL && stream->next_lend + 1 < stream->end_step) {
        struct amb_error why;

        ambd_stream_prepare_moves(stream);
        why = move->error;
        if (why.code != 0) {
            ambd_stream_fail(stream, &why);
        }
        return false; /* the state after this step must name it: wait (move.c prepares it) */
    }
    stream_lend_step(stream, slot);
    return true;
}

/* Drawing */

/* The state before the first step that nobody works on; false: it is not known yet, or there is no such step.
 */
static bool stream_next_state(struct ambd_stream *stream, struct amb_state *out,
                              struct ambd_target **target) {
    struct ambd_slot *last = NULL, *slot;
    struct ambd_move *move;
    uint64_t step = stream->next_lend;

    *target = stream->target;
    while ((slot = stream_find_step(stream, step)) != NULL) {
        last = slot;
        step++;
    }
    if (step >= stream->end_step || (last != NULL && (!last->drawn || last->fill.error.code != 0))) {
        return false;
    }
    if (last == NULL) {
        *out = stream->settled;
        return true;
    }
    *out = last->fill.state;
    *target = last->target;
    move = ambd_stream_find_move(stream, step);
    if (move != NULL && move->target == NULL) {
        return false;
    }
    if (move != NULL) {
        *target = move->target;
        ambd_target_adopt(out, move->target);
    }
    return true;
}

static bool stream_draw_one(struct ambd_stream *stream) {
    struct ambd_slot *slot = ambd_stream_find_free(stream);
    struct ambd_target *target;

    if (slot == NULL || stream->drawing || !stream_next_state(stream, &slot->fill.state, &target)) {
        return false;
    }
    slot->step = slot->fill.state.step;
    slot->k = slot->fill.state.k;
    slot->fill.kind = AMBD_FILL_STREAM;
    stream->drawing = true;
    ambd_stream_push_fill(stream, slot, target);
    return true;
}

static void stream_pump_held(struct ambd_stream *stream) {
    if (!stream->ready || stream->abandoned) {
        return;
    }
    while (!stream->session->closing && ambd_link_queued(&stream->session->link) == 0 &&
           stream_lend_one(stream)) {
    }
    if (stream->session->closing || stream->ended || stream->subscription.request_mode ||
        ambd_link_queued(&stream->session->link) > 0) {
        return;
    }
    ambd_stream_prepare_moves(stream);
    while (stream_draw_one(stream)) {
    }
    stream_end_if_over(stream);
}

void ambd_stream_pump(struct ambd_stream *stream) {
    ambd_stream_hold(stream);
    stream_pump_held(stream);
    ambd_stream_drop(stream);
}

/* Events */

static struct ambd_slot *slot_of(struct ambd_fill *fill) {
    return (struct ambd_slot *)((char *)fill - offsetof(struct ambd_slot, fill));
}

void ambd_stream_on_drawn(struct ambd_fill *fill) {
    struct ambd_stream *stream = fill->owner;

    slot_of(fill)->drawn = true;
    if (fill->kind == AMBD_FILL_STREAM) {
        stream->drawing = false;
    }
    ambd_stream_pump(stream);
}

static void stream_count(struct ambd_stream *stream, const struct ambd_fill_stats *stats) {
    struct ambd_stream_stats *sum = &stream->stats;

    sum->read_ns += stats->read_ns;
    sum->decode_ns += stats->decode_ns;
    sum->noise_ns += stats->noise_ns;
    sum->n_decoded += stats->n_decoded;
    sum->n_replaced += stats->n_replaced;
    stream->server->counters.replaced += stats->n_replaced;
    stream->server->counters.transient += stats->n_transient;
    stream->server->counters.image_limit += stats->n_limited;
    stream->server->counters.decode_cpu_limit += stats->n_timed_out;
}

void ambd_stream_on_done(struct ambd_fill *fill) {
    struct ambd_stream *stream = fill->owner;
    struct ambd_slot *slot = slot_of(fill);

    ambd_stream_hold(stream);
    ambd_stream_account(stream);
    stream->n_in_flight--;
    if (!slot->drawn && fill->kind == AMBD_FILL_STREAM) {
        stream->drawing = false;
    }
    stream_count(stream, &fill->stats);
    if (slot->discarded || stream->abandoned) {
        slot_free(stream, slot);
    } else {
        slot->state = AMBD_SLOT_READY;
        if (fill->kind == AMBD_FILL_REQUEST && fill->error.code != 0) {
            ambd_stream_on_request_failed(stream, slot);
            slot_free(stream, slot);
        }
    }
    stream_pump_held(stream);
    ambd_stream_drop(stream);
}

int ambd_stream_return(struct ambd_stream *stream, const struct ambp_done *done, struct amb_error *err) {
    if (done->slot >= stream->subscription.n_slots || stream->slots == NULL ||
        stream->slots[done->slot].state != AMBD_SLOT_LENT) {
        return amb_fail(err, AMB_ERR_PROTOCOL,
                        "DONE of slot %u, which is not lent; slots 0 to %u, %u are lent", done->slot,
                        stream->subscription.n_slots - 1, stream->n_lent);
    }
    ambd_stream_account(stream);
    stream->slots[done->slot].state = AMBD_SLOT_FREE;
    stream->slots[done->slot].request_id = 0;
    stream->n_lent--;
    return 0;
}

int ambd_stream_overdue(const struct ambd_stream *stream, uint64_t now_ns, uint64_t lease_ns) {
    for (uint32_t i = 0; stream->ready && i < stream->subscription.n_slots; i++) {
        if (stream->slots[i].state == AMBD_SLOT_LENT && now_ns - stream->slots[i].lent_ns > lease_ns) {
            return 1;
        }
    }
    return 0;
}

/* The end of its memory */

void ambd_stream_abandon(struct ambd_stream *stream) {
    stream->abandoned = true;
    for (uint32_t i = 0; stream->ready && i < stream->subscription.n_slots; i++) {
        struct ambd_slot *slot = &stream->slots[i];

        if (slot->state == AMBD_SLOT_FILLING) {
            slot->discarded = true;
            ambd_fill_cancel(&slot->fill);
        } else if (slot->state != AMBD_SLOT_FREE) {
            slot_free(stream, slot);
        }
    }
    ambd_stream_forget_moves(stream);
    ambd_stream_hold(stream);
    ambd_stream_drop(stream);
}

void ambd_stream_hold(struct ambd_stream *stream) {
    stream->n_holds++;
}

/* Giving gigabytes back to the kernel takes a while: it is done on a desk. */
struct disposal {
    struct ambd_task task;
    struct ambd_server *server;
    uid_t uid;
    uint64_t quota_bytes;
    struct amb_slab slab;
    struct ambd_slot *slots;
    struct amb_draw *draws;
    double *sigmas;
};

static void disposal_run(struct ambd_task *task) {
    struct disposal *disposal = (struct disposal *)task;

    amb_slab_deinit(&disposal->slab);
    amb_free(disposal->sigmas);
    amb_free(disposal->draws);
    amb_free(disposal->slots);
    ambd_quota_release(&disposal->server->quota, disposal->uid, disposal->quota_bytes);
}

static void disposal_done(struct ambd_task *task) {
    struct ambd_server *server = ((struct disposal *)task)->server;

    amb_free(task);
    ambd_server_continue_stop(server);
}

static void stream_dispose(struct ambd_stream *stream) {
    struct disposal *disposal = stream->slots != NULL ? amb_calloc(1, sizeof *disposal) : NULL;
    struct disposal here = {
        .task = {.run = disposal_run, .done = disposal_done},
        .server = stream->server,
        .uid = stream->uid,
        .quota_bytes = stream->quota_bytes,
        .slab = stream->slab,
        .slots = stream->slots,
        .draws = stream->draws,
        .sigmas = stream->sigmas,
    };

    if (disposal == NULL) {
        disposal_run(&here.task);
        return;
    }
    *disposal = here;
    ambd_desk_push(&stream->server->builder, &disposal->task);
}

static void stream_free(struct ambd_stream *stream) {
    if (stream->ready) {
        stream->target->generation->n_streams--;
    }
    ambd_target_unref(stream->target, stream_kept(stream));
    stream_dispose(stream);
    ambd_subscription_deinit(&stream->subscription);
    amb_free(stream->moves);
    amb_free(stream);
}

bool ambd_stream_drop(struct ambd_stream *stream) {
    struct ambd_session *session = stream->session;

    stream->n_holds--;
    if (!stream->abandoned || stream->n_in_flight > 0 || stream->n_holds > 0) {
        return false;
    }
    stream_free(stream);
    session->stream = NULL;
    ambd_session_release(session);
    return true;
}
