/*
 * Annotations: lines, then what each says, then which sample it means.
 *
 * The reader finds the first part of the input in its buffer and the rest in a file, so that lines are cut by a
 * refill at any place; the first byte of the input says where. Mostly all of it is in the buffer, of just its size,
 * which needs no system call. A refill wants a megabyte: that buffer is kept from input to input.
 */
#include "fuzz.h"

#include <errno.h>
#include <math.h>
#include <sys/mman.h>
#include <unistd.h>

#include "annotate/fake-catalog.h"
#include "annotate/jsonl.h"
#include "annotate/ledger.h"
#include "annotate/match.h"
#include "annotate/record.h"
#include "base/alloc.h"

#define LINE_BYTES_MAX 3000u
#define GRID_N         4u

static struct amb_catalog *catalog;
static struct amb_record record, scored;
static struct amb_buf refilled;
static int file = -1;

static void start(void) {
    static const struct fake_sample samples[] = {
        {"main", "a/000001", "a/000001.png", 3},
        {"main", "a/000002", "a/000002.jpg", -1},
        {"more", "b", "b.png", 0},
        {"more", "\xc3\xa4", "\xc3\xa4.webp", 7},
    };
    static const double sigmas[GRID_N] = {0.01, 0.1, 1, 10};

    catalog = fake_catalog_new(samples, sizeof samples / sizeof samples[0]);
    file = memfd_create("jsonl", MFD_CLOEXEC);
    FUZZ_REQUIRE(file >= 0);
    amb_record_init(&record, &(struct amb_record_options){
                                 .path = "input", .sigmas_path = "sigmas", .epsilon = 0.05, .span = 32,
                                 .crop_threshold = 0.25});
    amb_record_init(&scored, &(struct amb_record_options){.path = "input", .score_key = "sigma_min"});
    record.grid.sigmas = amb_malloc(sizeof sigmas);
    FUZZ_REQUIRE(record.grid.sigmas != NULL);
    memcpy(record.grid.sigmas, sigmas, sizeof sigmas);
    record.grid.n = GRID_N;
}

static void check_record(void) {
    struct amb_match match = {0};
    int r;

    if ((record.sides & AMB_SIDE_MIN) != 0) {
        FUZZ_REQUIRE(record.sigma_min >= 0);
    }
    if ((record.sides & AMB_SIDE_MAX) != 0) {
        FUZZ_REQUIRE(record.sigma_max >= 0);
    }
    r = amb_match_find(&match, catalog, &record);
    FUZZ_REQUIRE(r >= 0 && (r == AMB_MATCH_E_NONE || match.i_sample < amb_catalog_count(catalog)));
}

static void jsonl_open(struct amb_jsonl *jsonl, const uint8_t *data, size_t bytes, size_t in_buffer) {
    *jsonl = AMB_JSONL_NULL;
    jsonl->fd = file;
    jsonl->path = "input";
    jsonl->line_bytes_max = LINE_BYTES_MAX;
    jsonl->ended = in_buffer == bytes;
    if (!jsonl->ended) {
        jsonl->buf = refilled;
        jsonl->buf.n_bytes = 0;
    }
    FUZZ_REQUIRE(amb_buf_push(&jsonl->buf, data, in_buffer) == 0);
    if (!jsonl->ended) {
        FUZZ_REQUIRE(ftruncate(file, 0) == 0 && pwrite(file, data + in_buffer, bytes - in_buffer, 0) >= 0 &&
                     lseek(file, 0, SEEK_SET) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_jsonl jsonl;
    const char *line;
    size_t n, in_buffer;
    uint64_t i_line = 0;

    if (catalog == NULL) {
        start();
    }
    if (bytes < 2) {
        return 0;
    }
    in_buffer = data[0] < 240 ? bytes - 1 : (bytes - 1) * (data[0] - 240u) / 16;
    jsonl_open(&jsonl, data + 1, bytes - 1, in_buffer);
    while (fuzz_check(amb_jsonl_pop(&line, &n, &jsonl, &err), &err) == 0) {
        FUZZ_REQUIRE(n <= LINE_BYTES_MAX && memchr(line, '\n', n) == NULL && jsonl.i_line > i_line);
        i_line = record.i_line = jsonl.i_line;
        if (fuzz_check(amb_record_decode(&record, line, n, &err), &err) == 0) {
            check_record();
        } else {
            FUZZ_REQUIRE(err.code == AMB_ERR_FORMAT);
        }
        scored.i_line = i_line;
        if (fuzz_check(amb_record_decode(&scored, line, n, &err), &err) == 0) {
            FUZZ_REQUIRE(scored.sides == 0 && !isinf(scored.score));
        } else {
            FUZZ_REQUIRE(err.code == AMB_ERR_FORMAT);
        }
    }
    jsonl.fd = -1; /* kept for the next input */
    if (in_buffer != bytes - 1) {
        refilled = jsonl.buf;
        jsonl.buf = AMB_BUF_NULL;
    }
    amb_jsonl_deinit(&jsonl);
    return 0;
}
