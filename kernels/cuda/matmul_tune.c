#include "kernels/cuda/matmul_tune.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"

enum { PATH_BYTES = 1024, LINE_BYTES = COP_CUDA_TUNE_KEY_BYTES + 32, CHOICE_MAX = 63 };

struct cop_cuda_tune {
    int file;
};

// Opens <directory>/coppice/cublaslt.txt, making the folders; -1 when that is not possible.
static int open_in(const char *directory, const char *middle)
{
    char path[PATH_BYTES];
    const int made = snprintf(path, sizeof path, "%s%s", directory, middle);
    if (directory[0] != '/' || made < 0 || (size_t)made + 32 > sizeof path) {
        return -1;
    }
    (void)mkdir(path, 0777); // failures show when the file is opened
    (void)snprintf(path + made, sizeof path - (size_t)made, "/coppice");
    (void)mkdir(path, 0777);
    (void)snprintf(path + made, sizeof path - (size_t)made, "/coppice/cublaslt.txt");
    return open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
}

cop_status cop_cuda_tune_create(cop_cuda_tune **out, cop_error *err)
{
    // NOLINTBEGIN(concurrency-mt-unsafe): nobody writes the environment
    const char *mode = getenv("COP_CUDA_TUNE");
    const char *cache = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    // NOLINTEND(concurrency-mt-unsafe)
    *out = NULL;
    if (mode != NULL && strcmp(mode, "off") == 0) {
        return COP_OK;
    }
    if (mode != NULL && strcmp(mode, "on") != 0) {
        return COP_FAIL(err, COP_ERR_CONFIG, "COP_CUDA_TUNE is %s (allowed: on, off)", mode);
    }
    const bool has_cache = cache != NULL && cache[0] != '\0';
    const int file = has_cache ? open_in(cache, "") : home != NULL ? open_in(home, "/.cache") : -1;
    if (file < 0) {
        return COP_OK;
    }
    cop_cuda_tune *tune = cop_alloc(1, sizeof *tune);
    if (tune == NULL) {
        (void)close(file);
        return COP_FAIL(err, COP_ERR_NOMEM,
                        "cuda: choices: %zu bytes (allowed: memory is exhausted)", sizeof *tune);
    }
    tune->file = file;
    *out = tune;
    return COP_OK;
}

void cop_cuda_tune_destroy(cop_cuda_tune *tune)
{
    if (tune != NULL) {
        (void)close(tune->file);
        cop_free(tune);
    }
}

// Locks of flock() belong to the open file: they hold between two backends of one process too.
static bool lock(int file, int operation)
{
    int result = 0;
    do {
        result = flock(file, operation);
    } while (result != 0 && errno == EINTR);
    return result == 0;
}

// The choice in a line "<key> <choice>\n", or -1.
static int choice_in(const char *line, const char *key)
{
    const size_t length = strlen(key);
    char *end = NULL;
    if (strncmp(line, key, length) != 0 || line[length] != ' ') {
        return -1;
    }
    const long choice = strtol(line + length + 1, &end, 10);
    return *end == '\n' && end != line + length + 1 && choice >= 0 && choice <= CHOICE_MAX
               ? (int)choice
               : -1;
}

// The first line that fits, or -1; -2: the file cannot be read.
static int find(int file, const char *key)
{
    char line[LINE_BYTES];
    int choice = -1;
    const int copy = dup(file);
    FILE *lines = copy >= 0 ? fdopen(copy, "r") : NULL;
    if (lines == NULL) {
        if (copy >= 0) {
            (void)close(copy);
        }
        return -2;
    }
    rewind(lines);
    while (choice < 0 && fgets(line, (int)sizeof line, lines) != NULL) {
        choice = choice_in(line, key);
    }
    (void)fclose(lines);
    return choice;
}

int cop_cuda_tune_get(cop_cuda_tune *tune, const char *key)
{
    if (!lock(tune->file, LOCK_EX)) {
        return -2;
    }
    const int choice = find(tune->file, key);
    if (choice != -1) {
        (void)lock(tune->file, LOCK_UN);
    }
    return choice;
}

void cop_cuda_tune_put(cop_cuda_tune *tune, const char *key, int choice)
{
    char line[LINE_BYTES];
    if (choice >= 0) {
        const int length = snprintf(line, sizeof line, "%s %d\n", key, choice);
        // A line that is cut short fits no key, and the shape is decided again.
        const ssize_t written = write(tune->file, line, (size_t)length);
        (void)written;
    }
    (void)lock(tune->file, LOCK_UN);
}
