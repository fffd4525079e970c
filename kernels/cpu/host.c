#include "kernels/cpu/host.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/system.h"

struct cop_stream {
    int unused; // work is done at once: a stream has no state
};

typedef struct host {
    const char *name; // borrowed
    bool has_bf16_matmul;
} host;

static cop_status host_info(cop_backend *backend, cop_device_info *out, cop_error *err)
{
    (void)err;
    const host *self = backend->context;
    char cpu[64];
    cop_system_cpu_name(cpu, (int)sizeof cpu);
    *out = (cop_device_info){
        .memory_bytes = cop_system_memory_bytes(),
        .memory_free_bytes = cop_system_memory_free_bytes(),
        .has_bf16_matmul = self->has_bf16_matmul,
        .is_host_memory = true,
    };
    (void)snprintf(out->name, sizeof out->name, "%s: %s", self->name, cpu);
    return COP_OK;
}

static cop_status host_memory_alloc(cop_backend *backend, void **out, uint64_t bytes,
                                    cop_error *err)
{
    const host *self = backend->context;
    void *memory = bytes <= SIZE_MAX ? cop_alloc((size_t)bytes, 1) : NULL;
    if (memory == NULL && bytes > 0) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: device memory: %llu bytes (allowed: %llu free)",
                        self->name, (unsigned long long)bytes,
                        (unsigned long long)cop_system_memory_free_bytes());
    }
    *out = memory;
    return COP_OK;
}

static void host_memory_free(cop_backend *backend, void *memory)
{
    (void)backend;
    cop_free(memory);
}

static cop_status host_copy(cop_backend *backend, cop_stream *stream, void *to, const void *from,
                            uint64_t bytes, cop_error *err)
{
    (void)backend;
    (void)stream;
    (void)err;
    if (bytes > 0) {
        memcpy(to, from, (size_t)bytes);
    }
    return COP_OK;
}

static cop_status host_read_file(cop_backend *backend, cop_stream *stream, void *to, int file,
                                 uint64_t offset, uint64_t bytes, const char *path, cop_error *err)
{
    (void)backend;
    (void)stream;
    return cop_file_read_parallel(to, file, offset, bytes, path, err);
}

static cop_status host_zero(cop_backend *backend, cop_stream *stream, void *memory, uint64_t bytes,
                            cop_error *err)
{
    (void)backend;
    (void)stream;
    (void)err;
    if (bytes > 0) {
        memset(memory, 0, (size_t)bytes);
    }
    return COP_OK;
}

static cop_status host_stream_create(cop_backend *backend, cop_stream **out, cop_error *err)
{
    const host *self = backend->context;
    *out = cop_alloc(1, sizeof **out);
    if (*out == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: stream: %zu bytes (allowed: memory is exhausted)",
                        self->name, sizeof **out);
    }
    return COP_OK;
}

static void host_stream_destroy(cop_backend *backend, cop_stream *stream)
{
    (void)backend;
    cop_free(stream);
}

// Work is done when it is enqueued: one stream has nothing to wait for on another.
static cop_status host_stream_wait(cop_backend *backend, cop_stream *stream, cop_stream *other,
                                   cop_error *err)
{
    (void)backend;
    (void)stream;
    (void)other;
    (void)err;
    return COP_OK;
}

static cop_status fail_graph(cop_backend *backend, cop_error *err)
{
    const host *self = backend->context;
    return COP_FAIL(err, COP_ERR_UNSUPPORTED,
                    "%s: work cannot be recorded (allowed: backends with graphs)", self->name);
}

static cop_status host_graph_begin(cop_backend *backend, cop_stream *stream, cop_error *err)
{
    (void)stream;
    return fail_graph(backend, err);
}

static cop_status host_graph_end(cop_backend *backend, cop_stream *stream, cop_graph **out,
                                 cop_error *err)
{
    (void)stream;
    *out = NULL;
    return fail_graph(backend, err);
}

static cop_status host_graph_run(cop_backend *backend, cop_stream *stream, cop_graph *graph,
                                 cop_error *err)
{
    (void)stream;
    (void)graph;
    return fail_graph(backend, err);
}

static void host_graph_destroy(cop_backend *backend, cop_graph *graph)
{
    (void)backend;
    (void)graph;
}

static cop_status host_synchronize(cop_backend *backend, cop_stream *stream, cop_error *err)
{
    (void)backend;
    (void)stream;
    (void)err;
    return COP_OK;
}

static void host_destroy(cop_backend *backend)
{
    cop_free(backend->context);
    cop_free(backend);
}

static const cop_backend_type host_type = {
    .name = "host",
    .info = host_info,
    .memory_alloc = host_memory_alloc,
    .memory_free = host_memory_free,
    .copy_to_device = host_copy,
    .copy_to_host = host_copy,
    .copy_on_device = host_copy,
    .read_file = host_read_file,
    .zero = host_zero,
    .stream_create = host_stream_create,
    .stream_destroy = host_stream_destroy,
    .stream_wait = host_stream_wait,
    .synchronize = host_synchronize,
    .graph_begin = host_graph_begin,
    .graph_end = host_graph_end,
    .graph_run = host_graph_run,
    .graph_destroy = host_graph_destroy,
    .destroy = host_destroy,
};

cop_status cop_host_create(cop_backend **out, const cop_ops *ops, const char *name,
                           bool has_bf16_matmul, cop_error *err)
{
    cop_backend *backend = cop_alloc(1, sizeof *backend);
    host *self = cop_alloc(1, sizeof *self);
    *out = NULL;
    if (backend == NULL || self == NULL) {
        cop_free(backend);
        cop_free(self);
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: backend: %zu bytes (allowed: memory is exhausted)",
                        name, sizeof *backend + sizeof *self);
    }
    *self = (host){.name = name, .has_bf16_matmul = has_bf16_matmul};
    *backend = (cop_backend){.type = &host_type, .ops = ops, .context = self};
    *out = backend;
    return COP_OK;
}
