// For tests of the attention through cuDNN where there is no device; programs use the entry points
// of kernels/cuda/ops.h.

#ifndef COP_KERNELS_CUDA_ATTENTION_CUDNN_H
#define COP_KERNELS_CUDA_ATTENTION_CUDNN_H

#include "kernels/cuda/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

// As cop_cuda_flash_create() for a device that is described, not there: `device_json` in cuDNN's
// serialized form, `compute` its capability (90). Plans are made as far as that is possible without
// a driver: graphs are validated, and cuDNN says which engines take them. Nothing can be run.
COP_MUST_CHECK cop_status cop_cuda_flash_create_described(cop_cuda_flash **out,
                                                          const char *device_json, int compute,
                                                          cop_error *err);

// Why the latest call that was not taken was not; "" when it was. Borrowed, until the next call.
const char *cop_cuda_flash_reason(const cop_cuda_flash *flash);
// Engine configurations that cuDNN offered for the latest call.
int64_t cop_cuda_flash_plan_count(const cop_cuda_flash *flash);

#ifdef __cplusplus
}
#endif

#endif
