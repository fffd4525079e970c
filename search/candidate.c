#include "search/candidate.h"

const char *cop_space_axis_name(cop_space_axis axis)
{
    switch (axis) {
    case COP_SPACE_LAYERS: return "layers";
    case COP_SPACE_HEADS: return "heads";
    case COP_SPACE_KV_HEADS: return "kv_heads";
    case COP_SPACE_FFN: return "ffn";
    case COP_SPACE_HIDDEN: return "hidden";
    case COP_SPACE_AXIS_COUNT: break;
    }
    return "?";
}

cop_arch cop_candidate_arch(const cop_candidate *candidate, const cop_arch *teacher)
{
    cop_arch arch = *teacher;

    arch.layers = candidate->layers;
    arch.hidden = candidate->hidden;
    arch.head_dim = candidate->head_dim;
    for (int64_t i = 0; i < arch.layers; i++) {
        arch.layer[i] = (cop_layer_arch){
            .heads = candidate->heads, .kv_heads = candidate->kv_heads, .ffn = candidate->ffn};
    }
    for (int64_t i = arch.layers; i < teacher->layers; i++) {
        arch.layer[i] = (cop_layer_arch){0};
    }
    return arch;
}
