#pragma once
/* Cell, shared part: the memory between a decoder and its process, and how they wait for each other. */
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "codec/decode.h"

#define CELL_FD          3                            /* of the memory, in the process                              */
#define CELL_MAGIC       UINT64_C(0x314c4c4543424d41) /* "AMBCELL1"                                                 */
#define CELL_SLOTS       32u                          /* a power of two: counts wrap                                */
#define CELL_INPUT_BYTES (260u << 20)                 /* a payload of 256 MiB (DESIGN section 9) behind some ahead  */
#define CELL_AHEAD_IN    (4u << 20)                   /* of payloads pushed ahead; not tuned                        */
#define CELL_AHEAD_OUT   (4u << 20)                   /* of pixels decoded ahead: in the last cache; not tuned      */
#define CELL_PIXEL_BYTES 6u                           /* room for each pixel: as stored and turned upright          */
#define CELL_ALIGN       64u

/* States of the process. */
enum cell_state {
    CELL_STARTING,
    CELL_READY,
    CELL_FAILED, /* could not lock itself in: answers[0] says why */
};

/* Besides the codes of amb_decoder_decode. */
enum { CELL_E_LATER = 1 }; /* no room behind earlier pixels: ask again, with `first` */

/* Written by the decoder. */
struct cell_request {
    uint64_t offset, bytes; /* of the payload, in the memory */
    uint32_t channels;
    uint32_t first; /* 1: pixels of earlier pictures are no longer needed */
    uint32_t must;  /* 1: also past CELL_AHEAD_OUT */
};

/* Written by the process; nothing in it is believed. */
struct cell_answer {
    uint64_t offset; /* of the pixels, in the memory */
    uint32_t width, height;
    int32_t code;
    char message[AMB_ERROR_MESSAGE_BYTES];
};

/* A count that one side raises and the other waits for. */
struct cell_bell {
    _Atomic uint32_t count;
    _Atomic uint32_t waiting; /* 1: ring at `wake_at` */
    _Atomic uint32_t wake_at;
};

struct cell_shared {
    uint64_t magic;
    struct amb_codec_limits limits;
    uint64_t total_bytes, pixels_offset;
    int32_t parent;
    _Atomic uint32_t state; /* enum cell_state; also a futex */
    _Alignas(64) struct cell_bell asked;
    _Alignas(64) struct cell_bell answered;
    struct cell_request requests[CELL_SLOTS]; /* number i in slot i % CELL_SLOTS */
    struct cell_answer answers[CELL_SLOTS];
};

/* Payloads begin here, on a page of their own. */
#define CELL_INPUT_OFFSET (((sizeof(struct cell_shared) + 4095) / 4096) * 4096)

/* True if count has come to `wanted`; both wrap. */
static inline bool cell_reached(uint32_t count, uint32_t wanted) {
    return (int32_t)(count - wanted) >= 0;
}

static inline void cell_futex_wait(_Atomic uint32_t *word, uint32_t value, const struct timespec *timeout) {
    syscall(SYS_futex, (void *)word, FUTEX_WAIT, value, timeout, NULL, 0);
}

static inline void cell_futex_wake(_Atomic uint32_t *word) {
    syscall(SYS_futex, (void *)word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static inline void cell_bell_raise(struct cell_bell *bell) {
    uint32_t count = atomic_fetch_add(&bell->count, 1) + 1;

    if (atomic_load(&bell->waiting) != 0 && cell_reached(count, atomic_load(&bell->wake_at))) {
        cell_futex_wake(&bell->count);
    }
}

/* Sleep until the count moves or the time is over; may return early. */
static inline void cell_bell_wait(struct cell_bell *bell, uint32_t wanted, const struct timespec *timeout) {
    uint32_t count;

    atomic_store(&bell->wake_at, wanted);
    atomic_store(&bell->waiting, 1);
    count = atomic_load(&bell->count);
    if (!cell_reached(count, wanted)) {
        cell_futex_wait(&bell->count, count, timeout);
    }
    atomic_store(&bell->waiting, 0);
}
