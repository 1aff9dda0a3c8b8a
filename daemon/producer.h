#pragma once
/* Producer: worker threads that turn draws into slots; one slot is filled by several workers at once. */
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "base/error.h"
#include "batch/fill.h"
#include "sampler/sampler.h"

/*
 * Hand-over points, all of them:
 *   loop -> workers   ambd_producer_push(): from here the fill is the producer's, but for `cancelled`
 *   worker -> workers producer_drawn(): the drawer makes the rows available to all
 *   workers -> loop   on_drawn: the fill's draws and its state after them are settled and only read from here
 * on; on_done: the fill is the loop's again Each goes through the producer's lock. `cancelled` alone may be
 * set by the loop at any time.
 */

struct ambd_fill;
struct ambd_lane;

/* How draws are made: the sequence of the stream, or the sigmas of a request. */
enum ambd_fill_kind {
    AMBD_FILL_STREAM,
    AMBD_FILL_REQUEST,
};

/* Time and work of one fill. */
struct ambd_fill_stats {
    uint64_t read_ns, decode_ns, noise_ns, n_decoded, read_bytes;
    uint32_t n_replaced, n_transient, n_limited, n_timed_out;
};

/* One slot's worth of work. */
struct ambd_fill {
    /* set by the loop before push, constant until on_done */
    void *owner;
    enum ambd_fill_kind kind;
    const struct amb_fill_stream *stream;
    uint8_t *slot;
    uint64_t n_before, n_after; /* draws of other ranks before and behind ours in this step */
    uint32_t n_rows_max;        /* draws of this rank */
    uint64_t rank;              /* of a request */
    uint32_t n_sigmas;
    double *sigmas; /* s of each item of a request */

    /* the loop's, then the drawer's, then constant until on_done */
    struct amb_state state; /* before the draws, then after them (step counted too) */
    struct amb_draw *draws; /* n_rows_max */
    uint32_t n_rows;        /* drawn */
    uint32_t chunk;         /* rows that a worker takes at once */

    /* guarded by the producer's lock */
    uint32_t n_claimed, n_filled;
    struct ambd_fill *next, *next_event;
    struct amb_error error; /* the first; code 0: none */
    struct ambd_fill_stats stats;
    uint64_t began_ns, ended_ns;

    /* atomic */
    int cancelled;
};

/* The work of one stream; embedded in it. Lanes take turns, so a stream with many slots cannot starve
 * another. */
struct ambd_lane {
    struct ambd_lane *next;
    bool queued;
    struct ambd_fill *draw, *draw_last; /* to be drawn, in this order; of a stream at most one: each draw begins where the
                                         * one before ended */
    struct ambd_fill *first, *last; /* rows to claim */
};

struct ambd_worker {
    struct ambd_producer *producer;
    pthread_t thread;
    struct amb_filler filler;
    bool ready, started;
    uint64_t busy_since_ns; /* atomic: when it began its turn, or the sample at hand; 0: idle */
};

typedef void (*ambd_fill_event)(struct ambd_fill *fill);

struct ambd_producer {
    /* loop only */
    uv_async_t async;
    ambd_fill_event on_drawn, on_done; /* on_drawn comes before on_done; not where drawing failed */
    bool started;

    /* constant */
    unsigned n_workers;
    bool ahead; /* decoders decode ahead */
    struct ambd_worker *workers;

    pthread_mutex_t lock;
    pthread_cond_t work;
    /* guarded by lock */
    struct ambd_lane *first, *last;
    struct ambd_fill *drawn_first, *drawn_last, *done_first, *done_last;
    bool stop;
};

/* n_workers >= 1. Thread: loop. */
int ambd_producer_init(struct ambd_producer *producer, uv_loop_t *loop, unsigned n_workers,
                       const struct amb_codec_limits *limits, ambd_fill_event on_drawn,
                       ambd_fill_event on_done, struct amb_error *err);

/* Hand over a fill; on_done comes for each. A stream's next fill of kind STREAM may be pushed after on_drawn
 * of the one before. Thread: loop. */
void ambd_producer_push(struct ambd_producer *producer, struct ambd_lane *lane, struct ambd_fill *fill);

/* Its remaining rows are skipped; on_done still comes. Thread: loop. */
void ambd_fill_cancel(struct ambd_fill *fill);

/* The longest time that a worker has been at one sample; 0: none is at work. Thread: any, between init and close. */
uint64_t ambd_producer_busy_ns(struct ambd_producer *producer, uint64_t now_ns);

/* Join all workers (each finishes its row) and close the wake-up. No fill may be in flight. Thread: loop. */
void ambd_producer_close(struct ambd_producer *producer);

uint64_t ambd_now_ns(void); /* CLOCK_MONOTONIC */
