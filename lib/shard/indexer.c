/*
 * Indexer: what all formats share. The scanner pushes members in the order in which samples are to be
 * numbered; a run of equal keys is kept until the key changes, then becomes a sample if it holds a picture.
 *
 * Label, first that is there: the field `label_key` of .json if that option is set (then nothing else), .cls,
 * what the format knows. A label that is there but is none (text in .cls, a fraction) is counted and told,
 * and the sample has no label: one bad file must not keep a million good ones from training.
 */
#include "shard/indexer.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/size.h"

struct indexer_run {
    struct amb_member *members;
    size_t n, key_bytes;
};

void amb_indexer_init(struct amb_indexer *indexer, enum amb_shard_format shard_format,
                      const struct amb_indexer_format *format, const struct amb_index_options *options,
                      void *opaque) {
    memset(indexer, 0, sizeof *indexer);
    amb_index_builder_init(&indexer->builder, shard_format, options->corruption_key != NULL);
    indexer->format = format;
    indexer->options = options;
    indexer->opaque = opaque;
}

void amb_indexer_deinit(struct amb_indexer *indexer) {
    amb_index_builder_deinit(&indexer->builder);
    amb_buf_deinit(&indexer->members);
    amb_buf_deinit(&indexer->names);
    amb_buf_deinit(&indexer->text);
    amb_buf_deinit(&indexer->floats);
}

static const struct amb_member *run_find(const struct indexer_run *run, const char *ext) {
    for (size_t i = 0; i < run->n; i++) {
        const struct amb_member *m = &run->members[i];

        if (amb_member_ext_equal(m->name + run->key_bytes + 1, m->name_bytes - run->key_bytes - 1, ext,
                                 strlen(ext))) {
            return m;
        }
    }
    return NULL;
}

static const struct amb_member *run_find_picture(const struct indexer_run *run) {
    const struct amb_member *picture = NULL;
    enum amb_member_rank best = AMB_RANK_NONE;

    for (size_t i = 0; i < run->n; i++) {
        enum amb_member_rank rank = amb_member_rank_get(run->members[i].name, run->members[i].name_bytes);

        if (rank < best) {
            best = rank;
            picture = &run->members[i];
        }
    }
    return picture;
}

static void note_text(char out[AMB_INDEX_TEXT_BYTES], const char *text, size_t bytes) {
    if (out[0] == '\0') {
        snprintf(out, AMB_INDEX_TEXT_BYTES, "%.*s", (int)amb_size_min(bytes, AMB_INDEX_TEXT_BYTES - 1), text);
    }
}

static void indexer_note_bad(struct amb_indexer *indexer, const struct amb_member *member,
                             struct amb_label *label) {
    struct amb_index_notes *notes = &indexer->builder.notes;

    notes->n_bad_labels++;
    note_text(notes->first_bad_label, member->name, member->name_bytes);
    *label = AMB_LABEL_NULL;
}

/* text is filled; BAD where the member is too long to be a label. */
static int indexer_load(bool *ok, struct amb_indexer *indexer, const struct amb_member *member,
                        struct amb_error *err) {
    int r = indexer->format->load(&indexer->text, indexer->opaque, member, err);

    *ok = r != AMB_INDEXER_E_LONG;
    return *ok ? r : 0;
}

static int indexer_get_field(struct amb_label *out, struct amb_indexer *indexer,
                             const struct indexer_run *run, const char *field, struct amb_error *err) {
    const struct amb_member *json = run_find(run, "json");
    bool ok;
    int r;

    *out = AMB_LABEL_NULL;
    if (json == NULL) {
        return 0;
    }
    r = indexer_load(&ok, indexer, json, err);
    if (r < 0) {
        return r;
    }
    out->kind = AMB_LABEL_KIND_BAD;
    if (ok) {
        *out = amb_label_decode_field(&indexer->floats, indexer->text.data, indexer->text.n_bytes, field);
    }
    if (out->kind == AMB_LABEL_KIND_NO_MEMORY) {
        return amb_fail(err, -ENOMEM, "index: out of memory");
    }
    if (out->kind == AMB_LABEL_KIND_BAD) {
        indexer_note_bad(indexer, json, out);
    }
    return 0;
}

static int indexer_get_label(struct amb_label *out, struct amb_indexer *indexer,
                             const struct indexer_run *run, const struct amb_member *picture,
                             struct amb_error *err) {
    const struct amb_member *cls;
    bool ok;
    int r;

    *out = AMB_LABEL_NULL;
    if (indexer->options->label_key != NULL) {
        return indexer_get_field(out, indexer, run, indexer->options->label_key, err);
    }
    cls = run_find(run, "cls");
    if (cls == NULL) {
        if (indexer->format->label != NULL) {
            *out = indexer->format->label(indexer->opaque, picture);
        }
        return 0;
    }
    r = indexer_load(&ok, indexer, cls, err);
    if (r < 0) {
        return r;
    }
    out->kind = AMB_LABEL_KIND_BAD;
    if (ok) {
        *out = amb_label_decode_cls(indexer->text.data, indexer->text.n_bytes);
    }
    if (out->kind == AMB_LABEL_KIND_BAD) {
        indexer_note_bad(indexer, cls, out);
    }
    return 0;
}

static int indexer_get_corruption(int64_t *out, struct amb_indexer *indexer, const struct indexer_run *run,
                                  struct amb_error *err) {
    struct amb_label label;
    int r;

    *out = AMB_LABEL_NONE;
    if (indexer->options->corruption_key == NULL) {
        return 0;
    }
    r = indexer_get_field(&label, indexer, run, indexer->options->corruption_key, err);
    if (r == 0 && label.kind == AMB_LABEL_KIND_INT) {
        *out = label.value;
    }
    return r;
}

static int indexer_push_sides(struct amb_indexer *indexer, const struct indexer_run *run,
                              const struct amb_member *picture, struct amb_error *err) {
    int r = 0;

    for (size_t i = 0; i < run->n && r == 0; i++) {
        const struct amb_member *m = &run->members[i];

        if (m != picture) {
            r = amb_index_push_side(&indexer->builder, m->place, m->name + run->key_bytes + 1,
                                    m->name_bytes - run->key_bytes - 1, err);
        }
    }
    return r;
}

/* People who keep cat.jpg and cat.png side by side may mean two samples; they are told that it is one. */
static void indexer_note_hidden(struct amb_indexer *indexer, const struct indexer_run *run,
                                const struct amb_member *picture) {
    for (size_t i = 0; i < run->n; i++) {
        const struct amb_member *m = &run->members[i];

        if (m != picture && amb_member_rank_get(m->name, m->name_bytes) == AMB_RANK_PICTURE) {
            indexer->builder.notes.n_hidden++;
            note_text(indexer->builder.notes.first_hidden, m->name, m->name_bytes);
        }
    }
}

static int indexer_push_sample(struct amb_indexer *indexer, const struct indexer_run *run,
                               const struct amb_member *picture, struct amb_error *err) {
    uint8_t record[AMB_INDEX_RECORD_BYTES] = {0};
    struct amb_label label;
    int64_t corruption;
    int r;

    r = indexer_get_corruption(&corruption, indexer, run, err);
    if (r == 0) {
        r = indexer_get_label(&label, indexer, run, picture, err);
    }
    if (r == 0) {
        r = indexer->format->pack(record, &run->members[0], picture, err);
    }
    if (r == 0) {
        r = amb_index_push(&indexer->builder, record, indexer->options->prefix, picture->name,
                           picture->name_bytes, run->key_bytes, &label, corruption, err);
    }
    return r == 0 && indexer->format->has_side ? indexer_push_sides(indexer, run, picture, err) : r;
}

static int indexer_end_run(struct amb_indexer *indexer, struct amb_error *err) {
    struct indexer_run run = {(struct amb_member *)(void *)indexer->members.data, indexer->n_run, 0};
    const struct amb_member *picture;

    if (run.n == 0) {
        return 0;
    }
    for (size_t i = 0; i < run.n; i++) {
        run.members[i].name = (const char *)indexer->names.data + (size_t)run.members[i].name;
    }
    run.key_bytes = amb_member_key(run.members[0].name, run.members[0].name_bytes);
    indexer->n_run = 0;
    indexer->members.n_bytes = 0;
    indexer->names.n_bytes = 0;
    picture = run_find_picture(&run);
    if (picture == NULL) {
        indexer->builder.notes.n_without_image++;
        note_text(indexer->builder.notes.first_without_image, run.members[0].name, run.key_bytes);
        return 0;
    }
    indexer_note_hidden(indexer, &run, picture);
    return indexer_push_sample(indexer, &run, picture, err);
}

/* Name of the i-th member of the run that is open. */
static const char *indexer_peek_name(const struct amb_indexer *indexer, size_t i, size_t *bytes) {
    const struct amb_member *m = (const struct amb_member *)(const void *)indexer->members.data + i;

    *bytes = m->name_bytes;
    return (const char *)indexer->names.data + (size_t)m->name;
}

static bool indexer_continues(const struct amb_indexer *indexer, const struct amb_member *member,
                              size_t key_bytes) {
    size_t bytes;
    const char *name;

    if (indexer->n_run == 0) {
        return false;
    }
    name = indexer_peek_name(indexer, 0, &bytes);
    return amb_member_key(name, bytes) == key_bytes && memcmp(name, member->name, key_bytes) == 0;
}

static int indexer_check_repeat(const struct amb_indexer *indexer, const struct amb_member *member,
                                struct amb_error *err) {
    for (size_t i = 0; i < indexer->n_run; i++) {
        size_t bytes;
        const char *name = indexer_peek_name(indexer, i, &bytes);

        if (bytes == member->name_bytes && memcmp(name, member->name, bytes) == 0) {
            return amb_fail(err, AMB_ERR_DUPLICATE,
                            "member '%.*s' comes twice in one sample (the second at %llu); readers "
                            "disagree on which one counts: write the archive anew",
                            (int)amb_size_min(bytes, 200), name, (unsigned long long)member->place);
        }
    }
    if (indexer->n_run == AMB_RUN_MEMBERS_MAX) {
        return amb_fail(err, AMB_ERR_LIMIT,
                        "more than %u members of one sample, at '%.*s': the key ends at the first dot of "
                        "the base name, so name frames a-0001.png, not a.0001.png",
                        AMB_RUN_MEMBERS_MAX, (int)amb_size_min(member->name_bytes, 200), member->name);
    }
    return 0;
}

int amb_indexer_push(struct amb_indexer *indexer, const struct amb_member *member, struct amb_error *err) {
    size_t key_bytes = amb_member_key(member->name, member->name_bytes);
    struct amb_member kept = *member;
    int r = amb_rest_step(indexer->options->rest, err);

    indexer->builder.notes.n_members++;
    if (r < 0 || key_bytes == 0) {
        return r;
    }
    if (!indexer_continues(indexer, member, key_bytes)) {
        r = indexer_end_run(indexer, err);
        if (r < 0) {
            return r;
        }
    }
    r = indexer_check_repeat(indexer, member, err);
    if (r < 0) {
        return r;
    }
    kept.name = (const char *)indexer->names.n_bytes; /* an offset: names may still move */
    r = amb_buf_push(&indexer->names, member->name, member->name_bytes);
    if (r == 0) {
        r = amb_buf_push(&indexer->members, &kept, sizeof kept);
    }
    if (r < 0) {
        return amb_fail(err, r, "index: out of memory");
    }
    indexer->n_run++;
    return 0;
}

int amb_indexer_finish(struct amb_indexer *indexer, struct amb_error *err) {
    const struct amb_index_notes *notes = &indexer->builder.notes;
    int r = indexer_end_run(indexer, err);

    if (r < 0) {
        return r;
    }
    if (indexer->builder.n_samples == 0 && notes->n_members != 0) {
        return amb_fail(err, AMB_ERR_FORMAT,
                        "holds no picture among %llu members (first key: '%s'); pictures end in .png, "
                        ".jpg, .jpeg, .webp or .npy, with a key before the first dot",
                        (unsigned long long)notes->n_members, notes->first_without_image);
    }
    return 0;
}
