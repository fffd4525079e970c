// Collectives over NCCL. Sums are those of its ring: repeatable for one machine and number of members.
//
// Parts are equal but for the last one's tail, which travels by a reduction to, or a broadcast from, its
// owner in the same group call.

#include <dlfcn.h>
#include <nccl.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/group.h"

// What is used of the library.
typedef struct nccl {
    void *library; // stays loaded
    ncclResult_t (*get_unique_id)(ncclUniqueId *id);
    ncclResult_t (*comm_init_rank)(ncclComm_t *comm, int size, ncclUniqueId id, int rank);
    ncclResult_t (*comm_destroy)(ncclComm_t comm);
    ncclResult_t (*all_reduce)(const void *from, void *to, size_t count, ncclDataType_t type,
                               ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream);
    ncclResult_t (*reduce)(const void *from, void *to, size_t count, ncclDataType_t type,
                           ncclRedOp_t op, int root, ncclComm_t comm, cudaStream_t stream);
    ncclResult_t (*reduce_scatter)(const void *from, void *to, size_t count, ncclDataType_t type,
                                   ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream);
    ncclResult_t (*all_gather)(const void *from, void *to, size_t count, ncclDataType_t type,
                               ncclComm_t comm, cudaStream_t stream);
    ncclResult_t (*broadcast)(const void *from, void *to, size_t count, ncclDataType_t type,
                              int root, ncclComm_t comm, cudaStream_t stream);
    ncclResult_t (*group_start)(void);
    ncclResult_t (*group_end)(void);
    const char *(*error_string)(ncclResult_t result);
    const char *(*last_error)(ncclComm_t comm);
} nccl;

static nccl api;

_Static_assert(COP_GROUP_IDENTITY_BYTES == NCCL_UNIQUE_ID_BYTES, "an identity is NCCL's");

// --- The library --------------------------------------------------------------------------------

static cop_status find(void *function, const char *name, cop_error *err)
{
    void *symbol = dlsym(api.library, name);
    if (symbol == NULL) {
        return COP_FAIL(err, COP_ERR_UNSUPPORTED, "nccl: %s is missing in the library found", name);
    }
    memcpy(function, &symbol, sizeof symbol); // ISO C has no cast to a function
    return COP_OK;
}

static cop_status load(cop_error *err)
{
    const char *given = getenv("COP_NCCL"); // NOLINT(concurrency-mt-unsafe): nobody writes it
    const char *name = given != NULL && given[0] != '\0' ? given : "libnccl.so.2";

    const struct {
        void *function;
        const char *name;
    } wanted[] = {
        {&api.get_unique_id, "ncclGetUniqueId"},
        {&api.comm_init_rank, "ncclCommInitRank"},
        {&api.comm_destroy, "ncclCommDestroy"},
        {&api.all_reduce, "ncclAllReduce"},
        {&api.reduce, "ncclReduce"},
        {&api.reduce_scatter, "ncclReduceScatter"},
        {&api.all_gather, "ncclAllGather"},
        {&api.broadcast, "ncclBroadcast"},
        {&api.group_start, "ncclGroupStart"},
        {&api.group_end, "ncclGroupEnd"},
        {&api.error_string, "ncclGetErrorString"},
        {&api.last_error, "ncclGetLastError"},
    };

    cop_status status = COP_OK;
    if (api.library != NULL) {
        return COP_OK;
    }
    api.library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (api.library == NULL) {
        const char *why = dlerror(); // NOLINT(concurrency-mt-unsafe): one thread
        return COP_FAIL(err, COP_ERR_UNSUPPORTED,
                        "nccl: %.300s (allowed: NCCL on the loader's path, or COP_NCCL=<file>)",
                        why != NULL ? why : name);
    }
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        COP_TRY(status, find(wanted[i].function, wanted[i].name, err));
    }

done:
    if (status != COP_OK) {
        (void)dlclose(api.library);
        api = (nccl){0};
    }
    return status;
}

static cop_status fail_nccl(cop_error *err, const char *what, ncclResult_t result, ncclComm_t comm)
{
    return COP_FAIL(err, COP_ERR_DEVICE, "nccl: %s: %s: %.256s", what, api.error_string(result),
                    api.last_error(comm));
}

// --- Collectives --------------------------------------------------------------------------------

// A call under way on a stream of the group's device.
typedef struct call {
    ncclComm_t comm;
    cudaStream_t stream;
    ncclDataType_t type;
    int last; // rank that owns the tail
} call;

static cop_status begin(call *out, const cop_group *group, const cop_stream *stream,
                        cop_dtype dtype, cop_error *err)
{
    const cop_cuda *cuda = group->backend->context;
    const cudaError_t error = cudaSetDevice(cuda->device);
    if (error != cudaSuccess) {
        return COP_FAIL(err, COP_ERR_DEVICE, "nccl: device %d: %s", cuda->device,
                        cudaGetErrorString(error));
    }
    *out = (call){.comm = group->context,
                  .stream = cop_cuda_stream(cuda, stream),
                  .type = dtype == COP_BF16  ? ncclBfloat16
                          : dtype == COP_F64 ? ncclFloat64
                                             : ncclFloat32,
                  .last = group->size - 1};
    return COP_OK;
}

static cop_status finish(const call *self, const char *what, ncclResult_t result, cop_error *err)
{
    return result == ncclSuccess ? COP_OK : fail_nccl(err, what, result, self->comm);
}

// A group call must be ended, also when a part of it failed.
static ncclResult_t end_group(ncclResult_t result)
{
    const ncclResult_t ended = api.group_end();
    return result != ncclSuccess ? result : ended;
}

static char *element_at(void *data, int64_t element, cop_dtype dtype)
{
    return (char *)data + element * (int64_t)cop_dtype_bytes(dtype);
}

static cop_status all_reduce(cop_group *group, cop_stream *stream, void *data, int64_t count,
                             cop_dtype dtype, cop_error *err)
{
    call self = {0};
    cop_status status = COP_OK;
    COP_TRY(status, begin(&self, group, stream, dtype, err));
    status = finish(
        &self, "all_reduce",
        api.all_reduce(data, data, (size_t)count, self.type, ncclSum, self.comm, self.stream), err);

done:
    return status;
}

static cop_status reduce_scatter(cop_group *group, cop_stream *stream, void *data, int64_t count,
                                 int64_t share, cop_dtype dtype, cop_error *err)
{
    const int64_t even = share * group->size;
    char *own = element_at(data, share * group->rank, dtype);
    char *tail = element_at(data, even, dtype);
    ncclResult_t result = ncclSuccess;
    call self = {0};
    cop_status status = COP_OK;

    COP_TRY(status, begin(&self, group, stream, dtype, err));
    result = api.group_start();
    if (result == ncclSuccess) {
        if (share > 0) {
            result = api.reduce_scatter(data, own, (size_t)share, self.type, ncclSum, self.comm,
                                        self.stream);
        }
        if (result == ncclSuccess && count > even) {
            result = api.reduce(tail, tail, (size_t)(count - even), self.type, ncclSum, self.last,
                                self.comm, self.stream);
        }
        result = end_group(result);
    }
    status = finish(&self, "reduce_scatter", result, err);

done:
    return status;
}

static cop_status all_gather(cop_group *group, cop_stream *stream, void *data, int64_t count,
                             int64_t share, cop_dtype dtype, cop_error *err)
{
    const int64_t even = share * group->size;
    const char *own = element_at(data, share * group->rank, dtype);
    char *tail = element_at(data, even, dtype);
    ncclResult_t result = ncclSuccess;
    call self = {0};
    cop_status status = COP_OK;

    COP_TRY(status, begin(&self, group, stream, dtype, err));
    result = api.group_start();
    if (result == ncclSuccess) {
        if (share > 0) {
            result = api.all_gather(own, data, (size_t)share, self.type, self.comm, self.stream);
        }
        if (result == ncclSuccess && count > even) {
            result = api.broadcast(tail, tail, (size_t)(count - even), self.type, self.last,
                                   self.comm, self.stream);
        }
        result = end_group(result);
    }
    status = finish(&self, "all_gather", result, err);

done:
    return status;
}

static cop_status broadcast(cop_group *group, cop_stream *stream, void *data, uint64_t bytes,
                            int root, cop_error *err)
{
    call self = {0};
    cop_status status = COP_OK;
    COP_TRY(status, begin(&self, group, stream, COP_F32, err));
    status = finish(
        &self, "broadcast",
        api.broadcast(data, data, (size_t)bytes, ncclUint8, root, self.comm, self.stream), err);

done:
    return status;
}

static void destroy(cop_group *group)
{
    (void)api.comm_destroy(group->context);
    cop_free(group);
}

static const cop_group_type nccl_type = {
    .name = "nccl",
    .all_reduce = all_reduce,
    .reduce_scatter = reduce_scatter,
    .all_gather = all_gather,
    .broadcast = broadcast,
    .destroy = destroy,
};

// --- Life ---------------------------------------------------------------------------------------

static cop_status identity(unsigned char out[COP_GROUP_IDENTITY_BYTES], cop_error *err)
{
    cop_status status = COP_OK;
    ncclUniqueId id;
    ncclResult_t result = ncclSuccess;

    COP_TRY(status, load(err));
    result = api.get_unique_id(&id);
    if (result != ncclSuccess) {
        status = fail_nccl(err, "unique id", result, NULL);
        goto done;
    }
    memcpy(out, id.internal, COP_GROUP_IDENTITY_BYTES);

done:
    return status;
}

// Other algorithms add up in other orders, and the library chooses by size and version: the ring is one order.
// What the user sets wins.
static void choose_ring(void)
{
    (void)setenv("NCCL_ALGO", "Ring", 0); // NOLINT(concurrency-mt-unsafe): before NCCL's threads
}

static cop_status create(cop_group **out, cop_backend *backend, int rank, int size,
                         const unsigned char id[COP_GROUP_IDENTITY_BYTES], cop_error *err)
{
    const cop_cuda *cuda = backend->context;
    cop_status status = COP_OK;
    cop_group *group = NULL;
    ncclComm_t comm = NULL;
    ncclUniqueId unique;
    ncclResult_t result = ncclSuccess;
    cudaError_t error = cudaSuccess;

    *out = NULL;
    COP_TRY(status, load(err));
    group = cop_alloc(1, sizeof *group);
    if (group == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "nccl: no memory for a group");
        goto done;
    }
    error = cudaSetDevice(cuda->device);
    if (error != cudaSuccess) {
        status = COP_FAIL(err, COP_ERR_DEVICE, "nccl: device %d: %s", cuda->device,
                          cudaGetErrorString(error));
        goto done;
    }
    memcpy(unique.internal, id, COP_GROUP_IDENTITY_BYTES);
    choose_ring();
    result = api.comm_init_rank(&comm, size, unique, rank);
    if (result != ncclSuccess) {
        status = fail_nccl(err, "start of the group", result, NULL);
        goto done;
    }
    *group = (cop_group){
        .type = &nccl_type, .rank = rank, .size = size, .backend = backend, .context = comm};
    *out = group;
    group = NULL;

done:
    cop_free(group);
    return status;
}

const cop_group_functions cop_cuda_group_functions = {.identity = identity, .create = create};
