#include <math.h>

#include "search/nsga2_internal.h"

// Axes with more levels are crossed and mutated like real numbers.
enum { FEW_LEVELS = 16 };

static const double crossover_eta = 15;

static int32_t nearest_level(double level, int32_t levels)
{
    const double rounded = floor(level + 0.5);
    return rounded < 0 ? 0 : rounded > levels - 1 ? levels - 1 : (int32_t)rounded;
}

// Simulated binary crossover of one axis: a value near either parent's, as close as they are to each other.
static int32_t cross_levels(cop_rng *rng, int32_t a, int32_t b, int32_t levels)
{
    const double u = cop_rng_uniform(rng);
    const double power = 1 / (crossover_eta + 1);
    const double beta = u < 0.5 ? pow(2 * u, power) : pow(1 / (2 * (1 - u)), power);
    const bool is_near_a = cop_rng_uniform(rng) < 0.5;
    const double sign = is_near_a ? 1 : -1;
    return nearest_level(0.5 * ((1 + sign * beta) * a + (1 - sign * beta) * b), levels);
}

void cop_nsga2_cross(const cop_domain *domain, cop_rng *rng, const int32_t *mate, int32_t *child)
{
    for (int i = 0; i < domain->axes; i++) {
        if (child[i] != mate[i] && cop_rng_uniform(rng) < 0.5) {
            const bool is_few =
                domain->levels[i] <= FEW_LEVELS || !cop_domain_is_ordered(domain, i);
            child[i] = is_few ? mate[i] : cross_levels(rng, child[i], mate[i], domain->levels[i]);
        }
    }
}

// A step whose size is uniform on a logarithmic scale, from one level to twice the range: it refines and explores
// alike, and it reaches the bounds, where good points of constrained spaces often lie.
static int32_t mutate_many(cop_rng *rng, int32_t level, int32_t levels)
{
    const double reach = fmin(exp(cop_rng_uniform(rng) * log(2.0 * levels)), levels - 1.0);
    const int32_t step = reach < 1 ? 1 : (int32_t)reach;
    if (cop_rng_uniform(rng) < 0.5) {
        return level > step ? level - step : level > 0 ? 0 : 1;
    }
    return level < levels - 1 - step ? level + step : level < levels - 1 ? levels - 1 : level - 1;
}

// A step that grows by one with probability a half, turned round where it would leave the range.
static int32_t mutate_few(cop_rng *rng, int32_t level, int32_t levels)
{
    int32_t step = 1;
    while (step < levels - 1 && cop_rng_uniform(rng) < 0.5) {
        step++;
    }
    const bool is_up = cop_rng_uniform(rng) < 0.5;
    const int32_t mutant = is_up ? level + step : level - step;
    if (mutant >= 0 && mutant < levels) {
        return mutant;
    }
    const int32_t mirrored = is_up ? level - step : level + step;
    if (mirrored >= 0 && mirrored < levels) {
        return mirrored;
    }
    return is_up ? levels - 1 : 0;
}

static int32_t mutate_level(const cop_domain *domain, cop_rng *rng, int axis, int32_t level)
{
    const int32_t levels = domain->levels[axis];
    if (levels == 1) {
        return level;
    }
    if (!cop_domain_is_ordered(domain, axis)) {
        const int32_t other = (int32_t)cop_rng_below(rng, (uint64_t)levels - 1);
        return other < level ? other : other + 1;
    }
    return levels <= FEW_LEVELS ? mutate_few(rng, level, levels) : mutate_many(rng, level, levels);
}

void cop_nsga2_mutate(const cop_domain *domain, cop_rng *rng, double rate, int32_t *child)
{
    for (int i = 0; i < domain->axes; i++) {
        if (cop_rng_uniform(rng) < rate) {
            child[i] = mutate_level(domain, rng, i, child[i]);
        }
    }
}
