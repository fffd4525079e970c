// The operator table: one contract per operator, one argument struct each, filled by every backend.
//
// Conventions
// - A cop_matrix is a 2-D row-major view: element (r, c) at data[r * stride + c], stride >= cols,
//   in elements. Vectors have rows = 1. A matrix with data = NULL is absent; the contract says
//   where that is allowed. n is B * T tokens, row b * T + t.
// - Element types: the "reference" backend takes f64, f32 and bf16 anywhere a matrix is taken and
//   computes in f64. "cpu" takes f32 and bf16 for activations (matrices of one call may differ),
//   f32 for statistics, gains and biases, f32 or bf16 for gradients and moments of matrices.
//   "cuda" takes the same. Accumulation is f32 or wider.
// - Inputs are not written. Outputs may alias inputs only where the contract says so.
// - Every call checks shapes and element types: COP_ERR_SHAPE or COP_ERR_UNSUPPORTED names the
//   operator and the sizes. Zero rows are legal and do nothing. COP_ERR_DEVICE: the device failed.
// - scratch: `scratch_bytes(op, args)` says how much an operator needs for these arguments (their
//   data pointers are not looked at); the caller passes at least that in `scratch`, aligned to 64,
//   and may reuse it as soon as the call returns (it is ordered by the stream).
// - Determinism: a call gives the same bits for the same arguments on one machine with one number
//   of threads. No operator reduces in an order that depends on timing.
// - Tolerance: each fast implementation agrees with "reference" within 2e-5 relative to the largest
//   magnitude of the output for f32, 2e-2 for bf16 operands (8 bits of mantissa; the bound is on
//   rounding of inputs and outputs, not on accumulation), unless the operator says otherwise.

#ifndef COP_KERNELS_OPS_H
#define COP_KERNELS_OPS_H

#include "kernels/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cop_matrix {
    void *data; // device memory; NULL: absent
    cop_dtype dtype;
    int64_t rows;
    int64_t cols;
    int64_t stride; // elements from one row to the next, >= cols
} cop_matrix;

// A dense matrix (stride = cols), and the part [row, row + rows) x [col, col + cols) of one.
cop_matrix cop_matrix_dense(void *data, cop_dtype dtype, int64_t rows, int64_t cols);
cop_matrix cop_matrix_part(cop_matrix whole, int64_t row, int64_t rows, int64_t col, int64_t cols);

typedef enum cop_op {
    COP_OP_MATMUL = 0,
    COP_OP_NORM_FORWARD,
    COP_OP_NORM_BACKWARD,
    COP_OP_ROPE,
    COP_OP_ATTENTION_FORWARD,
    COP_OP_ATTENTION_BACKWARD,
    COP_OP_ACTIVATION_FORWARD,
    COP_OP_ACTIVATION_BACKWARD,
    COP_OP_EMBEDDING_FORWARD,
    COP_OP_EMBEDDING_BACKWARD,
    COP_OP_BIAS_ADD,
    COP_OP_COLUMN_SUM,
    COP_OP_ADD,
    COP_OP_CONVERT,
    COP_OP_GATHER,
    COP_OP_HEAD_LOSS,
    COP_OP_STATE_LOSS,
    COP_OP_SUM_SQUARES,
    COP_OP_ADAMW,
    COP_OP_SEQUENCE_MOMENTS,
    COP_OP_ROW_COSINE,
    COP_OP_SAMPLE_TARGETS,
    COP_OP_COUNT
} cop_op;

// c = alpha * op(a) op(b) + beta * c, op(x) = x or its transpose. The three layouts of a training
// step: forward y = x Wᵀ (b transposed), input gradient dx = dy W (none), weight gradient
// dW = dyᵀ x (a transposed). a and b have one element type; c is f32 or that type. With beta = 0,
// c is not read. c must not overlap a or b. op(a) is [M, K], op(b) [K, N], c [M, N].
typedef struct cop_matmul_args {
    cop_matrix a;
    cop_matrix b;
    cop_matrix c;
    bool transpose_a;
    bool transpose_b;
    float alpha;
    float beta;
    void *scratch;
} cop_matmul_args;

typedef enum cop_norm_kind {
    COP_NORM_RMS = 0, // y = x / sqrt(mean(x²) + eps) * gain
    COP_NORM_LAYER,   // y = (x - mean) / sqrt(var + eps) * gain + bias
    COP_NORM_LAYER_1P // as LAYER with gain + 1: Nemotron stores gain - 1
} cop_norm_kind;

// sum = x + residual (when residual is present, else sum is x and absent here); y = norm(sum).
// `sum` may be x or residual. `stats` [n, 2] f32 receives (mean, 1 / sqrt(var + eps)); mean is 0
// for RMS. y may be the same memory as x only when no residual is given and no backward follows.
typedef struct cop_norm_forward_args {
    cop_norm_kind kind;
    float eps;
    cop_matrix x;        // [n, C]
    cop_matrix residual; // [n, C] or absent
    cop_matrix sum;      // [n, C]; present exactly when residual is
    cop_matrix gain;     // [1, C]
    cop_matrix bias;     // [1, C]; absent for RMS, optional else
    cop_matrix y;        // [n, C]
    cop_matrix stats;    // [n, 2] or absent
} cop_norm_forward_args;

// dx (+)= gradient through the norm; d_gain, d_bias += sums over rows (f32, or f64 on reference).
typedef struct cop_norm_backward_args {
    cop_norm_kind kind;
    cop_matrix d_y;    // [n, C]
    cop_matrix x;      // [n, C], what was normalized
    cop_matrix gain;   // [1, C]
    cop_matrix stats;  // [n, 2] of the forward pass
    cop_matrix d_x;    // [n, C]; may be d_y when accumulate is false
    cop_matrix d_gain; // [1, C], accumulated; absent: not wanted
    cop_matrix d_bias; // [1, C], accumulated; absent: not wanted
    bool accumulate;   // d_x += instead of d_x =
    void *scratch;
} cop_norm_backward_args;

// Rotates the first 2 * R dimensions of every head in place, "rotate-half" pairing (i, i + R):
//     x_i'     = x_i cos - x_{i+R} sin
//     x_{i+R}' = x_{i+R} cos + x_i sin
// with row t of the tables, t = row index modulo T. `inverse` turns back: the backward pass.
// Partial rotary: 2 * R < D leaves the rest. RoFormer (Su et al., 2021), in the variant of
// GPT-NeoX and Hugging Face. Scaling of frequencies is the business of who fills the tables.
typedef struct cop_rope_args {
    cop_matrix x; // [n, heads * D]
    int64_t heads;
    int64_t head_dim; // D
    int64_t sequence; // T; n is a multiple of it
    cop_matrix cos;   // [>= T, R] f32 (reference: also f64)
    cop_matrix sin;   // [>= T, R]
    bool inverse;
} cop_rope_args;

// Causal grouped-query attention: query head h reads key/value head h / (H / K).
//     o = softmax(scale * q kᵀ, masked to keys <= query) v     per sequence and head
// Never forms [T, T] for more than a tile of heads at a time. `lse` [B * H, T] f32 receives
// log sum exp of the scaled scores. H is a multiple of K. Any T, D >= 1.
typedef struct cop_attention_forward_args {
    int64_t batch;    // B
    int64_t sequence; // T
    int64_t heads;    // H
    int64_t kv_heads; // K
    int64_t head_dim; // D
    float scale;
    cop_matrix q;   // [B*T, H*D]
    cop_matrix k;   // [B*T, K*D]
    cop_matrix v;   // [B*T, K*D]
    cop_matrix o;   // [B*T, H*D]
    cop_matrix lse; // [B*H, T] or absent
    void *scratch;
} cop_attention_forward_args;

// Gradients of the above; d_q, d_k, d_v are written, not accumulated.
// All matrices are distinct memory.
typedef struct cop_attention_backward_args {
    int64_t batch;
    int64_t sequence;
    int64_t heads;
    int64_t kv_heads;
    int64_t head_dim;
    float scale;
    cop_matrix q;
    cop_matrix k;
    cop_matrix v;
    cop_matrix o;
    cop_matrix lse;
    cop_matrix d_o;
    cop_matrix d_q;
    cop_matrix d_k;
    cop_matrix d_v;
    void *scratch;
} cop_attention_backward_args;

typedef enum cop_activation {
    COP_ACTIVATION_SILU = 0,
    COP_ACTIVATION_RELU2,    // max(x, 0)²
    COP_ACTIVATION_GELU,     // x Φ(x), with erf
    COP_ACTIVATION_GELU_TANH // tanh approximation
} cop_activation;

// Gated (gate present): y = act(gate) * up; SwiGLU is SILU with a gate. Plain: y = act(up).
// y may be up.
typedef struct cop_activation_forward_args {
    cop_activation kind;
    cop_matrix gate; // [n, F] or absent
    cop_matrix up;   // [n, F]
    cop_matrix y;    // [n, F]
} cop_activation_forward_args;

// d_gate and d_up may be gate and up (in place), d_up may be d_y.
typedef struct cop_activation_backward_args {
    cop_activation kind;
    cop_matrix gate;
    cop_matrix up;
    cop_matrix d_y;
    cop_matrix d_gate; // absent when gate is
    cop_matrix d_up;
} cop_activation_backward_args;

// y[r] = table[ids[r]]. An id outside the table is COP_ERR_SHAPE where the device can tell at
// once (CPU), and undefined elsewhere: callers check ids when they read them.
typedef struct cop_embedding_forward_args {
    const int32_t *ids; // [n] device
    cop_matrix table;   // [V, C]
    cop_matrix y;       // [n, C]
} cop_embedding_forward_args;

// d_table[ids[r]] += d_y[r], in row order: deterministic. A bf16 table takes the sum of an id's rows,
// accumulated in f32 or wider, in one addition.
typedef struct cop_embedding_backward_args {
    const int32_t *ids; // [n] device
    cop_matrix d_y;     // [n, C]
    cop_matrix d_table; // [V, C] f32, or bf16
    void *scratch;
} cop_embedding_backward_args;

// x[r] += bias, in place.
typedef struct cop_bias_add_args {
    cop_matrix x;    // [n, C]
    cop_matrix bias; // [1, C]
} cop_bias_add_args;

// sum += column sums of x: the gradient of a bias.
typedef struct cop_column_sum_args {
    cop_matrix x;   // [n, C]
    cop_matrix sum; // [1, C] f32
    void *scratch;
} cop_column_sum_args;

// y = alpha * x + beta * y. With beta = 0, y is not read. y may be x.
typedef struct cop_add_args {
    cop_matrix x;
    cop_matrix y;
    float alpha;
    float beta;
} cop_add_args;

// y = x in y's element type.
typedef struct cop_convert_args {
    cop_matrix x;
    cop_matrix y;
} cop_convert_args;

// Slicing: y[r, c] = x[row_index[r], col_index[c]]; a NULL index is the identity. y is [rows, cols]
// and has x's element type or another. Indices must lie inside x (checked on the CPU).
typedef struct cop_gather_args {
    cop_matrix x;
    cop_matrix y;
    const int32_t *row_index; // [y.rows] device, or NULL
    const int32_t *col_index; // [y.cols] device, or NULL
} cop_gather_args;

// LM head and loss over the full vocabulary, chunk by chunk over tokens: logits are never all in
// memory. Student logits z = hidden headᵀ, teacher logits u = teacher_hidden teacher_headᵀ.
//     CE_r = logsumexp(z) - z[target]
//     KL_r = Σ_v p_v (log p_v - log s_v),  p = softmax(u / τ), s = softmax(z / τ)     forward KL
//     loss_r = ce_weight * CE_r + kl_weight * τ² * KL_r
// (Hinton et al., 2015, scale τ² so that gradients keep their size; τ = 1 is the method's choice.)
// Exact: no top-K, no sampling. A target < 0 takes no part in CE, and its row not in `agree` only
// if there is no teacher. Outputs are f32 [1, n], each optional: cross_entropy, kl (never below 0
// beyond rounding: clamped at 0), agree (1 when argmax of student and teacher, or of student and
// target without a teacher, coincide; ties go to the lowest index), teacher_cross_entropy.
// Instead of teacher_hidden there may be a sample of the teacher's distribution, as made by
// COP_OP_SAMPLE_TARGETS: weights w_k of ids v_k with mean p. Then, for τ = 1 only,
//     KL_r = -entropy_r - Σ_k w_k log s_{v_k}
// whose mean over samples is the KL above (so a single row may be below 0: it is not clamped), and
// whose gradient s - Σ_k w_k [v = v_k] has the exact gradient as its mean. `agree` then compares
// with the target.
// With d_hidden present: d_hidden = grad_scale * ∂(Σ loss)/∂hidden, and
// d_head += grad_scale * ∂(Σ loss)/∂head when present.
typedef struct cop_head_loss_args {
    cop_matrix hidden;         // [n, C]
    cop_matrix head;           // [V, C]
    const int32_t *targets;    // [n] device, or NULL: then ce_weight must be 0
    cop_matrix teacher_hidden; // [n, Ct] or absent: then kl_weight must be 0
    cop_matrix teacher_head;   // [V, Ct]
    const int32_t *sample_ids; // [n, S] device, -1: unused; NULL: no sample
    cop_matrix sample_weights; // [n, S] f32, dense; present exactly when sample_ids is
    cop_matrix sample_entropy; // [1, n] f32, of p; absent: taken as 0, so `kl` is a cross-entropy
    float ce_weight;
    float kl_weight;
    float temperature; // τ > 0
    float grad_scale;
    cop_matrix cross_entropy;
    cop_matrix kl;
    cop_matrix agree;
    cop_matrix teacher_cross_entropy;
    cop_matrix d_hidden; // [n, C] or absent: no gradients
    cop_matrix d_head;   // [V, C] f32 or bf16, accumulated; or absent
    void *scratch;
} cop_head_loss_args;

typedef enum cop_state_loss_kind {
    COP_STATE_LOSS_MSE = 0, // mean over columns of (s - t)²
    COP_STATE_LOSS_COSINE   // 1 - cos(s, t)
} cop_state_loss_kind;

// Per-row distance of student and teacher states, and its gradient:
// loss[r] f32; d_student (when present) = grad_scale * ∂(Σ loss)/∂student.
typedef struct cop_state_loss_args {
    cop_state_loss_kind kind;
    cop_matrix student; // [n, C]
    cop_matrix teacher; // [n, C]
    cop_matrix loss;    // [1, n]
    cop_matrix d_student;
    float grad_scale;
} cop_state_loss_args;

// *sum += Σ x², in f64.
typedef struct cop_sum_squares_args {
    cop_matrix x;
    double *sum; // device
    void *scratch;
} cop_sum_squares_args;

// What changes from step to step, in device memory: work that was recorded can be run again.
typedef struct cop_adamw_schedule {
    float learning_rate;
    float correction1; // 1 - b1^step
    float correction2; // 1 - b2^step
    uint32_t step;     // for random bits
} cop_adamw_schedule;

// AdamW (Loshchilov & Hutter, 2019), decoupled weight decay scaled by the learning rate:
//     g' = g * min(1, max_norm / sqrt(*norm_squared))      clipping by the global norm
//     m = b1 m + (1 - b1) g';  v = b2 v + (1 - b2) g'²
//     p -= lr * (m / (1 - b1^step) / (sqrt(v / (1 - b2^step)) + eps) + decay * p)
// Then working = p in its element type (when present), and g = 0 when zero_gradient is set.
// Without `parameter` the bf16 `working` is the only copy: p is read from it, and rounded to it
// stochastically. bf16 moments are rounded so too. The random bits of element i (row-major,
// without gaps) are r = cop_random_bits(cop_random_key(seed, step), first_index + i) of
// kernels/random.h: bits 0..15 for p, 16..31 for m, 32..47 for v.
typedef struct cop_adamw_args {
    cop_matrix parameter; // [rows, cols] master weights, f32; absent: `working` is bf16
    cop_matrix working;   // copy used by the forward pass, or absent
    cop_matrix gradient;  // f32 or bf16
    cop_matrix m;         // f32 or bf16
    cop_matrix v;         // as m
    float learning_rate;
    float beta1;
    float beta2;
    float eps;
    float weight_decay;
    int64_t step;                       // >= 1
    const cop_adamw_schedule *schedule; // device; NULL: learning_rate and step above are used
    const double *norm_squared;         // device; NULL: no clipping
    float max_norm;
    bool zero_gradient;
    uint64_t seed;       // of stochastic rounding
    int64_t first_index; // of element 0: its place among all parameters
} cop_adamw_args;

// Sums over the positions of each sequence, per unit, for the importance criteria. A unit is
// `group` adjacent columns; its activation is s = x for group = 1 and the L2 norm of the group
// else (a head: group = D; a KV group's heads: group = H / K * D).
//     out[b, 0, u] += Σ_t |s|,  out[b, 1, u] += Σ_t s²,  out[b, 2, u] += Σ_t s
typedef struct cop_sequence_moments_args {
    cop_matrix x;     // [B*T, units * group]
    int64_t sequence; // T
    int64_t group;
    double *out; // [B, 3, units] device, f64, accumulated
} cop_sequence_moments_args;

// *sum += Σ_r cos(x_r, y_r), in f64: block influence. A zero row counts as cosine 1 when both are
// zero, else 0.
typedef struct cop_row_cosine_args {
    cop_matrix x; // [n, C]
    cop_matrix y; // [n, C]
    double *sum;  // device
    void *scratch;
} cop_row_cosine_args;

// Random sampling of a teacher's distribution: per row `draws` ids are drawn from p = softmax(u),
// u = hidden headᵀ, with replacement, and each distinct one gets the weight count / draws, so that
// the mean of the weights is p (Anshumann et al., "Sparse Logit Sampling: Accelerating Knowledge
// Distillation in LLMs", 2025: random sampling KD with proposal p). Unused places hold id -1 and
// weight 0, behind the used ones, which are in order of their first draw. Draw k of row r uses
// cop_random_uniform(cop_random_bits(cop_random_key(seed, first_row + r), k)) and the inverse of the
// cumulated p in order of ids, so a backend may differ from another where a draw falls within
// rounding of a boundary. `entropy` is exact: -Σ p log p over the full vocabulary, in nats.
enum { COP_SAMPLE_DRAWS_MAX = 1024 };

typedef struct cop_sample_targets_args {
    cop_matrix hidden; // [n, Ct]
    cop_matrix head;   // [V, Ct]
    int64_t draws;     // S, 1..1024
    uint64_t seed;
    int64_t first_row;  // >= 0
    int32_t *ids;       // [n, S] device
    cop_matrix weights; // [n, S] f32, dense
    cop_matrix entropy; // [1, n] f32
    void *scratch;
} cop_sample_targets_args;

typedef struct cop_ops {
    // Whether the operator takes these element types and sizes. `args` points to its struct.
    bool (*supports)(cop_backend *backend, cop_op op, const void *args);
    // Bytes of scratch for these arguments; 0 for operators without scratch.
    uint64_t (*scratch_bytes)(cop_backend *backend, cop_op op, const void *args);

    cop_status (*matmul)(cop_backend *, cop_stream *, const cop_matmul_args *, cop_error *);
    cop_status (*norm_forward)(cop_backend *, cop_stream *, const cop_norm_forward_args *,
                               cop_error *);
    cop_status (*norm_backward)(cop_backend *, cop_stream *, const cop_norm_backward_args *,
                                cop_error *);
    cop_status (*rope)(cop_backend *, cop_stream *, const cop_rope_args *, cop_error *);
    cop_status (*attention_forward)(cop_backend *, cop_stream *, const cop_attention_forward_args *,
                                    cop_error *);
    cop_status (*attention_backward)(cop_backend *, cop_stream *,
                                     const cop_attention_backward_args *, cop_error *);
    cop_status (*activation_forward)(cop_backend *, cop_stream *,
                                     const cop_activation_forward_args *, cop_error *);
    cop_status (*activation_backward)(cop_backend *, cop_stream *,
                                      const cop_activation_backward_args *, cop_error *);
    cop_status (*embedding_forward)(cop_backend *, cop_stream *, const cop_embedding_forward_args *,
                                    cop_error *);
    cop_status (*embedding_backward)(cop_backend *, cop_stream *,
                                     const cop_embedding_backward_args *, cop_error *);
    cop_status (*bias_add)(cop_backend *, cop_stream *, const cop_bias_add_args *, cop_error *);
    cop_status (*column_sum)(cop_backend *, cop_stream *, const cop_column_sum_args *, cop_error *);
    cop_status (*add)(cop_backend *, cop_stream *, const cop_add_args *, cop_error *);
    cop_status (*convert)(cop_backend *, cop_stream *, const cop_convert_args *, cop_error *);
    cop_status (*gather)(cop_backend *, cop_stream *, const cop_gather_args *, cop_error *);
    cop_status (*head_loss)(cop_backend *, cop_stream *, const cop_head_loss_args *, cop_error *);
    cop_status (*state_loss)(cop_backend *, cop_stream *, const cop_state_loss_args *, cop_error *);
    cop_status (*sum_squares)(cop_backend *, cop_stream *, const cop_sum_squares_args *,
                              cop_error *);
    cop_status (*adamw)(cop_backend *, cop_stream *, const cop_adamw_args *, cop_error *);
    cop_status (*sequence_moments)(cop_backend *, cop_stream *, const cop_sequence_moments_args *,
                                   cop_error *);
    cop_status (*row_cosine)(cop_backend *, cop_stream *, const cop_row_cosine_args *, cop_error *);
    cop_status (*sample_targets)(cop_backend *, cop_stream *, const cop_sample_targets_args *,
                                 cop_error *);
} cop_ops;

#ifdef __cplusplus
}
#endif

#endif
