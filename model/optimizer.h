// AdamW over the trained parameters of a network, with clipping by the global norm; state can be
// saved and restored bit for bit.

#ifndef COP_MODEL_OPTIMIZER_H
#define COP_MODEL_OPTIMIZER_H

#include "model/network.h"

typedef struct cop_optimizer cop_optimizer;

typedef struct cop_optimizer_options {
    double beta1;
    double beta2;
    double eps;
    double weight_decay; // applied to matrices only, not to norms and biases
    double clip_norm;    // 0: no clipping
    cop_dtype moments;   // f32 (in an f64 network f64), or bf16 with stochastic rounding
    uint64_t seed;       // of stochastic rounding: of bf16 moments, and of weights without masters
} cop_optimizer_options;

#define COP_OPTIMIZER_OPTIONS_DEFAULT                                                   \
    {                                                                                   \
        .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1, .clip_norm = 1.0 \
    }

// Forms of state by name: what a parameter of a matrix takes in bf16, with its weight.
typedef enum cop_state_form {
    COP_STATE_FULL = 0, // 18 bytes: f32 masters, gradients and moments
    COP_STATE_COMPACT,  // 14 bytes: bf16 moments
    COP_STATE_LEAN      // 8 bytes: bf16 gradients and moments, no masters; precision bf16 only
} cop_state_form;

const char *cop_state_form_name(cop_state_form form); // "full", "compact", "lean"
// Sets gradients, masters and moments; everything else stays.
void cop_state_form_apply(cop_state_form form, cop_network_options *network,
                          cop_optimizer_options *optimizer);

// `backend` decides whether the schedule has a place in device memory; see below.
COP_MUST_CHECK cop_status cop_optimizer_plan(cop_plan *plan, const char *label,
                                             const cop_arch *arch,
                                             const cop_network_options *network_options,
                                             const cop_optimizer_options *options,
                                             cop_backend *backend, cop_error *err);

// The network is borrowed and must be a training one.
COP_MUST_CHECK cop_status cop_optimizer_create(cop_optimizer **out, cop_network *network,
                                               const cop_optimizer_options *options,
                                               cop_error *err);
void cop_optimizer_destroy(cop_optimizer *optimizer);

// One step with the accumulated gradients, which are zeroed. Does not wait.
COP_MUST_CHECK cop_status cop_optimizer_step(cop_optimizer *optimizer, double learning_rate,
                                             cop_error *err);

// The two halves of a step. begin() counts it and uploads what differs from other steps; apply() only
// enqueues operators, and where the backend has graphs the same ones with the same arguments in every
// step: it can be recorded, and a replay after begin() is the step, bit for bit.
COP_MUST_CHECK cop_status cop_optimizer_begin(cop_optimizer *optimizer, double learning_rate,
                                              cop_error *err);
COP_MUST_CHECK cop_status cop_optimizer_apply(cop_optimizer *optimizer, cop_error *err);

int64_t cop_optimizer_steps(const cop_optimizer *optimizer); // done so far
// Global gradient norm of the last step (waits for the device).
COP_MUST_CHECK cop_status cop_optimizer_norm(cop_optimizer *optimizer, double *out, cop_error *err);
// Device: the square of that norm.
const double *cop_optimizer_norm_squared(const cop_optimizer *optimizer);

// Moments and step count to / from a safetensors file, together with the masters (or what there is
// in place of them): reading it back continues exactly, whatever dtype the model directory beside it
// has. A state of another form is refused by name, but for one: where it was saved with a frozen
// vocabulary and this run trains it, the moments of embedding and LM head begin at zero.
COP_MUST_CHECK cop_status cop_optimizer_save(cop_optimizer *optimizer, const char *path,
                                             cop_error *err);
COP_MUST_CHECK cop_status cop_optimizer_load(cop_optimizer *optimizer, const char *path,
                                             cop_error *err);

#endif
