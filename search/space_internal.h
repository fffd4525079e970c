// What the space shares between its making, its points and its walk.

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

// What memory and FLOPs are counted for.
typedef struct cop_space_use {
    char name[COP_WORKLOAD_NAME_BYTES]; // "" : the budget's own
    int64_t batch;
    int64_t sequence;       // of the KV cache
    int64_t flops_sequence; // of attention
    cop_dtype weights;
    cop_dtype kv;
} cop_space_use;

typedef struct cop_space_bound {
    cop_space_metric metric;
    int use; // in cop_space
    bool is_min;
    double limit;
} cop_space_bound;

// Query and KV heads that go together, by their positions and by their values.
typedef struct cop_space_pair {
    int32_t heads_at;
    int32_t kv_heads_at;
    int64_t heads;
    int64_t kv_heads;
} cop_space_pair;

struct cop_space {
    char path[COP_STUDY_PATH_BYTES];      // of the study file, for messages
    cop_arch teacher;                     // uniform
    cop_layer_arch block;                 // any of its blocks
    int64_t *value[COP_SPACE_AXIS_COUNT]; // owned; NULL for FFN when ratios are given
    double *ratio;                        // owned; NULL unless ratios are given
    bool is_grouped;                      // values of kv_heads are query heads per KV head instead
    int64_t count[COP_SPACE_AXIS_COUNT];  // values of each axis, ratios included
    // Values stay as they are written; these go up and down between them and their ascending order.
    int32_t *sorted[COP_SPACE_AXIS_COUNT]; // owned: [rank] -> position
    int32_t *rank[COP_SPACE_AXIS_COUNT];   // owned: [position] -> rank
    cop_space_pair *pair;                  // owned: those that fit, heads slowest, as written
    int64_t pairs;
    int64_t *pair_first; // owned: [heads + 1], of each position of heads
    // Are heads and kv_heads, or ffn, chosen for each layer by itself?
    bool has_layer_pairs;
    bool has_layer_ffn;
    int64_t size; // INT64_MAX: more than 2^53
    cop_objective objective[4];
    int objectives;
    int bounds;
    cop_space_bound bound[COP_BOUNDS];
    cop_space_use
        use[1 + COP_STUDY_WORKLOADS_MAX]; // [0]: the budget's own, that of candidates' costs
};

// One point's sizes: what costs are computed from, without an architecture.
typedef struct cop_space_point {
    int64_t layers;
    int64_t heads;
    int64_t kv_heads;
    int64_t ffn;
    int64_t hidden;
} cop_space_point;

// What bounds are about. All of it grows with each of a point's sizes.
typedef struct cop_space_parts {
    int64_t matmul_params;
    int64_t params_non_embedding;
    int64_t params;
    int64_t embedding; // V * C
    int64_t queries;   // Σ heads * head_dim
    int64_t keys;      // Σ kv_heads * head_dim
} cop_space_parts;

// --- space_check.c ------------------------------------------------------------------------------

// The values of an axis as the study gives them: kv_groups stand for kv_heads.
const cop_axis_values *cop_space_values(const cop_study_file *study, cop_space_axis axis);
// The name by which a study calls the axis.
const char *cop_space_key(const cop_space *space, cop_space_axis axis);
// Where a value of an axis is written: its item of a list, or the whole axis.
const cop_config_node *cop_space_place(const cop_axis_values *axis, int64_t index);

// A value of heads or kv_heads that fits none of the other axis is a mistake, not a point to leave out.
COP_MUST_CHECK cop_status cop_space_check_heads(const cop_space *space, const cop_study_file *study,
                                                cop_error *err);
COP_MUST_CHECK cop_status cop_space_check_layered(const cop_space *space,
                                                  const cop_study_file *study, cop_error *err);
// Pins and lists of layers against the teacher and the axis of layers.
COP_MUST_CHECK cop_status cop_space_check_teacher(const cop_space *space,
                                                  const cop_study_file *study, cop_error *err);

// --- space_point.c ------------------------------------------------------------------------------

// FFN width of position (ffn, hidden) of the grid.
int64_t cop_space_ffn(const cop_space *space, int64_t ffn, int64_t hidden);
// It lies in these limits, which, unlike itself, grow with the ratio and with hidden.
int64_t cop_space_ffn_least(const cop_space *space, int64_t ffn, int64_t hidden);
int64_t cop_space_ffn_most(const cop_space *space, int64_t ffn, int64_t hidden);

// Do the values at these positions make a block that the teacher can be cut to (heads a multiple of
// kv_heads, no more per group than it has)? Then `out` has them.
bool cop_space_pair_at(const cop_space *space, int64_t heads, int64_t kv_heads,
                       cop_space_pair *out);

// The parts of one block, of all blocks outside of it, and sums of parts.
cop_space_parts cop_space_block(const cop_space *space, int64_t hidden,
                                const cop_layer_arch *block);
cop_space_parts cop_space_base(const cop_space *space, int64_t hidden);
cop_space_parts cop_space_add(const cop_space_parts *a, const cop_space_parts *b, int64_t times);

// The same figures as cop_cost_of(), in closed form for equal blocks.
cop_space_parts cop_space_measure(const cop_space *space, const cop_space_point *point);
cop_cost cop_space_cost(const cop_space *space, const cop_space_parts *parts);

// What a bound is compared with.
double cop_space_bound_value(const cop_space *space, const cop_space_bound *bound,
                             const cop_space_parts *parts);
// The same as a whole number, linear in the parts.
int64_t cop_space_bound_sum(const cop_space *space, const cop_space_bound *bound,
                            const cop_space_parts *parts);
bool cop_space_bound_holds(const cop_space_bound *bound, double value);

// By how much bounds are exceeded, relative to each and summed.
double cop_space_violation(const cop_space *space, const cop_space_parts *parts);

// The first position of the grid whose ratio makes the same FFN width: it stands for all of them.
int64_t cop_space_first_equal(const cop_space *space, int64_t ffn, int64_t hidden);

// `ffn`: position of the ratio, where there are ratios.
void cop_space_fill(const cop_space *space, const cop_space_point *point, int64_t ffn,
                    int64_t index, cop_candidate *out);
// The same of blocks that may differ; they are borrowed by the candidate.
void cop_space_fill_blocks(const cop_space *space, int64_t layers, int64_t hidden, int64_t ffn,
                           const cop_layer_arch *blocks, int64_t index, cop_candidate *out);

// --- space_size.c -------------------------------------------------------------------------------

// How many blocks a layer has to choose from.
int64_t cop_space_options(const cop_space *space);
// Choice `option` of them; those that are not chosen by layer keep their values.
void cop_space_option(const cop_space *space, int64_t option, cop_layer_arch *block);
// Choices of everything but layers and blocks.
int64_t cop_space_shared(const cop_space *space);
// INT64_MAX: more than 2^53.
int64_t cop_space_count_all(const cop_space *space);

// --- space_books.c ------------------------------------------------------------------------------

// Counts what the bounds do to points and subtrees.
typedef struct cop_space_books {
    const cop_space *space;
    cop_space_report *report;
    bool lists; // feasible points are wanted one by one
} cop_space_books;

// The value is one that violates the bound.
void cop_space_note_nearest(cop_space_books *books, int bound, double value);
// A subtree between two points, of which `valid` of `points` are architectures. true when all of its bounds
// are decided for all of it and the books are kept; then nothing of it need be visited. `is_exact`: the
// two points belong to it.
bool cop_space_settle(cop_space_books *books, const cop_space_parts *low,
                      const cop_space_parts *high, bool is_exact, int64_t points, int64_t valid);

// --- space_layered.c ----------------------------------------------------------------------------

// cop_space_walk() where layers choose by themselves. The report is started.
COP_MUST_CHECK cop_status cop_space_walk_layered(const cop_space *space, cop_space_report *report,
                                                 cop_space_visit visit, void *context,
                                                 cop_error *err);
// Index of the first point with these positions (those of axes that layers choose by themselves are 0).
int64_t cop_space_index_layered(const cop_space *space, int64_t layers, int64_t heads,
                                int64_t kv_heads, int64_t ffn, int64_t hidden);
// cop_space_at() of such a space. `blocks` [COP_ARCH_LAYERS_MAX]
bool cop_space_at_layered(const cop_space *space, int64_t index, cop_layer_arch *blocks,
                          cop_candidate *out);

#endif
