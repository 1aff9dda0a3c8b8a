/*
 * Folder, scan: files in sorted order of their paths, as the datasets that read such folders number them.
 * Label of a picture: its entry in dataset.json, if the folder has one; else the class folder, the first
 * folder of its path, numbered in sorted order.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/size.h"
#include "proto/wire.h"
#include "shard/folder.h"
#include "shard/payload.h"

static const char *folder_name(const struct amb_folder *folder, const struct amb_folder_file *file) {
    return (const char *)folder->names.data + file->name;
}

static int folder_load(struct amb_buf *out, void *opaque, const struct amb_member *member,
                       struct amb_error *err) {
    const struct amb_folder *folder = opaque;

    return member->bytes > AMB_SIDE_TEXT_MAX
               ? AMB_INDEXER_E_LONG
               : amb_folder_read(out, folder->fd, folder->path, member->name, member->name_bytes, member->place, err);
}

static int folder_pack(uint8_t record[AMB_INDEX_RECORD_BYTES], const struct amb_member *first,
                       const struct amb_member *picture, struct amb_error *err) {
    (void)first;
    (void)err;
    ambp_store_u64le(record, picture->place);
    ambp_store_u32le(record + 8,
                     picture->bytes < AMB_INDEX_BYTES_OVER ? (uint32_t)picture->bytes : AMB_INDEX_BYTES_OVER);
    return 0;
}

/* The file of this name: files are sorted. */
static const struct amb_folder_file *folder_find(const struct amb_folder *folder, const char *name,
                                                 size_t n) {
    size_t lo = 0, hi = folder->n_files;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        const struct amb_folder_file *f = &folder->files[mid];
        int order = memcmp(folder_name(folder, f), name, amb_size_min(f->name_bytes, n));

        if (order == 0 && f->name_bytes == n) {
            return f;
        }
        if (order < 0 || (order == 0 && f->name_bytes < n)) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return NULL;
}

static struct amb_label folder_label(void *opaque, const struct amb_member *picture) {
    const struct amb_folder *folder = opaque;
    const struct amb_folder_file *file;

    if (folder->labels != NULL) {
        return amb_labels_get(folder->labels, picture->name, picture->name_bytes);
    }
    file = folder_find(folder, picture->name, picture->name_bytes);
    if (file == NULL || file->class_number == UINT32_MAX) {
        return AMB_LABEL_NULL;
    }
    return (struct amb_label){.kind = AMB_LABEL_KIND_INT, .value = file->class_number};
}

const struct amb_indexer_format amb_folder_format = {folder_load, folder_pack, folder_label, true};

/*
 * Number the first folders. Files of one folder are neighbours in the sorted list ("a-b/" sorts before "a/",
 * but all of "a/" is one run), and runs are sorted by the name with its slash; classes are numbered by that
 * order of bytes without the slash, as sorted() of the names would, so runs are put in order by a second
 * look.
 */
static int class_compare(const char *a, size_t a_bytes, const char *b, size_t b_bytes) {
    int order = memcmp(a, b, amb_size_min(a_bytes, b_bytes));

    return order != 0 ? order : (a_bytes > b_bytes) - (a_bytes < b_bytes);
}

static size_t class_bytes(const struct amb_folder *folder, const struct amb_folder_file *file) {
    const char *name = folder_name(folder, file), *slash = memchr(name, '/', file->name_bytes);

    return slash == NULL ? 0 : (size_t)(slash - name);
}

/* A run of files of one class that holds a picture, by its first file. */
struct class_run {
    size_t first, bytes;
};

static int class_run_compare(const void *a, const void *b, void *opaque) {
    const struct amb_folder *folder = opaque;
    const struct class_run *x = a, *y = b;

    return class_compare(folder_name(folder, &folder->files[x->first]), x->bytes,
                         folder_name(folder, &folder->files[y->first]), y->bytes);
}

static int folder_collect_classes(struct amb_buf *runs, const struct amb_folder *folder) {
    bool has_picture = false;
    struct class_run run = {0, 0};
    int r = 0;

    for (size_t i = 0; i <= folder->n_files && r == 0; i++) {
        const struct amb_folder_file *f = i < folder->n_files ? &folder->files[i] : NULL;
        size_t n = f == NULL ? 0 : class_bytes(folder, f);

        if (f == NULL || n != run.bytes ||
            memcmp(folder_name(folder, f), folder_name(folder, &folder->files[run.first]), n) != 0) {
            if (has_picture && run.bytes != 0) {
                r = amb_buf_push(runs, &run, sizeof run);
            }
            run = (struct class_run){i, n};
            has_picture = false;
        }
        has_picture |=
            f != NULL && amb_member_rank_get(folder_name(folder, f), f->name_bytes) != AMB_RANK_NONE;
    }
    return r;
}

static int folder_number_classes(struct amb_folder *folder, struct amb_error *err) {
    AMB_CLEANUP(amb_buf_deinit) struct amb_buf buf = AMB_BUF_NULL;
    struct class_run *runs;
    size_t n;

    if (folder_collect_classes(&buf, folder) < 0) {
        return amb_fail(err, -ENOMEM, "%s: out of memory", folder->path);
    }
    runs = (struct class_run *)(void *)buf.data;
    n = buf.n_bytes / sizeof *runs;
    if (n != 0) {
        qsort_r(runs, n, sizeof *runs, class_run_compare, folder);
    }
    for (size_t k = 0; k < n; k++) {
        const char *name = folder_name(folder, &folder->files[runs[k].first]);

        for (size_t i = runs[k].first; i < folder->n_files; i++) {
            if (class_bytes(folder, &folder->files[i]) != runs[k].bytes ||
                memcmp(folder_name(folder, &folder->files[i]), name, runs[k].bytes) != 0) {
                break;
            }
            folder->files[i].class_number = (uint32_t)k;
        }
    }
    return 0;
}

static int folder_load_labels(struct amb_folder *folder, const struct amb_folder_file *file,
                              struct amb_error *err) {
    AMB_CLEANUP(amb_buf_deinit) struct amb_buf text = AMB_BUF_NULL;
    struct amb_error why;
    int r = amb_folder_read(&text, folder->fd, folder->path, folder_name(folder, file), file->name_bytes,
                            file->identity, err);

    if (r < 0) {
        return r;
    }
    r = amb_labels_new(&folder->labels, text.data, text.n_bytes, &why);
    return r < 0 ? amb_fail(err, r, "%s: %s", folder->path, why.message) : 0;
}

int amb_folder_scan(struct amb_indexer *indexer, struct amb_folder *folder, struct amb_error *err) {
    const struct amb_folder_file *json = folder_find(folder, "dataset.json", 12);
    int r = json != NULL ? folder_load_labels(folder, json, err) : 0;

    if (r == 0 && folder->labels == NULL) {
        r = folder_number_classes(folder, err);
    }
    indexer->builder.notes.n_symlinks = folder->n_symlinks;
    for (size_t i = 0; i < folder->n_files && r == 0; i++) {
        const struct amb_folder_file *f = &folder->files[i];
        struct amb_member member = {folder_name(folder, f), f->name_bytes, f->identity, 0, f->bytes, 0};

        if (f != json) {
            r = amb_indexer_push(indexer, &member, err);
        }
    }
    if (r == 0 && folder->n_files == 0) {
        return amb_fail(err, AMB_ERR_FORMAT,
                        "holds no files (%llu symbolic links are passed over: links inside a folder "
                        "are not followed; give the folder that they point to)",
                        (unsigned long long)folder->n_symlinks);
    }
    return r == 0 ? amb_indexer_finish(indexer, err) : r;
}
