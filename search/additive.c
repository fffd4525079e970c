#include "search/additive.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "search/knapsack_internal.h"
#include "search/strategy_internal.h"

enum {
    MOST = COP_KNAPSACK_RESOURCES_MAX,
    BISECTIONS = 48,
    // Of several resources that nearly say the same (params and FLOPs) a proof can take minutes.
    STATES_MANY = 2048
};

// Levels of the shared axes.
typedef struct combination {
    int64_t number; // in the order of an odometer, the first axis slowest
    double score;   // of what is shared
    int64_t low;    // of the first resource
    int64_t high;
    double bound; // no point of those asked for scores less
} combination;

struct cop_additive_search {
    const cop_domain *domain; // borrowed
    const cop_additivity *additivity;
    bool has_own; // are there axes that are not shared?
    combination *combination;
    int64_t combinations;
    combination *order; // [combinations]
    int32_t *genome;    // [2, axes]
    cop_additive part;  // arrays owned: of the combination at hand
    // Its problem: the axes that are not shared and matter.
    int layers;
    int *axis;    // [axes] of each layer
    int *options; // [axes]
    double *score;
    int64_t *cost;
};

// The best so far: `slot` says where a point's genome is.
typedef struct best {
    int64_t wanted;
    int64_t count;
    int64_t *slot;
    double *score;
    int32_t *genome;
} best;

// --- Combinations -------------------------------------------------------------------------------

static void set_shared(const cop_additive_search *s, int64_t number, int32_t *genome)
{
    for (int axis = s->domain->axes - 1; axis >= 0; axis--) {
        genome[axis] = 0;
        if (s->additivity->is_shared[axis]) {
            genome[axis] = (int32_t)(number % s->domain->levels[axis]);
            number /= s->domain->levels[axis];
        }
    }
}

// Fills the problem of a combination. false: no point, or one that another stands for.
static bool open_combination(cop_additive_search *s, int64_t number)
{
    const cop_domain *domain = s->domain;
    const int resources = s->additivity->resources;
    int32_t *canonical = s->genome + domain->axes;
    int64_t from = 0;
    int64_t to = 0;

    set_shared(s, number, s->genome);
    memcpy(canonical, s->genome, (size_t)domain->axes * sizeof *canonical);
    cop_domain_canonicalize(domain, canonical);
    for (int axis = 0; axis < domain->axes; axis++) {
        if (s->additivity->is_shared[axis] && canonical[axis] != s->genome[axis]) {
            return false;
        }
    }
    if (!s->additivity->fill(domain->context, s->genome, &s->part)) {
        return false;
    }
    s->layers = 0;
    for (int axis = 0; axis < domain->axes; axis++) {
        const int64_t levels = s->additivity->is_shared[axis] ? 0 : domain->levels[axis];
        if (levels > 0 && s->part.matters[axis]) {
            s->axis[s->layers] = axis;
            s->options[s->layers++] = (int)levels;
            memcpy(s->score + to, s->part.level_score + from, (size_t)levels * sizeof *s->score);
            memcpy(s->cost + to * resources, s->part.level_cost + from * resources,
                   (size_t)(levels * resources) * sizeof *s->cost);
            to += levels;
        }
        from += levels;
    }
    return true;
}

// Least and most that the combination at hand costs.
static void limits(const cop_additive_search *s, int resource, int64_t *low, int64_t *high)
{
    const int resources = s->additivity->resources;
    int64_t first = 0;
    *low = s->part.cost[resource];
    *high = *low;
    for (int l = 0; l < s->layers; l++) {
        int64_t least = s->cost[first * resources + resource];
        int64_t most = least;
        for (int64_t j = first; j < first + s->options[l]; j++) {
            const int64_t cost = s->cost[j * resources + resource];
            least = cost < least ? cost : least;
            most = cost > most ? cost : most;
        }
        *low += least;
        *high += most;
        first += s->options[l];
    }
}

static void list_combinations(cop_additive_search *s, int64_t numbers)
{
    for (int64_t number = 0; number < numbers; number++) {
        combination *c = &s->combination[s->combinations];
        bool can_hold = open_combination(s, number);
        for (int r = 0; can_hold && r < s->additivity->resources; r++) {
            int64_t low = 0;
            int64_t high = 0;
            limits(s, r, &low, &high);
            can_hold = low <= s->additivity->max[r] && high >= s->additivity->min[r];
            c->low = r == 0 ? low : c->low;
            c->high = r == 0 ? high : c->high;
        }
        if (can_hold) {
            c->number = number;
            c->score = s->part.score;
            s->combinations++;
        }
    }
}

bool cop_additive_sizes(const cop_additive_search *search, int64_t *low, int64_t *high)
{
    const int64_t min = search->additivity->min[0];
    const int64_t max = search->additivity->max[0];
    *low = INT64_MAX;
    *high = INT64_MIN;
    for (int64_t i = 0; i < search->combinations; i++) {
        const combination *c = &search->combination[i];
        *low = c->low < *low ? c->low : *low;
        *high = c->high > *high ? c->high : *high;
    }
    *low = *low < min ? min : *low;
    *high = *high > max ? max : *high;
    return search->combinations > 0 && *low <= *high;
}

// --- The bound ----------------------------------------------------------------------------------

// Minimum of score + price * cost over the choices; *cost: of the first resource.
static double priced(const cop_additive_search *s, double price, double *cost)
{
    const int resources = s->additivity->resources;
    int64_t first = 0;
    double sum = 0;
    *cost = 0;
    for (int l = 0; l < s->layers; l++) {
        double least = (double)INFINITY;
        double its_cost = 0;
        for (int64_t j = first; j < first + s->options[l]; j++) {
            const double c = (double)s->cost[j * resources];
            const double value = s->score[j] + price * c;
            if (value < least) {
                least = value;
                its_cost = c;
            }
        }
        sum += least;
        *cost += its_cost;
        first += s->options[l];
    }
    return sum;
}

// No point of the combination at hand with at most `high` of the first resource scores less.
static double bound_of(const cop_additive_search *s, int64_t high)
{
    const double room = (double)high - (double)s->part.cost[0];
    double cost = 0;
    double least = priced(s, 0, &cost);
    if (s->layers > 0 && cost > room) {
        double low = 0;
        double top = 1e-12;
        for (int i = 0; i < 2 * BISECTIONS && cost > room; i++) {
            top *= 4;
            least = fmax(least, priced(s, top, &cost) - top * room);
        }
        for (int i = 0; i < BISECTIONS; i++) {
            const double price = low + (top - low) / 2;
            least = fmax(least, priced(s, price, &cost) - price * room);
            low = cost > room ? price : low;
            top = cost > room ? top : price;
        }
    }
    // What rounding may have added is taken off: any smaller number is a bound, too.
    const double sum = s->part.score + least;
    return sum - 1e-9 * (fabs(sum) + 1);
}

static int compare_bounds(const void *a, const void *b)
{
    const combination *x = a;
    const combination *y = b;
    if (x->bound != y->bound) {
        return x->bound < y->bound ? -1 : 1;
    }
    return (x->number > y->number) - (x->number < y->number);
}

// Combinations that reach into [low, high], the most promising first.
static int64_t order_combinations(cop_additive_search *s, int64_t low, int64_t high)
{
    int64_t count = 0;
    for (int64_t i = 0; i < s->combinations; i++) {
        combination c = s->combination[i];
        if (c.high < low || c.low > high) {
            continue;
        }
        c.bound = c.score;
        if (s->has_own && open_combination(s, c.number)) {
            c.bound = bound_of(s, high);
        }
        s->order[count++] = c;
    }
    qsort(s->order, (size_t)count, sizeof *s->order, compare_bounds);
    return count;
}

// --- The best -----------------------------------------------------------------------------------

static double worst_of(const best *b)
{
    return b->count == b->wanted ? b->score[b->count - 1] : (double)INFINITY;
}

// Equal scores stay in the order they came.
static void insert(best *b, double score, const int32_t *genome, int axes)
{
    if (b->count == b->wanted && !(score < worst_of(b))) {
        return;
    }
    const bool is_full = b->count == b->wanted;
    const int64_t slot = is_full ? b->slot[b->count - 1] : b->count;
    int64_t at = is_full ? b->count - 1 : b->count++;
    for (; at > 0 && b->score[at - 1] > score; at--) {
        b->score[at] = b->score[at - 1];
        b->slot[at] = b->slot[at - 1];
    }
    b->score[at] = score;
    b->slot[at] = slot;
    memcpy(b->genome + slot * axes, genome, (size_t)axes * sizeof *genome);
}

// What is left of the bounds for the choices of the combination at hand. false: nothing.
static bool set_bounds(const cop_additive_search *s, int64_t low, int64_t high,
                       cop_knapsack_problem *problem)
{
    for (int r = 0; r < s->additivity->resources; r++) {
        int64_t min = s->additivity->min[r];
        int64_t max = s->additivity->max[r];
        min = r == 0 && low > min ? low : min;
        max = r == 0 && high < max ? high : max;
        if (min > max || max < s->part.cost[r]) {
            return false;
        }
        problem->min[r] = min > s->part.cost[r] ? min - s->part.cost[r] : 0;
        problem->max[r] = max == INT64_MAX ? max : max - s->part.cost[r];
        if (s->layers == 0 && problem->min[r] > 0) {
            return false;
        }
    }
    return true;
}

// Adds the best points of the combination at hand.
static cop_status solve(cop_additive_search *s, int64_t low, int64_t high, best *b, bool *is_proven,
                        cop_error *err)
{
    cop_status status = COP_OK;
    cop_knapsack_options options = COP_KNAPSACK_OPTIONS_DEFAULT;
    cop_knapsack_result result = {0};
    cop_knapsack_problem problem = {.layers = s->layers,
                                    .resources = s->additivity->resources,
                                    .options = s->options,
                                    .score = s->score,
                                    .cost = s->cost};

    options.solutions = b->wanted;
    if (problem.resources > 1) {
        options.states_max = 4 * b->wanted > STATES_MANY ? 4 * b->wanted : STATES_MANY;
    }
    if (!set_bounds(s, low, high, &problem)) {
        return COP_OK;
    }
    if (s->layers == 0) {
        insert(b, s->part.score, s->genome, s->domain->axes);
        return COP_OK;
    }
    COP_TRY(status, cop_knapsack_check(&problem, &options, err));
    COP_TRY(status, cop_knapsack_solve_plain(&result, &problem, &options, err));
    for (int64_t i = 0; i < result.count; i++) {
        for (int l = 0; l < s->layers; l++) {
            s->genome[s->axis[l]] = result.choice[i * s->layers + l];
        }
        insert(b, s->part.score + result.score[i], s->genome, s->domain->axes);
    }
    *is_proven = *is_proven &&
                 (result.state == COP_KNAPSACK_OPTIMAL || result.state == COP_KNAPSACK_INFEASIBLE);

done:
    cop_knapsack_result_release(&result);
    return status;
}

static cop_status nomem(cop_error *err)
{
    return COP_FAIL(err, COP_ERR_NOMEM, "strategy: out of memory");
}

static cop_status publish(cop_additive_found *out, best *b, int axes, cop_error *err)
{
    out->genome = cop_alloc((size_t)(b->count * axes) + 1, sizeof *out->genome);
    if (out->genome == NULL) {
        return nomem(err);
    }
    for (int64_t i = 0; i < b->count; i++) {
        memcpy(out->genome + i * axes, b->genome + b->slot[i] * axes,
               (size_t)axes * sizeof *out->genome);
    }
    out->count = b->count;
    out->score = b->score;
    b->score = NULL;
    return COP_OK;
}

cop_status cop_additive_best(cop_additive_found *out, cop_additive_search *search, int64_t low,
                             int64_t high, int64_t wanted, cop_error *err)
{
    cop_status status = COP_OK;
    const int axes = search->domain->axes;
    int64_t count = 0;
    best b = {.wanted = wanted};

    *out = (cop_additive_found){.is_proven = true};
    b.slot = cop_alloc((size_t)wanted, sizeof *b.slot);
    b.score = cop_alloc((size_t)wanted, sizeof *b.score);
    b.genome = cop_alloc((size_t)(wanted * axes), sizeof *b.genome);
    if (b.slot == NULL || b.score == NULL || b.genome == NULL) {
        COP_TRY(status, nomem(err));
    }
    count = order_combinations(search, low, high);
    for (int64_t i = 0; i < count && !(search->order[i].bound > worst_of(&b)); i++) {
        if (open_combination(search, search->order[i].number)) {
            COP_TRY(status, solve(search, low, high, &b, &out->is_proven, err));
        }
    }
    COP_TRY(status, publish(out, &b, axes, err));

done:
    cop_free(b.slot);
    cop_free(b.score);
    cop_free(b.genome);
    return status;
}

void cop_additive_found_release(cop_additive_found *found)
{
    cop_free(found->genome);
    cop_free(found->score);
    *found = (cop_additive_found){0};
}

// --- Life cycle ---------------------------------------------------------------------------------

// Combinations of the shared axes, and levels of the others.
static cop_status count_all(cop_additive_search *s, int64_t *numbers, int64_t *levels,
                            cop_error *err)
{
    double product = 1;
    *levels = 0;
    for (int axis = 0; axis < s->domain->axes; axis++) {
        if (s->additivity->is_shared[axis]) {
            product *= s->domain->levels[axis];
        } else if (s->domain->levels[axis] > COP_KNAPSACK_OPTIONS_MAX) {
            return COP_FAIL(err, COP_ERR_CONFIG,
                            "strategy: knapsack: an axis has %" PRId32 " levels (allowed: 1..%d)",
                            s->domain->levels[axis], (int)COP_KNAPSACK_OPTIONS_MAX);
        } else {
            s->has_own = true;
            *levels += s->domain->levels[axis];
        }
    }
    const int most = s->has_own ? COP_ADDITIVE_COMBINATIONS_MAX : COP_ADDITIVE_POINTS_MAX;
    if (product > most) {
        return COP_FAIL(err, COP_ERR_CONFIG,
                        "strategy: knapsack: the axes that all layers share have %.4g combinations "
                        "(allowed: 1..%d)",
                        product, most);
    }
    *numbers = (int64_t)product;
    return COP_OK;
}

static cop_status check(const cop_domain *domain, cop_error *err)
{
    if (domain->additivity == NULL) {
        return COP_FAIL(err, COP_ERR_CONFIG,
                        "strategy: knapsack needs scores that add up over the layers: a teacher "
                        "and its importance (allowed: another strategy, or a study with a teacher "
                        "and prune.order: important)");
    }
    if (domain->additivity->resources > MOST) {
        return COP_FAIL(err, COP_ERR_CONFIG,
                        "strategy: knapsack: bounds are about %d sums, params included "
                        "(allowed: 1..%d)",
                        domain->additivity->resources, (int)MOST);
    }
    return COP_OK;
}

cop_status cop_additive_search_create(cop_additive_search **out, const cop_domain *domain,
                                      cop_error *err)
{
    cop_status status = COP_OK;
    int64_t numbers = 0;
    int64_t levels = 0;
    size_t costs = 0;
    const size_t axes = (size_t)domain->axes;
    cop_additive_search *s = NULL;

    *out = NULL;
    COP_TRY(status, check(domain, err));
    s = cop_alloc(1, sizeof *s);
    if (s == NULL) {
        return nomem(err);
    }
    s->domain = domain;
    s->additivity = domain->additivity;
    COP_TRY(status, count_all(s, &numbers, &levels, err));
    costs = (size_t)levels * (size_t)s->additivity->resources;
    s->combination = cop_alloc((size_t)numbers + 1, sizeof *s->combination);
    s->order = cop_alloc((size_t)numbers, sizeof *s->order);
    s->genome = cop_alloc(2 * axes, sizeof *s->genome);
    s->part.matters = cop_alloc(axes, sizeof *s->part.matters);
    s->part.level_score = cop_alloc((size_t)levels + 1, sizeof *s->part.level_score);
    s->part.level_cost = cop_alloc(costs + 1, sizeof *s->part.level_cost);
    s->axis = cop_alloc(axes, sizeof *s->axis);
    s->options = cop_alloc(axes, sizeof *s->options);
    s->score = cop_alloc((size_t)levels + 1, sizeof *s->score);
    s->cost = cop_alloc(costs + 1, sizeof *s->cost);
    if (s->combination == NULL || s->order == NULL || s->genome == NULL ||
        s->part.matters == NULL || s->part.level_score == NULL || s->part.level_cost == NULL ||
        s->axis == NULL || s->options == NULL || s->score == NULL || s->cost == NULL) {
        COP_TRY(status, nomem(err));
    }
    list_combinations(s, numbers);
    *out = s;
    s = NULL;

done:
    cop_additive_search_destroy(s);
    return status;
}

void cop_additive_search_destroy(cop_additive_search *search)
{
    if (search != NULL) {
        cop_free(search->combination);
        cop_free(search->order);
        cop_free(search->genome);
        cop_free(search->part.matters);
        cop_free(search->part.level_score);
        cop_free(search->part.level_cost);
        cop_free(search->axis);
        cop_free(search->options);
        cop_free(search->score);
        cop_free(search->cost);
        cop_free(search);
    }
}
