#pragma once
/* Queries: answers of STATUS, LIST, SAMPLE, COVERAGE, QUARANTINE, GENERATIONS and IMPORT (proto/README.md
 * section 3). */
#include "daemon/session.h"

/*
 * Each either answers at once or makes the session busy and answers when a desk has done the work. On error
 * nothing was answered. Thread: loop.
 */
int ambd_query_status(struct ambd_session *session, uint32_t id, const cJSON *json, struct amb_error *err);
int ambd_query_list(struct ambd_session *session, uint32_t id, const cJSON *json, struct amb_error *err);
int ambd_query_sample(struct ambd_session *session, uint32_t id, const cJSON *json, struct amb_error *err);
int ambd_query_coverage(struct ambd_session *session, uint32_t id, const cJSON *json, struct amb_error *err);
int ambd_query_quarantine(struct ambd_session *session, uint32_t id, const cJSON *json,
                          struct amb_error *err);
int ambd_query_generations(struct ambd_session *session, uint32_t id, const cJSON *json,
                           struct amb_error *err);
int ambd_query_import(struct ambd_session *session, uint32_t id, const cJSON *json, struct amb_error *err);
