#include "base/test.h"

#include <unistd.h>

#include "clients/c/fake-daemon.h"

/* Keys of two rows of 8 bytes, behind their lengths: slot 0 and slot 1. */
static const struct {
    int64_t lengths[2];
    char rows[16];
} keys[2] = {{{20, 3}, "abcdefghxyz"}, {{-1, 3}, "abcdefghxyz"}};

static void talk_two_steps(struct fake_peer *peer) {
    static const struct fake_stream stream = {
        .slot_bytes = "16384",
        .slots = "2",
        .steps = "2",
        .fields = "{\"name\":\"x_t\",\"dtype\":\"f32\",\"shape\":[2,4],\"offset\":0,\"bytes\":32,\"row_bytes\":16},"
                  "{\"name\":\"sigma_t\",\"dtype\":\"f32\",\"shape\":[2],\"offset\":4096,\"bytes\":8,\"row_bytes\":4},"
                  "{\"name\":\"weight\",\"dtype\":\"f32\",\"shape\":[2],\"offset\":8192,\"bytes\":8,\"row_bytes\":4},"
                  "{\"name\":\"key\",\"dtype\":\"u8\",\"shape\":[2,8],\"offset\":12288,\"bytes\":32,\"row_bytes\":8,\"ragged\":true}",
    };

    fake_greet(peer);
    fake_subscribe(peer, &stream);
    for (uint32_t i = 0; i < 2; i++) {
        (void)!pwrite(peer->memory, &keys[i], sizeof keys[i], 16384 * i + 12288);
        fake_lend(peer, i, i, 2);
    }
    fake_answer(peer, 0);
}

/* A key that is longer than any when the slots were made is cut in its row, and what lies behind is the next sample's. */
TEST(a_cut_key_is_printed_as_far_as_it_goes) {
    static const fake_talk talks[] = {talk_two_steps};
    struct fake_daemon *fake = fake_start(talks, 1, NULL);
    char command[256], line[256];
    FILE *trainer;

    snprintf(command, sizeof command, "%s %s 2", EXAMPLE_TRAINER, fake->address);
    trainer = popen(command, "re");
    assert_non_null(trainer);
    assert_non_null(fgets(line, sizeof line, trainer));
    assert_string_equal(strstr(line, "first key"), "first key abcdefgh\n");
    assert_non_null(fgets(line, sizeof line, trainer));
    assert_string_equal(strstr(line, "first key"), "first key \n");
    assert_int_equal(pclose(trainer), 0);
    fake_free(fake);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_cut_key_is_printed_as_far_as_it_goes),
};

TEST_MAIN(tests)
