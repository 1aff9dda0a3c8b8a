#include "base/test.h"

#include "base/error.h"
#include "clients/c/fake-daemon.h"

/* A field at `offset` of 4 elements of f32 in two rows, with what `more` adds or replaces. */
#define X_T "{\"name\":\"x_t\",\"dtype\":\"f32\",\"shape\":[2,4],\"offset\":0,\"bytes\":32,\"row_bytes\":16}"
#define FIELD(dtype, shape, offset, bytes, row_bytes, more)                                                            \
    "{\"name\":\"f\",\"dtype\":\"" dtype "\",\"shape\":[" shape "],\"offset\":" offset ",\"bytes\":" bytes               \
    ",\"row_bytes\":" row_bytes more "}"
#define RAGGED ",\"ragged\":true"

static void talk_subscribe(struct fake_peer *peer) {
    fake_greet(peer);
    fake_subscribe(peer, peer->fake->context);
    fake_lend(peer, 1, 0, 2);
    fake_answer(peer, 0);
}

static const fake_talk talks[] = {talk_subscribe};

static const struct lie {
    struct fake_stream stream;
    const char *said; /* in the message: what was found */
} lies[] = {
    {{.slots = "0"}, "slots"},
    {{.slots = "65"}, "slots"},
    {{.slots = "-1"}, "slots"},
    {{.slot_bytes = "0"}, "slot_bytes"},
    {{.slot_bytes = "8000"}, "slot of 8000 bytes"},
    {{.slot_bytes = "\"18446744073709551615\""}, "slot_bytes"},
    {{.slot_bytes = "1e300"}, "slot_bytes"},
    {{.total_bytes = "32767"}, "total_bytes"},
    {{.total_bytes = "36864"}, "shared memory of 36864 bytes"},
    {{.batch_size = "0"}, "batch_size"},
    {{.batch_size = "4194305"}, "batch_size"},
    {{.batch_size = "3"}, "2 rows, the batch size is 3"},
    {{.batch_size = "null"}, "batch_size"},
    {{.step = "-1"}, "step"},
    {{.steps = "-1"}, "steps"},
    {{.fields = "7"}, "name"},
    {{.fields = FIELD("f33", "2,4", "0", "32", "16", "")}, "f33"},
    {{.fields = FIELD("f32", "", "0", "32", "16", "")}, "shape"},
    {{.fields = FIELD("f32", "2,-4", "0", "32", "16", "")}, "shape"},
    {{.fields = FIELD("f32", "2,4.5", "0", "32", "16", "")}, "shape"},
    {{.fields = FIELD("f32", "2,\"4\"", "0", "32", "16", "")}, "shape"},
    {{.fields = FIELD("f32", "2,1,1,1,1,1,1,1,4", "0", "32", "16", "")}, "shape"},
    {{.fields = FIELD("f32", "4000000000,4", "0", "32", "16", "")}, "4000000000 rows, the batch size is 2"},
    {{.fields = FIELD("f32", "2,4294967295,4294967295,4294967295", "0", "32", "16", "")}, "rows of 16 bytes"},
    {{.fields = FIELD("f32", "2,2147483648,2147483648,4", "0", "0", "0", "")}, "rows of 0 bytes"}, /* 2^66 elements' bytes */
    {{.fields = FIELD("f32", "2,4", "0", "16", "8", "")}, "rows of 8 bytes"},
    {{.fields = FIELD("f32", "2,4", "0", "16", "16", "")}, "16 bytes for 2 rows of 16"},
    {{.fields = FIELD("f32", "2,4", "0", "8192", "16", "")}, "8192 bytes for 2 rows of 16"},
    {{.fields = FIELD("u8", "2,8", "0", "16", "8", RAGGED)}, "16 bytes for 2 rows of 8"},
    {{.fields = FIELD("f32", "2,4", "8192", "32", "16", "")}, "[8192, +32)"},
    {{.fields = FIELD("f32", "2,4", "8190", "32", "16", "")}, "[8190, +32)"},
    {{.fields = FIELD("f32", "2,4", "16", "32", "16", "")}, "[16, +32)"},
    {{.fields = FIELD("f32", "2,4", "\"18446744073709551584\"", "32", "16", "")}, "offset"},
    {{.fields = FIELD("f32", "2,1025", "4096", "8200", "4100", "")}, "bytes"},
    {{.fields = FIELD("u8", "2,4090", "0", "8196", "4090", RAGGED)}, "bytes"},
    {{.fields = FIELD("u8", "2,8", "0", "32", "8", RAGGED ",\"stacked\":true")}, "stacked"},
    {{.fields = FIELD("u8", "2,8", "0", "32", "8", ",\"ragged\":1")}, "ragged"},
    {{.fields = X_T "," FIELD("f32", "3,4", "4096", "48", "16", "")}, "3 rows"},
};

/* Each is refused before any memory is mapped, and says what was found; the connection goes on. */
TEST(a_slab_that_does_not_fit_is_refused) {
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        struct ambient_stream_options options = AMBIENT_STREAM_OPTIONS_INIT;
        struct ambient_client *client = NULL;
        struct fake_daemon *fake;
        struct ambient_error err = {0};
        int r;

        fake = fake_start(talks, 1, &lies[i].stream);
        assert_ok(ambient_connect(&client, fake->address, &err), err);
        r = ambient_subscribe(client, &options, &err);
        if (r != AMB_ERR_PROTOCOL || strstr(err.message, lies[i].said) == NULL) {
            fail_msg("lie %zu: %d '%s', which should tell of '%s'", i, r, err.message, lies[i].said);
        }
        assert_string_equal(err.name, "protocol");
        ambient_disconnect(client);
        fake_free(fake);
    }
}

/* The address of a field follows from what was proven, whichever way a number was written. */
TEST(fields_lie_where_they_were_said_to) {
    static const struct fake_stream stream = {
        .fields = X_T "," FIELD("u8", "2,8", "\"4096\"", "\"32\"", "\"8\"", RAGGED),
    };
    struct ambient_client *client;
    struct ambient_array array;
    struct ambient_batch *batch = NULL;
    struct fake_daemon *fake;
    struct ambient_error err;
    int64_t length = -1;
    uint8_t *x_t, *f;

    fake = fake_start(talks, 1, &stream);
    client = fake_meet(fake, false);
    assert_ok(ambient_next(&batch, client, &err), err);
    x_t = ambient_batch_data(batch, "x_t", &array);
    assert_true((uintptr_t)x_t % 4096 == 0);
    assert_true(array.n_dims == 2 && array.dims[0] == 2 && array.dims[1] == 4 && array.row_bytes == 16 && array.bytes == 32);
    assert_string_equal(array.dtype, "f32");
    f = ambient_batch_data(batch, "f", &array);
    assert_true(f == x_t + 4096);
    assert_true(array.ragged && array.row_bytes == 8 && array.bytes == 32);
    assert_true(ambient_batch_cell(batch, "f", 1, &length) == f + 16 + 8);
    assert_int_equal(length, 0);
    assert_null(ambient_batch_cell(batch, "f", 2, NULL));
    assert_null(ambient_batch_cell(batch, "x_t", 0, NULL));
    assert_null(ambient_batch_data(batch, "g", NULL));
    ambient_disconnect(client);
    fake_free(fake);
}

/* Arrays beside the pictures have lengths in front of their rows as keys have. */
TEST(a_stacked_field_has_cells) {
    static const struct fake_stream stream = {.fields = FIELD("f32", "2,3", "0", "40", "12", ",\"stacked\":true")};
    struct ambient_client *client;
    struct ambient_array array;
    struct ambient_batch *batch = NULL;
    struct fake_daemon *fake;
    struct ambient_error err;
    uint8_t *f;

    fake = fake_start(talks, 1, &stream);
    client = fake_meet(fake, false);
    assert_ok(ambient_next(&batch, client, &err), err);
    f = ambient_batch_data(batch, "f", &array);
    assert_true(array.ragged);
    assert_true(ambient_batch_cell(batch, "f", 1, NULL) == f + 16 + 12);
    ambient_disconnect(client);
    fake_free(fake);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_slab_that_does_not_fit_is_refused),
    cmocka_unit_test(fields_lie_where_they_were_said_to),
    cmocka_unit_test(a_stacked_field_has_cells),
};

TEST_MAIN(tests)
