/*
 * Activation: the protocol of sd_listen_fds(3), by hand: LISTEN_FDS descriptors from 3 on, for LISTEN_PID alone.
 *
 * Whoever opened a socket owns its name: an inherited one is never unlinked, its mode and group never changed,
 * so that connections made while no daemon runs wait for the next one. All that are passed are served alike;
 * LISTEN_FDNAMES only says in messages which is which.
 */
#include "daemon/activation.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/log.h"

#define ACTIVATION_FD_FIRST  3 /* SD_LISTEN_FDS_START */
#define ACTIVATION_NAME_SIZE 64u

/* The i-th of the names with colons between; "" where there are not so many. */
static void activation_name(char *out, const char *names, unsigned i) {
    size_t n;

    for (; names != NULL && i > 0; i--) {
        names = strchr(names, ':');
        names = names != NULL ? names + 1 : NULL;
    }
    n = names != NULL ? strcspn(names, ":") : 0;
    snprintf(out, ACTIVATION_NAME_SIZE, "%.*s", (int)n, names != NULL ? names : "");
}

static int activation_option(int fd, int option) {
    int value = -1;
    socklen_t bytes = sizeof value;

    return getsockopt(fd, SOL_SOCKET, option, &value, &bytes) < 0 ? -1 : value;
}

/* The path that a listening Unix stream socket is bound to; false: it is something else. */
static bool activation_path(char *out, int fd) {
    struct sockaddr_un address = {0};
    socklen_t bytes = sizeof address - 1; /* so that a path is terminated */

    if (activation_option(fd, SO_DOMAIN) != AF_UNIX || activation_option(fd, SO_TYPE) != SOCK_STREAM ||
        activation_option(fd, SO_ACCEPTCONN) != 1 ||
        getsockname(fd, (struct sockaddr *)&address, &bytes) < 0 || address.sun_path[0] != '/') {
        return false;
    }
    snprintf(out, AMBD_SOCKET_PATH_MAX + 1, "%s", address.sun_path);
    return true;
}

static int activation_take_one(struct ambd_endpoint *endpoint, int fd, const char *name,
                               struct amb_error *err) {
    char path[AMBD_SOCKET_PATH_MAX + 1];
    int flags = fcntl(fd, F_GETFL);

    if (!activation_path(path, fd)) {
        return amb_fail(err, AMB_ERR_CONFIG,
                        "LISTEN_FDS: descriptor %d ('%s') is no listening Unix stream socket with a path; "
                        "allowed in the .socket unit: ListenStream=/PATH",
                        fd, name);
    }
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) {
        return amb_fail(err, -errno, "LISTEN_FDS: descriptor %d ('%s'): %s", fd, name, strerror(errno));
    }
    if (endpoint->n_fds == 0) {
        memcpy(endpoint->path, path, sizeof path);
    }
    endpoint->fds[endpoint->n_fds++] = fd;
    ambd_log(AMBD_INFO, "socket.inherited fd=%d name=\"%s\" path=%s", fd, name, path);
    return 0;
}

int ambd_activation_take(struct ambd_endpoint *endpoint, struct amb_error *err) {
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS"), *names = getenv("LISTEN_FDNAMES");
    char name[ACTIVATION_NAME_SIZE];
    char *end;
    long n;
    int r = 0;

    if (pid == NULL || count == NULL || strtol(pid, NULL, 10) != getpid()) {
        return 0;
    }
    n = strtol(count, &end, 10);
    if (end == count || *end != '\0' || n < 1 || n > (long)AMBD_ENDPOINT_FDS_MAX) {
        return amb_fail(err, AMB_ERR_CONFIG, "LISTEN_FDS is '%.32s', allowed: 1 to %u sockets", count,
                        AMBD_ENDPOINT_FDS_MAX);
    }
    for (unsigned i = 0; i < (unsigned)n && r == 0; i++) {
        activation_name(name, names, i);
        r = activation_take_one(endpoint, ACTIVATION_FD_FIRST + (int)i, name, err);
    }
    endpoint->inherited = r == 0;
    unsetenv("LISTEN_PID"); /* children are not the ones that are meant */
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    return r;
}
