/*
 * Bench: a trainer that does nothing but read every byte once, and the daemon's own account of where the time went.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "clients/ctl/ctl.h"

#define BENCH_FIELDS_MAX 32
#define BENCH_LIST_BYTES 1024
#define BENCH_SLOTS_MAX  64 /* proto/README.md, SUBSCRIBE */

struct bench {
    uint64_t batch_size, seconds, slots, seed;
    const char *fields, *process, *policy;
    const char *names[BENCH_FIELDS_MAX];
    size_t n_names;
};

static double bench_now(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Sum of 8-byte words: reads every byte, at the speed of memory. */
static uint64_t bench_sum(const uint8_t *data, size_t bytes) {
    uint64_t sum = 0;

    for (size_t i = 0; i + 8 <= bytes; i += 8) {
        uint64_t word;

        memcpy(&word, data + i, sizeof word);
        sum += word;
    }
    return sum;
}

/* What the daemon says of our session: the one that has our pid. */
static void bench_stalls(struct ctl *ctl, double elapsed) {
    AMB_CLEANUP(ambp_json_deletep) cJSON *status = NULL;
    const cJSON *session;

    if (ctl_ask(&status, ctl, "STATUS", NULL) != CTL_OK) {
        return;
    }
    cJSON_ArrayForEach(session, cJSON_GetObjectItemCaseSensitive(status, "sessions")) {
        static const char *const rows[][2] = {
            {"wait_fill_s", "waited for the daemon"},
            {"wait_client_s", "every slot was lent (we were slower)"},
            {"read_s", "worker time reading shards"},
            {"decode_s", "worker time decoding"},
            {"noise_s", "worker time noising"},
        };

        if ((pid_t)ctl_get_number(session, "pid") != getpid()) {
            continue;
        }
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            double seconds = ctl_get_number(session, rows[i][0]);

            printf("  %-38s %7.2f s  %5.1f %% of the time\n", rows[i][1], seconds, 100 * seconds / elapsed);
        }
        printf("  %.0f images decoded, %.0f replaced\n", ctl_get_number(session, "decoded"),
               ctl_get_number(session, "replaced"));
    }
}

static int bench_stream(struct ctl *ctl, const struct bench *bench) {
    double began, elapsed = 0, first = 0, images = 0, bytes = 0;
    struct ambient_batch *batch;
    struct ambient_error err;
    uint64_t sum = 0, n_batches = 0;
    char rate[CTL_TEXT_BYTES];
    int r;

    began = bench_now();
    while (elapsed < (double)bench->seconds && (r = ambient_next(&batch, ctl->client, &err)) != AMBIENT_END) {
        if (r < 0) {
            return ctl_fail(&err);
        }
        for (size_t i = 0; i < bench->n_names; i++) {
            struct ambient_array array;
            const uint8_t *data = ambient_batch_data(batch, bench->names[i], &array);

            sum += bench_sum(data, array.bytes);
            bytes += (double)array.bytes;
        }
        images += ambient_batch_count(batch);
        ambient_batch_release(batch);
        n_batches++;
        elapsed = bench_now() - began;
        first = n_batches == 1 ? elapsed : first;
        if (isatty(STDERR_FILENO) && n_batches % 16 == 0) {
            fprintf(stderr, "\r%s images/s, %.0f s left ", ctl_text_count(rate, images / elapsed),
                    (double)bench->seconds - elapsed);
        }
    }
    if (isatty(STDERR_FILENO)) {
        fprintf(stderr, "\r%40s\r", "");
    }
    if (ctl->json) {
        printf("{\"images\":%.0f,\"batches\":%" PRIu64 ",\"bytes\":%.0f,\"seconds\":%.6f,\"images_per_s\":%.1f,"
               "\"gb_per_s\":%.4f,\"first_batch_s\":%.6f,\"sum\":\"%" PRIu64 "\"}\n",
               images, n_batches, bytes, elapsed, images / elapsed, 1e-9 * bytes / elapsed, first, sum);
        return CTL_OK;
    }
    printf("%s images/s, %.2f GB/s: %" PRIu64 " batches of %" PRIu64 " in %.2f s, the first after %.0f ms\n",
           ctl_text_count(rate, images / elapsed), 1e-9 * bytes / elapsed, n_batches, bench->batch_size, elapsed,
           1e3 * first);
    bench_stalls(ctl, elapsed);
    return CTL_OK;
}

int ctl_run_bench(struct ctl *ctl, int argc, char **argv) {
    const struct ctl_command *command = ctl_command_get("bench");
    struct bench bench = {
        .batch_size = 256, .seconds = 5, .slots = 4, .fields = "x_t,x_tn,sigma_t,sigma_tn", .process = "ve", .policy = "pass"};
    const struct ctl_option own[] = {
        {"batch-size", 'b', "N", "samples a batch, default 256", CTL_COUNT, &bench.batch_size},
        {"seconds", 't', "N", "how long, default 5", CTL_COUNT, &bench.seconds},
        {"fields", 'f', "LIST", "default x_t,x_tn,sigma_t,sigma_tn", CTL_STRING, &bench.fields},
        {"process", 'p', "NAME", "ve (default), vp or flow", CTL_STRING, &bench.process},
        {"policy", 0, "NAME", "pass (default), uniform or sequential", CTL_STRING, &bench.policy},
        {"slots", 0, "N", "slots, default 4, at most 64", CTL_COUNT, &bench.slots},
        {"seed", 0, "N", "of the stream, default 0", CTL_COUNT, &bench.seed},
    };
    struct ambient_stream_options options = AMBIENT_STREAM_OPTIONS_INIT;
    char text[256], list[BENCH_LIST_BYTES], *save = NULL;
    struct ambient_error err;
    int r = ctl_parse(ctl, command, own, sizeof own / sizeof own[0], 0, argc, argv);

    r = r != CTL_PARSED ? r : ctl_check_count(command, "batch-size", bench.batch_size, 1, UINT32_MAX);
    r = r != CTL_PARSED ? r : ctl_check_count(command, "slots", bench.slots, 1, BENCH_SLOTS_MAX);
    r = r != CTL_PARSED ? r : ctl_check_count(command, "seconds", bench.seconds, 1, UINT64_MAX);
    if (r >= 0) {
        return r;
    }
    if (snprintf(list, sizeof list, "%s", bench.fields) >= BENCH_LIST_BYTES) {
        return ctl_usage(command, "--fields has %zu bytes, allowed: below %d", strlen(bench.fields), BENCH_LIST_BYTES);
    }
    for (char *name = strtok_r(list, ",", &save); name != NULL; name = strtok_r(NULL, ",", &save)) {
        if (bench.n_names == BENCH_FIELDS_MAX) {
            return ctl_usage(command, "--fields has more than %d names, allowed: as many", BENCH_FIELDS_MAX);
        }
        bench.names[bench.n_names++] = name;
    }
    snprintf(text, sizeof text, "{\"seed\":\"%" PRIu64 "\",\"process\":\"%s\",\"policy\":\"%s\"}", bench.seed,
             bench.process, bench.policy);
    options.dataset = ctl->dataset;
    options.options = text;
    options.batch_size = (uint32_t)bench.batch_size;
    options.slots = (uint32_t)bench.slots;
    options.fields = bench.names;
    options.n_fields = bench.n_names;
    if (ctl_connect(ctl) != CTL_OK) {
        return CTL_FAILED;
    }
    if (ambient_subscribe(ctl->client, &options, &err) < 0) {
        return ctl_fail(&err);
    }
    for (size_t i = 0; i < bench.n_names; i++) {
        char *colon = strchr(list + (bench.names[i] - list), ':');

        if (colon != NULL && strncmp(bench.names[i], "member:", 7) != 0) {
            *colon = '\0'; /* x_t:f16 is the field x_t */
        }
    }
    return bench_stream(ctl, &bench);
}
