// Collectives on host memory. Members exchange parts directly and add them up in the order of ranks, so
// that a sum depends on neither the library's algorithm nor the sizes of messages.

#include <string.h>

#include "base/alloc.h"
#include "base/processes.h"
#include "kernels/group.h"

enum { CHUNK = 1 << 15 }; // elements that are summed at one time

// The group's context.
typedef struct exchange {
    double *sum; // [CHUNK]
    char *parts; // [size, CHUNK] of the widest type: what each rank holds of this chunk
} exchange;

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static char *at(void *data, int64_t element, cop_dtype dtype)
{
    return (char *)data + element * (int64_t)cop_dtype_bytes(dtype);
}

static double element_of(const char *part, int64_t i, cop_dtype dtype)
{
    switch ((int)dtype) {
    case COP_F32: return (double)((const float *)(const void *)part)[i];
    case COP_BF16: return (double)cop_bf16_to_f32(((const uint16_t *)(const void *)part)[i]);
    default: return ((const double *)(const void *)part)[i];
    }
}

static void sum_chunk(const cop_group *group, char *to, int64_t count, cop_dtype dtype)
{
    const exchange *self = group->context;
    const int64_t stride = CHUNK * (int64_t)sizeof(double);
    for (int64_t i = 0; i < count; i++) {
        self->sum[i] = element_of(self->parts, i, dtype);
    }
    for (int rank = 1; rank < group->size; rank++) {
        const char *part = self->parts + rank * stride;
        for (int64_t i = 0; i < count; i++) {
            self->sum[i] += element_of(part, i, dtype);
        }
    }
    cop_dtype_convert(to, dtype, self->sum, COP_F64, (size_t)count);
}

// Elements [first, first + CHUNK) of every part: each rank gets those of its own part from all others.
static cop_status reduce_chunk(cop_group *group, void *data, int64_t count, int64_t share,
                               int64_t first, cop_dtype dtype, cop_error *err)
{
    const exchange *self = group->context;
    const int64_t stride = CHUNK * (int64_t)sizeof(double);
    const int size = group->size;
    cop_status status = COP_OK;
    int64_t own = 0;

    for (int step = 0; step < size; step++) {
        const int to = (group->rank + step) % size;
        const int from = (group->rank + size - step) % size;
        const int64_t start = cop_group_part(count, share, to, size) + first;
        const int64_t end = cop_group_part(count, share, to + 1, size);
        const int64_t mine = cop_group_part(count, share, group->rank + 1, size) -
                             cop_group_part(count, share, group->rank, size) - first;
        const uint64_t width = cop_dtype_bytes(dtype);
        const uint64_t out = start < end ? (uint64_t)smaller(end - start, CHUNK) * width : 0;
        own = mine > 0 ? smaller(mine, CHUNK) : 0;
        char *part = self->parts + from * stride;
        if (step == 0) {
            if (out > 0) {
                memcpy(part, at(data, start, dtype), (size_t)out);
            }
            continue;
        }
        COP_TRY(status, cop_processes_exchange(to, at(data, start, dtype), out, from, part,
                                               (uint64_t)own * width, err));
    }
    if (own > 0) {
        const int64_t start = cop_group_part(count, share, group->rank, size) + first;
        sum_chunk(group, at(data, start, dtype), own, dtype);
    }

done:
    return status;
}

static cop_status reduce_scatter(cop_group *group, cop_stream *stream, void *data, int64_t count,
                                 int64_t share, cop_dtype dtype, cop_error *err)
{
    const int64_t last = count - share * (group->size - 1); // the longest part
    cop_status status = COP_OK;
    (void)stream;
    for (int64_t first = 0; status == COP_OK && first < last; first += CHUNK) {
        status = reduce_chunk(group, data, count, share, first, dtype, err);
    }
    return status;
}

static cop_status all_gather(cop_group *group, cop_stream *stream, void *data, int64_t count,
                             int64_t share, cop_dtype dtype, cop_error *err)
{
    const int size = group->size;
    const uint64_t width = cop_dtype_bytes(dtype);
    const int64_t own = cop_group_part(count, share, group->rank, size);
    const int64_t own_end = cop_group_part(count, share, group->rank + 1, size);
    cop_status status = COP_OK;

    (void)stream;
    for (int step = 1; step < size; step++) {
        const int to = (group->rank + step) % size;
        const int from = (group->rank + size - step) % size;
        const int64_t other = cop_group_part(count, share, from, size);
        const int64_t other_end = cop_group_part(count, share, from + 1, size);
        COP_TRY(status, cop_processes_exchange(
                            to, at(data, own, dtype), (uint64_t)(own_end - own) * width, from,
                            at(data, other, dtype), (uint64_t)(other_end - other) * width, err));
    }

done:
    return status;
}

static cop_status all_reduce(cop_group *group, cop_stream *stream, void *data, int64_t count,
                             cop_dtype dtype, cop_error *err)
{
    const int64_t share = cop_group_share(count, group->size, 1);
    const cop_status status = reduce_scatter(group, stream, data, count, share, dtype, err);
    return status == COP_OK ? all_gather(group, stream, data, count, share, dtype, err) : status;
}

static cop_status broadcast(cop_group *group, cop_stream *stream, void *data, uint64_t bytes,
                            int root, cop_error *err)
{
    (void)group;
    (void)stream;
    return cop_processes_broadcast(data, bytes, root, err);
}

static void destroy(cop_group *group)
{
    exchange *self = group->context;
    cop_free(self->sum);
    cop_free(self->parts);
    cop_free(self);
    cop_free(group);
}

static const cop_group_type host_type = {
    .name = "host",
    .all_reduce = all_reduce,
    .reduce_scatter = reduce_scatter,
    .all_gather = all_gather,
    .broadcast = broadcast,
    .destroy = destroy,
};

cop_status cop_group_create_host(cop_group **out, cop_backend *backend, cop_error *err)
{
    const cop_processes processes = cop_processes_self();
    cop_group *group = cop_alloc(1, sizeof *group);
    exchange *self = cop_alloc(1, sizeof *self);

    *out = NULL;
    if (self != NULL) {
        self->sum = cop_alloc(CHUNK, sizeof *self->sum);
        self->parts = cop_alloc((size_t)processes.size * CHUNK, sizeof(double));
    }
    if (group == NULL || self == NULL || self->sum == NULL || self->parts == NULL) {
        if (self != NULL) {
            cop_free(self->sum);
            cop_free(self->parts);
        }
        cop_free(self);
        cop_free(group);
        return COP_FAIL(err, COP_ERR_NOMEM, "group: no memory to exchange with %d processes",
                        processes.size);
    }
    *group = (cop_group){.type = &host_type,
                         .rank = processes.rank,
                         .size = processes.size,
                         .backend = backend,
                         .context = self};
    *out = group;
    return COP_OK;
}
