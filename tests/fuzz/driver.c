// Runs a fuzz target once for every file named on the command line, or in a folder named there:
// the corpus as a plain test, for compilers without libFuzzer.

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/system.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static int run_file(const char *path)
{
    cop_error err = {0};
    char *data = NULL;
    size_t bytes = 0;
    if (cop_file_read(&data, &bytes, path, (size_t)64 << 20, &err) != COP_OK) {
        (void)fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    // A block of exactly this size, so that AddressSanitizer sees a read behind its end.
    uint8_t *exact = cop_alloc(bytes, 1);
    if (exact != NULL && bytes > 0) {
        memcpy(exact, data, bytes);
    }
    cop_free(data);
    (void)LLVMFuzzerTestOneInput(exact, bytes);
    cop_free(exact);
    return 0;
}

static int run_folder(const char *path, size_t *files)
{
    DIR *folder = opendir(path);
    int result = folder == NULL;
    const struct dirent *entry;
    // NOLINTNEXTLINE(concurrency-mt-unsafe): one thread
    while (result == 0 && (entry = readdir(folder)) != NULL) {
        if (entry->d_name[0] != '.') {
            char *file = cop_file_join(path, entry->d_name);
            result = file == NULL || run_file(file) != 0;
            cop_free(file);
            (*files)++;
        }
    }
    if (folder != NULL) {
        (void)closedir(folder);
    }
    return result;
}

int main(int argc, char **argv)
{
    size_t files = 0;
    int result = 0;
    cop_system_silence_libraries();
    for (int i = 1; i < argc && result == 0; i++) {
        if (cop_file_is_directory(argv[i])) {
            result = run_folder(argv[i], &files);
        } else {
            result = run_file(argv[i]);
            files++;
        }
    }
    printf("%zu inputs\n", files);
    return result != 0 || files == 0;
}
