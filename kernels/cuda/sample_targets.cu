// Draws from a teacher's distribution: f32 logits of a piece of tokens at a time, then one pass over
// each row.

#include "kernels/cuda/head.h"

uint64_t cop_cuda_sample_targets_scratch(const cop_cuda *cuda, const cop_sample_targets_args *args)
{
    const int64_t piece = cop_cuda_head_piece(cuda, args->head.rows, args->hidden.rows);
    const uint64_t logits = static_cast<uint64_t>(piece) *
                            static_cast<uint64_t>(cop_head_stride(args->head.rows)) * sizeof(float);
    cop_matrix hidden = args->hidden;
    hidden.rows = piece;
    return (logits + 255) / 256 * 256 + cop_cuda_head_logits_scratch(cuda, hidden, args->head);
}

cop_status cop_cuda_sample_targets(cop_cuda *cuda, cudaStream_t stream,
                                   const cop_sample_targets_args *args, cop_error *err)
{
    const int64_t n = args->hidden.rows;
    const int64_t piece = cop_cuda_head_piece(cuda, args->head.rows, n);
    const int64_t stride = cop_head_stride(args->head.rows);
    const uint64_t logits =
        static_cast<uint64_t>(piece) * static_cast<uint64_t>(stride) * sizeof(float);
    float *u = static_cast<float *>(args->scratch);
    char *matmul = static_cast<char *>(args->scratch) + (logits + 255) / 256 * 256;
    cop_status status = COP_OK;

    for (int64_t first = 0; first < n; first += piece) {
        const int64_t rows = piece < n - first ? piece : n - first;
        const cop_matrix part = cop_matrix_part(args->hidden, first, rows, 0, args->hidden.cols);
        COP_TRY(status, cop_cuda_head_logits(cuda, stream, u, part, args->head, matmul, err));
        COP_TRY(status, cop_cuda_sample_rows(stream, args, u, stride, first, rows, err));
    }

done:
    return status;
}
