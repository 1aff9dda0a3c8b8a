/*
 * Endpoint: one daemon for each socket path, and no socket that others can reach.
 *
 * The lock file comes first and is held for life; only its holder may remove a stale socket, so two daemons
 * that start at once cannot remove each other's. The lock file itself is never removed: whoever removes it
 * could remove one that somebody has just locked. No abstract names: permissions mean nothing there.
 */
#include "daemon/endpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"

#define ENDPOINT_BACKLOG 128 /* not tuned */
#define LOCK_TRIES       200 /* of 10 ms; not tuned */

int ambd_folder_make(const char *path, struct amb_error *err) {
    char part[4096];
    size_t n = strlen(path);

    if (n == 0 || n >= sizeof part) {
        return amb_fail(err, -ENAMETOOLONG, "folder name of %zu bytes, allowed: 1 to %zu", n,
                        sizeof part - 1);
    }
    memcpy(part, path, n + 1);
    for (char *p = part + 1;; p++) {
        char c = *p;

        if (c != '/' && c != '\0') {
            continue;
        }
        *p = '\0';
        if (mkdir(part, 0700) < 0 && errno != EEXIST && !(c != '\0' && (errno == EROFS || errno == EACCES))) {
            return amb_fail(err, -errno, "cannot make folder %s: %s", part, strerror(errno));
        }
        *p = c;
        if (c == '\0') {
            return 0;
        }
    }
}

static int endpoint_check_tmp(const char *folder, struct amb_error *err) {
    struct stat st;

    if (mkdir(folder, 0700) < 0 && errno != EEXIST) {
        return amb_fail(err, -errno, "cannot make folder %s: %s", folder, strerror(errno));
    }
    if (lstat(folder, &st) < 0) {
        return amb_fail(err, -errno, "%s: %s", folder, strerror(errno));
    }
    if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 0777) != 0700) {
        return amb_fail(
            err, AMB_ERR_DENIED,
            "%s is not a folder of uid %u with mode 0700 (mode %03o, uid %u); name a socket with --socket",
            folder, (unsigned)geteuid(), (unsigned)st.st_mode & 0777, (unsigned)st.st_uid);
    }
    return 0;
}

int ambd_endpoint_default(char *out, size_t bytes, struct amb_error *err) {
    const char *service = getenv("RUNTIME_DIRECTORY"), *runtime = getenv("XDG_RUNTIME_DIR");
    char folder[64];
    int r;

    if (service != NULL && service[0] == '/') { /* RuntimeDirectory= of the unit, several with colons between */
        snprintf(out, bytes, "%.*s/ambientd.sock", (int)strcspn(service, ":"), service);
        return 0;
    }
    if (runtime != NULL && runtime[0] == '/') {
        snprintf(out, bytes, "%s/ambientd/ambientd.sock", runtime);
        return 0;
    }
    if (geteuid() == 0 && (mkdir("/run/ambientd", 0700) == 0 || errno == EEXIST) &&
        access("/run/ambientd", W_OK) == 0) {
        snprintf(out, bytes, "/run/ambientd/ambientd.sock");
        return 0;
    }
    snprintf(folder, sizeof folder, "/tmp/ambientd-%u", (unsigned)geteuid());
    r = endpoint_check_tmp(folder, err);
    if (r == 0) {
        snprintf(out, bytes, "%s/ambientd.sock", folder);
    }
    return r;
}

/* The pid that its holder has written; "" if it has not yet. */
static void lock_read_pid(char pid[24], int fd) {
    ssize_t n = pread(fd, pid, 23, 0);

    pid[n > 0 ? (size_t)n : 0] = '\0';
    pid[strcspn(pid, "\n")] = '\0';
}

/* Or dead, and only not yet waited for by its parent. */
static bool process_is_gone(long pid) {
    char path[64], stat[512], *end;
    ssize_t n = -1;
    int fd;

    if (kill((pid_t)pid, 0) < 0) {
        return errno == ESRCH;
    }
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        n = read(fd, stat, sizeof stat - 1);
        close(fd);
    }
    stat[n > 0 ? n : 0] = '\0';
    end = strrchr(stat, ')'); /* behind the name, which may hold anything */
    return end != NULL && (end[1] == ' ' && (end[2] == 'Z' || end[2] == 'X'));
}

/* A daemon that was killed while it started a decoder leaves the lock to it for the moment until that runs, and closes what is not
 * its own: who comes next waits for that, not for a daemon that lives. 0 or -errno. */
static int lock_acquire(char pid[24], int fd) {
    static const struct timespec pause = {.tv_nsec = 10000000};

    for (unsigned i = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; i++) {
        long holder;

        if (errno != EWOULDBLOCK) {
            return -errno;
        }
        lock_read_pid(pid, fd);
        holder = strtol(pid, NULL, 10);
        if (i == LOCK_TRIES || holder <= 0 || !process_is_gone(holder)) {
            return -EWOULDBLOCK;
        }
        nanosleep(&pause, NULL);
    }
    return 0;
}

int ambd_lock_open(const char *path, const char *what, struct amb_error *err) {
    AMB_CLEANUP(amb_fd_closep)
    int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, 0600);
    char pid[24] = "";
    ssize_t n;
    int r;

    if (fd < 0) {
        return amb_fail(err, -errno, "cannot open %s: %s", path, strerror(errno));
    }
    r = lock_acquire(pid, fd);
    if (r == -EWOULDBLOCK) {
        return amb_fail(err, AMB_ERR_BUSY, "already running: %s is held by the daemon with pid %s", what,
                        pid[0] != '\0' ? pid : "unknown");
    }
    if (r < 0) {
        return amb_fail(err, r, "cannot lock %s: %s", path, strerror(-r));
    }
    n = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) < 0 || pwrite(fd, pid, (size_t)n, 0) != n) {
        return amb_fail(err, errno != 0 ? -errno : -EIO, "cannot write %s: %s", path, strerror(errno));
    }
    return amb_steal_fd(&fd);
}

int ambd_endpoint_lock(struct ambd_endpoint *endpoint, const char *path, struct amb_error *err) {
    char text[AMBD_SOCKET_PATH_MAX + 16];
    size_t n = strlen(path);
    char *slash;
    int r;

    if (n == 0 || n > AMBD_SOCKET_PATH_MAX) {
        return amb_fail(
            err, AMB_ERR_CONFIG,
            "socket path of %zu bytes, allowed: 1 to %u; choose a shorter one with --socket: %.160s", n,
            AMBD_SOCKET_PATH_MAX, path);
    }
    memcpy(text, path, n + 1);
    slash = strrchr(text, '/');
    if (slash != NULL && slash != text) {
        *slash = '\0';
        endpoint->made_folder = access(text, F_OK) < 0;
        r = endpoint->made_folder ? ambd_folder_make(text, err) : 0;
        if (r < 0) {
            return r;
        }
    }
    snprintf(text, sizeof text, "%s.lock", path);
    r = ambd_lock_open(text, path, err);
    if (endpoint->inherited && (r == -EACCES || r == -EPERM || r == -EROFS)) {
        return 0;
    }
    if (r < 0) {
        return r;
    }
    endpoint->lock_fd = r;
    memmove(endpoint->path, path, n + 1);
    return 0;
}

static int endpoint_remove_stale(const char *path, struct amb_error *err) {
    struct stat st;

    if (lstat(path, &st) < 0) {
        return errno == ENOENT ? 0 : amb_fail(err, -errno, "%s: %s", path, strerror(errno));
    }
    if (!S_ISSOCK(st.st_mode) || st.st_uid != geteuid()) {
        return amb_fail(
            err, AMB_ERR_DENIED,
            "%s exists and is not a socket of uid %u: remove it, or choose another path with --socket", path,
            (unsigned)geteuid());
    }
    if (unlink(path) < 0) {
        return amb_fail(err, -errno, "cannot remove the stale socket %s: %s", path, strerror(errno));
    }
    return 0;
}

/* A folder that we made is for the owner alone; whoever may use the socket must come through it. */
static int endpoint_open_folder(const char *path, gid_t group) {
    char folder[AMBD_SOCKET_PATH_MAX + 1];

    snprintf(folder, sizeof folder, "%s", path);
    *strrchr(folder, '/') = '\0';
    return chown(folder, (uid_t)-1, group) < 0 || chmod(folder, 0710) < 0 ? -errno : 0;
}

static int endpoint_open_to(const char *path, const char *group, bool made_folder, struct amb_error *err) {
    struct group entry, *found = NULL;
    char text[4096];

    if (getgrnam_r(group, &entry, text, sizeof text, &found) != 0 || found == NULL) {
        return amb_fail(err, AMB_ERR_CONFIG, "socket_group: there is no group '%s'", group);
    }
    if (chown(path, (uid_t)-1, found->gr_gid) < 0 || chmod(path, 0660) < 0 ||
        (made_folder && endpoint_open_folder(path, found->gr_gid) < 0)) {
        return amb_fail(err, -errno, "cannot open %s to group '%s': %s", path, group, strerror(errno));
    }
    return 0;
}

int ambd_endpoint_listen(struct ambd_endpoint *endpoint, const char *group, struct amb_error *err) {
    AMB_CLEANUP(amb_fd_closep) int fd = -1;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat st;
    mode_t mask;
    int r = endpoint->inherited ? 0 : endpoint_remove_stale(endpoint->path, err);

    if (r < 0 || endpoint->inherited) {
        return r;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return amb_fail(err, -errno, "cannot make a socket: %s", strerror(errno));
    }
    memcpy(address.sun_path, endpoint->path, strlen(endpoint->path) + 1);
    mask = umask(0177);
    r = bind(fd, (const struct sockaddr *)&address, sizeof address);
    umask(mask);
    if (r < 0) {
        return amb_fail(err, -errno, "cannot bind %s: %s", endpoint->path, strerror(errno));
    }
    if (lstat(endpoint->path, &st) == 0) {
        endpoint->dev = st.st_dev;
        endpoint->ino = st.st_ino;
    }
    r = group != NULL ? endpoint_open_to(endpoint->path, group, endpoint->made_folder, err) : 0;
    if (r < 0) {
        unlink(endpoint->path);
        return r;
    }
    if (listen(fd, ENDPOINT_BACKLOG) < 0) {
        return amb_fail(err, -errno, "cannot listen on %s: %s", endpoint->path, strerror(errno));
    }
    endpoint->fds[endpoint->n_fds++] = amb_steal_fd(&fd);
    return 0;
}

void ambd_endpoint_close(struct ambd_endpoint *endpoint) {
    struct stat st;

    if (endpoint->n_fds > 0 && !endpoint->inherited && lstat(endpoint->path, &st) == 0 &&
        st.st_dev == endpoint->dev && st.st_ino == endpoint->ino) {
        unlink(endpoint->path);
    }
    while (endpoint->n_fds > 0) {
        close(endpoint->fds[--endpoint->n_fds]);
    }
    if (endpoint->lock_fd >= 0) {
        close(endpoint->lock_fd);
    }
    endpoint->lock_fd = -1;
}
