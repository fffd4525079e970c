// Lagrangian bounds. For multipliers m (positive where a maximum binds, negative where a minimum does),
//     sum over layers of min over options (score + m · cost) - sum over resources of m (high or low)
// is a lower bound of every feasible total, concave in m. The ellipsoid method (Shor 1977; Yudin and
// Nemirovski 1976) maximises it: any m gives a valid bound, so its accuracy decides only the speed.

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "search/knapsack_internal.h"

enum { MOST = COP_KNAPSACK_RESOURCES_MAX };

// The least score + m · cost of a layer, and its option.
static double layer_least(const cop_knapsack_table *t, int layer, const double *m, int64_t *option)
{
    double least = (double)INFINITY;
    *option = 0;
    for (int64_t j = t->first[layer]; j < t->first[layer] + t->options[layer]; j++) {
        double value = t->score[j];
        for (int r = 0; r < t->resources; r++) {
            value += m[r] * (double)t->cost[j * t->resources + r];
        }
        if (value < least) {
            least = value;
            *option = j;
        }
    }
    return least;
}

// The bound of the whole problem; `slope` is a direction in which it rises, in units of a resource's range.
static double dual(const cop_knapsack_table *t, const double *m, double *slope)
{
    double total[MOST] = {0};
    double value = 0;
    for (int l = 0; l < t->layers; l++) {
        int64_t j = 0;
        value += layer_least(t, l, m, &j);
        for (int r = 0; r < t->resources; r++) {
            total[r] += (double)t->cost[j * t->resources + r];
        }
    }
    for (int r = 0; r < t->resources; r++) {
        const double low = (double)t->low[r];
        const double high = (double)t->high[r];
        const double at_zero = fmin(fmax(total[r], low), high); // between the bounds: no slope
        const double bound = m[r] > 0 ? high : m[r] < 0 ? low : at_zero;
        value -= m[r] * bound;
        slope[r] = (total[r] - bound) / fmax((double)t->suffix_most[r], 1);
    }
    return value;
}

// One step of the method in n dimensions around the centre x with matrix p.
static void step(double *x, double p[MOST][MOST], const double *slope, int n)
{
    double along[MOST] = {0};
    double square = 0;
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < n; k++) {
            along[i] += p[i][k] * slope[k];
        }
        square += along[i] * slope[i];
    }
    if (!(square > 0)) {
        return;
    }
    const double root = sqrt(square);
    for (int i = 0; i < n; i++) {
        x[i] += along[i] / (root * (n + 1));
    }
    if (n == 1) {
        p[0][0] /= 4;
        return;
    }
    const double grow = (double)(n * n) / (n * n - 1);
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < n; k++) {
            p[i][k] = grow * (p[i][k] - 2.0 / (n + 1) * along[i] * along[k] / square);
        }
    }
}

static void maximise(const cop_knapsack_table *t, double *best)
{
    int active[MOST] = {0};
    int n = 0;
    double x[MOST] = {0};
    double p[MOST][MOST] = {{0}};
    double m[MOST] = {0};
    double slope[MOST] = {0};
    memset(best, 0, MOST * sizeof *best);
    for (int r = 0; r < t->resources; r++) {
        if (t->low[r] > 0 || t->high[r] < t->suffix_most[r]) {
            active[n++] = r;
        }
    }
    // Multipliers in units of (all scores' range) / (a resource's range): steeper than 1e4 is rare.
    const double radius = 1e4 * fmax(t->score_span, DBL_MIN);
    for (int i = 0; i < n; i++) {
        p[i][i] = radius * radius;
    }
    double highest = dual(t, m, slope);
    const int steps = n == 1 ? 64 : 64 * n * (n + 1);
    for (int s = 0; n > 0 && s < steps; s++) {
        double reduced[MOST] = {0};
        for (int i = 0; i < n; i++) {
            m[active[i]] = x[i] / fmax((double)t->suffix_most[active[i]], 1);
        }
        const double value = dual(t, m, slope);
        if (value > highest) {
            highest = value;
            memcpy(best, m, MOST * sizeof *best);
        }
        for (int i = 0; i < n; i++) {
            reduced[i] = slope[active[i]];
        }
        step(x, p, reduced, n);
    }
}

// Fills the sums from the end; the last entry carries the bounds and what rounding may cost.
static void fill_suffix(cop_knapsack_table *t, int k)
{
    const double *m = t->multiplier[k];
    double size = t->score_size;
    double last = 0;
    for (int r = 0; r < t->resources; r++) {
        last -= m[r] * (double)(m[r] > 0 ? t->high[r] : t->low[r]);
        size += fabs(m[r]) * (double)t->suffix_most[r];
    }
    // Each of some 8 operations per layer errs by half an epsilon of `size` at most.
    const double rounding = 8 * DBL_EPSILON * (t->layers + 8) * size;
    t->suffix[(int64_t)t->layers * t->multipliers + k] = last - rounding;
    for (int l = t->layers; l-- > 0;) {
        int64_t option = 0;
        t->suffix[(int64_t)l * t->multipliers + k] =
            t->suffix[((int64_t)l + 1) * t->multipliers + k] + layer_least(t, l, m, &option);
    }
}

cop_status cop_knapsack_bound(cop_knapsack_table *table, cop_error *err)
{
    static const double shifts[COP_KNAPSACK_SHIFTS] = {0.97, 1.03, 0.9, 1.1, 0.75,
                                                       1.35, 0.5,  2,   0.2, 5};
    double best[MOST];
    maximise(table, best);
    int count = 0;
    memcpy(table->multiplier[count++], best, sizeof best);
    for (int r = 0; r < table->resources; r++) {
        for (int s = 0; s < COP_KNAPSACK_SHIFTS && fabs(best[r]) > 0; s++) {
            memcpy(table->multiplier[count], best, sizeof best);
            table->multiplier[count++][r] *= shifts[s];
        }
    }
    if (count > 1) {
        memset(table->multiplier[count++], 0, sizeof best);
    }
    table->multipliers = count;
    cop_free(table->suffix);
    table->suffix = cop_alloc(((size_t)table->layers + 1) * (size_t)count, sizeof *table->suffix);
    if (table->suffix == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "knapsack: out of memory");
    }
    for (int k = 0; k < count; k++) {
        fill_suffix(table, k);
    }
    return COP_OK;
}
