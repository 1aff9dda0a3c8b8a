#pragma once
/* Test onnx: small models written byte by byte, and the releases of ONNX Runtime that a test may run them in. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "annotate/model.h"
#include "base/buf.h"

enum { TEST_F32 = 1, TEST_I64 = 7, TEST_F64 = 11 }; /* TensorProto.DataType */
enum { GRAPH_NODE = 1, GRAPH_INITIALIZER = 5, GRAPH_INPUT = 11, GRAPH_OUTPUT = 12 };

/* Protobuf: append a field to a message. */
void put_varint(struct amb_buf *buf, uint64_t value);
void put_number(struct amb_buf *buf, uint32_t field, uint64_t value);
void put_bytes(struct amb_buf *buf, uint32_t field, const void *data, size_t n);
void put_text(struct amb_buf *buf, uint32_t field, const char *text);
void put_message(struct amb_buf *buf, uint32_t field, struct amb_buf *message); /* takes the message */

/* Tensor whose bytes lie in the file `location`. */
struct amb_buf tensor_external(const char *name, const int64_t *dims, size_t n_dims, const char *location,
                               size_t location_bytes);

/* Input or output; a dimension below zero is open and has a name. */
void put_value(struct amb_buf *graph, uint32_t field, const char *name, int dtype, const int64_t *dims, size_t n_dims);

/* Node of one or two inputs. */
void put_node(struct amb_buf *graph, const char *op, const char *a, const char *b, const char *output);

/* Model around a graph, which it takes. */
struct amb_buf model_end(struct amb_buf *graph);

/* A classifier whose answers are known: logit = mean(x) - sigma, plus label / 2 where it has labels. */
#define TEST_LABELS 10

struct made {
    int64_t batch;                   /* 0: open */
    int64_t channels, height, width; /* -1: open; all 0: 3, 4, 5 */
    enum amb_model_labels labels;
    unsigned n_outputs;              /* 0: [N]; else [N,K] of logit, -logit, logit, ... */
    bool sigma_column;               /* sigma is [N,1] */
    bool log;                        /* the logit is the logarithm of it: NaN where sigma is above mean(x) */
    const char *x, *sigma, *more;    /* other names; more: one more input */
    int x_dtype, labels_dtype;       /* other types */
    const char *location;            /* the table of labels is external data: TEST_LABELS floats */
    int output_dtype;                /* TEST_F64: cast */
};
struct amb_buf made_encode(const struct made *made);

/* Files in a folder of the test; paths are valid for four further calls. */
struct test_folder {
    char path[64];
};
struct test_folder folder_new(void);
void folder_free(struct test_folder *folder);
const char *folder_path(const struct test_folder *folder, const char *name);
const char *folder_store(const struct test_folder *folder, const char *name, const void *data, size_t n);
const char *folder_store_made(const struct test_folder *folder, const char *name, const struct made *made);

/* Begin a thread and wait for its end: with a process's first, sanitizers begin one of their own, which counts too. */
void test_thread_once(void);

/*
 * Library that the environment's AMBIENTD_TEST_ORT names: a path, "newest" (the wheel in build/venv; the default),
 * "1.19.2" (the oldest allowed, in build/onnxruntime-1.19.2) or "system" (libonnxruntime.so.1, Debian's .so.1.21).
 * NULL, and said why: absent.
 */
const char *test_ort_find(void);
const char *test_ort_library(void); /* skips the test where find gives NULL */
