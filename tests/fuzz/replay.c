/*
 * Replay: each file, or each file of a folder, once through the target. So every build runs the corpus, without
 * libFuzzer and under whatever sanitizer it has.
 *
 * A file is copied into memory of exactly its size, so that a read past its end is one past an allocation.
 */
#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

#include "fuzz.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t bytes, size_t bytes_max) {
    (void)data;
    (void)bytes_max;
    return bytes;
}

static int replay_file(const char *path) {
    FILE *file = fopen(path, "rbe");
    struct stat st;
    uint8_t *data;

    if (file == NULL || fstat(fileno(file), &st) != 0) {
        perror(path);
        exit(2);
    }
    data = malloc((size_t)st.st_size + (st.st_size == 0));
    if (data == NULL || fread(data, 1, (size_t)st.st_size, file) != (size_t)st.st_size) {
        perror(path);
        exit(2);
    }
    fclose(file);
    LLVMFuzzerTestOneInput(data, (size_t)st.st_size);
    free(data);
    return 1;
}

static int replay_folder(DIR *folder, const char *path) {
    char name[4096];
    int n = 0;

    for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        if (entry->d_name[0] != '.') {
            snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
            n += replay_file(name);
        }
    }
    closedir(folder);
    return n;
}

int main(int argc, char **argv) {
    int n = 0;

    for (int i = 1; i < argc; i++) {
        DIR *folder = opendir(argv[i]);

        n += folder != NULL ? replay_folder(folder, argv[i]) : replay_file(argv[i]);
    }
    printf("%d inputs\n", n);
    return n > 0 ? 0 : 1;
}
