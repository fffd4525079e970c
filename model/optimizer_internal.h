// What the files of the optimizer share. Nobody else includes this.

#ifndef COP_MODEL_OPTIMIZER_INTERNAL_H
#define COP_MODEL_OPTIMIZER_INTERNAL_H

#include "model/network_internal.h"
#include "model/optimizer.h"

struct cop_optimizer {
    cop_network *network; // borrowed
    cop_optimizer_options options;
    cop_dtype moment;
    int64_t steps;
    double learning_rate; // of the step that has begun
    void *m;              // of the matrices of the network's shard, then of all vectors
    void *v;
    double *norm_squared;         // device
    cop_adamw_schedule *schedule; // device; NULL: the arguments say it
};

// Moments of the trained parameters of a place, of which this process may hold a part.
cop_share cop_optimizer_share(const cop_optimizer *optimizer, void *moments, cop_place place);

#endif
