// LM head and loss. Logits are computed in f32 for a piece of tokens at a time, so that the softmax
// statistics and the KL are those of the products themselves; the gradient of the logits is kept in
// the type of the operands for a group of pieces, so that each group is one product with the head
// and one with the hidden states: the gradient of the head, the largest matrix of a step, is read
// and written once per group.

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/head.h"

namespace {

constexpr int64_t PIECE_BYTES = int64_t{384} << 20;
constexpr int64_t GROUP_BYTES = int64_t{2} << 30;
constexpr int64_t WIDE_BYTES = int64_t{64} << 20;
constexpr int64_t TOKENS_STEP = 128;

int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

// Tokens whose rows fit `bytes`, in whole steps, never more than there are.
int64_t tokens_of(int64_t bytes, int64_t row_bytes, int64_t tokens)
{
    const int64_t steps = bytes / row_bytes / TOKENS_STEP;
    return least(steps > 0 ? steps * TOKENS_STEP : TOKENS_STEP, tokens);
}

// Scratch of a call: byte offsets, and how much there is.
struct layout {
    int64_t stride; // of rows of logits
    int64_t piece;  // tokens
    int64_t group;  // tokens
    int64_t wide;   // rows of the head's gradient at a time; 0: it is written at once
    bool is_half;   // the gradient of the logits is bf16
    uint64_t d_logits;
    uint64_t z;
    uint64_t u;
    uint64_t d_hidden; // f32 [group, C]
    uint64_t d_head;   // f32 [wide, C]
    uint64_t matmul;
    uint64_t bytes;
};

uint64_t take(uint64_t *at, int64_t rows, int64_t cols, size_t element)
{
    const uint64_t offset = *at;
    const uint64_t bytes = static_cast<uint64_t>(rows) * static_cast<uint64_t>(cols) * element;
    *at += (bytes + 255) / 256 * 256;
    return offset;
}

uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

// NULL stays NULL: while scratch is counted there is none.
char *at(char *base, uint64_t offset)
{
    return base == NULL ? NULL : base + offset;
}

// Whether a product of operands of the logits' type writes this result.
bool is_direct(const layout &l, cop_matrix result)
{
    return result.dtype == COP_F32 || l.is_half;
}

bool is_present(cop_matrix m)
{
    return m.cols > 0;
}

cop_matrix d_logits_of(const layout &l, void *base, int64_t rows, int64_t vocab)
{
    return cop_matrix{base, l.is_half ? COP_BF16 : COP_F32, rows, vocab, l.stride};
}

cop_matmul_args d_hidden_product(const layout &l, const cop_head_loss_args *args, char *base,
                                 int64_t first, int64_t rows)
{
    cop_matmul_args matmul = {};
    matmul.a = d_logits_of(l, at(base, l.d_logits), rows, args->head.rows);
    matmul.b = args->head;
    matmul.c = is_direct(l, args->d_hidden)
                   ? cop_matrix_part(args->d_hidden, first, rows, 0, args->hidden.cols)
                   : cop_matrix_dense(at(base, l.d_hidden), COP_F32, rows, args->hidden.cols);
    matmul.alpha = 1.0f;
    matmul.scratch = at(base, l.matmul);
    return matmul;
}

// Rows [from, from + count) of the head's gradient.
cop_matmul_args d_head_product(const layout &l, const cop_head_loss_args *args, char *base,
                               int64_t first, int64_t rows, int64_t from, int64_t count)
{
    const cop_matrix d_logits = d_logits_of(l, at(base, l.d_logits), rows, args->head.rows);
    const bool is_written = is_direct(l, args->d_head);
    cop_matmul_args matmul = {};
    matmul.a = cop_matrix_part(d_logits, 0, rows, from, count);
    matmul.b = cop_matrix_part(args->hidden, first, rows, 0, args->hidden.cols);
    matmul.c = is_written ? cop_matrix_part(args->d_head, from, count, 0, args->hidden.cols)
                          : cop_matrix_dense(at(base, l.d_head), COP_F32, count, args->hidden.cols);
    matmul.transpose_a = true;
    matmul.alpha = 1.0f;
    matmul.beta = is_written ? 1.0f : 0.0f;
    matmul.scratch = at(base, l.matmul);
    return matmul;
}

// The data pointers of `args` are not looked at: an absent matrix may still have its size, then there
// is more scratch than needed.
layout lay_out(const cop_cuda *cuda, const cop_head_loss_args *args)
{
    const int64_t n = args->hidden.rows;
    const int64_t vocab = args->head.rows;
    const int64_t cols = args->hidden.cols;
    const bool has_gradient = is_present(args->d_hidden);
    const bool has_d_head = has_gradient && is_present(args->d_head);
    layout l = {};
    l.is_half = args->hidden.dtype == COP_BF16;
    l.stride = cop_head_stride(vocab);
    l.piece = cop_cuda_head_piece(cuda, vocab, n);
    l.group = has_d_head ? cop_cuda_head_group(cuda, vocab, n, args->hidden.dtype) : l.piece;
    l.piece = least(l.piece, l.group);
    l.d_logits = take(&l.bytes, has_gradient ? l.group : 0, l.stride, l.is_half ? 2 : 4);
    l.z = take(&l.bytes, has_gradient && !l.is_half ? 0 : l.piece, l.stride, 4);
    l.u = take(&l.bytes, is_present(args->teacher_hidden) ? l.piece : 0, l.stride, 4);
    l.d_hidden =
        take(&l.bytes, has_gradient && !is_direct(l, args->d_hidden) ? l.group : 0, cols, 4);
    l.wide = has_d_head && !is_direct(l, args->d_head) && cols > 0
                 ? tokens_of(WIDE_BYTES, cols * 4, vocab)
                 : 0;
    l.d_head = take(&l.bytes, l.wide, cols, 4);
    l.matmul = l.bytes;
    return l;
}

uint64_t matmul_bytes(const cop_cuda *cuda, const cop_head_loss_args *args, const layout &l)
{
    cop_matrix hidden = args->hidden;
    hidden.rows = l.piece;
    uint64_t bytes = cop_cuda_head_logits_scratch(cuda, hidden, args->head);
    if (is_present(args->teacher_hidden)) {
        hidden = args->teacher_hidden;
        hidden.rows = l.piece;
        bytes = larger(bytes, cop_cuda_head_logits_scratch(cuda, hidden, args->teacher_head));
    }
    if (is_present(args->d_hidden)) {
        const cop_matmul_args matmul = d_hidden_product(l, args, NULL, 0, l.group);
        bytes = larger(bytes, cop_cuda_matmul_scratch(cuda, &matmul));
    }
    if (is_present(args->d_hidden) && is_present(args->d_head)) {
        const int64_t count = l.wide > 0 ? l.wide : args->head.rows;
        const cop_matmul_args matmul = d_head_product(l, args, NULL, 0, l.group, 0, count);
        bytes = larger(bytes, cop_cuda_matmul_scratch(cuda, &matmul));
    }
    return bytes;
}

// Gradients with respect to the hidden states and the head, of tokens [first, first + rows).
cop_status put_gradients(cop_cuda *cuda, cudaStream_t stream, const cop_head_loss_args *args,
                         const layout &l, int64_t first, int64_t rows, cop_error *err)
{
    cop_status status = COP_OK;
    char *base = static_cast<char *>(args->scratch);
    const int64_t vocab = args->head.rows;
    const int64_t step = l.wide > 0 ? l.wide : vocab;
    const cop_matmul_args product = d_hidden_product(l, args, base, first, rows);

    COP_TRY(status, cop_cuda_matmul(cuda, stream, &product, err));
    if (!is_direct(l, args->d_hidden)) {
        const cop_matrix to = cop_matrix_part(args->d_hidden, first, rows, 0, args->d_hidden.cols);
        COP_TRY(status, cop_cuda_head_narrow(stream, product.c, to, 0.0f, err));
    }
    for (int64_t from = 0; args->d_head.data != NULL && from < vocab; from += step) {
        const int64_t count = least(step, vocab - from);
        const cop_matmul_args part = d_head_product(l, args, base, first, rows, from, count);
        COP_TRY(status, cop_cuda_matmul(cuda, stream, &part, err));
        if (l.wide > 0) {
            const cop_matrix to = cop_matrix_part(args->d_head, from, count, 0, args->d_head.cols);
            COP_TRY(status, cop_cuda_head_narrow(stream, part.c, to, 1.0f, err));
        }
    }

done:
    return status;
}

// Logits of both models and what is made of them, for `rows` tokens, the first of their group being
// token `group`.
cop_status run_piece(cop_cuda *cuda, cudaStream_t stream, const cop_head_loss_args *args,
                     const layout &l, int64_t group, int64_t first, int64_t rows, cop_error *err)
{
    cop_status status = COP_OK;
    char *base = static_cast<char *>(args->scratch);
    const bool has_teacher = args->teacher_hidden.data != NULL;
    const bool has_gradient = args->d_hidden.data != NULL;
    const cop_matrix d_logits = d_logits_of(l, at(base, l.d_logits), l.group, args->head.rows);
    const bool is_in_place = has_gradient && !l.is_half;
    float *z = is_in_place ? static_cast<float *>(d_logits.data) + (first - group) * l.stride
                           : reinterpret_cast<float *>(base + l.z);
    float *u = has_teacher ? reinterpret_cast<float *>(base + l.u) : NULL;
    cop_head_rows part = {z, u, cop_matrix{}, l.stride, first, rows};

    COP_TRY(status,
            cop_cuda_head_logits(cuda, stream, z,
                                 cop_matrix_part(args->hidden, first, rows, 0, args->hidden.cols),
                                 args->head, at(base, l.matmul), err));
    if (has_teacher) {
        COP_TRY(status, cop_cuda_head_logits(cuda, stream, u,
                                             cop_matrix_part(args->teacher_hidden, first, rows, 0,
                                                             args->teacher_hidden.cols),
                                             args->teacher_head, at(base, l.matmul), err));
    }
    if (has_gradient) {
        part.d_logits = cop_matrix_part(d_logits, first - group, rows, 0, args->head.rows);
    }
    COP_TRY(status, cop_cuda_head_rows(stream, args, &part, err));

done:
    return status;
}

} // namespace

int64_t cop_cuda_head_piece(const cop_cuda *cuda, int64_t vocab, int64_t tokens)
{
    return cuda->head_piece > 0 ? least(cuda->head_piece, tokens)
                                : tokens_of(PIECE_BYTES, cop_head_stride(vocab) * 4, tokens);
}

int64_t cop_cuda_head_group(const cop_cuda *cuda, int64_t vocab, int64_t tokens, cop_dtype dtype)
{
    const int64_t row_bytes = cop_head_stride(vocab) * (dtype == COP_BF16 ? 2 : 4);
    return cuda->head_group > 0 ? least(cuda->head_group, tokens)
                                : tokens_of(GROUP_BYTES, row_bytes, tokens);
}

static cop_matmul_args logits_product(float *out, cop_matrix hidden, cop_matrix head, void *scratch)
{
    cop_matmul_args matmul = {};
    matmul.a = hidden;
    matmul.b = head;
    matmul.c = cop_matrix{out, COP_F32, hidden.rows, head.rows, cop_head_stride(head.rows)};
    matmul.transpose_b = true;
    matmul.alpha = 1.0f;
    matmul.scratch = scratch;
    return matmul;
}

cop_status cop_cuda_head_logits(cop_cuda *cuda, cudaStream_t stream, float *out, cop_matrix hidden,
                                cop_matrix head, void *scratch, cop_error *err)
{
    const cop_matmul_args matmul = logits_product(out, hidden, head, scratch);
    return cop_cuda_matmul(cuda, stream, &matmul, err);
}

uint64_t cop_cuda_head_logits_scratch(const cop_cuda *cuda, cop_matrix hidden, cop_matrix head)
{
    const cop_matmul_args matmul = logits_product(NULL, hidden, head, NULL);
    return cop_cuda_matmul_scratch(cuda, &matmul);
}

uint64_t cop_cuda_head_loss_scratch(const cop_cuda *cuda, const cop_head_loss_args *args)
{
    const layout l = lay_out(cuda, args);
    return l.bytes + matmul_bytes(cuda, args, l);
}

cop_status cop_cuda_head_loss(cop_cuda *cuda, cudaStream_t stream, const cop_head_loss_args *args,
                              cop_error *err)
{
    const int64_t n = args->hidden.rows;
    const layout l = lay_out(cuda, args);
    cop_status status = COP_OK;

    for (int64_t group = 0; group < n; group += l.group) {
        const int64_t end = least(group + l.group, n);
        for (int64_t first = group; first < end; first += l.piece) {
            const int64_t rows = least(l.piece, end - first);
            COP_TRY(status, run_piece(cuda, stream, args, l, group, first, rows, err));
        }
        if (args->d_hidden.data != NULL) {
            COP_TRY(status, put_gradients(cuda, stream, args, l, group, end - group, err));
        }
    }

done:
    return status;
}
