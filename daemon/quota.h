#pragma once
/* Quota: shared memory of all slots, in all and by uid. */
#include <pthread.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

#define AMBD_QUOTA_UIDS_MAX 256u /* as many as connections by default; more share the last row */

/* Thread: any. */
struct ambd_quota {
    pthread_mutex_t lock;
    /* constant */
    uint64_t bytes_max, bytes_per_uid_max; /* per uid 0: no limit of its own */
    /* guarded by lock */
    uint64_t bytes;
    struct ambd_quota_row {
        uid_t uid;
        uint64_t bytes;
    } rows[AMBD_QUOTA_UIDS_MAX];
    uint64_t n_refused;
};

void ambd_quota_init(struct ambd_quota *quota, uint64_t bytes_max, uint64_t bytes_per_uid_max);

/* AMB_ERR_QUOTA with what was asked, what is in use and what is allowed. */
int ambd_quota_acquire(struct ambd_quota *quota, uid_t uid, uint64_t bytes, struct amb_error *err);
void ambd_quota_release(struct ambd_quota *quota, uid_t uid, uint64_t bytes);

uint64_t ambd_quota_get(struct ambd_quota *quota, uint64_t *n_refused); /* bytes in use */
