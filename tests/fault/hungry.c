/*
 * Hungry: loaded before the C library (LD_PRELOAD), so that allocations of a running daemon fail where a test says so: its own, and
 * those of libuv, cJSON, zlib and of the C library itself. Decoder processes do not inherit it.
 *
 *     AMBIENTD_HUNGER   a file of struct hunger, shared with the test, which sets and reads it while the daemon runs
 *     AMBIENTD_TRACER   a command that traces its parent, run before main: what it counts are no calls of the loader
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

/* The C library's own names of what is replaced below. */
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t n, size_t bytes);
void *__libc_realloc(void *p, size_t bytes);
void *__libc_memalign(size_t align, size_t bytes);

struct hunger {
    _Atomic int64_t left;     /* the left-th call from now on fails; 0: none does */
    _Atomic int64_t for_ever; /* and all behind it */
    _Atomic int64_t n_calls, n_failed;
};

static struct hunger *hunger;

static bool hungry(void) {
    bool fails;

    if (hunger == NULL) {
        return false;
    }
    atomic_fetch_add(&hunger->n_calls, 1);
    if (atomic_load(&hunger->left) <= 0) {
        return false;
    }
    fails = atomic_fetch_sub(&hunger->left, 1) == 1;
    if (fails && atomic_load(&hunger->for_ever) != 0) {
        atomic_store(&hunger->left, 1);
    }
    atomic_fetch_add(&hunger->n_failed, fails);
    errno = fails ? ENOMEM : errno;
    return fails;
}

#pragma GCC visibility push(default)

void *malloc(size_t bytes) {
    return hungry() ? NULL : __libc_malloc(bytes);
}

void *calloc(size_t n, size_t bytes) {
    return hungry() ? NULL : __libc_calloc(n, bytes);
}

void *realloc(void *p, size_t bytes) {
    return hungry() ? NULL : __libc_realloc(p, bytes);
}

void *aligned_alloc(size_t align, size_t bytes) {
    return hungry() ? NULL : __libc_memalign(align, bytes);
}

int posix_memalign(void **out, size_t align, size_t bytes) {
    void *p = aligned_alloc(align, bytes);

    *out = p != NULL ? p : *out;
    return p != NULL ? 0 : ENOMEM;
}

#pragma GCC visibility pop

static void be_traced(const char *command) {
    char text[4096];

    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
    unsetenv("LD_PRELOAD");
    if (system(command) != 0) {
        _exit(99);
    }
    for (;;) {
        int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
        ssize_t n = read(fd, text, sizeof text - 1);
        const char *line;

        close(fd);
        text[n > 0 ? n : 0] = '\0';
        line = strstr(text, "TracerPid:\t");
        if (line == NULL || line[11] != '0') {
            return;
        }
        usleep(1000);
    }
}

__attribute__((constructor)) static void hungry_begin(void) {
    const char *path = getenv("AMBIENTD_HUNGER"), *tracer = getenv("AMBIENTD_TRACER");

    if (tracer != NULL) {
        be_traced(tracer);
    }
    if (path != NULL) {
        int fd = open(path, O_RDWR | O_CLOEXEC);
        void *map = mmap(NULL, sizeof *hunger, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        close(fd);
        hunger = map != MAP_FAILED ? map : NULL;
    }
}
