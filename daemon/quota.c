/*
 * Quota: charged before a memfd is made, given back when the stream that owns it is freed.
 */
#include "daemon/quota.h"

#include <inttypes.h>

void ambd_quota_init(struct ambd_quota *quota, uint64_t bytes_max, uint64_t bytes_per_uid_max) {
    *quota = (struct ambd_quota){.bytes_max = bytes_max, .bytes_per_uid_max = bytes_per_uid_max};
    pthread_mutex_init(&quota->lock, NULL);
}

static struct ambd_quota_row *quota_row_locked(struct ambd_quota *quota, uid_t uid) {
    struct ambd_quota_row *free_row = &quota->rows[AMBD_QUOTA_UIDS_MAX - 1];

    for (unsigned i = 0; i < AMBD_QUOTA_UIDS_MAX; i++) {
        struct ambd_quota_row *row = &quota->rows[i];

        if (row->bytes > 0 && row->uid == uid) {
            return row;
        }
        if (row->bytes == 0 && free_row->bytes > 0) {
            free_row = row;
        } else if (row->bytes == 0 && row < free_row) {
            free_row = row;
        }
    }
    free_row->uid = uid;
    return free_row;
}

static int quota_acquire_locked(struct ambd_quota *quota, uid_t uid, uint64_t bytes, struct amb_error *err) {
    struct ambd_quota_row *row = quota_row_locked(quota, uid);

    if (bytes > quota->bytes_max || quota->bytes > quota->bytes_max - bytes) {
        return amb_fail(err, AMB_ERR_QUOTA,
                        "the slots need %" PRIu64 " bytes of shared memory, %" PRIu64
                        " are in use and limits.shm_bytes is "
                        "%" PRIu64 "; ask for a smaller batch, fewer slots or fields",
                        bytes, quota->bytes, quota->bytes_max);
    }
    if (quota->bytes_per_uid_max != 0 &&
        (bytes > quota->bytes_per_uid_max || row->bytes > quota->bytes_per_uid_max - bytes)) {
        return amb_fail(err, AMB_ERR_QUOTA,
                        "the slots need %" PRIu64 " bytes of shared memory, uid %u has %" PRIu64
                        " and limits.shm_bytes_per_uid is %" PRIu64
                        "; ask for a smaller batch, fewer slots or fields",
                        bytes, (unsigned)uid, row->bytes, quota->bytes_per_uid_max);
    }
    quota->bytes += bytes;
    row->bytes += bytes;
    return 0;
}

int ambd_quota_acquire(struct ambd_quota *quota, uid_t uid, uint64_t bytes, struct amb_error *err) {
    int r;

    pthread_mutex_lock(&quota->lock);
    r = quota_acquire_locked(quota, uid, bytes, err);
    quota->n_refused += r < 0;
    pthread_mutex_unlock(&quota->lock);
    return r;
}

void ambd_quota_release(struct ambd_quota *quota, uid_t uid, uint64_t bytes) {
    if (bytes == 0) {
        return;
    }
    pthread_mutex_lock(&quota->lock);
    quota->bytes -= bytes;
    quota_row_locked(quota, uid)->bytes -= bytes;
    pthread_mutex_unlock(&quota->lock);
}

uint64_t ambd_quota_get(struct ambd_quota *quota, uint64_t *n_refused) {
    uint64_t bytes;

    pthread_mutex_lock(&quota->lock);
    bytes = quota->bytes;
    *n_refused = quota->n_refused;
    pthread_mutex_unlock(&quota->lock);
    return bytes;
}
