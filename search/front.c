#include "search/front.h"

#include <math.h>
#include <stdlib.h>

bool cop_front_dominates(const cop_front_point *a, const cop_front_point *b, int objectives)
{
    bool is_better = false;
    for (int i = 0; i < objectives; i++) {
        if (a->value[i] > b->value[i]) {
            return false;
        }
        is_better = is_better || a->value[i] < b->value[i];
    }
    return is_better;
}

static int compare_by_value(const void *a, const void *b)
{
    const cop_front_point *x = a;
    const cop_front_point *y = b;
    for (int i = 0; i < COP_FRONT_OBJECTIVES_MAX; i++) {
        if (x->value[i] != y->value[i]) {
            return x->value[i] < y->value[i] ? -1 : 1;
        }
    }
    return (x->index > y->index) - (x->index < y->index);
}

// Points are ordered by the first objective, so within a front the second one falls: the last point added
// to a front dominates whatever any of its points dominates.
static void sort_two(cop_front_point *points, int64_t count, int objectives, int64_t *last)
{
    int64_t fronts = 0;
    for (int64_t i = 0; i < count; i++) {
        int64_t low = 0;
        int64_t high = fronts;
        while (low < high) {
            const int64_t middle = low + (high - low) / 2;
            if (cop_front_dominates(&points[last[middle]], &points[i], objectives)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        points[i].front = low;
        last[low] = i;
        fronts = low == fronts ? fronts + 1 : fronts;
    }
}

// Points are ordered so that whatever dominates a point comes before it: one pass settles its front.
static void sort_many(cop_front_point *points, int64_t count, int objectives)
{
    for (int64_t i = 0; i < count; i++) {
        points[i].front = 0;
        for (int64_t j = 0; j < i; j++) {
            if (points[j].front >= points[i].front &&
                cop_front_dominates(&points[j], &points[i], objectives)) {
                points[i].front = points[j].front + 1;
            }
        }
    }
}

// Moves the points to the order of their fronts, keeping their order within each.
static void gather_fronts(cop_front_point *points, int64_t count, cop_front_point *scratch,
                          int64_t *start)
{
    for (int64_t i = 0; i < count; i++) {
        start[i] = 0;
    }
    for (int64_t i = 0; i < count; i++) {
        scratch[i] = points[i];
        if (points[i].front + 1 < count) {
            start[points[i].front + 1]++;
        }
    }
    for (int64_t k = 1; k < count; k++) {
        start[k] += start[k - 1];
    }
    for (int64_t i = 0; i < count; i++) {
        points[start[scratch[i].front]++] = scratch[i];
    }
}

void cop_front_sort(cop_front_point *points, int64_t count, int objectives,
                    cop_front_point *scratch, int64_t *work)
{
    for (int64_t i = 0; i < count; i++) {
        for (int k = 0; k < COP_FRONT_OBJECTIVES_MAX; k++) {
            if (k >= objectives) {
                points[i].value[k] = 0;
            } else if (isnan(points[i].value[k])) {
                points[i].value[k] = (double)INFINITY;
            }
        }
    }
    qsort(points, (size_t)count, sizeof *points, compare_by_value);
    if (objectives <= 2) {
        sort_two(points, count, objectives, work);
    } else {
        sort_many(points, count, objectives);
    }
    gather_fronts(points, count, scratch, work);
}
