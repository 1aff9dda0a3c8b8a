/*
 * Labels: the texts of .cls, .json and dataset.json, all three readers on the same bytes.
 */
#include "fuzz.h"

#include "shard/label.h"

static void check_label(const struct amb_label *label, const struct amb_buf *floats) {
    if (label->kind == AMB_LABEL_KIND_VECTOR) {
        FUZZ_REQUIRE(label->width > 0 && label->width <= AMB_LABEL_WIDTH_MAX);
        FUZZ_REQUIRE(floats == NULL || floats->n_bytes == (size_t)label->width * 4);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static const char *const names[] = {"a.png", "00000/img00000000.png", ""};
    struct amb_labels *labels = NULL;
    struct amb_buf floats = AMB_BUF_NULL;
    struct amb_error err = AMB_ERROR_NULL;
    struct amb_label label = amb_label_decode_cls(data, bytes);

    check_label(&label, NULL);
    label = amb_label_decode_field(&floats, data, bytes, "label");
    check_label(&label, &floats);
    if (fuzz_check(amb_labels_new(&labels, data, bytes, &err), &err) == 0 && labels != NULL) {
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
            label = amb_labels_get(labels, names[i], strlen(names[i]));
            check_label(&label, NULL);
        }
    }
    amb_labels_free(labels);
    amb_buf_deinit(&floats);
    return 0;
}
