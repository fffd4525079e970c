// Collectives of CUDA backends: kernels/group.h over NCCL, for the backend's type.
//
// NCCL is looked for when it is needed, not when the plugin is loaded: $COP_NCCL, a file, and then
// nowhere else; or libnccl.so.2 on the loader's path. A single GPU needs none of it.

#ifndef COP_KERNELS_CUDA_GROUP_H
#define COP_KERNELS_CUDA_GROUP_H

#include "kernels/group.h"

#ifdef __cplusplus
extern "C" {
#endif

// In group_nccl.c; in group_nccl_absent.c, where <nccl.h> was not found, one that says so.
extern const cop_group_functions cop_cuda_group_functions;

#ifdef __cplusplus
}
#endif

#endif
