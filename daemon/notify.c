/*
 * Notify: one datagram to the path or abstract name in NOTIFY_SOCKET, as sd_notify(3) documents the protocol.
 *
 * Failure is not an error of ours: the service manager notices a missing READY=1 by itself.
 */
#include "daemon/notify.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"

void ambd_notify(const char *text) {
    AMB_CLEANUP(amb_fd_closep) int fd = -1;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    /* a full queue empties in a moment, and a lost READY=1 would be a failed start */
    const struct timeval patience = {.tv_sec = 1};
    const char *path = getenv("NOTIFY_SOCKET");
    ssize_t sent;
    size_t n;

    if (path == NULL || (path[0] != '/' && path[0] != '@')) {
        return;
    }
    n = strlen(path);
    if (n >= sizeof address.sun_path) {
        return;
    }
    memcpy(address.sun_path, path, n);
    if (path[0] == '@') {
        address.sun_path[0] = '\0';
    }
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) < 0) {
        return;
    }
    do { /* a call with a time limit is not restarted behind a signal */
        sent = sendto(fd, text, strlen(text), MSG_NOSIGNAL, (const struct sockaddr *)&address,
                      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + (path[0] == '/')));
    } while (sent < 0 && errno == EINTR);
}

/* The time is what Type=notify-reload asks for: it tells this reload from an earlier one. */
void ambd_notify_reloading(void) {
    struct timespec now;
    char text[64];

    clock_gettime(CLOCK_MONOTONIC, &now);
    snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
             (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
    ambd_notify(text);
}

uint64_t ambd_notify_watchdog_ns(void) {
    const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");

    if (usec == NULL || (pid != NULL && strtoll(pid, NULL, 10) != getpid())) {
        return 0;
    }
    return strtoull(usec, NULL, 10) * 1000;
}
