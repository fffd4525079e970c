#include "prune/layer_set.h"

void cop_layer_set_add(cop_layer_set *set, int64_t layer)
{
    set->word[layer / 64] |= UINT64_C(1) << (layer % 64);
}

bool cop_layer_set_has(const cop_layer_set *set, int64_t layer)
{
    return (set->word[layer / 64] >> (layer % 64) & 1U) != 0;
}

int64_t cop_layer_set_count(const cop_layer_set *set)
{
    int64_t count = 0;
    for (int64_t i = 0; i < COP_ARCH_LAYERS_MAX; i++) {
        count += cop_layer_set_has(set, i) ? 1 : 0;
    }
    return count;
}

int64_t cop_layer_set_last(const cop_layer_set *set)
{
    int64_t last = COP_ARCH_LAYERS_MAX - 1;
    while (last >= 0 && !cop_layer_set_has(set, last)) {
        last--;
    }
    return last;
}
