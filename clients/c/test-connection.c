#include "base/test.h"

#include "base/error.h"
#include "clients/c/fake-daemon.h"

static void talk_descriptors(struct fake_peer *peer) {
    fake_greet(peer);
    fake_subscribe(peer, &(struct fake_stream){.n_fds = *(const size_t *)peer->fake->context});
    fake_lend(peer, 0, 0, 2);
    fake_hear(peer, AMBP_STATUS);
    fake_say(peer, AMBP_REPLY, peer->heard.request_id, "{}", 2, *(const size_t *)peer->fake->context);
    fake_answer(peer, 0);
}

/* One descriptor beside SUBSCRIBED is waited for; there is room for two in its buffer, and the kernel drops what has none. TEST_MAIN
 * counts what stays open. */
TEST(descriptors_that_nobody_waits_for_are_closed) {
    static const fake_talk talks[] = {talk_descriptors};

    for (size_t n_fds = 1; n_fds <= 3; n_fds++) {
        struct fake_daemon *fake = fake_start(talks, 1, &n_fds);
        struct ambient_client *client = fake_meet(fake, false);
        struct ambient_batch *batch = NULL;
        struct ambient_error err;

        assert_ok(ambient_next(&batch, client, &err), err);
        memset(ambient_batch_data(batch, "x_t", NULL), 1, 32);
        assert_ok(ambient_call(NULL, client, "STATUS", NULL, &err), err);
        ambient_disconnect(client);
        fake_free(fake);
    }
}

static void talk_refuses(struct fake_peer *peer) {
    const char *error = peer->fake->context;

    fake_greet(peer);
    for (int i = 0; i < 2; i++) {
        fake_answer(peer, AMBP_SUBSCRIBE);
        fake_say(peer, AMBP_ERROR, peer->heard.request_id, error, strlen(error), 0);
    }
    fake_answer(peer, 0);
}

/* Whatever number an ERROR carries, what it answers has failed. */
TEST(an_error_is_never_a_success) {
    static const fake_talk talks[] = {talk_refuses};
    static const char *const numbers[] = {"0", "-0.5", "0.5", "7", "-1e300", "\"inf\"", "null", "[]"};

    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        struct ambient_stream_options options = AMBIENT_STREAM_OPTIONS_INIT;
        struct ambient_client *client = NULL;
        struct fake_daemon *fake;
        struct ambient_error err;
        char error[128];

        snprintf(error, sizeof error, "{\"code\":\"gap\",\"errno\":%s,\"message\":\"none\"}", numbers[i]);
        fake = fake_start(talks, 1, error);
        assert_ok(ambient_connect(&client, fake->address, &err), err);
        assert_int_equal(ambient_subscribe(client, &options, &err), AMB_ERR_PROTOCOL);
        assert_string_equal(err.name, "gap");
        assert_int_equal(ambient_call(NULL, client, "SUBSCRIBE", NULL, &err), AMB_ERR_PROTOCOL);
        ambient_disconnect(client);
        fake_free(fake);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(descriptors_that_nobody_waits_for_are_closed),
    cmocka_unit_test(an_error_is_never_a_success),
};

TEST_MAIN(tests)
