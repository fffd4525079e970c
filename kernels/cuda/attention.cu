// Which attention runs: the first of cuDNN, the own kernels on tensor cores and the plain ones that
// takes the call, or the one that COP_CUDA_ATTENTION demands.

#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/attention.h"

namespace {

// What the environment demands; names in the order of the enum.
enum choice { CHOICE_ANY = 0, CHOICE_CUDNN, CHOICE_FLASH, CHOICE_PLAIN, CHOICE_UNKNOWN };

const char *const choice_names[] = {"", "cudnn", "flash", "plain"};

constexpr int64_t FLASH_DEPTH_MAX = 128;
constexpr int64_t ROW_BYTES = 16;            // rows of heads begin at multiples of this
constexpr int64_t FLASH_BATCH_MAX = 1 << 30; // sequences times heads, in a grid's first dimension
constexpr int64_t FLASH_SEQUENCE_MAX = int64_t{65535} * 128;

} // namespace

static choice choice_now(void)
{
    const char *name = getenv("COP_CUDA_ATTENTION"); // NOLINT(concurrency-mt-unsafe): only read
    if (name == NULL || name[0] == '\0') {
        return CHOICE_ANY;
    }
    for (int i = CHOICE_CUDNN; i < CHOICE_UNKNOWN; i++) {
        if (strcmp(name, choice_names[i]) == 0) {
            return static_cast<choice>(i);
        }
    }
    return CHOICE_UNKNOWN;
}

static bool is_aligned(cop_matrix m)
{
    return m.dtype == COP_BF16 && m.stride * 2 % ROW_BYTES == 0 &&
           reinterpret_cast<uintptr_t>(m.data) % ROW_BYTES == 0;
}

static bool takes_sizes(int64_t batch, int64_t sequence, int64_t heads, int64_t head_dim,
                        float scale)
{
    return head_dim % 8 == 0 && head_dim <= FLASH_DEPTH_MAX && sequence <= FLASH_SEQUENCE_MAX &&
           batch * heads <= FLASH_BATCH_MAX && scale > 0.0f;
}

bool cop_cuda_tensor_takes_forward(const cop_attention_forward_args *args)
{
    return takes_sizes(args->batch, args->sequence, args->heads, args->head_dim, args->scale) &&
           is_aligned(args->q) && is_aligned(args->k) && is_aligned(args->v) && is_aligned(args->o);
}

bool cop_cuda_tensor_takes_backward(const cop_attention_backward_args *args)
{
    return takes_sizes(args->batch, args->sequence, args->heads, args->head_dim, args->scale) &&
           is_aligned(args->q) && is_aligned(args->k) && is_aligned(args->v) &&
           is_aligned(args->d_o) && is_aligned(args->d_q) && is_aligned(args->d_k) &&
           is_aligned(args->d_v);
}

// Narrows what is demanded to what runs: CHOICE_UNKNOWN when nothing may.
static choice choose(bool cudnn_takes, bool flash_takes)
{
    const choice demanded = choice_now();
    switch (demanded) {
    case CHOICE_ANY: return cudnn_takes ? CHOICE_CUDNN : flash_takes ? CHOICE_FLASH : CHOICE_PLAIN;
    case CHOICE_CUDNN: return cudnn_takes ? CHOICE_CUDNN : CHOICE_UNKNOWN;
    case CHOICE_FLASH: return flash_takes ? CHOICE_FLASH : CHOICE_UNKNOWN;
    case CHOICE_PLAIN:
    case CHOICE_UNKNOWN: break;
    }
    return demanded;
}

static cop_status refuse(cop_error *err, const char *op, int64_t sequence, int64_t head_dim)
{
    const char *name = getenv("COP_CUDA_ATTENTION"); // NOLINT(concurrency-mt-unsafe): only read
    return COP_FAIL(err, COP_ERR_UNSUPPORTED,
                    "%s: COP_CUDA_ATTENTION: %s does not take [T %lld, D %lld] of these types and "
                    "strides (allowed: cudnn where there is one, flash for bf16 with rows of "
                    "multiples of 16 bytes, plain)",
                    op, name == NULL ? "" : name, static_cast<long long>(sequence),
                    static_cast<long long>(head_dim));
}

uint64_t cop_cuda_attention_forward_scratch(const cop_cuda *cuda,
                                            const cop_attention_forward_args *args)
{
    return cuda->flash == NULL ? 0 : cop_cuda_flash_forward_scratch(cuda->flash, args);
}

cop_status cop_cuda_attention_forward(cop_cuda *cuda, cudaStream_t stream,
                                      const cop_attention_forward_args *args, cop_error *err)
{
    if (args->batch == 0) {
        return COP_OK;
    }
    switch (choose(cuda->flash != NULL && cop_cuda_flash_takes_forward(cuda->flash, args),
                   cop_cuda_tensor_takes_forward(args))) {
    case CHOICE_CUDNN: return cop_cuda_flash_forward(cuda->flash, stream, args, err);
    case CHOICE_FLASH: return cop_cuda_tensor_forward(stream, args, err);
    case CHOICE_PLAIN: return cop_cuda_plain_forward(stream, args, err);
    case CHOICE_ANY:
    case CHOICE_UNKNOWN: break;
    }
    return refuse(err, "attention_forward", args->sequence, args->head_dim);
}

// delta of both own backward passes; cuDNN's workspace may be larger.
uint64_t cop_cuda_attention_backward_scratch(const cop_cuda *cuda,
                                             const cop_attention_backward_args *args)
{
    const uint64_t cudnn =
        cuda->flash == NULL ? 0 : cop_cuda_flash_backward_scratch(cuda->flash, args);
    const uint64_t delta =
        static_cast<uint64_t>(args->batch * args->heads * args->sequence) * sizeof(float);
    return delta > cudnn ? delta : cudnn;
}

cop_status cop_cuda_attention_backward(cop_cuda *cuda, cudaStream_t stream,
                                       const cop_attention_backward_args *args, cop_error *err)
{
    float *delta = static_cast<float *>(args->scratch);
    if (args->batch == 0) {
        return COP_OK;
    }
    const choice chosen =
        choose(cuda->flash != NULL && cop_cuda_flash_takes_backward(cuda->flash, args),
               cop_cuda_tensor_takes_backward(args));
    if (chosen == CHOICE_CUDNN) {
        return cop_cuda_flash_backward(cuda->flash, stream, args, err);
    }
    if (chosen != CHOICE_FLASH && chosen != CHOICE_PLAIN) {
        return refuse(err, "attention_backward", args->sequence, args->head_dim);
    }
    const cop_status status = cop_cuda_attention_delta(stream, args, delta, err);
    if (status != COP_OK) {
        return status;
    }
    return chosen == CHOICE_FLASH ? cop_cuda_tensor_backward(stream, args, delta, err)
                                  : cop_cuda_plain_backward(stream, args, delta, err);
}
