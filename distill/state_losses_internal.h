// What the files of the state losses share.

#ifndef COP_DISTILL_STATE_LOSSES_INTERNAL_H
#define COP_DISTILL_STATE_LOSSES_INTERNAL_H

#include "distill/state_losses.h"
#include "distill/teacher_internal.h"

typedef struct cop_student_state {
    cop_matrix x;       // [n, C] residual stream of the student
    cop_matrix stats;   // [n, 2] of its norm
    cop_matrix teacher; // [n, Ct] normalized state of the teacher
} cop_student_state;

struct cop_state_losses {
    cop_state_losses_options options;
    cop_backend *backend;  // borrowed
    cop_dtype compute;     // matmul operands
    cop_dtype wide;        // everything else: f32, or f64
    int64_t student_width; // C
    int64_t teacher_width; // Ct
    cop_norm_kind student_norm;
    cop_norm_kind teacher_norm;
    float student_eps;
    float teacher_eps;

    void *memory; // one device block; the views below lie in it
    cop_student_state state[COP_STATE_PAIRS_MAX];
    cop_matrix y;            // [n, C] normalized student state
    cop_matrix p;            // [n, Ct] projected
    cop_matrix d_p;          // [n, Ct]
    cop_matrix d_y;          // [n, C]
    cop_matrix loss;         // [pairs, tokens of a step]
    cop_matrix student_ones; // [1, C]
    cop_matrix teacher_ones; // [1, Ct]
    cop_matrix master;       // [Ct, C]
    cop_matrix working;      // [Ct, C]; the master when the types are equal
    cop_matrix gradient;
    cop_matrix m;
    cop_matrix v;
    double *norm_squared; // device
    void *scratch;
    void *host; // [pairs, tokens]

    int64_t rows; // of the current pass
    int64_t row;
    float grad_scale;
    int64_t steps;
};

// Scratch memory of all operators for the largest pass.
uint64_t cop_state_losses_scratch(const cop_state_losses *losses);

// The working copy of the projection follows the master.
COP_MUST_CHECK cop_status cop_state_losses_publish(cop_state_losses *losses, cop_error *err);

#endif
