#pragma once
/* Error: a code that callers forward and a message that people read. */

/* Zero is success, below zero is failure, above zero is an outcome named in the header of the function.
 * Codes are negative errno values, or one of these; libuv's own extras lie elsewhere (-3000.., -4022..). */
enum amb_err {
    AMB_ERR_FORMAT = -7001,      /* bytes do not follow the format                          */
    AMB_ERR_VERSION = -7002,     /* follows a version that we do not speak                  */
    AMB_ERR_CHECKSUM = -7003,    /* follows the format, contents damaged                    */
    AMB_ERR_LIMIT = -7004,       /* a limit of DESIGN section 9 bites                       */
    AMB_ERR_CHANGED = -7005,     /* a file is no longer the one that was indexed            */
    AMB_ERR_UNSUPPORTED = -7006, /* well-formed, but a feature that we do not have          */
    AMB_ERR_CONFIG = -7007,      /* an option or configuration value is not allowed         */
    AMB_ERR_GAP = -7008,         /* sigmas that no sample admits                            */
    AMB_ERR_STATE = -7009,       /* a stream state does not fit this stream                 */
    AMB_ERR_DUPLICATE = -7010,   /* a key comes twice                                       */
    AMB_ERR_EXHAUSTED = -7011,   /* every replacement was bad                               */
    AMB_ERR_PROTOCOL = -7012,    /* the peer broke the protocol                             */
    AMB_ERR_DENIED = -7013,      /* the peer may not ask for this                           */
    AMB_ERR_QUOTA = -7014,       /* a quota of memory, slots or connections is used up      */
    AMB_ERR_NOT_FOUND = -7015,   /* no such key, dataset, generation or field               */
    AMB_ERR_BUSY = -7016,        /* another daemon or step holds what is asked for          */
};

#define AMB_ERROR_MESSAGE_BYTES 480 /* one line; room for a path of usual length; not tuned */

struct amb_error {
    int code;
    char message[AMB_ERROR_MESSAGE_BYTES];
};

#define AMB_ERROR_NULL ((struct amb_error){0})

/* Set err (which may be NULL) and return code, so the caller can write: return amb_fail(err, ...); */
int amb_fail(struct amb_error *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Short stable name of a code, as the protocol carries it: "format", "gap", "EIO". Never NULL; static. */
const char *amb_error_name(int code);
