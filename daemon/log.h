#pragma once
/* Log: lines `event key=value ...` on stderr; what a client causes is at most info, and bounded per uid. */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum ambd_level {
    AMBD_ERROR, /* the operator must act */
    AMBD_WARN,  /* degraded              */
    AMBD_INFO,  /* life cycle            */
    AMBD_DEBUG,
    AMBD_LEVEL_N,
};

enum ambd_log_format {
    AMBD_LOG_AUTO,    /* journal where stderr is the journal, else plain */
    AMBD_LOG_PLAIN,   /* "2026-01-31T12:00:00.000Z info event key=value" */
    AMBD_LOG_JOURNAL, /* "<6>event key=value": sd-daemon(3) prefixes     */
    AMBD_LOG_FORMAT_N,
};

#define AMBD_LOG_LINES_DEFAULT    100u /* DESIGN section 9: 100 lines / 30 s per client */
#define AMBD_LOG_WINDOW_S_DEFAULT 30u

const char *ambd_level_name(enum ambd_level level);
const char *ambd_log_format_name(enum ambd_log_format format);

/* Set once at start, before threads. Thread: loop. */
void ambd_log_configure(enum ambd_level level, enum ambd_log_format format, uint64_t n_lines,
                        uint64_t window_s);

/* One line, one write(2); control characters become '?'. Thread: any. */
void ambd_log(enum ambd_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* As ambd_log, for what the client `uid` causes: level info or debug, and past the limit of its window only
 * counted. Thread: loop. */
void ambd_log_client(uid_t uid, enum ambd_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Close windows that have run out and say how many lines each held back. Once a second. Thread: loop. */
void ambd_log_tick(void);

uint64_t ambd_log_count_suppressed(void);
