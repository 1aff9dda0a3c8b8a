#pragma once
/* Watch: what is asked of every session once a second. */
#include <stdint.h>

#include "daemon/server.h"

/* Close the sessions that hold a slot too long, do not read, or whose process is gone. Thread: loop. */
void ambd_watch_tick(struct ambd_server *server, uint64_t now_ns);
