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
    int64_t first;        // moments are kept of elements [first, end) of the parameter vector
    int64_t end;
    void *m;
    void *v;
    double *norm_squared;         // device
    cop_adamw_schedule *schedule; // device; NULL: the arguments say it
};

// Elements [offset, offset + count) of the moments, which must hold them.
cop_matrix cop_optimizer_m(const cop_optimizer *optimizer, cop_place place);
cop_matrix cop_optimizer_v(const cop_optimizer *optimizer, cop_place place);

// Updates the trained parameters [offset, offset + count), whose moments must be held here.
COP_MUST_CHECK cop_status cop_optimizer_update(const cop_optimizer *optimizer, int64_t offset,
                                               int64_t count, cop_error *err);

#endif
