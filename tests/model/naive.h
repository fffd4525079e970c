// A second forward pass, written from the formulas alone: f64, one loop per sum, no shared code with
// the library. Only the scale of attention and the norms' eps are rounded to f32, as operators take them. With masks it is what a sliced model must agree with.

#ifndef COP_TESTS_MODEL_NAIVE_H
#define COP_TESTS_MODEL_NAIVE_H

#include "model/arch.h"

typedef struct naive_model {
    cop_arch arch;
    double **tensor; // [cop_arch_tensor_count] values in canonical order; owned
} naive_model;

// What stays; NULL: all of it. A dropped channel is absent from the residual stream: norms take their
// statistics over the kept channels. A dropped head or neuron gives nothing to its projection.
typedef struct naive_masks {
    const bool *layer;          // [layers]
    const bool *channel;        // [C]
    const bool *const *heads;   // [layers][H]
    const bool *const *neurons; // [layers][F]
} naive_masks;

void naive_init(naive_model *model, const cop_arch *arch); // all zero
void naive_release(naive_model *model);

// Final norm output [B * T, C], and logits [B * T, V]; each may be NULL. Dropped channels are 0.
void naive_forward(double *hidden, double *logits, const naive_model *model,
                   const naive_masks *masks, const int32_t *ids, int64_t batch, int64_t sequence);

#endif
