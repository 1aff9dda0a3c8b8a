/*
 * Connection: connect, greet, and move whole frames over one blocking socket.
 *
 * A signal in the middle of a read or write resumes it (EINTR), so a frame is never torn. The header is checked
 * before its payload is read. After a transport error the connection is of no use and every call says so again,
 * unless a stream may be resumed on another (resume.c).
 */
#include "clients/c/connection.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"

int client_fail(struct ambient_error *err, int code, const char *fmt, ...) {
    va_list args;

    if (err == NULL) {
        return code;
    }
    err->code = code;
    snprintf(err->name, sizeof err->name, "%s", amb_error_name(code));
    va_start(args, fmt);
    vsnprintf(err->message, sizeof err->message, fmt, args);
    va_end(args);
    return code;
}

int client_fail_from(struct ambient_error *err, const struct amb_error *from) {
    return client_fail(err, from->code, "%s", from->message);
}

int client_fail_json(struct ambient_error *err, const uint8_t *payload, size_t bytes) {
    AMB_CLEANUP(ambp_json_deletep) cJSON *json = NULL;
    struct amb_error bad = AMB_ERROR_NULL;
    const char *message = "no message", *name = NULL;
    double number = 0;
    int code;

    if (ambp_json_decode(&json, (const char *)payload, bytes, AMBP_JSON_DEPTH_MAX, &bad) < 0) {
        return client_fail_from(err, &bad);
    }
    (void)ambp_json_get_string(&message, json, "message", false, NULL);
    (void)ambp_json_get_string(&name, json, "code", false, NULL);
    (void)ambp_json_get_f64(&number, json, "errno", false, NULL);
    code = number <= -1 && number > -100000 ? (int)number : AMB_ERR_PROTOCOL; /* 0 would be a success */
    client_fail(err, code, "%s", message);
    if (err != NULL && name != NULL) {
        snprintf(err->name, sizeof err->name, "%s", name);
    }
    return code;
}

int connection_send(struct ambient_client *client, uint8_t type, uint32_t request_id, const void *payload,
                    size_t bytes, struct ambient_error *err) {
    uint8_t header[AMBP_HEADER_BYTES];
    struct iovec parts[2] = {{header, sizeof header}, {(void *)(uintptr_t)payload, bytes}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    size_t left = sizeof header + bytes;

    if (bytes > AMBP_PAYLOAD_BYTES_MAX) {
        return client_fail(err, AMB_ERR_LIMIT, "a request of %zu bytes, limit %u", bytes, AMBP_PAYLOAD_BYTES_MAX);
    }
    ambp_header_encode(header, &(struct ambp_header){.version = AMBP_VERSION,
                                                     .type = type,
                                                     .length = (uint32_t)bytes,
                                                     .request_id = request_id});
    while (left > 0) {
        ssize_t n = sendmsg(client->fd, &message, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return client_fail(err, -errno, "the daemon is gone: %s", strerror(errno));
        }
        left -= (size_t)n;
        for (size_t i = 0; i < 2; i++) {
            size_t step = (size_t)n < parts[i].iov_len ? (size_t)n : parts[i].iov_len;

            parts[i].iov_base = (uint8_t *)parts[i].iov_base + step;
            parts[i].iov_len -= step;
            n -= (ssize_t)step;
        }
    }
    return 0;
}

/* Keep the first descriptor that comes where one is waited for, and close every other. */
static void connection_take_fds(struct msghdr *message, int *fd) {
    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(message); cmsg != NULL; cmsg = CMSG_NXTHDR(message, cmsg)) {
        bool carries = cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_RIGHTS;
        size_t n = carries ? (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int) : 0;

        for (size_t i = 0; i < n; i++) {
            int received;

            memcpy(&received, CMSG_DATA(cmsg) + i * sizeof received, sizeof received);
            if (fd != NULL && *fd < 0) {
                *fd = received;
            } else {
                close(received);
            }
        }
    }
}

static int connection_read(struct ambient_client *client, uint8_t *out, size_t n, int *fd,
                           struct ambient_error *err) {
    while (n > 0) {
        union {
            struct cmsghdr align;
            char bytes[CMSG_SPACE(sizeof(int))]; /* as it is padded, room for two */
        } control;
        struct iovec part = {out, n};
        struct msghdr message = {.msg_iov = &part,
                                 .msg_iovlen = 1,
                                 .msg_control = control.bytes,
                                 .msg_controllen = sizeof control.bytes};
        ssize_t got = recvmsg(client->fd, &message, MSG_CMSG_CLOEXEC);

        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            client->lost = true;
        }
        if (got < 0) {
            return client_fail(err, -errno, errno == EAGAIN ? "the daemon takes connections and does not answer"
                                                            : "the daemon is gone: %s",
                               strerror(errno));
        }
        if (got == 0) {
            return client_fail(err, -ECONNRESET, "the daemon closed the connection");
        }
        connection_take_fds(&message, fd);
        out += got;
        n -= (size_t)got;
    }
    return 0;
}

int connection_receive(struct ambp_header *out, struct ambient_client *client, int *fd, struct ambient_error *err) {
    uint8_t bytes[AMBP_HEADER_BYTES];
    struct amb_error bad = AMB_ERROR_NULL;
    int r = connection_read(client, bytes, sizeof bytes, fd, err);

    if (r < 0) {
        return r;
    }
    if (ambp_header_decode(out, bytes, &bad) < 0) {
        return client_fail_from(err, &bad);
    }
    r = amb_buf_reserve(&client->payload, out->length);
    if (r < 0) {
        return client_fail(err, r, "no memory for a frame of %u bytes", out->length);
    }
    return connection_read(client, client->payload.data, out->length, fd, err);
}

/* The address that the caller left out: as the daemon chooses it. */
static void connection_default(char *out, size_t out_bytes) {
    const char *given = getenv("AMBIENTD_SOCKET"), *runtime = getenv("XDG_RUNTIME_DIR");

    if (given != NULL && given[0] != '\0') {
        snprintf(out, out_bytes, "%s", given);
    } else if (runtime != NULL && runtime[0] != '\0') {
        snprintf(out, out_bytes, "%s/ambientd/ambientd.sock", runtime);
    } else if (getuid() == 0) {
        snprintf(out, out_bytes, "/run/ambientd/ambientd.sock");
    } else {
        snprintf(out, out_bytes, "/tmp/ambientd-%u/ambientd.sock", (unsigned)getuid());
    }
}

static struct timeval connection_timeval(double seconds) {
    return (struct timeval){.tv_sec = (time_t)seconds, .tv_usec = (suseconds_t)(1e6 * (seconds - floor(seconds)))};
}

void connection_set_timeout(struct ambient_client *client, double seconds) {
    struct timeval value = connection_timeval(seconds);

    setsockopt(client->fd, SOL_SOCKET, SO_RCVTIMEO, &value, sizeof value);
    setsockopt(client->fd, SOL_SOCKET, SO_SNDTIMEO, &value, sizeof value);
}

bool connection_ready(const struct ambient_client *client) {
    struct pollfd poll_fd = {.fd = client->fd, .events = POLLIN};

    return poll(&poll_fd, 1, 0) > 0;
}

static int connection_dial(struct ambient_client *client, double seconds, struct ambient_error *err) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    const char *address = client->address;

    if (strlen(address) >= sizeof name.sun_path) {
        return client_fail(err, -ENAMETOOLONG, "socket path of %zu bytes, at most %zu: %s", strlen(address),
                           sizeof name.sun_path - 1, address);
    }
    memcpy(name.sun_path, address, strlen(address) + 1);
    client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (client->fd < 0) {
        client->lost = true;
        return client_fail(err, -errno, "no socket: %s", strerror(errno));
    }
    connection_set_timeout(client, seconds);
    if (connect(client->fd, (struct sockaddr *)&name, sizeof name) < 0) {
        client->lost = true;
        return client_fail(err, -errno,
                           "no daemon at %s: %s; start one with `ambientd serve`, or name its socket by "
                           "AMBIENTD_SOCKET",
                           address, strerror(errno));
    }
    return 0;
}

static int connection_greet(struct ambient_client *client, struct ambient_error *err) {
    static const char hello[] = "{\"min\":1,\"max\":1,\"client\":\"libambient-client/" AMB_VERSION
                                "\",\"features\":[\"fd\"]}";
    AMB_CLEANUP(ambp_json_deletep) cJSON *json = NULL;
    struct amb_error bad = AMB_ERROR_NULL;
    struct ambp_header header;
    const char *server = "";
    int r;

    /* Whoever refuses a connection says why and closes it: what can be read counts, not whether HELLO still left. */
    (void)connection_send(client, AMBP_HELLO, client->next_id++, hello, sizeof hello - 1, NULL);
    r = connection_receive(&header, client, NULL, err);
    if (r < 0) {
        return r;
    }
    if (header.type == AMBP_ERROR) {
        return client_fail_json(err, client->payload.data, header.length);
    }
    if (header.type != AMBP_WELCOME) {
        return client_fail(err, AMB_ERR_PROTOCOL, "HELLO answered by %s", ambp_type_name(header.type));
    }
    if (ambp_json_decode(&json, (const char *)client->payload.data, header.length, AMBP_JSON_DEPTH_MAX, &bad) < 0) {
        return client_fail_from(err, &bad);
    }
    (void)ambp_json_get_string(&server, json, "server", false, NULL);
    snprintf(client->server, sizeof client->server, "%s", server);
    return 0;
}

int connection_open(struct ambient_client *client, double seconds, struct ambient_error *err) {
    int r;

    connection_close(client);
    client->lost = false;
    r = connection_dial(client, seconds, err);
    return r < 0 ? r : connection_greet(client, err);
}

void connection_close(struct ambient_client *client) {
    if (client->fd >= 0) {
        close(client->fd);
        client->fd = -1;
    }
}

int ambient_connect(struct ambient_client **out, const char *address, struct ambient_error *err) {
    struct ambient_client *client = amb_calloc(1, sizeof *client);
    char path[512];
    int r;

    if (client == NULL) {
        return client_fail(err, -ENOMEM, "no memory for a client");
    }
    client->fd = -1;
    client->next_id = 1;
    client->end_step = UINT64_MAX;
    if (address == NULL) {
        connection_default(path, sizeof path);
        address = path;
    }
    client->address = amb_strdup(address);
    r = client->address == NULL ? client_fail(err, -ENOMEM, "no memory for a client") : connection_open(client, 0, err);
    if (r < 0) {
        ambient_disconnect(client);
        return r;
    }
    *out = client;
    return 0;
}

void ambient_disconnect(struct ambient_client *client) {
    struct client_slab *older;

    if (client == NULL) {
        return;
    }
    connection_close(client);
    for (; client->slab != NULL; client->slab = older) {
        older = client->slab->older;
        slab_close(client->slab);
    }
    cJSON_Delete(client->request);
    cJSON_Delete(client->advances);
    amb_buf_deinit(&client->state);
    amb_buf_deinit(&client->payload);
    amb_buf_deinit(&client->reply);
    amb_buf_deinit(&client->error);
    amb_free(client->address);
    amb_free(client);
}

const char *ambient_server(const struct ambient_client *client) {
    return client->server;
}

void ambient_free(void *p) {
    amb_free(p);
}
