// The way back: from a candidate to the genome that stands for it.

#include "search/space_domain_internal.h"

// The level of a value among those of an axis, or -1.
static int32_t level_of(const cop_space *space, cop_space_axis kind, int64_t value)
{
    int64_t low = 0;
    int64_t high = space->count[kind];
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (space->value[kind][space->sorted[kind][middle]] < value) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < space->count[kind] && space->value[kind][space->sorted[kind][low]] == value
               ? (int32_t)low
               : -1;
}

static int32_t level_of_ratio(const cop_space *space, int64_t hidden, int64_t width)
{
    for (int64_t f = 0; f < space->count[COP_SPACE_FFN]; f++) {
        if (cop_space_ffn(space, f, hidden) == width) {
            return space->rank[COP_SPACE_FFN][f];
        }
    }
    return -1;
}

static int32_t level_of_pair(const cop_space_domain *domain, const cop_layer_arch *block)
{
    for (int64_t i = 0; i < domain->space->pairs; i++) {
        const cop_space_pair *pair = &domain->space->pair[i];
        if (pair->heads == block->heads && pair->kv_heads == block->kv_heads) {
            return domain->pair_rank[i];
        }
    }
    return -1;
}

// Level of a block's size on an axis, shared or a layer's own.
static int32_t level_of_block(const cop_space_domain *domain, const domain_axis *axis,
                              const cop_layer_arch *block, int64_t hidden_at)
{
    const cop_space *space = domain->space;
    switch (axis->kind) {
    case COP_SPACE_HEADS:
        return axis->layer >= 0 ? level_of_pair(domain, block)
                                : level_of(space, COP_SPACE_HEADS, block->heads);
    case COP_SPACE_KV_HEADS:
        return level_of(space, COP_SPACE_KV_HEADS,
                        space->is_grouped ? block->heads / block->kv_heads : block->kv_heads);
    case COP_SPACE_FFN:
        return space->ratio != NULL ? level_of_ratio(space, hidden_at, block->ffn)
                                    : level_of(space, COP_SPACE_FFN, block->ffn);
    case COP_SPACE_LAYERS:
    case COP_SPACE_HIDDEN:
    case COP_SPACE_AXIS_COUNT: break;
    }
    return -1;
}

bool cop_space_domain_genome(const cop_space_domain *domain, const cop_candidate *candidate,
                             int32_t *genome)
{
    const cop_space *space = domain->space;
    const int32_t layers = level_of(space, COP_SPACE_LAYERS, candidate->layers);
    const int32_t hidden = level_of(space, COP_SPACE_HIDDEN, candidate->hidden);
    const cop_layer_arch alike = {.heads = candidate->heads,
                                  .kv_heads = candidate->kv_heads > 0 ? candidate->kv_heads : 1,
                                  .ffn = candidate->ffn};

    if (layers < 0 || hidden < 0 || (candidate->layer != NULL && !domain->is_layered)) {
        return false;
    }
    genome[domain->at[COP_SPACE_LAYERS]] = layers;
    genome[domain->at[COP_SPACE_HIDDEN]] = hidden;
    for (int i = 0; i < domain->view.axes; i++) {
        const domain_axis *axis = &domain->axis[i];
        if (axis->kind == COP_SPACE_LAYERS || axis->kind == COP_SPACE_HIDDEN) {
            continue;
        }
        if (axis->layer >= candidate->layers) {
            genome[i] = 0;
            continue;
        }
        const cop_layer_arch *block = candidate->layer == NULL
                                          ? &alike
                                          : &candidate->layer[axis->layer < 0 ? 0 : axis->layer];
        genome[i] = level_of_block(domain, axis, block, space->sorted[COP_SPACE_HIDDEN][hidden]);
        if (genome[i] < 0) {
            return false;
        }
    }
    return true;
}
