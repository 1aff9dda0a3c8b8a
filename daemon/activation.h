#pragma once
/* Activation: listening sockets that the service manager has opened for us (sd_listen_fds(3)). */
#include "base/error.h"
#include "daemon/endpoint.h"

/**
 * Take the sockets that LISTEN_PID and LISTEN_FDS name, in their order; forget those variables.
 *
 * The first one's path becomes the endpoint's. Where the variables are not there, or are for another process,
 * the endpoint stays as it is.
 *
 * Errors: AMB_ERR_CONFIG what was passed is no listening Unix stream socket with a path, or there are too many.
 * Thread: loop, at start.
 */
int ambd_activation_take(struct ambd_endpoint *endpoint, struct amb_error *err);
