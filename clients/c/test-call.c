#include "base/test.h"

#include <errno.h>

#include "base/error.h"
#include "clients/c/fake-daemon.h"

static void talk_three_steps(struct fake_peer *peer) {
    fake_greet(peer);
    fake_subscribe(peer, &(struct fake_stream){.steps = "3"});
    for (uint32_t i = 0; i < 3; i++) {
        fake_lend(peer, i, i, 2);
    }
    fake_answer(peer, 0);
}

/* Nothing of it has left: the stream goes on, and so do other questions. The largest that is allowed is asked. */
TEST(a_question_that_is_too_large_leaves_the_stream_alone) {
    static const fake_talk talks[] = {talk_three_steps};
    static char json[AMBP_PAYLOAD_BYTES_MAX + 2];
    struct fake_daemon *fake = fake_start(talks, 1, NULL);
    struct ambient_client *client = fake_meet(fake, false);
    struct ambient_batch *batch = NULL;
    struct ambient_error err;

    memset(json, ' ', sizeof json - 1);
    assert_ok(ambient_next(&batch, client, &err), err);
    assert_int_equal(ambient_call(NULL, client, "STATUS", json, &err), AMB_ERR_LIMIT);
    assert_string_equal(err.message, "a request of 65537 bytes, limit 65536");
    assert_ok(ambient_next(&batch, client, &err), err);
    json[AMBP_PAYLOAD_BYTES_MAX] = '\0';
    assert_ok(ambient_call(NULL, client, "STATUS", json, &err), err);
    assert_ok(ambient_next(&batch, client, &err), err);
    assert_int_equal(ambient_next(&batch, client, &err), AMBIENT_END);
    ambient_disconnect(client);
    fake_free(fake);
}

static void talk_error(struct fake_peer *peer) {
    const char *error = peer->fake->context;

    fake_greet(peer);
    fake_answer(peer, AMBP_SAMPLE);
    fake_say(peer, AMBP_ERROR, peer->heard.request_id, error, strlen(error), 0);
    fake_answer(peer, 0);
}

/* A question that was never asked was answered by no ERROR. */
TEST(the_last_error_is_of_the_last_question) {
    static const fake_talk talks[] = {talk_error};
    static const char error[] = "{\"code\":\"not-found\",\"errno\":-7014,\"message\":\"no sample\"}";
    struct fake_daemon *fake = fake_start(talks, 1, error);
    struct ambient_client *client = NULL;
    struct ambient_error err;

    assert_ok(ambient_connect(&client, fake->address, &err), err);
    assert_int_equal(ambient_call(NULL, client, "SAMPLE", NULL, &err), -7014);
    assert_string_equal(ambient_last_error(client), error);
    assert_int_equal(ambient_call(NULL, client, "STATUES", NULL, &err), -EINVAL);
    assert_null(ambient_last_error(client));
    ambient_disconnect(client);
    fake_free(fake);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_question_that_is_too_large_leaves_the_stream_alone),
    cmocka_unit_test(the_last_error_is_of_the_last_question),
};

TEST_MAIN(tests)
