// Launchers of the CUDA operators. Arguments have been checked (kernels/cuda/table.cu), scratch is
// there when asked for; they enqueue work on `stream` and return. Contracts: kernels/ops.h.

#ifndef COP_KERNELS_CUDA_OPS_H
#define COP_KERNELS_CUDA_OPS_H

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/plugin.h"

#ifdef __cplusplus
extern "C" {
#endif

#define COP_CUDA_OP(name)                                                                          \
    cop_status cop_cuda_##name(cop_cuda *cuda, cudaStream_t stream, const cop_##name##_args *args, \
                               cop_error *err)

COP_CUDA_OP(matmul);
COP_CUDA_OP(norm_forward);
COP_CUDA_OP(norm_backward);
COP_CUDA_OP(rope);
COP_CUDA_OP(attention_forward);
COP_CUDA_OP(attention_backward);
COP_CUDA_OP(activation_forward);
COP_CUDA_OP(activation_backward);
COP_CUDA_OP(embedding_forward);
COP_CUDA_OP(embedding_backward);
COP_CUDA_OP(bias_add);
COP_CUDA_OP(column_sum);
COP_CUDA_OP(add);
COP_CUDA_OP(convert);
COP_CUDA_OP(gather);
COP_CUDA_OP(head_loss);
COP_CUDA_OP(state_loss);
COP_CUDA_OP(sum_squares);
COP_CUDA_OP(adamw);
COP_CUDA_OP(sequence_moments);
COP_CUDA_OP(row_cosine);
COP_CUDA_OP(sample_targets);

// Bytes of scratch of the operators that need some; the data pointers are not looked at.
uint64_t cop_cuda_matmul_scratch(const cop_cuda *cuda, const cop_matmul_args *args);
uint64_t cop_cuda_norm_backward_scratch(const cop_cuda *cuda, const cop_norm_backward_args *args);
uint64_t cop_cuda_attention_forward_scratch(const cop_cuda *cuda,
                                            const cop_attention_forward_args *args);
uint64_t cop_cuda_attention_backward_scratch(const cop_cuda *cuda,
                                             const cop_attention_backward_args *args);
uint64_t cop_cuda_embedding_backward_scratch(const cop_cuda *cuda,
                                             const cop_embedding_backward_args *args);
uint64_t cop_cuda_column_sum_scratch(const cop_cuda *cuda, const cop_column_sum_args *args);
uint64_t cop_cuda_head_loss_scratch(const cop_cuda *cuda, const cop_head_loss_args *args);
uint64_t cop_cuda_sum_squares_scratch(const cop_cuda *cuda, const cop_sum_squares_args *args);
uint64_t cop_cuda_row_cosine_scratch(const cop_cuda *cuda, const cop_row_cosine_args *args);
uint64_t cop_cuda_sample_targets_scratch(const cop_cuda *cuda, const cop_sample_targets_args *args);

// The product by an own kernel without tensor cores: the oracle of cuBLASLt on the device, and
// what runs where there is none.
COP_MUST_CHECK cop_status cop_cuda_matmul_plain(cop_cuda *cuda, cudaStream_t stream,
                                                const cop_matmul_args *args, cop_error *err);

// --- cuBLASLt: kernels/cuda/matmul_lt.cu, or on the host a stand-in (tests/cuda) ----------------

// Reads COP_CUDA_TUNE: "on" (default) times the candidates of a shape once and keeps the choice in a
// file (kernels/cuda/matmul_tune.h), "off" takes the library's first. COP_ERR_CONFIG: else.
COP_MUST_CHECK cop_status cop_cuda_lt_create(cop_cuda_lt **out, cop_cuda *cuda, cop_error *err);
void cop_cuda_lt_destroy(cop_cuda_lt *lt); // NULL is allowed
int64_t cop_cuda_lt_version(void);
// Bytes of scratch, and whether it takes this product (sizes); the plain kernel does else.
uint64_t cop_cuda_lt_scratch(const cop_cuda_lt *lt, const cop_matmul_args *args);
bool cop_cuda_lt_takes(const cop_cuda_lt *lt, const cop_matmul_args *args);
COP_MUST_CHECK cop_status cop_cuda_lt_matmul(cop_cuda_lt *lt, cudaStream_t stream,
                                             const cop_matmul_args *args, cop_error *err);

// --- cuDNN attention: kernels/cuda/attention_cudnn.cpp, or attention_cudnn_absent.cu ------------

// *out = NULL and COP_OK when there is none.
COP_MUST_CHECK cop_status cop_cuda_flash_create(cop_cuda_flash **out, cop_cuda *cuda,
                                                cop_error *err);
void cop_cuda_flash_destroy(cop_cuda_flash *flash);
bool cop_cuda_flash_takes_forward(cop_cuda_flash *flash, const cop_attention_forward_args *args);
bool cop_cuda_flash_takes_backward(cop_cuda_flash *flash, const cop_attention_backward_args *args);
uint64_t cop_cuda_flash_forward_scratch(cop_cuda_flash *flash,
                                        const cop_attention_forward_args *args);
uint64_t cop_cuda_flash_backward_scratch(cop_cuda_flash *flash,
                                         const cop_attention_backward_args *args);
COP_MUST_CHECK cop_status cop_cuda_flash_forward(cop_cuda_flash *flash, cudaStream_t stream,
                                                 const cop_attention_forward_args *args,
                                                 cop_error *err);
COP_MUST_CHECK cop_status cop_cuda_flash_backward(cop_cuda_flash *flash, cudaStream_t stream,
                                                  const cop_attention_backward_args *args,
                                                  cop_error *err);
// Version of cuDNN and its frontend, or why there is none.
const char *cop_cuda_flash_name(void);

// The whole table: checks, then the launchers above. Static storage.
const cop_ops *cop_cuda_ops(void);

// --- Memory, streams, copies, graphs: kernels/cuda/backend.cu -----------------------------------

// A backend on device `device`. COP_ERR_UNSUPPORTED: no such device, saying why.
COP_MUST_CHECK cop_status cop_cuda_backend_create(cop_backend **out, int device, cop_error *err);

// --- Devices: kernels/cuda/device.cu ------------------------------------------------------------

// COP_ERR_UNSUPPORTED without a driver or a device, saying which; *out is then 0.
COP_MUST_CHECK cop_status cop_cuda_device_count(int *out, cop_error *err);
COP_MUST_CHECK cop_status cop_cuda_device_describe(cop_cuda_device *out, int device,
                                                   cop_error *err);
// Makes the device that of the calling thread and notes in `cuda` what it is.
COP_MUST_CHECK cop_status cop_cuda_device_use(cop_cuda *cuda, int device, cop_error *err);

// --- Pinned buffers: kernels/cuda/upload.cu -----------------------------------------------------

// Buffers are allocated at their first use, and used again and again.
COP_MUST_CHECK cop_status cop_cuda_uploads_create(cop_cuda_uploads **out, int device,
                                                  cop_error *err);
// The device must be idle. NULL is allowed.
void cop_cuda_uploads_destroy(cop_cuda_uploads *uploads);
// The host's memory may be used again when the call returns. Waits only for earlier uploads, when
// all buffers hold some that are still under way.
COP_MUST_CHECK cop_status cop_cuda_upload(cop_cuda_uploads *uploads, cudaStream_t stream, void *to,
                                          const void *from, uint64_t bytes, cop_error *err);
// Small results do not wait: they are delivered by cop_cuda_downloads_deliver(), after the stream
// was synchronized. Large ones wait for the stream.
COP_MUST_CHECK cop_status cop_cuda_download(cop_cuda_uploads *uploads, cudaStream_t stream,
                                            void *to, const void *from, uint64_t bytes,
                                            cop_error *err);
// Copies the results that have arrived to where they were wanted.
COP_MUST_CHECK cop_status cop_cuda_downloads_deliver(cop_cuda_uploads *uploads, cop_error *err);
// Forgets what was wanted from this stream, or from all (NULL).
void cop_cuda_downloads_drop(cop_cuda_uploads *uploads, cudaStream_t stream);
// cop_backend_type.read_file: kernels/cuda/read_file.cu.
COP_MUST_CHECK cop_status cop_cuda_read_file(cop_cuda_uploads *uploads, cudaStream_t stream,
                                             void *to, int file, uint64_t offset, uint64_t bytes,
                                             const char *path, cop_error *err);

#ifdef __cplusplus
}
#endif

#endif
