// A search space as strategies see it: axes of whole levels, and what is known of a point without
// evaluating it. Spaces of a teacher and spaces of an external evaluator both are domains, so are benchmark
// problems; a strategy knows nothing of either.
//
// A point is a genome: one level per axis, 0 … levels[axis] - 1.

#ifndef COP_SEARCH_DOMAIN_H
#define COP_SEARCH_DOMAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "search/front.h"

enum { COP_DOMAIN_AXES_MAX = 1024, COP_DOMAIN_FEATURES_MAX = 4096, COP_DOMAIN_RESOURCES_MAX = 32 };

// For given levels of the shared axes: what they score and cost, and what each level of every other axis adds.
// The caller owns the arrays; those by level hold the levels of the axes that are not shared, axis after axis.
typedef struct cop_additive {
    double score;                           // of what is shared; finite, minimised
    int64_t cost[COP_DOMAIN_RESOURCES_MAX]; // of what is shared
    bool *matters;       // [axes] false: canonical genomes have level 0 there, and it
                         // adds nothing; its levels are not filled. Not of shared axes.
    double *level_score; // [own levels], finite
    int64_t *level_cost; // [own levels, resources], >= 0
} cop_additive;

// A score that estimates how good a point is, and costs that the bounds known by formula are about, both sums over
// axes once the shared ones are fixed. Costs are exact: canonical points whose sums lie within the bounds are
// those of violation 0. The score is an estimate; only what it orders is used.
typedef struct cop_additivity {
    const bool *is_shared; // [axes]
    int resources; // 1 … COP_DOMAIN_RESOURCES_MAX; the first tells small points from large ones
    const int64_t *min; // [resources], of the sum; 0 and INT64_MAX do not bind
    const int64_t *max; // [resources]
    // Reads the shared levels of `genome`. false: no point has them.
    bool (*fill)(const void *context, const int32_t *genome, cop_additive *out);
} cop_additivity;

// Functions are pure: the same genome, the same answer, from any thread. Everything is borrowed.
typedef struct cop_domain {
    int axes;              // 1 … COP_DOMAIN_AXES_MAX
    const int32_t *levels; // [axes], each >= 1
    // [axes]: neighbouring levels are alike (sizes, ratios). false: levels are words. NULL: all are.
    const bool *is_ordered;
    const void *context; // of the functions below

    // Rewrites a genome to the one that stands for all of equal meaning (levels of axes that no longer matter
    // become 0); doing it twice changes nothing. Order the axes so that those which decide come before those
    // which stop mattering: the grid then skips whole runs of equal points. NULL: every genome stands for itself.
    void (*canonicalize)(const void *context, int32_t *genome);

    // By how much the bounds that are known by formula are exceeded, relative to each bound and summed: 0
    // when all hold, +infinity when the point is none at all. Asked for canonical genomes. Finite values that fall
    // towards the bounds let strategies find feasible points where these are rare. NULL: always 0.
    double (*violation)(const void *context, const int32_t *genome);

    // Number `axis` at `level` stands for, for models that interpolate (e.g. 4096 for hidden). NULL: the level.
    double (*value)(const void *context, int axis, int32_t level);

    // Further figures of a point that models may learn from: parameters, importance mass retained, …
    int features; // 0 … COP_DOMAIN_FEATURES_MAX
    void (*describe)(const void *context, const int32_t *genome, double *features);

    // A number that tells small points from large ones (parameters) and one that tells deep from wide
    // (layers / hidden), for stratified sampling. NULL: none.
    void (*strata)(const void *context, const int32_t *genome, double *size, double *shape);

    // Objectives that are known by formula, e.g. params: NaN where only an evaluation tells. NULL: none is.
    void (*known)(const void *context, const int32_t *genome, double *objective);

    const cop_additivity *additivity; // NULL: none is known; `fill` gets the context above
} cop_domain;

#endif
