#include "kernels/backend.h"

#include <stdio.h>
#include <string.h>

#include "base/processes.h"
#include "kernels/cpu.h"
#include "kernels/cpu/host.h"
#include "kernels/memory.h"

cop_status cop_backend_create(cop_backend **out, const char *name, cop_error *err)
{
    *out = NULL;
    if (strcmp(name, "reference") == 0) {
        return cop_host_create(out, cop_reference_ops(), "reference", false, err);
    }
    if (strcmp(name, "cpu") == 0 || strcmp(name, "auto") == 0) {
        return cop_host_create(out, cop_fast_ops(), "cpu", cop_cpu_describe().has_fast_bf16, err);
    }
    return COP_FAIL(err, COP_ERR_CONFIG, "backend: name is %s (allowed: auto, cpu, reference)",
                    name);
}

int cop_backend_devices(void)
{
    return 0;
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
