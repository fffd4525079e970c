// Longer than the aim: a table.

#include "tests/kernels/cases.h"

#include <math.h>
#include <string.h>

// As in rig_init(), for cases that are bf16 whatever the types of activations.
static const double tolerance_bf16 = 2e-2;

// size: M, N, K, layout (bit 0: a transposed, bit 1: b transposed), alpha and beta in halves
static void build_matmul(rig *self, const int64_t *size)
{
    cop_matmul_args *args = &self->args.matmul;
    const cop_dtype dtype = (self->types & 1U) != 0 ? COP_BF16 : self->wide;
    const bool is_half_out = dtype == COP_BF16 && (self->types & 2U) != 0;
    args->transpose_a = (size[3] & 1) != 0;
    args->transpose_b = (size[3] & 2) != 0;
    args->a = args->transpose_a ? rig_matrix(self, dtype, size[2], size[0], RIG_NORMAL)
                                : rig_matrix(self, dtype, size[0], size[2], RIG_NORMAL);
    args->b = args->transpose_b ? rig_matrix(self, dtype, size[1], size[2], RIG_NORMAL)
                                : rig_matrix(self, dtype, size[2], size[1], RIG_NORMAL);
    args->c = rig_matrix(self, is_half_out ? COP_BF16 : self->wide, size[0], size[1], RIG_NORMAL);
    args->alpha = (float)size[4] / 2.0F;
    args->beta = (float)size[5] / 2.0F;
    rig_output_matrix(self, "c", args->c);
}

// size: n, C, kind, 1: residual, 1: bias, 1: stats, 1: sum is x, 2: sum is residual, 3: y is x
static void build_norm_forward(rig *self, const int64_t *size)
{
    cop_norm_forward_args *args = &self->args.norm_forward;
    args->kind = (cop_norm_kind)size[2];
    args->eps = 1e-5F;
    args->x = rig_activation(self, size[0], size[1], RIG_NORMAL);
    if (size[3] != 0) {
        args->residual = rig_activation(self, size[0], size[1], RIG_NORMAL);
        args->sum = size[6] == 1   ? args->x
                    : size[6] == 2 ? args->residual
                                   : rig_activation(self, size[0], size[1], RIG_NORMAL);
        rig_output_matrix(self, "sum", args->sum);
    }
    args->gain = rig_parameter(self, 1, size[1], RIG_POSITIVE);
    if (size[4] != 0) {
        args->bias = rig_parameter(self, 1, size[1], RIG_NORMAL);
    }
    args->y = size[6] == 3 ? args->x : rig_activation(self, size[0], size[1], RIG_NORMAL);
    rig_output_matrix(self, "y", args->y);
    if (size[5] != 0) {
        args->stats = rig_parameter(self, size[0], 2, RIG_NORMAL);
        rig_output_matrix(self, "stats", args->stats);
    }
}

// size: n, C, kind, 1: accumulate, 1: d_gain, 1: d_bias, 1: d_x is d_y
static void build_norm_backward(rig *self, const int64_t *size)
{
    cop_norm_backward_args *args = &self->args.norm_backward;
    args->kind = (cop_norm_kind)size[2];
    args->x = rig_activation(self, size[0], size[1], RIG_NORMAL);
    args->d_y = rig_activation(self, size[0], size[1], RIG_NORMAL);
    args->gain = rig_parameter(self, 1, size[1], RIG_POSITIVE);
    args->stats = rig_parameter(self, size[0], 2, RIG_POSITIVE);
    for (int64_t r = 0; args->kind == COP_NORM_RMS && r < size[0]; r++) {
        rig_put(args->stats, r, 0, 0.0);
    }
    args->d_x = size[6] != 0 ? args->d_y : rig_activation(self, size[0], size[1], RIG_NORMAL);
    args->accumulate = size[3] != 0;
    rig_output_matrix(self, "d_x", args->d_x);
    if (size[4] != 0) {
        args->d_gain = rig_parameter(self, 1, size[1], RIG_NORMAL);
        rig_output_matrix(self, "d_gain", args->d_gain);
    }
    if (size[5] != 0) {
        args->d_bias = rig_parameter(self, 1, size[1], RIG_NORMAL);
        rig_output_matrix(self, "d_bias", args->d_bias);
    }
}

// size: B, T, heads, D, R, 1: inverse
static void build_rope(rig *self, const int64_t *size)
{
    cop_rope_args *args = &self->args.rope;
    args->heads = size[2];
    args->head_dim = size[3];
    args->sequence = size[1];
    args->inverse = size[5] != 0;
    args->x = rig_activation(self, size[0] * size[1], size[2] * size[3], RIG_NORMAL);
    args->cos = rig_parameter(self, size[1] + 1, size[4], RIG_NORMAL);
    args->sin = rig_parameter(self, size[1] + 1, size[4], RIG_NORMAL);
    rig_output_matrix(self, "x", args->x);
}

// size: B, T, H, K, D, 1: lse
static void build_attention_forward(rig *self, const int64_t *size)
{
    cop_attention_forward_args *args = &self->args.attention_forward;
    const int64_t n = size[0] * size[1];
    args->batch = size[0];
    args->sequence = size[1];
    args->heads = size[2];
    args->kv_heads = size[3];
    args->head_dim = size[4];
    args->scale = 1.0F / sqrtf((float)size[4]);
    args->q = rig_activation(self, n, size[2] * size[4], RIG_NORMAL);
    args->k = rig_activation(self, n, size[3] * size[4], RIG_NORMAL);
    args->v = rig_activation(self, n, size[3] * size[4], RIG_NORMAL);
    args->o = rig_activation(self, n, size[2] * size[4], RIG_NORMAL);
    rig_output_matrix(self, "o", args->o);
    if (size[5] != 0) {
        args->lse = rig_parameter(self, size[0] * size[2], size[1], RIG_NORMAL);
        rig_output_matrix(self, "lse", args->lse);
    }
}

// size: B, T, H, K, D. o and lse come from a forward pass on the reference.
static void build_attention_backward(rig *self, const int64_t *size)
{
    build_attention_forward(self,
                            (const int64_t[]){size[0], size[1], size[2], size[3], size[4], 1});
    self->op = COP_OP_ATTENTION_FORWARD;
    cop_backend *reference = rig_backend("reference");
    rig_run(self, reference);
    cop_backend_destroy(reference);
    self->op = COP_OP_ATTENTION_BACKWARD;
    self->output_count = 0;
    const cop_attention_forward_args from = self->args.attention_forward;
    cop_attention_backward_args args = {
        .batch = from.batch,
        .sequence = from.sequence,
        .heads = from.heads,
        .kv_heads = from.kv_heads,
        .head_dim = from.head_dim,
        .scale = from.scale,
        .q = from.q,
        .k = from.k,
        .v = from.v,
        .o = from.o,
        .lse = from.lse,
    };
    args.d_o = rig_activation(self, from.q.rows, from.q.cols, RIG_NORMAL);
    args.d_q = rig_activation(self, from.q.rows, from.q.cols, RIG_NORMAL);
    args.d_k = rig_activation(self, from.k.rows, from.k.cols, RIG_NORMAL);
    args.d_v = rig_activation(self, from.v.rows, from.v.cols, RIG_NORMAL);
    self->args.attention_backward = args;
    rig_output_matrix(self, "d_q", args.d_q);
    rig_output_matrix(self, "d_k", args.d_k);
    rig_output_matrix(self, "d_v", args.d_v);
}

// size: n, F, kind, 1: gate
static void build_activation_forward(rig *self, const int64_t *size)
{
    cop_activation_forward_args *args = &self->args.activation_forward;
    args->kind = (cop_activation)size[2];
    if (size[3] != 0) {
        args->gate = rig_activation(self, size[0], size[1], RIG_NORMAL);
    }
    args->up = rig_activation(self, size[0], size[1], RIG_NORMAL);
    args->y = rig_activation(self, size[0], size[1], RIG_NORMAL);
    rig_output_matrix(self, "y", args->y);
}

// size: n, F, kind, 1: gate, 1: in place, 2: in place with d_up in d_y
static void build_activation_backward(rig *self, const int64_t *size)
{
    cop_activation_backward_args *args = &self->args.activation_backward;
    args->kind = (cop_activation)size[2];
    args->up = rig_activation(self, size[0], size[1], RIG_NORMAL);
    args->d_y = rig_activation(self, size[0], size[1], RIG_NORMAL);
    args->d_up = size[4] == 1   ? args->up
                 : size[4] == 2 ? args->d_y
                                : rig_activation(self, size[0], size[1], RIG_NORMAL);
    rig_output_matrix(self, "d_up", args->d_up);
    if (size[3] != 0) {
        args->gate = rig_activation(self, size[0], size[1], RIG_NORMAL);
        args->d_gate =
            size[4] != 0 ? args->gate : rig_activation(self, size[0], size[1], RIG_NORMAL);
        rig_output_matrix(self, "d_gate", args->d_gate);
    }
}

// size: n, V, C
static void build_embedding_forward(rig *self, const int64_t *size)
{
    cop_embedding_forward_args *args = &self->args.embedding_forward;
    args->ids = rig_ids(self, size[0], 0, size[1]);
    args->table = rig_activation(self, size[1], size[2], RIG_NORMAL);
    args->y = rig_activation(self, size[0], size[2], RIG_NORMAL);
    rig_output_matrix(self, "y", args->y);
}

// size: n, V, C, 1: one id everywhere, 1: bf16 table
static void build_embedding_backward(rig *self, const int64_t *size)
{
    cop_embedding_backward_args *args = &self->args.embedding_backward;
    args->ids = rig_ids(self, size[0], size[3] != 0 ? size[1] - 1 : 0, size[1]);
    args->d_y = rig_activation(self, size[0], size[2], RIG_NORMAL);
    args->d_table =
        rig_matrix(self, size[4] != 0 ? COP_BF16 : self->wide, size[1], size[2], RIG_NORMAL);
    self->tolerance = size[4] != 0 ? tolerance_bf16 : self->tolerance;
    rig_output_matrix(self, "d_table", args->d_table);
}

// size: n, C
static void build_bias_add(rig *self, const int64_t *size)
{
    cop_bias_add_args *args = &self->args.bias_add;
    args->x = rig_activation(self, size[0], size[1], RIG_NORMAL);
    args->bias = rig_parameter(self, 1, size[1], RIG_NORMAL);
    rig_output_matrix(self, "x", args->x);
}

// size: n, C
static void build_column_sum(rig *self, const int64_t *size)
{
    cop_column_sum_args *args = &self->args.column_sum;
    args->x = rig_activation(self, size[0], size[1], RIG_NORMAL);
    args->sum = rig_parameter(self, 1, size[1], RIG_NORMAL);
    rig_output_matrix(self, "sum", args->sum);
}

// size: rows, cols, alpha in halves, beta in halves
static void build_add(rig *self, const int64_t *size)
{
    cop_add_args *args = &self->args.add;
    args->x = rig_activation(self, size[0], size[1], RIG_NORMAL);
    args->y = rig_activation(self, size[0], size[1], RIG_NORMAL);
    args->alpha = (float)size[2] / 2.0F;
    args->beta = (float)size[3] / 2.0F;
    rig_output_matrix(self, "y", args->y);
}

// size: rows, cols
static void build_convert(rig *self, const int64_t *size)
{
    cop_convert_args *args = &self->args.convert;
    args->x = rig_activation(self, size[0], size[1], RIG_NORMAL);
    args->y = rig_activation(self, size[0], size[1], RIG_NORMAL);
    rig_output_matrix(self, "y", args->y);
}

// size: rows and cols of x, rows and cols of y, bit 0: row index, bit 1: column index
static void build_gather(rig *self, const int64_t *size)
{
    cop_gather_args *args = &self->args.gather;
    args->x = rig_activation(self, size[0], size[1], RIG_NORMAL);
    args->y = rig_activation(self, size[2], size[3], RIG_NORMAL);
    args->row_index = (size[4] & 1) != 0 ? rig_ids(self, size[2], 0, size[0]) : NULL;
    args->col_index = (size[4] & 2) != 0 ? rig_ids(self, size[3], 0, size[1]) : NULL;
    rig_output_matrix(self, "y", args->y);
}

enum { SAMPLES = 1 << 3, HALF_HEAD = 1 << 4 };

// Ids may repeat and be absent; weights are not those of a distribution.
static void build_sample(rig *self, int64_t n, int64_t samples)
{
    cop_head_loss_args *args = &self->args.head_loss;
    const int64_t padding = self->padding;
    args->sample_ids = rig_ids(self, n * samples, -1, args->head.rows);
    self->padding = 0;
    args->sample_weights = rig_parameter(self, n, samples, RIG_POSITIVE);
    self->padding = padding;
    args->sample_entropy = rig_parameter(self, 1, n, RIG_POSITIVE);
    args->kl = rig_parameter(self, 1, n, RIG_NORMAL);
    rig_output_matrix(self, "kl", args->kl);
}

// size: n, V, C, Ct (0: no teacher), temperature in tenths, ce_weight and kl_weight in halves,
//       bit 0: targets, bit 1: gradients, bit 2: d_head, bit 3: Ct samples instead of a teacher,
//       bit 4: d_head is bf16
static void build_head_loss(rig *self, const int64_t *size)
{
    cop_head_loss_args *args = &self->args.head_loss;
    const int64_t n = size[0];
    const cop_dtype dtype = (self->types & 1U) != 0 ? COP_BF16 : self->wide;
    const cop_dtype teacher_dtype = (self->types & 2U) != 0 ? COP_BF16 : self->wide;
    const bool has_targets = (size[7] & 1) != 0;
    args->hidden = rig_matrix(self, dtype, n, size[2], RIG_NORMAL);
    args->head = rig_matrix(self, dtype, size[1], size[2], RIG_NORMAL);
    args->targets = has_targets ? rig_ids(self, n, -1, size[1]) : NULL;
    args->temperature = (float)size[4] / 10.0F;
    args->ce_weight = (float)size[5] / 2.0F;
    args->kl_weight = (float)size[6] / 2.0F;
    args->grad_scale = 0.25F;
    if (has_targets) {
        args->cross_entropy = rig_parameter(self, 1, n, RIG_NORMAL);
        rig_output_matrix(self, "cross_entropy", args->cross_entropy);
    }
    if ((size[7] & SAMPLES) != 0) {
        build_sample(self, n, size[3]);
    } else if (size[3] != 0) {
        args->teacher_hidden = rig_matrix(self, teacher_dtype, n, size[3], RIG_NORMAL);
        args->teacher_head = rig_matrix(self, teacher_dtype, size[1], size[3], RIG_NORMAL);
        args->kl = rig_parameter(self, 1, n, RIG_NORMAL);
        rig_output_matrix(self, "kl", args->kl);
        if (has_targets) {
            args->teacher_cross_entropy = rig_parameter(self, 1, n, RIG_NORMAL);
            rig_output_matrix(self, "teacher_cross_entropy", args->teacher_cross_entropy);
        }
    }
    if (has_targets || args->teacher_hidden.cols > 0) {
        args->agree = rig_parameter(self, 1, n, RIG_NORMAL);
        rig_output_matrix(self, "agree", args->agree);
    }
    if ((size[7] & 2) != 0) {
        args->d_hidden = rig_matrix(self, (self->types & 4U) != 0 ? COP_BF16 : self->wide, n,
                                    size[2], RIG_NORMAL);
        rig_output_matrix(self, "d_hidden", args->d_hidden);
    }
    if ((size[7] & 4) != 0) {
        const bool is_half = (size[7] & HALF_HEAD) != 0;
        args->d_head =
            rig_matrix(self, is_half ? COP_BF16 : self->wide, size[1], size[2], RIG_NORMAL);
        self->tolerance = is_half ? 2e-2 : self->tolerance;
        rig_output_matrix(self, "d_head", args->d_head);
    }
}

// size: n, C, kind, 1: gradient
static void build_state_loss(rig *self, const int64_t *size)
{
    cop_state_loss_args *args = &self->args.state_loss;
    args->kind = (cop_state_loss_kind)size[2];
    args->student = rig_activation(self, size[0], size[1], RIG_NORMAL);
    args->teacher = rig_activation(self, size[0], size[1], RIG_NORMAL);
    args->loss = rig_parameter(self, 1, size[0], RIG_NORMAL);
    args->grad_scale = 0.5F;
    rig_output_matrix(self, "loss", args->loss);
    if (size[3] != 0) {
        args->d_student = rig_activation(self, size[0], size[1], RIG_NORMAL);
        rig_output_matrix(self, "d_student", args->d_student);
    }
}

// size: rows, cols
static void build_sum_squares(rig *self, const int64_t *size)
{
    cop_sum_squares_args *args = &self->args.sum_squares;
    args->x = rig_activation(self, size[0], size[1], RIG_NORMAL);
    args->sum = rig_doubles(self, 1);
    rig_output_doubles(self, "sum", args->sum, 1);
}

// The schedule of step `step` in the rig's memory, with rates of its own: those of the arguments
// must not be looked at.
static const cop_adamw_schedule *schedule_of(rig *self, const cop_adamw_args *args)
{
    const cop_adamw_schedule schedule = {
        .learning_rate = 2.0F * args->learning_rate,
        .correction1 = 1.0F - powf(args->beta1, (float)args->step),
        .correction2 = 1.0F - powf(args->beta2, (float)args->step),
        .step = (uint32_t)args->step,
    };
    const cop_matrix words = rig_matrix(self, COP_F32, 1, 4, RIG_NORMAL);
    memcpy(words.data, &schedule, sizeof schedule);
    return words.data;
}

// Forms of AdamW, added up.
enum {
    ADAMW_NO_MASTER = 1, // then the working copy is there, in bf16
    ADAMW_HALF_MOMENTS = 2,
    ADAMW_HALF_GRADIENT = 4,
    ADAMW_SCHEDULE = 8,
    ADAMW_SEED = 16 // and a first index
};

// size: rows, cols, step, 1: clipping, 1: working copy, 1: zero_gradient, forms
static void build_adamw(rig *self, const int64_t *size)
{
    cop_adamw_args *args = &self->args.adamw;
    const bool has_master = (size[6] & ADAMW_NO_MASTER) == 0;
    const cop_dtype moments = (size[6] & ADAMW_HALF_MOMENTS) != 0 ? COP_BF16 : self->wide;
    const cop_dtype gradient = (size[6] & ADAMW_HALF_GRADIENT) != 0 ? COP_BF16 : self->wide;
    if (has_master) {
        args->parameter = rig_parameter(self, size[0], size[1], RIG_NORMAL);
        rig_output_matrix(self, "parameter", args->parameter);
    } else {
        args->working = rig_matrix(self, COP_BF16, size[0], size[1], RIG_NORMAL);
        rig_output_matrix(self, "working", args->working);
    }
    args->gradient = rig_matrix(self, gradient, size[0], size[1], RIG_NORMAL);
    args->m = rig_matrix(self, moments, size[0], size[1], RIG_SMALL);
    args->v = rig_matrix(self, moments, size[0], size[1], RIG_POSITIVE);
    // A value that rounds differently in its last bit may be rounded to the other neighbour.
    if ((size[6] & (ADAMW_NO_MASTER | ADAMW_HALF_MOMENTS | ADAMW_HALF_GRADIENT)) != 0) {
        self->tolerance = tolerance_bf16;
    }
    if ((size[6] & ADAMW_SEED) != 0) {
        args->seed = 20;
        args->first_index = (int64_t)5 << 32;
    }
    args->learning_rate = 1e-2F;
    args->beta1 = 0.9F;
    args->beta2 = 0.95F;
    args->eps = 1e-8F;
    args->weight_decay = 0.1F;
    args->step = size[2];
    args->schedule = (size[6] & ADAMW_SCHEDULE) != 0 ? schedule_of(self, args) : NULL;
    rig_output_matrix(self, "m", args->m);
    rig_output_matrix(self, "v", args->v);
    if (size[3] != 0) {
        double *norm = rig_doubles(self, 1);
        *norm = 37.0;
        args->norm_squared = norm;
        args->max_norm = 1.0F;
    }
    if (size[4] != 0 && has_master) {
        args->working = rig_activation(self, size[0], size[1], RIG_NORMAL);
        rig_output_matrix(self, "working", args->working);
    }
    args->zero_gradient = size[5] != 0;
    if (args->zero_gradient) {
        rig_output_matrix(self, "gradient", args->gradient);
    }
}

// size: B, T, units, group
static void build_sequence_moments(rig *self, const int64_t *size)
{
    cop_sequence_moments_args *args = &self->args.sequence_moments;
    args->x = rig_activation(self, size[0] * size[1], size[2] * size[3], RIG_NORMAL);
    args->sequence = size[1];
    args->group = size[3];
    args->out = rig_doubles(self, size[0] * 3 * size[2]);
    rig_output_doubles(self, "out", args->out, size[0] * 3 * size[2]);
}

// size: rows, cols
static void build_row_cosine(rig *self, const int64_t *size)
{
    cop_row_cosine_args *args = &self->args.row_cosine;
    args->x = rig_activation(self, size[0], size[1], RIG_NORMAL);
    args->y = rig_activation(self, size[0], size[1], RIG_NORMAL);
    args->sum = rig_doubles(self, 1);
    rig_output_doubles(self, "sum", args->sum, 1);
}

// size: n, V, C, draws. Ids and weights have their own comparison: tests/kernels/sample_check.h.
static void build_sample_targets(rig *self, const int64_t *size)
{
    cop_sample_targets_args *args = &self->args.sample_targets;
    const cop_dtype dtype = (self->types & 1U) != 0 ? COP_BF16 : self->wide;
    args->hidden = rig_matrix(self, dtype, size[0], size[2], RIG_NORMAL);
    args->head = rig_matrix(self, dtype, size[1], size[2], RIG_NORMAL);
    args->draws = size[3];
    args->seed = 42;
    args->first_row = 1000;
    args->entropy = rig_parameter(self, 1, size[0], RIG_NORMAL);
    rig_output_matrix(self, "entropy", args->entropy);
    args->ids = rig_ids(self, size[0] * size[3], 0, 9);
    rig_output_free(self, "ids", cop_matrix_dense(args->ids, COP_F32, size[0], size[3]));
    self->padding = 0;
    args->weights = rig_parameter(self, size[0], size[3], RIG_NORMAL);
    rig_output_free(self, "weights", args->weights);
}

const op_case op_cases[] = {
    {COP_OP_MATMUL, build_matmul, {1, 1, 1, 2, 2, 0}},
    {COP_OP_MATMUL, build_matmul, {7, 33, 129, 2, 2, 0}},
    {COP_OP_MATMUL, build_matmul, {33, 7, 65, 0, 2, 0}},
    {COP_OP_MATMUL, build_matmul, {129, 33, 7, 1, 2, 2}},
    {COP_OP_MATMUL, build_matmul, {33, 129, 1, 3, 1, 1}},
    {COP_OP_MATMUL, build_matmul, {64, 48, 32, 1, 1, 2}},
    {COP_OP_MATMUL, build_matmul, {1, 256, 64, 2, 2, 2}},
    {COP_OP_MATMUL, build_matmul, {0, 5, 3, 0, 2, 0}},
    {COP_OP_MATMUL, build_matmul, {4, 5, 0, 0, 2, 1}},
    {COP_OP_NORM_FORWARD, build_norm_forward, {1, 1, 0, 0, 0, 1}},
    {COP_OP_NORM_FORWARD, build_norm_forward, {33, 129, 0, 1, 0, 1}},
    {COP_OP_NORM_FORWARD, build_norm_forward, {7, 1500, 1, 0, 1, 1}},
    {COP_OP_NORM_FORWARD, build_norm_forward, {129, 33, 2, 1, 1, 1}},
    {COP_OP_NORM_FORWARD, build_norm_forward, {5, 64, 2, 0, 0, 0}},
    {COP_OP_NORM_FORWARD, build_norm_forward, {0, 64, 0, 0, 0, 1}},
    {COP_OP_NORM_FORWARD, build_norm_forward, {9, 256, 0, 1, 0, 1, 0}},
    {COP_OP_NORM_FORWARD, build_norm_forward, {5, 512, 2, 1, 1, 1, 1}},
    {COP_OP_NORM_FORWARD, build_norm_forward, {5, 1000, 1, 1, 1, 1, 2}},
    {COP_OP_NORM_FORWARD, build_norm_forward, {6, 1024, 0, 0, 0, 1, 3}},
    {COP_OP_NORM_FORWARD, build_norm_forward, {3, 4096, 0, 1, 0, 1, 0}},
    {COP_OP_NORM_FORWARD, build_norm_forward, {3, 4096, 2, 1, 1, 1, 2}},
    {COP_OP_NORM_FORWARD, build_norm_forward, {2, 5000, 1, 1, 1, 1, 1}},
    {COP_OP_NORM_FORWARD, build_norm_forward, {2, 12288, 0, 1, 0, 1, 0}},
    {COP_OP_NORM_FORWARD, build_norm_forward, {2, 12288, 2, 0, 1, 1, 0}},
    {COP_OP_NORM_FORWARD, build_norm_forward, {2, 17000, 1, 1, 1, 1, 0}},
    {COP_OP_NORM_BACKWARD, build_norm_backward, {1, 1, 0, 0, 1, 0}},
    {COP_OP_NORM_BACKWARD, build_norm_backward, {129, 33, 0, 1, 1, 0}},
    {COP_OP_NORM_BACKWARD, build_norm_backward, {1100, 7, 1, 0, 1, 1}},
    {COP_OP_NORM_BACKWARD, build_norm_backward, {7, 1500, 2, 1, 1, 1}},
    {COP_OP_NORM_BACKWARD, build_norm_backward, {33, 129, 2, 0, 0, 1}},
    {COP_OP_NORM_BACKWARD, build_norm_backward, {33, 129, 1, 0, 0, 0}},
    {COP_OP_NORM_BACKWARD, build_norm_backward, {0, 8, 0, 0, 1, 0}},
    {COP_OP_NORM_BACKWARD, build_norm_backward, {130, 256, 1, 0, 1, 1, 1}},
    {COP_OP_NORM_BACKWARD, build_norm_backward, {70, 512, 0, 1, 1, 0, 0}},
    {COP_OP_NORM_BACKWARD, build_norm_backward, {9, 1000, 2, 0, 1, 1, 0}},
    {COP_OP_NORM_BACKWARD, build_norm_backward, {9, 1024, 0, 1, 1, 0, 0}},
    {COP_OP_NORM_BACKWARD, build_norm_backward, {9, 4096, 0, 1, 1, 0, 0}},
    {COP_OP_NORM_BACKWARD, build_norm_backward, {9, 4096, 2, 0, 1, 1, 1}},
    {COP_OP_NORM_BACKWARD, build_norm_backward, {5, 5000, 1, 1, 1, 1, 0}},
    {COP_OP_NORM_BACKWARD, build_norm_backward, {3, 12288, 0, 1, 1, 0, 0}},
    {COP_OP_NORM_BACKWARD, build_norm_backward, {3, 12288, 1, 0, 1, 1, 0}},
    {COP_OP_NORM_BACKWARD, build_norm_backward, {3, 17000, 2, 0, 1, 1, 1}},
    {COP_OP_ROPE, build_rope, {1, 1, 1, 2, 1, 0}},
    {COP_OP_ROPE, build_rope, {2, 33, 3, 16, 8, 0}},
    {COP_OP_ROPE, build_rope, {3, 7, 5, 33, 9, 1}},
    {COP_OP_ROPE, build_rope, {2, 5, 2, 64, 32, 1}},
    {COP_OP_ROPE, build_rope, {1, 5, 2, 8, 0, 0}},
    {COP_OP_ROPE, build_rope, {2, 5, 7, 128, 64, 0}},
    {COP_OP_ROPE, build_rope, {1, 9, 6, 64, 16, 1}},
    {COP_OP_ROPE, build_rope, {0, 5, 2, 8, 4, 0}},
    {COP_OP_ATTENTION_FORWARD, build_attention_forward, {1, 1, 1, 1, 1, 1}},
    {COP_OP_ATTENTION_FORWARD, build_attention_forward, {2, 1, 4, 2, 16, 1}},
    {COP_OP_ATTENTION_FORWARD, build_attention_forward, {2, 33, 4, 4, 33, 1}},
    {COP_OP_ATTENTION_FORWARD, build_attention_forward, {1, 129, 6, 2, 16, 0}},
    {COP_OP_ATTENTION_FORWARD, build_attention_forward, {3, 48, 3, 1, 80, 1}},
    {COP_OP_ATTENTION_FORWARD, build_attention_forward, {1, 435, 2, 1, 65, 1}},
    {COP_OP_ATTENTION_FORWARD, build_attention_forward, {5, 7, 2, 1, 7, 1}},
    {COP_OP_ATTENTION_FORWARD, build_attention_forward, {0, 7, 2, 1, 8, 1}},
    {COP_OP_ATTENTION_FORWARD, build_attention_forward, {1, 63, 2, 2, 64, 0}},
    {COP_OP_ATTENTION_FORWARD, build_attention_forward, {2, 65, 4, 1, 64, 1}},
    {COP_OP_ATTENTION_FORWARD, build_attention_forward, {1, 129, 2, 1, 128, 1}},
    {COP_OP_ATTENTION_BACKWARD, build_attention_backward, {1, 1, 1, 1, 1}},
    {COP_OP_ATTENTION_BACKWARD, build_attention_backward, {2, 1, 4, 2, 16}},
    {COP_OP_ATTENTION_BACKWARD, build_attention_backward, {2, 33, 4, 4, 33}},
    {COP_OP_ATTENTION_BACKWARD, build_attention_backward, {1, 129, 6, 2, 16}},
    {COP_OP_ATTENTION_BACKWARD, build_attention_backward, {2, 48, 3, 1, 80}},
    {COP_OP_ATTENTION_BACKWARD, build_attention_backward, {1, 305, 2, 1, 65}},
    {COP_OP_ATTENTION_BACKWARD, build_attention_backward, {5, 7, 2, 1, 7}},
    {COP_OP_ATTENTION_BACKWARD, build_attention_backward, {1, 64, 2, 2, 64}},
    {COP_OP_ATTENTION_BACKWARD, build_attention_backward, {1, 65, 4, 2, 128}},
    {COP_OP_ACTIVATION_FORWARD, build_activation_forward, {1, 1, 0, 1}},
    {COP_OP_ACTIVATION_FORWARD, build_activation_forward, {33, 129, 0, 1}},
    {COP_OP_ACTIVATION_FORWARD, build_activation_forward, {7, 1500, 1, 0}},
    {COP_OP_ACTIVATION_FORWARD, build_activation_forward, {33, 65, 2, 0}},
    {COP_OP_ACTIVATION_FORWARD, build_activation_forward, {33, 65, 3, 1}},
    {COP_OP_ACTIVATION_FORWARD, build_activation_forward, {0, 65, 3, 1}},
    {COP_OP_ACTIVATION_FORWARD, build_activation_forward, {3, 4096, 0, 1}},
    {COP_OP_ACTIVATION_FORWARD, build_activation_forward, {3, 4096, 1, 0}},
    {COP_OP_ACTIVATION_FORWARD, build_activation_forward, {2, 5000, 2, 1}},
    {COP_OP_ACTIVATION_FORWARD, build_activation_forward, {2, 5004, 0, 0}},
    {COP_OP_ACTIVATION_BACKWARD, build_activation_backward, {1, 1, 0, 1, 0}},
    {COP_OP_ACTIVATION_BACKWARD, build_activation_backward, {33, 129, 0, 1, 1}},
    {COP_OP_ACTIVATION_BACKWARD, build_activation_backward, {7, 1500, 1, 0, 1}},
    {COP_OP_ACTIVATION_BACKWARD, build_activation_backward, {33, 65, 1, 1, 0}},
    {COP_OP_ACTIVATION_BACKWARD, build_activation_backward, {33, 65, 2, 0, 0}},
    {COP_OP_ACTIVATION_BACKWARD, build_activation_backward, {33, 65, 3, 1, 0}},
    {COP_OP_ACTIVATION_BACKWARD, build_activation_backward, {0, 65, 3, 1, 0}},
    {COP_OP_ACTIVATION_BACKWARD, build_activation_backward, {3, 4096, 0, 1, 2}},
    {COP_OP_ACTIVATION_BACKWARD, build_activation_backward, {3, 4096, 1, 0, 2}},
    {COP_OP_ACTIVATION_BACKWARD, build_activation_backward, {2, 5000, 2, 1, 1}},
    {COP_OP_ACTIVATION_BACKWARD, build_activation_backward, {2, 5004, 3, 0, 0}},
    {COP_OP_EMBEDDING_FORWARD, build_embedding_forward, {33, 7, 129}},
    {COP_OP_EMBEDDING_FORWARD, build_embedding_forward, {1, 1, 1}},
    {COP_OP_EMBEDDING_FORWARD, build_embedding_forward, {0, 7, 64}},
    {COP_OP_EMBEDDING_FORWARD, build_embedding_forward, {9, 30, 4096}},
    {COP_OP_EMBEDDING_BACKWARD, build_embedding_backward, {129, 7, 33}},
    {COP_OP_EMBEDDING_BACKWARD, build_embedding_backward, {33, 257, 300}},
    {COP_OP_EMBEDDING_BACKWARD, build_embedding_backward, {0, 7, 33, 0, 0}},
    {COP_OP_EMBEDDING_BACKWARD, build_embedding_backward, {1, 1, 8, 0, 0}},
    {COP_OP_EMBEDDING_BACKWARD, build_embedding_backward, {700, 5, 24, 1, 0}},
    {COP_OP_EMBEDDING_BACKWARD, build_embedding_backward, {700, 5, 24, 1, 1}},
    {COP_OP_EMBEDDING_BACKWARD, build_embedding_backward, {300, 7, 40, 0, 1}},
    {COP_OP_EMBEDDING_BACKWARD, build_embedding_backward, {129, 270000, 1, 0, 0}},
    {COP_OP_EMBEDDING_BACKWARD, build_embedding_backward, {70000, 300, 2, 0, 0}},
    {COP_OP_EMBEDDING_BACKWARD, build_embedding_backward, {40, 9, 4096, 0, 1}},
    {COP_OP_EMBEDDING_BACKWARD, build_embedding_backward, {33, 9, 5000, 0, 0}},
    {COP_OP_BIAS_ADD, build_bias_add, {33, 129}},
    {COP_OP_BIAS_ADD, build_bias_add, {7, 1500}},
    {COP_OP_BIAS_ADD, build_bias_add, {0, 8}},
    {COP_OP_BIAS_ADD, build_bias_add, {3, 4096}},
    {COP_OP_COLUMN_SUM, build_column_sum, {1, 1}},
    {COP_OP_COLUMN_SUM, build_column_sum, {1100, 33}},
    {COP_OP_COLUMN_SUM, build_column_sum, {33, 1500}},
    {COP_OP_COLUMN_SUM, build_column_sum, {0, 8}},
    {COP_OP_COLUMN_SUM, build_column_sum, {300, 64}},
    {COP_OP_COLUMN_SUM, build_column_sum, {5, 12288}},
    {COP_OP_ADD, build_add, {33, 129, 2, 2}},
    {COP_OP_ADD, build_add, {7, 1500, 1, 0}},
    {COP_OP_ADD, build_add, {0, 8, 2, 2}},
    {COP_OP_ADD, build_add, {3, 4096, 1, 3}},
    {COP_OP_CONVERT, build_convert, {33, 129}},
    {COP_OP_CONVERT, build_convert, {1, 5000}},
    {COP_OP_CONVERT, build_convert, {0, 8}},
    {COP_OP_CONVERT, build_convert, {3, 4096}},
    {COP_OP_GATHER, build_gather, {33, 129, 7, 65, 3}},
    {COP_OP_GATHER, build_gather, {33, 129, 7, 129, 1}},
    {COP_OP_GATHER, build_gather, {33, 129, 33, 2000, 2}},
    {COP_OP_GATHER, build_gather, {33, 129, 30, 100, 0}},
    {COP_OP_GATHER, build_gather, {33, 129, 0, 65, 3}},
    {COP_OP_GATHER, build_gather, {50, 64, 20, 64, 1}},
    {COP_OP_GATHER, build_gather, {40, 64, 40, 64, 0}},
    {COP_OP_GATHER, build_gather, {20, 512, 20, 264, 0}},
    {COP_OP_GATHER, build_gather, {5, 6000, 4, 4100, 2}},
    {COP_OP_HEAD_LOSS, build_head_loss, {1, 1, 1, 1, 10, 2, 2, 7}},
    {COP_OP_HEAD_LOSS, build_head_loss, {33, 129, 17, 33, 10, 2, 2, 7}},
    {COP_OP_HEAD_LOSS, build_head_loss, {7, 1100, 33, 7, 20, 1, 2, 7}},
    {COP_OP_HEAD_LOSS, build_head_loss, {33, 65, 16, 0, 10, 2, 0, 7}},
    {COP_OP_HEAD_LOSS, build_head_loss, {33, 65, 16, 16, 15, 0, 2, 2}},
    {COP_OP_HEAD_LOSS, build_head_loss, {33, 65, 16, 16, 10, 2, 1, 1}},
    {COP_OP_HEAD_LOSS, build_head_loss, {0, 65, 16, 16, 10, 2, 1, 7}},
    {COP_OP_HEAD_LOSS, build_head_loss, {33, 129, 17, 5, 10, 2, 2, 15}},
    {COP_OP_HEAD_LOSS, build_head_loss, {7, 1100, 33, 50, 10, 0, 2, 14}},
    {COP_OP_HEAD_LOSS, build_head_loss, {33, 65, 16, 1, 10, 2, 0, 11}},
    {COP_OP_HEAD_LOSS, build_head_loss, {5, 40, 8, 3, 10, 0, 1, 8}},
    {COP_OP_HEAD_LOSS, build_head_loss, {33, 129, 17, 33, 10, 1, 2, 23}},
    {COP_OP_HEAD_LOSS, build_head_loss, {3, 9000, 2, 3, 20, 1, 2, 3}},
    {COP_OP_STATE_LOSS, build_state_loss, {33, 129, 0, 1}},
    {COP_OP_STATE_LOSS, build_state_loss, {7, 1500, 1, 1}},
    {COP_OP_STATE_LOSS, build_state_loss, {1, 1, 0, 0}},
    {COP_OP_STATE_LOSS, build_state_loss, {0, 8, 1, 1}},
    {COP_OP_STATE_LOSS, build_state_loss, {3, 4096, 1, 1}},
    {COP_OP_STATE_LOSS, build_state_loss, {3, 5000, 0, 1}},
    {COP_OP_SUM_SQUARES, build_sum_squares, {33, 1500}},
    {COP_OP_SUM_SQUARES, build_sum_squares, {1, 100000}},
    {COP_OP_SUM_SQUARES, build_sum_squares, {1, 1}},
    {COP_OP_SUM_SQUARES, build_sum_squares, {0, 8}},
    {COP_OP_SUM_SQUARES, build_sum_squares, {9, 4096}},
    {COP_OP_ADAMW, build_adamw, {33, 129, 1, 1, 1, 1}},
    {COP_OP_ADAMW, build_adamw, {1, 20000, 1000, 0, 1, 0}},
    {COP_OP_ADAMW, build_adamw, {7, 7, 3, 0, 0, 0}},
    {COP_OP_ADAMW, build_adamw, {0, 8, 1, 0, 1, 0, 0}},
    {COP_OP_ADAMW, build_adamw, {9, 64, 3, 1, 1, 1, 8}},
    {COP_OP_ADAMW, build_adamw, {9, 129, 3, 1, 0, 1, 1 | 16}},
    {COP_OP_ADAMW, build_adamw, {9, 64, 3, 0, 0, 1, 1 | 2 | 4 | 8 | 16}},
    {COP_OP_ADAMW, build_adamw, {33, 65, 3, 1, 1, 0, 2 | 16}},
    {COP_OP_ADAMW, build_adamw, {9, 64, 2, 0, 1, 0, 2 | 4 | 16}},
    {COP_OP_ADAMW, build_adamw, {9, 64, 2, 1, 1, 1, 4}},
    {COP_OP_ADAMW, build_adamw, {3, 5000, 1, 0, 0, 0, 1 | 2 | 8}},
    {COP_OP_ADAMW, build_adamw, {9, 64, 7, 0, 0, 0, 1 | 4 | 16}},
    {COP_OP_SEQUENCE_MOMENTS, build_sequence_moments, {2, 33, 129, 1}},
    {COP_OP_SEQUENCE_MOMENTS, build_sequence_moments, {3, 7, 6, 65}},
    {COP_OP_SEQUENCE_MOMENTS, build_sequence_moments, {1, 1, 1, 1}},
    {COP_OP_SEQUENCE_MOMENTS, build_sequence_moments, {0, 7, 3, 1}},
    {COP_OP_SEQUENCE_MOMENTS, build_sequence_moments, {2, 70, 72, 1}},
    {COP_OP_SEQUENCE_MOMENTS, build_sequence_moments, {2, 40, 3, 64}},
    {COP_OP_SEQUENCE_MOMENTS, build_sequence_moments, {1, 33, 5, 8}},
    {COP_OP_SEQUENCE_MOMENTS, build_sequence_moments, {2, 3, 4096, 1}},
    {COP_OP_ROW_COSINE, build_row_cosine, {33, 129}},
    {COP_OP_ROW_COSINE, build_row_cosine, {1100, 7}},
    {COP_OP_SAMPLE_TARGETS, build_sample_targets, {1, 1, 1, 1}},
    {COP_OP_SAMPLE_TARGETS, build_sample_targets, {33, 129, 17, 50}},
    {COP_OP_SAMPLE_TARGETS, build_sample_targets, {3, 9000, 5, 1024}},
    {COP_OP_SAMPLE_TARGETS, build_sample_targets, {0, 65, 16, 50}},

    {COP_OP_ROW_COSINE, build_row_cosine, {0, 8}},
    {COP_OP_ROW_COSINE, build_row_cosine, {9, 4096}},
};

const int op_cases_count = (int)(sizeof op_cases / sizeof op_cases[0]);
