/*
 * Serve: the life of a decoder process. Lock in, then answer requests until killed.
 *
 * Pixels are decoded straight into the shared memory, one picture behind the other, until the decoder says
 * that it needs the earlier ones no longer. What is read from the shared memory was written by the decoder
 * that started this process, which is trusted here; the other way round nothing is (cell.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/size.h"
#include "codec/cell-shared.h"
#include "codec/decoder.h"
#include "codec/jail.h"
#include "codec/sandbox.h"

#define SERVE_BASE_BYTES  (512u << 20) /* libraries, stacks, heap of small pictures; not tuned           */
#define SERVE_PIXEL_BYTES 16u          /* of a codec's heap for a pixel: twice jpeg.c's coefficients     */

struct server {
    struct cell_shared *shared;
    struct amb_decoder *decoder;
    size_t used_bytes; /* of the area of pixels */
    amb_sandbox_hook hook;
};

/* One grey pixel, quality 1. libjpeg-turbo looks the processor up (in /proc/cpuinfo on some) at the first
 * picture: that must be behind us when the door shuts. */
static const uint8_t serve_first_jpeg[] = {
    0xff, 0xd8, 0xff, 0xdb, 0x00, 0x43, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xc0, 0x00, 0x0b, 0x08, 0x00, 0x01, 0x00, 0x01,
    0x01, 0x01, 0x11, 0x00, 0xff, 0xc4, 0x00, 0x14, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x03, 0xff, 0xc4, 0x00, 0x14, 0x10, 0x01,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0xff, 0xda, 0x00, 0x08, 0x01, 0x01, 0x00, 0x00, 0x3f, 0x00, 0x37, 0xff, 0xd9};

static struct cell_shared *serve_open(void) {
    struct cell_shared *shared;
    struct stat st;

    if (fstat(CELL_FD, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size < (off_t)CELL_INPUT_OFFSET) {
        return NULL;
    }
    shared = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, CELL_FD, 0);
    if (shared == MAP_FAILED) {
        return NULL;
    }
    return shared->magic == CELL_MAGIC && shared->total_bytes == (uint64_t)st.st_size ? shared : NULL;
}

static int serve_start(struct server *server, struct amb_error *err) {
    const struct cell_shared *shared = server->shared;
    const struct amb_codec_limits limits = shared->limits;
    struct amb_image image;
    int r = amb_decoder_new(&server->decoder, &limits, err);

    if (r == 0) {
        r = amb_decoder_decode(&image, server->decoder, serve_first_jpeg, sizeof serve_first_jpeg, 1, err);
    }
    if (r < 0) {
        return r;
    }
    return amb_jail_enter(shared->total_bytes + SERVE_BASE_BYTES + SERVE_PIXEL_BYTES * limits.pixels_max,
                          shared->parent, err);
}

static void serve_one(struct server *server, const struct cell_request *request, struct cell_answer *answer) {
    struct cell_shared *shared = server->shared;
    uint8_t *memory = (uint8_t *)shared, *area = memory + shared->pixels_offset;
    size_t area_bytes = (size_t)(shared->total_bytes - shared->pixels_offset);
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_image image = {0};
    int r;

    if (request->first != 0) {
        server->used_bytes = 0;
    } else if (request->must == 0 && server->used_bytes > CELL_AHEAD_OUT) {
        answer->code = CELL_E_LATER;
        return;
    }
    if (server->hook != NULL) {
        server->hook(memory + request->offset, (size_t)request->bytes, shared);
    }
    amb_decoder_lend(server->decoder, area + server->used_bytes, area_bytes - server->used_bytes);
    r = amb_decoder_decode(&image, server->decoder, memory + request->offset, (size_t)request->bytes,
                           request->channels, &err);
    if (r == -ENOMEM && server->used_bytes != 0) {
        r = CELL_E_LATER; /* it may have been the area */
    }
    answer->code = r;
    if (r < 0) {
        memcpy(answer->message, err.message, sizeof answer->message);
    } else if (r == 0) {
        answer->offset = (uint64_t)(image.data - memory);
        answer->width = image.width;
        answer->height = image.height;
        server->used_bytes = (size_t)(image.data - area) + image.row_bytes * image.height;
        server->used_bytes = (server->used_bytes + CELL_ALIGN - 1) & ~(size_t)(CELL_ALIGN - 1);
        server->used_bytes = amb_size_min(server->used_bytes, area_bytes);
    }
}

_Noreturn static void serve_run(struct server *server) {
    struct cell_shared *shared = server->shared;

    for (uint32_t i = 0;; i++) {
        while (!cell_reached(atomic_load(&shared->asked.count), i + 1)) {
            cell_bell_wait(&shared->asked, i + 1, NULL);
        }
        serve_one(server, &shared->requests[i % CELL_SLOTS], &shared->answers[i % CELL_SLOTS]);
        cell_bell_raise(&shared->answered);
    }
}

int amb_sandbox_serve(amb_sandbox_hook hook) {
    struct server server = {.shared = serve_open(), .hook = hook};
    struct amb_error err = AMB_ERROR_NULL;
    int r;

    if (server.shared == NULL) {
        fprintf(stderr, AMB_SANDBOX_ARGUMENT " is for decoder processes only, which ambientd starts\n");
        return 2;
    }
    prctl(PR_SET_NAME, "ambientd-decode");
    r = serve_start(&server, &err);
    if (r < 0) {
        server.shared->answers[0].code = r;
        memcpy(server.shared->answers[0].message, err.message, sizeof err.message);
    }
    atomic_store(&server.shared->state, r < 0 ? CELL_FAILED : CELL_READY);
    cell_futex_wake(&server.shared->state);
    if (r < 0) {
        _exit(1);
    }
    serve_run(&server);
}
