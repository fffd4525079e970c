// A build without <nccl.h>: GPUs cannot train one model together.

#include "kernels/cuda/group.h"

static cop_status identity(unsigned char out[COP_GROUP_IDENTITY_BYTES], cop_error *err)
{
    (void)out;
    return COP_FAIL(err, COP_ERR_UNSUPPORTED,
                    "nccl: nccl.h was not found when this program was configured (allowed: one "
                    "process, or a build with NCCL)");
}

static cop_status create(cop_group **out, cop_backend *backend, int rank, int size,
                         const unsigned char id[COP_GROUP_IDENTITY_BYTES], cop_error *err)
{
    unsigned char unused[COP_GROUP_IDENTITY_BYTES];
    (void)backend;
    (void)rank;
    (void)size;
    (void)id;
    *out = NULL;
    return identity(unused, err);
}

const cop_group_functions cop_cuda_group_functions = {.identity = identity, .create = create};
