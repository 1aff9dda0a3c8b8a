#pragma once
/* Reload: the next generation of every dataset, built beside the one that serves, and adopted or refused as a whole. */
#include <stdbool.h>
#include <stdint.h>

#include <cjson/cJSON.h>

#include "base/error.h"
#include "daemon/server.h"

struct ambd_session;

/**
 * Read the configuration, the shards and the annotations anew.
 *
 * One reload runs at a time; whoever asks while one runs gets the next, since that one may have looked too early.
 * session: answered when it is done, its request is `id`; NULL: nobody is. check: look, and change nothing.
 * Thread: loop.
 */
void ambd_reload_push(struct ambd_server *server, struct ambd_session *session, uint32_t id, bool check);

/* RELOAD. Thread: loop. */
int ambd_query_reload(struct ambd_session *session, uint32_t id, const cJSON *json, struct amb_error *err);

/* Those that wait are not begun any more; true once none runs. Thread: loop. */
bool ambd_reload_stop(struct ambd_server *server);

/* {"check","shards","shards_done","seconds"} of the one that runs, or null. Thread: loop. */
cJSON *ambd_reload_encode(const struct ambd_server *server);
