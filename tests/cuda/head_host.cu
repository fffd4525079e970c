#include "kernels/cuda/head.h"
#include "tests/cuda/head_host.h"

void cop_test_head_chunks(cop_backend *backend, int64_t piece, int64_t group)
{
    cop_cuda *cuda = static_cast<cop_cuda *>(backend->context);
    cuda->head_piece = piece;
    cuda->head_group = group;
}

cop_status cop_test_head_rows(const cop_head_loss_args *args, const float *z, const float *u,
                              cop_matrix d_logits, int64_t stride, cop_error *err)
{
    const cop_head_rows rows = {z, u, d_logits, stride, 0, args->hidden.rows};
    return cop_cuda_head_rows(NULL, args, &rows, err);
}

cop_status cop_test_sample_rows(const cop_sample_targets_args *args, const float *u, int64_t stride,
                                cop_error *err)
{
    return cop_cuda_sample_rows(NULL, args, u, stride, 0, args->hidden.rows, err);
}
