#pragma once
/* Queries: what sessions ask and tell beyond streams (proto/README.md section 3). */
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
int ambd_query_annotations(struct ambd_session *session, uint32_t id, const cJSON *json, struct amb_error *err);
int ambd_query_curve(struct ambd_session *session, uint32_t id, const cJSON *json, struct amb_error *err);
int ambd_query_stats(struct ambd_session *session, uint32_t id, const cJSON *json, struct amb_error *err);
int ambd_query_pictures(struct ambd_session *session, uint32_t id, const cJSON *json, struct amb_error *err);
int ambd_query_jobs(struct ambd_session *session, uint32_t id, const cJSON *json, struct amb_error *err);
int ambd_query_watch(struct ambd_session *session, uint32_t id, const cJSON *json, struct amb_error *err);
int ambd_query_verify(struct ambd_session *session, uint32_t id, const cJSON *json, struct amb_error *err);
int ambd_query_annotate(struct ambd_session *session, uint32_t id, const cJSON *json, struct amb_error *err);
int ambd_query_job(struct ambd_session *session, uint32_t id, const cJSON *json, struct amb_error *err);
int ambd_query_mint(struct ambd_session *session, uint32_t id, const cJSON *json, struct amb_error *err);
int ambd_query_export(struct ambd_session *session, uint32_t id, const cJSON *json, struct amb_error *err);
int ambd_query_merge(struct ambd_session *session, uint32_t id, const cJSON *json, struct amb_error *err);

/* Send an EVENT to every watcher for whom something changed and who reads. Thread: loop. */
void ambd_events_tick(struct ambd_server *server);
