// How much of the teacher's importance a candidate keeps, per axis: the cheapest figure there is of a pruned
// model, known from the scores alone. Each is Σ of the scores of what stays / Σ of all, in [0, 1]: of layers by
// block influence, of channels, and of heads, KV groups and neurons as means over the layers. What stays is taken
// to be the highest scores, as pruning keeps them.

#ifndef COP_SEARCH_IMPORTANCE_MASS_H
#define COP_SEARCH_IMPORTANCE_MASS_H

#include "prune/importance.h"
#include "search/candidate.h"

typedef enum cop_mass_axis {
    COP_MASS_LAYERS = 0,
    COP_MASS_CHANNELS,
    COP_MASS_HEADS,
    COP_MASS_KV_GROUPS,
    COP_MASS_NEURONS,
    COP_MASS_AXES
} cop_mass_axis;

typedef struct cop_importance_mass cop_importance_mass;

// `aggregate` as in cop_select_options. The scores are not needed afterwards.
COP_MUST_CHECK cop_status cop_importance_mass_create(cop_importance_mass **out,
                                                     const cop_importance *importance,
                                                     const cop_arch *teacher, int aggregate,
                                                     cop_error *err);
void cop_importance_mass_destroy(cop_importance_mass *mass);

// The shares of a candidate with equal blocks, in the order of cop_mass_axis.
void cop_importance_mass_of(const cop_importance_mass *mass, const cop_candidate *candidate,
                            double share[COP_MASS_AXES]);

// Adds to share[1 … count] what the 1 … count highest of the scores are of their sum, times `weight`. Padding
// (NaN) and negative scores count as 0; of nothing every unit has the same share. `scratch` [count]
void cop_importance_add_shares(double *share, const double *scores, int64_t count, double weight,
                               double *scratch);

#endif
