// What the files of a space's domain share.

#ifndef COP_SEARCH_SPACE_DOMAIN_INTERNAL_H
#define COP_SEARCH_SPACE_DOMAIN_INTERNAL_H

#include "search/space_domain.h"
#include "search/space_internal.h"

// An axis of the domain. Of a single layer: HEADS stands for pairs of heads and kv_heads.
typedef struct domain_axis {
    cop_space_axis kind;
    int layer; // -1: all layers share it
} domain_axis;

struct cop_space_domain {
    const cop_space *space;
    cop_space_features extra;
    bool is_layered;
    domain_axis *axis;            // owned: [axes]
    int32_t *levels;              // owned: [axes]
    int at[COP_SPACE_AXIS_COUNT]; // axis of the domain that all layers share; -1: none
    int32_t *pair_sorted;         // owned: [rank] -> pair
    int32_t *pair_rank;           // owned: [pair] -> rank
    cop_domain view;
};

#endif
