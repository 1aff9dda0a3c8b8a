#include "base/test.h"

#include <errno.h>
#include <sys/socket.h>

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

/* Takes four batches and holds them. */
static void hold_all(struct ambient_client *client, struct ambient_batch *held[4]) {
    struct ambient_error err;

    for (uint64_t step = 0; step < 4; step++) {
        assert_ok(ambient_next(&held[step], client, &err), err);
        assert_int_equal(ambient_batch_step(held[step]), step);
    }
}

static void lend_four(struct fake_peer *peer, const char *steps) {
    fake_greet(peer);
    fake_subscribe(peer, &(struct fake_stream){.steps = steps});
    for (uint32_t i = 0; i < 4; i++) {
        fake_lend(peer, i, i, 2);
    }
}

static void talk_four_steps(struct fake_peer *peer) {
    lend_four(peer, "4");
    fake_answer(peer, 0);
}

/* SUBSCRIBED said how many steps there are: END itself is not waited for, and never comes here. */
TEST(the_end_is_told_while_every_slot_is_held) {
    static const fake_talk talks[] = {talk_four_steps};
    struct fake_daemon *fake = fake_start(talks, 1, NULL);
    struct ambient_client *client = fake_meet(fake, false);
    struct ambient_batch *held[4], *batch = NULL;
    struct ambient_error err;

    hold_all(client, held);
    assert_int_equal(ambient_next(&batch, client, &err), AMBIENT_END);
    ambient_batch_release(held[2]);
    assert_int_equal(ambient_next(&batch, client, &err), AMBIENT_END);
    assert_ok(ambient_call(NULL, client, "PING", NULL, &err), err);
    ambient_disconnect(client);
    fake_free(fake);
}

static void talk_no_steps(struct fake_peer *peer) {
    fake_greet(peer);
    fake_subscribe(peer, &(struct fake_stream){.step = "7", .steps = "0"});
    fake_answer(peer, 0);
}

TEST(a_stream_resumed_at_its_end_ends) {
    static const fake_talk talks[] = {talk_no_steps};
    struct fake_daemon *fake = fake_start(talks, 1, NULL);
    struct ambient_client *client = fake_meet(fake, false);
    struct ambient_batch *batch = NULL;
    struct ambient_error err;

    assert_int_equal(ambient_next(&batch, client, &err), AMBIENT_END);
    ambient_disconnect(client);
    fake_free(fake);
}

static void talk_error_behind_four(struct fake_peer *peer) {
    static const char error[] =
        "{\"reason\":\"error\",\"error\":{\"code\":\"exhausted\",\"errno\":-7011,\"message\":\"all 64 bad\"}}";

    lend_four(peer, NULL);
    sem_wait(&peer->fake->go);
    fake_end(peer, error);
    sem_post(&peer->fake->gone);
    fake_answer(peer, 0);
}

/* What has arrived is looked at before the caller is told to let go of batches. */
TEST(an_error_is_told_while_every_slot_is_held) {
    static const fake_talk talks[] = {talk_error_behind_four};
    struct fake_daemon *fake = fake_start(talks, 1, NULL);
    struct ambient_client *client = fake_meet(fake, false);
    struct ambient_batch *held[4], *batch = NULL;
    struct ambient_error err;

    hold_all(client, held);
    assert_int_equal(ambient_next(&batch, client, &err), -EDEADLK);
    sem_post(&fake->go);
    sem_wait(&fake->gone);
    assert_int_equal(ambient_next(&batch, client, &err), -7011);
    assert_string_equal(err.message, "all 64 bad");
    ambient_disconnect(client);
    fake_free(fake);
}

static void talk_ends_silently(struct fake_peer *peer) {
    fake_greet(peer);
    fake_subscribe(peer, &(struct fake_stream){0});
    fake_end(peer, "{\"reason\":\"error\",\"message\":\"over\"}");
    fake_answer(peer, 0);
}

/* Where training goes on behind an END, the data are over, not cut. */
TEST(an_end_for_an_error_is_one_whatever_it_lacks) {
    static const fake_talk talks[] = {talk_ends_silently};
    struct fake_daemon *fake = fake_start(talks, 1, NULL);
    struct ambient_client *client = fake_meet(fake, false);
    struct ambient_batch *batch = NULL;
    struct ambient_error err;

    assert_int_equal(ambient_next(&batch, client, &err), AMB_ERR_PROTOCOL);
    assert_string_equal(err.name, "protocol");
    ambient_disconnect(client);
    fake_free(fake);
}

static void talk_dies_behind_four(struct fake_peer *peer) {
    lend_four(peer, NULL);
    sem_wait(&peer->fake->go);
    shutdown(peer->fd, SHUT_RDWR);
    sem_post(&peer->fake->gone);
}

static void talk_from_step_four(struct fake_peer *peer) {
    fake_greet(peer);
    fake_subscribe(peer, &(struct fake_stream){.step = "4"});
    fake_lend(peer, 0, 4, 2);
    fake_answer(peer, 0);
}

/* The slots of a dead daemon are no reason to wait for: the next one has its own. */
TEST(held_slots_of_a_daemon_that_died_do_not_count) {
    static const fake_talk talks[] = {talk_dies_behind_four, talk_from_step_four};
    struct fake_daemon *fake = fake_start(talks, 2, NULL);
    struct ambient_client *client = fake_meet(fake, true);
    struct ambient_batch *held[4], *batch = NULL;
    struct ambient_error err;

    hold_all(client, held);
    sem_post(&fake->go);
    sem_wait(&fake->gone);
    assert_ok(ambient_next(&batch, client, &err), err);
    assert_int_equal(ambient_batch_step(batch), 4);
    ambient_disconnect(client);
    fake_free(fake);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_lend_that_does_not_fit_the_subscription_is_refused),
    cmocka_unit_test(nothing_is_lent_behind_the_last_step),
    cmocka_unit_test(the_end_is_told_while_every_slot_is_held),
    cmocka_unit_test(a_stream_resumed_at_its_end_ends),
    cmocka_unit_test(an_error_is_told_while_every_slot_is_held),
    cmocka_unit_test(an_end_for_an_error_is_one_whatever_it_lacks),
    cmocka_unit_test(held_slots_of_a_daemon_that_died_do_not_count),
};

TEST_MAIN(tests)
