// AdamW over all parameters of a network, with clipping by the global norm; state can be saved
// and restored bit for bit.

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
} cop_optimizer_options;

#define COP_OPTIMIZER_OPTIONS_DEFAULT                                                   \
    {                                                                                   \
        .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1, .clip_norm = 1.0 \
    }

void cop_optimizer_plan(cop_plan *plan, const char *label, const cop_arch *arch,
                        const cop_network_options *options);

// The network is borrowed and must be a training one.
COP_MUST_CHECK cop_status cop_optimizer_create(cop_optimizer **out, cop_network *network,
                                               const cop_optimizer_options *options,
                                               cop_error *err);
void cop_optimizer_destroy(cop_optimizer *optimizer);

// One step with the accumulated gradients, which are zeroed. Does not wait.
COP_MUST_CHECK cop_status cop_optimizer_step(cop_optimizer *optimizer, double learning_rate,
                                             cop_error *err);
int64_t cop_optimizer_steps(const cop_optimizer *optimizer); // done so far
// Global gradient norm of the last step (waits for the device).
COP_MUST_CHECK cop_status cop_optimizer_norm(cop_optimizer *optimizer, double *out, cop_error *err);

// Moments and step count to / from a safetensors file, together with the f32 masters: reading it back
// continues exactly, whatever dtype the model directory beside it has.
COP_MUST_CHECK cop_status cop_optimizer_save(cop_optimizer *optimizer, const char *path,
                                             cop_error *err);
COP_MUST_CHECK cop_status cop_optimizer_load(cop_optimizer *optimizer, const char *path,
                                             cop_error *err);

#endif
