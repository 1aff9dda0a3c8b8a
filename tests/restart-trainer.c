/*
 * Restart trainer: a C trainer that does as it is told on stdin, for test_reconnect.py.
 *
 *     restart-trainer SOCKET OPTIONS-JSON STEPS PASSES RANK WORLD-SIZE TIMEOUT-S
 *
 *     n              next batch: "step CRC32 of its fields", or "end", or "error NAME: MESSAGE"
 *     h              the same, and hold it
 *     c              "held N" if every held batch still has the CRC32 it came with, "changed STEP"; they are released
 *     q NAME JSON    ask: "reply" or "error ..."
 *     s              "state JSON"
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "clients/c/ambient.h"

#define HELD_MAX 64

static const char *const fields[] = {"x_t", "x_tn", "sigma_t", "index"};
#define N_FIELDS (sizeof fields / sizeof fields[0])

struct trainer {
    struct ambient_client *client;
    struct ambient_batch *held[HELD_MAX];
    unsigned long crcs[HELD_MAX];
    size_t n_held;
    char state[16384];
    unsigned n_notices;
};

static unsigned long batch_crc(const struct ambient_batch *batch) {
    unsigned long crc = 0;

    for (size_t i = 0; i < N_FIELDS; i++) {
        struct ambient_array array;
        const void *data = ambient_batch_data(batch, fields[i], &array);

        crc = crc32(crc, data, (unsigned)(array.row_bytes * ambient_batch_count(batch)));
    }
    return crc;
}

static void next(struct trainer *trainer, int hold) {
    struct ambient_batch *batch;
    struct ambient_error err;
    int r = ambient_next(&batch, trainer->client, &err);

    if (r != 0) {
        printf(r < 0 ? "error %s: %s\n" : "end\n", err.name, err.message);
        return;
    }
    printf("%llu %08lx\n", (unsigned long long)ambient_batch_step(batch), batch_crc(batch));
    snprintf(trainer->state, sizeof trainer->state, "%s", ambient_batch_state(batch));
    if (hold && trainer->n_held < HELD_MAX) {
        trainer->crcs[trainer->n_held] = batch_crc(batch);
        trainer->held[trainer->n_held++] = batch;
    } else {
        ambient_batch_release(batch);
    }
}

static void check(struct trainer *trainer) {
    unsigned long long changed = 0;
    int any = 0;

    for (size_t i = 0; i < trainer->n_held; i++) {
        if (batch_crc(trainer->held[i]) != trainer->crcs[i]) {
            changed = ambient_batch_step(trainer->held[i]);
            any = 1;
        }
        ambient_batch_release(trainer->held[i]);
    }
    if (any) {
        printf("changed %llu\n", changed);
    } else {
        printf("held %zu\n", trainer->n_held);
    }
    trainer->n_held = 0;
}

static void ask(struct trainer *trainer, char *line) {
    struct ambient_error err;
    char *json = strchr(line, ' ');

    if (json != NULL) {
        *json++ = '\0';
    }
    if (ambient_call(NULL, trainer->client, line, json, &err) < 0) {
        printf("error %s: %s\n", err.name, err.message);
    } else {
        printf("reply\n");
    }
}

static void on_notice(void *context, const char *message) {
    ((struct trainer *)context)->n_notices++;
    fprintf(stderr, "notice: %s\n", message);
}

static int serve(struct trainer *trainer) {
    char line[4096];

    while (fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        switch (line[0]) {
        case 'n':
        case 'h':
            next(trainer, line[0] == 'h');
            break;
        case 'c':
            check(trainer);
            break;
        case 'q':
            ask(trainer, line + 2);
            break;
        case 's':
            printf("state %s\n", trainer->state);
            break;
        default:
            return 2;
        }
        fflush(stdout);
    }
    printf("notices %u\n", trainer->n_notices);
    return 0;
}

int main(int argc, char **argv) {
    struct ambient_stream_options options = AMBIENT_STREAM_OPTIONS_INIT;
    struct trainer trainer = {0};
    struct ambient_error err;
    int r;

    if (argc != 8) {
        return 2;
    }
    options.batch_size = 32;
    options.fields = fields;
    options.n_fields = N_FIELDS;
    options.options = argv[2];
    options.steps = strtoull(argv[3], NULL, 10);
    options.passes = strtoull(argv[4], NULL, 10);
    options.rank = (uint32_t)strtoul(argv[5], NULL, 10);
    options.world_size = (uint32_t)strtoul(argv[6], NULL, 10);
    options.reconnect_timeout_s = (uint32_t)strtoul(argv[7], NULL, 10);
    options.reconnect = options.reconnect_timeout_s != 0;
    options.notice = on_notice;
    options.context = &trainer;
    r = ambient_connect(&trainer.client, argv[1], &err);
    r = r == 0 ? ambient_subscribe(trainer.client, &options, &err) : r;
    if (r < 0) {
        printf("error %s: %s\n", err.name, err.message);
    } else {
        r = serve(&trainer);
    }
    ambient_disconnect(trainer.client);
    return r == 0 ? 0 : 1;
}
