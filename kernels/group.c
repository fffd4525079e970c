#include "kernels/group.h"

#include <inttypes.h>

#include "base/alloc.h"
#include "base/processes.h"

// --- Alone --------------------------------------------------------------------------------------

static cop_status alone_all_reduce(cop_group *group, cop_stream *stream, void *data, int64_t count,
                                   cop_dtype dtype, cop_error *err)
{
    (void)group;
    (void)stream;
    (void)data;
    (void)count;
    (void)dtype;
    (void)err;
    return COP_OK;
}

static cop_status alone_part(cop_group *group, cop_stream *stream, void *data, int64_t count,
                             int64_t share, cop_dtype dtype, cop_error *err)
{
    (void)share;
    return alone_all_reduce(group, stream, data, count, dtype, err);
}

static cop_status alone_broadcast(cop_group *group, cop_stream *stream, void *data, uint64_t bytes,
                                  int root, cop_error *err)
{
    (void)bytes;
    (void)root;
    return alone_all_reduce(group, stream, data, 0, COP_F32, err);
}

static void alone_destroy(cop_group *group)
{
    cop_free(group);
}

static const cop_group_type alone_type = {
    .name = "alone",
    .all_reduce = alone_all_reduce,
    .reduce_scatter = alone_part,
    .all_gather = alone_part,
    .broadcast = alone_broadcast,
    .destroy = alone_destroy,
};

cop_status cop_group_create_alone(cop_group **out, cop_backend *backend, cop_error *err)
{
    *out = cop_alloc(1, sizeof **out);
    if (*out == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "group: no memory for its description");
    }
    **out = (cop_group){.type = &alone_type, .rank = 0, .size = 1, .backend = backend};
    return COP_OK;
}

// --- Life ---------------------------------------------------------------------------------------

// Rank 0 makes the identity; whether that worked is everybody's affair.
static cop_status create_on_device(cop_group **out, cop_backend *backend, cop_processes self,
                                   cop_error *err)
{
    const cop_group_functions *functions = backend->type->groups;
    unsigned char identity[COP_GROUP_IDENTITY_BYTES] = {0};
    cop_status status = COP_OK;

    if (self.rank == 0) {
        status = functions->identity(identity, err);
    }
    COP_TRY(status, cop_processes_agree(status, err));
    COP_TRY(status, cop_processes_broadcast(identity, sizeof identity, 0, err));
    status = functions->create(out, backend, self.rank, self.size, identity, err);

done:
    return status;
}

cop_status cop_group_create(cop_group **out, cop_backend *backend, cop_error *err)
{
    const cop_processes self = cop_processes_self();
    *out = NULL;
    if (self.size == 1) {
        return cop_group_create_alone(out, backend, err);
    }
    if (backend->type->groups != NULL) {
        return create_on_device(out, backend, self, err);
    }
    return cop_group_create_host(out, backend, err);
}

void cop_group_destroy(cop_group *group)
{
    if (group != NULL) {
        group->type->destroy(group);
    }
}

// --- Parts --------------------------------------------------------------------------------------

int64_t cop_group_share(int64_t count, int size, int64_t unit)
{
    return count / size / unit * unit;
}

int64_t cop_group_part(int64_t count, int64_t share, int rank, int size)
{
    return rank >= size ? count : share * rank;
}

int cop_group_rank(const cop_group *group)
{
    return group == NULL ? 0 : group->rank;
}

int cop_group_size(const cop_group *group)
{
    return group == NULL ? 1 : group->size;
}

// --- Checked calls ------------------------------------------------------------------------------

static cop_status check(const cop_group *group, const char *what, int64_t count, int64_t share,
                        cop_dtype dtype, cop_error *err)
{
    if (dtype != COP_F32 && dtype != COP_BF16 && dtype != COP_F64) {
        return COP_FAIL(err, COP_ERR_UNSUPPORTED, "%s: type is %s (allowed: f32, bf16, f64)", what,
                        cop_dtype_name(dtype));
    }
    if (count < 0 || share < 0 || share > count / group->size) {
        return COP_FAIL(err, COP_ERR_SHAPE,
                        "%s: parts of %" PRId64 " of %" PRId64 " elements for %d processes "
                        "(allowed: 0..%" PRId64 ")",
                        what, share, count, group->size, count < 0 ? 0 : count / group->size);
    }
    return COP_OK;
}

cop_status cop_group_all_reduce(cop_group *group, cop_stream *stream, void *data, int64_t count,
                                cop_dtype dtype, cop_error *err)
{
    cop_status status = COP_OK;
    if (group != NULL) {
        COP_TRY(status, check(group, "all_reduce", count, 0, dtype, err));
        status = group->type->all_reduce(group, stream, data, count, dtype, err);
    }

done:
    return status;
}

cop_status cop_group_reduce_scatter(cop_group *group, cop_stream *stream, void *data, int64_t count,
                                    int64_t share, cop_dtype dtype, cop_error *err)
{
    cop_status status = COP_OK;
    if (group != NULL) {
        COP_TRY(status, check(group, "reduce_scatter", count, share, dtype, err));
        status = group->type->reduce_scatter(group, stream, data, count, share, dtype, err);
    }

done:
    return status;
}

cop_status cop_group_all_gather(cop_group *group, cop_stream *stream, void *data, int64_t count,
                                int64_t share, cop_dtype dtype, cop_error *err)
{
    cop_status status = COP_OK;
    if (group != NULL) {
        COP_TRY(status, check(group, "all_gather", count, share, dtype, err));
        status = group->type->all_gather(group, stream, data, count, share, dtype, err);
    }

done:
    return status;
}

cop_status cop_group_broadcast(cop_group *group, cop_stream *stream, void *data, uint64_t bytes,
                               int root, cop_error *err)
{
    if (group == NULL) {
        return COP_OK;
    }
    if (root < 0 || root >= group->size) {
        return COP_FAIL(err, COP_ERR_SHAPE, "broadcast: root is %d (allowed: 0..%d)", root,
                        group->size - 1);
    }
    return group->type->broadcast(group, stream, data, bytes, root, err);
}
