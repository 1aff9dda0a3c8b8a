#include "sampler/state.h"

#include <errno.h>

#include "sampler/test-set.h"

static const char options_text[] = "{\"seed\":0,\"process\":\"ve\",\"schedule\":{\"kind\":\"lognormal\",\"scale\":\"s\",\"mean\":-1.2,"
                                   "\"std\":1.2},\"policy\":\"pass\",\"s_max\":null,\"gaps\":\"truncate\",\"xflip\":false,"
                                   "\"curriculum\":null}";

static int decode(struct amb_stream_options *out, const char *json, struct amb_error *err) {
    *err = AMB_ERROR_NULL;
    return amb_stream_options_decode(out, json, strlen(json), err);
}

static void check_options(const char *json, const char *canonical) {
    struct amb_stream_options options = AMB_STREAM_OPTIONS_DEFAULT;
    char text[AMB_STATE_BYTES_MAX];
    struct amb_error err;

    assert_ok(decode(&options, json, &err), err);
    assert_int_equal(amb_stream_options_encode(text, sizeof text, &options), strlen(canonical));
    assert_string_equal(text, canonical);
}

TEST(options_have_one_text) {
    /* What is left out is the default; order, spaces and ways to write a number do not matter. */
    check_options("{}", options_text);
    check_options(options_text, options_text);
    check_options(" {\"xflip\" : false, \"schedule\":{\"std\":1.20e0,\"kind\":\"lognormal\"}, \"s_max\":null,\n\"seed\":\"0\"}",
                  options_text);
    check_options("{\"seed\":9007199254740991,\"process\":\"flow\",\"schedule\":{\"kind\":\"logitnormal\"},\"policy\":\"uniform\","
                  "\"s_max\":100,\"gaps\":\"error\",\"xflip\":true}",
                  "{\"seed\":9007199254740991,\"process\":\"flow\",\"schedule\":{\"kind\":\"logitnormal\",\"scale\":\"t\",\"mean\":0,"
                  "\"std\":1},\"policy\":\"uniform\",\"s_max\":100,\"gaps\":\"error\",\"xflip\":true,\"curriculum\":null}");
    check_options("{\"seed\":\"18446744073709551615\",\"schedule\":{\"kind\":\"table\",\"points\":[[0,0.1],[1,0.30000000000000004]]}}",
                  "{\"seed\":\"18446744073709551615\",\"process\":\"ve\",\"schedule\":{\"kind\":\"table\",\"scale\":\"s\",\"points\":"
                  "[[0,0.1],[1,0.30000000000000004]]},\"policy\":\"pass\",\"s_max\":null,\"gaps\":\"truncate\",\"xflip\":false,"
                  "\"curriculum\":null}");
    check_options("{\"process\":\"vp\",\"schedule\":{\"kind\":\"constant\",\"scale\":\"t\",\"level\":1}}",
                  "{\"seed\":0,\"process\":\"vp\",\"schedule\":{\"kind\":\"constant\",\"scale\":\"t\",\"level\":1},\"policy\":\"pass\","
                  "\"s_max\":null,\"gaps\":\"truncate\",\"xflip\":false,\"curriculum\":null}");
}

TEST(absent_keys_keep_what_the_caller_set) {
    /* So a resumed stream may name some of its options; an explicit null takes s_max away. */
    struct amb_stream_options options = AMB_STREAM_OPTIONS_DEFAULT;
    struct amb_error err;

    assert_ok(decode(&options, "{\"seed\":7,\"s_max\":50}", &err), err);
    assert_ok(decode(&options, "{\"xflip\":true}", &err), err);
    assert_true(options.seed == 7 && options.s_max == 50 && options.xflip);
    assert_ok(decode(&options, "{\"s_max\":null}", &err), err);
    assert_true(options.s_max == 0);
}

TEST(wrong_options_say_what_is_allowed) {
    /* Each is refused with its code, its message holds the hint, and the options stay as they were. */
    static const struct {
        const char *json;
        int code;
        const char *hint;
    } bad[] = {
        {"{\"sede\":1}", AMB_ERR_CONFIG, "did you mean 'seed'"},
        {"{\"schedule\":{\"kind\":\"lognormal\",\"meen\":1}}", AMB_ERR_CONFIG, "did you mean 'mean'"},
        {"{\"schedule\":{\"kind\":\"lognormal\",\"lo\":1}}", AMB_ERR_CONFIG, "unknown key 'lo'"},
        {"{\"schedule\":{\"mean\":1}}", AMB_ERR_CONFIG, "'kind' is missing"},
        {"{\"schedule\":{\"kind\":\"uniform\",\"lo\":1}}", AMB_ERR_CONFIG, "'hi' is missing"},
        {"{\"schedule\":{\"kind\":\"normal\"}}", AMB_ERR_CONFIG, "logitnormal"},
        {"{\"schedule\":{\"kind\":\"uniform\",\"lo\":2,\"hi\":1}}", AMB_ERR_CONFIG, "lo < hi"},
        {"{\"schedule\":{\"kind\":\"table\",\"points\":[[0,1],[1]]}}", AMB_ERR_CONFIG, "point 1"},
        {"{\"schedule\":{\"kind\":\"uniform\",\"scale\":\"v\",\"lo\":0,\"hi\":1}}", AMB_ERR_CONFIG, "allowed: s, t"},
        {"{\"schedule\":3}", AMB_ERR_CONFIG, "an object"},
        {"{\"process\":\"sde\"}", AMB_ERR_CONFIG, "ve, vp, flow"},
        {"{\"policy\":\"random\"}", AMB_ERR_CONFIG, "pass, uniform, sequential"},
        {"{\"gaps\":\"skip\"}", AMB_ERR_CONFIG, "truncate, error"},
        {"{\"s_max\":1}", AMB_ERR_CONFIG, "above 1"},
        {"{\"s_max\":-3}", AMB_ERR_CONFIG, "above 1"},
        {"{\"seed\":-1}", AMB_ERR_CONFIG, "an integer"},
        {"{\"seed\":1.5}", AMB_ERR_CONFIG, "an integer"},
        {"{\"seed\":9007199254740992}", AMB_ERR_CONFIG, "as a string"},
        {"{\"seed\":\"18446744073709551616\"}", AMB_ERR_CONFIG, "an integer"},
        {"{\"xflip\":1}", AMB_ERR_CONFIG, "true or false"},
        {"{\"seed\":1,\"seed\":2}", AMB_ERR_CONFIG, "twice"},
        {"{\"curriculum\":{\"a\":1}}", AMB_ERR_UNSUPPORTED, "curriculum"},
        {"{\"seed\":1", AMB_ERR_FORMAT, "line 1"},
        {"[]", AMB_ERR_CONFIG, "an object"},
        {"{\"schedule\":{\"kind\":\"table\",\"points\":[[[[[1]]]]]}}", AMB_ERR_LIMIT, "deeper"},
    };

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct amb_stream_options options = AMB_STREAM_OPTIONS_DEFAULT;
        char text[512];
        struct amb_error err;
        int r = decode(&options, bad[i].json, &err);

        if (r != bad[i].code || strstr(err.message, bad[i].hint) == NULL) {
            fail_msg("%s: %d, \"%s\"", bad[i].json, r, err.message);
        }
        amb_stream_options_encode(text, sizeof text, &options);
        assert_string_equal(text, options_text);
    }
}

static void read_golden(char *out, size_t out_bytes) {
    const char *folder = getenv("AMBIENTD_GOLDEN");
    char path[512];
    FILE *file;
    size_t n;

    assert_non_null(folder); /* set by Meson */
    snprintf(path, sizeof path, "%s/state-v1.json", folder);
    file = fopen(path, "rb");
    assert_non_null(file);
    n = fread(out, 1, out_bytes - 1, file);
    fclose(file);
    while (n > 0 && out[n - 1] == '\n') {
        n--;
    }
    out[n] = '\0';
}

TEST(golden_state_loads_and_is_written_alike) {
    /* A promise for ever: format 1 reads as these values and is written as these bytes. */
    char golden[AMB_STATE_BYTES_MAX], text[AMB_STATE_BYTES_MAX], hash[AMB_HASH128_TEXT_BYTES];
    struct amb_state now;
    struct amb_error err = AMB_ERROR_NULL;

    read_golden(golden, sizeof golden);
    assert_ok(amb_state_decode(&now, golden, strlen(golden), &err), err);
    assert_int_equal(now.k, 1048576);
    assert_int_equal(now.step, 4096);
    assert_true(now.q == UINT64_C(9007199254740993)); /* beyond what an f64 holds */
    assert_int_equal(now.n_cursors, 3);
    assert_int_equal(now.cursors[2].pass, 7);
    assert_int_equal(now.cursors[2].position, 1234);
    amb_hash128_text(hash, &now.dataset);
    assert_string_equal(hash, "00112233445566778899aabbccddeeff");
    amb_hash128_text(hash, &now.annotations);
    assert_string_equal(hash, "0123456789abcdeffedcba9876543210");
    assert_string_equal(now.codecs, "png 1.6 \"x\" \\ jpeg 2.1");
    assert_true(now.options.seed == UINT64_MAX && now.options.process == AMB_PROCESS_FLOW);
    assert_true(now.options.schedule.kind == AMB_SCHEDULE_TABLE && now.options.schedule.n_table == 3);
    assert_true(now.options.schedule.level[1] == 0.30000000000000004 && now.options.s_max == 80.5 && now.options.xflip);
    assert_int_equal(amb_state_encode(text, sizeof text, &now), strlen(golden));
    assert_string_equal(text, golden);
}

static struct amb_state largest_state(void) {
    struct amb_state now = {.k = UINT64_MAX, .step = UINT64_MAX, .q = UINT64_MAX,
                              .n_cursors = AMB_STATE_INTERVALS_MAX, .options = AMB_STREAM_OPTIONS_DEFAULT};
    struct amb_schedule *schedule = &now.options.schedule;

    for (uint32_t i = 0; i < AMB_STATE_INTERVALS_MAX; i++) {
        now.cursors[i] = (struct amb_cursor){UINT64_MAX - i, UINT64_MAX};
    }
    memset(now.codecs, '\\', sizeof now.codecs - 1);
    *schedule = (struct amb_schedule){.kind = AMB_SCHEDULE_TABLE, .scale = AMB_SCALE_S, .n_table = AMB_SCHEDULE_TABLE_MAX};
    for (uint32_t i = 0; i < AMB_SCHEDULE_TABLE_MAX; i++) {
        schedule->p[i] = i == 0 ? 0 : i == 63 ? 1 : (double)i / 63 + 1e-14;
        schedule->level[i] = exp(-0.1 * (63 - (double)i)) * 1.2345678901234567e-5;
    }
    now.options.seed = UINT64_MAX;
    now.options.policy = AMB_POLICY_SEQUENTIAL;
    now.options.s_max = 1.2345678901234567;
    return now;
}

TEST(largest_state_fits_and_survives) {
    /* 64 cursors of 20 digits, a table of 64 points of 17 digits, an escaped codec text: within 8 KiB, back the same. One
     * byte too little is -ENOSPC, never a cut text. */
    struct amb_state now = largest_state(), back;
    char text[AMB_STATE_BYTES_MAX], again[AMB_STATE_BYTES_MAX];
    struct amb_error err = AMB_ERROR_NULL;
    int n = amb_state_encode(text, sizeof text, &now);

    printf("the largest state has %d bytes of %u\n", n, AMB_STATE_BYTES_MAX);
    assert_true(n > 5000 && n < (int)AMB_STATE_BYTES_MAX);
    assert_ok(amb_state_decode(&back, text, (size_t)n, &err), err);
    assert_int_equal(amb_state_encode(again, sizeof again, &back), n);
    assert_memory_equal(text, again, (size_t)n);
    assert_memory_equal(back.cursors, now.cursors, sizeof now.cursors);
    assert_memory_equal(back.options.schedule.level, now.options.schedule.level, sizeof now.options.schedule.level);
    assert_int_equal(amb_state_encode(again, (size_t)n + 1, &now), n);
    assert_int_equal(amb_state_encode(again, (size_t)n, &now), -ENOSPC);
    assert_int_equal(amb_state_encode(again, 0, &now), -ENOSPC);
}

TEST(encoding_allocates_nothing) {
    struct amb_state now = largest_state();
    char text[AMB_STATE_BYTES_MAX];
    uint64_t before = amb_alloc_count();

    assert_true(amb_state_encode(text, sizeof text, &now) > 0);
    assert_int_equal(amb_alloc_count(), before);
}

TEST(numbers_are_written_shortest_and_read_back) {
    /* Random f64 patterns through s_max; the text is never longer than %.17g makes it. */
    uint64_t random = 5;

    for (unsigned i = 0; i < 20000; i++) {
        struct amb_stream_options options = AMB_STREAM_OPTIONS_DEFAULT, back = AMB_STREAM_OPTIONS_DEFAULT;
        char text[512];
        struct amb_error err;

        options.s_max = 1 + exp(600 * test_real(&random) - 30);
        assert_true(amb_stream_options_encode(text, sizeof text, &options) > 0);
        if (options.s_max > 1) {
            assert_ok(decode(&back, text, &err), err);
            assert_true(back.s_max == options.s_max);
        }
    }
}

TEST(damaged_states_are_refused_by_name) {
    /* The golden state with one thing wrong at a time; then cut at every byte: never a crash, never taken. */
    static const struct {
        const char *from, *to;
        int code;
        const char *hint;
    } damages[] = {
        {"\"format\":1", "\"format\":2", AMB_ERR_VERSION, "format 2"},
        {"\"format\":1,", "", AMB_ERR_STATE, "format"},
        {"\"k\":1048576,", "", AMB_ERR_STATE, "'k' is missing"},
        {"\"k\":1048576", "\"k\":-1", AMB_ERR_STATE, "'k'"},
        {"\"step\"", "\"stepp\"", AMB_ERR_STATE, "did you mean 'step'"},
        {"[7,1234]", "[7]", AMB_ERR_STATE, "cursor 2"},
        {"[7,1234]", "[7,-1]", AMB_ERR_STATE, "cursor 2"},
        {"[7,1234]", "[7,1e300]", AMB_ERR_STATE, "cursor 2"},
        {"[7,1234]", "[7,\"x\"]", AMB_ERR_STATE, "cursor 2"},
        {"00112233445566778899aabbccddeeff", "0011", AMB_ERR_STATE, "32 hex digits"},
        {"\"gaps\":\"truncate\",", "", AMB_ERR_STATE, "'gaps' is missing"},
        {"\"policy\":\"pass\"", "\"policy\":\"pas\"", AMB_ERR_STATE, "pass, uniform"},
        {"\"curriculum\":null", "\"curriculum\":[1]", AMB_ERR_UNSUPPORTED, "curriculum"},
    };
    char golden[AMB_STATE_BYTES_MAX];

    read_golden(golden, sizeof golden);
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        char text[AMB_STATE_BYTES_MAX], *at = strstr(golden, damages[i].from);
        struct amb_state now;
        struct amb_error err = AMB_ERROR_NULL;
        int r;

        assert_non_null(at);
        snprintf(text, sizeof text, "%.*s%s%s", (int)(at - golden), golden, damages[i].to, at + strlen(damages[i].from));
        r = amb_state_decode(&now, text, strlen(text), &err);
        if (r != damages[i].code || strstr(err.message, damages[i].hint) == NULL) {
            fail_msg("%s: %d, \"%s\"", damages[i].to, r, err.message);
        }
    }
    for (size_t n = 0; n < strlen(golden); n++) {
        struct amb_state now;

        assert_int_equal(amb_state_decode(&now, golden, n, NULL), AMB_ERR_STATE);
    }
}

TEST(other_options_at_resume_are_named) {
    /* Each option in turn: the message names it and both values. */
    static const struct {
        const char *json, *key;
    } changes[] = {
        {"{\"seed\":1}", "'seed' is 0 in the state and 1"},
        {"{\"process\":\"vp\"}", "'process' is \"ve\" in the state and \"vp\""},
        {"{\"schedule\":{\"kind\":\"lognormal\",\"std\":1}}", "'schedule'"},
        {"{\"policy\":\"uniform\"}", "'policy'"},
        {"{\"s_max\":2}", "'s_max' is null in the state and 2"},
        {"{\"gaps\":\"error\"}", "'gaps'"},
        {"{\"xflip\":true}", "'xflip'"},
    };
    struct amb_state now = {.options = AMB_STREAM_OPTIONS_DEFAULT};
    struct amb_error err;

    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        struct amb_stream_options options = AMB_STREAM_OPTIONS_DEFAULT;

        assert_int_equal(amb_state_check_options(&now, &options, &err), 0);
        assert_ok(decode(&options, changes[i].json, &err), err);
        assert_int_equal(amb_state_check_options(&now, &options, &err), AMB_ERR_STATE);
        if (strstr(err.message, changes[i].key) == NULL) {
            fail_msg("%s: \"%s\"", changes[i].json, err.message);
        }
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(options_have_one_text),
    cmocka_unit_test(absent_keys_keep_what_the_caller_set),
    cmocka_unit_test(wrong_options_say_what_is_allowed),
    cmocka_unit_test(golden_state_loads_and_is_written_alike),
    cmocka_unit_test(largest_state_fits_and_survives),
    cmocka_unit_test(encoding_allocates_nothing),
    cmocka_unit_test(numbers_are_written_shortest_and_read_back),
    cmocka_unit_test(damaged_states_are_refused_by_name),
    cmocka_unit_test(other_options_at_resume_are_named),
};

TEST_MAIN(tests)
