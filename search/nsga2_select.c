#include <math.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "search/nsga2_internal.h"

static cop_status reserve(cop_nsga2_selection *self, int64_t count, cop_error *err)
{
    if (count <= self->room) {
        return COP_OK;
    }
    const int objectives = self->objectives;
    const size_t room = 2 * (size_t)count;
    cop_nsga2_selection_release(self);
    self->objectives = objectives;
    self->point = cop_alloc(room, sizeof *self->point);
    self->scratch = cop_alloc(room, sizeof *self->scratch);
    self->work = cop_alloc(room, sizeof *self->work);
    self->next = cop_alloc(room * (size_t)objectives, sizeof *self->next);
    self->previous = cop_alloc(room * (size_t)objectives, sizeof *self->previous);
    self->crowding = cop_alloc(room, sizeof *self->crowding);
    self->order = cop_alloc(room, sizeof *self->order);
    if (self->point == NULL || self->scratch == NULL || self->work == NULL || self->next == NULL ||
        self->previous == NULL || self->crowding == NULL || self->order == NULL) {
        cop_nsga2_selection_release(self);
        self->objectives = objectives;
        return COP_FAIL(err, COP_ERR_NOMEM, "strategy: out of memory");
    }
    self->room = (int64_t)room;
    return COP_OK;
}

void cop_nsga2_selection_release(cop_nsga2_selection *self)
{
    cop_free(self->point);
    cop_free(self->scratch);
    cop_free(self->work);
    cop_free(self->next);
    cop_free(self->previous);
    cop_free(self->crowding);
    cop_free(self->order);
    *self = (cop_nsga2_selection){0};
}

static int compare_ordered(const void *a, const void *b)
{
    const cop_nsga2_ordered *x = a;
    const cop_nsga2_ordered *y = b;
    if (x->value != y->value) {
        return x->value < y->value ? -1 : 1;
    }
    return (x->index > y->index) - (x->index < y->index);
}

// Links the points of a front by each objective and returns their ranges in `range`.
static void link_front(cop_nsga2_selection *self, const cop_front_point *front, int64_t count,
                       double *range)
{
    cop_nsga2_ordered *order = self->order;
    for (int k = 0; k < self->objectives; k++) {
        int64_t *next = &self->next[k * self->room];
        int64_t *previous = &self->previous[k * self->room];
        for (int64_t i = 0; i < count; i++) {
            order[i] = (cop_nsga2_ordered){front[i].value[k], i};
        }
        qsort(order, (size_t)count, sizeof *order, compare_ordered);
        for (int64_t i = 0; i < count; i++) {
            next[order[i].index] = i + 1 < count ? order[i + 1].index : -1;
            previous[order[i].index] = i > 0 ? order[i - 1].index : -1;
        }
        range[k] = order[count - 1].value - order[0].value;
    }
}

static double crowding_of(const cop_nsga2_selection *self, const cop_front_point *front, int64_t i,
                          const double *range)
{
    double sum = 0;
    for (int k = 0; k < self->objectives; k++) {
        const int64_t next = self->next[k * self->room + i];
        const int64_t previous = self->previous[k * self->room + i];
        if (next < 0 || previous < 0) {
            return (double)INFINITY;
        }
        if (range[k] > 0 && isfinite(range[k])) {
            sum += (front[next].value[k] - front[previous].value[k]) / range[k];
        }
    }
    return sum;
}

// Takes a point out of the order of every objective and measures its neighbours again.
static void unlink_point(cop_nsga2_selection *self, const cop_front_point *front, int64_t point,
                         const double *range)
{
    for (int k = 0; k < self->objectives; k++) {
        int64_t *next = &self->next[k * self->room];
        int64_t *previous = &self->previous[k * self->room];
        if (next[point] >= 0) {
            previous[next[point]] = previous[point];
        }
        if (previous[point] >= 0) {
            next[previous[point]] = next[point];
        }
    }
    for (int k = 0; k < self->objectives; k++) {
        const int64_t beside[] = {self->next[k * self->room + point],
                                  self->previous[k * self->room + point]};
        for (int side = 0; side < 2; side++) {
            if (beside[side] >= 0) {
                self->crowding[beside[side]] = crowding_of(self, front, beside[side], range);
            }
        }
    }
}

// Crowding distances of a front; all but `limit` points are removed, the most crowded first, and have
// distance -1 then.
static void crowd(cop_nsga2_selection *self, const cop_front_point *front, int64_t count,
                  int64_t limit)
{
    double range[COP_FRONT_OBJECTIVES_MAX];
    link_front(self, front, count, range);
    for (int64_t i = 0; i < count; i++) {
        self->crowding[i] = crowding_of(self, front, i, range);
    }
    for (int64_t left = count; left > limit; left--) {
        int64_t worst = -1;
        for (int64_t i = 0; i < count; i++) {
            if (self->crowding[i] >= 0 &&
                (worst < 0 || self->crowding[i] < self->crowding[worst])) {
                worst = i;
            }
        }
        self->crowding[worst] = -1;
        unlink_point(self, front, worst, range);
    }
}

// Appends the fronts of the sorted feasible points.
static int64_t take_fronts(cop_nsga2_selection *self, cop_nsga2_result *result, int64_t *index,
                           int64_t feasible, int64_t limit)
{
    int64_t kept = 0;
    for (int64_t start = 0; start < feasible && kept < limit;) {
        int64_t end = start;
        while (end < feasible && self->point[end].front == self->point[start].front) {
            end++;
        }
        crowd(self, &self->point[start], end - start, limit - kept);
        for (int64_t i = start; i < end; i++) {
            cop_nsga2_result *r = &result[self->point[i].index];
            if (self->crowding[i - start] >= 0) {
                r->rank = self->point[i].front;
                r->crowding = self->crowding[i - start];
                index[kept++] = self->point[i].index;
            }
        }
        start = end;
    }
    return kept;
}

cop_status cop_nsga2_select(cop_nsga2_selection *self, cop_nsga2_result *result, int64_t *index,
                            int64_t *count, int64_t limit, cop_error *err)
{
    const int64_t total = *count;
    int64_t feasible = 0;
    int64_t infeasible = 0;

    if (reserve(self, total, err) != COP_OK) {
        return COP_ERR_NOMEM;
    }
    for (int64_t i = 0; i < total; i++) {
        if (!(result[index[i]].violation > 0)) {
            self->point[feasible++] = result[index[i]].point;
        }
    }
    cop_front_sort(self->point, feasible, self->objectives, self->scratch, self->work);
    // The order of infeasible ones uses memory that the fronts use too: it is made when they are done.
    for (int64_t i = 0; i < total; i++) {
        if (result[index[i]].violation > 0) {
            self->work[infeasible++] = index[i];
        }
    }
    *count = take_fronts(self, result, index, feasible, limit);
    for (int64_t i = 0; i < infeasible; i++) {
        self->order[i] = (cop_nsga2_ordered){result[self->work[i]].violation, self->work[i]};
    }
    qsort(self->order, (size_t)infeasible, sizeof *self->order, compare_ordered);
    for (int64_t i = 0; i < infeasible && *count < limit; i++) {
        result[self->order[i].index].rank = total + i;
        result[self->order[i].index].crowding = 0;
        index[(*count)++] = self->order[i].index;
    }
    return COP_OK;
}
