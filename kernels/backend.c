#include "kernels/backend.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/processes.h"
#include "base/text.h"
#include "kernels/cpu.h"
#include "kernels/cpu/host.h"
#include "kernels/cuda_plugin.h"
#include "kernels/memory.h"

static const char cuda_name[] = "cuda";

// "cuda" or "cuda:<device>". False for any other name.
static bool parse_cuda(const char *name, int *device)
{
    int64_t number = 0;
    const size_t length = sizeof cuda_name - 1;
    if (strncmp(name, cuda_name, length) != 0) {
        return false;
    }
    if (name[length] == ':') {
        const char *digits = name + length + 1;
        if (strspn(digits, "0123456789") != strlen(digits) || !cop_text_to_i64(digits, &number) ||
            number > INT32_MAX) {
            return false;
        }
    } else if (name[length] != '\0') {
        return false;
    }
    *device = (int)number;
    return true;
}

bool cop_backend_is_known(const char *name)
{
    int device = 0;
    return strcmp(name, "auto") == 0 || strcmp(name, "cpu") == 0 ||
           strcmp(name, "reference") == 0 || parse_cuda(name, &device);
}

static cop_status create_cpu(cop_backend **out, cop_error *err)
{
    return cop_host_create(out, cop_fast_ops(), "cpu", cop_cpu_describe().has_fast_bf16, err);
}

// The first GPU that works, else the CPU: without a word where none is to be expected.
static cop_status create_auto(cop_backend **out, cop_error *err)
{
    cop_error reason = {0};
    if ((cop_cuda_has_driver() || cop_cuda_is_expected()) &&
        cop_cuda_create_first(out, &reason) == COP_OK) {
        return COP_OK;
    }
    if (cop_cuda_is_expected()) {
        cop_log(COP_LOG_WARNING, "the CPU is used: %s", reason.message);
    }
    return create_cpu(out, err);
}

cop_status cop_backend_create(cop_backend **out, const char *name, cop_error *err)
{
    int device = 0;
    *out = NULL;
    if (strcmp(name, "reference") == 0) {
        return cop_host_create(out, cop_reference_ops(), "reference", false, err);
    }
    if (parse_cuda(name, &device)) {
        return cop_cuda_create(out, device, err);
    }
    if (strcmp(name, "auto") == 0) {
        return create_auto(out, err);
    }
    if (strcmp(name, "cpu") == 0) {
        return create_cpu(out, err);
    }
    return COP_FAIL(err, COP_ERR_CONFIG, "backend: name is %s (allowed: " COP_BACKEND_NAMES ")",
                    name);
}

int cop_backend_devices(void)
{
    const cop_cuda_plugin *plugin = NULL;
    cop_error ignored = {0};
    int count = 0;
    if (!cop_cuda_has_driver() || cop_cuda_plugin_load(&plugin, &ignored) != COP_OK ||
        plugin->device_count(&count, &ignored) != COP_OK) {
        return 0;
    }
    return count;
}

cop_status cop_backend_create_own(cop_backend **out, const char *name, cop_error *err)
{
    const cop_processes self = cop_processes_self();
    const int devices = self.local_size > 1 ? cop_backend_devices() : 0;
    char own[32];

    if (devices == 0 || (strcmp(name, "auto") != 0 && strcmp(name, "cuda") != 0)) {
        return cop_backend_create(out, name, err);
    }
    (void)snprintf(own, sizeof own, "cuda:%d", self.local_rank % devices);
    return cop_backend_create(out, own, err);
}

void cop_backend_destroy(cop_backend *backend)
{
    if (backend != NULL) {
        cop_backend_forget_memory(backend);
        backend->type->destroy(backend);
    }
}

cop_status cop_backend_info(cop_backend *backend, cop_device_info *out, cop_error *err)
{
    return backend->type->info(backend, out, err);
}

cop_status cop_backend_on_device(cop_backend *backend, cop_stream *stream, void *to_dev,
                                 const void *from_dev, uint64_t bytes, cop_error *err)
{
    return backend->type->copy_on_device(backend, stream, to_dev, from_dev, bytes, err);
}

cop_status cop_backend_read_file(cop_backend *backend, cop_stream *stream, void *to_dev, int file,
                                 uint64_t offset, uint64_t bytes, const char *path, cop_error *err)
{
    return backend->type->read_file(backend, stream, to_dev, file, offset, bytes, path, err);
}

cop_status cop_backend_to_device(cop_backend *backend, cop_stream *stream, void *to_dev,
                                 const void *from_host, uint64_t bytes, cop_error *err)
{
    return backend->type->copy_to_device(backend, stream, to_dev, from_host, bytes, err);
}

cop_status cop_backend_to_host(cop_backend *backend, cop_stream *stream, void *to_host,
                               const void *from_dev, uint64_t bytes, cop_error *err)
{
    return backend->type->copy_to_host(backend, stream, to_host, from_dev, bytes, err);
}

cop_status cop_backend_zero(cop_backend *backend, cop_stream *stream, void *memory, uint64_t bytes,
                            cop_error *err)
{
    return backend->type->zero(backend, stream, memory, bytes, err);
}

cop_status cop_backend_synchronize(cop_backend *backend, cop_stream *stream, cop_error *err)
{
    return backend->type->synchronize(backend, stream, err);
}
