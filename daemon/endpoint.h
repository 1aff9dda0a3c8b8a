#pragma once
/* Endpoint: the listening socket: its path, its lock, its folder. */
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"

#define AMBD_SOCKET_PATH_MAX  107u /* sun_path of Linux, less the terminator */
#define AMBD_ENDPOINT_FDS_MAX 8u   /* sockets of one .socket unit; not tuned */

struct ambd_endpoint {
    int fds[AMBD_ENDPOINT_FDS_MAX]; /* listening, the first one at `path` */
    unsigned n_fds;
    bool inherited; /* from the service manager, whose names they stay */
    bool made_folder;
    int lock_fd;
    char path[AMBD_SOCKET_PATH_MAX + 1];
    dev_t dev; /* of the bound socket: unlink only that one */
    ino_t ino;
};
#define AMBD_ENDPOINT_NULL ((struct ambd_endpoint){.lock_fd = -1})

/* The path where nobody named one: in $RUNTIME_DIRECTORY, $XDG_RUNTIME_DIR/ambientd/, /run/ambientd/ or
 * /tmp/ambientd-UID/. */
int ambd_endpoint_default(char *out, size_t bytes, struct amb_error *err);

/**
 * Make the folder (mode 0700) if it is missing and take PATH.lock for life. Of an inherited socket the folder may be
 * closed to us; then nobody who runs as we do can replace the socket either, and there is no lock.
 *
 * Errors: AMB_ERR_CONFIG path longer than 107 bytes; AMB_ERR_BUSY another daemon holds the lock (with its
 * pid); AMB_ERR_DENIED the folder is somebody else's; -E... of the system calls. Thread: loop, at start.
 */
int ambd_endpoint_lock(struct ambd_endpoint *endpoint, const char *path, struct amb_error *err);

/* Remove a stale socket of ours, bind (0600, or 0660 with `group`) and listen. Under the lock. Inherited sockets
 * listen already. */
int ambd_endpoint_listen(struct ambd_endpoint *endpoint, const char *group, struct amb_error *err);

/* Unlink the socket, if it is still the one bound here and not inherited, and close. Idempotent. */
void ambd_endpoint_close(struct ambd_endpoint *endpoint);

/**
 * Take DIR/lock for life; the folder is made (mode 0700) if it is missing.
 *
 * Returns: the fd, AMB_ERR_BUSY with the pid that holds it, or -E...
 */
int ambd_lock_open(const char *path, const char *what, struct amb_error *err);

/* mkdir -p with mode 0700 for what is missing. */
int ambd_folder_make(const char *path, struct amb_error *err);
