#include "base/test.h"

#include <time.h>

#include "codec/deadline.h"

static void sleep_ms(long ms) {
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

/* Asleep for ten times its limit, with looks at the clock between: nothing of that is CPU time. */
TEST(waiting_costs_nothing) {
    struct amb_deadline deadline;

    amb_deadline_start(&deadline, 10000000);
    for (unsigned i = 0; i < 10; i++) {
        sleep_ms(10);
        assert_false(amb_deadline_passed(&deadline));
    }
}

/* Busy, it passes, and not before the limit has gone by on the CPU clock. */
TEST(work_is_counted) {
    struct amb_deadline deadline;
    struct timespec began, now;
    double spent;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &began);
    amb_deadline_start(&deadline, 10000000);
    while (!amb_deadline_passed(&deadline)) {
    }
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    spent = (double)(now.tv_sec - began.tv_sec) * 1e9 + (double)(now.tv_nsec - began.tv_nsec);
    assert_true(spent >= 1e7);
    assert_true(spent < 1e9); /* 11.25 ms where nothing else runs; generous for valgrind */
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(waiting_costs_nothing),
    cmocka_unit_test(work_is_counted),
};

TEST_MAIN(tests)
