#pragma once
/* Loop: a libuv loop that does not abort the process for want of memory or descriptors. */
#include <uv.h>

#include "base/error.h"

/**
 * Make a loop whose table of descriptors need not grow later.
 *
 * room:   a handle of the loop, closing when this returns.
 * Errors: -EMFILE, -ENOMEM: there is no loop then. Where libuv aborts, the process ends with exit status 1 and a message.
 * Thread: loop, at start.
 */
int ambd_loop_init(uv_loop_t *loop, uv_poll_t *room, struct amb_error *err);
