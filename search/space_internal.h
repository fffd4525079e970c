// What the space shares between its making and its scan.

#ifndef COP_SEARCH_SPACE_INTERNAL_H
#define COP_SEARCH_SPACE_INTERNAL_H

#include "search/space.h"

typedef enum cop_space_metric {
    COP_SPACE_PARAMS = 0,
    COP_SPACE_PARAMS_NON_EMBEDDING,
    COP_SPACE_MEMORY_BYTES,
    COP_SPACE_FLOPS_PER_TOKEN,
    COP_SPACE_METRIC_COUNT
} cop_space_metric;

typedef struct cop_space_bound {
    cop_space_metric metric;
    bool is_min;
    double limit;
} cop_space_bound;

struct cop_space {
    char path[COP_STUDY_PATH_BYTES];      // of the study file, for messages
    cop_arch teacher;                     // uniform
    cop_layer_arch block;                 // any of its blocks
    int64_t *value[COP_SPACE_AXIS_COUNT]; // owned; NULL for FFN when ratios are given
    double *ratio;                        // owned; NULL unless ratios are given
    int64_t count[COP_SPACE_AXIS_COUNT];  // values of each axis, ratios included
    int64_t size;
    int bounds;
    cop_space_bound bound[COP_BOUNDS];
    int64_t memory_batch;
    int64_t memory_sequence;
    int64_t flops_sequence;
    cop_dtype memory_weights;
    cop_dtype memory_kv;
};

// One point's sizes: what costs are computed from, without an architecture.
typedef struct cop_space_point {
    int64_t layers;
    int64_t heads;
    int64_t kv_heads;
    int64_t ffn;
    int64_t hidden;
} cop_space_point;

// FFN width of position (ffn, hidden) of the grid.
int64_t cop_space_ffn(const cop_space *space, int64_t ffn, int64_t hidden);

// Can the teacher be cut to these heads (a multiple of kv_heads, no more per group than it has)?
bool cop_space_heads_fit(const cop_space *space, int64_t heads, int64_t kv_heads);

// The same costs as cop_cost_of(), in closed form for equal blocks.
cop_cost cop_space_cost(const cop_space *space, const cop_space_point *point);

void cop_space_fill(const cop_space *space, const cop_space_point *point, int64_t index,
                    cop_candidate *out);

#endif
