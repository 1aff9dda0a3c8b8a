/*
 * Guard: the one place of the product where a mapped file is read, and the SIGBUS handler that belongs to it.
 *
 * A file that is cut while it is mapped turns loads behind its new end into SIGBUS. The copy registers the
 * map in a variable of its thread and arms a jump; the handler jumps only if the fault is synchronous, this
 * thread is copying, and the address lies inside that map. Any other SIGBUS is a bug or somebody's kill: the
 * default action is put back and takes effect, so that it is never hidden.
 *
 * sigsetjmp saves no signal mask, which would be a system call at each copy; the handler puts back the mask
 * of what it interrupted before it jumps, whatever is blocked while it runs. It runs on an alternate stack of
 * its thread, because sanitizers and libraries may have asked for that; one that is there already is kept.
 */
#include "shard/guard.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <ucontext.h>

#include "base/alloc.h"

#define GUARD_STACK_BYTES                                                                                    \
    65536u /* AMX makes a signal frame of 11 KiB; the rest is room for instrumented code */

struct guard {
    sigjmp_buf jump;
    const uint8_t *map; /* NULL: not copying */
    size_t map_bytes;
    bool has_stack;
};

static __thread struct guard guard_self;
static _Atomic uint64_t n_faults;
static pthread_once_t guard_once = PTHREAD_ONCE_INIT;
static pthread_key_t guard_stack_key;
static int guard_errno;

static void guard_on_sigbus(int signal_number, siginfo_t *info, void *context) {
    struct guard *self = &guard_self;
    const uint8_t *address = info->si_addr;
    const ucontext_t *interrupted = context;

    if (info->si_code > 0 && self->map != NULL && address >= self->map &&
        address < self->map + self->map_bytes) {
        atomic_fetch_add_explicit(&n_faults, 1, memory_order_relaxed);
        pthread_sigmask(SIG_SETMASK, &interrupted->uc_sigmask, NULL);
        siglongjmp(self->jump, 1);
    }
    signal(signal_number, SIG_DFL);
    if (info->si_code <= 0) {
        raise(signal_number); /* sent, not caused: returning would not repeat it */
    }
}

static void guard_stack_free(void *stack) {
    stack_t off = {.ss_flags = SS_DISABLE};

    sigaltstack(&off, NULL);
    amb_free(stack);
}

static void guard_init(void) {
    guard_errno = pthread_key_create(&guard_stack_key, guard_stack_free);
}

/* Set at each call, not once: test frameworks and crash reporters put their own handlers there in between. */
int amb_guard_install(struct amb_error *err) {
    struct sigaction action = {.sa_sigaction = guard_on_sigbus, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    int code;

    pthread_once(&guard_once, guard_init);
    sigemptyset(&action.sa_mask);
    code = guard_errno != 0 ? guard_errno : sigaction(SIGBUS, &action, NULL) != 0 ? errno : 0;
    return code != 0 ? amb_fail(err, -code, "cannot handle SIGBUS: %s", strerror(code)) : 0;
}

/* Without memory for it the handler runs on the ordinary stack, which is as good for faults that are no
 * overflow. */
static void guard_stack_init(struct guard *self) {
    stack_t old, new = {.ss_size = GUARD_STACK_BYTES};

    self->has_stack = true;
    if (sigaltstack(NULL, &old) != 0 || (old.ss_flags & SS_DISABLE) == 0) {
        return;
    }
    new.ss_sp = amb_malloc(GUARD_STACK_BYTES);
    if (new.ss_sp == NULL) {
        return;
    }
    if (pthread_setspecific(guard_stack_key, new.ss_sp) != 0 || sigaltstack(&new, NULL) != 0) {
        pthread_setspecific(guard_stack_key, NULL);
        amb_free(new.ss_sp);
    }
}

bool amb_guard_copy(void *dst, const void *src, size_t bytes, const void *map, size_t map_bytes) {
    struct guard *self = &guard_self;

    if (!self->has_stack) {
        guard_stack_init(self);
    }
    if (sigsetjmp(self->jump, 0) != 0) {
        self->map = NULL;
        return false;
    }
    self->map_bytes = map_bytes;
    self->map = map;
    atomic_signal_fence(
        memory_order_seq_cst); /* the handler of this thread sees the map before the first load */
    memcpy(dst, src, bytes);
    atomic_signal_fence(memory_order_seq_cst);
    self->map = NULL;
    return true;
}

uint64_t amb_guard_count(void) {
    return atomic_load_explicit(&n_faults, memory_order_relaxed);
}
