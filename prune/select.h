// Which units of a teacher stay in a smaller architecture.

#ifndef COP_PRUNE_SELECT_H
#define COP_PRUNE_SELECT_H

#include "model/arch.h"
#include "prune/importance.h"
#include "prune/layer_set.h"

typedef enum cop_order {
    COP_ORDER_IMPORTANT = 0, // keep the most important
    COP_ORDER_RANDOM,
    COP_ORDER_REVERSED // keep the least important: the control that must be worst
} cop_order;

typedef enum cop_depth_metric {
    COP_DEPTH_BLOCK_INFLUENCE = 0,
    COP_DEPTH_PERPLEXITY
} cop_depth_metric;

typedef enum cop_depth_shape {
    COP_DEPTH_SCATTERED = 0, // drop the least important layers wherever they are
    COP_DEPTH_CONTIGUOUS     // drop the contiguous run with the least summed importance
} cop_depth_shape;

typedef enum cop_carry {
    COP_CARRY_OFF = 0,
    COP_CARRY_KEPT_MINUS_PRUNED, // head += head - pruned: as printed in arXiv 2407.14679
    COP_CARRY_PRUNED_MINUS_KEPT  // head += pruned - head: as in LaCo
} cop_carry;

typedef struct cop_select_options {
    cop_order order;
    int aggregate; // index of COP_AGGREGATES
    cop_depth_metric depth_metric;
    cop_depth_shape depth_shape;
    cop_carry carry; // query heads only, inside each KV group; facts: usable range i in [2K-L+1, K]
    uint64_t seed;   // COP_ORDER_RANDOM
    bool keep_first_and_last;  // never drop layers 0 and L-1
    cop_layer_set keep_layers; // of the teacher: never dropped
    cop_layer_set drop_layers; // of the teacher: dropped before all others, by the order among them
} cop_select_options;

#define COP_SELECT_OPTIONS_DEFAULT         \
    {                                      \
        .aggregate = COP_AGGREGATE_DEFAULT \
    }

// Ranking: from the highest score to the lowest; among equal scores the lower index counts as more
// important. COP_ORDER_REVERSED reads the same ranking backwards; COP_ORDER_RANDOM is a permutation
// drawn from (seed, COP_RNG_RANKING, axis and layer), so that a smaller cut keeps a subset of what a
// larger one keeps. Contiguous depth ranks the runs instead; on a tie the later run is dropped. Of the runs
// without layers to keep those with the most layers to drop come first; none is COP_ERR_CONFIG.

// For each unit of the smaller model the index of the teacher's unit. Kept units stay in the teacher's
// order, so that pruning nothing is the identity.
typedef struct cop_selection cop_selection;

// `target` must be reachable: same family, vocab, head_dim; layers, hidden, ffn <= the teacher's; every
// target layer alike or mapped in order; kv_heads <= the teacher's, heads / kv_heads <= the teacher's
// ratio (heads are ranked inside their KV group, and each group keeps as many). COP_ERR_CONFIG
// otherwise, naming the axis. `importance` may be NULL for COP_ORDER_RANDOM.
COP_MUST_CHECK cop_status cop_selection_create(cop_selection **out, const cop_arch *teacher,
                                               const cop_arch *target,
                                               const cop_importance *importance,
                                               const cop_select_options *options, cop_error *err);
void cop_selection_destroy(cop_selection *selection);

const cop_arch *cop_selection_arch(const cop_selection *selection);         // the target
int64_t cop_selection_layer(const cop_selection *selection, int64_t layer); // teacher's layer
const int32_t *cop_selection_hidden(const cop_selection *selection);        // [hidden]
const int32_t *cop_selection_heads(const cop_selection *selection, int64_t layer);    // [heads]
const int32_t *cop_selection_kv_heads(const cop_selection *selection, int64_t layer); // [kv_heads]
const int32_t *cop_selection_ffn(const cop_selection *selection, int64_t layer);      // [ffn]

// Head residual carry-over. For each kept head the teacher's pruned head that it is paired with, or -1;
// NULL when carry is off. With L heads in a teacher's group, ranked 1 (best) to L, and K kept, head i is
// paired with head 2K - i + 1: usable for i in [2K - L + 1, K], which is L - K pairs, K with K + 1
// and 2K - L + 1 with L. (The paper prints the range from 2K - L, whose partner L + 1 does not
// exist.) It takes K >= L / 2; less is COP_ERR_CONFIG. The paper's sign gives 2 * kept - pruned, the
// sign of LaCo, which it calls itself an analogue of, gives the pruned head's weights back.
cop_carry cop_selection_carry(const cop_selection *selection);
const int32_t *cop_selection_partners(const cop_selection *selection, int64_t layer); // [heads]

#endif
