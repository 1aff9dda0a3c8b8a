/*
 * Jail: limits and capabilities first, then a seccomp filter that kills on everything it does not name.
 *
 * The filter knows what an allocator, a futex and a clock need, and judges flags where a call could do more:
 * memory must be anonymous and is never executable. write() gives EBADF rather than death (no file is open):
 * the C library wants to complain before it aborts, and the signal should tell of the abort.
 *
 * Under a sanitizer, whose runtime maps, reads and reports as it likes, the filter is a list of what is
 * forbidden instead, memory is not limited and stderr stays open: such a build is for finding bugs, not for
 * strangers' pictures.
 */
#include "codec/jail.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <seccomp.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define JAIL_SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define JAIL_SANITIZED true
#endif
#endif
#ifndef JAIL_SANITIZED
#define JAIL_SANITIZED false
#endif

static const int jail_allowed[] = {
    SCMP_SYS(munmap),         SCMP_SYS(mremap),          SCMP_SYS(brk),
    SCMP_SYS(exit),           SCMP_SYS(exit_group),      SCMP_SYS(rt_sigreturn),
    SCMP_SYS(rt_sigprocmask), SCMP_SYS(clock_gettime),   SCMP_SYS(gettimeofday),
    SCMP_SYS(getrandom),      SCMP_SYS(getpid),          SCMP_SYS(gettid),
    SCMP_SYS(sched_yield),    SCMP_SYS(restart_syscall),
};

/* MADV_HWPOISON and its like are for nobody here. */
static const int jail_advices[] = {MADV_DONTNEED, MADV_FREE, MADV_HUGEPAGE, MADV_NOHUGEPAGE};

static const int jail_forbidden[] = {
    SCMP_SYS(socket),   SCMP_SYS(connect), SCMP_SYS(execve), SCMP_SYS(execveat), SCMP_SYS(fork),
    SCMP_SYS(vfork),    SCMP_SYS(kill),    SCMP_SYS(ptrace), SCMP_SYS(creat),    SCMP_SYS(unlink),
    SCMP_SYS(unlinkat), SCMP_SYS(rename),  SCMP_SYS(setuid), SCMP_SYS(mount),    SCMP_SYS(bpf),
};

static int jail_fail(struct amb_error *err, const char *step, int code) {
    return amb_fail(err, code, "the sandbox cannot be closed: %s: %s", step, strerror(-code));
}

/* Signals that a terminal or a service manager sends to all: the parent decides when this process ends. */
static void jail_mute(void) {
    static const int signums[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE, SIGALRM, SIGUSR1, SIGUSR2};

    for (size_t i = 0; i < sizeof signums / sizeof signums[0]; i++) {
        signal(signums[i], SIG_IGN);
    }
}

static int jail_limit(uint64_t memory_bytes, struct amb_error *err) {
    const struct {
        int resource;
        rlim_t limit;
        const char *name;
    } limits[] = {
        {RLIMIT_CORE, 0, "RLIMIT_CORE"},       {RLIMIT_FSIZE, 0, "RLIMIT_FSIZE"},
        {RLIMIT_NOFILE, 0, "RLIMIT_NOFILE"},   {RLIMIT_NPROC, 0, "RLIMIT_NPROC"},
        {RLIMIT_MEMLOCK, 0, "RLIMIT_MEMLOCK"}, {RLIMIT_AS, (rlim_t)memory_bytes, "RLIMIT_AS"},
    };

    for (size_t i = 0; !JAIL_SANITIZED && i < sizeof limits / sizeof limits[0]; i++) {
        struct rlimit limit = {limits[i].limit, limits[i].limit}, now;

        if (getrlimit((__rlimit_resource_t)limits[i].resource, &now) == 0 && now.rlim_max < limit.rlim_max) {
            continue; /* the operator's is tighter */
        }
        if (setrlimit((__rlimit_resource_t)limits[i].resource, &limit) < 0) {
            return jail_fail(err, limits[i].name, -errno);
        }
    }
    return 0;
}

static int jail_tie(int parent, struct amb_error *err) {
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) {
        return jail_fail(err, "PR_SET_PDEATHSIG", -errno);
    }
    if (getppid() != parent) {
        return jail_fail(err, "the parent is gone", -ESRCH);
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
        return jail_fail(err, "PR_SET_NO_NEW_PRIVS", -errno);
    }
    if (prctl(PR_SET_DUMPABLE, 0) < 0) {
        return jail_fail(err, "PR_SET_DUMPABLE", -errno);
    }
    return 0;
}

/* A daemon of root's has them all, and they outlive an exec. */
static int jail_drop_capabilities(struct amb_error *err) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};

    return syscall(SYS_capset, &header, none) < 0 ? jail_fail(err, "capset", -errno) : 0;
}

static int jail_close(struct amb_error *err) {
    int r = close_range(0, JAIL_SANITIZED ? STDERR_FILENO - 1 : ~0u, 0);

    if (r == 0 && JAIL_SANITIZED) {
        r = close_range(STDERR_FILENO + 1, ~0u, 0);
    }
    return r < 0 ? jail_fail(err, "close_range", -errno) : 0;
}

static int filter_add_allowed(scmp_filter_ctx filter) {
    const uint32_t waits = FUTEX_WAIT | FUTEX_WAKE | FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME;
    const struct scmp_arg_cmp anonymous = SCMP_A3(SCMP_CMP_MASKED_EQ, MAP_ANONYMOUS, MAP_ANONYMOUS),
                              no_exec = SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0),
                              waiting = SCMP_A1(SCMP_CMP_MASKED_EQ, (uint32_t)~waits, 0),
                              myself = SCMP_A0(SCMP_CMP_MASKED_EQ, UINT32_MAX, (scmp_datum_t)getpid());
    int r = 0;

    for (size_t i = 0; i < sizeof jail_allowed / sizeof jail_allowed[0] && r == 0; i++) {
        r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, jail_allowed[i], 0);
    }
    for (size_t i = 0; i < sizeof jail_advices / sizeof jail_advices[0] && r == 0; i++) {
        r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(madvise), 1,
                             SCMP_A2(SCMP_CMP_MASKED_EQ, UINT32_MAX, (scmp_datum_t)jail_advices[i]));
    }
    r = r < 0 ? r : seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(futex), 1, waiting);
    r = r < 0 ? r : seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 2, no_exec, anonymous);
    r = r < 0 ? r : seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1, no_exec);
    r = r < 0 ? r : seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1, myself);
    r = r < 0 ? r : seccomp_rule_add(filter, SCMP_ACT_ERRNO(EBADF), SCMP_SYS(write), 0);
    return r < 0 ? r : seccomp_rule_add(filter, SCMP_ACT_ERRNO(EBADF), SCMP_SYS(writev), 0);
}

static int filter_add_forbidden(scmp_filter_ctx filter) {
    const struct scmp_arg_cmp writing = SCMP_A2(SCMP_CMP_MASKED_EQ, O_WRONLY, O_WRONLY),
                              reading_too = SCMP_A2(SCMP_CMP_MASKED_EQ, O_RDWR, O_RDWR);
    int r = 0;

    for (size_t i = 0; i < sizeof jail_forbidden / sizeof jail_forbidden[0] && r == 0; i++) {
        r = seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, jail_forbidden[i], 0);
    }
    r = r < 0 ? r : seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, SCMP_SYS(openat), 1, writing);
    return r < 0 ? r : seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, SCMP_SYS(openat), 1, reading_too);
}

static int jail_filter(struct amb_error *err) {
    scmp_filter_ctx filter = seccomp_init(JAIL_SANITIZED ? SCMP_ACT_ALLOW : SCMP_ACT_KILL_PROCESS);
    int r;

    if (filter == NULL) {
        return jail_fail(err, "seccomp", -ENOMEM);
    }
    /* Calls of another ABI (x32, 32 bits) are killed by libseccomp's own check of the architecture. */
    r = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    /* No slow-down against reading by speculation: there is nothing here that is not the picture's own. */
    (void)seccomp_attr_set(filter, SCMP_FLTATR_CTL_SSB, 1);
    r = r < 0 ? r : JAIL_SANITIZED ? filter_add_forbidden(filter) : filter_add_allowed(filter);
    r = r < 0 ? r : seccomp_load(filter);
    seccomp_release(filter);
    return r < 0 ? jail_fail(err, "seccomp", r) : 0;
}

int amb_jail_enter(uint64_t memory_bytes, int parent, struct amb_error *err) {
    int r;

    jail_mute();
    r = jail_tie(parent, err);
    r = r < 0 ? r : jail_close(err);
    r = r < 0 ? r : jail_limit(memory_bytes, err);
    r = r < 0 ? r : jail_drop_capabilities(err);
    return r < 0 ? r : jail_filter(err);
}
