#pragma once
/* Indexer: members in order -> samples: runs of equal key, their picture, their label. */
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "shard/index.h"
#include "shard/label.h"
#include "shard/member.h"
#include "shard/rest.h"

#define AMB_RUN_MEMBERS_MAX                                                                                  \
    256u /* of one sample; more are frames named a.0001.png, a.0002.png; not tuned                           \
          */
#define AMB_SIDE_TEXT_MAX (1u << 20) /* .cls and .json read while indexing; not tuned */

enum amb_indexer_outcome {
    AMB_INDEXER_E_LONG = 1, /* a text of more than AMB_SIDE_TEXT_MAX bytes */
};

/* Borrowed. */
struct amb_index_options {
    const char *prefix;         /* before each key: "" or "base name of the shard/" */
    const char *label_key;      /* or NULL */
    const char *corruption_key; /* or NULL */
    struct amb_rest *rest;      /* a step for each member; or NULL */
};

/* What the format adds: callbacks get the scanner's own state. */
struct amb_indexer_format {
    /* Read a member of at most AMB_SIDE_TEXT_MAX bytes whole, or AMB_INDEXER_E_LONG. */
    int (*load)(struct amb_buf *out, void *opaque, const struct amb_member *member, struct amb_error *err);
    /* Fill bytes 0-12 of the record of a sample. 0 or AMB_ERR_LIMIT. */
    int (*pack)(uint8_t record[AMB_INDEX_RECORD_BYTES], const struct amb_member *first,
                const struct amb_member *picture, struct amb_error *err);
    /* Label of a picture that comes from elsewhere (dataset.json, name of the folder); NULL ok. */
    struct amb_label (*label)(void *opaque, const struct amb_member *picture);
    bool has_side; /* members beside the picture go into the index */
};

struct amb_indexer {
    struct amb_index_builder builder;
    const struct amb_index_options *options;
    const struct amb_indexer_format *format;
    void *opaque;
    size_t n_run;           /* members of the run that is open */
    struct amb_buf members; /* struct amb_member of the run; name is an offset in names until it ends */
    struct amb_buf names;
    struct amb_buf text, floats;
};

void amb_indexer_init(struct amb_indexer *indexer, enum amb_shard_format shard_format,
                      const struct amb_indexer_format *format, const struct amb_index_options *options,
                      void *opaque);
void amb_indexer_deinit(struct amb_indexer *indexer); /* idempotent */

/**
 * Add the next member; names that belong to no sample are counted and forgotten.
 *
 * Errors: AMB_ERR_DUPLICATE a name twice in one run; AMB_ERR_LIMIT; those of load. One thread.
 */
int amb_indexer_push(struct amb_indexer *indexer, const struct amb_member *member, struct amb_error *err);

/* End the last run. AMB_ERR_FORMAT where there were members but no picture at all. */
int amb_indexer_finish(struct amb_indexer *indexer, struct amb_error *err);
