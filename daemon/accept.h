#pragma once
/* Accept: who may connect: by uid, by number, by what file descriptors are left. */
#include "daemon/server.h"

int ambd_accept_start(struct ambd_server *server, struct amb_error *err); /* Thread: loop. */
void ambd_accept_stop(struct ambd_server *server);                        /* idempotent */
