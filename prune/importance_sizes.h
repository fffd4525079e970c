// What the calibration pass measures in a layer, and the memory that takes.

#ifndef COP_PRUNE_IMPORTANCE_SIZES_H
#define COP_PRUNE_IMPORTANCE_SIZES_H

#include "prune/importance.h"

// What is measured in a layer, in the order of its units in the fold.
typedef enum cop_measure_place {
    COP_MEASURE_HEADS = 0,
    COP_MEASURE_KV_GROUPS,
    COP_MEASURE_NEURONS,
    COP_MEASURE_INPUT_NORM,
    COP_MEASURE_POST_NORM,
    COP_MEASURE_PLACES
} cop_measure_place;

// Sizes of everything a run allocates beside the network.
typedef struct cop_measure_sizes {
    int64_t units;   // of all places of all layers
    int64_t sums;    // f64: moments [B, 3, units], then cosines [layers, B]
    int64_t streams; // residual streams kept: one per layer, or one
    uint64_t stream_bytes;
    int64_t losses; // f32 [layers + 1, B*T], or 0
    uint64_t scratch_bytes;
    cop_dtype wide; // element type of the residual stream
} cop_measure_sizes;

// Units of a place, and the adjacent columns that make one unit.
int64_t cop_measure_units(const cop_arch *arch, int64_t layer, cop_measure_place which);
int64_t cop_measure_group(const cop_arch *arch, int64_t layer, cop_measure_place which);

cop_measure_sizes cop_measure_sizes_of(const cop_arch *arch,
                                       const cop_importance_settings *settings, int64_t batch,
                                       cop_backend *backend);

#endif
