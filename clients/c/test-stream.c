#include "base/test.h"

#include "base/error.h"
#include "clients/c/fake-daemon.h"

/* LENDs of slot 0 for step 0 with two rows, and of another slot as `lie` has it. */
static const struct lend {
    uint32_t slot;
    uint64_t step;
    uint32_t count;
} lies[] = {
    {1, 1, 1000000}, {1, 1, 3}, {1, 1, UINT32_MAX}, {4, 1, 2}, {UINT32_MAX, 1, 2}, {0, 1, 2}, {1, 0, 2}, {1, 2, 2}, {1, 9, 2},
};

static void talk_lends(struct fake_peer *peer) {
    const struct lend *lie = peer->fake->context;

    fake_greet(peer);
    fake_subscribe(peer, &(struct fake_stream){0});
    fake_lend(peer, 0, 0, 2);
    fake_lend(peer, lie->slot, lie->step, lie->count);
    fake_answer(peer, 0);
}

TEST(a_lend_that_does_not_fit_the_subscription_is_refused) {
    static const fake_talk talks[] = {talk_lends};

    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        struct ambient_batch *first = NULL, *second = NULL;
        struct ambient_client *client;
        struct fake_daemon *fake;
        struct ambient_error err;
        int r;

        fake = fake_start(talks, 1, &lies[i]);
        client = fake_meet(fake, false);
        assert_ok(ambient_next(&first, client, &err), err);
        assert_int_equal(ambient_batch_count(first), 2);
        r = ambient_next(&second, client, &err);
        if (r != AMB_ERR_PROTOCOL || second != NULL) {
            fail_msg("lie %zu: %d", i, r);
        }
        ambient_disconnect(client);
        fake_free(fake);
    }
}

static void talk_lends_a_step_too_many(struct fake_peer *peer) {
    fake_greet(peer);
    fake_subscribe(peer, &(struct fake_stream){.steps = "1"});
    fake_lend(peer, 0, 0, 0); /* a rank may have no sample in the last batch */
    fake_lend(peer, 1, 1, 2);
    fake_answer(peer, 0);
}

/* Read by a question, so that the second waits beside the first before either is taken. */
TEST(nothing_is_lent_behind_the_last_step) {
    static const fake_talk talks[] = {talk_lends_a_step_too_many};
    struct ambient_batch *batch = NULL;
    struct ambient_client *client;
    struct fake_daemon *fake;
    struct ambient_error err;

    fake = fake_start(talks, 1, NULL);
    client = fake_meet(fake, false);
    assert_int_equal(ambient_call(NULL, client, "PING", NULL, &err), AMB_ERR_PROTOCOL);
    assert_ok(ambient_next(&batch, client, &err), err);
    assert_int_equal(ambient_batch_count(batch), 0);
    ambient_disconnect(client);
    fake_free(fake);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_lend_that_does_not_fit_the_subscription_is_refused),
    cmocka_unit_test(nothing_is_lent_behind_the_last_step),
};

TEST_MAIN(tests)
