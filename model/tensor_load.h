// Tensors of a checkpoint on their way to a backend: read from the file by several threads straight
// to the device (kernels/backend.h: read_file), and converted there. The host holds no tensor: its
// part is the backend's small read buffers, and for element types that no device converts (f16 and
// f64) one chunk.

#ifndef COP_MODEL_TENSOR_LOAD_H
#define COP_MODEL_TENSOR_LOAD_H

#include "kernels/ops.h"
#include "model/checkpoint.h"

// Device memory that tensors pass through whose stored type is not the wanted one: used for one tensor
// after the other. Any size from 64 bytes is enough; COP_STAGING_BYTES keep all reading threads busy.
enum { COP_STAGING_BYTES = 32 << 20 };

typedef struct cop_staging {
    void *memory; // borrowed; aligned to 64
    uint64_t bytes;
} cop_staging;

// What is worth having for the tensors of an architecture: COP_STAGING_BYTES, or the size of the
// largest one in f32 when that is less.
uint64_t cop_staging_bytes(const cop_arch *arch);

// Reads tensor `index` into `to` (dense, as many elements), which has the stored type or any other.
// The bits are those of cop_checkpoint_read(). Enqueued on the default stream; the file has been read
// when it returns. COP_ERR_IO: the file is shorter than it was, or was replaced.
COP_MUST_CHECK cop_status cop_tensor_load(cop_backend *backend, const cop_checkpoint *checkpoint,
                                          int64_t index, cop_matrix to, cop_staging staging,
                                          cop_error *err);

#endif
