#include "tests/search/toy_domains.h"

#include <math.h>
#include <string.h>

static int64_t sum_of(const toy *self, const int32_t *genome)
{
    int64_t sum = 0;
    for (int i = 0; i < self->domain.axes; i++) {
        sum += genome[i];
    }
    return sum;
}

// Axis 0 holds the number of layers less one; layers beyond are absent.
static void canonicalize_first(const void *context, int32_t *genome)
{
    const toy *self = context;
    for (int i = 2 + (int)genome[0]; i < self->domain.axes; i++) {
        genome[i] = 0;
    }
}

static void canonicalize_last(const void *context, int32_t *genome)
{
    const toy *self = context;
    const int last = self->domain.axes - 1;
    for (int i = 1 + (int)genome[last]; i < last; i++) {
        genome[i] = 0;
    }
}

static double violation(const void *context, const int32_t *genome)
{
    const toy *self = context;
    const double sum = (double)sum_of(self, genome);
    if (self->kind == TOY_INFEASIBLE || self->kind == TOY_NO_POINT) {
        return self->kind == TOY_INFEASIBLE ? 1 + sum : (double)INFINITY;
    }
    const double bound = self->kind == TOY_BOUNDED ? 2 : 60;
    return sum > bound ? (sum - bound) / bound : 0;
}

static void strata(const void *context, const int32_t *genome, double *size, double *shape)
{
    *size = (double)sum_of(context, genome);
    *shape = genome[0];
}

static void set_axes(toy *self, int axes, int32_t levels)
{
    self->domain.axes = axes;
    for (int i = 0; i < axes; i++) {
        self->levels[i] = levels;
    }
}

// Layers that a genome of a layered kind has not: their axes do not matter.
static bool matters(const toy *self, const int32_t *genome, int axis)
{
    if (self->kind == TOY_LAYERED || self->kind == TOY_HUGE_LAYERED) {
        return axis < 2 + genome[0];
    }
    return self->kind != TOY_LAYERED_UP || axis < 1 + genome[self->domain.axes - 1];
}

static bool fill(const void *context, const int32_t *genome, cop_additive *out)
{
    const toy *self = context;
    int64_t at = 0;

    if (self->kind == TOY_NO_POINT) {
        return false;
    }
    out->score = 0;
    out->cost[0] = 0;
    for (int i = 0; i < self->domain.axes; i++) {
        if (self->is_shared[i]) {
            out->score += (double)(i + 1) * (self->levels[i] - 1 - genome[i]);
            out->cost[0] += genome[i];
            continue;
        }
        out->matters[i] = matters(self, genome, i);
        for (int32_t level = 0; level < self->levels[i]; level++) {
            out->level_score[at + level] = (double)(i + 1) * (self->levels[i] - 1 - level);
            out->level_cost[at + level] = level;
        }
        at += self->levels[i];
    }
    return true;
}

static void make_additive(toy *self)
{
    const int last = self->domain.axes - 1;
    self->is_shared[0] = self->kind == TOY_LAYERED || self->kind == TOY_HUGE_LAYERED;
    self->is_shared[last] = self->is_shared[last] || self->kind == TOY_LAYERED_UP;
    self->min = self->kind == TOY_INFEASIBLE ? 1000 : 0;
    self->max = self->kind == TOY_BOUNDED ? 2 : self->kind == TOY_HUGE_BOUNDED ? 60 : INT64_MAX;
    self->additivity = (cop_additivity){.is_shared = self->is_shared,
                                        .resources = 1,
                                        .min = &self->min,
                                        .max = &self->max,
                                        .fill = fill};
    self->domain.additivity = &self->additivity;
}

void toy_init(toy *self, toy_kind kind)
{
    *self = (toy){.kind = kind};
    self->domain = (cop_domain){.levels = self->levels, .context = self};
    switch (kind) {
    case TOY_PLAIN: set_axes(self, 3, 4); break;
    case TOY_WORDS:
        set_axes(self, 4, 3);
        self->levels[1] = 1;
        self->domain.is_ordered = self->is_ordered;
        break;
    case TOY_LAYERED:
    case TOY_LAYERED_UP:
        set_axes(self, 4, 3);
        self->domain.canonicalize = kind == TOY_LAYERED ? canonicalize_first : canonicalize_last;
        break;
    case TOY_BOUNDED:
        set_axes(self, 5, 4);
        self->domain.violation = violation;
        break;
    case TOY_ONE_AXIS: set_axes(self, 1, 30); break;
    case TOY_ONE_POINT: set_axes(self, 1, 1); break;
    case TOY_HUGE: set_axes(self, 60, 10); break;
    case TOY_HUGE_BOUNDED:
        set_axes(self, 60, 10);
        self->domain.violation = violation;
        break;
    case TOY_HUGE_LAYERED:
        set_axes(self, 33, 20);
        self->levels[0] = 32;
        self->domain.canonicalize = canonicalize_first;
        break;
    case TOY_INFEASIBLE:
    case TOY_NO_POINT:
        set_axes(self, 4, 3);
        self->domain.violation = violation;
        break;
    case TOY_STRATA:
        set_axes(self, 30, 3);
        self->domain.strata = strata;
        break;
    case TOY_KINDS: break;
    }
    make_additive(self);
}

static bool next_genome(const toy *self, int32_t *genome)
{
    int axis = self->domain.axes - 1;
    while (axis >= 0 && ++genome[axis] == self->levels[axis]) {
        genome[axis--] = 0;
    }
    return axis >= 0;
}

int64_t toy_count(const toy *self)
{
    int32_t genome[TOY_AXES_MAX] = {0};
    int64_t count = 0;
    do {
        int32_t canonical[TOY_AXES_MAX];
        memcpy(canonical, genome, sizeof canonical);
        if (self->domain.canonicalize != NULL) {
            self->domain.canonicalize(self, canonical);
        }
        const bool is_feasible =
            self->domain.violation == NULL || !(self->domain.violation(self, genome) > 0);
        count += is_feasible && memcmp(canonical, genome, sizeof canonical) == 0 ? 1 : 0;
    } while (next_genome(self, genome));
    return count;
}

void toy_evaluate(const toy *self, const int32_t *genome, cop_trial *trial)
{
    int64_t sum = 0;
    int64_t other = 0;
    for (int i = 0; i < self->domain.axes; i++) {
        sum += genome[i];
        other += (int64_t)(i + 1) * (self->levels[i] - 1 - genome[i]);
    }
    *trial = (cop_trial){.genome = genome, .objective = {(double)sum, (double)other}};
    switch ((sum + 3 * other) % 11) {
    case 0: trial->is_failed = true; break;
    case 1: trial->objective[0] = (double)NAN; break;
    case 2: trial->objective[1] = -(double)INFINITY; break;
    case 3: trial->violation = 0.25 * (double)sum; break;
    case 4: trial->violation = (double)NAN; break;
    default: break;
    }
}
