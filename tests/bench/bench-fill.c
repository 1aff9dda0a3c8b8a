/*
 * bench-fill: images/s of the row filler alone, for x_t + x_tn + sigma_t + sigma_tn in f32.
 *
 * Each case fills a ring of slots with threads that take the next rows, a chunk at once as the daemon's
 * workers do; first without a cache (every image read and decoded), here and in sandboxed processes by turns,
 * then from a cache that holds the set. Per image it prints the CPU time, with that of the processes, the wall
 * time of one thread, and that by cause (wall and cpu differ where others use the machine, and where thread
 * and process work at once). The floor is what copying the same bytes costs.
 *
 *   bench-fill [SECONDS [SIDE]]      time of each case, default 1; 32, 256 or 512 alone
 *
 * Pictures are made here (JPEG, quality 90, shapes and fine texture); where AMBIENTD_TEST_DATA is set, the
 * 32 x 32 case reads cifar-*.tar there instead.
 */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <jpeglib.h>

#include "base/alloc.h"
#include "base/philox.h"
#include "batch/fill.h"
#include "batch/slab.h"
#include "codec/sandbox.h"
#include "noise/normal.h"

#define N_SLOTS   4u
#define N_THREADS 2u
#define N_ROUNDS  3u /* of each of the two ways to decode, by turns */

struct bench {
    uint32_t side, n_samples, batch_size;
    char dir[64], tar[96];
    struct amb_catalog *catalog;
    struct amb_annotations *annotations;
    struct amb_orders *orders;
    struct amb_sampler *sampler;
    struct amb_dataset dataset;
    struct amb_layout layout;
    struct amb_fill_stream stream;
    struct amb_slab slab;
    struct amb_draw *draws; /* of n_draws rows, used over and over */
    size_t n_draws;
    uint32_t chunk;
    struct amb_codec_limits limits;
};

static const char *const sandbox_argv[] = {"bench-fill", AMB_SANDBOX_ARGUMENT, NULL};
static struct amb_sandbox sandbox = {.program = "/proc/self/exe", .argv = sandbox_argv};

struct worker {
    struct bench *bench;
    _Atomic uint64_t *next_row;
    uint64_t end_ns, n_rows, cpu_ns;
    struct amb_filler filler;
    pthread_t thread;
};

static void die(const char *what, const struct amb_error *err) {
    fprintf(stderr, "bench-fill: %s: %s\n", what, err->message);
    exit(1);
}

static uint64_t now_ns(clockid_t clock) {
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- pictures ----------------------------------------------------------------------------------------- */

static void make_pixels(uint8_t *rgb, uint32_t side, uint32_t i) {
    struct amb_philox_block word = amb_philox(1, 0, i);
    double cx = word.w[0] * 0x1p-32, cy = word.w[1] * 0x1p-32, radius = 0.1 + 0.3 * word.w[2] * 0x1p-32;

    for (uint32_t y = 0; y < side; y++) {
        for (uint32_t x = 0; x < side; x++) {
            double u = (double)x / side, v = (double)y / side;
            double shape = hypot(u - cx, v - cy) < radius ? 90 : 0,
                   grain = amb_philox(2, y * side + x, i).w[0] * 0x1p-32;

            for (uint32_t c = 0; c < 3; c++) {
                double value = 60 + 50 * sin(9 * u + c + i) + 30 * cos(23 * v * (1 + c)) + shape + 24 * grain;

                rgb[(y * side + x) * 3 + c] = (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
            }
        }
    }
}

static void push_jpeg(FILE *file, const uint8_t *rgb, uint32_t side, uint32_t i) {
    static const char zeros[512];
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr errors;
    unsigned char *data = NULL;
    unsigned long bytes = 0;
    char header[512] = {0};
    unsigned sum = 0;

    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_compress(&jpeg);
    jpeg_mem_dest(&jpeg, &data, &bytes);
    jpeg.image_width = jpeg.image_height = side;
    jpeg.input_components = 3;
    jpeg.in_color_space = JCS_RGB;
    jpeg_set_defaults(&jpeg);
    jpeg_set_quality(&jpeg, 90, TRUE);
    jpeg_start_compress(&jpeg, TRUE);
    for (uint32_t y = 0; y < side; y++) {
        JSAMPROW row = (JSAMPROW)(uintptr_t)(rgb + (size_t)y * side * 3);

        jpeg_write_scanlines(&jpeg, &row, 1);
    }
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    snprintf(header, 100, "%08u.jpg", i);
    memcpy(header + 100, "0000644\0000000000\0000000000", 24);
    snprintf(header + 124, 12, "%011lo", bytes);
    memcpy(header + 136, "00000000000", 12);
    memcpy(header + 148, "        ", 8);
    header[156] = '0';
    memcpy(header + 257, "ustar\00000", 8);
    for (unsigned j = 0; j < sizeof header; j++) {
        sum += (uint8_t)header[j];
    }
    snprintf(header + 148, 8, "%06o", sum);
    fwrite(header, 1, sizeof header, file);
    fwrite(data, 1, bytes, file);
    fwrite(zeros, 1, (512 - bytes % 512) % 512, file);
    free(data);
}

static void make_tar(struct bench *bench) {
    static const char zeros[1024];
    uint8_t *rgb = malloc((size_t)bench->side * bench->side * 3);
    FILE *file;

    snprintf(bench->dir, sizeof bench->dir, "/tmp/ambientd-bench-XXXXXX");
    if (rgb == NULL || mkdtemp(bench->dir) == NULL) {
        perror("bench-fill");
        exit(1);
    }
    snprintf(bench->tar, sizeof bench->tar, "%s/set.tar", bench->dir);
    file = fopen(bench->tar, "wb");
    if (file == NULL) {
        perror(bench->tar);
        exit(1);
    }
    for (uint32_t i = 0; i < bench->n_samples; i++) {
        make_pixels(rgb, bench->side, i);
        push_jpeg(file, rgb, bench->side, i);
    }
    fwrite(zeros, 1, sizeof zeros, file);
    fclose(file);
    free(rgb);
}

/* ---- dataset and stream ------------------------------------------------------------------------------- */

static void open_catalog(struct bench *bench) {
    const char *data = bench->side == 32 ? getenv("AMBIENTD_TEST_DATA") : NULL, *patterns[1] = {bench->tar};
    struct amb_source_options source = {.name = "main",
                                        .patterns = patterns,
                                        .n_patterns = 1,
                                        .repeat = 1,
                                        .corruption_label = AMB_LABEL_NONE};
    struct amb_catalog_options options = {.n_threads = 1};
    struct amb_error err = AMB_ERROR_NULL;
    char cifar[256];

    if (data != NULL) {
        snprintf(cifar, sizeof cifar, "%s/cifar-*.tar", data);
        patterns[0] = cifar;
    } else {
        make_tar(bench);
    }
    if (amb_catalog_open(&bench->catalog, &source, 1, &options, NULL, &err) < 0) {
        die("catalog", &err);
    }
    bench->n_samples = amb_catalog_count(bench->catalog);
}

/* Half of the samples are of low quality: trusted above s = 0.3 only. */
static void open_stream(struct bench *bench) {
    static const char *const fields[] = {"x_t", "x_tn", "sigma_t", "sigma_tn"};
    struct amb_stream_options options = AMB_STREAM_OPTIONS_DEFAULT;
    struct amb_orders_source source = {0, bench->n_samples, 1};
    struct amb_annotation *values = amb_calloc(bench->n_samples, sizeof *values);
    struct amb_state at = {0};
    struct amb_error err = AMB_ERROR_NULL;
    size_t n_drawn = 0;

    for (uint32_t i = 0; i < bench->n_samples; i++) {
        values[i] = i % 2 == 0 ? AMB_ANNOTATION_EVERYWHERE : (struct amb_annotation){0.3f, 0};
    }
    if (amb_annotations_new(&bench->annotations, values, bench->n_samples, bench->n_samples / 2, 1, &err) <
            0 ||
        amb_orders_new(&bench->orders, bench->annotations, &source, 1, 1, &err) < 0 ||
        amb_sampler_new(&bench->sampler, bench->orders, &options, NULL, &err) < 0) {
        die("sampler", &err);
    }
    bench->layout = (struct amb_layout){.shape = bench->dataset.shape, .batch_size = bench->batch_size};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        if (amb_layout_push(&bench->layout, fields[i], AMB_DTYPE_N, 0, &err) < 0) {
            die("layout", &err);
        }
    }
    if (amb_layout_place(&bench->layout, &err) < 0 ||
        amb_slab_init(&bench->slab, N_SLOTS, bench->layout.slot_bytes, &err) < 0) {
        die("slab", &err);
    }
    bench->stream = (struct amb_fill_stream){
        .dataset = &bench->dataset, .sampler = bench->sampler, .layout = &bench->layout, .options = options};
    amb_fill_keys_get(&bench->stream.keys, 0, options.seed);
    bench->n_draws = 64 * (size_t)bench->batch_size;
    bench->draws = calloc(bench->n_draws, sizeof *bench->draws);
    amb_sampler_adopt(&at, bench->sampler);
    if (bench->draws == NULL ||
        amb_sampler_draw(bench->draws, &n_drawn, bench->sampler, &at, bench->n_draws) != 0) {
        die("draws", &err);
    }
}

static void open_bench(struct bench *bench) {
    struct amb_error err = AMB_ERROR_NULL;

    open_catalog(bench);
    bench->dataset = (struct amb_dataset){
        .catalog = bench->catalog,
        .shape = {.channels = 3, .height = bench->side, .width = bench->side},
        .transform = {.crop = AMB_CROP_NONE, .width = bench->side, .height = bench->side, .channels = 3},
    };
    if (amb_quarantine_new(&bench->dataset.quarantine, bench->n_samples, &err) < 0) {
        die("quarantine", &err);
    }
    open_stream(bench);
}

static void close_bench(struct bench *bench) {
    free(bench->draws);
    amb_slab_deinit(&bench->slab);
    amb_sampler_free(bench->sampler);
    amb_orders_unref(bench->orders);
    amb_annotations_unref(bench->annotations);
    amb_quarantine_free(bench->dataset.quarantine);
    amb_catalog_unref(bench->catalog);
    if (bench->tar[0] != '\0') {
        unlink(bench->tar);
        rmdir(bench->dir);
    }
}

/* ---- measurement -------------------------------------------------------------------------------------- */

static void *work(void *opaque) {
    struct worker *worker = opaque;
    struct bench *bench = worker->bench;
    struct amb_error err = AMB_ERROR_NULL;

    while (now_ns(CLOCK_MONOTONIC) < worker->end_ns) { /* chunks divide batches, and batches the draws */
        uint64_t first = atomic_fetch_add_explicit(worker->next_row, bench->chunk, memory_order_relaxed);
        uint8_t *slot = amb_slab_get(&bench->slab, (uint32_t)(first / bench->batch_size % N_SLOTS));

        amb_fill_ahead(&worker->filler, &bench->stream, &bench->draws[first % bench->n_draws], bench->chunk);
        for (uint64_t row = first; row < first + bench->chunk; row++) {
            struct amb_draw draw = bench->draws[row % bench->n_draws];

            if (amb_fill_row(slot, (uint32_t)(row % bench->batch_size), &worker->filler, &bench->stream,
                             &draw, &err) < 0) {
                die("fill", &err);
            }
            worker->n_rows++;
        }
    }
    worker->cpu_ns = now_ns(CLOCK_THREAD_CPUTIME_ID);
    return NULL;
}

/* Every sample once through the cache. */
static void warm(struct bench *bench) {
    struct amb_filler filler;
    struct amb_error err = AMB_ERROR_NULL;
    const uint8_t *stored;

    if (amb_filler_init(&filler, &AMB_CODEC_LIMITS_DEFAULT, &err) < 0) {
        die("filler", &err);
    }
    for (uint32_t i = 0; i < bench->n_samples; i++) {
        if (amb_fill_load(&stored, &filler, &bench->dataset, i, &err) < 0) {
            die("load", &err);
        }
    }
    amb_filler_deinit(&filler);
}

/* Of the decoder processes that have ended. */
static uint64_t children_cpu_ns(void) {
    struct rusage usage;

    getrusage(RUSAGE_CHILDREN, &usage);
    return ((uint64_t)usage.ru_utime.tv_sec + (uint64_t)usage.ru_stime.tv_sec) * 1000000000u +
           ((uint64_t)usage.ru_utime.tv_usec + (uint64_t)usage.ru_stime.tv_usec) * 1000u;
}

static void measure(struct bench *bench, unsigned n_threads, const char *name, double seconds) {
    struct worker workers[N_THREADS] = {0};
    struct amb_filler sum = {0};
    struct amb_error err = AMB_ERROR_NULL;
    _Atomic uint64_t next_row = 0;
    uint64_t begin_ns, n_rows = 0, cpu_ns = 0, children_ns = children_cpu_ns();
    double wall_s, each_us;

    for (unsigned i = 0; i < n_threads; i++) {
        if (amb_filler_init(&workers[i].filler, &bench->limits, &err) < 0) {
            die("filler", &err);
        }
    }
    begin_ns = now_ns(CLOCK_MONOTONIC);
    for (unsigned i = 0; i < n_threads; i++) {
        workers[i].bench = bench;
        workers[i].next_row = &next_row;
        workers[i].end_ns = begin_ns + (uint64_t)(seconds * 1e9);
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0) {
            perror("bench-fill");
            exit(1);
        }
    }
    for (unsigned i = 0; i < n_threads; i++) {
        pthread_join(workers[i].thread, NULL);
        n_rows += workers[i].n_rows;
        cpu_ns += workers[i].cpu_ns;
        sum.read_ns += workers[i].filler.read_ns;
        sum.decode_ns += workers[i].filler.decode_ns;
        sum.noise_ns += workers[i].filler.noise_ns;
        amb_filler_deinit(&workers[i].filler);
    }
    wall_s = (double)(now_ns(CLOCK_MONOTONIC) - begin_ns) * 1e-9;
    cpu_ns += children_cpu_ns() - children_ns;
    each_us = wall_s * n_threads * 1e6 / (double)n_rows;
    printf("%5u  %-7s %7u %9.0f   %8.2f %8.2f %8.2f %8.2f %8.2f %8.2f\n", bench->side, name, n_threads,
           (double)n_rows / wall_s, (double)cpu_ns * 1e-3 / (double)n_rows, each_us,
           (double)sum.read_ns * 1e-3 / (double)n_rows, (double)sum.decode_ns * 1e-3 / (double)n_rows,
           (double)sum.noise_ns * 1e-3 / (double)n_rows,
           each_us - (double)(sum.read_ns + sum.decode_ns + sum.noise_ns) * 1e-3 / (double)n_rows);
}

/* The same bytes copied from ordinary memory into the slots, one thread. */
static void measure_floor(struct bench *bench) {
    uint8_t *from = malloc(bench->layout.slot_bytes);
    uint64_t n = 0, begin_ns, now;

    memset(from, 1, bench->layout.slot_bytes);
    begin_ns = now_ns(CLOCK_MONOTONIC);
    do {
        memcpy(amb_slab_get(&bench->slab, (uint32_t)(n % N_SLOTS)), from, bench->layout.slot_bytes);
        n++;
        now = now_ns(CLOCK_MONOTONIC);
    } while (now - begin_ns < 300000000u);
    printf("%5u  %-7s %7u %9.0f   %8s %8.2f\n", bench->side, "memcpy", 1u,
           (double)(n * bench->batch_size) / ((double)(now - begin_ns) * 1e-9), "",
           (double)(now - begin_ns) * 1e-3 / (double)(n * bench->batch_size));
    free(from);
}

static void measure_decode(struct bench *bench, double seconds) {
    for (unsigned n_threads = 1; n_threads <= N_THREADS; n_threads++) {
        for (unsigned round = 0; round < N_ROUNDS; round++) {
            bench->limits.sandbox = NULL;
            measure(bench, n_threads, "decode", seconds);
            bench->limits.sandbox = &sandbox;
            measure(bench, n_threads, "sandbox", seconds);
        }
    }
    bench->limits.sandbox = NULL;
}

static void run(uint32_t side, uint32_t n_samples, uint32_t batch_size, double seconds) {
    struct bench bench = {.side = side,
                          .n_samples = n_samples,
                          .batch_size = batch_size,
                          .slab = AMB_SLAB_NULL,
                          .limits = AMB_CODEC_LIMITS_DEFAULT};
    struct amb_error err = AMB_ERROR_NULL;

    bench.chunk = batch_size / (4 * N_THREADS) < 4 ? 4 : batch_size / (4 * N_THREADS);
    bench.chunk = bench.chunk < AMB_AHEAD_MAX ? bench.chunk : AMB_AHEAD_MAX;
    open_bench(&bench);
    measure_floor(&bench);
    for (unsigned cached = 0; cached < 2; cached++) {
        size_t capacity = cached != 0 ? (size_t)bench.n_samples * side * side * 3 * 2 + (16u << 20) : 0;

        if (amb_cache_new(&bench.dataset.cache, capacity, &err) < 0) {
            die("cache", &err);
        }
        if (cached != 0) {
            warm(&bench);
        }
        for (unsigned n_threads = 1; cached != 0 && n_threads <= N_THREADS; n_threads++) {
            measure(&bench, n_threads, "cached", seconds);
        }
        if (cached == 0) {
            measure_decode(&bench, seconds);
        }
        bench.dataset.cache = amb_cache_free(bench.dataset.cache);
    }
    close_bench(&bench);
}

int main(int argc, char **argv) {
    static const struct {
        uint32_t side, n_samples, batch_size;
    } cases[] = {{32, 2000, 256}, {256, 200, 32}, {512, 60, 8}};
    double seconds;

    if (argc == 2 && strcmp(argv[1], AMB_SANDBOX_ARGUMENT) == 0) {
        return amb_sandbox_serve(NULL);
    }
    seconds = argc < 2 ? 1 : strcmp(argv[1], "--quick") == 0 ? 0.1 : atof(argv[1]);

    if (!(seconds > 0)) {
        fprintf(stderr, "usage: bench-fill [SECONDS | --quick [SIDE]]\n");
        return 2;
    }
    printf("noise path %s; x_t + x_tn + sigma_t + sigma_tn, f32; microseconds of one thread per image\n",
           amb_path_name(amb_path_get()));
    printf("%5s  %-7s %7s %9s   %8s %8s %8s %8s %8s %8s\n", "side", "from", "threads", "images/s", "cpu",
           "wall", "read", "decode", "noise", "rest");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (argc < 3 || strtoul(argv[2], NULL, 10) == cases[i].side) {
            run(cases[i].side, cases[i].n_samples, cases[i].batch_size, seconds);
        }
    }
    return 0;
}
