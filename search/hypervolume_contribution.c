#include <math.h>

#include "base/alloc.h"
#include "search/hypervolume_internal.h"
#include "search/order.h"

// Points that count, gathered.
typedef struct gathered {
    double *value;   // [count, objectives]
    int64_t *index;  // [count], of the caller
    double *clipped; // [count, objectives]
    int64_t count;
    int objectives;
} gathered;

// Two objectives. Points by the first, then the second: those below all before them are on the front. What
// one owns lies right of it up to the next such point, and below the last one; the points in between that
// reach into that take their staircase away.
static cop_status contributions_two(double *contribution, const gathered *g,
                                    const double *reference, cop_error *err)
{
    cop_order *item = cop_alloc((size_t)g->count, 2 * sizeof *item);
    if (item == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "hypervolume of %lld points: out of memory",
                        (long long)g->count);
    }
    for (int k = 1; k >= 0; k--) { // a stable sort, the first objective last
        for (int64_t i = 0; i < g->count; i++) {
            item[i].index = k == 1 ? i : item[i].index;
            item[i].key = cop_order_key(g->value[2 * item[i].index + k]);
        }
        cop_order_sort(item, item + g->count, g->count);
    }
    double above = reference[1]; // second objective of the front's point before
    for (int64_t i = 0; i < g->count;) {
        const double *own = g->value + 2 * item[i].index;
        double owned = 0;
        double low = above; // of the staircase so far
        double left = own[0];
        int64_t j = i + 1;
        for (; j < g->count && g->value[2 * item[j].index + 1] >= own[1]; j++) {
            const double *other = g->value + 2 * item[j].index;
            if (other[1] < low) {
                owned += (other[0] - left) * (low - own[1]);
                left = other[0];
                low = other[1];
            }
        }
        const double right = j < g->count ? g->value[2 * item[j].index] : reference[0];
        owned += low > own[1] ? (right - left) * (low - own[1]) : 0;
        contribution[g->index[item[i].index]] = owned;
        above = own[1];
        i = j;
    }
    cop_free(item);
    return COP_OK;
}

// Shrinks `corner`, the far corner of the box that point `p` can own alone: a point that is worse in one
// objective only cuts the box there. false: another is worse in none.
static bool shrink_box(double *corner, const gathered *g, int64_t p)
{
    const double *own = g->value + p * g->objectives;
    for (int64_t i = 0; i < g->count; i++) {
        const double *other = g->value + i * g->objectives;
        int worse = 0;
        int where = 0;
        for (int k = 0; k < g->objectives; k++) {
            if (other[k] > own[k]) {
                worse++;
                where = k;
            }
        }
        if (i != p && worse == 0) {
            return false;
        }
        if (worse == 1 && other[where] < corner[where]) {
            corner[where] = other[where];
        }
    }
    return true;
}

static cop_status contribution_of(double *contribution, const gathered *g, int64_t p,
                                  const double *reference, cop_error *err)
{
    const double *own = g->value + p * g->objectives;
    double corner[COP_HYPERVOLUME_OBJECTIVES_MAX];
    bool is_infinite = false;
    double owned = 1;
    double taken = 0;
    int64_t reaching = 0;
    for (int k = 0; k < g->objectives; k++) {
        corner[k] = reference[k];
    }
    *contribution = 0;
    if (!shrink_box(corner, g, p)) {
        return COP_OK;
    }
    for (int k = 0; k < g->objectives; k++) {
        owned *= corner[k] - own[k];
        is_infinite = is_infinite || isinf(own[k]);
    }
    if (is_infinite) { // whatever else is infinite as well is worse elsewhere
        *contribution = (double)INFINITY;
        return COP_OK;
    }
    for (int64_t i = 0; i < g->count; i++) {
        const double *other = g->value + i * g->objectives;
        if (i != p && cop_hypervolume_counts(other, g->objectives, corner)) {
            double *to = g->clipped + reaching++ * g->objectives;
            for (int k = 0; k < g->objectives; k++) {
                to[k] = other[k] > own[k] ? other[k] : own[k];
            }
        }
    }
    const cop_status status =
        cop_hypervolume_finite(&taken, g->clipped, reaching, g->objectives, corner, err);
    *contribution = owned > taken ? owned - taken : 0;
    return status;
}

cop_status cop_hypervolume_contributions(double *contribution, const double *values, int64_t count,
                                         int objectives, const double *reference, cop_error *err)
{
    cop_status status = cop_hypervolume_check(count, objectives, reference, err);
    if (status != COP_OK) {
        return status;
    }
    const size_t numbers = (size_t)count * (size_t)objectives + 1;
    gathered g = {.objectives = objectives};
    bool is_finite = true;
    g.value = cop_alloc(numbers, sizeof *g.value);
    g.clipped = cop_alloc(numbers, sizeof *g.clipped);
    g.index = cop_alloc((size_t)count + 1, sizeof *g.index);
    if (g.value == NULL || g.clipped == NULL || g.index == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "hypervolume of %lld points: out of memory",
                          (long long)count);
        goto done;
    }
    for (int64_t i = 0; i < count; i++) {
        const double *value = values + i * objectives;
        contribution[i] = 0;
        if (cop_hypervolume_counts(value, objectives, reference)) {
            for (int k = 0; k < objectives; k++) {
                g.value[g.count * objectives + k] = value[k];
                is_finite = is_finite && isfinite(value[k]);
            }
            g.index[g.count++] = i;
        }
    }
    if (objectives == 2 && is_finite && g.count > 0) {
        COP_TRY(status, contributions_two(contribution, &g, reference, err));
        goto done;
    }
    for (int64_t i = 0; i < g.count; i++) {
        COP_TRY(status, contribution_of(&contribution[g.index[i]], &g, i, reference, err));
    }
done:
    cop_free(g.value);
    cop_free(g.clipped);
    cop_free(g.index);
    return status;
}
