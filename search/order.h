// Sorting by a number without mispredicted branches: what non-dominated sorting, hypervolumes and crowding
// distances start with. A stable merge sort of (key, index) pairs; two halves are merged from both ends at
// once, and the smallest pieces are ordered by counting.

#ifndef COP_SEARCH_ORDER_H
#define COP_SEARCH_ORDER_H

#include <math.h>
#include <stdint.h>
#include <string.h>

typedef struct cop_order {
    int64_t key;
    int64_t index; // the caller's
} cop_order;

// A key that orders as the values do: -0 and 0 are equal, a NaN counts as +infinity.
static inline int64_t cop_order_key(double value)
{
    const double canonical = isnan(value) ? (double)INFINITY : value + 0.0; // -0 + 0 is 0
    int64_t bits = 0;
    memcpy(&bits, &canonical, sizeof bits);
    return bits < 0 ? bits ^ INT64_MAX : bits;
}

// Sorts by key; equal keys keep their order. `scratch` holds `count` elements. O(count log count).
void cop_order_sort(cop_order *items, cop_order *scratch, int64_t count);

#endif
