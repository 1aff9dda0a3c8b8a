/* Sizes as people write them; a table reads what it documents and nothing else. */
#include <stdbool.h>

#include "base/test.h"
#include "daemon/key.h"
#include "proto/json.h"

struct thing {
    const char *name;
    bool flag;
    uint64_t n, bytes;
    double weight;
};

static const struct ambd_key keys[] = {
    {"name", "string", NULL, "", AMBD_KEY_STRING, offsetof(struct thing, name), 0, 0, NULL},
    {"flag", "boolean", NULL, "", AMBD_KEY_BOOL, offsetof(struct thing, flag), 0, 0, NULL},
    {"n", "integer", NULL, "", AMBD_KEY_U64, offsetof(struct thing, n), 3, 5, NULL},
    {"bytes", "size", NULL, "", AMBD_KEY_BYTES, offsetof(struct thing, bytes), 1024, 1 << 30, NULL},
    {"weight", "number", NULL, "", AMBD_KEY_F64, offsetof(struct thing, weight), 0, 0, NULL},
};
static const struct ambd_section section = {"thing", NULL, keys, sizeof keys / sizeof keys[0]};

static int load(struct thing *thing, const char *text, struct amb_error *err) {
    cJSON *json = NULL;
    int r;

    *thing = (struct thing){.n = 4, .bytes = 2048, .weight = 1};
    assert_ok(ambp_json_decode(&json, text, strlen(text), 16, err), *err);
    r = ambd_section_load(thing, &section, json, "a.b", err);
    thing->name = NULL; /* it pointed into the tree */
    cJSON_Delete(json);
    return r;
}

TEST(sizes_have_suffixes) {
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {{"0", 0},
                {"4096", 4096},
                {"64K", 65536},
                {"2G", UINT64_C(2) << 30},
                {"2g", UINT64_C(2) << 30},
                {"2GiB", UINT64_C(2) << 30},
                {"1.5M", 1572864},
                {"3T", UINT64_C(3) << 40},
                {"10B", 10}};
    static const char *const bad[] = {"", "G", "-1", "2Q", "2GG", "1e30T", "2 G", "0x10"};
    uint64_t bytes;

    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(ambd_bytes_parse(&bytes, good[i].text), 0);
        assert_int_equal(bytes, good[i].bytes);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (ambd_bytes_parse(&bytes, bad[i]) == 0) {
            fail_msg("'%s' was taken as %llu", bad[i], (unsigned long long)bytes);
        }
    }
}

TEST(absent_and_null_keys_keep_their_default) {
    struct amb_error err = AMB_ERROR_NULL;
    struct thing thing;

    assert_ok(load(&thing, "{\"n\":null,\"flag\":true,\"bytes\":\"1M\"}", &err), err);
    assert_int_equal(thing.n, 4);
    assert_true(thing.flag);
    assert_int_equal(thing.bytes, 1 << 20);
}

TEST(what_is_refused_is_named_by_its_path) {
    static const struct {
        const char *text, *word;
    } rows[] = {
        {"{\"n\":2}", "a.b.n"},           {"{\"n\":6}", "3 to 5"},
        {"{\"n\":4.5}", "4.5"},           {"{\"bytes\":1023}", "a.b.bytes"},
        {"{\"bytes\":\"1023\"}", "1024"}, {"{\"bytes\":true}", "a.b.bytes"},
        {"{\"weight\":0}", "above 0"},    {"{\"flag\":1}", "a.b.flag"},
        {"{\"name\":1}", "a.b.name"},     {"{\"wieght\":1}", "'weight'"},
        {"{\"n\":3,\"n\":4}", "twice"},   {"[]", "a.b"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct amb_error err = AMB_ERROR_NULL;
        struct thing thing;

        assert_int_equal(load(&thing, rows[i].text, &err), AMB_ERR_CONFIG);
        if (strstr(err.message, rows[i].word) == NULL) {
            fail_msg("'%s' is not in: %s", rows[i].word, err.message);
        }
    }
}

TEST(bounds_are_inside) {
    struct amb_error err = AMB_ERROR_NULL;
    struct thing thing;

    assert_ok(load(&thing, "{\"n\":3,\"bytes\":1024}", &err), err);
    assert_ok(load(&thing, "{\"n\":5,\"bytes\":\"1G\"}", &err), err);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(sizes_have_suffixes),
    cmocka_unit_test(absent_and_null_keys_keep_their_default),
    cmocka_unit_test(what_is_refused_is_named_by_its_path),
    cmocka_unit_test(bounds_are_inside),
};

TEST_MAIN(tests)
