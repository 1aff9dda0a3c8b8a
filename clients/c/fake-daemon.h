#pragma once
/* Fake daemon: the other end of the C client's socket, which says what a test has it say. */
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clients/c/ambient.h"
#include "proto/frame.h"

#define FAKE_TALKS_MAX 4u

struct fake_daemon;

/* One connection and what was heard on it last. */
struct fake_peer {
    struct fake_daemon *fake;
    size_t i_talk;
    int fd, memory; /* memory: that of the slots, -1 before fake_subscribe */
    uint32_t subscribe_id;
    struct ambp_header heard;
    char text[AMBP_PAYLOAD_BYTES_MAX + 1]; /* its payload, terminated */
};

/* Plays one connection, which is hung up where the talk returns. Thread: the fake's. */
typedef void (*fake_talk)(struct fake_peer *peer);

struct fake_daemon {
    char folder[32], address[48];
    int listener; /* -1: stopped */
    pthread_t thread;
    const fake_talk *talks; /* of the connections in their order */
    size_t n_talks;
    const void *context;    /* for the talks */
    sem_t go, gone;         /* a talk may wait for the test, and say how far it is */

    /* to be read after fake_stop */
    char subscribed[FAKE_TALKS_MAX][2048]; /* the SUBSCRIBE of each connection */
    unsigned n_done[FAKE_TALKS_MAX];       /* DONEs heard on it */
    char wrong[256];                       /* the first thing heard that no talk expected */
};

/* On the heap: what a failed test leaves behind is in no other's way. */
struct fake_daemon *fake_start(const fake_talk *talks, size_t n_talks, const void *context);
/* Wait for the talks that began, and fail the test where one heard what it did not expect. Idempotent. */
void fake_stop(struct fake_daemon *fake);
void fake_free(struct fake_daemon *fake); /* stopped before, if it was not */
/* A client with a stream of it, batches of two with x_t and key, that waits for the next talk for 5 s. */
struct ambient_client *fake_meet(const struct fake_daemon *fake, bool reconnect);

/* Numbers of SUBSCRIBED as JSON text, so that they can be lies; NULL: what is true of four slots of 8,192 bytes with two rows of
 * x_t, f32[4], and of key, 8 bytes, at 4,096. */
struct fake_stream {
    const char *slots, *batch_size, *slot_bytes, *total_bytes, *step, *steps, *fields;
    size_t n_fds; /* beside it; 0: one */
};

/* Once a talk has heard something else, the connection is down, and the rest of these does nothing. */
void fake_hear(struct fake_peer *peer, uint8_t type); /* the next frame; DONEs are counted and passed over */
void fake_say(struct fake_peer *peer, uint8_t type, uint32_t request_id, const void *payload, size_t bytes, size_t n_fds);
void fake_greet(struct fake_peer *peer);
void fake_subscribe(struct fake_peer *peer, const struct fake_stream *stream);
void fake_lend(struct fake_peer *peer, uint32_t slot, uint64_t step, uint32_t count);
void fake_end(struct fake_peer *peer, const char *json);
/* Answer questions, ADVANCE by itself and others by {}, until one of this type comes, which is left, or the end. */
void fake_answer(struct fake_peer *peer, uint8_t until);
