/*
 * Cell, process part.
 *
 * The process is this program, or another, started anew (posix_spawn): the address space is fresh, so neither
 * secrets of the parent nor its layout are in it, and starting is safe whatever threads the parent has. It
 * inherits one file, the shared memory, sealed so that it cannot be cut under the parent's mapping, and
 * closes it once mapped.
 *
 * Death is looked for in slices while waiting (a futex tells nothing of it), and only wait status and clocks
 * that the kernel keeps decide what happened; what the process writes decides nothing.
 */
#include "codec/cell-process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/size.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008u /* linux/memfd.h since 6.3 */
#endif

#define PROCESS_SLICE_NS   10000000              /* how late a death may be noticed; not tuned             */
#define PROCESS_START_NS   UINT64_C(10000000000) /* for a start on a machine under load; not tuned         */
#define PROCESS_TRIES      3u                    /* of a start: one may be killed from outside             */
#define PROCESS_RETRY_NS   UINT64_C(1000000000)  /* between starts that fail; not tuned                    */
#define PROCESS_GRACE_NS   UINT64_C(100000000)   /* of CPU time past twice the limit: deadline.c is first  */
#define PROCESS_STILL_NS   UINT64_C(2000000000)  /* and 3 times the CPU limit, without any CPU time        */
#define PROCESS_WALL_NS    UINT64_C(2000000000)  /* and 10 times the CPU limit a picture, 12 times in all: two tries in a watchdog's 30 s */
#define PROCESS_QUICK_ENDS 4u                    /* after which the next start waits, longer each time     */
#define PROCESS_PAUSE_MS   256u                  /* longest such wait                                      */
#define PROCESS_KEEP_BYTES (32u << 20)           /* of memory kept between pictures; not tuned             */

static uint64_t now_ns(clockid_t clock) {
    struct timespec now = {0};

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static void process_count(_Atomic uint64_t *counter, uint64_t n) {
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* Memory */

static int process_open(void) {
    int fd = memfd_create("ambientd-decode", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);

    if (fd < 0 && errno == EINVAL) { /* before 6.3 */
        fd = memfd_create("ambientd-decode", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    }
    return fd < 0 ? -errno : fd;
}

/* Pages come when they are touched: the size is what the largest picture would need. */
static int process_map(struct cell_process *process, struct amb_error *err) {
    size_t pixels;

    process->pixels_offset = CELL_INPUT_OFFSET + CELL_INPUT_BYTES;
    if (!amb_size_mul(&pixels, CELL_PIXEL_BYTES, process->limits.pixels_max) ||
        !amb_size_add(&process->total_bytes, process->pixels_offset + CELL_AHEAD_OUT + 65536, pixels) ||
        !amb_size_align(&process->total_bytes, process->total_bytes, 65536)) {
        return amb_fail(err, AMB_ERR_LIMIT, "pictures of %llu pixels are more than memory can address",
                        (unsigned long long)process->limits.pixels_max);
    }
    process->fd = process_open();
    if (process->fd < 0) {
        int code = process->fd;

        process->fd = -1;
        return amb_fail(err, code, "memfd_create: %s", strerror(-code));
    }
    if (ftruncate(process->fd, (off_t)process->total_bytes) < 0 ||
        fcntl(process->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
        return amb_fail(err, -errno, "shared memory of a decoder: %s", strerror(errno));
    }
    process->shared = mmap(NULL, process->total_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, process->fd, 0);
    if (process->shared == MAP_FAILED) {
        process->shared = NULL;
        return amb_fail(err, -errno, "map of %zu bytes for a decoder: %s", process->total_bytes,
                        strerror(errno));
    }
    (void)madvise(process->shared, process->total_bytes, MADV_DONTDUMP);
    return 0;
}

int amb_cell_process_init(struct cell_process *process, const struct amb_codec_limits *limits,
                          struct amb_error *err) {
    int r;

    *process = (struct cell_process){.limits = *limits, .sandbox = limits->sandbox, .fd = -1};
    r = process_map(process, err);
    if (r < 0) {
        amb_cell_process_deinit(process);
    }
    return r;
}

void amb_cell_process_deinit(struct cell_process *process) {
    if (process->pid > 0) {
        kill(process->pid, SIGKILL);
        waitpid(process->pid, NULL, 0);
        process_count(&process->sandbox->counters.n_running, (uint64_t)-1);
        process->pid = 0;
    }
    if (process->shared != NULL) {
        munmap(process->shared, process->total_bytes);
        process->shared = NULL;
    }
    if (process->fd >= 0) {
        close(process->fd);
        process->fd = -1;
    }
}

static void process_punch(struct cell_process *process, size_t offset, size_t end) {
    (void)fallocate(process->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                    (off_t)(end - offset)); /* what stays is only memory */
}

void amb_cell_process_trim(struct cell_process *process) {
    process_punch(process, CELL_INPUT_OFFSET + PROCESS_KEEP_BYTES, process->pixels_offset);
    if (process->total_bytes - process->pixels_offset > PROCESS_KEEP_BYTES) {
        process_punch(process, process->pixels_offset + PROCESS_KEEP_BYTES, process->total_bytes);
    }
}

/* End */

static bool process_is_fault(int signum) {
    return signum == SIGSEGV || signum == SIGBUS || signum == SIGABRT || signum == SIGILL ||
           signum == SIGFPE || signum == SIGSYS;
}

static void process_judge(struct cell_end *end, const siginfo_t *info) {
    if (info->si_code == CLD_EXITED) {
        end->cause = CELL_LOST;
        snprintf(end->text, sizeof end->text, "exit status %d", info->si_status);
        return;
    }
    end->cause = process_is_fault(info->si_status) ? CELL_FAULT : CELL_LOST;
    snprintf(end->text, sizeof end->text, "SIG%s",
             sigabbrev_np(info->si_status) != NULL ? sigabbrev_np(info->si_status) : "?");
}

/* The process is dead and reaped; `text` overrules how it died. */
static int process_bury(struct cell_process *process, const siginfo_t *info, enum cell_cause cause,
                        const char *text) {
    struct amb_sandbox_counters *counters = &process->sandbox->counters;

    process->pid = 0;
    process->n_ends++;
    if (text != NULL) {
        process->end.cause = cause;
        snprintf(process->end.text, sizeof process->end.text, "%s", text);
    } else {
        process_judge(&process->end, info);
    }
    process_count(&counters->n_running, (uint64_t)-1);
    process_count(process->end.cause == CELL_FAULT  ? &counters->n_faults
                  : process->end.cause == CELL_LATE ? &counters->n_late
                                                    : &counters->n_lost,
                  1);
    return CELL_E_ENDED;
}

int amb_cell_process_stop(struct cell_process *process, enum cell_cause cause, const char *text) {
    siginfo_t info = {0};

    kill(process->pid, SIGKILL);
    while (waitid(P_PID, (id_t)process->pid, &info, WEXITED) < 0 && errno == EINTR) {
    }
    return process_bury(process, &info, cause, text);
}

int amb_cell_process_check(struct cell_process *process) {
    siginfo_t info = {0};

    if (waitid(P_PID, (id_t)process->pid, &info, WEXITED | WNOHANG) < 0) {
        return errno == EINTR ? 0
                              : process_bury(process, NULL, CELL_LOST, "a status that somebody else took");
    }
    return info.si_pid == 0 ? 0 : process_bury(process, &info, CELL_LOST, NULL);
}

/* Waiting */

/* Since the last answer, and since CPU time was last seen to move. */
struct pace {
    uint64_t begin_ns, cpu_ns, wall_ns, last_cpu_ns, still_ns;
};

static int process_check_time(struct cell_process *process, struct pace *pace) {
    uint64_t now = now_ns(CLOCK_MONOTONIC), now_cpu = now_ns(process->clock), cpu_ns = now_cpu - pace->cpu_ns;
    char text[64];

    if (now_cpu != pace->last_cpu_ns) {
        pace->last_cpu_ns = now_cpu;
        pace->still_ns = now;
    }
    if (cpu_ns > 2 * process->limits.cpu_ns + PROCESS_GRACE_NS) {
        snprintf(text, sizeof text, "more than %llu ms of CPU time",
                 (unsigned long long)(process->limits.cpu_ns / 1000000));
        return amb_cell_process_stop(process, CELL_LATE, text);
    }
    if (now - pace->still_ns > PROCESS_STILL_NS + 3 * process->limits.cpu_ns ||
        now - pace->wall_ns > PROCESS_WALL_NS + 10 * process->limits.cpu_ns ||
        now - pace->begin_ns > PROCESS_WALL_NS + 12 * process->limits.cpu_ns) {
        return amb_cell_process_stop(process, CELL_LATE, "no sign of life");
    }
    return 0;
}

int amb_cell_process_wait(struct cell_process *process, uint32_t wanted, uint32_t enough) {
    static const struct timespec slice = {.tv_nsec = PROCESS_SLICE_NS};
    struct cell_bell *bell = &process->shared->answered;
    uint32_t count = atomic_load(&bell->count), seen = count;
    struct pace pace = {.begin_ns = now_ns(CLOCK_MONOTONIC)};
    int r = 0;

    while (!cell_reached(count, wanted)) {
        cell_bell_wait(bell, enough, &slice);
        count = atomic_load(&bell->count);
        /* the limits hold for each picture; but whoever counts may be the picture: forward only, and not for ever */
        if (pace.wall_ns == 0 || (count != seen && cell_reached(count, seen) && cell_reached(wanted, count))) {
            seen = count;
            pace.wall_ns = pace.still_ns = now_ns(CLOCK_MONOTONIC);
            pace.cpu_ns = pace.last_cpu_ns = now_ns(process->clock);
        }
        if (cell_reached(count, wanted)) {
            break;
        }
        r = amb_cell_process_check(process);
        r = r != 0 ? r : process_check_time(process, &pace);
        if (r != 0) {
            return r;
        }
    }
    process->n_ends = 0;
    return 0;
}

void amb_cell_process_account(struct cell_process *process) {
    uint64_t cpu_ns = now_ns(process->clock);

    if (cpu_ns > process->cpu_ns) { /* of a process that has just died the clock may be gone */
        process_count(&process->sandbox->counters.cpu_ns, cpu_ns - process->cpu_ns);
        process->cpu_ns = cpu_ns;
    }
}

/* Start */

/* What the loader, sanitizers and counters of coverage look at; nothing else of our environment is the process's business. */
static void process_get_environment(char **out, size_t n_max) {
    static const char *const names[] = {"LD_LIBRARY_PATH", "ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS",
                                        "LSAN_OPTIONS", "LLVM_PROFILE_FILE"};
    size_t n = 0;

    for (char **entry = environ; *entry != NULL; entry++) {
        for (size_t i = 0; i < sizeof names / sizeof names[0] && n + 1 < n_max; i++) {
            size_t bytes = strlen(names[i]);

            if (strncmp(*entry, names[i], bytes) == 0 && (*entry)[bytes] == '=') {
                out[n++] = *entry;
            }
        }
    }
    out[n] = NULL;
}

static int process_spawn(struct cell_process *process) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    char *environment[8];
    sigset_t all, none;
    int r;

    process_get_environment(environment, sizeof environment / sizeof environment[0]);
    sigfillset(&all);
    sigemptyset(&none);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    r = posix_spawn_file_actions_adddup2(&actions, process->fd, CELL_FD);
    r = r != 0 ? r : posix_spawn_file_actions_addclosefrom_np(&actions, CELL_FD + 1);
    r = r != 0 ? r
               : posix_spawn(&process->pid, process->sandbox->program, &actions, &attributes,
                             (char *const *)(uintptr_t)process->sandbox->argv, environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    if (r != 0) {
        process->pid = 0;
    }
    return -r;
}

static void process_prepare(struct cell_process *process) {
    struct cell_shared *shared = process->shared;

    memset(shared, 0, sizeof *shared);
    shared->magic = CELL_MAGIC;
    shared->limits = process->limits;
    shared->limits.sandbox = NULL;
    shared->total_bytes = process->total_bytes;
    shared->pixels_offset = process->pixels_offset;
    shared->parent = getpid();
    atomic_store(&shared->state, CELL_STARTING);
}

/* 0 once it is locked in. */
static int process_wait_ready(struct cell_process *process, struct amb_error *err) {
    static const struct timespec slice = {.tv_nsec = PROCESS_SLICE_NS};
    uint64_t begin_ns = now_ns(CLOCK_MONOTONIC);
    struct cell_shared *shared = process->shared;
    uint32_t state;

    for (;;) {
        state = atomic_load(&shared->state);
        if (state == CELL_READY) {
            return 0;
        }
        if (state == CELL_FAILED) { /* our own code wrote it: no stranger's byte has been looked at yet */
            shared->answers[0].message[AMB_ERROR_MESSAGE_BYTES - 1] = '\0';
            amb_fail(err, -EAGAIN, "%s", shared->answers[0].message);
            amb_cell_process_stop(process, CELL_LOST, "not started");
            return err->code;
        }
        if (amb_cell_process_check(process) != 0) {
            return amb_fail(err, -EAGAIN, "the decoder process ended at its start: %s", process->end.text);
        }
        if (now_ns(CLOCK_MONOTONIC) - begin_ns > PROCESS_START_NS) {
            amb_cell_process_stop(process, CELL_LOST, "not started");
            return amb_fail(err, -EAGAIN, "the decoder process was not ready after %llu s",
                            (unsigned long long)(PROCESS_START_NS / 1000000000));
        }
        cell_futex_wait(&shared->state, state, &slice);
    }
}

static int process_try(struct cell_process *process, struct amb_error *err) {
    struct amb_sandbox *sandbox = process->sandbox;
    int r;

    process_prepare(process);
    r = process_spawn(process);
    if (r < 0) {
        return amb_fail(err, -EAGAIN, "cannot start the decoder process %s: %s", sandbox->program,
                        strerror(-r));
    }
    process_count(&sandbox->counters.n_running, 1);
    if (process->had_one) {
        process_count(&sandbox->counters.n_restarts, 1);
    }
    process->had_one = true;
    process->cpu_ns = 0;
    if (clock_getcpuclockid(process->pid, &process->clock) != 0) {
        amb_cell_process_stop(process, CELL_LOST, "not started");
        return amb_fail(err, -EAGAIN, "the decoder process has no CPU clock");
    }
    return process_wait_ready(process, err);
}

/* Deaths without a picture between them: wait before the next start, so that a storm costs little. */
static void process_pause(const struct cell_process *process) {
    unsigned shift = process->n_ends - PROCESS_QUICK_ENDS;
    uint64_t ms = shift < 8 ? UINT64_C(1) << shift : PROCESS_PAUSE_MS;
    struct timespec pause = {.tv_nsec = (long)(ms * 1000000)};

    nanosleep(&pause, NULL);
}

int amb_cell_process_start(struct cell_process *process, struct amb_error *err) {
    struct amb_error why = AMB_ERROR_NULL;

    if (process->pid > 0) {
        return 0;
    }
    if (process->retry_ns != 0 && now_ns(CLOCK_MONOTONIC) < process->retry_ns) {
        return amb_fail(err, -EAGAIN, "%s", process->refused.message);
    }
    for (unsigned i = 0; i < PROCESS_TRIES; i++) {
        if (process->n_ends >= PROCESS_QUICK_ENDS) {
            process_pause(process);
        }
        if (process_try(process, &why) == 0) {
            process->retry_ns = 0;
            return 0;
        }
    }
    process->refused = why;
    process->retry_ns = now_ns(CLOCK_MONOTONIC) + PROCESS_RETRY_NS;
    return amb_fail(err, -EAGAIN, "%s", why.message);
}
