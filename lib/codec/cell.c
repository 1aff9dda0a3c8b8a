/*
 * Cell: pictures go to the process in a ring of requests and come back in a ring of answers.
 *
 * The process is taken for an enemy from its first picture on. An answer is copied once and then checked:
 * sides and code must be such as a decoder may give, and the pixels must lie in the area for pixels. Pixels
 * themselves are only numbers. What a process that a picture has taken over can do is lie about pictures that
 * it is given until it ends; it can neither reach this process nor put the blame on another picture:
 *
 * A picture is refused for killing only when two processes that had seen no other picture died of it by a
 * fault of their own. Whatever was decoded ahead in a process that died is forgotten and decoded again, one
 * at a time, from bytes that were never in its reach.
 *
 * Not here: starting, ending and clocks of the process (cell-process.c), its own side (serve.c, jail.c).
 */
#include "codec/cell.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/size.h"
#include "codec/cell-process.h"

#define CELL_AHEAD_MAX  (CELL_SLOTS / 2) /* the other half is for those decoded between */
#define CELL_TRIM_BYTES (32u << 20)      /* larger pictures leave no memory behind; not tuned */
#define CELL_WAKE_BYTES (16u << 10)      /* of payload: some 100 us of JPEG; measured at 32 x 32 */

/* A request that is not popped yet. */
struct cell_entry {
    struct cell_request request;
    uint64_t ticket;
    bool ahead; /* false: decoded between, done */
};

struct amb_cell {
    struct cell_process process;
    uint32_t n_asked, n_popped; /* of this process; entries between them are kept */
    size_t input_bytes;         /* in use */
    bool large;                 /* memory is worth giving back */
    struct cell_entry entries[CELL_SLOTS];
};

int amb_cell_new(struct amb_cell **out, const struct amb_codec_limits *limits, struct amb_error *err) {
    struct amb_cell *cell = amb_calloc(1, sizeof *cell);
    int r;

    if (cell == NULL) {
        return amb_fail(err, -ENOMEM, "no memory for a decoder");
    }
    r = amb_cell_process_init(&cell->process, limits, err);
    if (r < 0) {
        amb_free(cell);
        return r;
    }
    *out = cell;
    return 0;
}

struct amb_cell *amb_cell_free(struct amb_cell *cell) {
    if (cell != NULL) {
        amb_cell_process_deinit(&cell->process);
        amb_free(cell);
    }
    return NULL;
}

/* Requests */

static void cell_forget(struct amb_cell *cell) {
    cell->n_asked = cell->n_popped = 0;
    cell->input_bytes = 0;
}

void amb_cell_reset(struct amb_cell *cell) {
    if (cell->n_asked == cell->n_popped) {
        return;
    }
    if (cell->process.pid > 0 && amb_cell_process_wait(&cell->process, cell->n_asked, cell->n_asked) == 0) {
        cell->n_popped = cell->n_asked;
    } else {
        cell_forget(cell);
    }
}

/* A process that runs, and ran when it was last looked at: who dies between two pictures costs none. */
static int cell_start(struct amb_cell *cell, struct amb_error *err) {
    if (cell->n_asked == cell->n_popped && cell->process.pid > 0 &&
        amb_cell_process_check(&cell->process) != 0) {
        cell_forget(cell);
    }
    return amb_cell_process_start(&cell->process, err);
}

/* Put a request on its way; a slot is free. */
static void cell_ask(struct amb_cell *cell, const struct cell_entry *entry) {
    struct cell_shared *shared = cell->process.shared;
    struct cell_entry *kept = &cell->entries[cell->n_asked % CELL_SLOTS];

    *kept = *entry;
    kept->request.first = cell->n_asked == cell->n_popped;
    shared->requests[cell->n_asked % CELL_SLOTS] = kept->request;
    cell->n_asked++;
    cell_bell_raise(&shared->asked);
}

/* Copy a payload in. False: no room behind those on their way. */
static bool cell_take_payload(struct cell_request *request, struct amb_cell *cell, const uint8_t *data,
                              size_t bytes, size_t limit) {
    if (cell->n_asked == cell->n_popped) {
        cell->input_bytes = 0;
        amb_cell_process_account(&cell->process);
        if (cell->large) {
            amb_cell_process_trim(&cell->process);
            cell->large = false;
        }
    }
    if (cell->n_asked - cell->n_popped >= CELL_SLOTS || !amb_span_ok(cell->input_bytes, bytes, limit)) {
        return false;
    }
    request->offset = CELL_INPUT_OFFSET + cell->input_bytes;
    request->bytes = bytes;
    memcpy((uint8_t *)cell->process.shared + request->offset, data, bytes);
    cell->input_bytes += (bytes + CELL_ALIGN - 1) & ~(size_t)(CELL_ALIGN - 1);
    cell->large = cell->large || bytes > CELL_TRIM_BYTES;
    return true;
}

/* Answers */

static bool cell_code_may_be(int code, bool first) {
    switch (code) {
    case 0:
    case AMB_ERR_FORMAT:
    case AMB_ERR_VERSION:
    case AMB_ERR_CHECKSUM:
    case AMB_ERR_LIMIT:
    case AMB_ERR_UNSUPPORTED:
    case -ENOMEM:
    case -ETIMEDOUT:
        return true;
    default:
        return code == CELL_E_LATER && !first;
    }
}

static bool cell_image_may_be(const struct amb_cell *cell, const struct cell_answer *answer,
                              uint32_t channels) {
    const struct amb_codec_limits *limits = &cell->process.limits;
    uint64_t n_pixels = (uint64_t)answer->width * answer->height;

    return answer->width >= 1 && answer->height >= 1 && answer->width <= limits->side_max &&
           answer->height <= limits->side_max && n_pixels <= limits->pixels_max &&
           answer->offset >= cell->process.pixels_offset &&
           amb_span_ok(answer->offset, n_pixels * channels, cell->process.total_bytes);
}

/* One line of what a terminal and a log can bear, whatever is in it. */
static void cell_clean(char *message) {
    message[AMB_ERROR_MESSAGE_BYTES - 1] = '\0';
    for (char *p = message; *p != '\0'; p++) {
        if (*p < ' ' || *p > '~') {
            *p = '?';
        }
    }
}

/* The code of answer i, CELL_E_LATER, or CELL_E_ENDED where it was none that a decoder gives. */
static int cell_get_answer(struct amb_image *out, struct amb_cell *cell, uint32_t i, struct amb_error *err) {
    const struct cell_request *request = &cell->entries[i % CELL_SLOTS].request;
    struct cell_answer answer;

    memcpy(&answer, &cell->process.shared->answers[i % CELL_SLOTS], sizeof answer);
    __asm__ volatile("" ::: "memory"); /* from here on the copy counts: no second look at the memory */
    if (!cell_code_may_be(answer.code, request->first != 0) ||
        (answer.code == 0 && !cell_image_may_be(cell, &answer, request->channels))) {
        return amb_cell_process_stop(&cell->process, CELL_FAULT, "an answer that cannot be");
    }
    if (answer.code < 0) {
        cell_clean(answer.message);
        return amb_fail(err, answer.code, "%s", answer.message);
    }
    if (answer.code == 0) {
        cell->large = cell->large || answer.offset - cell->process.pixels_offset > CELL_TRIM_BYTES ||
                      (uint64_t)answer.width * answer.height * CELL_PIXEL_BYTES > CELL_TRIM_BYTES;
        *out = (struct amb_image){.data = (uint8_t *)cell->process.shared + answer.offset,
                                  .width = answer.width,
                                  .height = answer.height,
                                  .channels = request->channels,
                                  .row_bytes = (size_t)answer.width * request->channels,
                                  .dtype = AMB_DTYPE_U8};
    }
    return answer.code;
}

/* One picture now, behind those on their way. As cell_get_answer; `fresh`: the process had seen no other. */
static int cell_decode_once(struct amb_image *out, bool *fresh, struct amb_cell *cell, const uint8_t *data,
                            size_t bytes, uint32_t channels, struct amb_error *err) {
    struct cell_entry entry = {.request = {.channels = channels, .must = 1}};
    uint32_t i;
    int r = cell_start(cell, err);

    if (r < 0) {
        return r;
    }
    if (!cell_take_payload(&entry.request, cell, data, bytes, CELL_INPUT_BYTES)) {
        amb_cell_reset(cell);
        r = cell_start(cell, err); /* it may have died of what was on its way */
        if (r < 0) {
            return r;
        }
        cell_take_payload(&entry.request, cell, data, bytes, CELL_INPUT_BYTES);
    }
    i = cell->n_asked;
    *fresh = i == 0;
    cell_ask(cell, &entry);
    r = amb_cell_process_wait(&cell->process, i + 1, i + 1);
    r = r != 0 ? r : cell_get_answer(out, cell, i, err);
    if (r == CELL_E_ENDED) {
        cell_forget(cell);
    } else if (cell->n_popped == i) {
        cell->n_popped = i + 1;
    }
    return r;
}

static int cell_fail_late(const struct amb_cell *cell, struct amb_error *err) {
    return amb_fail(err, -ETIMEDOUT, "%s, and the decoder process was killed", cell->process.end.text);
}

int amb_cell_decode(struct amb_image *out, struct amb_cell *cell, const uint8_t *data, size_t bytes,
                    uint32_t channels, struct amb_error *err) {
    const struct cell_end *end = &cell->process.end;
    unsigned n_faults = 0;
    bool fresh = false;

    if (bytes > CELL_INPUT_BYTES) {
        return amb_fail(err, AMB_ERR_LIMIT, "a picture of %zu bytes, allowed are %u", bytes,
                        CELL_INPUT_BYTES);
    }
    while (n_faults < 2) {
        int r = cell_decode_once(out, &fresh, cell, data, bytes, channels, err);

        if (r == CELL_E_LATER) {
            amb_cell_reset(cell);
        } else if (r <= 0) {
            return r;
        } else if (end->cause == CELL_LATE) {
            return cell_fail_late(cell, err);
        } else if (end->cause == CELL_LOST) {
            return amb_fail(err, -EIO, "the decoder process ended: %s", end->text);
        } else {
            n_faults += fresh;
        }
    }
    atomic_fetch_add_explicit(&cell->process.sandbox->counters.n_refused, 1, memory_order_relaxed);
    return amb_fail(err, AMB_ERR_FORMAT, "two decoder processes died of this picture: %s", end->text);
}

/* Ahead */

int amb_cell_push(struct amb_cell *cell, uint64_t ticket, const uint8_t *data, size_t bytes,
                  uint32_t channels) {
    struct cell_entry entry = {.request = {.channels = channels}, .ticket = ticket, .ahead = true};

    if (cell->n_asked - cell->n_popped >= CELL_AHEAD_MAX || cell_start(cell, NULL) < 0 ||
        !cell_take_payload(&entry.request, cell, data, bytes, CELL_AHEAD_IN)) {
        return AMB_DECODER_E_FULL;
    }
    cell_ask(cell, &entry);
    return 0;
}

/* What found no room is asked for again, now that all before it is popped. */
static int cell_ask_again(struct amb_cell *cell) {
    struct cell_entry again[CELL_SLOTS];
    size_t n = 0;

    for (uint32_t i = cell->n_popped; i != cell->n_asked; i++) {
        if (cell->entries[i % CELL_SLOTS].ahead) {
            again[n++] = cell->entries[i % CELL_SLOTS];
        }
    }
    if (amb_cell_process_wait(&cell->process, cell->n_asked, cell->n_asked) != 0) {
        return CELL_E_ENDED;
    }
    cell->n_popped = cell->n_asked;
    for (size_t i = 0; i < n; i++) {
        cell_ask(cell, &again[i]);
    }
    return 0;
}

/* Small pictures take less time than being woken: sleep until some of them are there. */
static uint32_t cell_enough(const struct amb_cell *cell) {
    uint32_t i = cell->n_popped;
    uint64_t bytes = 0;

    while (i != cell->n_asked && bytes < CELL_WAKE_BYTES) {
        bytes += cell->entries[i++ % CELL_SLOTS].request.bytes;
    }
    return i;
}

static bool cell_skip_to(struct amb_cell *cell, uint64_t ticket) {
    for (uint32_t i = cell->n_popped; i != cell->n_asked; i++) {
        const struct cell_entry *entry = &cell->entries[i % CELL_SLOTS];

        if (entry->ahead && entry->ticket == ticket) {
            cell->n_popped = i;
            return true;
        }
    }
    return false;
}

int amb_cell_pop(struct amb_image *out, struct amb_cell *cell, uint64_t ticket, struct amb_error *err) {
    int r = CELL_E_LATER;

    if (!cell_skip_to(cell, ticket)) {
        return AMB_DECODER_E_NONE;
    }
    while (r == CELL_E_LATER) {
        r = amb_cell_process_wait(&cell->process, cell->n_popped + 1, cell_enough(cell));
        r = r != 0 ? r : cell_get_answer(out, cell, cell->n_popped, err);
        if (r == CELL_E_LATER && cell_ask_again(cell) != 0) {
            r = CELL_E_ENDED;
        }
    }
    if (r == CELL_E_ENDED) {
        cell_forget(cell);
        return cell->process.end.cause == CELL_LATE ? cell_fail_late(cell, err) : AMB_DECODER_E_NONE;
    }
    cell->n_popped++;
    return r;
}

int amb_sandbox_check(const struct amb_codec_limits *limits, struct amb_error *err) {
    struct cell_process process;
    int r;

    assert(limits->sandbox != NULL);
    r = amb_cell_process_init(&process, limits, err);
    r = r < 0 ? r : amb_cell_process_start(&process, err);
    amb_cell_process_deinit(&process);
    return r;
}
