// Every operator of the fast backend at the sizes of a small student (2048 tokens, hidden 512),
// with its share of what limits it: the bandwidth of a copy, or the matmul peak at the element type
// of the operands; both are measured in the same turns.
//     ops_bench [--quick] [--clock cpu]

#include <stdio.h>

#include "base/alloc.h"
#include "base/dtype.h"
#include "benchmarks/bench.h"

enum {
    TOKENS = 2048,
    SEQUENCE = 512,
    HIDDEN = 512,
    FFN = 1408,
    HEADS = 8,
    KV_HEADS = 4,
    HEAD_DIM = 64,
    VOCAB = 8192,
    TEACHER = 768,
    PARAMETERS = 4 << 20,
    CASES_MAX = 40
};

typedef struct context {
    cop_backend *backend;
    cop_op op;

    union {
        cop_matmul_args matmul;
        cop_norm_forward_args norm_forward;
        cop_norm_backward_args norm_backward;
        cop_rope_args rope;
        cop_attention_forward_args attention_forward;
        cop_attention_backward_args attention_backward;
        cop_activation_forward_args activation_forward;
        cop_activation_backward_args activation_backward;
        cop_embedding_forward_args embedding_forward;
        cop_embedding_backward_args embedding_backward;
        cop_bias_add_args bias_add;
        cop_column_sum_args column_sum;
        cop_add_args add;
        cop_convert_args convert;
        cop_gather_args gather;
        cop_head_loss_args head_loss;
        cop_state_loss_args state_loss;
        cop_sum_squares_args sum_squares;
        cop_adamw_args adamw;
        cop_sequence_moments_args sequence_moments;
        cop_row_cosine_args row_cosine;
        cop_sample_targets_args sample_targets;
    } args;
} context;

// Runs one operator by its field in the table and in the union.
#define RUN_CASE(OP, name) \
    case OP: return ops->name(self->backend, NULL, &self->args.name, err)

static cop_status run_op(void *opaque, cop_error *err)
{
    const context *self = opaque;
    const cop_ops *ops = self->backend->ops;
    switch (self->op) {
        RUN_CASE(COP_OP_MATMUL, matmul);
        RUN_CASE(COP_OP_NORM_FORWARD, norm_forward);
        RUN_CASE(COP_OP_NORM_BACKWARD, norm_backward);
        RUN_CASE(COP_OP_ROPE, rope);
        RUN_CASE(COP_OP_ATTENTION_FORWARD, attention_forward);
        RUN_CASE(COP_OP_ATTENTION_BACKWARD, attention_backward);
        RUN_CASE(COP_OP_ACTIVATION_FORWARD, activation_forward);
        RUN_CASE(COP_OP_ACTIVATION_BACKWARD, activation_backward);
        RUN_CASE(COP_OP_EMBEDDING_FORWARD, embedding_forward);
        RUN_CASE(COP_OP_EMBEDDING_BACKWARD, embedding_backward);
        RUN_CASE(COP_OP_BIAS_ADD, bias_add);
        RUN_CASE(COP_OP_COLUMN_SUM, column_sum);
        RUN_CASE(COP_OP_ADD, add);
        RUN_CASE(COP_OP_CONVERT, convert);
        RUN_CASE(COP_OP_GATHER, gather);
        RUN_CASE(COP_OP_HEAD_LOSS, head_loss);
        RUN_CASE(COP_OP_STATE_LOSS, state_loss);
        RUN_CASE(COP_OP_SUM_SQUARES, sum_squares);
        RUN_CASE(COP_OP_ADAMW, adamw);
        RUN_CASE(COP_OP_SEQUENCE_MOMENTS, sequence_moments);
        RUN_CASE(COP_OP_ROW_COSINE, row_cosine);
        RUN_CASE(COP_OP_SAMPLE_TARGETS, sample_targets);
    case COP_OP_COUNT: break;
    }
    return COP_FAIL(err, COP_ERR_UNSUPPORTED, "ops_bench: operator is %d (allowed: 0..%d)",
                    (int)self->op, COP_OP_COUNT - 1);
}

typedef struct suite {
    cop_backend *backend;
    cop_dtype dtype;
    int64_t tokens;
    context contexts[CASES_MAX];
    bench_case cases[CASES_MAX];
    size_t count;
} suite;

// The next case; its operands are to be filled in.
static context *add_case(suite *self, cop_op op, const char *name, double flops, double bytes)
{
    context *at = &self->contexts[self->count];
    *at = (context){.backend = self->backend, .op = op};
    self->cases[self->count++] =
        (bench_case){.name = name, .run = run_op, .context = at, .flops = flops, .bytes = bytes};
    return at;
}

static void *scratch_for(const context *at)
{
    const uint64_t bytes =
        at->backend->ops->scratch_bytes(at->backend, at->op, (const void *)&at->args);
    return bytes > 0 ? bench_memory((size_t)bytes) : NULL;
}

static cop_matrix activation(const suite *self, int64_t cols)
{
    return bench_matrix(self->dtype, self->tokens, cols);
}

static double size_of(const suite *self, int64_t cols)
{
    return (double)self->tokens * (double)cols * (double)cop_dtype_bytes(self->dtype);
}

static void add_peaks(suite *self)
{
    context *at = add_case(self, COP_OP_MATMUL, "matmul_peak", 2.0 * 2048 * 1024 * 1024, 0);
    at->args.matmul = (cop_matmul_args){
        .a = bench_matrix(self->dtype, 2048, 1024),
        .b = bench_matrix(self->dtype, 1024, 1024),
        .c = bench_matrix(COP_F32, 2048, 1024),
        .transpose_b = true,
        .alpha = 1.0F,
    };
    at->args.matmul.scratch = scratch_for(at);
    self->cases[self->count++] = (bench_case){
        .name = "copy",
        .run = bench_copy,
        .context = bench_memory((size_t)bench_copy_bytes()),
        .bytes = bench_copy_bytes(),
    };
}

static void add_norms(suite *self)
{
    const double bytes = size_of(self, HIDDEN);
    context *at = add_case(self, COP_OP_NORM_FORWARD, "norm_forward+residual", 0, 4 * bytes);
    at->args.norm_forward = (cop_norm_forward_args){
        .eps = 1e-5F,
        .x = activation(self, HIDDEN),
        .residual = activation(self, HIDDEN),
        .sum = activation(self, HIDDEN),
        .gain = bench_matrix(COP_F32, 1, HIDDEN),
        .y = activation(self, HIDDEN),
        .stats = bench_matrix(COP_F32, self->tokens, 2),
    };
    const cop_norm_forward_args forward = at->args.norm_forward;
    at = add_case(self, COP_OP_NORM_BACKWARD, "norm_backward+accumulate", 0, 4 * bytes);
    at->args.norm_backward = (cop_norm_backward_args){
        .d_y = activation(self, HIDDEN),
        .x = forward.sum,
        .gain = forward.gain,
        .stats = forward.stats,
        .d_x = activation(self, HIDDEN),
        .d_gain = bench_matrix(COP_F32, 1, HIDDEN),
        .accumulate = true,
    };
    at->args.norm_backward.scratch = scratch_for(at);
}

static void add_attention(suite *self)
{
    const int64_t batch = self->tokens / SEQUENCE;
    const double flops = 2.0 * (double)batch * HEADS * SEQUENCE * SEQUENCE * HEAD_DIM; // causal
    context *at = add_case(self, COP_OP_ROPE, "rope", 0, 2 * size_of(self, HIDDEN));
    at->args.rope = (cop_rope_args){
        .x = activation(self, HIDDEN),
        .heads = HEADS,
        .head_dim = HEAD_DIM,
        .sequence = SEQUENCE,
        .cos = bench_matrix(COP_F32, SEQUENCE, HEAD_DIM / 2),
        .sin = bench_matrix(COP_F32, SEQUENCE, HEAD_DIM / 2),
    };
    at = add_case(self, COP_OP_ATTENTION_FORWARD, "attention_forward", flops, 0);
    const cop_attention_forward_args forward = {
        .batch = batch,
        .sequence = SEQUENCE,
        .heads = HEADS,
        .kv_heads = KV_HEADS,
        .head_dim = HEAD_DIM,
        .scale = 0.125F,
        .q = activation(self, (int64_t)HEADS * HEAD_DIM),
        .k = activation(self, (int64_t)KV_HEADS * HEAD_DIM),
        .v = activation(self, (int64_t)KV_HEADS * HEAD_DIM),
        .o = activation(self, (int64_t)HEADS * HEAD_DIM),
        .lse = bench_matrix(COP_F32, batch * HEADS, SEQUENCE),
    };
    at->args.attention_forward = forward;
    at->args.attention_forward.scratch = scratch_for(at);
    at = add_case(self, COP_OP_ATTENTION_BACKWARD, "attention_backward", 2.5 * flops, 0);
    at->args.attention_backward = (cop_attention_backward_args){
        .batch = batch,
        .sequence = SEQUENCE,
        .heads = HEADS,
        .kv_heads = KV_HEADS,
        .head_dim = HEAD_DIM,
        .scale = 0.125F,
        .q = forward.q,
        .k = forward.k,
        .v = forward.v,
        .o = forward.o,
        .lse = forward.lse,
        .d_o = activation(self, (int64_t)HEADS * HEAD_DIM),
        .d_q = activation(self, (int64_t)HEADS * HEAD_DIM),
        .d_k = activation(self, (int64_t)KV_HEADS * HEAD_DIM),
        .d_v = activation(self, (int64_t)KV_HEADS * HEAD_DIM),
    };
    at->args.attention_backward.scratch = scratch_for(at);
}

static void add_activations(suite *self)
{
    static const struct {
        cop_activation kind;
        bool is_gated;
        const char *forward;
        const char *backward;
    } kinds[] = {
        {COP_ACTIVATION_SILU, true, "swiglu_forward", "swiglu_backward"},
        {COP_ACTIVATION_RELU2, false, "relu2_forward", "relu2_backward"},
        {COP_ACTIVATION_GELU, false, "gelu_forward", "gelu_backward"},
        {COP_ACTIVATION_GELU_TANH, false, "gelu_tanh_forward", "gelu_tanh_backward"},
    };

    const cop_matrix gate = activation(self, FFN);
    const cop_matrix up = activation(self, FFN);
    const cop_matrix y = activation(self, FFN);
    const cop_matrix d_gate = activation(self, FFN);
    const cop_matrix d_up = activation(self, FFN);
    const double bytes = size_of(self, FFN);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        const cop_matrix none = {0};
        const bool is_gated = kinds[i].is_gated;
        context *at = add_case(self, COP_OP_ACTIVATION_FORWARD, kinds[i].forward, 0,
                               (is_gated ? 3 : 2) * bytes);
        at->args.activation_forward = (cop_activation_forward_args){
            .kind = kinds[i].kind, .gate = is_gated ? gate : none, .up = up, .y = y};
        at = add_case(self, COP_OP_ACTIVATION_BACKWARD, kinds[i].backward, 0,
                      (is_gated ? 5 : 3) * bytes);
        at->args.activation_backward = (cop_activation_backward_args){
            .kind = kinds[i].kind,
            .gate = is_gated ? gate : none,
            .up = up,
            .d_y = y,
            .d_gate = is_gated ? d_gate : none,
            .d_up = d_up,
        };
    }
}

static int32_t *random_ids(int64_t count, int64_t limit)
{
    int32_t *ids = bench_memory((size_t)count * sizeof *ids);
    uint32_t state = 1U;
    for (int64_t i = 0; i < count; i++) {
        state = state * 1664525U + 1013904223U;
        ids[i] = (int32_t)((int64_t)(state >> 8) % limit);
    }
    return ids;
}

static void add_moves(suite *self)
{
    const double bytes = size_of(self, HIDDEN);
    const double wide = (double)self->tokens * HIDDEN * sizeof(float);
    const int32_t *ids = random_ids(self->tokens, VOCAB);
    const int32_t *columns = random_ids(HIDDEN, HIDDEN);
    const cop_matrix x = activation(self, HIDDEN);
    const cop_matrix y = activation(self, HIDDEN);
    const cop_matrix other =
        bench_matrix(self->dtype == COP_F32 ? COP_BF16 : COP_F32, self->tokens, HIDDEN);
    context *at = add_case(self, COP_OP_EMBEDDING_FORWARD, "embedding_forward", 0, 2 * bytes);
    at->args.embedding_forward = (cop_embedding_forward_args){
        .ids = ids, .table = bench_matrix(self->dtype, VOCAB, HIDDEN), .y = y};
    at = add_case(self, COP_OP_EMBEDDING_BACKWARD, "embedding_backward", 0, bytes + 2 * wide);
    at->args.embedding_backward = (cop_embedding_backward_args){
        .ids = ids, .d_y = x, .d_table = bench_matrix(COP_F32, VOCAB, HIDDEN)};
    at = add_case(self, COP_OP_BIAS_ADD, "bias_add", 0, 2 * bytes);
    at->args.bias_add = (cop_bias_add_args){.x = y, .bias = bench_matrix(COP_F32, 1, HIDDEN)};
    at = add_case(self, COP_OP_COLUMN_SUM, "column_sum", 0, bytes);
    at->args.column_sum = (cop_column_sum_args){.x = x, .sum = bench_matrix(COP_F32, 1, HIDDEN)};
    at->args.column_sum.scratch = scratch_for(at);
    at = add_case(self, COP_OP_ADD, "add", 0, 3 * bytes);
    at->args.add = (cop_add_args){.x = x, .y = y, .alpha = 0.5F, .beta = 0.5F};
    at = add_case(self, COP_OP_CONVERT, "convert", 0, (double)self->tokens * HIDDEN * 6);
    at->args.convert = (cop_convert_args){.x = x, .y = other};
    at = add_case(self, COP_OP_GATHER, "gather_columns", 0, 2 * bytes);
    at->args.gather = (cop_gather_args){.x = x, .y = y, .col_index = columns};
}

static void add_losses(suite *self)
{
    const int64_t n = self->tokens / 2;
    const double bytes = size_of(self, HIDDEN);
    context *at = add_case(self, COP_OP_HEAD_LOSS, "head_loss_kl",
                           (double)n * VOCAB * (6.0 * HIDDEN + 2.0 * TEACHER), 0);
    at->args.head_loss = (cop_head_loss_args){
        .hidden = bench_matrix(self->dtype, n, HIDDEN),
        .head = bench_matrix(self->dtype, VOCAB, HIDDEN),
        .targets = random_ids(n, VOCAB),
        .teacher_hidden = bench_matrix(self->dtype, n, TEACHER),
        .teacher_head = bench_matrix(self->dtype, VOCAB, TEACHER),
        .kl_weight = 1.0F,
        .temperature = 1.0F,
        .grad_scale = 1e-3F,
        .cross_entropy = bench_matrix(COP_F32, 1, n),
        .kl = bench_matrix(COP_F32, 1, n),
        .d_hidden = bench_matrix(self->dtype, n, HIDDEN),
        .d_head = bench_matrix(COP_F32, VOCAB, HIDDEN),
    };
    at->args.head_loss.scratch = scratch_for(at);
    at = add_case(self, COP_OP_STATE_LOSS, "state_loss_cosine", 0, 3 * bytes);
    at->args.state_loss = (cop_state_loss_args){
        .kind = COP_STATE_LOSS_COSINE,
        .student = activation(self, HIDDEN),
        .teacher = activation(self, HIDDEN),
        .loss = bench_matrix(COP_F32, 1, self->tokens),
        .d_student = activation(self, HIDDEN),
        .grad_scale = 1.0F,
    };
}

static void add_reductions(suite *self)
{
    const cop_matrix x = activation(self, FFN);
    const cop_matrix y = activation(self, FFN);
    const double bytes = size_of(self, FFN);
    const int64_t batch = self->tokens / SEQUENCE;
    double *sum = bench_memory(sizeof *sum);
    context *at = add_case(self, COP_OP_SUM_SQUARES, "sum_squares", 0, bytes);
    at->args.sum_squares = (cop_sum_squares_args){.x = x, .sum = sum};
    at->args.sum_squares.scratch = scratch_for(at);
    at = add_case(self, COP_OP_SEQUENCE_MOMENTS, "sequence_moments", 0, bytes);
    at->args.sequence_moments = (cop_sequence_moments_args){
        .x = x,
        .sequence = SEQUENCE,
        .group = 1,
        .out = bench_memory((size_t)batch * 3 * FFN * sizeof(double)),
    };
    at = add_case(self, COP_OP_SEQUENCE_MOMENTS, "sequence_moments_heads", 0, bytes);
    at->args.sequence_moments = (cop_sequence_moments_args){
        .x = x,
        .sequence = SEQUENCE,
        .group = HEAD_DIM,
        .out = bench_memory((size_t)batch * 3 * FFN * sizeof(double)),
    };
    at = add_case(self, COP_OP_ROW_COSINE, "row_cosine", 0, 2 * bytes);
    at->args.row_cosine = (cop_row_cosine_args){.x = x, .y = y, .sum = sum};
    at->args.row_cosine.scratch = scratch_for(at);
    at = add_case(self, COP_OP_ADAMW, "adamw", 0,
                  PARAMETERS * (7.0 * sizeof(float) + (double)cop_dtype_bytes(self->dtype)));
    at->args.adamw = (cop_adamw_args){
        .parameter = bench_matrix(COP_F32, 1, PARAMETERS),
        .working = bench_matrix(self->dtype, 1, PARAMETERS),
        .gradient = bench_matrix(COP_F32, 1, PARAMETERS),
        .m = bench_matrix(COP_F32, 1, PARAMETERS),
        .v = cop_matrix_dense(bench_memory((size_t)PARAMETERS * sizeof(float)), COP_F32, 1,
                              PARAMETERS),
        .learning_rate = 1e-4F,
        .beta1 = 0.9F,
        .beta2 = 0.95F,
        .eps = 1e-8F,
        .step = 10,
    };
}

static void run_suite(const bench *self, cop_backend *backend, cop_dtype dtype)
{
    suite *all = bench_memory(sizeof *all);
    all->backend = backend;
    all->dtype = dtype;
    all->tokens = self->is_quick ? SEQUENCE : TOKENS;
    add_peaks(all);
    add_norms(all);
    add_attention(all);
    add_activations(all);
    add_moves(all);
    add_losses(all);
    add_reductions(all);
    bench_run(self, all->cases, all->count);
    const double flops = all->cases[0].flops / all->cases[0].best;
    const double bandwidth = all->cases[1].bytes / all->cases[1].best;
    for (size_t i = 0; i < all->count; i++) {
        const bench_case *each = &all->cases[i];
        const bool is_compute = each->flops > 0.0;
        char extra[64];
        (void)snprintf(extra, sizeof extra, ",\"dtype\":\"%s\",\"tokens\":%lld",
                       cop_dtype_name(dtype), (long long)all->tokens);
        bench_print(self, each, is_compute ? "matmul 2048x1024x1024" : "copy of 16 MiB",
                    is_compute ? each->flops / flops : each->bytes / bandwidth, extra);
    }
    cop_free(all);
}

int main(int argc, char **argv)
{
    bench self;
    cop_backend *backend = NULL;
    cop_error err = {0};
    bench_init(&self, "ops_bench", argc, argv);
    if (cop_backend_create(&backend, "cpu", &err) != COP_OK) {
        (void)fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    run_suite(&self, backend, COP_F32);
    run_suite(&self, backend, COP_BF16);
    cop_backend_destroy(backend);
    bench_release(&self);
    return 0;
}
