/* Frames over a socket pair: what is queued, bounded, checked, and where an fd goes. */
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/test.h"
#include "daemon/link.h"

#define QUEUE_BYTES 200000u

struct pair {
    struct ambd_link link;
    int peer;
};

static void pair_open(struct pair *pair) {
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    ambd_link_init(&pair->link, fds[0], AMBP_PAYLOAD_BYTES_MAX, QUEUE_BYTES);
    pair->peer = fds[1];
}

static void pair_close(struct pair *pair) {
    ambd_link_deinit(&pair->link);
    ambd_link_deinit(&pair->link);
    close(pair->peer);
}

static struct ambp_header header_of(size_t bytes, uint32_t id) {
    return (struct ambp_header){
        .version = AMBP_VERSION, .type = AMBP_REPLY, .length = (uint32_t)bytes, .request_id = id};
}

/* Fill the socket until something stays queued. */
static void pair_clog(struct pair *pair) {
    static const uint8_t zeros[4096];
    struct ambp_header header = header_of(sizeof zeros, 1);
    struct amb_error err;

    while (ambd_link_queued(&pair->link) == 0) {
        assert_ok(ambd_link_push(&pair->link, &header, zeros, sizeof zeros, NULL, 0, -1, &err), err);
    }
}

TEST(queue_takes_exactly_its_limit) {
    /* A clogged socket, then one frame that fills the queue to limit - 1, limit, limit + 1. */
    static const uint8_t zeros[QUEUE_BYTES];

    for (int extra = -1; extra <= 1; extra++) {
        struct amb_error err = AMB_ERROR_NULL;
        struct pair pair;
        struct ambp_header header;
        size_t bytes;
        int r;

        pair_open(&pair);
        pair_clog(&pair);
        bytes = (size_t)((long)(QUEUE_BYTES - ambd_link_queued(&pair.link) - AMBP_HEADER_BYTES) + extra);
        header = header_of(bytes, 2);
        r = ambd_link_push(&pair.link, &header, zeros, bytes, NULL, 0, -1, &err);
        if (extra <= 0) {
            assert_ok(r, err);
            assert_int_equal(ambd_link_queued(&pair.link), QUEUE_BYTES + (size_t)extra - 0);
        } else {
            assert_int_equal(r, AMB_ERR_LIMIT);
            assert_non_null(strstr(err.message, "limit 200000"));
        }
        pair_close(&pair);
    }
}

static size_t peer_drain(struct pair *pair, uint8_t *out, size_t bytes) {
    ssize_t n = recv(pair->peer, out, bytes, MSG_DONTWAIT);

    return n > 0 ? (size_t)n : 0;
}

TEST(queued_bytes_arrive_whole_and_in_order) {
    /* Numbered frames through a clogged socket that the peer drains in odd pieces. */
    static uint8_t got[1 << 22];
    struct amb_error err = AMB_ERROR_NULL;
    struct pair pair;
    size_t n_got = 0, n_frames = 300, payload = 600;

    pair_open(&pair);
    for (uint32_t i = 0; i < n_frames; i++) {
        struct ambp_header header = header_of(payload, i + 1);
        uint8_t body[600];

        memset(body, (int)i, sizeof body);
        assert_ok(ambd_link_push(&pair.link, &header, body, 200, body + 200, 400, -1, &err), err);
        if (i % 7 == 0) {
            n_got += peer_drain(&pair, got + n_got, 997);
        }
    }
    while (n_got < n_frames * (payload + AMBP_HEADER_BYTES)) {
        n_got += peer_drain(&pair, got + n_got, 4099);
        assert_ok(ambd_link_flush(&pair.link, &err), err);
    }
    for (size_t i = 0; i < n_frames; i++) {
        const uint8_t *frame = got + i * (payload + AMBP_HEADER_BYTES);
        struct ambp_header header;

        assert_ok(ambp_header_decode(&header, frame, &err), err);
        assert_int_equal(header.request_id, i + 1);
        assert_int_equal(frame[AMBP_HEADER_BYTES], (uint8_t)i);
        assert_int_equal(frame[AMBP_HEADER_BYTES + payload - 1], (uint8_t)i);
    }
    assert_int_equal(ambd_link_queued(&pair.link), 0);
    pair_close(&pair);
}

/* Receive once; the fd that came with it or -1. */
static int peer_receive_fd(struct pair *pair, uint8_t *out, size_t bytes, size_t *n) {
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec part = {out, bytes};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    ssize_t r = recvmsg(pair->peer, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    int fd = -1;

    *n = r > 0 ? (size_t)r : 0;
    if (r > 0 && CMSG_FIRSTHDR(&message) != NULL) {
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
    }
    return fd;
}

TEST(fd_comes_with_the_first_byte_of_its_frame) {
    /* Behind queued bytes: the kernel attaches an fd to the bytes of one sendmsg, so the link must not send
     * the frames before together with it. The peer reads 1,000 bytes at a time; the read that brings the fd
     * must be the one in which its frame begins (it may end an earlier frame). */
    static uint8_t junk[1000];
    uint8_t body[64] = {0};
    struct amb_error err = AMB_ERROR_NULL;
    struct ambp_header header = header_of(sizeof body, 9);
    struct stat sent, got;
    struct pair pair;
    size_t n_before = 0, at, n;
    int fds[2], fd = -1;

    assert_int_equal(pipe2(fds, 0), 0);
    pair_open(&pair);
    pair_clog(&pair);
    assert_ok(ambd_link_push(&pair.link, &header, body, sizeof body, NULL, 0, fds[0], &err), err);
    assert_ok(ambd_link_push(&pair.link, &header, body, sizeof body, NULL, 0, -1, &err), err);
    while (fd < 0) {
        fd = peer_receive_fd(&pair, junk, sizeof junk, &n);
        assert_ok(ambd_link_flush(&pair.link, &err), err);
        n_before += fd < 0 ? n : 0;
    }
    at = (4096 + AMBP_HEADER_BYTES - n_before % (4096 + AMBP_HEADER_BYTES)) % (4096 + AMBP_HEADER_BYTES);
    assert_true(at + AMBP_HEADER_BYTES <= n);
    assert_ok(ambp_header_decode(&header, junk + at, &err), err);
    assert_int_equal(header.request_id, 9);
    assert_int_equal(fstat(fds[0], &sent), 0);
    assert_int_equal(fstat(fd, &got), 0);
    assert_int_equal(sent.st_ino, got.st_ino);
    close(fd);
    close(fds[0]);
    close(fds[1]);
    pair_close(&pair);
}

TEST(frames_are_read_alike_in_any_pieces) {
    /* The same three frames, sent whole and then byte by byte. */
    for (size_t piece = 1; piece <= 200; piece += 199) {
        uint8_t bytes[3 * AMBP_HEADER_BYTES + 60];
        struct amb_error err = AMB_ERROR_NULL;
        struct pair pair;
        size_t n = 0, at = 0;
        uint32_t n_frames = 0;

        for (uint32_t i = 0; i < 3; i++) {
            struct ambp_header header = header_of(30 * i, i + 1);

            if (n + AMBP_HEADER_BYTES + header.length > sizeof bytes) {
                break;
            }
            ambp_header_encode(bytes + n, &header);
            memset(bytes + n + AMBP_HEADER_BYTES, (int)i, header.length);
            n += AMBP_HEADER_BYTES + header.length;
        }
        pair_open(&pair);
        while (at < n) {
            size_t part = n - at < piece ? n - at : piece;
            int r;

            assert_int_equal(send(pair.peer, bytes + at, part, 0), part);
            at += part;
            while ((r = ambd_link_read(&pair.link, &err)) == AMBD_LINK_E_FRAME) {
                n_frames++;
                assert_int_equal(pair.link.header.request_id, n_frames);
                assert_int_equal(pair.link.header.length, 30 * (n_frames - 1));
            }
            assert_int_equal(r, AMBD_LINK_E_AGAIN);
        }
        assert_int_equal(n_frames, 2); /* the third does not fit in `bytes` */
        shutdown(pair.peer, SHUT_WR);
        assert_int_equal(ambd_link_read(&pair.link, &err), AMBD_LINK_E_END);
        pair_close(&pair);
    }
}

TEST(length_that_lies_buffers_nothing) {
    struct ambp_header header = header_of(5000, 1);
    uint8_t bytes[AMBP_HEADER_BYTES];
    struct amb_error err = AMB_ERROR_NULL;
    struct pair pair;

    pair_open(&pair);
    pair.link.payload_bytes_max = 4999;
    ambp_header_encode(bytes, &header);
    assert_int_equal(send(pair.peer, bytes, sizeof bytes, 0), sizeof bytes);
    assert_int_equal(ambd_link_read(&pair.link, &err), AMB_ERR_LIMIT);
    assert_non_null(strstr(err.message, "5000"));
    assert_int_equal(pair.link.payload.capacity_bytes, 0);
    pair_close(&pair);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(queue_takes_exactly_its_limit),
    cmocka_unit_test(queued_bytes_arrive_whole_and_in_order),
    cmocka_unit_test(fd_comes_with_the_first_byte_of_its_frame),
    cmocka_unit_test(frames_are_read_alike_in_any_pieces),
    cmocka_unit_test(length_that_lies_buffers_nothing),
};

TEST_MAIN(tests)
