// Kendall's rank correlation, variant tau-b (corrected for ties):
//     tau_b = (concordant - discordant) / sqrt((pairs - ties in x) (pairs - ties in y))
//
// Source: Kendall, "The treatment of ties in ranking problems", Biometrika 1945; computed in O(n log n)
// as in Knight, "A computer method for calculating Kendall's tau with ungrouped data", 1966.

#ifndef COP_SEARCH_KENDALL_H
#define COP_SEARCH_KENDALL_H

#include <stdint.h>

typedef struct cop_kendall_pair {
    double x;
    double y;
} cop_kendall_pair;

// tau-b in [-1, 1], or NaN for fewer than two pairs, a NaN among the values, or one side constant.
// Reorders `pairs`; `scratch` holds `count` elements.
double cop_kendall_tau_b(cop_kendall_pair *pairs, cop_kendall_pair *scratch, int64_t count);

#endif
