/*
 * Log: format one line in a buffer on the stack, clean it, write it in one call.
 *
 * Invariant: no byte that a client or a shard chose can start a new line or reach a terminal as a control
 * code, and no client can write more than its share: each uid has a window of n_lines, after which lines are
 * only counted and the count is told when the window closes.
 *
 * Not here: which events exist; each is written where it is decided.
 */
#include "daemon/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOG_LINE_BYTES 2048u /* an error message is 480; not tuned */
#define LOG_WINDOWS_N  64u   /* uids remembered at once; more share the last window */

struct log_window {
    uid_t uid;
    uint64_t began_ns; /* 0: free */
    uint64_t n_lines, n_suppressed;
};

static enum ambd_level log_level = AMBD_INFO;
static enum ambd_log_format log_format = AMBD_LOG_PLAIN;
static uint64_t log_lines_max = AMBD_LOG_LINES_DEFAULT;
static uint64_t log_window_ns = AMBD_LOG_WINDOW_S_DEFAULT * UINT64_C(1000000000);
static struct log_window log_windows[LOG_WINDOWS_N]; /* loop only */
static uint64_t log_n_suppressed;                    /* loop only */

const char *ambd_level_name(enum ambd_level level) {
    static const char *const names[AMBD_LEVEL_N] = {"error", "warn", "info", "debug"};

    return names[level];
}

const char *ambd_log_format_name(enum ambd_log_format format) {
    static const char *const names[AMBD_LOG_FORMAT_N] = {"auto", "plain", "journal"};

    return names[format];
}

void ambd_log_configure(enum ambd_level level, enum ambd_log_format format, uint64_t n_lines,
                        uint64_t window_s) {
    log_level = level;
    log_format = format != AMBD_LOG_AUTO            ? format
                 : getenv("JOURNAL_STREAM") != NULL ? AMBD_LOG_JOURNAL
                                                    : AMBD_LOG_PLAIN;
    log_lines_max = n_lines;
    log_window_ns = window_s * UINT64_C(1000000000);
}

static size_t log_prefix(char *line, size_t bytes, enum ambd_level level) {
    static const int priorities[AMBD_LEVEL_N] = {3, 4, 6, 7}; /* syslog(3) */
    struct timespec now;
    struct tm tm;
    size_t n;

    if (log_format == AMBD_LOG_JOURNAL) {
        return (size_t)snprintf(line, bytes, "<%d>", priorities[level]);
    }
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    n = strftime(line, bytes, "%Y-%m-%dT%H:%M:%S", &tm);
    return n + (size_t)snprintf(line + n, bytes - n, ".%03ldZ %s ", now.tv_nsec / 1000000,
                                ambd_level_name(level));
}

static void log_write(enum ambd_level level, const char *fmt, va_list args) {
    char line[LOG_LINE_BYTES];
    size_t n = log_prefix(line, sizeof line, level);
    int body = vsnprintf(line + n, sizeof line - n - 1, fmt, args);

    if (body < 0) {
        return;
    }
    n = n + (size_t)body < sizeof line - 1 ? n + (size_t)body : sizeof line - 2;
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f) {
            line[i] = '?';
        }
    }
    line[n] = '\n';
    if (write(STDERR_FILENO, line, n + 1) < 0) {
        return; /* nobody to tell */
    }
}

void ambd_log(enum ambd_level level, const char *fmt, ...) {
    va_list args;

    if (level > log_level) {
        return;
    }
    va_start(args, fmt);
    log_write(level, fmt, args);
    va_end(args);
}

static uint64_t log_now_ns(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static struct log_window *log_window_get(uid_t uid) {
    struct log_window *free_one = NULL;

    for (size_t i = 0; i < LOG_WINDOWS_N; i++) {
        if (log_windows[i].began_ns != 0 && log_windows[i].uid == uid) {
            return &log_windows[i];
        }
        if (log_windows[i].began_ns == 0 && free_one == NULL) {
            free_one = &log_windows[i];
        }
    }
    if (free_one == NULL) {
        return &log_windows[LOG_WINDOWS_N - 1];
    }
    *free_one = (struct log_window){.uid = uid, .began_ns = log_now_ns()};
    return free_one;
}

void ambd_log_client(uid_t uid, enum ambd_level level, const char *fmt, ...) {
    struct log_window *window;
    va_list args;

    level = level < AMBD_INFO ? AMBD_INFO : level;
    if (level > log_level) {
        return;
    }
    ambd_log_tick();
    window = log_window_get(uid);
    if (window->n_lines >= log_lines_max) {
        window->n_suppressed++;
        log_n_suppressed++;
        return;
    }
    window->n_lines++;
    va_start(args, fmt);
    log_write(level, fmt, args);
    va_end(args);
}

void ambd_log_tick(void) {
    uint64_t now_ns = log_now_ns();

    for (size_t i = 0; i < LOG_WINDOWS_N; i++) {
        struct log_window *window = &log_windows[i];

        if (window->began_ns == 0 || now_ns - window->began_ns < log_window_ns) {
            continue;
        }
        if (window->n_suppressed > 0) {
            ambd_log(AMBD_INFO, "log.suppressed uid=%u lines=%llu", (unsigned)window->uid,
                     (unsigned long long)window->n_suppressed);
        }
        window->began_ns = 0;
    }
}

uint64_t ambd_log_count_suppressed(void) {
    return log_n_suppressed;
}
