// A rig holds the operands of one operator call in one block of memory, so that the call can be
// repeated from the same start on another backend and its outputs compared.

#ifndef COP_TESTS_KERNELS_RIG_H
#define COP_TESTS_KERNELS_RIG_H

#include "kernels/ops.h"
#include "tests/support.h"

enum { RIG_BYTES = 24 << 20, RIG_OUTPUTS_MAX = 8, RIG_MATRICES_MAX = 24 };

// What is random about a matrix.
typedef enum rig_fill {
    RIG_NORMAL,  // roughly normal, standard deviation 1
    RIG_SMALL,   // standard deviation 0.1
    RIG_POSITIVE // in [0.5, 1.5)
} rig_fill;

typedef struct rig_output {
    const char *name;
    cop_matrix matrix;
    bool is_free; // written, and not compared
} rig_output;

// The largest operand struct.
typedef union rig_args {
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
} rig_args;

typedef struct rig {
    cop_op op;
    rig_args args;
    char *memory;   // owned, RIG_BYTES
    char *start;    // owned: memory before the first run; by rig_expect()
    char *expected; // owned: memory after the reference ran
    size_t used;
    uint64_t state; // of the random numbers
    unsigned types; // element types of activations: bit i set, the i-th one is bf16
    int activations;
    cop_dtype wide;  // type of everything else and of activations that are not bf16: f32 or f64
    int64_t padding; // stride - cols of every matrix
    int64_t shift;   // elements before the first of every matrix: 0 aligns it to 64 bytes
    rig_output outputs[RIG_OUTPUTS_MAX];
    int output_count;
    double tolerance; // relative to the largest magnitude of an output
} rig;

void rig_init(rig *self, cop_op op, cop_dtype wide, unsigned types, int64_t padding);
void rig_release(rig *self);

// Operands. `rig_activation` has the next type of `types`, `rig_parameter` the wide type.
cop_matrix rig_matrix(rig *self, cop_dtype dtype, int64_t rows, int64_t cols, rig_fill fill);
cop_matrix rig_activation(rig *self, int64_t rows, int64_t cols, rig_fill fill);
cop_matrix rig_parameter(rig *self, int64_t rows, int64_t cols, rig_fill fill);
int32_t *rig_ids(rig *self, int64_t count, int64_t least, int64_t limit);
double *rig_doubles(rig *self, int64_t count);
double rig_uniform(rig *self); // [0, 1)

// Marks a matrix, or `count` doubles, as written by the operator.
void rig_output_matrix(rig *self, const char *name, cop_matrix matrix);
void rig_output_doubles(rig *self, const char *name, double *values, int64_t count);
// The same, for what has a comparison of its own.
void rig_output_free(rig *self, const char *name, cop_matrix matrix);

// Runs the operator with scratch of exactly the size asked for, and checks that nothing behind it
// was written. Fails the test when the operator does.
void rig_run(rig *self, cop_backend *backend);
// The same, returning the status; `err` may be NULL.
cop_status rig_try(rig *self, cop_backend *backend, cop_error *err);

// Runs the operator on the backend that is right by definition and keeps its outputs; the operands
// are restored.
void rig_expect(rig *self, cop_backend *reference);
// Runs it on another one, compares, and restores the operands. Fails the test when an output is off
// by more than the tolerance, or anything else was written. `what` names the case in messages.
void rig_check(rig *self, cop_backend *other, const char *what);

double rig_get(cop_matrix m, int64_t r, int64_t c);
void rig_put(cop_matrix m, int64_t r, int64_t c, double value);

// Threads that tests try: 2, or 1 under ThreadSanitizer, which does not see the barriers of gcc's
// OpenMP and takes every parallel region for a race.
int rig_threads(void);

cop_backend *rig_backend(const char *name); // fails the test when it cannot be created

#endif
