// A group: the processes that train one model together, each with a backend of its own, and the
// collectives on their device memory.
//
// All members call the same collectives in the same order with the same sizes. A collective is enqueued
// on a stream in order, as an operator is: what was enqueued before it is done when it reads, and only
// cop_backend_synchronize() waits. Where memory is the host's it is done when the call returns.
//
// Sums are repeatable for a given size of the group: host memory is summed in the order of ranks, in
// f64, and rounded once; NCCL sums in the order of its ring, which depends on the machine's topology, and
// rounds bf16 at every hop (docs/multi-gpu.md). After a collective all members hold the same bits.
//
// A vector of `count` elements is shared out in parts of `share` elements: rank r has
// [r * share, (r + 1) * share), the last one all the rest; cop_group_share() gives the usual share.

#ifndef COP_KERNELS_GROUP_H
#define COP_KERNELS_GROUP_H

#include "kernels/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cop_group cop_group;

// What an implementation fills. Every function is mandatory.
typedef struct cop_group_type {
    const char *name; // "alone", "host", "nccl"
    // data[i] becomes its sum over all members. f32, bf16, f64; in all functions.
    cop_status (*all_reduce)(cop_group *group, cop_stream *stream, void *data, int64_t count,
                             cop_dtype dtype, cop_error *err);
    // As all_reduce for this member's own part; the other parts hold anything afterwards.
    cop_status (*reduce_scatter)(cop_group *group, cop_stream *stream, void *data, int64_t count,
                                 int64_t share, cop_dtype dtype, cop_error *err);
    // Every part becomes what its owner holds there.
    cop_status (*all_gather)(cop_group *group, cop_stream *stream, void *data, int64_t count,
                             int64_t share, cop_dtype dtype, cop_error *err);
    cop_status (*broadcast)(cop_group *group, cop_stream *stream, void *data, uint64_t bytes,
                            int root, cop_error *err);
    void (*destroy)(cop_group *group);
} cop_group_type;

// A plan asks for rank and size alone: `type` may be NULL there, and no collective is called.
struct cop_group {
    const cop_group_type *type;
    int rank;
    int size;
    cop_backend *backend; // borrowed
    void *context;        // owned by the group
};

// What a backend with its own collectives offers: cop_backend_type.groups.
enum { COP_GROUP_IDENTITY_BYTES = 128 };

typedef struct cop_group_functions {
    // Made by one process, told to all: how they find one another.
    // COP_ERR_UNSUPPORTED: the library is not there, saying which.
    cop_status (*identity)(unsigned char out[COP_GROUP_IDENTITY_BYTES], cop_error *err);
    // Waits for all members.
    cop_status (*create)(cop_group **out, cop_backend *backend, int rank, int size,
                         const unsigned char identity[COP_GROUP_IDENTITY_BYTES], cop_error *err);
} cop_group_functions;

// The group of all processes that were started together (base/processes.h), called by all of them; alone
// when there is one. The backend is borrowed and must outlive the group.
COP_MUST_CHECK cop_status cop_group_create(cop_group **out, cop_backend *backend, cop_error *err);
void cop_group_destroy(cop_group *group);

// The implementations for host memory, each for itself; the second exchanges through base/processes.h.
COP_MUST_CHECK cop_status cop_group_create_alone(cop_group **out, cop_backend *backend,
                                                 cop_error *err);
COP_MUST_CHECK cop_status cop_group_create_host(cop_group **out, cop_backend *backend,
                                                cop_error *err);

// Elements of each part but the last: the largest multiple of `unit` with which all parts fit.
int64_t cop_group_share(int64_t count, int size, int64_t unit);
// First element of the part of `rank`; of rank `size`: the end.
int64_t cop_group_part(int64_t count, int64_t share, int rank, int size);

// Shorthands for the table. COP_ERR_UNSUPPORTED for another type, COP_ERR_SHAPE for a share that does
// not fit, before anything is exchanged. NULL is a group of one.
COP_MUST_CHECK cop_status cop_group_all_reduce(cop_group *group, cop_stream *stream, void *data,
                                               int64_t count, cop_dtype dtype, cop_error *err);
COP_MUST_CHECK cop_status cop_group_reduce_scatter(cop_group *group, cop_stream *stream, void *data,
                                                   int64_t count, int64_t share, cop_dtype dtype,
                                                   cop_error *err);
COP_MUST_CHECK cop_status cop_group_all_gather(cop_group *group, cop_stream *stream, void *data,
                                               int64_t count, int64_t share, cop_dtype dtype,
                                               cop_error *err);
COP_MUST_CHECK cop_status cop_group_broadcast(cop_group *group, cop_stream *stream, void *data,
                                              uint64_t bytes, int root, cop_error *err);
// 0 and 1 for NULL.
int cop_group_rank(const cop_group *group);
int cop_group_size(const cop_group *group);

#ifdef __cplusplus
}
#endif

#endif
