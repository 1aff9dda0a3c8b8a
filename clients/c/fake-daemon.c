/*
 * Fake daemon: a thread that accepts one connection after another and plays the next talk on each.
 *
 * The listener stays open between two talks, so a client that comes back finds the next "daemon" at once: hanging up is
 * the death of a daemon, and the next talk its successor.
 */
#include "clients/c/fake-daemon.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/test.h"
#include "proto/message.h"

#define FAKE_MEMORY_BYTES 32768
#define FAKE_FDS_MAX      4u

static void fake_wrong(struct fake_peer *peer, const char *wanted) {
    char *wrong = peer->fake->wrong;

    if (wrong[0] == '\0') {
        snprintf(wrong, sizeof peer->fake->wrong, "talk %zu heard %s where it waited for %s", peer->i_talk,
                 peer->heard.type != 0 ? ambp_type_name(peer->heard.type) : "the end", wanted);
    }
    shutdown(peer->fd, SHUT_RDWR);
}

static bool fake_read(int fd, void *out, size_t bytes) {
    return bytes == 0 || recv(fd, out, bytes, MSG_WAITALL) == (ssize_t)bytes; /* recv of nothing waits for something */
}

/* The next frame that is no DONE; its type 0: the client has hung up. */
static void fake_receive(struct fake_peer *peer) {
    do {
        uint8_t bytes[AMBP_HEADER_BYTES];

        peer->heard = (struct ambp_header){0};
        if (!fake_read(peer->fd, bytes, sizeof bytes) || ambp_header_decode(&peer->heard, bytes, NULL) < 0 ||
            !fake_read(peer->fd, peer->text, peer->heard.length)) {
            peer->heard.type = 0;
        }
        peer->text[peer->heard.length] = '\0';
        peer->fake->n_done[peer->i_talk] += peer->heard.type == AMBP_DONE;
    } while (peer->heard.type == AMBP_DONE);
}

void fake_hear(struct fake_peer *peer, uint8_t type) {
    fake_receive(peer);
    if (peer->heard.type != type) {
        fake_wrong(peer, ambp_type_name(type));
    }
}

void fake_say(struct fake_peer *peer, uint8_t type, uint32_t request_id, const void *payload, size_t bytes, size_t n_fds) {
    uint8_t header[AMBP_HEADER_BYTES];
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(FAKE_FDS_MAX * sizeof(int))];
    } control = {0};
    struct iovec parts[2] = {{header, sizeof header}, {(void *)(uintptr_t)payload, bytes}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};

    ambp_header_encode(header, &(struct ambp_header){.version = AMBP_VERSION,
                                                     .type = type,
                                                     .length = (uint32_t)bytes,
                                                     .request_id = request_id});
    if (n_fds > 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        control.align.cmsg_level = SOL_SOCKET;
        control.align.cmsg_type = SCM_RIGHTS;
        control.align.cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        for (size_t i = 0; i < n_fds; i++) {
            memcpy(CMSG_DATA(&control.align) + i * sizeof(int), &peer->memory, sizeof(int));
        }
    }
    (void)sendmsg(peer->fd, &message, MSG_NOSIGNAL); /* small against the socket's buffer: whole, or the client is gone */
}

void fake_greet(struct fake_peer *peer) {
    static const char welcome[] = "{\"version\":1,\"server\":\"fake/0\",\"features\":[\"fd\"],\"pid\":1}";

    fake_hear(peer, AMBP_HELLO);
    fake_say(peer, AMBP_WELCOME, peer->heard.request_id, welcome, sizeof welcome - 1, 0);
}

void fake_subscribe(struct fake_peer *peer, const struct fake_stream *stream) {
    static const char fields[] =
        "{\"name\":\"x_t\",\"dtype\":\"f32\",\"shape\":[2,4],\"offset\":0,\"bytes\":32,\"row_bytes\":16,"
        "\"ragged\":false,\"stacked\":false},"
        "{\"name\":\"key\",\"dtype\":\"u8\",\"shape\":[2,8],\"offset\":4096,\"bytes\":32,\"row_bytes\":8,"
        "\"ragged\":true,\"stacked\":false}";
    char text[4096];

#define OR(value, usual) ((value) != NULL ? (value) : (usual))
    fake_hear(peer, AMBP_SUBSCRIBE);
    peer->subscribe_id = peer->heard.request_id;
    snprintf(peer->fake->subscribed[peer->i_talk], sizeof peer->fake->subscribed[0], "%.2047s", peer->text);
    peer->memory = memfd_create("fake", MFD_CLOEXEC);
    (void)ftruncate(peer->memory, FAKE_MEMORY_BYTES);
    snprintf(text, sizeof text,
             "{\"slots\":%s,\"slot_bytes\":%s,\"total_bytes\":%s,\"batch_size\":%s,\"rank\":0,\"world_size\":1,"
             "\"fields\":[%s],\"state\":{\"step\":%s},\"steps\":%s,\"warnings\":[]}",
             OR(stream->slots, "4"), OR(stream->slot_bytes, "8192"), OR(stream->total_bytes, "32768"),
             OR(stream->batch_size, "2"), OR(stream->fields, fields), OR(stream->step, "0"), OR(stream->steps, "null"));
    fake_say(peer, AMBP_SUBSCRIBED, peer->subscribe_id, text, strlen(text), stream->n_fds != 0 ? stream->n_fds : 1);
}

void fake_lend(struct fake_peer *peer, uint32_t slot, uint64_t step, uint32_t count) {
    uint8_t payload[AMBP_LEND_BYTES + 64];
    char state[64];
    int n, n_state = snprintf(state, sizeof state, "{\"step\":%llu}", (unsigned long long)step + 1);

    n = ambp_lend_encode(payload, sizeof payload,
                         &(struct ambp_lend){.slot = slot,
                                             .count = count,
                                             .step = step,
                                             .state = state,
                                             .state_bytes = (uint32_t)n_state});
    fake_say(peer, AMBP_LEND, 0, payload, (size_t)n, 0);
}

void fake_end(struct fake_peer *peer, const char *json) {
    fake_say(peer, AMBP_END, peer->subscribe_id, json, strlen(json), 0);
}

void fake_answer(struct fake_peer *peer, uint8_t until) {
    for (;;) {
        const char *answer;

        fake_receive(peer);
        if (peer->heard.type == 0 || peer->heard.type == until) {
            return;
        }
        answer = peer->heard.type == AMBP_ADVANCE ? peer->text : "{}";
        fake_say(peer, AMBP_REPLY, peer->heard.request_id, answer, strlen(answer), 0);
    }
}

static void *fake_run(void *argument) {
    struct fake_daemon *fake = argument;

    for (size_t i = 0; i < fake->n_talks; i++) {
        struct fake_peer *peer = calloc(1, sizeof *peer);

        *peer = (struct fake_peer){.fake = fake, .i_talk = i, .memory = -1, .fd = accept4(fake->listener, NULL, NULL, SOCK_CLOEXEC)};
        if (peer->fd >= 0) {
            fake->talks[i](peer);
            close(peer->fd);
        }
        if (peer->memory >= 0) {
            close(peer->memory);
        }
        free(peer);
    }
    return NULL;
}

struct fake_daemon *fake_start(const fake_talk *talks, size_t n_talks, const void *context) {
    struct fake_daemon *fake = malloc(sizeof *fake);
    struct sockaddr_un name = {.sun_family = AF_UNIX};

    assert_true(fake != NULL && n_talks <= FAKE_TALKS_MAX);
    *fake = (struct fake_daemon){.folder = "/tmp/fake-daemon-XXXXXX", .talks = talks, .n_talks = n_talks, .context = context};
    assert_non_null(mkdtemp(fake->folder));
    snprintf(fake->address, sizeof fake->address, "%s/s", fake->folder);
    snprintf(name.sun_path, sizeof name.sun_path, "%s", fake->address);
    fake->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fake->listener, (struct sockaddr *)&name, sizeof name), 0);
    assert_int_equal(listen(fake->listener, 4), 0);
    assert_int_equal(sem_init(&fake->go, 0, 0) | sem_init(&fake->gone, 0, 0), 0);
    assert_int_equal(pthread_create(&fake->thread, NULL, fake_run, fake), 0);
    return fake;
}

void fake_stop(struct fake_daemon *fake) {
    if (fake->listener < 0) {
        return;
    }
    shutdown(fake->listener, SHUT_RDWR); /* who waits for a client that does not come */
    pthread_join(fake->thread, NULL);
    close(fake->listener);
    fake->listener = -1;
    sem_destroy(&fake->go);
    sem_destroy(&fake->gone);
    unlink(fake->address);
    rmdir(fake->folder);
    assert_string_equal(fake->wrong, "");
}

void fake_free(struct fake_daemon *fake) {
    fake_stop(fake);
    free(fake);
}

static void fake_notice(void *context, const char *message) {
    (void)context;
    (void)message;
}

struct ambient_client *fake_meet(const struct fake_daemon *fake, bool reconnect) {
    static const char *const fields[] = {"x_t", "key"};
    struct ambient_stream_options options = AMBIENT_STREAM_OPTIONS_INIT;
    struct ambient_client *client = NULL;
    struct ambient_error err;

    options.fields = fields;
    options.n_fields = 2;
    options.batch_size = 2;
    options.follow = 0;
    options.reconnect = reconnect;
    options.reconnect_timeout_s = 5;
    options.notice = fake_notice;
    assert_ok(ambient_connect(&client, fake->address, &err), err);
    assert_ok(ambient_subscribe(client, &options, &err), err);
    return client;
}
