// What the parts of the hypervolume share.

#ifndef COP_SEARCH_HYPERVOLUME_INTERNAL_H
#define COP_SEARCH_HYPERVOLUME_INTERNAL_H

#include <stdbool.h>

#include "search/hypervolume.h"

COP_MUST_CHECK cop_status cop_hypervolume_check(int64_t count, int objectives,
                                                const double *reference, cop_error *err);

bool cop_hypervolume_counts(const double *value, int objectives, const double *reference);

// The volume of `count` points that all count and are finite.
COP_MUST_CHECK cop_status cop_hypervolume_finite(double *volume, const double *values,
                                                 int64_t count, int objectives,
                                                 const double *reference, cop_error *err);

// The same for three objectives or more.
COP_MUST_CHECK cop_status cop_hypervolume_sweep(double *volume, const double *values, int64_t count,
                                                int objectives, const double *reference,
                                                cop_error *err);

// --- Staircase: points of two objectives that do not dominate each other, in a set of bits over their places
// by the first. `x` and `y` are by place + 1; 0 and places + 1 are its ends.

enum { COP_STAIR_LEVELS = 6 };

typedef struct cop_stair {
    uint64_t *bits[COP_STAIR_LEVELS]; // bit i of a level: word i of the level below is not 0
    int64_t words[COP_STAIR_LEVELS];
    int levels;
    int64_t places;
    double *x; // [places + 2]
    double *y; // [places + 2]
} cop_stair;

COP_MUST_CHECK bool cop_stair_init(cop_stair *stair, int64_t places); // false: out of memory
void cop_stair_release(cop_stair *stair);

// Empties it; points added next are better than (x, y) in both.
void cop_stair_clear(cop_stair *stair, double x, double y);

// Adds a point and returns the area it adds to what is dominated. Points of the same `place` have the same x.
double cop_stair_add(cop_stair *stair, int64_t place, double x, double y);

#endif
