// Between the files of the attention: which of three implementations runs, and their launchers.
//
//     cuDNN   bf16, where the build found cuDNN and its frontend; the fastest on Hopper
//     flash   bf16, own kernels on tensor cores: head dimensions of multiples of 8 up to 128
//     plain   everything: any types, any sizes; the oracle of the other two on the device
//
// The first that takes a call runs it. The environment variable COP_CUDA_ATTENTION = cudnn | flash |
// plain demands one, for tests and benchmarks: a call that it does not take then fails with
// COP_ERR_UNSUPPORTED, and nothing falls back.

#ifndef COP_KERNELS_CUDA_ATTENTION_H
#define COP_KERNELS_CUDA_ATTENTION_H

#include "kernels/cuda/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

// COP_ERR_DEVICE, or nothing happens for empty matrices. No scratch.
COP_MUST_CHECK cop_status cop_cuda_plain_forward(cudaStream_t stream,
                                                 const cop_attention_forward_args *args,
                                                 cop_error *err);
COP_MUST_CHECK cop_status cop_cuda_tensor_forward(cudaStream_t stream,
                                                  const cop_attention_forward_args *args,
                                                  cop_error *err);

// delta [B*H, T] f32, dense, receives Σ_d d_o o of each row and head: the first step of both
// backward passes below, which read it.
COP_MUST_CHECK cop_status cop_cuda_attention_delta(cudaStream_t stream,
                                                   const cop_attention_backward_args *args,
                                                   float *delta, cop_error *err);
COP_MUST_CHECK cop_status cop_cuda_plain_backward(cudaStream_t stream,
                                                  const cop_attention_backward_args *args,
                                                  const float *delta, cop_error *err);
COP_MUST_CHECK cop_status cop_cuda_tensor_backward(cudaStream_t stream,
                                                   const cop_attention_backward_args *args,
                                                   const float *delta, cop_error *err);

// Whether the own kernels on tensor cores take a call: bf16 matrices whose rows begin at multiples
// of 16 bytes, a head_dim of a multiple of 8 up to 128, a positive scale. Scratch does not depend on
// it.
bool cop_cuda_tensor_takes_forward(const cop_attention_forward_args *args);
bool cop_cuda_tensor_takes_backward(const cop_attention_backward_args *args);

#ifdef __cplusplus
}
#endif

#endif
