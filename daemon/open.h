#pragma once
/* Open: the datasets of a configuration, opened at start, with what was found told to people. */
#include <stdio.h>

#include "daemon/server.h"

/* Codec limits, cache, number of workers and every dataset of server->config. Thread: loop, at start; blocks.
 */
int ambd_open_datasets(struct ambd_server *server, struct amb_error *err);
void ambd_close_datasets(struct ambd_server *server); /* idempotent */

/* Tell what was found in the edition that a dataset serves. Thread: loop. */
void ambd_open_log(const struct ambd_dataset *dataset, uint64_t began_ns);

/* What --check shows. */
void ambd_print_datasets(const struct ambd_server *server, FILE *out);
