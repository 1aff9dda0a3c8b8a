/*
 * Journal: the folder of an annotation store, on a disk in memory, recovered twice and then written to.
 *
 * Raw bytes would never get past the checksums, so the input says how the folder is made: records, rows, curves,
 * generations and their undo with salts and checksums that fit, segments, a table, and then what is damaged in them.
 * Whatever comes out of it, opening answers a typed error, or a store: all of it is read, a second recovery finds the
 * same and changes nothing, what is then appended is there after the next, and compaction changes nothing but places.
 */
#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>

#include "annotate/store-private.h"
#include "annotate/store-row.h"
#include "annotate/store-undo.h"
#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/test-disk.h"

#define N_SAMPLES    16u /* of a generation */
#define N_UIDS       8u
#define SEGMENTS_MAX 12u
#define OPS_MAX      100u

static const uint8_t store_id[16] = "fuzz's own store";

/* The input, byte by byte; zeros behind its end. */
struct input {
    const uint8_t *at, *end;
};

static uint8_t take_u8(struct input *in) {
    return in->at < in->end ? *in->at++ : 0;
}

static uint16_t take_u16(struct input *in) {
    uint8_t low = take_u8(in);

    return (uint16_t)(low | take_u8(in) << 8);
}

/* The folder as it is made. */
struct maker {
    struct input in;
    struct test_disk *disk;
    char file[TEST_DISK_NAME]; /* that records go to */
    uint64_t number;           /* of the segment; 0: the table's meta */
    uint64_t sequence;         /* that would follow */
    uint32_t n_segments;
    struct amb_manifest manifest;
    struct amb_buf rows, curves, bulk, meta; /* of the table */
    bool has_odd_rows; /* of no origin there is: more of them than a search looks at */
    bool is_untidy; /* the table is out of order, or not what the manifest says, though every checksum fits */
};

static void file_append(struct maker *maker, const void *data, size_t bytes) {
    const struct amb_io *io = &maker->disk->io;
    char path[128];
    uint64_t size = 0;
    int fd;

    snprintf(path, sizeof path, "%s/%s", TEST_DISK_DIR, maker->file);
    fd = io->open(io->opaque, path, O_RDWR | O_CREAT, 0600);
    FUZZ_REQUIRE(fd >= 0 && io->size(io->opaque, &size, fd) == 0);
    FUZZ_REQUIRE(amb_io_write(io, fd, data, bytes, size) == 0);
    io->close(io->opaque, fd);
}

static void maker_append(struct maker *maker, const void *data, size_t bytes) {
    if (maker->number != 0) {
        file_append(maker, data, bytes);
    } else {
        FUZZ_REQUIRE(amb_buf_push(&maker->meta, data, bytes) == 0);
    }
}

/* A record whose header fits; `twist` says what does not. */
static void maker_record(struct maker *maker, uint8_t type, const uint8_t *payload, uint32_t bytes, uint8_t twist,
                         int8_t sequence_off) {
    static uint8_t record[AMB_RECORD_HEADER_BYTES + 65536];
    const struct amb_record_header header = {.salt = amb_store_salt(store_id, maker->number) + ((twist & 1) != 0),
                                             .sequence = maker->sequence + (uint64_t)sequence_off,
                                             .payload_bytes = bytes,
                                             .type = type};

    if (bytes != 0) {
        memcpy(record + AMB_RECORD_HEADER_BYTES, payload, bytes);
    }
    amb_record_seal(record, &header);
    record[4] ^= (twist & 2) != 0;
    maker_append(maker, record, AMB_RECORD_HEADER_BYTES + bytes - ((twist & 4) != 0 ? bytes / 2 : 0));
}

static void make_raw_record(struct maker *maker) {
    uint8_t payload[1024];
    const uint8_t type = take_u8(&maker->in), twist = take_u8(&maker->in);
    const int8_t off = (int8_t)take_u8(&maker->in);
    uint32_t n = take_u16(&maker->in) % (sizeof payload + 1);

    for (uint32_t i = 0; i < n; i++) {
        payload[i] = take_u8(&maker->in);
    }
    maker_record(maker, type % 12, payload, n, twist, off);
    maker->sequence += type % 12 != AMB_RECORD_MARK;
}

/* Few keys, so that some hide others. */
static void fuzz_uid(uint8_t uid[16], uint8_t i) {
    memset(uid, 0, 16);
    uid[0] = (uint8_t)(i % N_UIDS * 32);
    uid[15] = i % N_UIDS;
}

static void take_row(uint8_t row[AMB_ROW_BYTES], struct maker *maker, uint64_t sequence) {
    memset(row, 0, AMB_ROW_BYTES);
    fuzz_uid(row, take_u8(&maker->in));
    row[16] = take_u8(&maker->in) % 2;
    amb_store_f32le(row + 20, take_u8(&maker->in) / 16.0f);
    amb_store_f32le(row + 24, take_u8(&maker->in) / 16.0f);
    amb_store_u40le(row + 36, sequence);
    row[41] = take_u8(&maker->in);
    row[46] = take_u8(&maker->in);
    if ((row[46] & 0x80) != 0) { /* else mostly rows that count */
        row[23] = take_u8(&maker->in);
        row[27] = take_u8(&maker->in);
        maker->has_odd_rows = true;
    } else {
        row[46] = (uint8_t)(1 + row[46] % 5) | (row[46] & 0x30);
    }
}

static void make_rows(struct maker *maker) {
    uint8_t payload[16 * AMB_ROW_BYTES];
    const uint8_t n = (uint8_t)(1 + take_u8(&maker->in) % 16), twist = take_u8(&maker->in);

    for (uint8_t i = 0; i < n; i++) {
        take_row(payload + i * AMB_ROW_BYTES, maker, maker->sequence + i + ((twist & 8) != 0));
    }
    if (maker->number != 0 || (twist & 16) != 0) {
        maker_record(maker, AMB_RECORD_ROWS, payload, n * AMB_ROW_BYTES, twist, 0);
    } else {
        FUZZ_REQUIRE(amb_buf_push(&maker->rows, payload, n * AMB_ROW_BYTES) == 0);
    }
    maker->sequence += n;
}

static void make_curve(struct maker *maker) {
    uint8_t payload[AMB_CURVE_HEAD_BYTES + 8 * 32] = {0}, entry[AMB_CURVE_ENTRY_BYTES] = {0};
    const uint8_t uid = take_u8(&maker->in), n = take_u8(&maker->in) % 17, twist = take_u8(&maker->in);
    const uint64_t salt = amb_store_salt(store_id, 0);

    fuzz_uid(payload, uid);
    ambp_store_u32le(payload + 20, n + ((twist & 8) != 0 ? 1u << 29 : 0));
    for (uint32_t i = 0; i < 2u * n; i++) {
        amb_store_f32le(payload + AMB_CURVE_HEAD_BYTES + 4 * i, take_u8(&maker->in) / 8.0f);
    }
    if (maker->number != 0) {
        maker_record(maker, AMB_RECORD_CURVE, payload, AMB_CURVE_HEAD_BYTES + 8u * n, twist, 0);
    } else {
        struct amb_record_header header = {salt, maker->sequence, AMB_CURVE_HEAD_BYTES + 8u * n, AMB_RECORD_CURVE};
        uint8_t record[AMB_RECORD_HEADER_BYTES + sizeof payload];

        memcpy(record + AMB_RECORD_HEADER_BYTES, payload, header.payload_bytes);
        amb_record_seal(record, &header);
        record[4] ^= (twist & 2) != 0;
        memcpy(entry, payload, 20);
        ambp_store_u32le(entry + 20, AMB_RECORD_HEADER_BYTES + header.payload_bytes + ((twist & 4) != 0 ? 1u << 31 : 0));
        ambp_store_u64le(entry + 24, maker->bulk.n_bytes + ((twist & 1) != 0 ? UINT64_MAX - 40 : 0));
        FUZZ_REQUIRE(amb_buf_push(&maker->curves, entry, sizeof entry) == 0);
        FUZZ_REQUIRE(amb_buf_push(&maker->bulk, record, AMB_RECORD_HEADER_BYTES + header.payload_bytes) == 0);
    }
    maker->sequence++;
}

static void make_text(struct maker *maker) {
    uint8_t payload[1 + 70 + 255];
    const uint8_t name = take_u8(&maker->in), bytes = take_u8(&maker->in), twist = take_u8(&maker->in);
    const uint32_t name_bytes = 1u + name % 4 + ((twist & 8) != 0 ? 64 : 0);

    payload[0] = (uint8_t)name_bytes;
    memset(payload + 1, 'a' + name % 16, name_bytes);
    memset(payload + 1 + name_bytes, bytes, bytes);
    maker_record(maker, AMB_RECORD_TEXT, payload, 1 + name_bytes + bytes, twist, 0);
    maker->sequence++;
}

static void make_model(struct maker *maker) {
    uint8_t payload[2 + AMB_STORE_MODEL_BYTES];

    ambp_store_u16le(payload, take_u8(&maker->in)); /* larger ones cost memory: as raw records */
    memset(payload + 2, 'a' + take_u8(&maker->in) % 6, AMB_STORE_MODEL_BYTES);
    maker_record(maker, AMB_RECORD_MODEL, payload, sizeof payload, take_u8(&maker->in), 0);
    maker->sequence++;
}

static void fuzz_values(struct amb_annotation values[N_SAMPLES], uint8_t seed) {
    for (uint32_t i = 0; i < N_SAMPLES; i++) {
        values[i].sigma_min = (float)((seed * (i + 1)) % 7) / 4;
        values[i].sigma_max = (float)((seed + i) % 3) / 4;
    }
}

/* The way back from one set of values to another, as a record; in a table it goes to bulk. */
static struct amb_location make_undo(struct maker *maker, uint64_t number, uint8_t before, uint8_t after,
                                     uint8_t twist) {
    AMB_CLEANUP(amb_buf_deinit) struct amb_buf payload = AMB_BUF_NULL;
    struct amb_annotation values[2][N_SAMPLES];
    struct amb_undo_head head = {.number = number};
    struct amb_location where = {0};
    uint32_t i_sample = 0;

    fuzz_values(values[0], before);
    fuzz_values(values[1], after);
    FUZZ_REQUIRE(amb_undo_encode(&payload, &head, &i_sample, values[0], values[1], N_SAMPLES) == 0);
    if (head.n_entries == 0) {
        return where;
    }
    payload.data[payload.n_bytes - 1] ^= (twist & 0x20) != 0;
    if (maker->number != 0) {
        maker_record(maker, AMB_RECORD_UNDO, payload.data, (uint32_t)payload.n_bytes, twist, 0);
        where.bytes = 1;
    } else {
        const struct amb_record_header header = {amb_store_salt(store_id, 0), maker->sequence,
                                                 (uint32_t)payload.n_bytes, AMB_RECORD_UNDO};
        uint8_t record[AMB_RECORD_HEADER_BYTES + 1024];

        FUZZ_REQUIRE(payload.n_bytes <= 1024);
        memcpy(record + AMB_RECORD_HEADER_BYTES, payload.data, payload.n_bytes);
        amb_record_seal(record, &header);
        where = (struct amb_location){0, maker->bulk.n_bytes, (uint32_t)(AMB_RECORD_HEADER_BYTES + payload.n_bytes)};
        FUZZ_REQUIRE(amb_buf_push(&maker->bulk, record, where.bytes) == 0);
    }
    maker->sequence++;
    return where;
}

static void make_generation(struct maker *maker) {
    uint8_t payload[AMB_GENERATION_HEAD_BYTES + AMB_GENERATION_CHUNK_BYTES];
    const uint8_t number = take_u8(&maker->in) % 8, before = take_u8(&maker->in), after = take_u8(&maker->in),
                  twist = take_u8(&maker->in);
    struct amb_store_minted minted = {.generation = {.number = number, .n_samples = N_SAMPLES, .unix_ns = number}};
    struct amb_annotation values[N_SAMPLES];
    struct amb_location where = {0};

    if ((twist & 0x40) != 0) {
        where = make_undo(maker, number + ((twist & 8) != 0 ? UINT64_C(1) : 0), before, after, twist & 0x27);
        minted.has_before = true;
        minted.n_chunks = where.bytes != 0;
    }
    fuzz_values(values, after);
    FUZZ_REQUIRE(amb_annotations_fingerprint(&minted.generation.annotations, values, N_SAMPLES) == 0);
    minted.generation.dataset.bytes[0] = (twist & 0x80) != 0;
    minted.generation.last_sequence = maker->sequence;
    amb_generation_encode(payload, &minted);
    ambp_store_u64le(payload + AMB_GENERATION_HEAD_BYTES, where.offset + ((twist & 1) != 0));
    ambp_store_u32le(payload + AMB_GENERATION_HEAD_BYTES + 8, where.bytes);
    maker_record(maker, AMB_RECORD_GENERATION, payload,
                 maker->number == 0 && minted.n_chunks != 0 ? sizeof payload : AMB_GENERATION_HEAD_BYTES, twist & 7, 0);
    maker->sequence++;
}

static void make_mark(struct maker *maker) {
    maker_record(maker, AMB_RECORD_MARK, NULL, 0, take_u8(&maker->in), 0);
}

static void make_segment(struct maker *maker) {
    const uint8_t step = take_u8(&maker->in), twist = take_u8(&maker->in);
    uint8_t header[AMB_SEGMENT_HEADER_BYTES];

    if (maker->n_segments == SEGMENTS_MAX) {
        return;
    }
    maker->n_segments++;
    maker->number += 1u + step % 4 % 3;
    snprintf(maker->file, sizeof maker->file, "journal-%010" PRIu64, maker->number);
    amb_segment_encode(header, store_id, maker->number, maker->sequence + ((twist & 2) != 0 ? step / 4 : 0));
    header[60] ^= (twist & 1) != 0;
    file_append(maker, header, (twist & 4) != 0 ? step % (sizeof header + 1) : sizeof header);
}

/* The first segment that is not the table's. */
static void make_raw(struct maker *maker) {
    uint8_t bytes[256];
    const uint8_t n = take_u8(&maker->in);

    for (uint32_t i = 0; i < n; i++) {
        bytes[i] = take_u8(&maker->in);
    }
    maker_append(maker, bytes, n);
}

static void make_flip(struct maker *maker) {
    static const char *const names[] = {"MANIFEST", "table-0000000001", NULL, NULL};
    const uint8_t which = take_u8(&maker->in) % 4, mask = take_u8(&maker->in);
    const uint16_t at = take_u16(&maker->in);
    const char *name = names[which] != NULL ? names[which] : maker->file;
    size_t bytes = 0;

    if (test_disk_peek(&bytes, maker->disk, name) != NULL && bytes != 0) {
        test_disk_flip(maker->disk, name, which == 3 ? bytes - 1 - at % bytes : at % bytes, mask);
    }
}

static void make_cut(struct maker *maker) {
    const struct amb_io *io = &maker->disk->io;
    const uint16_t cut = take_u16(&maker->in);
    char path[128];
    uint64_t size;
    int fd;

    snprintf(path, sizeof path, "%s/%s", TEST_DISK_DIR, maker->file);
    fd = io->open(io->opaque, path, O_RDWR, 0);
    if (fd >= 0) {
        io->size(io->opaque, &size, fd);
        io->ftruncate(io->opaque, fd, size - cut % (size + 1));
        io->close(io->opaque, fd);
    }
}

/* Blocks of entries, as they stand in the input: sorted or not. */
static void table_blocks(struct maker *maker, const struct amb_buf *entries, uint32_t entry_bytes, uint32_t per_block) {
    uint8_t block[AMB_BLOCK_BYTES];
    size_t n = entries->n_bytes / entry_bytes;

    for (size_t i = 0; i < n; i += per_block) {
        const size_t here = n - i < per_block ? n - i : per_block;

        memset(block, 0, sizeof block);
        memcpy(block, entries->data + i * entry_bytes, here * entry_bytes);
        amb_blocks_seal(block, i / per_block);
        file_append(maker, block, sizeof block);
    }
}

/* By key, the last of equal ones. */
static void table_sort(struct amb_buf *entries, uint32_t entry_bytes, bool has_origin) {
    const size_t n = entries->n_bytes / entry_bytes;
    size_t n_sorted = 0;

    for (size_t i = 0; i < n; i++) {
        uint8_t entry[AMB_ROW_BYTES];
        size_t at = n_sorted;
        int order = 1;

        memcpy(entry, entries->data + i * entry_bytes, entry_bytes);
        for (; at > 0 && order > 0; at -= order > 0) {
            const struct amb_key a = amb_key_load(entries->data + (at - 1) * entry_bytes, entry_bytes, has_origin),
                                 b = amb_key_load(entry, entry_bytes, has_origin);

            order = amb_key_compare(&a, &b);
        }
        if (order == 0) {
            memcpy(entries->data + (at - 1) * entry_bytes, entry, entry_bytes);
            continue;
        }
        memmove(entries->data + (at + 1) * entry_bytes, entries->data + at * entry_bytes, (n_sorted - at) * entry_bytes);
        memcpy(entries->data + at * entry_bytes, entry, entry_bytes);
        n_sorted++;
    }
    entries->n_bytes = n_sorted * entry_bytes;
}

static void write_table(struct maker *maker, uint8_t twist) {
    uint8_t head[AMB_BLOCK_BYTES] = {0};
    struct amb_manifest *manifest = &maker->manifest;

    maker->is_untidy = maker->has_odd_rows || (twist & 16) != 0;
    if (!maker->is_untidy) {
        table_sort(&maker->rows, AMB_ROW_BYTES, true);
        table_sort(&maker->curves, AMB_CURVE_ENTRY_BYTES, false);
    }

    manifest->n_rows = maker->rows.n_bytes / AMB_ROW_BYTES;
    manifest->n_curves = maker->curves.n_bytes / AMB_CURVE_ENTRY_BYTES;
    manifest->bulk_bytes = maker->bulk.n_bytes;
    manifest->meta_bytes = maker->meta.n_bytes;
    manifest->table = 1;
    strcpy(maker->file, "table-0000000001");
    amb_manifest_encode(head, manifest, AMB_TABLE_MAGIC);
    file_append(maker, head, sizeof head);
    table_blocks(maker, &maker->rows, AMB_ROW_BYTES, AMB_ROWS_PER_BLOCK);
    table_blocks(maker, &maker->curves, AMB_CURVE_ENTRY_BYTES, AMB_CURVES_PER_BLOCK);
    if (maker->bulk.n_bytes != 0) {
        file_append(maker, maker->bulk.data, maker->bulk.n_bytes);
    }
    if (maker->meta.n_bytes != 0) {
        file_append(maker, maker->meta.data, maker->meta.n_bytes);
    }
}

static void write_manifest(struct maker *maker, uint8_t twist) {
    struct amb_manifest *manifest = &maker->manifest;
    uint8_t bytes[AMB_MANIFEST_BYTES] = {0};
    char file[TEST_DISK_NAME];

    if ((twist & 2) != 0) { /* says something else than what is there */
        uint64_t *words[] = {&manifest->table,    &manifest->first_segment, &manifest->next_sequence, &manifest->n_rows,
                             &manifest->n_curves, &manifest->bulk_bytes,    &manifest->meta_bytes};
        const uint8_t which = take_u8(&maker->in), shift = take_u8(&maker->in) % 64;

        maker->is_untidy = true;
        *words[which % 7] += (uint64_t)take_u8(&maker->in) << shift;
    }
    amb_manifest_encode(bytes, manifest, AMB_MANIFEST_MAGIC);
    memcpy(bytes + AMB_BLOCK_BYTES, bytes, AMB_MANIFEST_PART_BYTES);
    if ((twist & 4) != 0) { /* another version */
        bytes[8] = 9;
        ambp_store_u32le(bytes + 124, amb_crc32c(0, bytes, 124));
    }
    memcpy(file, maker->file, sizeof file);
    strcpy(maker->file, "MANIFEST");
    file_append(maker, bytes, (twist & 8) != 0 ? AMB_BLOCK_BYTES + 10 : sizeof bytes);
    memcpy(maker->file, file, sizeof file);
}

static void (*const makers[])(struct maker *maker) = {make_rows,       make_rows,    make_raw_record, make_curve,
                                                      make_text,       make_model,   make_generation, make_mark,
                                                      make_mark,       make_segment, make_raw,        make_flip,
                                                      make_cut};
#define MAKER_SEGMENT 9u

/* False: of such a table only so much is asked that nothing breaks. */
static bool disk_make(struct test_disk *disk, const uint8_t *data, size_t bytes) {
    struct maker maker = {.in = {data, data + bytes}, .disk = disk, .sequence = 1};
    const uint8_t twist = take_u8(&maker.in);

    memcpy(maker.manifest.store_id, store_id, sizeof store_id);
    disk->has_dir = true;
    for (unsigned i = 0; i < OPS_MAX && maker.in.at < maker.in.end; i++) {
        const uint8_t op = take_u8(&maker.in) % (sizeof makers / sizeof makers[0]);

        if (maker.number == 0 && (op == MAKER_SEGMENT || (twist & 1) == 0)) { /* the table ends; without one: at once */
            if ((twist & 1) != 0) {
                write_table(&maker, twist);
            }
            maker.manifest.first_segment = 1;
            maker.manifest.next_sequence = maker.sequence;
            write_manifest(&maker, twist);
            make_segment(&maker);
            continue;
        }
        makers[op](&maker);
    }
    amb_buf_deinit(&maker.rows);
    amb_buf_deinit(&maker.curves);
    amb_buf_deinit(&maker.bulk);
    amb_buf_deinit(&maker.meta);
    return !maker.is_untidy;
}

/* All that a store serves, in one number. */

static uint64_t mix(uint64_t sum, const void *data, size_t bytes) {
    const struct amb_hash128 hash = amb_hash128_encode(bytes != 0 ? data : "", bytes);
    uint64_t word;

    memcpy(&word, hash.bytes, sizeof word);
    return sum * UINT64_C(0x9E3779B97F4A7C15) + word;
}

static uint64_t row_word(const struct amb_store_record *record) {
    uint8_t row[AMB_ROW_BYTES];

    FUZZ_REQUIRE(record->origin > AMB_ORIGIN_DEFAULT && record->origin < AMB_ORIGIN_N);
    FUZZ_REQUIRE(record->sigma_min >= 0 && record->sigma_max >= 0 && record->sides <= AMB_SIDE_BOTH);
    amb_row_encode(row, record);
    return mix(0, row, sizeof row);
}

static int on_row(void *opaque, const struct amb_store_record *record) {
    *(uint64_t *)opaque += row_word(record); /* in no order */
    return 0;
}

static uint64_t digest_keys(const struct amb_store *store) {
    struct amb_store_record records[AMB_ORIGIN_N];
    uint64_t sum = 0;

    for (uint8_t i = 0; i < N_UIDS * 2; i++) {
        struct amb_hash128 uid;
        size_t n;

        fuzz_uid(uid.bytes, i / 2);
        amb_store_get(records, &n, store, &uid, i % 2);
        FUZZ_REQUIRE(n <= AMB_ORIGIN_N);
        for (size_t k = 0; k < n; k++) {
            FUZZ_REQUIRE(k == 0 || records[k].sequence >= records[k - 1].sequence);
            sum = sum * 31 + row_word(&records[k]);
        }
    }
    return sum;
}

static uint64_t digest_curves(const struct amb_store *store) {
    uint64_t sum = 0;

    for (uint8_t i = 0; i < N_UIDS; i++) {
        struct amb_error err = AMB_ERROR_NULL;
        struct amb_hash128 uid;
        float *sigmas = NULL, *p = NULL;
        size_t n = 0;

        fuzz_uid(uid.bytes, i);
        if (fuzz_check(amb_store_get_curve(&sigmas, &p, &n, store, &uid, 0, &err), &err) < 0) {
            FUZZ_REQUIRE(err.code == AMB_ERR_CHECKSUM);
            sum = sum * 31 + 7;
            continue;
        }
        sum = n != 0 ? mix(mix(sum, sigmas, n * sizeof *sigmas), p, n * sizeof *p) : sum;
        amb_free(sigmas);
        amb_free(p);
    }
    return sum;
}

static uint64_t digest_texts(const struct amb_store *store) {
    uint64_t sum = 0;
    size_t bytes;

    for (const char *name = amb_store_next_text(store, NULL); name != NULL; name = amb_store_next_text(store, name)) {
        const char *text = amb_store_peek_text(&bytes, store, name);

        FUZZ_REQUIRE(text != NULL && text[bytes] == '\0');
        sum = mix(mix(sum, name, strlen(name)), text, bytes);
    }
    for (unsigned i = 0; i < 256; i++) {
        const char *model = amb_store_peek_model(store, (uint16_t)i);

        sum = model != NULL ? mix(sum, model, strlen(model)) + i : sum;
    }
    return sum;
}

static uint64_t digest_generations(const struct amb_store *store) {
    const size_t n = amb_store_count_generations(store);
    uint64_t sum = n;

    for (size_t i = 0; i < n; i++) {
        const struct amb_store_generation *generation = amb_store_peek_generation(store, i);
        struct amb_annotation values[N_SAMPLES];
        struct amb_error err = AMB_ERROR_NULL;

        sum = mix(sum, &generation->number, sizeof generation->number);
        sum = mix(sum, generation->annotations.bytes, 16);
        for (uint8_t seed = 0; seed < 3 && i < 8; seed++) { /* one of them may be the newest */
            fuzz_values(values, seed);
            sum = sum * 31 + (fuzz_check(amb_store_rebuild(values, N_SAMPLES, store, &generation->dataset,
                                                           &generation->annotations, &err), &err) == 0);
        }
    }
    return sum;
}

struct digest {
    uint64_t rows, keys, curves, texts, generations;
};

static struct digest store_digest(const struct amb_store *store) {
    struct digest digest = {0};

    FUZZ_REQUIRE(amb_store_walk(store, on_row, &digest.rows) == 0);
    digest.keys = digest_keys(store);
    digest.curves = digest_curves(store);
    digest.texts = digest_texts(store);
    digest.generations = digest_generations(store);
    return digest;
}

static void require_same(const struct digest *a, const struct digest *b) {
    FUZZ_REQUIRE(a->rows == b->rows && a->keys == b->keys);
    FUZZ_REQUIRE(a->curves == b->curves);
    FUZZ_REQUIRE(a->texts == b->texts);
    FUZZ_REQUIRE(a->generations == b->generations);
}

/* Names and bytes. */
static uint64_t disk_digest(const struct test_disk *disk) {
    uint64_t sum = 0;

    for (uint32_t i = 0; i < disk->n_names; i++) {
        size_t bytes;
        const uint8_t *data = test_disk_peek(&bytes, disk, disk->names[i].name);

        sum += mix(mix(1, disk->names[i].name, strlen(disk->names[i].name)), data, bytes);
    }
    return sum;
}

static uint32_t disk_count_segments(const struct test_disk *disk) {
    uint32_t n = 0;

    for (uint32_t i = 0; i < disk->n_names; i++) {
        n += amb_store_number(disk->names[i].name, "journal") != 0;
    }
    return n;
}

/* NULL: it answered an error that is allowed. */
static struct amb_store *disk_open(struct test_disk *disk, bool read_only, struct amb_store_report *report) {
    const struct amb_store_options options = {.io = &disk->io, .read_only = read_only, .segment_bytes = 4096};
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_store *store = NULL;
    int r = fuzz_check(amb_store_open(&store, TEST_DISK_DIR, &options, report, &err), &err);

    if (r < 0) {
        FUZZ_REQUIRE(store == NULL);
        FUZZ_REQUIRE(r == AMB_ERR_FORMAT || r == AMB_ERR_VERSION || r == -ENOENT);
    }
    FUZZ_REQUIRE(r <= 0 && (r < 0 || report->n_damaged == 0 || report->first_damage[0] != '\0'));
    return store;
}

/* Readers see what recovery will, and change nothing. */
static void disk_look(struct test_disk *disk, const struct digest *expected) {
    const uint64_t before = disk_digest(disk);
    struct amb_store_report report;
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_store *store = disk_open(disk, true, &report);
    struct digest digest;

    if (store != NULL && expected != NULL) {
        digest = store_digest(store);
        require_same(&digest, expected);
    }
    amb_store_close(store);
    fuzz_check(amb_store_verify(&report, TEST_DISK_DIR, &disk->io, &err), &err);
    FUZZ_REQUIRE(disk_digest(disk) == before && test_disk_count_fds(disk) == 0);
}

/* True: the store takes one more record, which *appended then counts. */
static bool store_append(struct amb_store *store, struct amb_store_record *record) {
    struct amb_error err = AMB_ERROR_NULL;
    int r = fuzz_check(amb_store_put(store, record, 1, &err), &err);

    FUZZ_REQUIRE(r == 0 || r == AMB_ERR_LIMIT);
    FUZZ_REQUIRE(r < 0 || amb_store_commit(store, &err) == 0);
    return r == 0;
}

static void require_appended(const struct amb_store *store, const struct amb_store_record *record) {
    struct amb_store_record got[AMB_ORIGIN_N];
    size_t n;

    amb_store_get(got, &n, store, &record->uid, record->version);
    FUZZ_REQUIRE(n == 1 && row_word(&got[0]) == row_word(record));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static struct test_disk disk;
    struct amb_store_record record = {.uid = {"appended, later"}, .origin = AMB_ORIGIN_IMPORT, .sides = AMB_SIDE_MIN,
                                      .sigma_min = 1};
    struct digest first, second, third;
    struct amb_store_report report;
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_store *store;
    uint64_t was;
    uint32_t n_segments;
    bool appended, is_tidy;

    test_disk_init(&disk);
    is_tidy = disk_make(&disk, data, bytes);
    disk_look(&disk, NULL);
    n_segments = disk_count_segments(&disk);

    store = disk_open(&disk, false, &report);
    if (store == NULL) {
        FUZZ_REQUIRE(test_disk_count_fds(&disk) == 0);
        test_disk_deinit(&disk);
        return 0;
    }
    first = store_digest(store);
    amb_store_close(store);
    was = disk_digest(&disk);
    disk_look(&disk, &first);

    /* (iii) changes nothing; a segment that was never completed stays where it proves something, and is told of again */
    store = disk_open(&disk, false, &report);
    FUZZ_REQUIRE(store != NULL && report.torn_bytes <= AMB_SEGMENT_HEADER_BYTES);
    second = store_digest(store);
    require_same(&first, &second);
    /* where the last segment went, the one before gets the mark that only a last one needs */
    FUZZ_REQUIRE(disk_count_segments(&disk) != n_segments || disk_digest(&disk) == was);
    appended = store_append(store, &record); /* (iv) */
    amb_store_close(store);

    store = disk_open(&disk, false, &report);
    FUZZ_REQUIRE(store != NULL && (report.torn_bytes == 0 || (!appended && report.torn_bytes <= AMB_SEGMENT_HEADER_BYTES)));
    if (appended) {
        require_appended(store, &record);
        first.rows += row_word(&record);
    }
    second = store_digest(store);
    require_same(&first, &second);
    if (fuzz_check(amb_store_compact(store, 0, &err), &err) == 0) {
        const struct digest *same = is_tidy ? &first : &second;

        second = store_digest(store);
        require_same(same, &second);
        amb_store_close(store);
        store = disk_open(&disk, false, &report);
        FUZZ_REQUIRE(store != NULL);
        third = store_digest(store);
        require_same(&second, &third);
    }
    amb_store_close(store);
    FUZZ_REQUIRE(test_disk_count_fds(&disk) == 0);
    test_disk_deinit(&disk);
    return 0;
}
