/*
 * Link: a length that lies costs nothing, a reader that sleeps costs at most out_bytes_max.
 *
 * Reading stops at the end of each frame, so whoever does not want the next one simply does not read: the
 * kernel's socket buffer is the only queue in. fds that a client sends are dropped by the kernel, since
 * recv() has no room for control data.
 *
 * Not here: when to read (session.c) and what frames mean.
 */
#include "daemon/link.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void ambd_link_init(struct ambd_link *link, int fd, size_t payload_bytes_max, size_t out_bytes_max) {
    *link = (struct ambd_link){
        .fd = fd, .payload_bytes_max = payload_bytes_max, .out_bytes_max = out_bytes_max, .fd_to_send = -1};
}

void ambd_link_deinit(struct ambd_link *link) {
    if (link->fd >= 0) {
        close(link->fd);
        link->fd = -1;
    }
    amb_buf_deinit(&link->payload);
    amb_buf_deinit(&link->out);
}

/* Receive up to `bytes`; n received, 0 the peer closed, AMBD_LINK_E_AGAIN as -EAGAIN, or -E... */
static ssize_t link_receive(struct ambd_link *link, void *data, size_t bytes) {
    ssize_t n;

    do {
        n = recv(link->fd, data, bytes, MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    return n >= 0 ? n : errno == EWOULDBLOCK ? -EAGAIN : -errno;
}

static int link_outcome(ssize_t n, struct amb_error *err) {
    if (n == 0) {
        return AMBD_LINK_E_END;
    }
    return n == -EAGAIN ? AMBD_LINK_E_AGAIN
                        : amb_fail(err, (int)n, "reading from the client: %s", strerror((int)-n));
}

static int link_begin_payload(struct ambd_link *link, struct amb_error *err) {
    int r = ambp_header_decode(&link->header, link->header_bytes, err);

    if (r < 0) {
        return r;
    }
    if (link->header.length > link->payload_bytes_max) {
        return amb_fail(err, AMB_ERR_LIMIT, "%s frame of %u bytes, limit %zu",
                        ambp_type_name(link->header.type), link->header.length, link->payload_bytes_max);
    }
    if (amb_buf_reserve(&link->payload, link->header.length) < 0) {
        return amb_fail(err, -ENOMEM, "no memory for a frame of %u bytes", link->header.length);
    }
    link->n_payload = 0;
    return 0;
}

int ambd_link_read(struct ambd_link *link, struct amb_error *err) {
    ssize_t n;
    int r;

    while (link->n_header < AMBP_HEADER_BYTES) {
        n = link_receive(link, link->header_bytes + link->n_header, AMBP_HEADER_BYTES - link->n_header);
        if (n <= 0) {
            return link_outcome(n, err);
        }
        link->n_header += (size_t)n;
        r = link->n_header == AMBP_HEADER_BYTES ? link_begin_payload(link, err) : 0;
        if (r < 0) {
            return r;
        }
    }
    while (link->n_payload < link->header.length) {
        n = link_receive(link, link->payload.data + link->n_payload, link->header.length - link->n_payload);
        if (n <= 0) {
            return link_outcome(n, err);
        }
        link->n_payload += (size_t)n;
    }
    link->n_header = 0;
    return AMBD_LINK_E_FRAME;
}

/* Room at the end of the queue; what was sent already is moved out first. */
static int link_make_room(struct ambd_link *link, size_t bytes, struct amb_error *err) {
    size_t queued = ambd_link_queued(link);

    if (bytes > link->out_bytes_max || queued > link->out_bytes_max - bytes) {
        return amb_fail(err, AMB_ERR_LIMIT, "%zu bytes queued for a client that does not read, limit %zu",
                        queued + bytes, link->out_bytes_max);
    }
    if (link->n_sent > 0) {
        memmove(link->out.data, link->out.data + link->n_sent, queued);
        link->fd_offset -= link->fd_to_send >= 0 ? link->n_sent : 0;
        link->out.n_bytes = queued;
        link->n_sent = 0;
    }
    if (amb_buf_grow(&link->out, queued + bytes) < 0) {
        return amb_fail(err, -ENOMEM, "no memory to queue %zu bytes", bytes);
    }
    return 0;
}

int ambd_link_push(struct ambd_link *link, const struct ambp_header *header, const void *a, size_t a_bytes,
                   const void *b, size_t b_bytes, int fd, struct amb_error *err) {
    size_t bytes = AMBP_HEADER_BYTES + a_bytes + b_bytes;
    int r = link_make_room(link, bytes, err);
    uint8_t *p;

    if (r < 0) {
        return r;
    }
    p = link->out.data + link->out.n_bytes;
    if (fd >= 0) {
        link->fd_to_send = fd;
        link->fd_offset = link->out.n_bytes;
    }
    ambp_header_encode(p, header);
    if (a_bytes > 0) {
        memcpy(p + AMBP_HEADER_BYTES, a, a_bytes);
    }
    if (b_bytes > 0) {
        memcpy(p + AMBP_HEADER_BYTES + a_bytes, b, b_bytes);
    }
    link->out.n_bytes += bytes;
    return ambd_link_flush(link, err);
}

static ssize_t link_send(struct ambd_link *link) {
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {{0}};
    bool with_fd = link->fd_to_send >= 0 && link->fd_offset == link->n_sent;
    size_t end = link->fd_to_send >= 0 && !with_fd ? link->fd_offset : link->out.n_bytes;
    struct iovec part = {link->out.data + link->n_sent, end - link->n_sent};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    ssize_t n;

    if (with_fd) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control.bytes;
        *CMSG_FIRSTHDR(&message) = (struct cmsghdr){
            .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(CMSG_FIRSTHDR(&message)), &link->fd_to_send, sizeof(int));
    }
    do {
        n = sendmsg(link->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n > 0 && with_fd) {
        link->fd_to_send = -1;
    }
    return n >= 0 ? n : errno == EWOULDBLOCK ? -EAGAIN : -errno;
}

int ambd_link_flush(struct ambd_link *link, struct amb_error *err) {
    while (ambd_link_queued(link) > 0) {
        ssize_t n = link_send(link);

        if (n == -EAGAIN) {
            return 0;
        }
        if (n < 0) {
            return amb_fail(err, (int)n, "writing to the client: %s", strerror((int)-n));
        }
        link->n_sent += (size_t)n;
    }
    link->out.n_bytes = link->n_sent = 0;
    return 0;
}
