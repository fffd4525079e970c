#include "kernels/backend.h"

#include <string.h>

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
    // Why there is no GPU is what `doctor` says.
    if (strcmp(name, "auto") == 0 && cop_cuda_has_driver() &&
        cop_cuda_create_first(out, NULL) == COP_OK) {
        return COP_OK;
    }
    if (strcmp(name, "cpu") == 0 || strcmp(name, "auto") == 0) {
        return cop_host_create(out, cop_fast_ops(), "cpu", cop_cpu_describe().has_fast_bf16, err);
    }
    return COP_FAIL(err, COP_ERR_CONFIG,
                    "backend: name is %s (allowed: auto, cpu, cuda, cuda:<device>, reference)",
                    name);
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
