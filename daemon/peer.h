#pragma once
/* Peer: whether the process that made a connection still lives. */

enum ambd_peer_state {
    AMBD_PEER_UNKNOWN, /* the kernel cannot say: before Linux 6.5, or out of descriptors */
    AMBD_PEER_ALIVE,
    AMBD_PEER_GONE,
};

/* Ask about the other end of a connected Unix socket. Holds no descriptor afterwards. Thread: any. */
enum ambd_peer_state ambd_peer_get(int fd);
