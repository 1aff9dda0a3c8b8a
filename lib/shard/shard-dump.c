/*
 * shard-dump: every sample of a list of shards as one JSON line, for the tests that compare the index with
 * other readers. Not installed.
 *
 * shard-dump [--cache DIR] [--pread] [--label-key F] [--corruption-key F] [--scope] [--quiet] PATTERN...
 * Names and keys are hex, because they may be any bytes. A failure is one line {"error": code, "message":
 * ...}.
 */
#include <stdio.h>
#include <string.h>

#include <zlib.h>

#include "base/buf.h"
#include "shard/catalog-private.h"

static void dump_hex(const char *name, const char *text, size_t bytes) {
    printf("\"%s\":\"", name);
    for (size_t i = 0; i < bytes; i++) {
        printf("%02x", (unsigned char)text[i]);
    }
    printf("\",");
}

static void dump_members(struct amb_buf *buf, const struct amb_catalog *cat, uint32_t i) {
    char list[65536], *save = NULL;
    struct amb_error err;

    if (amb_catalog_get_members(list, sizeof list, cat, i, &err) != 0) {
        printf("\"members\":null,");
        return;
    }
    printf("\"members\":{");
    for (char *ext = strtok_r(list, ",", &save); ext != NULL; ext = strtok_r(NULL, ",", &save)) {
        int r = amb_catalog_read_member(buf, cat, i, ext, &err);

        dump_hex(ext, ext, strlen(ext));
        printf("\"%s.crc\":%ld,", ext, r == 0 ? (long)crc32(0, buf->data, (unsigned)buf->n_bytes) : -1L);
    }
    printf("\"\":0},");
}

static void dump_sample(struct amb_buf *buf, const struct amb_catalog *cat, uint32_t i) {
    struct amb_sample_info info;
    struct amb_error err = AMB_ERROR_NULL;
    size_t i_shard, bytes;
    uint32_t i_in_shard;
    const struct catalog_shard *shard = catalog_locate(&i_shard, &i_in_shard, cat, i);
    const char *path = amb_shard_picture(shard->shard, i_in_shard, &bytes);
    int r = amb_catalog_read(buf, cat, i, &err);

    amb_catalog_get(&info, cat, i);
    printf("{");
    dump_hex("key", info.key, info.key_bytes);
    dump_hex("path", path, bytes);
    dump_members(buf, cat, i);
    if (r == 0) {
        r = amb_catalog_read(buf, cat, i, &err);
    }
    printf("\"index\":%u,\"shard\":%zu,\"label\":%lld,\"corruption\":%lld,\"offset\":%llu,\"stored\":%llu,"
           "\"checksum\":%u,"
           "\"bytes\":%zu,\"crc\":%lu,\"code\":%d}\n",
           i, i_shard, (long long)info.label, (long long)info.corruption_label,
           (unsigned long long)info.offset, (unsigned long long)info.payload_bytes, info.checksum,
           r == 0 ? buf->n_bytes : 0, r == 0 ? crc32(0, buf->data, (unsigned)buf->n_bytes) : 0, r);
}

static int dump_fail(const struct amb_error *err) {
    printf("{\"error\":%d,\"message\":\"", err->code);
    for (const char *p = err->message; *p != '\0'; p++) {
        putchar(*p == '"' || *p == '\\' || (unsigned char)*p < 32 || (unsigned char)*p > 126 ? '?' : *p);
    }
    printf("\"}\n");
    return 1;
}

int main(int argc, char **argv) {
    const char *patterns[256];
    struct amb_source_options source = {
        .name = "main", .patterns = patterns, .repeat = 1.0, .corruption_label = AMB_LABEL_NONE};
    struct amb_catalog_options options = {0};
    struct amb_catalog_report report;
    struct amb_catalog *cat;
    struct amb_buf buf = AMB_BUF_NULL;
    struct amb_error err = AMB_ERROR_NULL;
    bool quiet = false;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--cache") == 0 && i + 1 < argc) {
            options.cache_dir = argv[++i];
        } else if (strcmp(argv[i], "--label-key") == 0 && i + 1 < argc) {
            source.label_key = argv[++i];
        } else if (strcmp(argv[i], "--corruption-key") == 0 && i + 1 < argc) {
            source.corruption_key = argv[++i];
        } else if (strcmp(argv[i], "--pread") == 0) {
            source.pread = true;
        } else if (strcmp(argv[i], "--scope") == 0) {
            source.key_scope_shard = true;
        } else if (strcmp(argv[i], "--quiet") == 0) {
            quiet = true;
        } else if (source.n_patterns < 256) {
            patterns[source.n_patterns++] = argv[i];
        }
    }
    if (amb_catalog_open(&cat, &source, 1, &options, &report, &err) != 0) {
        return dump_fail(&err);
    }
    for (uint32_t i = 0; i < amb_catalog_count(cat) && !quiet; i++) {
        dump_sample(&buf, cat, i);
    }
    fprintf(stderr,
            "samples %llu shards %llu indexed %llu cached %llu index_bytes %llu names_bytes %llu "
            "without_image %llu bad_labels %llu\n",
            (unsigned long long)report.n_samples, (unsigned long long)report.n_shards,
            (unsigned long long)report.n_indexed, (unsigned long long)report.n_cached,
            (unsigned long long)report.index_bytes, (unsigned long long)report.names_bytes,
            (unsigned long long)report.n_without_image, (unsigned long long)report.n_bad_labels);
    amb_buf_deinit(&buf);
    amb_catalog_unref(cat);
    return 0;
}
