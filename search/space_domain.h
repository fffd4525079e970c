// A space of a teacher as strategies see it (search/domain.h): one axis for each axis of the study, its
// levels the values in ascending order, so that neighbouring levels are alike however the study lists
// them. Bounds of the budget are the domain's violation, costs its known objectives and features.
//
// Where layers choose by themselves, axes of the single layers follow those that all share: for each layer of
// the deepest candidate first its heads (a level is a pair of heads and kv_heads that fit, ascending), then its
// ffn. Levels of layers that a candidate does not have no longer matter.

#ifndef COP_SEARCH_SPACE_DOMAIN_H
#define COP_SEARCH_SPACE_DOMAIN_H

#include "search/domain.h"
#include "search/space.h"

typedef struct cop_space_domain cop_space_domain;

// What candidates lose, as a sum over their layers: an estimate that only others know, e.g. of importance. Borrowed
// context; `layer` counts the candidate's own layers from 0, `layers` is how many it has. Finite.
typedef struct cop_space_scores {
    const void *context;
    double (*shared)(const void *context, int64_t layers, int64_t hidden);
    double (*attention)(const void *context, int64_t layers, int64_t layer, int64_t heads,
                        int64_t kv_heads);
    double (*mlp)(const void *context, int64_t layers, int64_t layer, int64_t ffn);
} cop_space_scores;

// Figures of a candidate that only others know, e.g. the importance mass that it retains; they follow the
// space's own features. Borrowed; `describe` is called from any thread. Not called for points that are no
// architecture: their features are NaN.
typedef struct cop_space_features {
    int count; // 0: none
    void (*describe)(const void *context, const cop_candidate *candidate, double *features);
    const void *context;
    const cop_space_scores *scores; // NULL: none are known; copied
} cop_space_features;

// The space's own features: layers, hidden, heads, kv_heads and ffn of a block (the mean of its blocks
// where they differ), layers / hidden, and the logarithms of params, params_non_embedding, memory_bytes and
// flops_per_token.
enum { COP_SPACE_FEATURES = 10 };

// `space` is borrowed; `features` is copied and may be NULL. COP_ERR_CONFIG when there are more features than a
// domain may have, COP_ERR_NOMEM.
COP_MUST_CHECK cop_status cop_space_domain_create(cop_space_domain **out, const cop_space *space,
                                                  const cop_space_features *features,
                                                  cop_error *err);
void cop_space_domain_destroy(cop_space_domain *domain);

// - violation: Σ over the bounds of the budget that are known by formula, of (value - max) / max or
//   (min - value) / min (of the difference alone where the bound is 0); +infinity for no architecture;
// - canonicalize: of ratios that round to the same width the first in the study stands for all; levels of
//   layers beyond the candidate's depth become 0;
// - strata: params, and layers / hidden;
// - known: the study's objectives, NaN for the loss;
// - additivity, where scores are given: what all layers share is shared; resources are params, and what the budget
//   and its workloads bound by formula.
const cop_domain *cop_space_domain_view(const cop_space_domain *domain);

// What an axis of the domain stands for: "layers", "ffn"; *layer (may be NULL) is -1, or the layer that chooses.
const char *cop_space_domain_axis_name(const cop_space_domain *domain, int axis, int *layer);

// The candidate of a genome, whether it meets the budget or not; false when it is no architecture. Equal
// candidates have equal ids, whatever their genomes. `blocks` [COP_ARCH_LAYERS_MAX] is filled and borrowed by a
// candidate whose blocks differ; NULL is enough for spaces in which layers do not choose by themselves.
bool cop_space_domain_candidate(const cop_space_domain *domain, const int32_t *genome,
                                cop_layer_arch *blocks, cop_candidate *out);

// The canonical genome [axes] of a candidate of this space; false when an axis lacks its value.
bool cop_space_domain_genome(const cop_space_domain *domain, const cop_candidate *candidate,
                             int32_t *genome);

#endif
