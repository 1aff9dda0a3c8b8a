#include "base/test.h"

#include <errno.h>

#include "base/error.h"
#include "clients/c/fake-daemon.h"

static struct ambient_batch *take(struct ambient_client *client, uint64_t step) {
    struct ambient_batch *batch = NULL;
    struct ambient_error err;

    assert_ok(ambient_next(&batch, client, &err), err);
    assert_int_equal(ambient_batch_step(batch), step);
    return batch;
}

/* The daemon that lives dies of a PING; the question after it finds the next one. */
static void restart(struct ambient_client *client) {
    struct ambient_error err;

    assert_true(ambient_call(NULL, client, "PING", NULL, &err) < 0);
}

static void talk_two_steps(struct fake_peer *peer) {
    fake_greet(peer);
    fake_subscribe(peer, &(struct fake_stream){.steps = "2"});
    fake_lend(peer, 0, 0, 2);
    fake_lend(peer, 1, 1, 2);
    fake_end(peer, "{\"reason\":\"steps\",\"message\":\"over\"}");
    fake_answer(peer, AMBP_PING);
}

static void talk_questions(struct fake_peer *peer) {
    fake_greet(peer);
    fake_answer(peer, AMBP_PING);
}

/* Two restarts behind the end: nothing is subscribed to, and a batch that is held still is given back to nobody. */
TEST(questions_behind_the_end_find_the_next_daemon) {
    static const fake_talk talks[] = {talk_two_steps, talk_questions, talk_questions};
    struct fake_daemon *fake = fake_start(talks, 3, NULL);
    struct ambient_client *client = fake_meet(fake, true);
    struct ambient_batch *first = take(client, 0), *last = take(client, 1), *batch = NULL;
    struct ambient_error err;
    char *reply = NULL;

    ambient_batch_release(first);
    assert_int_equal(ambient_next(&batch, client, &err), AMBIENT_END);
    for (int i = 0; i < 2; i++) {
        restart(client);
        assert_ok(ambient_call(&reply, client, "STATUS", NULL, &err), err);
        assert_string_equal(reply, "{}");
        ambient_free(reply);
        assert_int_equal(ambient_next(&batch, client, &err), AMBIENT_END);
        memset(ambient_batch_data(last, "x_t", NULL), 1, 32);
        ambient_batch_release(i == 0 ? NULL : last);
        assert_ok(ambient_call(NULL, client, "STATUS", NULL, &err), err);
    }
    ambient_disconnect(client);
    fake_stop(fake);
    assert_int_equal(fake->n_done[0], 1);
    assert_int_equal(fake->n_done[1] + fake->n_done[2], 0);
    fake_free(fake);
}

static void talk_two_batches(struct fake_peer *peer) {
    fake_greet(peer);
    fake_subscribe(peer, &(struct fake_stream){0});
    fake_lend(peer, 0, 0, 2);
    fake_lend(peer, 1, 1, 2);
    fake_answer(peer, AMBP_PING);
}

/* Lends ahead, as if nothing were amiss. */
static void talk_another_step(struct fake_peer *peer) {
    fake_greet(peer);
    fake_subscribe(peer, &(struct fake_stream){.step = "5"});
    fake_lend(peer, 0, 5, 2);
    fake_answer(peer, AMBP_PING);
}

static void talk_refusal(struct fake_peer *peer) {
    static const char error[] = "{\"code\":\"state\",\"errno\":-7009,\"message\":\"other shards\",\"fatal\":false}";

    fake_greet(peer);
    fake_hear(peer, AMBP_SUBSCRIBE);
    fake_say(peer, AMBP_ERROR, peer->heard.request_id, error, sizeof error - 1, 0);
    fake_answer(peer, AMBP_PING);
}

static void talk_lie(struct fake_peer *peer) {
    fake_greet(peer);
    fake_subscribe(peer, &(struct fake_stream){.step = "2", .total_bytes = "65536"});
    fake_lend(peer, 0, 2, 2);
    fake_answer(peer, AMBP_PING);
}

/* Whatever ended the stream, the error stays, nothing that such a daemon lends is taken, and questions are answered. */
TEST(questions_behind_a_refusal_are_answered) {
    static const struct {
        fake_talk talk;
        int code;
    } next[] = {{talk_another_step, AMB_ERR_PROTOCOL}, {talk_refusal, -7009}, {talk_lie, AMB_ERR_PROTOCOL}};

    for (size_t i = 0; i < sizeof next / sizeof next[0]; i++) {
        const fake_talk talks[] = {talk_two_batches, next[i].talk, talk_questions, talk_questions};
        struct fake_daemon *fake = fake_start(talks, 4, NULL);
        struct ambient_client *client = fake_meet(fake, true);
        struct ambient_batch *held = take(client, 0), *batch = NULL;
        struct ambient_error err;

        ambient_batch_release(take(client, 1));
        restart(client);
        assert_int_equal(ambient_next(&batch, client, &err), next[i].code);
        for (int j = 0; j < 3; j++) {
            assert_ok(ambient_call(NULL, client, "STATUS", NULL, &err), err);
            assert_int_equal(ambient_next(&batch, client, &err), next[i].code);
        }
        ambient_batch_release(held);
        restart(client);
        assert_ok(ambient_call(NULL, client, "STATUS", NULL, &err), err);
        ambient_disconnect(client);
        fake_free(fake);
    }
}

static void talk_stopping(struct fake_peer *peer) {
    static const char error[] = "{\"code\":\"ESHUTDOWN\",\"errno\":-108,\"message\":\"the daemon is stopping\",\"fatal\":false}";

    fake_greet(peer);
    fake_hear(peer, AMBP_SUBSCRIBE);
    fake_say(peer, AMBP_ERROR, peer->heard.request_id, error, sizeof error - 1, 0);
}

static void talk_from_step_two(struct fake_peer *peer) {
    fake_greet(peer);
    fake_subscribe(peer, &(struct fake_stream){.step = "2"});
    fake_lend(peer, 0, 2, 2);
    fake_answer(peer, 0);
}

/* It says so to whoever subscribes: as good as gone, as in an END. */
TEST(a_daemon_that_stops_is_not_the_next_one) {
    static const fake_talk talks[] = {talk_two_batches, talk_stopping, talk_from_step_two};
    struct fake_daemon *fake = fake_start(talks, 3, NULL);
    struct ambient_client *client = fake_meet(fake, true);

    ambient_batch_release(take(client, 0));
    ambient_batch_release(take(client, 1));
    restart(client);
    ambient_batch_release(take(client, 2));
    ambient_disconnect(client);
    fake_stop(fake);
    assert_non_null(strstr(fake->subscribed[2], "\"state\":{\"step\":2}"));
    fake_free(fake);
}

static void talk_from_step_one(struct fake_peer *peer) {
    fake_greet(peer);
    fake_subscribe(peer, &(struct fake_stream){.step = "1"});
    fake_lend(peer, 0, 1, 2);
    fake_answer(peer, AMBP_PING);
}

static void ask(struct ambient_client *client, const char *request, const char *json) {
    struct ambient_error err;

    assert_ok(ambient_call(NULL, client, request, json, &err), err);
}

/* A daemon is told of the moves that lie ahead, and of those alone that were not cancelled, by whichever daemon. */
TEST(a_cancelled_advance_is_forgotten) {
    static const fake_talk talks[] = {talk_two_batches, talk_from_step_one, talk_from_step_one, talk_from_step_one};
    struct fake_daemon *fake = fake_start(talks, 4, NULL);
    struct ambient_client *client = fake_meet(fake, true);

    ambient_batch_release(take(client, 0));
    ask(client, "ADVANCE", "{\"step\":30}");
    ask(client, "ADVANCE", "{\"step\":20}");
    restart(client);
    ask(client, "CANCEL_ADVANCE", "{\"step\":20}");
    restart(client);
    ask(client, "CANCEL_ADVANCE", "{\"step\":30}");
    restart(client);
    ask(client, "STATUS", "{}");
    ambient_disconnect(client);
    fake_stop(fake);
    assert_null(strstr(fake->subscribed[0], "moves"));
    assert_non_null(strstr(fake->subscribed[1], "\"moves\":[{\"step\":20},{\"step\":30}],\"follow\":false"));
    assert_non_null(strstr(fake->subscribed[2], "\"moves\":[{\"step\":30}],\"follow\":false"));
    assert_non_null(strstr(fake->subscribed[3], "\"state\":{\"step\":1}}")); /* and nothing behind it */
    fake_free(fake);
}

/* The daemon decides: an advance is asked of the session that makes the moves of an earlier one, not refused here. */
TEST(an_advance_beyond_moves_that_lie_ahead_is_asked) {
    static const fake_talk talks[] = {talk_two_batches, talk_from_step_one, talk_from_step_one};
    struct fake_daemon *fake = fake_start(talks, 3, NULL);
    struct ambient_client *client = fake_meet(fake, true);

    ambient_batch_release(take(client, 0));
    ask(client, "ADVANCE", "{\"step\":30}");
    restart(client);
    ask(client, "ADVANCE", "{\"step\":40}");
    restart(client);
    ask(client, "STATUS", "{}");
    ambient_disconnect(client);
    fake_stop(fake);
    assert_non_null(strstr(fake->subscribed[1], "\"moves\":[{\"step\":30}]"));
    assert_non_null(strstr(fake->subscribed[2], "\"moves\":[{\"step\":30},{\"step\":40}]"));
    fake_free(fake);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(questions_behind_the_end_find_the_next_daemon),
    cmocka_unit_test(questions_behind_a_refusal_are_answered),
    cmocka_unit_test(a_daemon_that_stops_is_not_the_next_one),
    cmocka_unit_test(a_cancelled_advance_is_forgotten),
    cmocka_unit_test(an_advance_beyond_moves_that_lie_ahead_is_asked),
};

TEST_MAIN(tests)
