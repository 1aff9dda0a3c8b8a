/*
 * replay LIST: each line "KIND PATH" through the parser of its kind; prints "VERDICT MESSAGE" for each.
 *
 * A verdict is "ok", the name of an error (base/error.h), or "read:" and the name of the error with which the first
 * sample that cannot be read is answered, in an archive that was indexed.
 *
 * With one line in the list it closes with "cpu_ms N rss_kib N": what that file cost. For tests/test_malformed.py.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "annotate/jsonl.h"
#include "annotate/record.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "codec/decode.h"
#include "codec/npy.h"
#include "proto/frame.h"
#include "proto/json.h"
#include "proto/message.h"
#include "shard/label.h"
#include "shard/shard.h"

#define INCOMPLETE 1 /* a frame that ends before its length says: a socket would wait for the rest */

static int file_load(struct amb_buf *out, const char *path) {
    AMB_CLEANUP(amb_file_closep) FILE *file = fopen(path, "rbe");
    uint8_t piece[65536];
    size_t n = sizeof piece;

    out->n_bytes = 0;
    while (file != NULL && n == sizeof piece) {
        n = fread(piece, 1, sizeof piece, file);
        if (amb_buf_push(out, piece, n) < 0) {
            return -ENOMEM;
        }
    }
    return file == NULL ? -errno : 0;
}

/* The bytes in memory of just their size, so that a sanitizer sees a read past them. */
static uint8_t *file_take(size_t *bytes, const char *path) {
    AMB_CLEANUP(amb_buf_deinit) struct amb_buf buf = AMB_BUF_NULL;
    uint8_t *data;

    if (file_load(&buf, path) < 0) {
        perror(path);
        exit(2);
    }
    data = malloc(buf.n_bytes + (buf.n_bytes == 0));
    if (data == NULL) {
        exit(2);
    }
    if (buf.n_bytes != 0) {
        memcpy(data, buf.data, buf.n_bytes);
    }
    *bytes = buf.n_bytes;
    return data;
}

/* *was_read: the error is of a read. */
static int archive_replay(bool *was_read, const char *path, struct amb_error *err) {
    AMB_CLEANUP(amb_buf_deinit) struct amb_buf payload = AMB_BUF_NULL;
    struct amb_shard_options options = {.format = AMB_SHARD_AUTO, .label_key = NULL};
    struct amb_shard shard = AMB_SHARD_NULL;
    int r = amb_shard_init(&shard, path, &options, err);

    for (uint32_t i = 0; r == 0 && i < shard.index.n_samples; i++) {
        r = amb_shard_read(&payload, &shard, i, err);
        *was_read = r < 0;
    }
    amb_shard_deinit(&shard);
    return r;
}

static int payload_replay(const struct ambp_header *header, const uint8_t *data, struct amb_error *err) {
    struct ambp_lend lend;
    struct ambp_done done;
    struct ambp_request request;
    cJSON *json = NULL;
    int r;

    switch (header->type) {
    case AMBP_LEND:
        return ambp_lend_decode(&lend, data, header->length, err);
    case AMBP_DONE:
        return ambp_done_decode(&done, data, header->length, err);
    case AMBP_REQUEST:
        return ambp_request_decode(&request, data, header->length, err);
    default:
        r = ambp_json_decode(&json, (const char *)data, header->length, AMBP_JSON_DEPTH_MAX, err);
        cJSON_Delete(json);
        return r;
    }
}

static int frames_replay(const uint8_t *data, size_t bytes, struct amb_error *err) {
    struct ambp_header header;
    int r = 0;

    while (r == 0 && bytes > 0) {
        if (bytes < AMBP_HEADER_BYTES) {
            return INCOMPLETE;
        }
        r = ambp_header_decode(&header, data, err);
        if (r < 0) {
            return r;
        }
        if (header.length > bytes - AMBP_HEADER_BYTES) {
            return INCOMPLETE;
        }
        r = payload_replay(&header, data + AMBP_HEADER_BYTES, err);
        data += AMBP_HEADER_BYTES + header.length;
        bytes -= AMBP_HEADER_BYTES + header.length;
    }
    return r;
}

static int json_replay(const uint8_t *data, size_t bytes, struct amb_error *err) {
    cJSON *json = NULL;
    int r = ambp_json_decode(&json, (const char *)data, bytes, AMBP_JSON_DEPTH_MAX, err);

    cJSON_Delete(json);
    return r;
}

static int labels_replay(const uint8_t *data, size_t bytes, struct amb_error *err) {
    struct amb_labels *labels = NULL;
    int r = amb_labels_new(&labels, data, bytes, err);

    amb_labels_free(labels);
    return r;
}

static int jsonl_replay(const char *path, struct amb_error *err) {
    AMB_CLEANUP(amb_jsonl_deinit) struct amb_jsonl jsonl = AMB_JSONL_NULL;
    AMB_CLEANUP(amb_record_deinit) struct amb_record record = {0};
    const char *line;
    size_t bytes;
    int r = amb_jsonl_init(&jsonl, path, err);

    amb_record_init(&record, &(struct amb_record_options){
                                 .path = path, .epsilon = 0.05, .span = 32, .crop_threshold = 0.25});
    while (r == 0) {
        r = amb_jsonl_pop(&line, &bytes, &jsonl, err);
        record.i_line = jsonl.i_line;
        r = r == 0 ? amb_record_decode(&record, line, bytes, err) : r;
    }
    return r == AMB_JSONL_E_END ? 0 : r;
}

static int npy_replay(const uint8_t *data, size_t bytes, struct amb_error *err) {
    struct amb_npy npy;

    return amb_npy_decode(&npy, data, bytes, err);
}

static int picture_replay(const uint8_t *data, size_t bytes, struct amb_error *err) {
    struct amb_decoder *decoder = NULL;
    struct amb_image image;
    int r = amb_decoder_new(&decoder, &AMB_CODEC_LIMITS_DEFAULT, err);

    r = r < 0 ? r : amb_decoder_decode(&image, decoder, data, bytes, 3, err);
    amb_decoder_free(decoder);
    return r;
}

static const struct {
    const char *kind;
    int (*replay)(const uint8_t *data, size_t bytes, struct amb_error *err);
} kinds[] = {
    {"frame", frames_replay}, {"json", json_replay},   {"label", labels_replay},  {"npy", npy_replay},
    {"jpeg", picture_replay}, {"png", picture_replay}, {"webp", picture_replay},
};

static int replay(bool *was_read, const char *kind, const char *path, struct amb_error *err) {
    *was_read = false;
    if (strcmp(kind, "tar") == 0 || strcmp(kind, "zip") == 0) {
        return archive_replay(was_read, path, err);
    }
    if (strcmp(kind, "jsonl") == 0) {
        return jsonl_replay(path, err);
    }
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(kinds[i].kind, kind) == 0) {
            size_t bytes;
            uint8_t *data = file_take(&bytes, path);
            int r = kinds[i].replay(data, bytes, err);

            free(data);
            return r;
        }
    }
    fprintf(stderr, "replay: no kind '%s'\n", kind);
    exit(2);
}

static long cpu_ms(void) {
    struct timespec now;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* The peak of this program; that of getrusage begins with the peak of the process that started it. */
static long rss_kib(void) {
    AMB_CLEANUP(amb_file_closep) FILE *file = fopen("/proc/self/status", "re");
    char line[256];
    long kib = -1;

    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "VmHWM: %ld", &kib) == 1) {
            break;
        }
    }
    return kib;
}

int main(int argc, char **argv) {
    AMB_CLEANUP(amb_file_closep) FILE *list = argc == 2 ? fopen(argv[1], "re") : NULL;
    char kind[16], path[4096];
    long n = 0, ms = 0, kib = 0;

    if (list == NULL) {
        fprintf(stderr, "usage: replay LIST\n");
        return 2;
    }
    while (fscanf(list, "%15s %4095s", kind, path) == 2) {
        struct amb_error err = AMB_ERROR_NULL;
        bool was_read;
        int r;

        ms = cpu_ms();
        kib = rss_kib();
        r = replay(&was_read, kind, path, &err);
        ms = cpu_ms() - ms;
        kib = rss_kib() - kib;
        for (char *p = err.message; *p != '\0'; p++) {
            *p = *p == '\n' || *p == '\r' ? '?' : *p;
        }
        printf("%s%s %s\n", was_read ? "read:" : "", r == 0 ? "ok" : r == INCOMPLETE ? "incomplete" : amb_error_name(r),
               r < 0 ? err.message : "");
        n++;
    }
    if (n == 1) {
        printf("cpu_ms %ld rss_kib %ld\n", ms, kib);
    }
    return 0;
}
