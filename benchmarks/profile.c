#include "benchmarks/profile.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/check.h"

// One row per operator, the three layouts of matmul apart.
enum { MATMUL_FORWARD = COP_OP_COUNT, MATMUL_INPUT, MATMUL_WEIGHT, ROWS };

static struct {
    const cop_backend *backend; // NULL: not installed
    const cop_ops *inner;
    cop_ops table;
    profile_clock clock;
    double seconds[ROWS];
    double flops[ROWS];
    double bytes[ROWS];
    long long calls[ROWS];
} profile;

static double size_of(cop_matrix m)
{
    return m.data == NULL ? 0.0
                          : (double)m.rows * (double)m.cols * (double)cop_dtype_bytes(m.dtype);
}

static double product(int64_t a, int64_t b, int64_t c)
{
    return (double)a * (double)b * (double)c;
}

// Waits for the device, so that the clock shows finished work. A failure shows at the next wait of
// the program, too.
static double now(cop_backend *backend, cop_stream *stream)
{
    cop_error err;
    if (cop_backend_synchronize(backend, stream, &err) != COP_OK) {
        (void)fprintf(stderr, "profile: %s\n", err.message);
        exit(1); // NOLINT(concurrency-mt-unsafe): one thread
    }
    return profile.clock();
}

static void note(int row, double seconds, double flops, double bytes)
{
    profile.seconds[row] += seconds;
    profile.flops[row] += flops;
    profile.bytes[row] += bytes;
    profile.calls[row]++;
}

// An operator with its row, arithmetic and bytes, as expressions of `args`.
#define PROFILED(NAME, ROW, FLOPS, BYTES)                                          \
    static cop_status run_##NAME(cop_backend *backend, cop_stream *stream,         \
                                 const cop_##NAME##_args *args, cop_error *err)    \
    {                                                                              \
        const double start = now(backend, stream);                                 \
        const cop_status status = profile.inner->NAME(backend, stream, args, err); \
        note((ROW), now(backend, stream) - start, (FLOPS), (BYTES));               \
        return status;                                                             \
    }
#define MOVING(NAME, OP, BYTES) PROFILED(NAME, OP, 0.0, BYTES)

// Causal: half of the square, two products forward, five backward.
#define ATTENTION(NAME, OP, PRODUCTS)                                           \
    PROFILED(NAME, OP,                                                          \
             (PRODUCTS)*product(args->batch * args->heads, args->head_dim, 1) * \
                 (double)args->sequence * (double)args->sequence,               \
             0.0)

PROFILED(matmul,
         args->transpose_a   ? MATMUL_WEIGHT
         : args->transpose_b ? MATMUL_FORWARD
                             : MATMUL_INPUT,
         2.0 * product(args->c.rows, args->c.cols, args->transpose_a ? args->a.rows : args->a.cols),
         0.0)
ATTENTION(attention_forward, COP_OP_ATTENTION_FORWARD, 2.0)
ATTENTION(attention_backward, COP_OP_ATTENTION_BACKWARD, 5.0)
PROFILED(head_loss, COP_OP_HEAD_LOSS,
         product(args->hidden.rows, args->head.rows,
                 (args->d_hidden.data != NULL ? 4 : 2) * args->head.cols +
                     (args->d_head.data != NULL ? 2 : 0) * args->head.cols +
                     (args->teacher_hidden.data != NULL ? 2 : 0) * args->teacher_head.cols),
         0.0)
MOVING(norm_forward, COP_OP_NORM_FORWARD,
       size_of(args->x) + size_of(args->residual) + size_of(args->sum) + size_of(args->y))
MOVING(norm_backward, COP_OP_NORM_BACKWARD,
       size_of(args->d_y) + size_of(args->x) + (args->accumulate ? 2 : 1) * size_of(args->d_x))
MOVING(rope, COP_OP_ROPE,
       4.0 * (double)args->cos.cols * (double)args->heads * (double)args->x.rows *
           (double)cop_dtype_bytes(args->x.dtype))
MOVING(activation_forward, COP_OP_ACTIVATION_FORWARD,
       size_of(args->gate) + size_of(args->up) + size_of(args->y))
MOVING(activation_backward, COP_OP_ACTIVATION_BACKWARD,
       size_of(args->gate) + size_of(args->up) + size_of(args->d_y) + size_of(args->d_gate) +
           size_of(args->d_up))
MOVING(embedding_forward, COP_OP_EMBEDDING_FORWARD, 2.0 * size_of(args->y))
MOVING(embedding_backward, COP_OP_EMBEDDING_BACKWARD, 3.0 * size_of(args->d_y))
MOVING(bias_add, COP_OP_BIAS_ADD, 2.0 * size_of(args->x))
MOVING(column_sum, COP_OP_COLUMN_SUM, size_of(args->x))
MOVING(convert, COP_OP_CONVERT, size_of(args->x) + size_of(args->y))
MOVING(gather, COP_OP_GATHER, 2.0 * size_of(args->y))
MOVING(sum_squares, COP_OP_SUM_SQUARES, size_of(args->x))
MOVING(adamw, COP_OP_ADAMW,
       2.0 * (size_of(args->parameter) + size_of(args->m) + size_of(args->v)) +
           (args->zero_gradient ? 2 : 1) * size_of(args->gradient) +
           (args->parameter.data != NULL ? 1 : 2) * size_of(args->working))
MOVING(sequence_moments, COP_OP_SEQUENCE_MOMENTS, size_of(args->x))
MOVING(row_cosine, COP_OP_ROW_COSINE, size_of(args->x) + size_of(args->y))

static const char *name_of(int row)
{
    switch (row) {
    case MATMUL_FORWARD: return "matmul_forward";
    case MATMUL_INPUT: return "matmul_input_gradient";
    case MATMUL_WEIGHT: return "matmul_weight_gradient";
    default: return cop_op_name((cop_op)row);
    }
}

void profile_install(cop_backend *backend, profile_clock clock)
{
    profile.backend = backend;
    profile.clock = clock;
    profile.inner = backend->ops;
    profile.table = *backend->ops;
    profile.table.matmul = run_matmul;
    profile.table.norm_forward = run_norm_forward;
    profile.table.norm_backward = run_norm_backward;
    profile.table.rope = run_rope;
    profile.table.attention_forward = run_attention_forward;
    profile.table.attention_backward = run_attention_backward;
    profile.table.activation_forward = run_activation_forward;
    profile.table.activation_backward = run_activation_backward;
    profile.table.embedding_forward = run_embedding_forward;
    profile.table.embedding_backward = run_embedding_backward;
    profile.table.bias_add = run_bias_add;
    profile.table.column_sum = run_column_sum;
    profile.table.convert = run_convert;
    profile.table.gather = run_gather;
    profile.table.head_loss = run_head_loss;
    profile.table.sum_squares = run_sum_squares;
    profile.table.adamw = run_adamw;
    profile.table.sequence_moments = run_sequence_moments;
    profile.table.row_cosine = run_row_cosine;
    backend->ops = &profile.table;
}

const cop_ops *profile_inner(const cop_backend *backend)
{
    return profile.backend == backend ? profile.inner : backend->ops;
}

void profile_reset(void)
{
    memset(profile.seconds, 0, sizeof profile.seconds);
    memset(profile.flops, 0, sizeof profile.flops);
    memset(profile.bytes, 0, sizeof profile.bytes);
    memset(profile.calls, 0, sizeof profile.calls);
}

void profile_print(const char *name, double seconds, double peak, double bandwidth)
{
    double total = 0.0;
    for (int row = 0; row < ROWS; row++) {
        if (profile.calls[row] == 0) {
            continue;
        }
        const double own = profile.seconds[row];
        total += own;
        (void)printf("{\"bench\": \"profile\", \"case\": \"%s\", \"op\": \"%s\", \"share\": %.4f, "
                     "\"milliseconds\": %.4f, \"calls\": %lld",
                     name, name_of(row), own / seconds, 1e3 * own, profile.calls[row]);
        if (profile.flops[row] > 0.0) {
            (void)printf(", \"gflops\": %.1f, \"limit\": \"matmul peak\", "
                         "\"percent_of_limit\": %.1f",
                         profile.flops[row] / own / 1e9, 100.0 * profile.flops[row] / own / peak);
        } else if (bandwidth > 0.0) {
            (void)printf(", \"gbytes_per_second\": %.1f, \"limit\": \"copy\", "
                         "\"percent_of_limit\": %.1f",
                         profile.bytes[row] / own / 1e9,
                         100.0 * profile.bytes[row] / own / bandwidth);
        }
        (void)printf("}\n");
    }
    (void)printf("{\"bench\": \"profile\", \"case\": \"%s\", \"op\": \"everything else\", "
                 "\"share\": %.4f}\n",
                 name, 1.0 - total / seconds);
}
