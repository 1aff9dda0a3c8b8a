/*
 * Hunger: every allocation of an operation fails in turn, once and from there on, until it needs no more.
 *
 * An operation opens, uses and releases all that it needs. It comes off, and then its result is the one that it has with memory,
 * or it answers -ENOMEM with a message; sanitizers and valgrind say that nothing of it is left. cJSON allocates through us too.
 * The last operation is a whole daemon with a client. The store has its own: lib/annotate/test-store-crash.c.
 */
#include "batch/test-set.h"
#include "shard/test-archive.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/socket.h>

#include "annotate/export.h"
#include "annotate/import.h"
#include "base/cleanup.h"
#include "clients/c/ambient.h"
#include "daemon/cli.h"
#include "daemon/link.h"
#include "daemon/server.h"
#include "proto/json.h"
#include "sampler/state.h"

static unsigned stride; /* every so many-th allocation: less is enough where each costs more */

/* 0 and *digest of the result, or a failure. */
typedef int (*hunger_op)(uint64_t *digest, struct amb_error *err);

static void starve(const char *name, hunger_op op) {
    uint64_t wanted = 0, n_points = 0, n_came_off = 0;
    struct amb_error err = AMB_ERROR_NULL;

    assert_ok(op(&wanted, &err), err);
    for (int is_forever = 0; is_forever < 2; is_forever++) {
        for (uint64_t n = 1;; n += stride) {
            uint64_t digest = 0, before = amb_alloc_count();
            bool fell_short;
            int r;

            err = AMB_ERROR_NULL;
            amb_alloc_fail(n, is_forever != 0);
            r = op(&digest, &err);
            amb_alloc_fail(0, false);
            ambp_json_take_hole();
            fell_short = amb_alloc_count() - before >= n;
            if (r == 0 ? digest != wanted : !fell_short || r != -ENOMEM || err.code != r || err.message[0] == '\0') {
                fail_msg("%s without allocation %llu%s: %d '%s', result %llx", name, (unsigned long long)n,
                         is_forever ? " and those behind it" : "", r, err.message, (unsigned long long)digest);
            }
            if (!fell_short) {
                break;
            }
            n_points++;
            n_came_off += r == 0;
        }
    }
    print_message("%-8s %6llu failed allocations, %llu times it came off\n", name, (unsigned long long)n_points,
                  (unsigned long long)n_came_off);
}

static uint64_t digest_add(uint64_t digest, const void *data, size_t bytes) {
    struct amb_hash128 hash = amb_hash128_encode(data, bytes);

    return digest * 31 + ambp_load_u64le(hash.bytes);
}

/* -- what everything is made of -------------------------------------------------------------------------- */

static struct set set;
static const char *folder, *pattern_tar, *pattern_zip, *pattern_tree, *cache_dir, *jsonl, *export_path, *config_path;

static void write_text(const char *path, const char *text) {
    test_write(path, text, strlen(text));
}

static void make_zip(const char *path) {
    static const char labels[] = "{\"labels\": [[\"00000/img1.png\", 7], [\"00000/img\\u0032.png\", 8]]}";
    struct test_zip_entry entries[] = {test_zip_stored("00000/img1.png", "one"), test_zip_stored("00000/img2.png", "two"),
                                       test_zip_stored("dataset.json", labels)};
    struct amb_buf zip = AMB_BUF_NULL;

    test_zip_all(&zip, entries, sizeof entries / sizeof *entries);
    test_write_buf(path, &zip);
}

static void make_tree(const char *path) {
    mkdir(path, 0700);
    for (int i = 0; i < 6; i++) {
        char name[32];

        snprintf(name, sizeof name, "class%d", i % 2);
        mkdir(test_path(path, name), 0700);
        snprintf(name, sizeof name, "class%d/%d.png", i % 2, i);
        write_text(test_path(path, name), "a picture");
        snprintf(name, sizeof name, "class%d/%d.json", i % 2, i);
        write_text(test_path(path, name), "{\"a\": \"b\", \"label\": \"3\"}");
    }
}

static void make_annotations(const char *path) {
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    for (uint32_t i = 0; i < set.n_samples; i++) {
        fprintf(file, "{\"filename\": \"k%04u.png\", \"sigma_min\": 0.%u, \"sigma_max\": \"inf\", \"more\": [1, {\"a\": \"b\"}]}\n", i, i);
    }
    fclose(file);
}

static int setup(void **state) {
    (void)state;
    stride = test_stride();
    ambp_json_init();
    set_open(&set, SET_PICTURES, 12, false, false);
    folder = strdup(set.dir);
    pattern_tar = set.tar;
    pattern_zip = strdup(test_path(folder, "z.zip"));
    pattern_tree = strdup(test_path(folder, "tree"));
    cache_dir = strdup(test_path(folder, "index"));
    jsonl = strdup(test_path(folder, "a.jsonl"));
    export_path = strdup(test_path(folder, "out.jsonl"));
    config_path = strdup(test_path(folder, "c.json"));
    make_zip(pattern_zip);
    make_tree(pattern_tree);
    make_annotations(jsonl);
    mkdir(cache_dir, 0700);
    return 0;
}

static int teardown(void **state) {
    char command[128];

    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    set_close(&set);
    return system(command);
}

/* -- shards ---------------------------------------------------------------------------------------------- */

static void catalog_unrefp(struct amb_catalog **cat) {
    *cat = amb_catalog_unref(*cat);
}

static int catalog_open(struct amb_catalog **out, const char *cached_in, struct amb_error *err) {
    const char *tar[] = {pattern_tar}, *zip[] = {test_path(folder, "z*.zip")}, *tree[] = {pattern_tree}, *excludes[] = {"tar/k0003"};
    const struct amb_source_options sources[] = {
        {.name = "tar", .patterns = tar, .n_patterns = 1, .repeat = 1, .corruption_label = -1},
        {.name = "zip", .patterns = zip, .n_patterns = 1, .repeat = 2.5, .corruption_label = -1},
        {.name = "tree", .patterns = tree, .n_patterns = 1, .repeat = 1, .corruption_label = -1, .label_key = "label", .corruption_key = "label"},
    };
    const struct amb_catalog_options options = {.cache_dir = cached_in, .n_threads = 1, .excludes = excludes, .n_excludes = 1};

    return amb_catalog_open(out, sources, 3, &options, NULL, err);
}

/* All that it knows of every sample. */
static int catalog_digest(uint64_t *digest, struct amb_catalog *cat, struct amb_error *err) {
    AMB_CLEANUP(amb_buf_deinit) struct amb_buf payload = AMB_BUF_NULL;
    struct amb_hash128 whole = amb_catalog_digest(cat);
    int r = amb_catalog_load_names(cat, err);

    *digest = digest_add(0, &whole, sizeof whole);
    for (uint32_t i = 0; r >= 0 && i < amb_catalog_count(cat); i++) {
        struct amb_hash128 uid = amb_catalog_uid(cat, i);
        struct amb_sample_info info;
        uint32_t found = 0;

        amb_catalog_get(&info, cat, i);
        assert_int_equal(amb_catalog_find(&found, cat, info.key, info.key_bytes), 1);
        assert_int_equal(found, i);
        *digest = digest_add(*digest, info.key, info.key_bytes);
        *digest = digest_add(*digest, &uid, sizeof uid) + (uint64_t)info.label + 3 * (uint64_t)info.corruption_label;
        r = amb_catalog_read(&payload, cat, i, err);
        *digest = r < 0 ? 0 : digest_add(*digest, payload.data, payload.n_bytes);
        r = r < 0 ? r : amb_catalog_read_member(&payload, cat, i, "txt", err);
        *digest = r < 0 ? 0 : digest_add(*digest, payload.data, r == 0 ? payload.n_bytes : 0);
    }
    return r < 0 ? r : 0;
}

static int catalog_op(uint64_t *digest, const char *cached_in, struct amb_error *err) {
    AMB_CLEANUP(catalog_unrefp) struct amb_catalog *cat = NULL;
    int r = catalog_open(&cat, cached_in, err);

    return r < 0 ? r : catalog_digest(digest, cat, err);
}

static int catalog_plain(uint64_t *digest, struct amb_error *err) {
    return catalog_op(digest, NULL, err);
}

static void cache_dir_empty(void) {
    DIR *dir = opendir(cache_dir);

    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        unlink(test_path(cache_dir, entry->d_name));
    }
    closedir(dir);
}

static int catalog_cold(uint64_t *digest, struct amb_error *err) {
    cache_dir_empty();
    return catalog_op(digest, cache_dir, err);
}

static int catalog_warm(uint64_t *digest, struct amb_error *err) {
    return catalog_op(digest, cache_dir, err);
}

/* Containers of every kind, labels of every kind; an index that was made without memory must not be kept for later. */
TEST(shards) {
    uint64_t before = 0, after = 0;
    struct amb_error err = AMB_ERROR_NULL;

    assert_ok(catalog_plain(&before, &err), err);
    starve("plain", catalog_plain);
    starve("cold", catalog_cold);
    assert_ok(catalog_warm(&after, &err), err);
    assert_true(before == after);
    starve("warm", catalog_warm);
}

/* -- text ------------------------------------------------------------------------------------------------ */

static int print(uint64_t *digest, const cJSON *tree, struct amb_error *err) {
    char *text = cJSON_PrintUnformatted(tree);

    if (text == NULL) {
        return amb_fail(err, -ENOMEM, "no memory to print");
    }
    *digest = digest_add(0, text, strlen(text));
    cJSON_free(text);
    return 0;
}

static const char config_text[] =
    "{\"socket\": \"/tmp/s\", \"workers\": 1, \"limits\": {\"log_lines\": 5}, \"annotate\": {\"providers\": [\"CPU\"]}, \"datasets\": {"
    "\"a\": {\"sources\": {\"x\": {\"shards\": [\"a/*.tar\", \"b.zip\"], \"repeat\": 2}}, \"exclude\": [\"x/1\", \"x/2\"]},"
    "\"b\": {\"sources\": {\"x\": {\"shards\": [\"c\"]}, \"y\": {\"shards\": [\"d\"]}}, \"annotations\": [{\"import\": \"/a.jsonl\"}]}}}";

static int config_file(uint64_t *digest, struct amb_error *err) {
    struct ambd_config *config = NULL;
    int r = ambd_config_open(&config, config_path, err);

    if (r < 0) {
        return r;
    }
    r = print(digest, config->tree, err);
    for (size_t i = 0; i < config->n_datasets; i++) {
        *digest = *digest * 31 + config->datasets[i].n_sources + 7 * config->datasets[i].n_excludes;
    }
    ambd_config_unref(config);
    return r;
}

static int command_line(uint64_t *digest, struct amb_error *err) {
    static char *argv[] = {"ambientd", "serve", "a/*.tar", "b.zip", "--size", "32x24", "--exclude", "main/1", "--annotations", "/a.jsonl",
                           "--epsilon", "0.1", "--source", "c", "--repeat", "2.5", "--latent-scale", "1,2", "--no-sandbox", NULL};
    struct ambd_cli cli;
    struct ambd_config *config = NULL;
    int r = ambd_cli_parse(&cli, sizeof argv / sizeof *argv - 1, argv, err);

    if (r < 0) {
        return r;
    }
    r = ambd_config_load(&config, cli.tree, err);
    if (r == 0) {
        cli.tree = NULL; /* the configuration's now */
        r = print(digest, config->tree, err);
        ambd_config_unref(config);
    }
    ambd_cli_deinit(&cli);
    return r;
}

static int json(uint64_t *digest, struct amb_error *err) {
    AMB_CLEANUP(ambp_json_deletep) cJSON *tree = NULL;
    int r = ambp_json_decode(&tree, config_text, strlen(config_text), AMBP_JSON_DEPTH_MAX, err);

    return r < 0 ? r : print(digest, tree, err);
}

static int state_of_stream(uint64_t *digest, struct amb_error *err) {
    static const char options_text[] = "{\"seed\": 7, \"process\": \"vp\", \"schedule\": {\"kind\": \"loguniform\", \"lo\": 0.01, \"hi\": 9}}";
    struct amb_stream_options options = AMB_STREAM_OPTIONS_DEFAULT;
    struct amb_state state = {.options = options}, again;
    char text[AMB_STATE_BYTES_MAX];
    int n, r = amb_stream_options_decode(&options, options_text, strlen(options_text), err);

    if (r < 0) {
        return r;
    }
    state.options = options;
    n = amb_state_encode(text, sizeof text, &state);
    assert_true(n > 0);
    r = amb_state_decode(&again, text, (size_t)n, err);
    n = r < 0 ? 0 : amb_state_encode(text, sizeof text, &again);
    *digest = digest_add(0, text, (size_t)n);
    return r;
}

TEST(text) {
    write_text(config_path, config_text);
    starve("config", config_file);
    starve("cli", command_line);
    starve("json", json);
    starve("state", state_of_stream);
}

/* -- frames ---------------------------------------------------------------------------------------------- */

static int link_frames(uint64_t *digest, struct amb_error *err) {
    static const uint8_t bytes[3000] = "a frame";
    struct ambp_header header = {.version = AMBP_VERSION, .type = AMBP_STATUS, .length = sizeof bytes, .request_id = 1};
    struct ambd_link from, to;
    int fds[2], r = 0;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    ambd_link_init(&from, fds[0], 65536, 262144);
    ambd_link_init(&to, fds[1], 65536, 262144);
    *digest = 0;
    for (int i = 0; i < 3 && r == 0; i++) {
        r = ambd_link_push(&from, &header, bytes, sizeof bytes, NULL, 0, -1, err);
        r = r < 0 ? r : ambd_link_read(&to, err);
        r = r == AMBD_LINK_E_FRAME ? 0 : r;
        *digest = r < 0 ? 0 : digest_add(*digest, to.payload.data, to.n_payload);
    }
    ambd_link_deinit(&from);
    ambd_link_deinit(&to);
    return r;
}

TEST(frames) {
    starve("link", link_frames);
}

/* -- draws and rows -------------------------------------------------------------------------------------- */

#define ROWS 6u

static int orders_and_draws(uint64_t *digest, struct amb_error *err) {
    struct amb_orders_source sources[] = {{0, 5, 1}, {5, 7, 2.5}};
    struct amb_stream_options options = AMB_STREAM_OPTIONS_DEFAULT;
    struct amb_state state = {.options = options};
    struct amb_sampler *sampler = NULL;
    struct amb_orders *orders = NULL;
    struct amb_draw draws[64] = {0};
    size_t n = 0;
    int r = amb_orders_new(&orders, set.annotations, sources, 2, 1, err);

    r = r < 0 ? r : amb_sampler_new(&sampler, orders, &options, NULL, err);
    if (r == 0) {
        amb_sampler_adopt(&state, sampler);
        r = amb_sampler_draw(draws, &n, sampler, &state, 64);
    }
    *digest = 0;
    for (size_t i = 0; i < n; i++) {
        *digest = digest_add(*digest, &draws[i].i_sample, sizeof draws[i].i_sample);
    }
    amb_sampler_free(sampler);
    amb_orders_unref(orders);
    return r;
}

/* Rows as they are with memory, or replaced and flagged as a fault of the moment. */
static int layout_and_rows(uint64_t *digest, struct amb_error *err) {
    static const char *const fields[] = {"x_t", "x_tn", "u8", "index", "key", "member:txt", "member:t5.npy"};
    static uint8_t *wanted;
    struct amb_layout layout = {.shape = set.dataset.shape, .batch_size = ROWS};
    struct amb_dataset dataset = set.dataset;
    struct amb_fill_stream stream = {.dataset = &dataset, .layout = &layout, .options = AMB_STREAM_OPTIONS_DEFAULT};
    struct amb_filler filler = {0};
    AMB_CLEANUP(amb_freep) uint8_t *slot = NULL;
    int r = amb_sampler_new((struct amb_sampler **)&stream.sampler, set.orders, &stream.options, NULL, err);

    dataset.cache = NULL;
    dataset.quarantine = NULL;
    r = r < 0 ? r : amb_cache_new(&dataset.cache, 1 << 20, err);
    r = r < 0 ? r : amb_quarantine_new(&dataset.quarantine, set.n_samples, err);
    r = r < 0 ? r : amb_filler_init(&filler, &AMB_CODEC_LIMITS_DEFAULT, err);
    for (size_t i = 0; i < sizeof fields / sizeof *fields && r == 0; i++) {
        r = amb_layout_push(&layout, fields[i], AMB_DTYPE_N, 30, err);
    }
    r = r < 0 ? r : amb_fill_probe_members(&layout, &filler, set.catalog, err);
    r = r < 0 ? r : amb_layout_place(&layout, err);
    slot = r < 0 ? NULL : calloc(1, layout.slot_bytes); /* the memory of a slab */
    for (uint32_t i = 0; i < 2 * ROWS && r == 0; i++) { /* each twice: the second may come from the cache */
        struct amb_draw draw = {.counter = i / 2, .s = 0.5, .i_sample = i / 2, .sigma_max = INFINITY};

        r = amb_fill_row(slot, i / 2, &filler, &stream, &draw, err);
        if (r == AMB_ERR_EXHAUSTED && strstr(err->message, "memory") != NULL) {
            r = amb_fail(err, -ENOMEM, "not for one of the 64 replacements either");
        }
        assert_true(r < 0 || draw.replaced == AMB_REPLACED_NO || draw.replaced == AMB_REPLACED_TRANSIENT);
        for (uint32_t f = 0; f < layout.n_fields && wanted != NULL && r == 0 && draw.replaced == AMB_REPLACED_NO; f++) {
            size_t at = amb_layout_row(&layout, &layout.fields[f], i / 2);

            if (memcmp(slot + at, wanted + at, layout.fields[f].row_bytes) != 0 && layout.fields[f].field != AMB_FIELD_MEMBER) {
                fail_msg("row %u has another %s", i / 2, amb_field_name(layout.fields[f].field));
            }
        }
    }
    assert_true(r < 0 || amb_quarantine_count(dataset.quarantine) == 0);
    if (wanted == NULL) {
        wanted = amb_steal_ptr(slot);
    }
    amb_filler_deinit(&filler);
    amb_quarantine_free(dataset.quarantine);
    amb_cache_free(dataset.cache);
    amb_sampler_free((struct amb_sampler *)(uintptr_t)stream.sampler);
    *digest = 1;
    return r;
}

/* What is told is right; it may be less. */
static int cache_and_quarantine(uint64_t *digest, struct amb_error *err) {
    struct amb_quarantine *quarantine = NULL;
    struct amb_quarantine_row row;
    struct amb_cache *cache = NULL;
    uint8_t data[2000];
    int r = amb_cache_new(&cache, 1 << 20, err);

    r = r < 0 ? r : amb_quarantine_new(&quarantine, 100, err);
    for (uint64_t i = 0; i < 40 && r == 0; i++) {
        struct amb_cache_key key = {.identity = i};
        struct amb_cache_pin pin = AMB_CACHE_PIN_NULL;
        size_t bytes = 500 * (1 + i % 4);

        memset(data, (int)i, bytes);
        amb_cache_push(cache, &key, data, bytes);
        assert_true(amb_cache_acquire(&pin, cache, &key, bytes) == 0 || memcmp(pin.data, data, bytes) == 0);
        amb_cache_release(&pin);
        amb_quarantine_put(quarantine, (uint32_t)i, &(struct amb_error){AMB_ERR_FORMAT, "bad"});
    }
    for (uint64_t i = 0; r == 0 && amb_quarantine_get(&row, quarantine, i) == 0; i++) {
        assert_true(row.code == AMB_ERR_FORMAT && amb_quarantine_peek(quarantine, row.i_sample) == 1);
    }
    amb_quarantine_free(quarantine);
    amb_cache_free(cache);
    *digest = 1;
    return r;
}

TEST(draws_and_rows) {
    starve("draws", orders_and_draws);
    starve("rows", layout_and_rows);
    starve("cache", cache_and_quarantine);
}

/* -- annotations ----------------------------------------------------------------------------------------- */

static int import_and_export(uint64_t *digest, struct amb_error *err) {
    const struct amb_annotation defaults[] = {AMB_ANNOTATION_EVERYWHERE, AMB_ANNOTATION_EVERYWHERE, AMB_ANNOTATION_EVERYWHERE};
    AMB_CLEANUP(catalog_unrefp) struct amb_catalog *cat = NULL;
    struct amb_annotations *annotations = NULL;
    struct amb_import_report report;
    struct amb_ledger *ledger = NULL;
    char text[4096];
    FILE *file;
    int r = catalog_open(&cat, NULL, err);

    r = r < 0 ? r : amb_ledger_new(&ledger, cat, defaults, err);
    r = r < 0 ? r : amb_import_jsonl(&report, ledger, jsonl, &AMB_IMPORT_OPTIONS_DEFAULT, err);
    r = r < 0 ? r : amb_ledger_mint(&annotations, ledger, 1, err);
    r = r < 0 ? r : amb_export_jsonl(export_path, annotations, cat, &AMB_EXPORT_OPTIONS_DEFAULT, err);
    amb_annotations_unref(annotations);
    amb_ledger_free(ledger);
    if (r == 0) {
        file = fopen(export_path, "r");
        *digest = digest_add(report.n_matched, text, fread(text, 1, sizeof text, file));
        fclose(file);
    }
    return r;
}

TEST(annotations) {
    starve("import", import_and_export);
}

/* -- the whole daemon ------------------------------------------------------------------------------------ */

/* What a client may ask; it may get no answer, but the daemon must not leave it waiting. */
static void *be_client(void *opaque) {
    static const char *const questions[] = {"STATUS", "LIST", "GENERATIONS", "RELOAD"};
    struct ambient_stream_options options = AMBIENT_STREAM_OPTIONS_INIT;
    struct ambient_client *client = NULL;
    char path[256];
    ssize_t n = read(*(int *)opaque, path, sizeof path - 1);

    if (n <= 0) {
        return NULL; /* it did not come to serve */
    }
    path[n - 1] = '\0'; /* the line feed */
    options.batch_size = 4;
    options.reconnect = 0;
    if (ambient_connect(&client, path, NULL) == 0) {
        char import[128];
        struct ambient_batch *batch;

        for (size_t i = 0; i < sizeof questions / sizeof *questions; i++) {
            ambient_call(NULL, client, questions[i], strcmp(questions[i], "LIST") == 0 ? "{\"what\":\"samples\"}" : NULL, NULL);
        }
        snprintf(import, sizeof import, "{\"path\": \"%s\"}", jsonl);
        ambient_call(NULL, client, "IMPORT", import, NULL);
        for (int i = 0; ambient_subscribe(client, &options, NULL) == 0 && i < 3 && ambient_next(&batch, client, NULL) == 0; i++) {
            ambient_batch_release(batch);
        }
        ambient_disconnect(client);
    }
    kill(getpid(), SIGTERM);
    return NULL;
}

static int daemon_op(uint64_t *digest, struct amb_error *err) {
    struct ambd_server_options options = {.ready_fd = -1};
    struct ambd_config *config = NULL;
    pthread_t thread;
    int fds[2], r = ambd_config_open(&config, config_path, err);

    if (r < 0) {
        return r;
    }
    ambd_log_configure(AMBD_ERROR, AMBD_LOG_PLAIN, 100, 30);
    assert_int_equal(pipe(fds), 0);
    options.ready_fd = dup(fds[1]);
    assert_int_equal(pthread_create(&thread, NULL, be_client, &fds[0]), 0);
    r = ambd_server_run(config, &options, err);
    close(fds[1]);
    if (r < 0) {
        close(options.ready_fd);
    }
    pthread_join(thread, NULL);
    close(fds[0]);
    ambd_config_unref(config);
    *digest = 1;
    return r;
}

TEST(whole_daemon) {
    char text[1024];

    snprintf(text, sizeof text,
             "{\"socket\": \"%s/s\", \"state_dir\": \"%s/state\", \"cache_dir\": \"%s\", \"workers\": 1, \"decode\": {\"sandbox\": false}, "
             "\"datasets\": {\"main\": {\"sources\": {\"main\": {\"shards\": [\"%s\"]}}}}}",
             folder, folder, cache_dir, pattern_tar);
    write_text(config_path, text);
    stride *= getenv("AMBIENTD_SOAK") != NULL ? 1 : 17;
    starve("daemon", daemon_op);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(shards), cmocka_unit_test(text),        cmocka_unit_test(frames),
    cmocka_unit_test(draws_and_rows), cmocka_unit_test(annotations), cmocka_unit_test(whole_daemon),
};

int main(int argc, char **argv) {
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests_name(__FILE__, tests, setup, teardown);
}
