/*
 * Resume: another daemon at the same address, and the same stream on it.
 *
 * What the caller has taken is the only thing that counts: the next subscription carries the state behind that batch,
 * and what was lent and not taken is drawn again, the same bytes. Accepted advances that lie ahead go along as moves.
 *
 * Tries come ever less often, each at a random moment of its interval, so that hundreds of trainers do not come back
 * in step. The randomness is our own: rand() belongs to the program.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "clients/c/connection.h"

#define RESUME_FIRST_S   0.05
#define RESUME_LONGEST_S 5.0

static double resume_now(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void resume_sleep(double seconds) {
    struct timespec time = {.tv_sec = (time_t)seconds, .tv_nsec = (long)(1e9 * (seconds - (double)(time_t)seconds))};

    (void)nanosleep(&time, NULL); /* a signal makes the next try come sooner */
}

/* In [0.5, 1); splitmix64. */
static double resume_jitter(uint64_t *seed) {
    uint64_t x = *seed += UINT64_C(0x9e3779b97f4a7c15);

    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    x ^= x >> 31;
    return 0.5 + 0.5 * (double)(x >> 11) * 0x1p-53;
}

/* Advances */

static uint64_t move_step(const cJSON *move) {
    uint64_t step = 0;

    (void)ambp_json_get_u64(&step, move, "step", 0, UINT64_MAX, false, NULL);
    return step;
}

static void advances_remove(struct ambient_client *client, uint64_t step) {
    for (int i = cJSON_GetArraySize(client->advances) - 1; i >= 0; i--) {
        if (move_step(cJSON_GetArrayItem(client->advances, i)) == step) {
            cJSON_DeleteItemFromArray(client->advances, i);
        }
    }
}

int resume_add_advance(struct ambient_client *client, const char *reply, struct ambient_error *err) {
    cJSON *move = NULL;
    struct amb_error bad = AMB_ERROR_NULL;
    int i = 0;

    if (client->request == NULL) {
        return 0;
    }
    if (ambp_json_decode(&move, reply, strlen(reply), AMBP_JSON_DEPTH_MAX, &bad) < 0) {
        return client_fail_from(err, &bad);
    }
    if (client->advances == NULL) {
        client->advances = cJSON_CreateArray();
    }
    advances_remove(client, move_step(move));
    while (i < cJSON_GetArraySize(client->advances) &&
           move_step(cJSON_GetArrayItem(client->advances, i)) < move_step(move)) {
        i++;
    }
    cJSON_InsertItemInArray(client->advances, i, move);
    return 0;
}

void resume_remove_advance(struct ambient_client *client, const char *request) {
    AMB_CLEANUP(ambp_json_deletep) cJSON *json = NULL;

    if (ambp_json_decode(&json, request, strlen(request), AMBP_JSON_DEPTH_MAX, NULL) == 0) {
        advances_remove(client, move_step(json));
    }
}

cJSON *resume_moves_ahead(const struct ambient_client *client) {
    cJSON *moves = NULL;
    const cJSON *move;

    cJSON_ArrayForEach(move, client->advances) {
        if (move_step(move) >= client->next_step) {
            moves = moves != NULL ? moves : cJSON_CreateArray();
            ambp_json_add_item(moves, NULL, cJSON_Duplicate(move, true));
        }
    }
    return moves;
}

/* Subscribe */

static void request_set(cJSON *request, const char *key, cJSON *value) {
    cJSON_DeleteItemFromObjectCaseSensitive(request, key);
    if (value != NULL) {
        ambp_json_add_item(request, key, value);
    }
}

/* As it was asked, from the batch last taken on. */
static int resume_build(cJSON **out, struct ambient_client *client, struct ambient_error *err) {
    AMB_CLEANUP(ambp_json_deletep) cJSON *request = cJSON_Duplicate(client->request, true);
    struct amb_error bad = AMB_ERROR_NULL;
    cJSON *state = NULL, *moves;

    if (request == NULL) {
        return client_fail(err, -ENOMEM, "no memory for the request");
    }
    if (client->state.n_bytes > 0) {
        if (ambp_json_decode(&state, (const char *)client->state.data, client->state.n_bytes - 1, AMBP_JSON_DEPTH_MAX,
                             &bad) < 0) {
            return client_fail_from(err, &bad);
        }
        request_set(request, "state", state);
    }
    if (client->end_step != UINT64_MAX) {
        request_set(request, "passes", NULL);
        request_set(request, "steps", NULL);
        ambp_json_add_u64(request, "steps", client->end_step - client->next_step);
    }
    moves = resume_moves_ahead(client);
    if (moves != NULL) {
        request_set(request, "moves", moves);
        request_set(request, "follow", cJSON_CreateFalse());
    }
    *out = amb_steal_ptr(request);
    return 0;
}

/* Nothing more comes of this session; what the caller holds of it stays. */
static void resume_leave(struct ambient_client *client) {
    struct client_slab *slab = client->slab;

    connection_close(client);
    client->lost = true;
    client->n_queued = 0;
    slab->gone = true;
    if (slab->n_taken == 0) {
        slab_unmap(slab);
    }
}

/* One try. client->lost tells whether another makes sense. */
static int resume_try(struct ambient_client *client, cJSON *request, double left_s, struct ambient_error *err) {
    int r = connection_open(client, left_s, err);

    if (r == 0 && request != NULL) {
        r = stream_subscribe(client, request, err);
    }
    if (r < 0) {
        return r;
    }
    connection_set_timeout(client, 0);
    if (request != NULL && client->slab->step != client->next_step) {
        return client_fail(err, AMB_ERR_PROTOCOL, "the next daemon begins at step %llu, asked was step %llu",
                           (unsigned long long)client->slab->step, (unsigned long long)client->next_step);
    }
    return 0;
}

static void resume_tell(const struct ambient_client *client, const char *why) {
    char message[sizeof ((struct ambient_error *)0)->message + 256];

    snprintf(message, sizeof message, "the daemon at %s went away: %s; waiting up to %u s for it", client->address, why,
             client->reconnect_timeout_s);
    if (client->notice != NULL) {
        client->notice(client->notice_context, message);
    } else {
        fprintf(stderr, "ambient-client: %s\n", message);
    }
}

static int resume_give_up(const struct ambient_client *client, double waited_s, const char *last,
                          struct ambient_error *err) {
    return client_fail(err, -ETIMEDOUT,
                       "waited %.1f s for the daemon at %s, as long as reconnect_timeout_s = %u allows; the last try: %s",
                       waited_s, client->address, client->reconnect_timeout_s, last);
}

/* It would refuse the same again: the stream is over, and this daemon's session with it, if it made one. */
static void resume_refused(struct ambient_client *client, const cJSON *request, const struct ambient_error *why) {
    if (request != NULL) {
        client->ended = why->code;
        client->end_error = *why;
    }
    resume_leave(client);
}

/* Try until one succeeds, or another makes no sense, or the time is over. request: NULL for a connection alone. */
static int resume_loop(struct ambient_client *client, cJSON *request, struct ambient_error *err) {
    double began = resume_now(), give_up = began + client->reconnect_timeout_s, delay = RESUME_FIRST_S;
    uint64_t seed = (uint64_t)(began * 1e9) ^ ((uint64_t)getpid() << 40);
    struct ambient_error last;

    for (;;) {
        double left = give_up - resume_now(), pause;
        int r = resume_try(client, request, left > 0.001 ? left : 0.001, &last);

        if (r == 0) {
            return 0;
        }
        if (!client->lost) {
            resume_refused(client, request, &last);
            return client_fail(err, r, "%s", last.message);
        }
        left = give_up - resume_now();
        if (left <= 0) {
            return resume_give_up(client, resume_now() - began, last.message, err);
        }
        pause = delay * resume_jitter(&seed);
        resume_sleep(pause < left ? pause : left);
        delay = delay * 2 < RESUME_LONGEST_S ? delay * 2 : RESUME_LONGEST_S;
    }
}

int stream_resume(struct ambient_client *client, const struct ambient_error *why, struct ambient_error *err) {
    AMB_CLEANUP(ambp_json_deletep) cJSON *request = NULL; /* NULL: the stream is over, a connection is all that is wanted */
    int r = 0;

    resume_leave(client);
    if (why != NULL) {
        resume_tell(client, why->message);
    }
    if (client->ended == 0) {
        r = resume_build(&request, client, err);
    }
    return r < 0 ? r : resume_loop(client, request, err);
}
