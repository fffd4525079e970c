// One point of the space: its values, its architecture, its exact costs.

#ifndef COP_SEARCH_CANDIDATE_H
#define COP_SEARCH_CANDIDATE_H

#include "base/text.h"
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
    // "L32-C4096-H48-K8-F16384", or "L32-C4096-" and 16 hexadecimal digits of a hash over all blocks where they
    // differ: equal id = equal architecture.
    char id[COP_CANDIDATE_ID_BYTES];
    int64_t
        grid_index; // position in the enumeration of the whole grid; INT64_MAX: of more than 2^53
    int64_t layers;
    int64_t hidden;
    int64_t heads;
    int64_t kv_heads;
    int64_t head_dim;
    int64_t ffn; // this and heads, kv_heads: the mean over the blocks, rounded, where they differ
    // [layers], borrowed from whoever made the candidate; NULL: all blocks are alike. In the order of
    // the candidate's own layers; which of the teacher's they come from is the selection's choice.
    const cop_layer_arch *layer;
    double ffn_ratio; // NaN when the space names ffn directly
    cop_cost cost;    // at the budget's batch, sequence and dtypes
} cop_candidate;

// Names a candidate by layers, hidden and its blocks: fills in id, heads, kv_heads, ffn and `layer`, which
// becomes NULL when all blocks are alike. `blocks` [layers] is borrowed as long as the candidate lives.
void cop_candidate_name(cop_candidate *candidate, const cop_layer_arch *blocks);

// The blocks as text, "48/8/16384 32/8/12288 …" (heads, kv_heads, ffn), for storage; "" when they are alike.
void cop_candidate_append_blocks(const cop_candidate *candidate, cop_text *out);
// The reverse: fills `out` [layers]. false when the text is not of that many blocks of sizes within the
// limits of an architecture.
bool cop_candidate_parse_blocks(cop_layer_arch *out, int64_t layers, const char *text);

// The candidate's full architecture: the teacher's with these sizes.
cop_arch cop_candidate_arch(const cop_candidate *candidate, const cop_arch *teacher);

#endif
