#pragma once
/* Query: a request that a desk answers. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cjson/cJSON.h>

#include "base/error.h"
#include "daemon/dataset.h"
#include "daemon/desk.h"
#include "daemon/session.h"

struct ambd_query {
    struct ambd_task task;
    struct ambd_session *session;
    uint32_t id;
    struct ambd_dataset *dataset;
    int (*answer)(cJSON *out, struct ambd_query *query, struct amb_error *err); /* Thread: desk. */
    void (*done)(struct ambd_query *query); /* NULL ok; before the answer leaves. Thread: loop. */

    /* what most of them ask */
    int what;
    uint64_t start, count;
    char *name; /* of a sample, or a path; owned */
    bool by_index;
    uint64_t index;
    double *sigmas; /* owned */
    size_t n_sigmas;
    double buffer;
    struct ambd_generation *generation; /* pinned; NULL: none */
    struct ambd_minted minted;

    /* what one of them needs beyond that */
    void *detail;
    void (*detail_free)(void *detail);
    void (*task_done)(struct ambd_task *task); /* of a query that goes over two desks */

    char *text; /* the answer */
    struct amb_error error;
};

/* Check the keys, find the dataset, make the query. NULL: err is set. Thread: loop. */
struct ambd_query *ambd_query_new(struct ambd_session *session, uint32_t id, const cJSON *json, const char *what,
                                  const char *const *keys, size_t n_keys,
                                  int (*answer)(cJSON *, struct ambd_query *, struct amb_error *),
                                  struct amb_error *err);
struct ambd_query *ambd_query_free(struct ambd_query *query); /* returns NULL */

/* Hand over to a desk; the session is busy until the answer. Thread: loop. */
void ambd_query_push(struct ambd_query *query, struct ambd_desk *desk);

/* "start" and "count" of a list. */
int ambd_query_load_range(struct ambd_query *query, const cJSON *json, struct amb_error *err);

/* "key", "source" and "shard" of a sample. Thread: any. */
void ambd_query_add_place(cJSON *json, const struct amb_catalog *catalog, const struct amb_sample_info *info);

/* A whole request that means one sample, by "key" or "index", answered by the clerk's desk. Thread: loop. */
int ambd_query_push_sample(struct ambd_session *session, uint32_t id, const cJSON *json, const char *what,
                           int (*answer)(cJSON *, struct ambd_query *, struct amb_error *), struct amb_error *err);

/* Find it. AMB_ERR_NOT_FOUND. Thread: desk. */
int ambd_query_find_sample(uint32_t *i_sample, uint32_t *n_matches, struct ambd_query *query, struct amb_error *err);

/* "annotation": the effective values and who set them. Thread: clerk. */
void ambd_query_add_annotation(cJSON *out, const struct ambd_dataset *dataset, uint32_t i_sample);
