/*
 * Loop: libuv (1.44) aborts where it cannot make its pipe for signals, and where its table of descriptors, which grows with
 * their numbers, cannot grow. A daemon that serves must not die of an allocation, so the table grows here, for as many
 * descriptors as most daemons come to; and what libuv aborts of here is an error of the start.
 *
 * Each shard is an open file, and so is each connection, decoder and stream: the soft limit of a shell, 1,024, which is
 * for programs that call select(2), goes up to what is allowed.
 *
 * Not here: epoll_ctl, of which every failure but EEXIST is an abort too: the kernel's memory is its own affair.
 */
#include "daemon/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/cleanup.h"

#define LOOP_FDS 4094 /* 32 KiB of table; the unit's LimitNOFILE is 4096. One past it makes libuv grow again */

#define OPEN_FILES 65536 /* shards and connections; a hard limit may be a thousand times that. Not tuned */

static void loop_allow_files(void) {
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max && limit.rlim_cur < OPEN_FILES) {
        limit.rlim_cur = limit.rlim_max < OPEN_FILES ? limit.rlim_max : OPEN_FILES;
        (void)setrlimit(RLIMIT_NOFILE, &limit); /* where it fails there are as many as there were */
    }
}

static void loop_on_abort(int signum) {
    static const char text[] = "ambientd: cannot make a loop: libuv gave up, for want of memory or descriptors\n";
    ssize_t n = write(STDERR_FILENO, text, sizeof text - 1);

    (void)signum;
    (void)n;
    _exit(1);
}

static void loop_on_room(uv_poll_t *room, int status, int events) {
    (void)room;
    (void)status;
    (void)events;
}

static int loop_make_room(uv_loop_t *loop, uv_poll_t *room) {
    AMB_CLEANUP(amb_fd_closep) int event = eventfd(0, EFD_CLOEXEC);
    AMB_CLEANUP(amb_fd_closep) int highest = -1;
    struct rlimit limit;
    int r;

    if (event < 0 || getrlimit(RLIMIT_NOFILE, &limit) < 0) {
        return -errno;
    }
    highest = fcntl(event, F_DUPFD_CLOEXEC, limit.rlim_cur < LOOP_FDS ? (int)limit.rlim_cur - 1 : LOOP_FDS - 1);
    if (highest < 0) {
        return -errno;
    }
    r = uv_poll_init(loop, room, highest);
    if (r == 0) {
        uv_poll_start(room, UV_DISCONNECT, loop_on_room);
        uv_close((uv_handle_t *)room, NULL);
    }
    return r;
}

int ambd_loop_init(uv_loop_t *loop, uv_poll_t *room, struct amb_error *err) {
    int r;

    loop_allow_files();
    signal(SIGABRT, loop_on_abort);
    r = uv_loop_init(loop);
    if (r == 0) {
        r = loop_make_room(loop, room);
        if (r < 0) {
            uv_loop_close(loop);
        }
    }
    signal(SIGABRT, SIG_DFL);
    return r < 0 ? amb_fail(err, r, "cannot make a loop: %s", uv_strerror(r)) : 0;
}
