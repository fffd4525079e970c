#include "kernels/cuda_plugin.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BYTES = 4096 };

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static const cop_cuda_plugin *loaded;
static char loaded_path[PATH_BYTES];

// Writes the folder of the executable, without a slash at the end; "" when it cannot be told.
static void executable_folder(char *out)
{
    const ssize_t length = readlink("/proc/self/exe", out, PATH_BYTES - 1);
    out[length < 0 ? 0 : length] = '\0';
    char *slash = strrchr(out, '/');
    if (slash != NULL) {
        *slash = '\0';
    } else {
        out[0] = '\0';
    }
}

// Finds the file. False when it is in none of the places.
static bool find(char *path)
{
    static const char *const places[] = {"/", "/../lib/coppice/"};
    char folder[PATH_BYTES];
    executable_folder(folder);
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        const int length =
            snprintf(path, PATH_BYTES, "%s%s" COP_CUDA_PLUGIN_FILE, folder, places[i]);
        if (length > 0 && length < PATH_BYTES && access(path, R_OK) == 0) {
            return true;
        }
    }
    (void)snprintf(path, PATH_BYTES, "%s", COP_CUDA_PLUGIN_BUILT);
    return path[0] != '\0' && access(path, R_OK) == 0;
}

static cop_status fail_load(cop_error *err, const char *path)
{
    const char *reason = dlerror(); // NOLINT(concurrency-mt-unsafe): per thread in glibc
    // The loader's messages begin with the file they are about.
    return reason != NULL && strstr(reason, path) != NULL
               ? COP_FAIL(err, COP_ERR_UNSUPPORTED, "cuda: plugin: %s", reason)
               : COP_FAIL(err, COP_ERR_UNSUPPORTED, "cuda: plugin %s: %s", path,
                          reason != NULL ? reason : "cannot be loaded");
}

// Asks the loaded library for its table and checks that it speaks of the same types.
static cop_status take_table(const cop_cuda_plugin **out, void *library, const char *path,
                             cop_error *err)
{
    union {
        void *address;
        cop_cuda_plugin_function function;
    } entry = {.address = dlsym(library, COP_CUDA_PLUGIN_SYMBOL)};

    if (entry.address == NULL) {
        return COP_FAIL(err, COP_ERR_UNSUPPORTED,
                        "cuda: plugin %s: has no function %s (allowed: a plugin of coppice)", path,
                        COP_CUDA_PLUGIN_SYMBOL);
    }
    const cop_cuda_plugin *table = entry.function();
    if (table->version != COP_CUDA_PLUGIN_VERSION) {
        return COP_FAIL(err, COP_ERR_UNSUPPORTED,
                        "cuda: plugin %s: version is %u (allowed: %u, as the program)", path,
                        (unsigned)table->version, (unsigned)COP_CUDA_PLUGIN_VERSION);
    }
    if (table->layout != cop_cuda_plugin_layout()) {
        return COP_FAIL(err, COP_ERR_UNSUPPORTED,
                        "cuda: plugin %s: layout is %016llx (allowed: %016llx; program and plugin "
                        "were built from different sources)",
                        path, (unsigned long long)table->layout,
                        (unsigned long long)cop_cuda_plugin_layout());
    }
    *out = table;
    return COP_OK;
}

// The file that the user names, or NULL.
static const char *given_path(void)
{
    const char *given = getenv("COP_CUDA_PLUGIN"); // NOLINT(concurrency-mt-unsafe): nobody writes
    return given != NULL && given[0] != '\0' ? given : NULL;
}

static cop_status load(cop_error *err)
{
    char path[PATH_BYTES];
    const char *given = given_path();
    if (given != NULL) {
        (void)snprintf(path, sizeof path, "%s", given);
    } else if (!find(path)) {
        return COP_FAIL(err, COP_ERR_UNSUPPORTED,
                        "cuda: plugin: %s is not there (this build: %s; see COP_CUDA_PLUGIN)",
                        COP_CUDA_PLUGIN_FILE, COP_CUDA_STATE);
    }
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        return fail_load(err, path);
    }
    const cop_status status = take_table(&loaded, library, path, err);
    if (status == COP_OK) {
        (void)snprintf(loaded_path, sizeof loaded_path, "%s", path);
    } else {
        (void)dlclose(library);
    }
    return status;
}

cop_status cop_cuda_plugin_load(const cop_cuda_plugin **out, cop_error *err)
{
    *out = NULL;
    (void)pthread_mutex_lock(&turn);
    const cop_status status = loaded != NULL ? COP_OK : load(err);
    *out = loaded;
    (void)pthread_mutex_unlock(&turn);
    return status;
}

const char *cop_cuda_plugin_path(void)
{
    return loaded_path;
}

bool cop_cuda_has_driver(void)
{
    void *driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
    if (driver == NULL) {
        return false;
    }
    (void)dlclose(driver);
    return true;
}

bool cop_cuda_is_expected(void)
{
    char path[PATH_BYTES];
    return access("/dev/nvidia0", F_OK) == 0 && (given_path() != NULL || find(path));
}

cop_status cop_cuda_create(cop_backend **out, int device, cop_error *err)
{
    const cop_cuda_plugin *plugin = NULL;
    *out = NULL;
    const cop_status status = cop_cuda_plugin_load(&plugin, err);
    return status != COP_OK ? status : plugin->backend_create(out, device, err);
}

cop_status cop_cuda_create_first(cop_backend **out, cop_error *err)
{
    const cop_cuda_plugin *plugin = NULL;
    int count = 0;
    *out = NULL;
    cop_status status = cop_cuda_plugin_load(&plugin, err);
    if (status == COP_OK) {
        status = plugin->device_count(&count, err);
    }
    for (int device = 0; status == COP_OK && device < count; device++) {
        if (plugin->backend_create(out, device, err) == COP_OK) {
            return COP_OK;
        }
        status = device + 1 < count ? COP_OK : COP_ERR_UNSUPPORTED;
    }
    return status;
}
