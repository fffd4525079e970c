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
    // Of the additive scores, where there are any.
    cop_space_scores scores;
    cop_additivity additivity;
    bool *is_shared;                               // owned: [axes]
    cop_space_bound sum[COP_DOMAIN_RESOURCES_MAX]; // what each resource is; params first
    int64_t sum_min[COP_DOMAIN_RESOURCES_MAX];
    int64_t sum_max[COP_DOMAIN_RESOURCES_MAX];
};

// --- space_domain_additive.c --------------------------------------------------------------------

// Makes the additivity of a domain whose axes are listed. COP_ERR_NOMEM.
COP_MUST_CHECK cop_status cop_space_domain_add(cop_space_domain *domain,
                                               const cop_space_scores *scores, cop_error *err);

#endif
