/*
 * Producer: lanes take turns; a turn is either the draws of a stream's next step or a chunk of rows.
 *
 * A lane's draws come before its rows, so the sequence runs ahead while rows are filled; rows of its oldest
 * fill come first, so slots become ready in the order of their steps. Rows of one fill go to as many workers
 * as there are: which worker fills a row changes no byte of it.
 *
 * The state after the draws is copied to the loop's side by on_drawn; until on_done nobody frees what a fill
 * points to: its stream waits for that (stream.c).
 */
#include "daemon/producer.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"

#define DRAWS_PIECE      65536u /* of other ranks: some milliseconds; a multiple of AMB_RANK_N_MAX. Not tuned */
#define CHUNK_ROWS_MAX   AMB_AHEAD_MAX /* some 300 us of small pictures; not tuned     */
#define CHUNK_ROWS_AHEAD 4u            /* measured at 512 x 512, 8 rows, 2 workers      */

uint64_t ambd_now_ns(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

void ambd_fill_cancel(struct ambd_fill *fill) {
    __atomic_store_n(&fill->cancelled, 1, __ATOMIC_RELAXED);
}

static bool fill_cancelled(const struct ambd_fill *fill) {
    return __atomic_load_n(&fill->cancelled, __ATOMIC_RELAXED) != 0;
}

/* Lanes */

static void lane_append_locked(struct ambd_producer *producer, struct ambd_lane *lane) {
    if (lane->queued || (lane->draw == NULL && lane->first == NULL)) {
        return;
    }
    lane->queued = true;
    lane->next = NULL;
    if (producer->first == NULL) {
        producer->first = lane;
    } else {
        producer->last->next = lane;
    }
    producer->last = lane;
}

static struct ambd_lane *lane_pop_locked(struct ambd_producer *producer) {
    struct ambd_lane *lane = producer->first;

    producer->first = lane->next;
    lane->queued = false;
    return lane;
}

/* To the end of a list of fills: draws or rows of a lane, or what is done. */
static void fill_append_locked(struct ambd_fill **first, struct ambd_fill **last, struct ambd_fill *fill) {
    fill->next = NULL;
    if (*first == NULL) {
        *first = fill;
    } else {
        (*last)->next = fill;
    }
    *last = fill;
}

/* Events */

static void event_append_locked(struct ambd_fill **first, struct ambd_fill **last, struct ambd_fill *fill) {
    if (*first == NULL) {
        *first = fill;
    } else {
        (*last)->next_event = fill;
    }
    *last = fill;
}

static void fill_finish_locked(struct ambd_producer *producer, struct ambd_fill *fill) {
    fill->ended_ns = ambd_now_ns();
    fill_append_locked(&producer->done_first, &producer->done_last, fill);
}

/* Draws */

/* The draws of other ranks, which may be many; nobody waits for those of a stream that is gone. */
static int fill_skip(struct ambd_fill *fill, uint64_t n) {
    size_t n_drawn = 0;
    int r = 0;

    while (n > 0 && r == 0 && !fill_cancelled(fill)) {
        size_t piece = n < DRAWS_PIECE ? (size_t)n : DRAWS_PIECE;

        r = amb_sampler_draw(NULL, &n_drawn, fill->stream->sampler, &fill->state, piece);
        n -= piece;
    }
    return r;
}

static int fill_draw_stream(struct ambd_fill *fill, struct amb_error *err) {
    const struct amb_sampler *sampler = fill->stream->sampler;
    size_t n = 0;
    int r = fill_skip(fill, fill->n_before);

    if (r == 0) {
        r = amb_sampler_draw(fill->draws, &n, sampler, &fill->state, fill->n_rows_max);
    }
    fill->n_rows = (uint32_t)n;
    r = r == 0 ? fill_skip(fill, fill->n_after) : r;
    fill->state.step++;
    if (r < 0) {
        return amb_fail(err, r, "drawing step %llu", (unsigned long long)fill->state.step - 1);
    }
    return 0; /* AMB_SAMPLER_E_END: the loop sees it by k */
}

/* Sigmas that nothing admits keep their place in `sigmas`; the others become NaN, so that the loop can list
 * them. */
static int fill_draw_request(struct ambd_fill *fill, struct amb_error *err) {
    uint32_t n_refused = 0;

    for (uint32_t j = 0; j < fill->n_sigmas; j++) {
        int r = amb_sampler_request(&fill->draws[j], fill->stream->sampler, fill->rank, fill->state.q, j,
                                    fill->sigmas[j]);

        if (r < 0) {
            return amb_fail(err, r, "drawing item %u of a request", j);
        }
        if (r == AMB_SAMPLER_E_NONE) {
            n_refused++;
        } else {
            fill->sigmas[j] = NAN;
        }
    }
    fill->n_rows = fill->n_sigmas;
    if (n_refused > 0) {
        return amb_fail(err, AMB_ERR_GAP, "%u of %u sigmas are admitted by no sample; see detail.sigmas",
                        n_refused, fill->n_sigmas);
    }
    return 0;
}

static void fill_draw(struct ambd_fill *fill, struct amb_error *err) {
    if (!fill_cancelled(fill)) {
        *err = AMB_ERROR_NULL;
        if (fill->kind == AMBD_FILL_STREAM) {
            fill_draw_stream(fill, err);
        } else {
            fill_draw_request(fill, err);
        }
    }
}

/* Rows */

/* Fill rows [first, first + n); the filler's counters before and after are the chunk's share. */
static void fill_rows(struct ambd_worker *worker, struct ambd_fill *fill, uint32_t first, uint32_t n,
                      struct ambd_fill_stats *stats, struct amb_error *err) {
    struct amb_filler *filler = &worker->filler, before = *filler;

    if (!fill_cancelled(fill)) {
        amb_fill_ahead(filler, fill->stream, &fill->draws[first], n);
    }
    for (uint32_t i = first; i < first + n && !fill_cancelled(fill) && err->code == 0; i++) {
        amb_fill_row(fill->slot, i, filler, fill->stream, &fill->draws[i], err);
        stats->n_replaced += fill->draws[i].replaced != AMB_REPLACED_NO;
    }
    stats->read_ns = filler->read_ns - before.read_ns;
    stats->decode_ns = filler->decode_ns - before.decode_ns;
    stats->noise_ns = filler->noise_ns - before.noise_ns;
    stats->n_decoded = filler->n_decoded - before.n_decoded;
    stats->read_bytes = filler->read_bytes - before.read_bytes;
    stats->n_transient = (uint32_t)(filler->n_transient - before.n_transient);
    stats->n_limited = (uint32_t)(filler->n_limited - before.n_limited);
    stats->n_timed_out = (uint32_t)(filler->n_timed_out - before.n_timed_out);
}

static void stats_add(struct ambd_fill_stats *sum, const struct ambd_fill_stats *part) {
    sum->read_ns += part->read_ns;
    sum->decode_ns += part->decode_ns;
    sum->noise_ns += part->noise_ns;
    sum->n_decoded += part->n_decoded;
    sum->read_bytes += part->read_bytes;
    sum->n_replaced += part->n_replaced;
    sum->n_transient += part->n_transient;
    sum->n_limited += part->n_limited;
    sum->n_timed_out += part->n_timed_out;
}

static uint32_t producer_chunk(const struct ambd_producer *producer, uint32_t n_rows) {
    uint32_t chunk = n_rows / (4 * producer->n_workers), share = n_rows / producer->n_workers;

    if (producer->ahead && chunk < CHUNK_ROWS_AHEAD) { /* alone, a row has nothing to be decoded ahead of */
        chunk = share < CHUNK_ROWS_AHEAD ? share : CHUNK_ROWS_AHEAD;
    }
    return chunk < 1 ? 1 : chunk > CHUNK_ROWS_MAX ? CHUNK_ROWS_MAX : chunk;
}

/* Called without the lock, returns without it. */
static void producer_run_draw(struct ambd_producer *producer, struct ambd_lane *lane,
                              struct ambd_fill *fill) {
    struct amb_error err = AMB_ERROR_NULL;

    fill_draw(fill, &err);
    pthread_mutex_lock(&producer->lock);
    if (err.code != 0) {
        fill->error = err;
        fill_finish_locked(producer, fill);
    } else {
        fill->chunk = producer_chunk(producer, fill->n_rows);
        fill->next_event = NULL;
        event_append_locked(&producer->drawn_first, &producer->drawn_last, fill);
        if (fill->n_rows == 0 || fill_cancelled(fill)) {
            fill_finish_locked(producer, fill);
        } else {
            fill_append_locked(&lane->first, &lane->last, fill);
            lane_append_locked(producer, lane);
            pthread_cond_broadcast(&producer->work);
        }
    }
    pthread_mutex_unlock(&producer->lock);
    uv_async_send(&producer->async);
}

static void producer_run_rows(struct ambd_worker *worker, struct ambd_fill *fill, uint32_t first,
                              uint32_t n) {
    struct ambd_producer *producer = worker->producer;
    struct ambd_fill_stats stats = {0};
    struct amb_error err = AMB_ERROR_NULL;
    bool finished;

    fill_rows(worker, fill, first, n, &stats, &err);
    pthread_mutex_lock(&producer->lock);
    stats_add(&fill->stats, &stats);
    if (err.code != 0 && fill->error.code == 0) {
        fill->error = err;
    }
    fill->n_filled += n;
    finished = fill->n_filled == fill->n_rows;
    if (finished) {
        fill_finish_locked(producer, fill);
    }
    pthread_mutex_unlock(&producer->lock);
    if (finished) {
        uv_async_send(&producer->async);
    }
}

/* One turn; called with the lock, returns with it. */
static void worker_turn_locked(struct ambd_worker *worker) {
    struct ambd_producer *producer = worker->producer;
    struct ambd_lane *lane = lane_pop_locked(producer);
    struct ambd_fill *draw = lane->draw, *fill = lane->first;
    uint32_t first = 0, n = 0;

    if (draw != NULL) {
        lane->draw = draw->next;
    } else {
        first = fill->n_claimed;
        n = fill->n_rows - first < fill->chunk ? fill->n_rows - first : fill->chunk;
        fill->n_claimed += n;
        if (fill->n_claimed == fill->n_rows) {
            lane->first = fill->next;
        }
    }
    lane_append_locked(producer, lane);
    pthread_mutex_unlock(&producer->lock);
    __atomic_store_n(&worker->busy_since_ns, ambd_now_ns(), __ATOMIC_RELAXED);
    if (draw != NULL) {
        producer_run_draw(producer, lane, draw);
    } else {
        producer_run_rows(worker, fill, first, n);
    }
    __atomic_store_n(&worker->busy_since_ns, 0, __ATOMIC_RELAXED);
    pthread_mutex_lock(&producer->lock);
}

static void *worker_main(void *opaque) {
    struct ambd_worker *worker = opaque;
    struct ambd_producer *producer = worker->producer;

    pthread_mutex_lock(&producer->lock);
    while (!producer->stop) {
        if (producer->first == NULL) {
            pthread_cond_wait(&producer->work, &producer->lock);
        } else {
            worker_turn_locked(worker);
        }
    }
    pthread_mutex_unlock(&producer->lock);
    return NULL;
}

static void producer_on_event(uv_async_t *async) {
    struct ambd_producer *producer = async->data;
    struct ambd_fill *drawn, *done;

    pthread_mutex_lock(&producer->lock);
    drawn = producer->drawn_first;
    done = producer->done_first;
    producer->drawn_first = producer->done_first = NULL;
    pthread_mutex_unlock(&producer->lock);
    while (drawn != NULL) {
        struct ambd_fill *next = drawn->next_event;

        producer->on_drawn(drawn);
        drawn = next;
    }
    while (done != NULL) {
        struct ambd_fill *next = done->next;

        producer->on_done(done);
        done = next;
    }
}

void ambd_producer_push(struct ambd_producer *producer, struct ambd_lane *lane, struct ambd_fill *fill) {
    fill->n_claimed = fill->n_filled = fill->n_rows = 0;
    fill->error = AMB_ERROR_NULL;
    fill->stats = (struct ambd_fill_stats){0};
    fill->cancelled = 0;
    fill->next_event = NULL;
    fill->began_ns = ambd_now_ns();
    pthread_mutex_lock(&producer->lock);
    fill_append_locked(&lane->draw, &lane->draw_last, fill);
    lane_append_locked(producer, lane);
    pthread_cond_signal(&producer->work);
    pthread_mutex_unlock(&producer->lock);
}

uint64_t ambd_producer_busy_ns(struct ambd_producer *producer, uint64_t now_ns) {
    uint64_t longest = 0;

    for (unsigned i = 0; i < producer->n_workers; i++) {
        uint64_t since = __atomic_load_n(&producer->workers[i].busy_since_ns, __ATOMIC_RELAXED);

        if (since != 0 && now_ns > since && now_ns - since > longest) {
            longest = now_ns - since;
        }
    }
    return longest;
}

int ambd_producer_init(struct ambd_producer *producer, uv_loop_t *loop, unsigned n_workers,
                       const struct amb_codec_limits *limits, ambd_fill_event on_drawn,
                       ambd_fill_event on_done, struct amb_error *err) {
    int r;

    memset(producer, 0, sizeof *producer);
    pthread_mutex_init(&producer->lock, NULL);
    pthread_cond_init(&producer->work, NULL);
    producer->on_drawn = on_drawn;
    producer->on_done = on_done;
    producer->workers = amb_calloc(n_workers, sizeof *producer->workers);
    if (producer->workers == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for %u workers", n_workers);
    }
    producer->n_workers = n_workers;
    producer->ahead = limits->sandbox != NULL;
    r = uv_async_init(loop, &producer->async, producer_on_event);
    if (r < 0) {
        return amb_fail(err, r, "cannot make a wake-up: %s", uv_strerror(r));
    }
    producer->async.data = producer;
    producer->started = true;
    for (unsigned i = 0; i < n_workers; i++) {
        struct ambd_worker *worker = &producer->workers[i];

        worker->producer = producer;
        r = amb_filler_init(&worker->filler, limits, err);
        if (r < 0) {
            return r;
        }
        worker->filler.tried_ns = &worker->busy_since_ns; /* one row may try 65 samples, each up to the decoder's limits */
        worker->ready = true;
        r = pthread_create(&worker->thread, NULL, worker_main, worker);
        if (r != 0) {
            return amb_fail(err, -r, "cannot start worker %u of %u: %s", i + 1, n_workers, strerror(r));
        }
        worker->started = true;
        pthread_setname_np(worker->thread, "fill");
    }
    return 0;
}

void ambd_producer_close(struct ambd_producer *producer) {
    if (!producer->started) {
        return;
    }
    producer->started = false;
    pthread_mutex_lock(&producer->lock);
    producer->stop = true;
    pthread_cond_broadcast(&producer->work);
    pthread_mutex_unlock(&producer->lock);
    for (unsigned i = 0; i < producer->n_workers; i++) {
        if (producer->workers[i].started) {
            pthread_join(producer->workers[i].thread, NULL);
        }
        if (producer->workers[i].ready) {
            amb_filler_deinit(&producer->workers[i].filler);
        }
    }
    amb_free(producer->workers);
    producer->workers = NULL;
    producer->n_workers = 0;
    uv_close((uv_handle_t *)&producer->async, NULL);
}
