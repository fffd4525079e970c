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

enum { COP_DOMAIN_AXES_MAX = 1024, COP_DOMAIN_FEATURES_MAX = 4096 };

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
} cop_domain;

#endif
