#include "base/test.h"

#include "shard/member.h"

TEST(key_ends_at_the_first_dot_of_the_base_name) {
    static const struct {
        const char *name;
        size_t key_bytes;
    } cases[] = {
        {"000000.jpg", 6}, {"a.b.c", 1},       {"x.y/cat.jpg", 7},  {"./cat.seg.png", 5},
        {"cat", 0},        {".hidden.jpg", 0}, {"a/.jpg", 0},       {"a.b/cat", 0},
        {"cat.", 0},       {"a/b.c/", 0},      {"__meta__.x__", 0}, {"_a.jpg", 2},
        {"", 0},           {".", 0},           {"a/", 0},           {"__x.jpg", 3},
        {"\xff.jpg", 1},   {"..", 0},          {"a/...", 0},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (amb_member_key(cases[i].name, strlen(cases[i].name)) != cases[i].key_bytes) {
            fail_msg("'%s'", cases[i].name);
        }
    }
}

TEST(picture_is_told_by_the_last_extension_in_any_case) {
    static const struct {
        const char *name;
        enum amb_member_rank rank;
    } cases[] = {
        {"a.png", AMB_RANK_PICTURE},
        {"a.JPEG", AMB_RANK_PICTURE},
        {"d.png/a.WebP", AMB_RANK_PICTURE},
        {"a.jpg", AMB_RANK_PICTURE},
        {"a.seg.png", AMB_RANK_PICTURE_MORE},
        {"img-mean-std-00000000.npy", AMB_RANK_ARRAY},
        {"z/img0.latent.npy", AMB_RANK_ARRAY},
        {"a.NPY", AMB_RANK_ARRAY},
        {"a.t5.npy", AMB_RANK_ARRAY_MORE},
        {"a.gif", AMB_RANK_NONE},
        {"a.pngx", AMB_RANK_NONE},
        {"png", AMB_RANK_NONE},
        {".png", AMB_RANK_NONE},
        {"a.json", AMB_RANK_NONE},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (amb_member_rank_get(cases[i].name, strlen(cases[i].name)) != cases[i].rank) {
            fail_msg("'%s'", cases[i].name);
        }
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(key_ends_at_the_first_dot_of_the_base_name),
    cmocka_unit_test(picture_is_told_by_the_last_extension_in_any_case),
};

TEST_MAIN(tests)
