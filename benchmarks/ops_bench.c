// Every operator of a backend with its share of what limits it: the bandwidth of a copy, or the matmul
// peak at the element type of the operands; both are measured in the same turns. Sizes are those of a
// small student on the CPU (2048 tokens, hidden 512), of Minitron 8B on a device (8192 tokens,
// hidden 4096, 256,000 ids, a teacher of 6144).
//     ops_bench [--quick] [--clock cpu] [--device NAME]
//
// Longer than the aim: mostly the table of operators and shapes.

#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/dtype.h"
#include "benchmarks/bench.h"

enum { CASES_MAX = 40 };

// What the operands are sized by.
typedef struct sizes {
    int64_t tokens;
    int64_t sequence;
    int64_t hidden;
    int64_t ffn;
    int64_t heads;
    int64_t kv_heads;
    int64_t head_dim;
    int64_t vocab;
    int64_t teacher; // hidden size
    int64_t parameters;
    int64_t peak[3]; // M, N, K of the product that measures the peak
    const char *peak_name;
} sizes;

static const sizes host_sizes = {2048,
                                 512,
                                 512,
                                 1408,
                                 8,
                                 4,
                                 64,
                                 8192,
                                 768,
                                 4 << 20,
                                 {2048, 1024, 1024},
                                 "matmul 2048x1024x1024"};
static const sizes host_quick_sizes = {
    512, 512, 512, 1408, 8, 4, 64, 8192, 768, 1 << 20, {2048, 1024, 1024}, "matmul 2048x1024x1024"};
static const sizes device_sizes = {8192,
                                   4096,
                                   4096,
                                   16384,
                                   32,
                                   8,
                                   128,
                                   256000,
                                   6144,
                                   256 << 20,
                                   {8192, 8192, 8192},
                                   "matmul 8192x8192x8192"};
static const sizes device_quick_sizes = {2048,
                                         1024,
                                         1024,
                                         4096,
                                         8,
                                         2,
                                         128,
                                         32000,
                                         1536,
                                         16 << 20,
                                         {4096, 4096, 4096},
                                         "matmul 4096x4096x4096"};

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
    bench *bench;
    cop_dtype dtype;
    sizes size;
    context contexts[CASES_MAX];
    bench_case cases[CASES_MAX];
    size_t count;
} suite;

// The next case; its operands are to be filled in.
static context *add_case(suite *self, cop_op op, const char *name, double flops, double bytes)
{
    context *at = &self->contexts[self->count];
    *at = (context){.backend = self->bench->backend, .op = op};
    self->cases[self->count++] =
        (bench_case){.name = name, .run = run_op, .context = at, .flops = flops, .bytes = bytes};
    return at;
}

static void *scratch_for(const suite *self, const context *at)
{
    const uint64_t bytes =
        at->backend->ops->scratch_bytes(at->backend, at->op, (const void *)&at->args);
    return bytes > 0 ? bench_memory(self->bench, (size_t)bytes) : NULL;
}

static cop_matrix wide(const suite *self, int64_t rows, int64_t cols)
{
    return bench_matrix(self->bench, COP_F32, rows, cols);
}

static cop_matrix narrow(const suite *self, int64_t rows, int64_t cols)
{
    return bench_matrix(self->bench, self->dtype, rows, cols);
}

static cop_matrix activation(const suite *self, int64_t cols)
{
    return narrow(self, self->size.tokens, cols);
}

static double size_of(const suite *self, int64_t cols)
{
    return (double)self->size.tokens * (double)cols * (double)cop_dtype_bytes(self->dtype);
}

static void add_peaks(suite *self)
{
    const int64_t *peak = self->size.peak;
    const double flops = 2.0 * (double)peak[0] * (double)peak[1] * (double)peak[2];
    context *at = add_case(self, COP_OP_MATMUL, "matmul_peak", flops, 0);
    at->args.matmul = (cop_matmul_args){
        .a = narrow(self, peak[0], peak[2]),
        .b = narrow(self, peak[1], peak[2]),
        .c = wide(self, peak[0], peak[1]),
        .transpose_b = true,
        .alpha = 1.0F,
    };
    at->args.matmul.scratch = scratch_for(self, at);
    self->cases[self->count++] = bench_copy_case(self->bench);
}

static void add_norms(suite *self)
{
    const double bytes = size_of(self, self->size.hidden);
    context *at = add_case(self, COP_OP_NORM_FORWARD, "norm_forward+residual", 0, 4 * bytes);
    at->args.norm_forward = (cop_norm_forward_args){
        .eps = 1e-5F,
        .x = activation(self, self->size.hidden),
        .residual = activation(self, self->size.hidden),
        .sum = activation(self, self->size.hidden),
        .gain = wide(self, 1, self->size.hidden),
        .y = activation(self, self->size.hidden),
        .stats = wide(self, self->size.tokens, 2),
    };
    const cop_norm_forward_args forward = at->args.norm_forward;
    at = add_case(self, COP_OP_NORM_BACKWARD, "norm_backward+accumulate", 0, 4 * bytes);
    at->args.norm_backward = (cop_norm_backward_args){
        .d_y = activation(self, self->size.hidden),
        .x = forward.sum,
        .gain = forward.gain,
        .stats = forward.stats,
        .d_x = activation(self, self->size.hidden),
        .d_gain = wide(self, 1, self->size.hidden),
        .accumulate = true,
    };
    at->args.norm_backward.scratch = scratch_for(self, at);
}

static void add_attention(suite *self)
{
    const int64_t batch = self->size.tokens / self->size.sequence;
    const double t = (double)self->size.sequence;
    const double width = (double)(self->size.heads * self->size.head_dim);
    const double flops = 2.0 * (double)batch * width * t * t; // causal
    context *at = add_case(self, COP_OP_ROPE, "rope", 0, 2 * size_of(self, self->size.hidden));
    at->args.rope = (cop_rope_args){
        .x = activation(self, self->size.hidden),
        .heads = self->size.heads,
        .head_dim = self->size.head_dim,
        .sequence = self->size.sequence,
        .cos = wide(self, self->size.sequence, self->size.head_dim / 2),
        .sin = wide(self, self->size.sequence, self->size.head_dim / 2),
    };
    at = add_case(self, COP_OP_ATTENTION_FORWARD, "attention_forward", flops, 0);
    const cop_attention_forward_args forward = {
        .batch = batch,
        .sequence = self->size.sequence,
        .heads = self->size.heads,
        .kv_heads = self->size.kv_heads,
        .head_dim = self->size.head_dim,
        .scale = 0.125F,
        .q = activation(self, self->size.heads * self->size.head_dim),
        .k = activation(self, self->size.kv_heads * self->size.head_dim),
        .v = activation(self, self->size.kv_heads * self->size.head_dim),
        .o = activation(self, self->size.heads * self->size.head_dim),
        .lse = wide(self, batch * self->size.heads, self->size.sequence),
    };
    at->args.attention_forward = forward;
    at->args.attention_forward.scratch = scratch_for(self, at);
    at = add_case(self, COP_OP_ATTENTION_BACKWARD, "attention_backward", 2.5 * flops, 0);
    at->args.attention_backward = (cop_attention_backward_args){
        .batch = batch,
        .sequence = self->size.sequence,
        .heads = self->size.heads,
        .kv_heads = self->size.kv_heads,
        .head_dim = self->size.head_dim,
        .scale = 0.125F,
        .q = forward.q,
        .k = forward.k,
        .v = forward.v,
        .o = forward.o,
        .lse = forward.lse,
        .d_o = activation(self, self->size.heads * self->size.head_dim),
        .d_q = activation(self, self->size.heads * self->size.head_dim),
        .d_k = activation(self, self->size.kv_heads * self->size.head_dim),
        .d_v = activation(self, self->size.kv_heads * self->size.head_dim),
    };
    at->args.attention_backward.scratch = scratch_for(self, at);
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

    const cop_matrix gate = activation(self, self->size.ffn);
    const cop_matrix up = activation(self, self->size.ffn);
    const cop_matrix y = activation(self, self->size.ffn);
    const cop_matrix d_gate = activation(self, self->size.ffn);
    const cop_matrix d_up = activation(self, self->size.ffn);
    const double bytes = size_of(self, self->size.ffn);
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

static void add_moves(suite *self)
{
    const double bytes = size_of(self, self->size.hidden);
    const double elements = (double)self->size.tokens * (double)self->size.hidden;
    const int32_t *ids = bench_ids(self->bench, self->size.tokens, self->size.vocab);
    const int32_t *columns = bench_ids(self->bench, self->size.hidden, self->size.hidden);
    const cop_matrix x = activation(self, self->size.hidden);
    const cop_matrix y = activation(self, self->size.hidden);
    const cop_matrix other = bench_matrix(self->bench, self->dtype == COP_F32 ? COP_BF16 : COP_F32,
                                          self->size.tokens, self->size.hidden);
    context *at = add_case(self, COP_OP_EMBEDDING_FORWARD, "embedding_forward", 0, 2 * bytes);
    at->args.embedding_forward = (cop_embedding_forward_args){
        .ids = ids, .table = narrow(self, self->size.vocab, self->size.hidden), .y = y};
    at = add_case(self, COP_OP_EMBEDDING_BACKWARD, "embedding_backward", 0,
                  bytes + 2 * sizeof(float) * elements);
    at->args.embedding_backward = (cop_embedding_backward_args){
        .ids = ids, .d_y = x, .d_table = wide(self, self->size.vocab, self->size.hidden)};
    at = add_case(self, COP_OP_BIAS_ADD, "bias_add", 0, 2 * bytes);
    at->args.bias_add = (cop_bias_add_args){.x = y, .bias = wide(self, 1, self->size.hidden)};
    at = add_case(self, COP_OP_COLUMN_SUM, "column_sum", 0, bytes);
    at->args.column_sum = (cop_column_sum_args){.x = x, .sum = wide(self, 1, self->size.hidden)};
    at->args.column_sum.scratch = scratch_for(self, at);
    at = add_case(self, COP_OP_ADD, "add", 0, 3 * bytes);
    at->args.add = (cop_add_args){.x = x, .y = y, .alpha = 0.5F, .beta = 0.5F};
    at = add_case(self, COP_OP_CONVERT, "convert", 0, 6 * elements);
    at->args.convert = (cop_convert_args){.x = x, .y = other};
    at = add_case(self, COP_OP_GATHER, "gather_columns", 0, 2 * bytes);
    at->args.gather = (cop_gather_args){.x = x, .y = y, .col_index = columns};
}

// Drawing a sample of the teacher, and the loss against it: no teacher's logits in the step.
static void add_samples(suite *self, const cop_head_loss_args *exact, double vocab)
{
    enum { DRAWS = 50 };

    const int64_t n = exact->hidden.rows;
    context *at = add_case(self, COP_OP_SAMPLE_TARGETS, "sample_targets",
                           2.0 * vocab * (double)self->size.teacher, 0);
    const cop_sample_targets_args sample = {
        .hidden = exact->teacher_hidden,
        .head = exact->teacher_head,
        .draws = DRAWS,
        .seed = 1,
        .ids = bench_ids(self->bench, n * DRAWS, self->size.vocab),
        .weights = wide(self, n, DRAWS),
        .entropy = wide(self, 1, n),
    };
    at->args.sample_targets = sample;
    at->args.sample_targets.scratch = scratch_for(self, at);
    at = add_case(self, COP_OP_HEAD_LOSS, "head_loss_sampled",
                  6.0 * vocab * (double)self->size.hidden, 0);
    at->args.head_loss = *exact;
    at->args.head_loss.teacher_hidden = (cop_matrix){0};
    at->args.head_loss.teacher_head = (cop_matrix){0};
    at->args.head_loss.sample_ids = sample.ids;
    at->args.head_loss.sample_weights = sample.weights;
    at->args.head_loss.sample_entropy = sample.entropy;
    at->args.head_loss.scratch = scratch_for(self, at);
}

static void add_losses(suite *self)
{
    const int64_t n = self->bench->is_device ? self->size.tokens : self->size.tokens / 2;
    const double vocab = (double)n * (double)self->size.vocab;
    const double student = 6.0 * (double)self->size.hidden;
    const double teacher = 2.0 * (double)self->size.teacher;
    const double bytes = size_of(self, self->size.hidden);
    context *at = add_case(self, COP_OP_HEAD_LOSS, "head_loss_kl", vocab * (student + teacher), 0);
    at->args.head_loss = (cop_head_loss_args){
        .hidden = narrow(self, n, self->size.hidden),
        .head = narrow(self, self->size.vocab, self->size.hidden),
        .targets = bench_ids(self->bench, n, self->size.vocab),
        .teacher_hidden = narrow(self, n, self->size.teacher),
        .teacher_head = narrow(self, self->size.vocab, self->size.teacher),
        .kl_weight = 1.0F,
        .temperature = 1.0F,
        .grad_scale = 1e-3F,
        .cross_entropy = wide(self, 1, n),
        .kl = wide(self, 1, n),
        .d_hidden = narrow(self, n, self->size.hidden),
        .d_head = wide(self, self->size.vocab, self->size.hidden),
    };
    at->args.head_loss.scratch = scratch_for(self, at);
    add_samples(self, &at->args.head_loss, vocab);
    at = add_case(self, COP_OP_STATE_LOSS, "state_loss_cosine", 0, 3 * bytes);
    at->args.state_loss = (cop_state_loss_args){
        .kind = COP_STATE_LOSS_COSINE,
        .student = activation(self, self->size.hidden),
        .teacher = activation(self, self->size.hidden),
        .loss = wide(self, 1, self->size.tokens),
        .d_student = activation(self, self->size.hidden),
        .grad_scale = 1.0F,
    };
}

static void add_reductions(suite *self)
{
    const cop_matrix x = activation(self, self->size.ffn);
    const cop_matrix y = activation(self, self->size.ffn);
    const double bytes = size_of(self, self->size.ffn);
    const int64_t batch = self->size.tokens / self->size.sequence;
    double *sum = bench_memory(self->bench, sizeof *sum);
    context *at = add_case(self, COP_OP_SUM_SQUARES, "sum_squares", 0, bytes);
    at->args.sum_squares = (cop_sum_squares_args){.x = x, .sum = sum};
    at->args.sum_squares.scratch = scratch_for(self, at);
    at = add_case(self, COP_OP_SEQUENCE_MOMENTS, "sequence_moments", 0, bytes);
    at->args.sequence_moments = (cop_sequence_moments_args){
        .x = x,
        .sequence = self->size.sequence,
        .group = 1,
        .out = bench_memory(self->bench, 3 * (size_t)(batch * self->size.ffn) * sizeof(double)),
    };
    at = add_case(self, COP_OP_SEQUENCE_MOMENTS, "sequence_moments_heads", 0, bytes);
    at->args.sequence_moments = (cop_sequence_moments_args){
        .x = x,
        .sequence = self->size.sequence,
        .group = self->size.head_dim,
        .out = bench_memory(self->bench, 3 * (size_t)(batch * self->size.ffn) * sizeof(double)),
    };
    at = add_case(self, COP_OP_ROW_COSINE, "row_cosine", 0, 2 * bytes);
    at->args.row_cosine = (cop_row_cosine_args){.x = x, .y = y, .sum = sum};
    at->args.row_cosine.scratch = scratch_for(self, at);
    at = add_case(self, COP_OP_ADAMW, "adamw", 0,
                  (double)self->size.parameters *
                      (7.0 * sizeof(float) + (double)cop_dtype_bytes(self->dtype)));
    at->args.adamw = (cop_adamw_args){
        .parameter = wide(self, 1, self->size.parameters),
        .working = narrow(self, 1, self->size.parameters),
        .gradient = wide(self, 1, self->size.parameters),
        .m = wide(self, 1, self->size.parameters),
        .v = cop_matrix_dense(
            bench_memory(self->bench, (size_t)self->size.parameters * sizeof(float)), COP_F32, 1,
            self->size.parameters),
        .learning_rate = 1e-4F,
        .beta1 = 0.9F,
        .beta2 = 0.95F,
        .eps = 1e-8F,
        .step = 10,
    };
}

static void run_suite(bench *self, cop_dtype dtype)
{
    suite *all = cop_alloc(1, sizeof *all);
    if (all == NULL) {
        (void)fprintf(stderr, "ops_bench: no memory\n");
        exit(1); // NOLINT(concurrency-mt-unsafe): one thread
    }
    all->bench = self;
    all->dtype = dtype;
    if (self->is_device) {
        all->size = self->is_quick ? device_quick_sizes : device_sizes;
    } else {
        all->size = self->is_quick ? host_quick_sizes : host_sizes;
    }
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
                       cop_dtype_name(dtype), (long long)all->size.tokens);
        bench_print(self, each, is_compute ? all->size.peak_name : bench_copy_name(self),
                    is_compute ? each->flops / flops : each->bytes / bandwidth, extra);
    }
    bench_free_memory(self);
    cop_free(all);
}

int main(int argc, char **argv)
{
    bench self;
    bench_init(&self, "ops_bench", argc, argv);
    run_suite(&self, COP_F32);
    run_suite(&self, COP_BF16);
    bench_release(&self);
    return 0;
}
