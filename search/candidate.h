// One point of the space: its values, its architecture, its exact costs.

#ifndef COP_SEARCH_CANDIDATE_H
#define COP_SEARCH_CANDIDATE_H

#include "model/arch.h"
#include "model/cost.h"

enum { COP_CANDIDATE_ID_BYTES = 64, COP_SPACE_AXES_MAX = 8 };

// Axes in their documented order; the first varies slowest in the enumeration.
typedef enum cop_space_axis {
    COP_SPACE_LAYERS = 0,
    COP_SPACE_HEADS,
    COP_SPACE_KV_HEADS,
    COP_SPACE_FFN, // an absolute size, or derived from ffn_ratio
    COP_SPACE_HIDDEN,
    COP_SPACE_AXIS_COUNT
} cop_space_axis;

const char *cop_space_axis_name(cop_space_axis axis); // "layers", "heads" …

typedef struct cop_candidate {
    char id[COP_CANDIDATE_ID_BYTES]; // "L32-C4096-H48-K8-F16384": equal id = equal architecture
    int64_t grid_index;              // position in the enumeration of the whole grid
    int64_t layers;
    int64_t hidden;
    int64_t heads;
    int64_t kv_heads;
    int64_t head_dim;
    int64_t ffn;
    double ffn_ratio; // NaN when the space names ffn directly
    cop_cost cost;    // at the budget's batch, sequence and dtypes
} cop_candidate;

// The candidate's full architecture: the teacher's with these sizes.
cop_arch cop_candidate_arch(const cop_candidate *candidate, const cop_arch *teacher);

#endif
