#include "base/test.h"

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

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(descriptors_that_nobody_waits_for_are_closed),
};

TEST_MAIN(tests)
