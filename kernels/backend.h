// A backend runs the operator table on one kind of device: memory, streams, capabilities, and the
// operators of kernels/ops.h. The contract is that of an asynchronous device: work is enqueued on
// a stream in order, host data is copied explicitly, scratch memory is asked for and handed in,
// and nothing but cop_backend_synchronize() waits. The CPU backends do each call at once, which
// satisfies the same contract.
//
// Which backends exist: "reference" (slow, obvious, computes in f64; the oracle), "cpu" (fast),
// "cuda" (a GPU; in a plugin that is loaded at run time, so that a program built with it runs
// where there is neither driver nor CUDA).

#ifndef COP_KERNELS_BACKEND_H
#define COP_KERNELS_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/status.h"

struct cop_text;
struct cop_group_functions;

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cop_backend cop_backend;
typedef struct cop_stream cop_stream; // opaque; NULL is the backend's default stream
typedef struct cop_graph cop_graph;   // opaque; recorded work that is run again as a whole
struct cop_ops;

// What a backend says of its device.
typedef struct cop_device_info {
    char name[96];              // of backend and device: "cuda: NVIDIA H100 80GB HBM3"
    uint64_t memory_bytes;      // of the device; physical memory for the CPU
    uint64_t memory_free_bytes; // at the time of the call
    bool has_bf16_matmul;       // false: bf16 operands are supported, but no faster than f32
    bool is_host_memory;        // buffers can be read and written by the host directly
    bool has_graphs;            // work can be recorded: graph_begin() …
} cop_device_info;

// The table a backend fills. Every function is mandatory, `groups` is not.
typedef struct cop_backend_type {
    const char *name;
    cop_status (*info)(cop_backend *backend, cop_device_info *out, cop_error *err);
    // Zeroed device memory, aligned to 256 bytes (CPU: to 64). COP_ERR_NOMEM names the size.
    cop_status (*memory_alloc)(cop_backend *backend, void **out, uint64_t bytes, cop_error *err);
    void (*memory_free)(cop_backend *backend, void *memory);
    // `from_host` may be reused as soon as the call returns; the stream is not waited for.
    cop_status (*copy_to_device)(cop_backend *backend, cop_stream *stream, void *to_dev,
                                 const void *from_host, uint64_t bytes, cop_error *err);
    // `to_host` holds the data after synchronize().
    cop_status (*copy_to_host)(cop_backend *backend, cop_stream *stream, void *to_host,
                               const void *from_dev, uint64_t bytes, cop_error *err);
    cop_status (*copy_on_device)(cop_backend *backend, cop_stream *stream, void *to_dev,
                                 const void *from_dev, uint64_t bytes, cop_error *err);
    // Bytes [offset, offset + bytes) of a file, read by several threads with pread() through small
    // buffers that are kept. The file's bytes have been read when the call returns. `path` names
    // the file in messages. COP_ERR_IO: the system's error, or the file ends before.
    cop_status (*read_file)(cop_backend *backend, cop_stream *stream, void *to_dev, int file,
                            uint64_t offset, uint64_t bytes, const char *path, cop_error *err);
    cop_status (*zero)(cop_backend *backend, cop_stream *stream, void *memory, uint64_t bytes,
                       cop_error *err);
    cop_status (*stream_create)(cop_backend *backend, cop_stream **out, cop_error *err);
    void (*stream_destroy)(cop_backend *backend, cop_stream *stream);
    // Work enqueued on `stream` from now on begins after all that is on `other` now.
    cop_status (*stream_wait)(cop_backend *backend, cop_stream *stream, cop_stream *other,
                              cop_error *err);
    // Waits until all work of the stream is done; reports errors of earlier asynchronous work.
    cop_status (*synchronize)(cop_backend *backend, cop_stream *stream, cop_error *err);
    // Records what is enqueued on `stream` between begin and end instead of running it. Pointers and
    // host values of the arguments are recorded as they are; uploads, copies to the host and
    // synchronize() must not be called in between. A failure inside ends with graph_end(), which
    // then returns an error and no graph. COP_ERR_UNSUPPORTED without `has_graphs`.
    cop_status (*graph_begin)(cop_backend *backend, cop_stream *stream, cop_error *err);
    cop_status (*graph_end)(cop_backend *backend, cop_stream *stream, cop_graph **out,
                            cop_error *err);
    cop_status (*graph_run)(cop_backend *backend, cop_stream *stream, cop_graph *graph,
                            cop_error *err);
    void (*graph_destroy)(cop_backend *backend, cop_graph *graph);
    void (*destroy)(cop_backend *backend);
    // Collectives of several processes, kernels/group.h; NULL: they exchange host memory.
    const struct cop_group_functions *groups;
} cop_backend_type;

struct cop_backend {
    const cop_backend_type *type;
    const struct cop_ops *ops; // kernels/ops.h; every entry is set
    void *context;             // owned by the backend
    // Filled by cop_backend_alloc(); a backend is created with zeros here.
    struct cop_allocation *allocations;
    uint64_t memory_used_bytes;
    uint64_t memory_peak_bytes;
};

// Creates a backend by name: "reference", "cpu", "cuda" or "cuda:<device>" (0 …), or "auto": the
// first GPU where there is one that works, else "cpu"; the log says why when a GPU is there and a
// plugin for it, but it does not work.
// COP_ERR_CONFIG for an unknown name, listing the known ones; COP_ERR_UNSUPPORTED when the device
// is absent, saying why. Owned by the caller: cop_backend_destroy().
COP_MUST_CHECK cop_status cop_backend_create(cop_backend **out, const char *name, cop_error *err);
// The names that it knows, as a list for messages; whether `name` is one of them.
#define COP_BACKEND_NAMES "auto, cpu, cuda, cuda:<device>, reference"
bool cop_backend_is_known(const char *name);
void cop_backend_destroy(cop_backend *backend);
// As create() for one of several processes (base/processes.h): with "auto" and "cuda" each on a machine gets a
// GPU of its own, in turns where there are more processes than GPUs.
COP_MUST_CHECK cop_status cop_backend_create_own(cop_backend **out, const char *name,
                                                 cop_error *err);
// GPUs that this build can use on this machine; 0: none.
int cop_backend_devices(void);

// Shorthands for the table.
COP_MUST_CHECK cop_status cop_backend_info(cop_backend *backend, cop_device_info *out,
                                           cop_error *err);
// Zeroed device memory under a name ("student: gradients"; copied), for reports and messages. One
// thread at a time allocates and frees.
COP_MUST_CHECK cop_status cop_backend_alloc(cop_backend *backend, void **out, uint64_t bytes,
                                            const char *name, cop_error *err);
void cop_backend_free(cop_backend *backend, void *memory); // NULL is allowed
// What lives now, largest first, a line each, and the most that lived at once.
void cop_backend_memory_report(const cop_backend *backend, struct cop_text *out);
COP_MUST_CHECK cop_status cop_backend_to_device(cop_backend *backend, cop_stream *stream,
                                                void *to_dev, const void *from_host, uint64_t bytes,
                                                cop_error *err);
COP_MUST_CHECK cop_status cop_backend_to_host(cop_backend *backend, cop_stream *stream,
                                              void *to_host, const void *from_dev, uint64_t bytes,
                                              cop_error *err);
COP_MUST_CHECK cop_status cop_backend_on_device(cop_backend *backend, cop_stream *stream,
                                                void *to_dev, const void *from_dev, uint64_t bytes,
                                                cop_error *err);
COP_MUST_CHECK cop_status cop_backend_read_file(cop_backend *backend, cop_stream *stream,
                                                void *to_dev, int file, uint64_t offset,
                                                uint64_t bytes, const char *path, cop_error *err);
COP_MUST_CHECK cop_status cop_backend_zero(cop_backend *backend, cop_stream *stream, void *memory,
                                           uint64_t bytes, cop_error *err);
COP_MUST_CHECK cop_status cop_backend_synchronize(cop_backend *backend, cop_stream *stream,
                                                  cop_error *err);

#ifdef __cplusplus
}
#endif

#endif
