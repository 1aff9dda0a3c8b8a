/*
 * Moves of a stream from one generation of annotations to the next.
 *
 * Three ways ask for them: `follow` (the newest prepared generation, at the first step not yet settled),
 * `moves` of the subscription (exactly these), ADVANCE (all ranks at one step). All end in the list of moves,
 * which the drawing side reads ahead and the lending side settles. Whatever is drawn for a step behind a
 * change of the list is thrown away.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "daemon/log.h"
#include "daemon/recall.h"
#include "daemon/stream.h"
#include "daemon/text.h"
#include "proto/json.h"

#define ADVANCES_MAX 64u /* set ahead, each with a sampler of its own; not tuned */

enum prepare_for {
    PREPARE_FOLLOW,
    PREPARE_MOVE, /* of the subscription's list */
    PREPARE_ADVANCE,
};

struct prepare {
    struct ambd_task task;
    struct ambd_stream *stream;
    enum prepare_for what;
    uint32_t id; /* of ADVANCE */
    struct ambd_move_request request;
    uint32_t n_reopened;                /* of the move */
    struct ambd_generation *generation; /* pinned */
    struct ambd_target *target;
    struct amb_sampler_report report;
    struct amb_error error;
};

static uint64_t stream_kept(const struct ambd_stream *stream) {
    return stream->server->config->limits.generations_kept;
}

struct ambd_move *ambd_stream_find_move(struct ambd_stream *stream, uint64_t step) {
    for (size_t i = 0; i < stream->n_moves; i++) {
        if (stream->moves[i].step == step) {
            return &stream->moves[i];
        }
    }
    return NULL;
}

static void move_remove(struct ambd_stream *stream, struct ambd_move *move) {
    size_t i = (size_t)(move - stream->moves);

    ambd_target_unref(move->target, stream_kept(stream));
    memmove(move, move + 1, (stream->n_moves - i - 1) * sizeof *move);
    stream->n_moves--;
}

/* What lies before them has changed: those that leave something open are prepared anew. */
static void moves_reopen(struct ambd_stream *stream, uint64_t step) {
    for (size_t i = 0; i < stream->n_moves; i++) {
        struct ambd_move *move = &stream->moves[i];

        if (move->step > step && !(move->request.has_dataset && move->request.has_annotations)) {
            ambd_target_unref(move->target, stream_kept(stream));
            move->target = NULL;
            move->error = AMB_ERROR_NULL;
            move->n_reopened++;
        }
    }
}

void ambd_stream_forget_moves(struct ambd_stream *stream) {
    while (stream->n_moves > 0) {
        move_remove(stream, &stream->moves[stream->n_moves - 1]);
    }
}

int ambd_stream_schedule(struct ambd_stream *stream, uint64_t step, struct ambd_target *target,
                         const struct ambd_move_request *request, struct amb_error *err) {
    size_t i = 0;

    if (stream->n_moves == stream->moves_capacity) {
        size_t capacity = 2 * stream->moves_capacity + 4;
        struct ambd_move *moves = amb_realloc(stream->moves, capacity * sizeof *moves);

        if (moves == NULL) {
            return amb_fail(err, -ENOMEM, "no memory for a move");
        }
        stream->moves = moves;
        stream->moves_capacity = capacity;
    }
    while (i < stream->n_moves && stream->moves[i].step < step) {
        i++;
    }
    memmove(&stream->moves[i + 1], &stream->moves[i], (stream->n_moves - i) * sizeof *stream->moves);
    stream->moves[i] = (struct ambd_move){.step = step, .target = target, .request = *request};
    stream->n_moves++;
    return 0;
}

void ambd_stream_settle(struct ambd_stream *stream, struct amb_state *state) {
    struct ambd_move *move = ambd_stream_find_move(stream, state->step);
    char text[AMB_HASH128_TEXT_BYTES], dataset[AMB_HASH128_TEXT_BYTES];
    bool moved;

    if (move == NULL || move->target == NULL) {
        return; /* not before the last step (stream.c waits for it) */
    }
    moved = ambd_target_adopt(state, move->target);
    stream->target->generation->n_streams--;
    move->target->generation->n_streams++;
    ambd_target_unref(stream->target, stream_kept(stream));
    stream->target = ambd_target_ref(move->target);
    stream->moved = moved;
    stream->last_move = move->step;
    stream->server->counters.moves++;
    amb_hash128_text(text, &state->annotations);
    amb_hash128_text(dataset, &state->dataset);
    ambd_log_client(stream->uid, AMBD_INFO,
                    "stream.moved session=%llu step=%llu dataset=%s annotations=%s generation=%llu",
                    (unsigned long long)stream->session->id, (unsigned long long)move->step, dataset, text,
                    (unsigned long long)move->target->generation->number);
    move_remove(stream, move);
}

/* Preparing */

static void prepare_run(struct ambd_task *task) {
    struct prepare *prepare = (struct prepare *)task;

    ambd_target_new(&prepare->target, prepare->generation, &prepare->stream->subscription,
                    &prepare->stream->layout, &prepare->report, &prepare->error);
}

/* The first step whose fingerprints the client has not been told. */
static uint64_t stream_first_free_step(const struct ambd_stream *stream) {
    return stream->next_lend + 1;
}

static void prepare_finish_follow(struct prepare *prepare) {
    struct ambd_stream *stream = prepare->stream;
    uint64_t step = stream_first_free_step(stream);
    struct ambd_move_request request = {.step = step};

    stream->follow_number = prepare->generation->number;
    if (prepare->target == NULL) {
        stream->server->counters.moves_refused++;
        stream->refused = prepare->error;
        ambd_log(AMBD_WARN, "stream.stays session=%llu generation=%llu code=%s reason=\"%s\"",
                 (unsigned long long)stream->session->id, (unsigned long long)stream->follow_number,
                 amb_error_name(prepare->error.code), prepare->error.message);
        return;
    }
    stream->refused = AMB_ERROR_NULL;
    while (stream->n_moves > 0) {
        ambd_stream_discard_from(stream, stream->moves[0].step);
        move_remove(stream, &stream->moves[0]);
    }
    if (ambd_stream_schedule(stream, step, prepare->target, &request, NULL) == 0) {
        prepare->target = NULL;
        ambd_stream_discard_from(stream, step);
    }
}

static void prepare_finish_move(struct prepare *prepare) {
    struct ambd_move *move = ambd_stream_find_move(prepare->stream, prepare->request.step);

    if (move == NULL || move->target != NULL || move->n_reopened != prepare->n_reopened) {
        return; /* taken back meanwhile, perhaps set anew, or to be prepared anew */
    }
    if (prepare->target == NULL) {
        move->error = prepare->error;
    } else {
        move->target = prepare->target;
        prepare->target = NULL;
    }
}

static char *advance_answer(const struct prepare *prepare) {
    cJSON *json = cJSON_CreateObject();
    char text[AMB_HASH128_TEXT_BYTES];

    ambp_json_add_u64(json, "step", prepare->request.step);
    amb_hash128_text(text, &prepare->generation->edition->fingerprint);
    cJSON_AddStringToObject(json, "dataset", text);
    amb_hash128_text(text, &prepare->request.annotations);
    cJSON_AddStringToObject(json, "annotations", text);
    return ambd_json_print(json);
}

static int advance_check_step(const struct ambd_stream *stream, uint64_t step, struct amb_error *err) {
    if (step < stream_first_free_step(stream)) {
        return amb_fail(err, AMB_ERR_STATE,
                        "ADVANCE to step %llu, but the fingerprints of step %llu are settled; the first free "
                        "step is %llu",
                        (unsigned long long)step, (unsigned long long)stream->next_lend,
                        (unsigned long long)stream_first_free_step(stream));
    }
    return 0;
}

static void prepare_finish_advance(struct prepare *prepare) {
    struct ambd_stream *stream = prepare->stream;
    cJSON *detail = NULL;
    int r = prepare->target == NULL ? prepare->error.code : 0;

    r = r < 0 ? r : advance_check_step(stream, prepare->request.step, &prepare->error);
    r = r < 0 ? r
              : ambd_stream_schedule(stream, prepare->request.step, prepare->target, &prepare->request, &prepare->error);
    if (r == 0) {
        prepare->target = NULL;
        moves_reopen(stream, prepare->request.step);
        ambd_stream_discard_from(stream, prepare->request.step);
        ambd_session_reply(stream->session, prepare->id, advance_answer(prepare));
        return;
    }
    if (r == AMB_ERR_GAP) {
        detail = ambd_gap_encode(&prepare->report);
    }
    ambd_session_fail(stream->session, prepare->id, &prepare->error, detail, false);
}

static void prepare_done(struct ambd_task *task) {
    static void (*const finishers[])(struct prepare *) = {
        [PREPARE_FOLLOW] = prepare_finish_follow,
        [PREPARE_MOVE] = prepare_finish_move,
        [PREPARE_ADVANCE] = prepare_finish_advance,
    };
    struct prepare *prepare = (struct prepare *)task;
    struct ambd_stream *stream = prepare->stream;
    struct ambd_session *session = stream->session;
    bool built = prepare->target != NULL, advance = prepare->what == PREPARE_ADVANCE;

    stream->preparing_move = prepare->what == PREPARE_MOVE ? false : stream->preparing_move;
    stream->following = prepare->what == PREPARE_FOLLOW ? false : stream->following;
    if (!stream->abandoned && !stream->ended) {
        finishers[prepare->what](prepare);
    } else if (!stream->abandoned && advance) {
        amb_fail(&prepare->error, AMB_ERR_STATE, "ADVANCE of a stream that has ended");
        ambd_session_fail(session, prepare->id, &prepare->error, NULL, false);
    }
    if (!built) {
        ambd_dataset_unpin(stream->subscription.dataset, prepare->generation, stream_kept(stream));
    }
    ambd_target_unref(prepare->target, stream_kept(stream)); /* unless a move has taken it */
    amb_free(prepare);
    if (advance) {
        ambd_session_set_busy(session, false);
    }
    ambd_stream_follow(stream);
    if (!ambd_stream_drop(stream)) {
        ambd_session_pump(session);
    }
}

static int prepare_push(struct ambd_stream *stream, enum prepare_for what, uint32_t id,
                        const struct ambd_move_request *request, struct ambd_generation *generation,
                        struct amb_error *err) {
    struct prepare *prepare = amb_calloc(1, sizeof *prepare);
    const struct ambd_move *move = ambd_stream_find_move(stream, request->step);

    if (prepare == NULL) {
        return amb_fail(err, -ENOMEM, "no memory to prepare a generation");
    }
    prepare->task = (struct ambd_task){.run = prepare_run, .done = prepare_done};
    prepare->stream = stream;
    prepare->what = what;
    prepare->id = id;
    prepare->request = *request;
    prepare->request.has_dataset = prepare->request.has_annotations = true;
    prepare->request.dataset = generation->edition->fingerprint;
    prepare->request.annotations = generation->annotations->fingerprint;
    prepare->n_reopened = move != NULL ? move->n_reopened : 0;
    prepare->generation = ambd_dataset_pin(generation);
    ambd_stream_hold(stream);
    ambd_desk_push(&stream->server->builder, &prepare->task);
    return 0;
}

static int find_fail(struct ambd_session *session, struct ambd_dataset *dataset, const struct amb_hash128 *edition,
                     const struct amb_hash128 *annotations, struct amb_error *err) {
    char asked[AMB_HASH128_TEXT_BYTES] = "(any)", known[AMB_HASH128_TEXT_BYTES];
    const struct ambd_recall *recall = &session->recall;

    if (ambd_recall_note(session, dataset, edition, annotations)) {
        return amb_fail(err, AMB_ERR_NOT_FOUND, "not in memory"); /* not told: it is looked for first */
    }
    if (recall->has_tried && recall->why.code != 0) {
        *err = recall->why;
        return err->code;
    }
    if (annotations != NULL) {
        amb_hash128_text(asked, annotations);
    }
    amb_hash128_text(known, &dataset->current->annotations->fingerprint);
    if (ambd_dataset_find_edition(dataset, edition) != NULL) {
        return amb_fail(err, AMB_ERR_NOT_FOUND,
                        "dataset '%s' has no annotations with fingerprint %s (now: %s, see `ambientctl "
                        "status`); import the file they came from, or subscribe with on_generation_change=continue",
                        dataset->name, asked, known);
    }
    amb_hash128_text(asked, edition);
    amb_hash128_text(known, &dataset->edition->fingerprint);
    return amb_fail(err, AMB_ERR_STATE,
                    "fingerprint %s of the dataset is not that of dataset '%s', which is %s: other samples, labels, "
                    "sources, size, transform, excludes or noise seed; bring those back and reload, or subscribe with "
                    "on_generation_change=continue",
                    asked, dataset->name, known);
}

int ambd_stream_find_generation(struct ambd_generation **out, struct ambd_session *session,
                                struct ambd_dataset *dataset,
                                const struct ambd_move_request *request, struct ambd_generation *present,
                                struct amb_error *err) {
    struct ambd_edition *edition = present != NULL ? present->edition : dataset->edition;
    struct ambd_generation *found = NULL;
    bool is_known = true; /* what is in memory is what was asked for */

    if (request->has_dataset && !amb_hash128_equal(&request->dataset, &edition->fingerprint)) {
        edition = ambd_dataset_find_edition(dataset, &request->dataset);
    }
    if (edition != NULL && request->has_annotations) {
        found = ambd_dataset_find(dataset, edition, &request->annotations);
    } else if (edition != NULL) {
        found = present != NULL && present->edition == edition ? present : ambd_dataset_newest(dataset, edition);
        is_known = found == present || amb_hash128_equal(&edition->fingerprint, &dataset->edition->fingerprint);
    }
    if (found == NULL || (!is_known && ambd_recall_note(session, dataset, &edition->fingerprint, NULL))) {
        return find_fail(session, dataset, request->has_dataset ? &request->dataset : &edition->fingerprint,
                         request->has_annotations ? &request->annotations : NULL, err);
    }
    *out = found;
    return 0;
}

/* What a request leaves open it takes from the moves before it: the prepared ones by their generation, *present, the others by
 * what they ask for, so that none of them need be in memory. */
static void move_inherit(struct ambd_move_request *request, struct ambd_generation **present, const struct ambd_stream *stream) {
    struct ambd_move_request before = {0};

    *present = stream->target->generation;
    for (size_t i = 0; i < stream->n_moves && stream->moves[i].step < request->step; i++) {
        const struct ambd_move *move = &stream->moves[i];
        const struct ambd_move_request *asked = &move->request;

        if (move->target != NULL) {
            *present = move->target->generation;
            before = (struct ambd_move_request){0};
            continue;
        }
        if (asked->has_dataset && !(before.has_dataset && amb_hash128_equal(&before.dataset, &asked->dataset))) {
            before = (struct ambd_move_request){.has_dataset = true, .dataset = asked->dataset};
        }
        if (asked->has_annotations) {
            before.has_annotations = true;
            before.annotations = asked->annotations;
        }
    }
    if (!request->has_annotations && before.has_annotations &&
        (!request->has_dataset || amb_hash128_equal(&request->dataset, before.has_dataset ? &before.dataset
                                                                                          : &(*present)->edition->fingerprint))) {
        request->has_annotations = true;
        request->annotations = before.annotations;
    }
    if (!request->has_dataset && before.has_dataset) {
        request->has_dataset = true;
        request->dataset = before.dataset;
    }
}

static int stream_find_next(struct ambd_generation **out, struct ambd_stream *stream, const struct ambd_move_request *request,
                            struct amb_error *err) {
    struct ambd_move_request whole = *request;
    struct ambd_generation *present;

    move_inherit(&whole, &present, stream);
    return ambd_stream_find_generation(out, stream->session, stream->subscription.dataset, &whole, present, err);
}

static void move_on_recalled(struct ambd_session *session) {
    struct ambd_stream *stream = session->stream;

    if (stream != NULL && !stream->abandoned) {
        stream->preparing_move = false;
        ambd_stream_prepare_moves(stream);
        session->recall.has_tried = false;
    }
}

/* Each sample once: that is a promise about the samples that a sequential stream began with. */
static bool stream_may_move(const struct ambd_stream *stream, const struct ambd_generation *generation) {
    return stream->subscription.options.policy != AMB_POLICY_SEQUENTIAL ||
           amb_hash128_equal(&generation->edition->fingerprint, &stream->target->generation->edition->fingerprint);
}

static int stream_check_move(const struct ambd_stream *stream, const struct ambd_generation *generation,
                             struct amb_error *err) {
    return stream_may_move(stream, generation)
               ? 0
               : amb_fail(err, AMB_ERR_CONFIG, "a sequential stream ends on the samples that it began with; subscribe anew "
                          "for others");
}

void ambd_stream_prepare_moves(struct ambd_stream *stream) {
    struct amb_error err = AMB_ERROR_NULL;
    struct ambd_generation *generation;
    struct ambd_move *move = NULL;
    int r;

    for (size_t i = 0; i < stream->n_moves && move == NULL; i++) {
        move = stream->moves[i].target == NULL ? &stream->moves[i] : NULL;
    }
    if (move == NULL || move->error.code != 0 || stream->preparing_move || move->step >= stream->end_step ||
        move->step > stream->next_lend + stream->subscription.n_slots) {
        return;
    }
    r = stream_find_next(&generation, stream, &move->request, &err);
    if (r < 0 && stream->session->busy && stream->session->recall.dataset != NULL) {
        stream->session->recall.dataset = NULL; /* the answer that is being made comes first; then this is tried again */
        return;
    }
    if (r < 0 && ambd_recall_push(stream->session, move_on_recalled)) {
        stream->preparing_move = true; /* until then */
        return;
    }
    r = r < 0 ? r : stream_check_move(stream, generation, &err);
    r = r < 0 ? r : prepare_push(stream, PREPARE_MOVE, 0, &move->request, generation, &err);
    if (r < 0) {
        move->error = err;
        return;
    }
    stream->preparing_move = true;
}

void ambd_stream_follow(struct ambd_stream *stream) {
    struct ambd_dataset *dataset = stream->subscription.dataset;
    struct ambd_move_request request = {0};

    if (!stream->subscription.follow || !stream->ready || stream->ended || stream->abandoned ||
        stream->following || dataset->current->number <= stream->follow_number ||
        !stream_may_move(stream, dataset->current)) {
        return;
    }
    stream->following = prepare_push(stream, PREPARE_FOLLOW, 0, &request, dataset->current, NULL) == 0;
}

int ambd_stream_advance(struct ambd_stream *stream, uint32_t id, const struct ambd_move_request *request,
                        struct amb_error *err) {
    struct ambd_generation *generation;
    int r;

    if (stream->subscription.request_mode || stream->ended) {
        return amb_fail(err, AMB_ERR_STATE, "ADVANCE of a %s",
                        stream->ended ? "stream that has ended"
                                      : "session that only "
                                        "answers requests");
    }
    if (stream->subscription.follow) {
        return amb_fail(err, AMB_ERR_CONFIG, "ADVANCE of a stream with 'follow', which moves by itself; subscribe with follow=false");
    }
    r = advance_check_step(stream, request->step, err);
    if (r < 0) {
        return r;
    }
    if (stream->n_moves >= ADVANCES_MAX) {
        return amb_fail(err, AMB_ERR_LIMIT, "%zu moves are set ahead, allowed: %u; CANCEL_ADVANCE some, or let steps pass",
                        stream->n_moves, ADVANCES_MAX);
    }
    if (ambd_stream_find_move(stream, request->step) != NULL) {
        return amb_fail(err, AMB_ERR_BUSY, "a move at step %llu is set already; CANCEL_ADVANCE it first",
                        (unsigned long long)request->step);
    }
    r = stream_find_next(&generation, stream, request, err);
    r = r < 0 ? r : stream_check_move(stream, generation, err);
    r = r < 0 ? r : prepare_push(stream, PREPARE_ADVANCE, id, request, generation, err);
    if (r == 0) {
        ambd_session_set_busy(stream->session, true);
    }
    return r;
}

int ambd_stream_cancel_advance(struct ambd_stream *stream, uint64_t step, struct amb_error *err) {
    struct ambd_move *move = ambd_stream_find_move(stream, step);

    if (stream->subscription.follow) {
        return 0; /* its moves are nobody's */
    }
    if (move == NULL && stream->last_move == step && step != UINT64_MAX) {
        return amb_fail(err, AMB_ERR_STATE, "the move at step %llu was made: the state before it was lent",
                        (unsigned long long)step);
    }
    if (move != NULL) {
        move_remove(stream, move);
        moves_reopen(stream, step);
        ambd_stream_discard_from(stream, step);
    }
    return 0;
}
