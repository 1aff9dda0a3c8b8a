#include "base/test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/crew.h"

struct tally {
    _Atomic unsigned times[1000];
};

static void piece(void *opaque, size_t i) {
    struct tally *tally = opaque;

    atomic_fetch_add(&tally->times[i], 1);
    if (i % 100 == 0) {
        usleep(200);
    }
}

TEST(each_piece_is_done_once_whatever_the_hands) {
    struct amb_error err = AMB_ERROR_NULL;

    for (unsigned n_hands = 1; n_hands <= 5; n_hands++) {
        struct amb_crew *crew = NULL;

        assert_ok(amb_crew_new(&crew, n_hands, &err), err);
        for (size_t n = 0; n <= 1000; n = n * 3 + 1) {
            struct tally tally = {0};

            amb_crew_run(crew, n, piece, &tally);
            for (size_t i = 0; i < 1000; i++) {
                assert_int_equal(atomic_load(&tally.times[i]), i < n);
            }
        }
        assert_null(amb_crew_free(crew));
    }
    assert_null(amb_crew_free(NULL));
}

static void meet(void *opaque, size_t i) {
    (void)i;
    pthread_barrier_wait(opaque);
}

/* Three pieces that wait for each other: done one after another they would wait for ever. */
TEST(pieces_are_done_side_by_side) {
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_crew *crew = NULL;
    pthread_barrier_t barrier;

    alarm(30);
    pthread_barrier_init(&barrier, NULL, 3);
    assert_ok(amb_crew_new(&crew, 3, &err), err);
    for (int k = 0; k < 100; k++) {
        amb_crew_run(crew, 3, meet, &barrier);
    }
    amb_crew_free(crew);
    pthread_barrier_destroy(&barrier);
    alarm(0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(each_piece_is_done_once_whatever_the_hands),
    cmocka_unit_test(pieces_are_done_side_by_side),
};

TEST_MAIN(tests)
