#include "base/test.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shard/guard.h"

#define PAGE 4096u

/* A map of two pages of which the second has no file behind it. */
static uint8_t *half_map_new(void) {
    int fd = memfd_create("half", MFD_CLOEXEC);
    uint8_t *map;

    assert_int_equal(ftruncate(fd, PAGE), 0);
    map = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    assert_true(map != MAP_FAILED);
    memset(map, 'a', PAGE);
    return map;
}

TEST(copy_without_fault_copies) {
    struct amb_error err = AMB_ERROR_NULL;
    uint8_t *map = half_map_new(), out[PAGE];
    uint64_t before = amb_guard_count();

    assert_ok(amb_guard_install(&err), err);
    assert_true(amb_guard_copy(out, map, PAGE, map, 2 * PAGE));
    assert_memory_equal(out, map, PAGE);
    assert_true(amb_guard_copy(out, map + 2 * PAGE, 0, map, 2 * PAGE));
    assert_int_equal(amb_guard_count(), before);
    munmap(map, 2 * PAGE);
}

/* Every copy that crosses the end of the file faults and is caught, again and again. */
TEST(faults_are_caught_and_counted) {
    struct amb_error err = AMB_ERROR_NULL;
    uint8_t *map = half_map_new(), out[2 * PAGE];
    uint64_t before = amb_guard_count();

    assert_ok(amb_guard_install(&err), err);
    for (unsigned i = 0; i < 1000; i++) {
        assert_false(amb_guard_copy(out, map + PAGE - i, i + 1, map, 2 * PAGE));
        assert_true(amb_guard_copy(out, map + PAGE - i, i, map, 2 * PAGE));
    }
    assert_int_equal(amb_guard_count(), before + 1000);
    munmap(map, 2 * PAGE);
}

static void *fault_often(void *opaque) {
    uint8_t *map = opaque, out[64];

    for (unsigned i = 0; i < 1000; i++) {
        if (amb_guard_copy(out, map + PAGE, 64, map, 2 * PAGE) ||
            !amb_guard_copy(out, map, 64, map, 2 * PAGE)) {
            return map;
        }
    }
    return NULL;
}

/* Each thread jumps on its own: no thread ever lands in another one's copy. */
TEST(threads_fault_independently) {
    struct amb_error err = AMB_ERROR_NULL;
    uint8_t *map = half_map_new();
    pthread_t threads[8];
    uint64_t before = amb_guard_count();

    assert_ok(amb_guard_install(&err), err);
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, fault_often, map), 0);
    }
    for (size_t i = 0; i < 8; i++) {
        void *bad;

        pthread_join(threads[i], &bad);
        assert_null(bad);
    }
    assert_int_equal(amb_guard_count(), before + 8000);
    munmap(map, 2 * PAGE);
}

/* What a child does that must die. */
enum mischief { LOAD_OUTSIDE_COPY, FAULT_IN_ANOTHER_MAP, SENT_BY_KILL };

static void child_misbehave(enum mischief what) {
    uint8_t *map = half_map_new(), *other = half_map_new(), out[64];
    volatile uint8_t *p = map + PAGE;

    amb_guard_install(NULL);
    amb_guard_copy(out, map, 64, map, 2 * PAGE);
    if (what == LOAD_OUTSIDE_COPY) {
        (void)*p;
    } else if (what == FAULT_IN_ANOTHER_MAP) {
        amb_guard_copy(other + PAGE, map, 64, map, 2 * PAGE); /* the store faults, not the load */
    } else {
        raise(SIGBUS);
    }
    _exit(0);
}

TEST(other_faults_end_the_process_with_the_default_action) {
    for (enum mischief what = LOAD_OUTSIDE_COPY; what <= SENT_BY_KILL; what++) {
        pid_t pid = fork();
        int status;

        if (pid == 0) {
            child_misbehave(what);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), SIGBUS);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(copy_without_fault_copies),
    cmocka_unit_test(faults_are_caught_and_counted),
    cmocka_unit_test(threads_fault_independently),
    cmocka_unit_test(other_faults_end_the_process_with_the_default_action),
};

TEST_MAIN(tests)
