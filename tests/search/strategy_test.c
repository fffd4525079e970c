// Strategies keep their contract, each of them: what they propose is canonical, feasible and new, a function of
// seed and results alone, and all there is where that can be counted.

#include "search/strategy.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "search/nsga2_internal.h"
#include "tests/search/toy_domains.h"
#include "tests/support.h"

enum { POINTS_MAX = 400, BATCHES_MAX = 128 };

// What a strategy proposed, batch by batch.
typedef struct history {
    int32_t genome[POINTS_MAX * TOY_AXES_MAX];
    int64_t count;
    int64_t start[BATCHES_MAX + 1];
    int batches;
} history;

static cop_strategy *make(const cop_strategy_type *type, const toy *domain, uint64_t seed)
{
    const cop_strategy_options options = {
        .objectives = 2, .population = 12, .batch = 12, .seed = seed};
    cop_strategy *strategy = NULL;
    assert_int_equal(cop_strategy_create(&strategy, type, &domain->domain, &options, NULL), COP_OK);
    return strategy;
}

static void tell(cop_strategy *strategy, const toy *domain, const int32_t *genomes, int64_t count)
{
    cop_trial trials[POINTS_MAX];
    for (int64_t i = 0; i < count; i++) {
        toy_evaluate(domain, &genomes[i * domain->domain.axes], &trials[i]);
    }
    assert_int_equal(cop_strategy_tell(strategy, trials, count, NULL), COP_OK);
}

// Asks and tells until `limit` points, at most `step` at a time, or the end of the space.
static void advance(cop_strategy *strategy, const toy *domain, int64_t limit, int64_t step,
                    history *h)
{
    while (h->count < limit && h->batches < BATCHES_MAX) {
        int32_t *genomes = &h->genome[h->count * domain->domain.axes];
        const int64_t left = limit - h->count < step ? limit - h->count : step;
        int64_t count = -1;
        assert_int_equal(cop_strategy_ask(strategy, genomes, left, &count, NULL), COP_OK);
        assert_in_range(count, 0, left);
        if (count == 0) {
            return;
        }
        tell(strategy, domain, genomes, count);
        h->count += count;
        h->start[++h->batches] = h->count;
    }
}

static void check_points(const toy *domain, const history *h)
{
    const cop_domain *d = &domain->domain;
    const size_t bytes = (size_t)d->axes * sizeof(int32_t);
    for (int64_t i = 0; i < h->count; i++) {
        const int32_t *genome = &h->genome[i * d->axes];
        int32_t canonical[TOY_AXES_MAX];
        memcpy(canonical, genome, bytes);
        for (int axis = 0; axis < d->axes; axis++) {
            assert_in_range(genome[axis], 0, d->levels[axis] - 1);
        }
        if (d->canonicalize != NULL) {
            d->canonicalize(d->context, canonical);
        }
        assert_memory_equal(canonical, genome, bytes);
        assert_true(d->violation == NULL || !(d->violation(d->context, genome) > 0));
        for (int64_t k = 0; k < i; k++) {
            assert_memory_not_equal(&h->genome[k * d->axes], genome, bytes);
        }
    }
}

// --- Every strategy -------------------------------------------------------------------------------

static void takes_every_point_of_a_small_space_once(void **state)
{
    (void)state;
    for (const cop_strategy_type *const *type = cop_strategy_types(); *type != NULL; type++) {
        for (int kind = 0; kind < TOY_SMALL_KINDS; kind++) {
            static history h;
            toy domain;
            toy_init(&domain, (toy_kind)kind);
            h = (history){0};
            cop_strategy *strategy = make(*type, &domain, 1);
            advance(strategy, &domain, POINTS_MAX, 12, &h);
            check_points(&domain, &h);
            assert_int_equal(h.count, toy_count(&domain));
            int64_t count = -1;
            int32_t genome[TOY_AXES_MAX];
            assert_int_equal(cop_strategy_ask(strategy, genome, 1, &count, NULL), COP_OK);
            assert_int_equal(count, 0);
            cop_strategy_destroy(strategy);
        }
    }
}

static void goes_on_in_a_space_of_any_size(void **state)
{
    static const toy_kind kinds[] = {TOY_HUGE, TOY_HUGE_BOUNDED, TOY_HUGE_LAYERED, TOY_STRATA};
    (void)state;
    for (const cop_strategy_type *const *type = cop_strategy_types(); *type != NULL; type++) {
        for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
            static history h;
            toy domain;
            toy_init(&domain, kinds[k]);
            h = (history){0};
            cop_strategy *strategy = make(*type, &domain, 1);
            advance(strategy, &domain, 150, 12, &h);
            check_points(&domain, &h);
            assert_int_equal(h.count, 150);
            assert_int_equal(cop_strategy_batches(strategy), h.batches);
            cop_strategy_destroy(strategy);
        }
    }
}

static void proposes_nothing_where_nothing_is_feasible(void **state)
{
    (void)state;
    for (const cop_strategy_type *const *type = cop_strategy_types(); *type != NULL; type++) {
        for (int kind = TOY_INFEASIBLE; kind <= TOY_NO_POINT; kind++) {
            int32_t genomes[4 * TOY_AXES_MAX];
            int64_t count = -1;
            toy domain;
            toy_init(&domain, (toy_kind)kind);
            cop_strategy *strategy = make(*type, &domain, 1);
            assert_int_equal(cop_strategy_ask(strategy, genomes, 4, &count, NULL), COP_OK);
            assert_int_equal(count, 0);
            cop_strategy_destroy(strategy);
        }
    }
}

static void repeats_itself_with_the_same_seed_only(void **state)
{
    static history h[3];
    toy domain;

    (void)state;
    toy_init(&domain, TOY_HUGE);
    for (const cop_strategy_type *const *type = cop_strategy_types(); *type != NULL; type++) {
        for (int i = 0; i < 3; i++) {
            h[i] = (history){0};
            cop_strategy *strategy = make(*type, &domain, i == 2 ? 2 : 1);
            advance(strategy, &domain, 60, 12, &h[i]);
            cop_strategy_destroy(strategy);
        }
        assert_memory_equal(&h[0], &h[1], sizeof h[0]);
        if (*type != &cop_strategy_grid && *type != &cop_strategy_knapsack) {
            assert_memory_not_equal(&h[0], &h[2], sizeof h[0]);
        }
    }
}

// A strategy that was told stored batches, without being asked, goes on as the one that proposed them.
static void goes_on_from_stored_batches(void **state)
{
    static const toy_kind kinds[] = {TOY_LAYERED, TOY_LAYERED_UP, TOY_BOUNDED, TOY_HUGE,
                                     TOY_STRATA};
    (void)state;
    for (const cop_strategy_type *const *type = cop_strategy_types(); *type != NULL; type++) {
        const int step = *type == &cop_strategy_knapsack ? 5 : 1; // it solves all again each time
        for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
            static history whole, rest;
            toy domain;
            toy_init(&domain, kinds[k]);
            whole = (history){0};
            cop_strategy *strategy = make(*type, &domain, 3);
            // Fewer than a batch at a time: what was proposed beyond must leave no trace.
            advance(strategy, &domain, 70, 7, &whole);
            cop_strategy_destroy(strategy);
            for (int done = 0; done <= whole.batches; done += step) {
                rest = (history){0};
                strategy = make(*type, &domain, 3);
                for (int b = 0; b < done; b++) {
                    tell(strategy, &domain, &whole.genome[whole.start[b] * domain.domain.axes],
                         whole.start[b + 1] - whole.start[b]);
                }
                const int64_t told = whole.start[done];
                advance(strategy, &domain, 70 - told, 7, &rest);
                assert_int_equal(rest.count, whole.count - told);
                assert_memory_equal(rest.genome, &whole.genome[told * domain.domain.axes],
                                    (size_t)(rest.count * domain.domain.axes) * sizeof(int32_t));
                cop_strategy_destroy(strategy);
            }
        }
    }
}

static void gives_the_first_points_for_a_smaller_limit(void **state)
{
    static const toy_kind kinds[] = {TOY_LAYERED, TOY_HUGE, TOY_STRATA, TOY_PLAIN};
    static const int64_t limits[] = {12, 3, 1, 12, 5, 12};
    (void)state;
    for (const cop_strategy_type *const *type = cop_strategy_types(); *type != NULL; type++) {
        for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
            static history h;
            toy domain;
            toy_init(&domain, kinds[k]);
            const int axes = domain.domain.axes;
            cop_strategy *large = make(*type, &domain, 5);
            cop_strategy *small = make(*type, &domain, 5);
            for (int batch = 0; batch < 4; batch++) {
                int32_t all[12 * TOY_AXES_MAX];
                int32_t some[12 * TOY_AXES_MAX];
                int64_t count = 0;
                int64_t few = 0;
                assert_int_equal(cop_strategy_ask(large, all, 12, &count, NULL), COP_OK);
                for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
                    const size_t at = batch == 3 ? 1 : i; // the last: asked for few only
                    assert_int_equal(cop_strategy_ask(small, some, limits[at], &few, NULL), COP_OK);
                    assert_int_equal(few, limits[at] < count ? limits[at] : count);
                    assert_memory_equal(some, all, (size_t)(few * axes) * sizeof *some);
                }
                tell(large, &domain, all, few);
                tell(small, &domain, some, few);
            }
            h = (history){0};
            static history other;
            other = (history){0};
            advance(large, &domain, 10, 12, &h);
            advance(small, &domain, 10, 12, &other);
            assert_memory_equal(&h, &other, sizeof h);
            cop_strategy_destroy(large);
            cop_strategy_destroy(small);
        }
    }
}

static void refuses_what_is_out_of_range(void **state)
{
    const cop_strategy_options good = COP_STRATEGY_OPTIONS_DEFAULT;
    cop_strategy *strategy = NULL;
    cop_error err = {0};
    toy domain;
    int32_t genome[TOY_AXES_MAX] = {0, 4, 0};
    int64_t count = 0;
    const cop_trial trial = {.genome = genome};

    (void)state;
    toy_init(&domain, TOY_PLAIN);
    cop_strategy_options options = good;
    options.objectives = 9;
    assert_int_equal(
        cop_strategy_create(&strategy, &cop_strategy_random, &domain.domain, &options, &err),
        COP_ERR_CONFIG);
    assert_string_equal(err.message, "strategy: objectives is 9 (allowed: 1..8)");
    options = good;
    options.population = 1;
    assert_int_equal(
        cop_strategy_create(&strategy, &cop_strategy_nsga2, &domain.domain, &options, &err),
        COP_ERR_CONFIG);
    assert_string_equal(err.message, "strategy: population is 1 (allowed: 2..1000000)");
    domain.levels[1] = 0;
    assert_int_equal(
        cop_strategy_create(&strategy, &cop_strategy_grid, &domain.domain, &good, &err),
        COP_ERR_CONFIG);
    assert_string_equal(err.message, "strategy: levels[1] is 0 (allowed: >= 1)");
    assert_null(strategy);
    toy_init(&domain, TOY_PLAIN);
    strategy = make(&cop_strategy_grid, &domain, 1);
    assert_int_equal(cop_strategy_tell(strategy, &trial, 1, &err), COP_ERR_CONFIG);
    assert_string_equal(err.message, "strategy: result 0: level of axis 1 is 4 (allowed: 0..3)");
    assert_int_equal(cop_strategy_tell(strategy, &trial, 0, &err), COP_ERR_CONFIG);
    assert_int_equal(cop_strategy_ask(strategy, genome, 0, &count, &err), COP_ERR_CONFIG);
    assert_string_equal(err.message, "strategy: limit is 0 (allowed: >= 1)");
    assert_int_equal(cop_strategy_batches(strategy), 0);
    cop_strategy_destroy(strategy);
}

static void is_found_by_name(void **state)
{
    (void)state;
    for (const cop_strategy_type *const *type = cop_strategy_types(); *type != NULL; type++) {
        assert_ptr_equal(cop_strategy_find((*type)->name), *type);
        assert_true(strlen((*type)->help) > 10);
    }
    assert_null(cop_strategy_find("annealing"));
}

static cop_status run_all(const cop_strategy_type *type, const toy *domain)
{
    const cop_strategy_options options = {.objectives = 2, .population = 40, .seed = 1};
    cop_status status = COP_OK;
    cop_strategy *strategy = NULL;
    int32_t genomes[40 * TOY_AXES_MAX];
    cop_trial trials[40];
    int64_t count = 0;

    COP_TRY(status, cop_strategy_create(&strategy, type, &domain->domain, &options, NULL));
    for (int batch = 0; batch < 3; batch++) {
        COP_TRY(status, cop_strategy_ask(strategy, genomes, 40, &count, NULL));
        for (int64_t i = 0; i < count; i++) {
            toy_evaluate(domain, &genomes[i * domain->domain.axes], &trials[i]);
        }
        if (count > 0) {
            COP_TRY(status, cop_strategy_tell(strategy, trials, count, NULL));
        }
    }

done:
    cop_strategy_destroy(strategy);
    return status;
}

static void survives_every_failed_allocation(void **state)
{
    static const toy_kind kinds[] = {TOY_PLAIN, TOY_STRATA, TOY_BOUNDED};
    (void)state;
    for (const cop_strategy_type *const *type = cop_strategy_types(); *type != NULL; type++) {
        for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
            const size_t blocks = cop_alloc_live_blocks();
            // Solving makes thousands of allocations: additive_test.c fails those of a smaller problem.
            cop_status status = *type == &cop_strategy_knapsack ? COP_OK : COP_ERR_NOMEM;
            toy domain;
            toy_init(&domain, kinds[k]);
            for (size_t n = 0; status != COP_OK; n++) {
                cop_alloc_fail_after(n);
                status = run_all(*type, &domain);
                cop_alloc_fail_after(SIZE_MAX);
                assert_true(status == COP_OK || status == COP_ERR_NOMEM);
                assert_int_equal(cop_alloc_live_blocks(), blocks);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_every_point_of_a_small_space_once),
        cmocka_unit_test(goes_on_in_a_space_of_any_size),
        cmocka_unit_test(proposes_nothing_where_nothing_is_feasible),
        cmocka_unit_test(repeats_itself_with_the_same_seed_only),
        cmocka_unit_test(goes_on_from_stored_batches),
        cmocka_unit_test(gives_the_first_points_for_a_smaller_limit),
        cmocka_unit_test(refuses_what_is_out_of_range),
        cmocka_unit_test(is_found_by_name),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests_name("strategies", tests, NULL, NULL);
}
