/*
 * Example trainer in C: streams batches and measures on them what a trainer would learn from them first.
 *
 * E|x_t|^2 - t^2 is the power of the clean image whatever the noise level (process ve), so the printed figure stays
 * the same from batch to batch while sigma varies a thousandfold. Build it as a user would:
 *
 *     cc example-trainer.c $(pkg-config --cflags --libs ambient-client) -o trainer && ./trainer [SOCKET] [STEPS]
 */
#include <stdio.h>
#include <stdlib.h>

#include <ambient.h>

static double clean_power(const float *x_t, double sigma, size_t n_pixels) {
    double power = 0;

    for (size_t i = 0; i < n_pixels; i++) {
        power += (double)x_t[i] * (double)x_t[i];
    }
    return power / (double)n_pixels - sigma * sigma;
}

/* As much of the key as lies in the slot: one that is longer is cut there. */
static void print_key(const struct ambient_batch *batch, uint32_t i) {
    struct ambient_array array;
    int64_t length = 0;
    const char *key = ambient_batch_cell(batch, "key", i, &length);

    ambient_batch_data(batch, "key", &array);
    if (length > (int64_t)array.row_bytes) {
        length = (int64_t)array.row_bytes;
    }
    printf("%.*s\n", length > 0 ? (int)length : 0, key);
}

static void train_on(const struct ambient_batch *batch) {
    struct ambient_array array;
    const float *x_t = ambient_batch_data(batch, "x_t", &array);
    const float *sigma_t = ambient_batch_data(batch, "sigma_t", NULL);
    const float *weight = ambient_batch_data(batch, "weight", NULL);
    size_t n_pixels = array.row_bytes / sizeof(float);
    double sum = 0, total = 0;

    for (uint32_t i = 0; i < ambient_batch_count(batch); i++) {
        sum += (double)weight[i] * clean_power(x_t + i * n_pixels, (double)sigma_t[i], n_pixels);
        total += (double)weight[i];
    }
    printf("step %llu: %u images, weighted power of the clean image %.3f, first key ",
           (unsigned long long)ambient_batch_step(batch), ambient_batch_count(batch), sum / total);
    print_key(batch, 0);
}

int main(int argc, char **argv) {
    static const char *const fields[] = {"x_t", "sigma_t", "weight", "key"};
    struct ambient_stream_options options = AMBIENT_STREAM_OPTIONS_INIT;
    struct ambient_client *client = NULL;
    struct ambient_batch *batch = NULL;
    struct ambient_error err;
    int r;

    options.fields = fields;
    options.n_fields = sizeof fields / sizeof fields[0];
    options.options = "{\"seed\":1,\"process\":\"ve\"}";
    options.steps = argc > 2 ? strtoull(argv[2], NULL, 10) : 20;
    r = ambient_connect(&client, argc > 1 ? argv[1] : NULL, &err);
    if (r == 0) {
        r = ambient_subscribe(client, &options, &err);
    }
    while (r == 0) {
        r = ambient_next(&batch, client, &err);
        if (r == 0) {
            train_on(batch);
            ambient_batch_release(batch);
        }
    }
    if (r < 0) {
        fprintf(stderr, "trainer: %s\n", err.message);
    }
    ambient_disconnect(client);
    return r < 0 ? 1 : 0;
}
