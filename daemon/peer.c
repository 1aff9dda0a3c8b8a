/*
 * Peer: SO_PEERPIDFD names the process that called connect(), whoever holds the socket now.
 *
 * A forked child keeps the socket of its dead parent open, so the end of the connection alone does not tell
 * that a trainer is gone. The pidfd is opened for the question and closed again: one kept for each session
 * would double what connections cost of RLIMIT_NOFILE.
 */
#include "daemon/peer.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/cleanup.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5 */
#endif

enum ambd_peer_state ambd_peer_get(int fd) {
    AMB_CLEANUP(amb_fd_closep) int pidfd = -1;
    socklen_t bytes = sizeof pidfd;
    struct pollfd poll_one = {.events = POLLIN};

    if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &bytes) < 0) {
        pidfd = -1;
        /* of a process that was waited for: EINVAL before 6.16, ESRCH since */
        return errno == EINVAL || errno == ESRCH ? AMBD_PEER_GONE : AMBD_PEER_UNKNOWN;
    }
    poll_one.fd = pidfd;
    if (poll(&poll_one, 1, 0) < 0) {
        return AMBD_PEER_UNKNOWN;
    }
    return poll_one.revents != 0 ? AMBD_PEER_GONE : AMBD_PEER_ALIVE;
}
