// The best points by a score that adds up, against all points of small domains, and the strategy that proposes them.

#include "search/additive.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "search/strategy.h"
#include "tests/support.h"

enum { AXES = 6, LEVELS = 3, RESOURCES = 2, POINTS = 729 };

// --- Small domains --------------------------------------------------------------------------------

// Two shared axes: the first says how many of the others matter, the second scales their costs.
typedef struct small {
    cop_domain domain;
    cop_additivity additivity;
    int32_t levels[AXES];
    bool is_shared[AXES];
    double score[AXES][LEVELS];
    int64_t cost[AXES][LEVELS][RESOURCES];
    int64_t min[RESOURCES];
    int64_t max[RESOURCES];
} small;

static bool small_matters(const int32_t *genome, int axis)
{
    return axis < 4 + genome[0];
}

static void small_canonicalize(const void *context, int32_t *genome)
{
    (void)context;
    for (int i = 2; i < AXES; i++) {
        genome[i] = small_matters(genome, i) ? genome[i] : 0;
    }
}

static double small_sum(const small *s, const int32_t *genome, int64_t cost[RESOURCES])
{
    double score = 0;
    memset(cost, 0, RESOURCES * sizeof *cost);
    for (int i = 0; i < AXES; i++) {
        for (int r = 0; r < RESOURCES && small_matters(genome, i); r++) {
            cost[r] += s->cost[i][genome[i]][r] * (i > 1 ? 1 + genome[1] : 1);
        }
        score += small_matters(genome, i) ? s->score[i][genome[i]] : 0;
    }
    return score;
}

static double small_violation(const void *context, const int32_t *genome)
{
    const small *s = context;
    int64_t cost[RESOURCES];
    double sum = 0;
    (void)small_sum(s, genome, cost);
    for (int r = 0; r < RESOURCES; r++) {
        sum += cost[r] > s->max[r] ? (double)(cost[r] - s->max[r]) : 0;
        sum += cost[r] < s->min[r] ? (double)(s->min[r] - cost[r]) : 0;
    }
    return sum;
}

static bool small_fill(const void *context, const int32_t *genome, cop_additive *out)
{
    const small *s = context;
    int at = 0;
    out->score = s->score[0][genome[0]] + s->score[1][genome[1]];
    for (int r = 0; r < RESOURCES; r++) {
        out->cost[r] = s->cost[0][genome[0]][r] + s->cost[1][genome[1]][r];
    }
    for (int i = 2; i < AXES; i++) {
        out->matters[i] = small_matters(genome, i);
        for (int32_t level = 0; level < LEVELS; level++, at++) {
            out->level_score[at] = s->score[i][level];
            for (int r = 0; r < RESOURCES; r++) {
                out->level_cost[at * RESOURCES + r] = s->cost[i][level][r] * (1 + genome[1]);
            }
        }
    }
    return true;
}

static void small_init(small *s, uint64_t seed, int64_t min, int64_t max)
{
    cop_rng *rng = NULL;
    *s = (small){.min = {min, 0}, .max = {max, max + 10}};
    assert_int_equal(cop_rng_create(&rng, seed, COP_RNG_TEST, 5, NULL), COP_OK);
    for (int i = 0; i < AXES; i++) {
        s->levels[i] = LEVELS;
        s->is_shared[i] = i < 2;
        for (int k = 0; k < LEVELS; k++) {
            s->score[i][k] = cop_rng_uniform(rng);
            for (int r = 0; r < RESOURCES; r++) {
                s->cost[i][k][r] = (int64_t)cop_rng_below(rng, 12);
            }
        }
    }
    cop_rng_destroy(rng);
    s->additivity = (cop_additivity){.is_shared = s->is_shared,
                                     .resources = RESOURCES,
                                     .min = s->min,
                                     .max = s->max,
                                     .fill = small_fill};
    s->domain = (cop_domain){.axes = AXES,
                             .levels = s->levels,
                             .context = s,
                             .canonicalize = small_canonicalize,
                             .violation = small_violation,
                             .additivity = &s->additivity};
}

static int compare_numbers(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

// Scores of all canonical points within the bounds whose first resource is in [low, high], rising.
static int64_t list_all(const small *s, int64_t low, int64_t high, double *score)
{
    int64_t count = 0;
    for (int number = 0; number < POINTS; number++) {
        int32_t genome[AXES];
        int32_t canonical[AXES];
        int64_t cost[RESOURCES];
        for (int i = 0, rest = number; i < AXES; i++, rest /= LEVELS) {
            genome[i] = rest % LEVELS;
        }
        memcpy(canonical, genome, sizeof genome);
        small_canonicalize(s, canonical);
        const double sum = small_sum(s, genome, cost);
        if (memcmp(canonical, genome, sizeof genome) == 0 && !(small_violation(s, genome) > 0) &&
            cost[0] >= low && cost[0] <= high) {
            score[count++] = sum;
        }
    }
    qsort(score, (size_t)count, sizeof *score, compare_numbers);
    return count;
}

static void check_best(small *s, cop_additive_search *search, int64_t low, int64_t high,
                       int64_t wanted)
{
    static double all[POINTS];
    cop_additive_found found;
    const int64_t there = list_all(s, low, high, all);

    assert_int_equal(cop_additive_best(&found, search, low, high, wanted, NULL), COP_OK);
    if (found.is_proven) {
        assert_int_equal(found.count, there < wanted ? there : wanted);
    }
    for (int64_t i = 0; i < found.count; i++) {
        const int32_t *genome = found.genome + i * AXES;
        int64_t cost[RESOURCES];
        assert_true(fabs(small_sum(s, genome, cost) - found.score[i]) < 1e-12);
        assert_true(!found.is_proven || fabs(found.score[i] - all[i]) < 1e-12);
        assert_false(small_violation(s, genome) > 0);
        assert_true(cost[0] >= low && cost[0] <= high);
        for (int64_t k = 0; k < i; k++) {
            assert_memory_not_equal(found.genome + k * AXES, genome, AXES * sizeof *genome);
        }
    }
    assert_true(wanted > 16 || found.is_proven);
    cop_additive_found_release(&found);
}

static void the_best_are_those_of_all_points(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        small s;
        cop_additive_search *search = NULL;
        small_init(&s, seed, seed % 3 == 0 ? 40 : 0, 20 + (int64_t)(seed * 7 % 90));
        if (s.min[0] > s.max[0]) {
            s.min[0] = s.max[0];
        }
        assert_int_equal(cop_additive_search_create(&search, &s.domain, NULL), COP_OK);
        check_best(&s, search, 0, INT64_MAX, 1);
        check_best(&s, search, 0, INT64_MAX, 16);
        check_best(&s, search, 25, 45, 5);
        check_best(&s, search, 0, INT64_MAX, POINTS);
        cop_additive_search_destroy(search);
    }
}

// --- The strategy ---------------------------------------------------------------------------------

static cop_strategy *make(const cop_domain *domain, int64_t population)
{
    const cop_strategy_options options = {.objectives = 2, .population = population, .seed = 1};
    cop_strategy *strategy = NULL;
    cop_error err = {0};
    if (cop_strategy_create(&strategy, &cop_strategy_knapsack, domain, &options, &err) != COP_OK) {
        fail_msg("%s", err.message);
    }
    return strategy;
}

static void the_first_proposal_is_the_best_and_the_last_ends_the_space(void **state)
{
    static double all[POINTS];
    static int32_t genomes[POINTS * AXES];
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        small s;
        int64_t cost[RESOURCES];
        int64_t told = 0;
        int64_t count = 0;
        small_init(&s, seed, 30, 80);
        const int64_t there = list_all(&s, 0, INT64_MAX, all);
        cop_strategy *strategy = make(&s.domain, 20);
        do {
            cop_trial trials[20];
            int32_t *next = genomes + told * AXES;
            assert_int_equal(cop_strategy_ask(strategy, next, 20, &count, NULL), COP_OK);
            for (int64_t i = 0; i < count; i++) {
                trials[i] = (cop_trial){.genome = next + i * AXES, .objective = {1, 2}};
            }
            if (count > 0) {
                assert_int_equal(cop_strategy_tell(strategy, trials, count, NULL), COP_OK);
            }
            told += count;
        } while (count > 0);
        assert_int_equal(told, there);
        assert_true(fabs(small_sum(&s, genomes, cost) - all[0]) < 1e-12);
        cop_strategy_destroy(strategy);
    }
}

// The first batch has points of all sizes, the better ones of each part before the worse.
static void a_batch_is_spread_over_the_size(void **state)
{
    int32_t genomes[16 * AXES];
    int64_t cost[RESOURCES];
    int64_t count = 0;
    int64_t low = INT64_MAX;
    int64_t high = 0;
    double last = 0;
    small s;

    (void)state;
    small_init(&s, 3, 0, 90);
    cop_strategy *strategy = make(&s.domain, 8);
    assert_int_equal(cop_strategy_ask(strategy, genomes, 8, &count, NULL), COP_OK);
    assert_int_equal(count, 8);
    for (int64_t i = 0; i < count; i++) {
        const double score = small_sum(&s, genomes + i * AXES, cost);
        assert_true(i == 0 || score >= last);
        last = score;
        low = cost[0] < low ? cost[0] : low;
        high = cost[0] > high ? cost[0] : high;
    }
    assert_true(high - low > 45);
    cop_strategy_destroy(strategy);
}

static void bounds_that_nothing_holds_end_the_search_at_once(void **state)
{
    int32_t genome[AXES];
    int64_t count = -1;
    small s;
    (void)state;
    small_init(&s, 1, 1000, 1001);
    cop_strategy *strategy = make(&s.domain, 8);
    assert_int_equal(cop_strategy_ask(strategy, genome, 1, &count, NULL), COP_OK);
    assert_int_equal(count, 0);
    cop_strategy_destroy(strategy);
}

static void refuses_what_it_cannot_solve(void **state)
{
    const cop_strategy_options options = COP_STRATEGY_OPTIONS_DEFAULT;
    cop_strategy *strategy = NULL;
    cop_error err = {0};
    small s;

    (void)state;
    small_init(&s, 1, 0, 80);
    s.domain.additivity = NULL;
    assert_int_equal(
        cop_strategy_create(&strategy, &cop_strategy_knapsack, &s.domain, &options, &err),
        COP_ERR_CONFIG);
    assert_non_null(strstr(err.message, "strategy: knapsack needs scores that add up"));
    small_init(&s, 1, 0, 80);
    s.additivity.resources = 5;
    assert_int_equal(
        cop_strategy_create(&strategy, &cop_strategy_knapsack, &s.domain, &options, &err),
        COP_ERR_CONFIG);
    assert_non_null(strstr(err.message, "about 5 sums, params included (allowed: 1..4)"));
    small_init(&s, 1, 0, 80);
    s.levels[0] = 20000;
    assert_int_equal(
        cop_strategy_create(&strategy, &cop_strategy_knapsack, &s.domain, &options, &err),
        COP_ERR_CONFIG);
    assert_non_null(strstr(err.message, "6e+04 combinations (allowed: 1..16384)"));
    assert_null(strategy);
}

static cop_status ask_once(const cop_domain *domain)
{
    const cop_strategy_options options = {.objectives = 2, .population = 2, .seed = 1};
    cop_status status = COP_OK;
    cop_strategy *strategy = NULL;
    int32_t genomes[2 * AXES];
    int64_t count = 0;

    COP_TRY(status, cop_strategy_create(&strategy, &cop_strategy_knapsack, domain, &options, NULL));
    COP_TRY(status, cop_strategy_ask(strategy, genomes, 2, &count, NULL));

done:
    cop_strategy_destroy(strategy);
    return status;
}

static void survives_every_failed_allocation(void **state)
{
    const size_t blocks = cop_alloc_live_blocks();
    cop_status status = COP_ERR_NOMEM;
    small s;
    (void)state;
    small_init(&s, 2, 0, 40);
    for (size_t n = 0; status != COP_OK; n++) {
        cop_alloc_fail_after(n);
        status = ask_once(&s.domain);
        cop_alloc_fail_after(SIZE_MAX);
        assert_true(status == COP_OK || status == COP_ERR_NOMEM);
        assert_int_equal(cop_alloc_live_blocks(), blocks);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_best_are_those_of_all_points),
        cmocka_unit_test(the_first_proposal_is_the_best_and_the_last_ends_the_space),
        cmocka_unit_test(a_batch_is_spread_over_the_size),
        cmocka_unit_test(bounds_that_nothing_holds_end_the_search_at_once),
        cmocka_unit_test(refuses_what_it_cannot_solve),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests_name("additive scores", tests, NULL, NULL);
}
