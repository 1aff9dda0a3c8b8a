#include "base/test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/philox.h"
#include "codec/cell-shared.h"
#include "codec/made.h"
#include "codec/sandbox.h"

/* ---- in the process: what a stranger's picture might make of a codec ---- */

static void break_segv(struct cell_shared *shared) {
    uint8_t *behind = (uint8_t *)shared + shared->total_bytes;

    for (size_t i = 0;; i += 4096) { /* outside of the shared memory, sooner or later nobody's */
        ((volatile uint8_t *)behind)[i] = 1;
    }
}

static void break_abort(struct cell_shared *shared) {
    (void)shared;
    abort();
}

static void break_trap(struct cell_shared *shared) {
    (void)shared;
    __builtin_trap();
}

static void break_loop(struct cell_shared *shared) {
    for (;;) {
        atomic_load(&shared->state);
    }
}

static void break_sleep(struct cell_shared *shared) {
    for (;;) {
        cell_futex_wait(&shared->state, CELL_READY, NULL);
    }
}

static void break_exit(struct cell_shared *shared) {
    (void)shared;
    _exit(3);
}

static void break_open(struct cell_shared *shared) {
    (void)shared;
    close(open("/tmp", O_RDWR | O_TMPFILE, 0600));
}

static void break_socket(struct cell_shared *shared) {
    (void)shared;
    close(socket(AF_INET, SOCK_STREAM, 0));
}

static void break_exec(struct cell_shared *shared) {
    char *const argv[] = {(char *)(uintptr_t)"true", NULL};

    (void)shared;
    execve("/bin/true", argv, argv + 1);
}

static void break_kill(struct cell_shared *shared) {
    kill(shared->parent, 0);
}

static void break_fork(struct cell_shared *shared) {
    (void)shared;
    if (syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL) == 0) {
        _exit(0);
    }
}

static void break_code(struct cell_shared *shared) {
    (void)shared;
    mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void break_poison(struct cell_shared *shared) {
    madvise(shared, 4096, MADV_HWPOISON);
}

/* Reserve far more than the limit; more than 8 GiB would be proof that there is none. */
static void break_memory(struct cell_shared *shared) {
    size_t n = 0;

    (void)shared;
    while (n < 128 &&
           mmap(NULL, 64u << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED) {
        n++;
    }
    if (n == 128) {
        abort();
    }
}

/* Nothing is open, and complaints of the C library go nowhere. */
static void break_write(struct cell_shared *shared) {
    (void)shared;
    for (int fd = 0; fd < 8; fd++) {
        if (write(fd, "x", 1) >= 0 || errno != EBADF) {
            abort();
        }
    }
}

/* Give this answer instead of the decoder's, and be still. */
static void lie(struct cell_shared *shared, struct cell_answer answer) {
    shared->answers[atomic_load(&shared->answered.count) % CELL_SLOTS] = answer;
    cell_bell_raise(&shared->answered);
    break_sleep(shared);
}

static void break_wide(struct cell_shared *shared) {
    lie(shared, (struct cell_answer){.width = 5000, .height = 1, .offset = shared->pixels_offset});
}

static void break_large(struct cell_shared *shared) {
    lie(shared, (struct cell_answer){.width = 2000, .height = 2000, .offset = shared->pixels_offset});
}

static void break_empty(struct cell_shared *shared) {
    lie(shared, (struct cell_answer){.width = 0, .height = 7, .offset = shared->pixels_offset});
}

static void break_behind(struct cell_shared *shared) {
    lie(shared, (struct cell_answer){.width = 100, .height = 100, .offset = shared->total_bytes - 100});
}

static void break_far(struct cell_shared *shared) {
    lie(shared, (struct cell_answer){.width = 1, .height = 1, .offset = UINT64_MAX});
}

static void break_before(struct cell_shared *shared) {
    lie(shared, (struct cell_answer){.width = 1, .height = 1, .offset = 0});
}

static void break_code_above(struct cell_shared *shared) {
    lie(shared, (struct cell_answer){.code = 7});
}

static void break_code_below(struct cell_shared *shared) {
    lie(shared, (struct cell_answer){.code = -EPERM});
}

static void break_later(struct cell_shared *shared) {
    lie(shared, (struct cell_answer){.code = CELL_E_LATER});
}

/* More answers than were asked for: what lies in the slot was never written. */
static void break_count(struct cell_shared *shared) {
    atomic_fetch_add(&shared->answered.count, 1000);
    break_sleep(shared);
}

/* No end, and no line that a terminal should see. */
static void break_message(struct cell_shared *shared) {
    struct cell_answer answer = {.code = AMB_ERR_FORMAT};

    memset(answer.message, '\x1b', sizeof answer.message);
    lie(shared, answer);
}

static const struct {
    const char *name;
    void (*run)(struct cell_shared *shared);
} breaks[] = {
    {"segv", break_segv},        {"abort", break_abort},   {"trap", break_trap},
    {"loop", break_loop},        {"sleep", break_sleep},   {"exit", break_exit},
    {"open", break_open},        {"socket", break_socket}, {"exec", break_exec},
    {"kill", break_kill},        {"fork", break_fork},     {"code", break_code},
    {"memory", break_memory},    {"write", break_write},   {"wide", break_wide},
    {"large", break_large},      {"empty", break_empty},   {"behind", break_behind},
    {"far", break_far},          {"before", break_before}, {"above", break_code_above},
    {"below", break_code_below}, {"later", break_later},   {"count", break_count},
    {"message", break_message},  {"poison", break_poison},
};

/* A payload "BREAK name" breaks the process; all others are only decoded. */
static void hook(const uint8_t *data, size_t bytes, void *shared) {
    for (size_t i = 0; bytes > 6 && memcmp(data, "BREAK ", 6) == 0 && i < sizeof breaks / sizeof breaks[0];
         i++) {
        if (strlen(breaks[i].name) == bytes - 6 && memcmp(data + 6, breaks[i].name, bytes - 6) == 0) {
            breaks[i].run(shared);
        }
    }
}

/* ---- here ---- */

static struct amb_codec_limits limits_of(struct amb_sandbox *sandbox) {
    static const char *const argv[] = {"test-sandbox", AMB_SANDBOX_ARGUMENT, NULL};
    struct amb_codec_limits limits = AMB_CODEC_LIMITS_DEFAULT;

    *sandbox = (struct amb_sandbox){.program = program_invocation_name, .argv = argv};
    limits.pixels_max = 2u << 20;
    limits.side_max = 4096;
    limits.sandbox = sandbox;
    return limits;
}

static struct amb_decoder *new_decoder(const struct amb_codec_limits *limits) {
    struct amb_decoder *decoder = NULL;
    struct amb_error err = AMB_ERROR_NULL;

    assert_ok(amb_decoder_new(&decoder, limits, &err), err);
    return decoder;
}

static int decode_break(struct amb_decoder *decoder, const char *name, struct amb_error *err) {
    struct amb_image image;
    char payload[32];
    int bytes = snprintf(payload, sizeof payload, "BREAK %s", name);

    return amb_decoder_decode(&image, decoder, (const uint8_t *)payload, (size_t)bytes, 3, err);
}

static void make_good(struct amb_buf *out) {
    made_jpeg(out, &(struct made_jpeg){.width = 40, .height = 24, .channels = 3});
}

static void assert_good(struct amb_decoder *decoder) {
    struct amb_buf data = AMB_BUF_NULL;
    struct amb_image image = {0};
    struct amb_error err = AMB_ERROR_NULL;

    make_good(&data);
    assert_ok(amb_decoder_decode(&image, decoder, data.data, data.n_bytes, 3, &err), err);
    assert_int_equal(image.width, 40);
    assert_int_equal(image.height, 24);
    amb_buf_deinit(&data);
}

static void assert_same(const struct amb_image *a, const struct amb_image *b) {
    assert_int_equal(a->width, b->width);
    assert_int_equal(a->height, b->height);
    assert_int_equal(a->channels, b->channels);
    for (uint32_t y = 0; y < a->height; y++) {
        assert_memory_equal(a->data + y * a->row_bytes, b->data + y * b->row_bytes,
                            (size_t)a->width * a->channels);
    }
}

static uint64_t count(_Atomic uint64_t *counter) {
    return atomic_load(counter);
}

static void assert_no_children(void) {
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

static void make_form(struct amb_buf *out, unsigned form) {
    out->n_bytes = 0;
    switch (form) {
    case 0:
        make_good(out);
        break;
    case 1:
        made_jpeg(out, &(struct made_jpeg){.width = 33, .height = 17, .channels = 3, .progressive = true});
        break;
    case 2:
        made_jpeg(out, &(struct made_jpeg){.width = 24, .height = 16, .channels = 4});
        break;
    case 3:
        made_png(out, 24, 16, 6, 6, true);
        break;
    case 4:
        made_png(out, 700, 900, 2, 3, false); /* in an area larger than what is decoded ahead */
        break;
    case 5:
        made_webp(out, 24, 16, false);
        break;
    case 6:
        made_webp(out, 24, 16, true);
        break;
    default:
        made_npy(out, 9, 11, 3, 1);
    }
}
#define N_FORMS 8u

/* Both decoders say the same of a picture: pixels, or code and message. */
static void assert_both(struct amb_decoder *inside, struct amb_decoder *here, const uint8_t *data,
                        size_t bytes) {
    for (uint32_t channels = 1; channels <= 3; channels += 2) {
        struct amb_image a = {0}, b = {0};
        struct amb_error err_a = AMB_ERROR_NULL, err_b = AMB_ERROR_NULL;
        int r = amb_decoder_decode(&b, here, data, bytes, channels, &err_b);

        assert_int_equal(amb_decoder_decode(&a, inside, data, bytes, channels, &err_a), r);
        assert_string_equal(err_a.message, err_b.message);
        if (r == 0) {
            assert_same(&a, &b);
        }
    }
}

TEST(pictures_are_those_of_a_decoder_here) {
    /* Whole, cut and with a changed byte, in every format. Random by a fixed seed. */
    struct amb_sandbox sandbox;
    struct amb_codec_limits limits = limits_of(&sandbox), plain = limits;
    struct amb_decoder *inside = new_decoder(&limits), *here;
    struct amb_buf data = AMB_BUF_NULL;

    plain.sandbox = NULL;
    here = new_decoder(&plain);
    for (unsigned form = 0; form < N_FORMS; form++) {
        make_form(&data, form);
        assert_both(inside, here, data.data, data.n_bytes);
        for (uint32_t i = 0; i < 20; i++) {
            struct amb_philox_block word = amb_philox(5, form, i);
            size_t at = word.w[0] % data.n_bytes;

            assert_both(inside, here, data.data, at);
            data.data[at] ^= (uint8_t)(1 + word.w[1] % 255);
            assert_both(inside, here, data.data, data.n_bytes);
        }
    }
    assert_int_equal(count(&sandbox.counters.n_restarts), 0);
    assert_int_equal(count(&sandbox.counters.n_running), 1);
    assert_true(count(&sandbox.counters.cpu_ns) > 0);
    amb_buf_deinit(&data);
    amb_decoder_free(here);
    amb_decoder_free(inside);
    assert_int_equal(count(&sandbox.counters.n_running), 0);
    assert_no_children();
}

TEST(large_pictures_are_those_of_a_decoder_here) {
    /* What codecs do with large ones only (in pieces, in passes, from large blocks) must pass the filter too;
     * the memory of the largest is given back before the next. */
    struct amb_sandbox sandbox;
    struct amb_codec_limits limits = limits_of(&sandbox), plain;
    struct amb_decoder *inside, *here;
    struct amb_buf data = AMB_BUF_NULL;

    limits.pixels_max = AMB_CODEC_PIXELS_MAX;
    limits.cpu_ns = UINT64_C(60000000000); /* under valgrind or a sanitizer */
    plain = limits;
    plain.sandbox = NULL;
    inside = new_decoder(&limits);
    here = new_decoder(&plain);
    for (unsigned i = 0; i < 5; i += test_stride()) {
        data.n_bytes = 0;
        switch (i) {
        case 0:
            made_webp(&data, 1100, 1000, false);
            break;
        case 1:
            made_jpeg(&data,
                      &(struct made_jpeg){.width = 1100, .height = 900, .channels = 3, .progressive = true});
            break;
        case 2:
            made_png(&data, 2500, 2400, 0, 1, false);
            break;
        case 3:
            made_npy(&data, 3400, 3300, 3, 1);
            break;
        default:
            made_webp(&data, 1100, 1000, true);
        }
        assert_both(inside, here, data.data, data.n_bytes);
        assert_good(inside);
    }
    assert_int_equal(count(&sandbox.counters.n_restarts), 0);
    amb_buf_deinit(&data);
    amb_decoder_free(here);
    amb_decoder_free(inside);
}

TEST(odd_files_are_those_of_a_decoder_here) {
    /* Files of other programs, where AMBIENTD_TEST_DATA names them. */
    const char *folder = getenv("AMBIENTD_TEST_DATA");
    struct amb_sandbox sandbox;
    struct amb_codec_limits limits = limits_of(&sandbox), plain = limits;
    struct amb_decoder *inside, *here;
    struct amb_buf data = AMB_BUF_NULL;
    struct dirent *entry;
    unsigned n = 0;
    char path[512];
    DIR *dir;

    snprintf(path, sizeof path, "%s/odd", folder != NULL ? folder : "");
    dir = opendir(path);
    if (dir == NULL) {
        print_message("AMBIENTD_TEST_DATA names no folder with odd/ in it\n");
        skip();
        return;
    }
    plain.sandbox = NULL;
    inside = new_decoder(&limits);
    here = new_decoder(&plain);
    for (entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        struct stat st;
        FILE *file;

        snprintf(path, sizeof path, "%s/odd/%s", folder, entry->d_name);
        if (stat(path, &st) < 0 || !S_ISREG(st.st_mode)) {
            continue;
        }
        file = fopen(path, "rb");
        assert_non_null(file);
        assert_int_equal(amb_buf_reserve(&data, (size_t)st.st_size + 1), 0);
        data.n_bytes = fread(data.data, 1, (size_t)st.st_size, file);
        fclose(file);
        assert_both(inside, here, data.data, data.n_bytes);
        n++;
    }
    closedir(dir);
    assert_true(n > 0);
    amb_buf_deinit(&data);
    amb_decoder_free(here);
    amb_decoder_free(inside);
}

TEST(limits_bite_in_the_process_too) {
    struct amb_sandbox sandbox;
    struct amb_codec_limits limits = limits_of(&sandbox);
    struct amb_decoder *decoder;
    struct amb_buf data = AMB_BUF_NULL;
    struct amb_image image;
    struct amb_error err = AMB_ERROR_NULL;

    limits.side_max = 40;
    decoder = new_decoder(&limits);
    made_png(&data, 40, 3, 2, 6, false);
    assert_ok(amb_decoder_decode(&image, decoder, data.data, data.n_bytes, 3, &err), err);
    data.n_bytes = 0;
    made_png(&data, 41, 3, 2, 6, false);
    assert_int_equal(amb_decoder_decode(&image, decoder, data.data, data.n_bytes, 3, &err), AMB_ERR_LIMIT);
    assert_int_equal(amb_decoder_decode(&image, decoder, data.data, CELL_INPUT_BYTES + 1, 3, &err),
                     AMB_ERR_LIMIT);
    amb_buf_deinit(&data);
    amb_decoder_free(decoder);
}

TEST(two_fresh_processes_must_die_of_a_picture) {
    /* Faults and forbidden calls: the first process had decoded another picture, so three die. */
    static const struct {
        const char *name, *reason;
    } cases[] = {
        {"segv", "SIGSEGV"},  {"abort", "SIGABRT"}, {"trap", "SIG"},      {"open", "SIGSYS"},
        {"socket", "SIGSYS"}, {"exec", "SIGSYS"},   {"kill", "SIGSYS"},
#if !defined(__SANITIZE_ADDRESS__) &&                                                                        \
    !defined(__SANITIZE_THREAD__) /* there the filter names what it forbids */
        {"fork", "SIGSYS"},   {"code", "SIGSYS"},   {"poison", "SIGSYS"},
#endif
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i += test_stride()) {
        struct amb_sandbox sandbox;
        struct amb_codec_limits limits = limits_of(&sandbox);
        struct amb_decoder *decoder = new_decoder(&limits);
        struct amb_error err = AMB_ERROR_NULL;
        int r;

        assert_good(decoder);
        r = decode_break(decoder, cases[i].name, &err);
        if (r != AMB_ERR_FORMAT || strstr(err.message, cases[i].reason) == NULL) {
            fail_msg("%s: %d, %s", cases[i].name, r, err.message);
        }
        assert_int_equal(count(&sandbox.counters.n_faults), 3);
        assert_int_equal(count(&sandbox.counters.n_refused), 1);
        assert_good(decoder);
        assert_int_equal(count(&sandbox.counters.n_restarts), 3);
        amb_decoder_free(decoder);
    }
    assert_no_children();
}

TEST(answers_that_cannot_be_are_faults) {
    static const char *const names[] = {"wide",   "large", "empty", "behind", "far",
                                        "before", "above", "below", "later",  "count"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i += test_stride()) {
        struct amb_sandbox sandbox;
        struct amb_codec_limits limits = limits_of(&sandbox);
        struct amb_decoder *decoder = new_decoder(&limits);
        struct amb_error err = AMB_ERROR_NULL;
        int r = decode_break(decoder, names[i], &err);

        if (r != AMB_ERR_FORMAT || strstr(err.message, "cannot be") == NULL) {
            fail_msg("%s: %d, %s", names[i], r, err.message);
        }
        assert_int_equal(count(&sandbox.counters.n_faults), 2);
        assert_good(decoder);
        amb_decoder_free(decoder);
    }
    assert_no_children();
}

TEST(messages_of_the_process_are_cleaned) {
    struct amb_sandbox sandbox;
    struct amb_codec_limits limits = limits_of(&sandbox);
    struct amb_decoder *decoder = new_decoder(&limits);
    struct amb_error err = AMB_ERROR_NULL;

    assert_int_equal(decode_break(decoder, "message", &err), AMB_ERR_FORMAT);
    assert_int_equal(strlen(err.message), sizeof err.message - 1);
    assert_null(strchr(err.message, '\x1b'));
    amb_decoder_free(decoder);
}

TEST(time_is_limited_and_no_cause_in_the_bytes) {
    /* One that computes for ever, and one that sleeps for ever, which no CPU clock would see. */
    static const struct {
        const char *name, *reason;
    } cases[] = {{"loop", "10 ms of CPU time"}, {"sleep", "no sign of life"}};

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct amb_sandbox sandbox;
        struct amb_codec_limits limits = limits_of(&sandbox);
        struct amb_decoder *decoder;
        struct amb_error err = AMB_ERROR_NULL;

        limits.cpu_ns = 10000000;
        decoder = new_decoder(&limits);
        assert_int_equal(decode_break(decoder, cases[i].name, &err), -ETIMEDOUT);
        assert_non_null(strstr(err.message, cases[i].reason));
        assert_int_equal(count(&sandbox.counters.n_late), 1);
        assert_int_equal(count(&sandbox.counters.n_refused), 0);
        assert_good(decoder);
        amb_decoder_free(decoder);
    }
    assert_no_children();
}

TEST(time_is_limited_ahead_too) {
    /* The wait ends with the same error, once: its owner need not try the picture twice more. */
    struct amb_sandbox sandbox;
    struct amb_codec_limits limits = limits_of(&sandbox);
    struct amb_decoder *decoder;
    struct amb_image image;
    struct amb_error err = AMB_ERROR_NULL;

    limits.cpu_ns = 10000000;
    decoder = new_decoder(&limits);
    assert_int_equal(amb_decoder_push(decoder, 1, (const uint8_t *)"BREAK loop", 10, 3), 0);
    assert_int_equal(amb_decoder_pop(&image, decoder, 1, &err), -ETIMEDOUT);
    assert_int_equal(amb_decoder_pop(&image, decoder, 1, &err), AMB_DECODER_E_NONE);
    assert_good(decoder);
    amb_decoder_free(decoder);
}

TEST(memory_and_files_are_out_of_reach) {
    /* The process aborts where it gets what it should not; else its payload is just no picture. */
    struct amb_sandbox sandbox;
    struct amb_codec_limits limits = limits_of(&sandbox);
    struct amb_decoder *decoder = new_decoder(&limits);
    struct amb_error err = AMB_ERROR_NULL;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    print_message("a sanitizer's process has stderr, and memory without limit\n");
    amb_decoder_free(decoder);
    skip();
#endif
    assert_int_equal(decode_break(decoder, "memory", &err), AMB_ERR_FORMAT);
    assert_non_null(strstr(err.message, "begins with"));
    assert_int_equal(decode_break(decoder, "write", &err), AMB_ERR_FORMAT);
    assert_non_null(strstr(err.message, "begins with"));
    assert_int_equal(count(&sandbox.counters.n_restarts), 0);
    amb_decoder_free(decoder);
}

TEST(a_process_that_leaves_is_no_cause_in_the_bytes) {
    struct amb_sandbox sandbox;
    struct amb_codec_limits limits = limits_of(&sandbox);
    struct amb_decoder *decoder = new_decoder(&limits);
    struct amb_error err = AMB_ERROR_NULL;

    assert_int_equal(decode_break(decoder, "exit", &err), -EIO);
    assert_non_null(strstr(err.message, "exit status 3"));
    assert_int_equal(count(&sandbox.counters.n_lost), 1);
    assert_good(decoder);
    amb_decoder_free(decoder);
    assert_no_children();
}

/* The one child of this process; 0: none. /proc/self/task/TID/children is only whole while everybody is stopped (proc(5)). */
static pid_t find_child(void) {
    DIR *dir = opendir("/proc");
    pid_t found = 0;

    for (struct dirent *entry = readdir(dir); entry != NULL && found == 0; entry = readdir(dir)) {
        char path[300], text[512] = "", *end;
        FILE *file;
        int parent = 0;

        snprintf(path, sizeof path, "/proc/%s/stat", entry->d_name);
        file = entry->d_name[0] >= '1' && entry->d_name[0] <= '9' ? fopen(path, "r") : NULL;
        if (file == NULL) {
            continue;
        }
        text[fread(text, 1, sizeof text - 1, file)] = '\0';
        fclose(file);
        end = strrchr(text, ')'); /* of the name, which may hold anything */
        if (end != NULL && sscanf(end, ") %*c %d", &parent) == 1 && parent == getpid()) {
            found = (pid_t)atoi(entry->d_name);
        }
    }
    closedir(dir);
    return found;
}

static void *kill_child(void *opaque) {
    struct amb_sandbox *sandbox = opaque;
    pid_t pid = 0;

    while (pid == 0 || atomic_load(&sandbox->counters.n_running) == 0) {
        usleep(20000);
        pid = find_child();
    }
    kill(pid, SIGKILL);
    return NULL;
}

TEST(a_kill_from_outside_is_no_cause_in_the_bytes) {
    /* Once in the middle of a picture, then between two: that one costs nothing but the restart. */
    struct amb_sandbox sandbox;
    struct amb_codec_limits limits = limits_of(&sandbox);
    struct amb_decoder *decoder;
    struct amb_error err = AMB_ERROR_NULL;
    pthread_t killer;
    siginfo_t info;
    pid_t pid;

    limits.cpu_ns = UINT64_C(60000000000);
    decoder = new_decoder(&limits);
    assert_int_equal(pthread_create(&killer, NULL, kill_child, &sandbox), 0);
    assert_int_equal(decode_break(decoder, "loop", &err), -EIO);
    pthread_join(killer, NULL);
    assert_non_null(strstr(err.message, "SIGKILL"));
    assert_int_equal(count(&sandbox.counters.n_lost), 1);
    assert_good(decoder);
    assert_int_equal(count(&sandbox.counters.n_restarts), 1);

    pid = find_child();
    assert_true(pid > 0);
    kill(pid, SIGKILL);
    assert_int_equal(waitid(P_ALL, 0, &info, WEXITED | WNOWAIT), 0);
    assert_good(decoder);
    assert_int_equal(count(&sandbox.counters.n_restarts), 2);
    assert_int_equal(count(&sandbox.counters.n_refused), 0);
    amb_decoder_free(decoder);
    assert_no_children();
}

TEST(pictures_decoded_ahead_are_the_same) {
    /* Ten of a size of which only two fit ahead, popped in order, others decoded between. */
    struct amb_sandbox sandbox;
    struct amb_codec_limits limits = limits_of(&sandbox), plain = limits;
    struct amb_decoder *inside = new_decoder(&limits), *here;
    struct amb_buf data = AMB_BUF_NULL;
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_image a, b;
    uint64_t n = 0, n_max = test_stride() > 1 ? 4 : 10;

    plain.sandbox = NULL;
    here = new_decoder(&plain);
    while (n < n_max) {
        data.n_bytes = 0;
        made_webp(&data, 1000, 900 + (uint32_t)n, false);
        if (amb_decoder_push(inside, n, data.data, data.n_bytes, 3) != 0) {
            break;
        }
        n++;
    }
    assert_true(n >= 4);
    for (uint64_t i = 0; i < n; i++) {
        data.n_bytes = 0;
        made_webp(&data, 1000, 900 + (uint32_t)i, false);
        assert_ok(amb_decoder_decode(&b, here, data.data, data.n_bytes, 3, &err), err);
        assert_ok(amb_decoder_pop(&a, inside, i, &err), err);
        assert_same(&a, &b);
        if (i % 3 == 1) {
            assert_good(inside);
        }
    }
    assert_int_equal(amb_decoder_pop(&a, inside, n, &err), AMB_DECODER_E_NONE);
    assert_int_equal(count(&sandbox.counters.n_restarts), 0);
    amb_buf_deinit(&data);
    amb_decoder_free(here);
    amb_decoder_free(inside);
}

TEST(skipped_and_forgotten_pictures_are_gone) {
    struct amb_sandbox sandbox;
    struct amb_codec_limits limits = limits_of(&sandbox);
    struct amb_decoder *decoder = new_decoder(&limits);
    struct amb_buf data = AMB_BUF_NULL;
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_image image;
    uint64_t n = 0;

    make_good(&data);
    while (amb_decoder_push(decoder, n, data.data, data.n_bytes, 3) == 0) {
        n++;
    }
    assert_int_equal(n, CELL_SLOTS / 2);
    assert_ok(amb_decoder_pop(&image, decoder, 5, &err), err);
    assert_int_equal(amb_decoder_pop(&image, decoder, 4, &err), AMB_DECODER_E_NONE);
    assert_int_equal(amb_decoder_pop(&image, decoder, 5, &err), AMB_DECODER_E_NONE);
    for (unsigned i = 0; i < 2 * CELL_SLOTS; i++) {
        assert_good(decoder); /* more than fit between: what is ahead makes room */
    }
    assert_int_equal(amb_decoder_push(decoder, 100, data.data, data.n_bytes, 3), 0);
    amb_decoder_reset(decoder);
    assert_int_equal(amb_decoder_pop(&image, decoder, 100, &err), AMB_DECODER_E_NONE);
    amb_buf_deinit(&data);
    amb_decoder_free(decoder);
}

TEST(a_death_ahead_blames_nobody_else) {
    /* good, broken, good: the middle one alone is refused, and only after dying alone. */
    struct amb_sandbox sandbox;
    struct amb_codec_limits limits = limits_of(&sandbox);
    struct amb_decoder *decoder = new_decoder(&limits);
    struct amb_buf data = AMB_BUF_NULL;
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_image image;
    int r;

    make_good(&data);
    assert_int_equal(amb_decoder_push(decoder, 0, data.data, data.n_bytes, 3), 0);
    assert_int_equal(amb_decoder_push(decoder, 1, (const uint8_t *)"BREAK segv", 10, 3), 0);
    (void)amb_decoder_push(decoder, 2, data.data, data.n_bytes, 3);
    r = amb_decoder_pop(&image, decoder, 0, &err);
    assert_true(r == 0 || r == AMB_DECODER_E_NONE);
    assert_int_equal(amb_decoder_pop(&image, decoder, 1, &err), AMB_DECODER_E_NONE);
    assert_int_equal(decode_break(decoder, "segv", &err), AMB_ERR_FORMAT);
    assert_int_equal(amb_decoder_pop(&image, decoder, 2, &err), AMB_DECODER_E_NONE);
    assert_good(decoder);
    assert_int_equal(count(&sandbox.counters.n_refused), 1);
    assert_int_equal(count(&sandbox.counters.n_faults), 3);
    amb_buf_deinit(&data);
    amb_decoder_free(decoder);
    assert_no_children();
}

TEST(without_a_process_nothing_is_decoded) {
    /* No program, and one that is no decoder: an error of the moment that says so; never a decoder here. */
    static const struct {
        const char *program, *reason;
    } cases[] = {{"/nonexistent/program", "No such file"}, {"/bin/true", "exit status 0"}};

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct amb_sandbox sandbox;
        struct amb_codec_limits limits = limits_of(&sandbox);
        struct amb_decoder *decoder;
        struct amb_buf data = AMB_BUF_NULL;
        struct amb_image image;
        struct amb_error err = AMB_ERROR_NULL;

        sandbox.program = cases[i].program;
        assert_int_equal(amb_sandbox_check(&limits, &err), -EAGAIN);
        /* 127: valgrind, whose vfork() is a fork(), loses what posix_spawn() says */
        assert_true(strstr(err.message, cases[i].reason) != NULL ||
                    strstr(err.message, "exit status 127") != NULL);
        decoder = new_decoder(&limits);
        make_good(&data);
        for (unsigned j = 0; j < 100; j++) {
            assert_int_equal(amb_decoder_decode(&image, decoder, data.data, data.n_bytes, 3, &err), -EAGAIN);
            assert_true(strstr(err.message, cases[i].reason) != NULL ||
                        strstr(err.message, "exit status 127") != NULL);
        }
        assert_true(count(&sandbox.counters.n_restarts) < 50); /* most were not even tried */
        assert_int_equal(amb_decoder_push(decoder, 1, data.data, data.n_bytes, 3), AMB_DECODER_E_FULL);
        amb_buf_deinit(&data);
        amb_decoder_free(decoder);
    }
    assert_no_children();
}

TEST(a_decoder_without_sandbox_decodes_nothing_ahead) {
    struct amb_decoder *decoder = new_decoder(&AMB_CODEC_LIMITS_DEFAULT);
    struct amb_image image;

    assert_false(amb_decoder_is_ahead(decoder));
    assert_int_equal(amb_decoder_push(decoder, 1, (const uint8_t *)"", 0, 3), AMB_DECODER_E_FULL);
    assert_int_equal(amb_decoder_pop(&image, decoder, 1, NULL), AMB_DECODER_E_NONE);
    amb_decoder_free(decoder);
}

struct job {
    const struct amb_codec_limits *limits;
    pthread_t thread;
    unsigned n_good, n_refused;
};

static void *work(void *opaque) {
    struct job *job = opaque;
    struct amb_decoder *decoder = NULL;
    struct amb_buf data = AMB_BUF_NULL;
    struct amb_image image;

    make_good(&data);
    if (amb_decoder_new(&decoder, job->limits, NULL) == 0) {
        for (unsigned i = 0; i < 40; i++) {
            bool good = i % 20 != 13;
            const uint8_t *bytes = good ? data.data : (const uint8_t *)"BREAK abort";
            int r = amb_decoder_decode(&image, decoder, bytes, good ? data.n_bytes : 11, 3, NULL);

            job->n_good += good && r == 0;
            job->n_refused += !good && r == AMB_ERR_FORMAT;
        }
    }
    amb_decoder_free(decoder);
    amb_buf_deinit(&data);
    return NULL;
}

TEST(many_threads_have_processes_of_their_own) {
    struct amb_sandbox sandbox;
    struct amb_codec_limits limits = limits_of(&sandbox);
    struct job jobs[8] = {0};

    for (size_t i = 0; i < 8; i++) {
        jobs[i].limits = &limits;
        assert_int_equal(pthread_create(&jobs[i].thread, NULL, work, &jobs[i]), 0);
    }
    for (size_t i = 0; i < 8; i++) {
        pthread_join(jobs[i].thread, NULL);
        assert_int_equal(jobs[i].n_good, 38);
        assert_int_equal(jobs[i].n_refused, 2);
    }
    assert_int_equal(count(&sandbox.counters.n_refused), 16);
    assert_int_equal(count(&sandbox.counters.n_running), 0);
    assert_no_children();
}

TEST(a_process_dies_with_its_parent) {
    /* A child starts a decoder, is killed, and its process, ours now, is gone too. */
    struct amb_sandbox sandbox;
    struct amb_codec_limits limits = limits_of(&sandbox);
    int status, pipes[2];
    pid_t child;
    char byte;

    assert_int_equal(pipe2(pipes, 0), 0); /* the write end must not be inherited by the decoder process */
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    child = fork();
    if (child == 0) {
        struct amb_decoder *decoder = NULL;

        close(pipes[0]);
        if (amb_decoder_new(&decoder, &limits, NULL) < 0 ||
            decode_break(decoder, "none", NULL) != AMB_ERR_FORMAT || write(pipes[1], "x", 1) != 1) {
            _exit(1);
        }
        pause();
        _exit(2);
    }
    close(pipes[1]);
    assert_int_equal(read(pipes[0], &byte, 1), 1);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(read(pipes[0], &byte, 1), 0); /* nobody holds the other end */
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(waitpid(-1, &status, 0) > 0);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_no_children();
    prctl(PR_SET_CHILD_SUBREAPER, 0);
    close(pipes[0]);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(pictures_are_those_of_a_decoder_here),
    cmocka_unit_test(large_pictures_are_those_of_a_decoder_here),
    cmocka_unit_test(odd_files_are_those_of_a_decoder_here),
    cmocka_unit_test(limits_bite_in_the_process_too),
    cmocka_unit_test(two_fresh_processes_must_die_of_a_picture),
    cmocka_unit_test(answers_that_cannot_be_are_faults),
    cmocka_unit_test(messages_of_the_process_are_cleaned),
    cmocka_unit_test(time_is_limited_and_no_cause_in_the_bytes),
    cmocka_unit_test(time_is_limited_ahead_too),
    cmocka_unit_test(memory_and_files_are_out_of_reach),
    cmocka_unit_test(a_process_that_leaves_is_no_cause_in_the_bytes),
    cmocka_unit_test(a_kill_from_outside_is_no_cause_in_the_bytes),
    cmocka_unit_test(pictures_decoded_ahead_are_the_same),
    cmocka_unit_test(skipped_and_forgotten_pictures_are_gone),
    cmocka_unit_test(a_death_ahead_blames_nobody_else),
    cmocka_unit_test(without_a_process_nothing_is_decoded),
    cmocka_unit_test(a_decoder_without_sandbox_decodes_nothing_ahead),
    cmocka_unit_test(many_threads_have_processes_of_their_own),
    cmocka_unit_test(a_process_dies_with_its_parent),
};

/* This program is its own decoder process. */
int tests_main(int argc, char **argv);
#define main tests_main
TEST_MAIN(tests)
#undef main

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], AMB_SANDBOX_ARGUMENT) == 0) {
        return amb_sandbox_serve(hook);
    }
    /* Signals are to be seen as they are, not as a sanitizer's report. */
    setenv("ASAN_OPTIONS", "handle_segv=0:handle_sigbus=0:handle_sigill=0:handle_abort=0:handle_sigfpe=0", 1);
    setenv("TSAN_OPTIONS", "handle_segv=0:handle_sigbus=0:handle_sigill=0:handle_abort=0:handle_sigfpe=0", 1);
    return tests_main(argc, argv);
}
