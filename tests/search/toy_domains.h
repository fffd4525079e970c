// Small domains whose points can be counted, and large ones that cannot, for tests of strategies.

#ifndef COP_TESTS_SEARCH_TOY_DOMAINS_H
#define COP_TESTS_SEARCH_TOY_DOMAINS_H

#include "search/strategy.h"

typedef enum toy_kind {
    TOY_PLAIN,      // three ordered axes
    TOY_WORDS,      // unordered axes, one with a single level
    TOY_LAYERED,    // the first axis says how many of the others matter
    TOY_LAYERED_UP, // so does the last: grids cannot skip by what they have seen
    TOY_BOUNDED,    // few points hold a bound
    TOY_ONE_AXIS,
    TOY_ONE_POINT,
    TOY_SMALL_KINDS,
    TOY_HUGE = TOY_SMALL_KINDS, // 10^60 points
    TOY_HUGE_BOUNDED,           // of which hardly any holds the bound
    TOY_HUGE_LAYERED,           // 20^32 genomes, of which most are not canonical
    TOY_INFEASIBLE,             // every point exceeds the bound
    TOY_NO_POINT,               // none is a point at all
    TOY_STRATA,                 // size and shape are known
    TOY_KINDS
} toy_kind;

enum { TOY_AXES_MAX = 64 };

typedef struct toy {
    toy_kind kind;
    cop_domain domain; // its context is this object
    int32_t levels[TOY_AXES_MAX];
    bool is_ordered[TOY_AXES_MAX];
    // The second objective falls with every level: what a score that adds up is about. The first is the cost.
    cop_additivity additivity;
    bool is_shared[TOY_AXES_MAX];
    int64_t min;
    int64_t max;
} toy;

void toy_init(toy *self, toy_kind kind);

// Canonical feasible points, by trying all genomes; of small kinds only.
int64_t toy_count(const toy *self);
// Two objectives that conflict; some points fail, some have objectives that are no numbers.
void toy_evaluate(const toy *self, const int32_t *genome, cop_trial *trial);

#endif
