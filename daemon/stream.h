#pragma once
/* Stream: the slots of one session: steps drawn, filled, lent and given back. */
#include <stdbool.h>
#include <stdint.h>

#include "batch/slab.h"
#include "daemon/producer.h"
#include "daemon/session.h"
#include "daemon/subscription.h"
#include "daemon/target.h"
#include "proto/message.h"

enum ambd_slot_state {
    AMBD_SLOT_FREE,
    AMBD_SLOT_FILLING, /* the producer's */
    AMBD_SLOT_READY,   /* filled, to be lent in its turn */
    AMBD_SLOT_LENT,
};

struct ambd_slot {
    enum ambd_slot_state state;
    bool discarded;      /* FILLING, but nobody wants it any more */
    bool drawn;          /* fill.state is the state after the step */
    uint32_t request_id; /* of a request; 0: a step of the stream */
    uint64_t step, k;    /* of the step; k before it */
    uint64_t lent_ns;
    struct ambd_target *target; /* a reference while FILLING or READY */
    struct ambd_fill fill;
};

/* From `step` on the stream stands on `target`. */
struct ambd_move {
    uint64_t step;
    struct ambd_target *target; /* a reference; NULL: still being prepared */
    struct ambd_move_request request;
    struct amb_error error; /* why it cannot be prepared: the stream ends before it; code 0: none */
    uint32_t n_reopened;    /* how often what was prepared for it, or is being, was let go */
};

struct ambd_stream_stats {
    uint64_t n_images, n_bytes, n_replaced, n_decoded, wait_client_ns, wait_fill_ns, read_ns, decode_ns,
        noise_ns;
};

/* Loop only, but for what fills hand over. */
struct ambd_stream {
    struct ambd_session *session; /* lives as long as the stream */
    struct ambd_server *server;
    uid_t uid;
    uint32_t subscribe_id;
    struct ambd_subscription subscription;
    struct amb_layout layout; /* placed; constant */
    struct amb_slab slab;
    uint64_t quota_bytes;
    struct ambd_lane lane;
    struct ambd_slot *slots;    /* n_slots */
    struct amb_draw *draws;     /* n_slots x batch_size */
    double *sigmas;             /* of requests, n_slots x batch_size */
    struct ambd_target *target; /* of the step next_lend: settled */
    struct ambd_move *moves;    /* rising steps; what lies behind next_lend */
    size_t n_moves, moves_capacity;
    struct amb_state settled;     /* before next_lend, its move made: what the client was told */
    uint64_t next_lend, end_step; /* end_step: first that is not lent; UINT64_MAX: none */
    uint64_t end_k;               /* of `sequential`; UINT64_MAX: none */
    unsigned n_in_flight, n_lent;
    bool drawing, moved, ended, abandoned, ready;
    bool continued;                 /* on another generation than the state names */
    uint64_t follow_number;         /* newest generation prepared or refused by `follow` */
    uint64_t last_move;             /* step of the last one that was made */
    bool following, preparing_move; /* such a task is under way */
    struct amb_error refused;       /* why `follow` stays where it is; code 0: it does not */
    unsigned n_holds;               /* tasks on desks, and callers that still use the stream */
    uint64_t since_ns;              /* of the present kind of waiting */
    struct ambd_stream_stats stats;
    char state_text[AMB_STATE_BYTES_MAX + 1];
};

/* SUBSCRIBE: prepare on the builder's desk, then answer. Takes the subscription on success. */
int ambd_stream_open(struct ambd_session *session, uint32_t id, struct ambd_subscription *subscription,
                     struct amb_error *err);

/* The session is gone: cancel fills; memory goes when the last of them is done. */
void ambd_stream_abandon(struct ambd_stream *stream);

/* Lend what is ready and in turn, while nothing is queued for the client; draw for free slots. */
void ambd_stream_pump(struct ambd_stream *stream);

/* DONE. AMB_ERR_PROTOCOL. */
int ambd_stream_return(struct ambd_stream *stream, const struct ambp_done *done, struct amb_error *err);

/* REQUEST; the answer comes later, errors apart. */
int ambd_stream_request(struct ambd_stream *stream, uint32_t id, const struct ambp_request *request,
                        struct amb_error *err);

/* ADVANCE (answered when prepared) and CANCEL_ADVANCE. */
int ambd_stream_advance(struct ambd_stream *stream, uint32_t id, const struct ambd_move_request *request,
                        struct amb_error *err);
int ambd_stream_cancel_advance(struct ambd_stream *stream, uint64_t step, struct amb_error *err);

/* The dataset has a newer generation. */
void ambd_stream_follow(struct ambd_stream *stream);

/* Slots held longer than limits.slot_lease_s: 1. */
int ambd_stream_overdue(const struct ambd_stream *stream, uint64_t now_ns, uint64_t lease_ns);

/* Events of the producer. */
void ambd_stream_on_drawn(struct ambd_fill *fill);
void ambd_stream_on_done(struct ambd_fill *fill);

/* {"gap":[lo,hi],"mass":m} of a refused or truncated schedule. */
cJSON *ambd_gap_encode(const struct amb_sampler_report *report);

/* Inside of the stream's files (stream.c, subscribe.c, move.c, request.c). */
void ambd_stream_account(struct ambd_stream *stream);                /* before a slot changes state */
struct ambd_slot *ambd_stream_find_free(struct ambd_stream *stream); /* NULL: none */
void ambd_stream_push_fill(struct ambd_stream *stream, struct ambd_slot *slot, struct ambd_target *target);
void ambd_stream_discard_from(struct ambd_stream *stream,
                              uint64_t step); /* work drawn for `step` and later */
void ambd_stream_fail(struct ambd_stream *stream, const struct amb_error *why);
void ambd_stream_hold(struct ambd_stream *stream); /* whatever is sent meanwhile, the memory stays */
bool ambd_stream_drop(struct ambd_stream *stream); /* the counterpart; true: the stream is gone */
struct ambd_move *ambd_stream_find_move(struct ambd_stream *stream, uint64_t step);
void ambd_stream_settle(struct ambd_stream *stream,
                        struct amb_state *state);           /* make the move at state->step */
void ambd_stream_prepare_moves(struct ambd_stream *stream); /* those of the list that drawing comes near to */
void ambd_stream_forget_moves(struct ambd_stream *stream);
void ambd_stream_on_request_failed(struct ambd_stream *stream, struct ambd_slot *slot);
int ambd_stream_schedule(struct ambd_stream *stream, uint64_t step, struct ambd_target *target,
                         const struct ambd_move_request *request, struct amb_error *err);
/* The generation that a request names, or AMB_ERR_NOT_FOUND, AMB_ERR_STATE; not pinned. `present` where it
 * names none. What is not in memory is noted in the session (recall.c). */
int ambd_stream_find_generation(struct ambd_generation **out, struct ambd_session *session,
                                struct ambd_dataset *dataset,
                                const struct ambd_move_request *request, struct ambd_generation *present,
                                struct amb_error *err);
