// What strategies are made of: sets of genomes, the walk of the grid, draws, selection and operators of NSGA-II.

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "search/nsga2_internal.h"
#include "tests/search/toy_domains.h"
#include "tests/support.h"

static void a_set_knows_its_genomes(void **state)
{
    enum { COUNT = 20000, AXES = 30 };

    cop_genome_set *set = NULL;
    int32_t genome[AXES];

    (void)state;
    assert_int_equal(cop_genome_set_create(&set, AXES, NULL), COP_OK);
    for (int pass = 0; pass < 2; pass++) {
        for (int32_t i = 0; i < COUNT; i++) {
            bool is_new = false;
            for (int32_t axis = 0; axis < AXES; axis++) {
                genome[axis] = axis == i % AXES ? i : 7;
            }
            assert_int_equal(cop_genome_set_holds(set, genome), pass == 1 || i == 7 + AXES * 1000);
            assert_int_equal(cop_genome_set_add(set, genome, &is_new, NULL), COP_OK);
            assert_int_equal(is_new, pass == 0);
            assert_memory_equal(cop_genome_set_view(set, i), genome, sizeof genome);
        }
        assert_int_equal(cop_genome_set_count(set), COUNT);
    }
    cop_genome_set_clear(set);
    assert_int_equal(cop_genome_set_count(set), 0);
    assert_false(cop_genome_set_holds(set, genome));
    cop_genome_set_destroy(set);
    cop_genome_set_destroy(NULL);
}

static void a_set_survives_every_failed_allocation(void **state)
{
    const size_t blocks = cop_alloc_live_blocks();
    cop_status status = COP_ERR_NOMEM;

    (void)state;
    for (size_t n = 0; status != COP_OK; n++) {
        cop_genome_set *set = NULL;
        cop_alloc_fail_after(n);
        status = cop_genome_set_create(&set, 2, NULL);
        int64_t held = 0;
        for (int32_t i = 0; i < 200 && status == COP_OK; i++) {
            bool is_new = false;
            status = cop_genome_set_add(set, (int32_t[]){i, 3}, &is_new, NULL);
            held += is_new ? 1 : 0;
        }
        cop_alloc_fail_after(SIZE_MAX);
        assert_int_equal(set == NULL ? 0 : cop_genome_set_count(set), held);
        for (int32_t i = 0; i < held; i++) { // a failed addition harms nothing
            assert_true(cop_genome_set_holds(set, (int32_t[]){i, 3}));
        }
        cop_genome_set_destroy(set);
        assert_int_equal(cop_alloc_live_blocks(), blocks);
    }
}

static void a_walk_keeps_the_order(void **state)
{
    (void)state;
    for (int kind = 0; kind < TOY_SMALL_KINDS; kind++) {
        cop_domain_walk walk = {0};
        int32_t last[TOY_AXES_MAX] = {-1};
        int64_t count = 0;
        toy domain;
        toy_init(&domain, (toy_kind)kind);
        assert_int_equal(cop_domain_walk_init(&walk, &domain.domain, NULL), COP_OK);
        for (const int32_t *genome = NULL; (genome = cop_domain_walk_view(&walk)) != NULL;
             cop_domain_walk_step(&walk)) {
            int axis = 0;
            while (axis < domain.domain.axes - 1 && genome[axis] == last[axis]) {
                axis++;
            }
            assert_true(genome[axis] > last[axis]);
            memcpy(last, genome, (size_t)domain.domain.axes * sizeof *last);
            count++;
        }
        assert_int_equal(count, toy_count(&domain));
        cop_domain_walk_release(&walk);
    }
}

static void a_walk_skips_what_no_longer_matters(void **state)
{
    cop_domain_walk walk = {0};
    toy domain;

    (void)state;
    toy_init(&domain, TOY_HUGE_LAYERED); // 20^31 genomes stand for each point of one layer
    assert_int_equal(cop_domain_walk_init(&walk, &domain.domain, NULL), COP_OK);
    for (int32_t i = 0; i < 20 + 400 + 5; i++) {
        const int32_t *genome = cop_domain_walk_view(&walk);
        const int32_t within = i < 20 ? i : i < 420 ? i - 20 : i - 420;
        assert_int_equal(genome[0], i < 20 ? 0 : i < 420 ? 1 : 2);
        assert_int_equal(genome[1 + genome[0]], within % 20);
        cop_domain_walk_step(&walk);
    }
    cop_domain_walk_release(&walk);
}

// 39 points, of which the deep ones have 9 and 3 times fewer genomes each: all are as likely. Expected 100
// each in 3900 draws with standard deviation 10; the bound is five of them.
static void random_points_are_uniform(void **state)
{
    enum { DRAWS = 3900 };

    cop_genome_set *set = NULL;
    int64_t hits[39] = {0};
    toy domain;

    (void)state;
    toy_init(&domain, TOY_LAYERED);
    assert_int_equal(toy_count(&domain), 39);
    assert_int_equal(cop_genome_set_create(&set, domain.domain.axes, NULL), COP_OK);
    for (uint64_t seed = 0; seed < DRAWS; seed++) {
        const cop_strategy_options options = {.objectives = 1, .population = 2, .seed = seed};
        cop_strategy *strategy = NULL;
        int32_t genome[4];
        int64_t count = 0;
        bool is_new = false;
        assert_int_equal(
            cop_strategy_create(&strategy, &cop_strategy_random, &domain.domain, &options, NULL),
            COP_OK);
        assert_int_equal(cop_strategy_ask(strategy, genome, 1, &count, NULL), COP_OK);
        assert_int_equal(cop_genome_set_add(set, genome, &is_new, NULL), COP_OK);
        for (int64_t i = 0; i < cop_genome_set_count(set); i++) {
            hits[i] += memcmp(cop_genome_set_view(set, i), genome, sizeof genome) == 0 ? 1 : 0;
        }
        cop_strategy_destroy(strategy);
    }
    assert_int_equal(cop_genome_set_count(set), 39);
    for (int i = 0; i < 39; i++) {
        assert_in_range(hits[i], 50, 150);
    }
    cop_genome_set_destroy(set);
}

// Sums of 30 levels are 30 with standard deviation 4.5 when drawn uniformly: no fifth of the range but the middle
// ones would ever be met.
static void stratified_points_cover_sizes_and_shapes(void **state)
{
    enum { COUNT = 64 };

    const cop_strategy_options options = {.objectives = 1, .population = 2, .seed = 1};
    cop_strategy *strategy = NULL;
    static int32_t genomes[COUNT * 30];
    int64_t count = 0;
    int64_t fifth[5] = {0};
    int64_t shape[3] = {0};
    toy domain;

    (void)state;
    toy_init(&domain, TOY_STRATA);
    assert_int_equal(
        cop_strategy_create(&strategy, &cop_strategy_stratified, &domain.domain, &options, NULL),
        COP_OK);
    assert_int_equal(cop_strategy_ask(strategy, genomes, COUNT, &count, NULL), COP_OK);
    assert_int_equal(count, COUNT);
    for (int64_t i = 0; i < COUNT; i++) {
        int64_t sum = 0;
        for (int axis = 0; axis < 30; axis++) {
            sum += genomes[i * 30 + axis];
        }
        fifth[sum < 60 ? sum / 12 : 4]++;
        shape[genomes[i * 30]]++;
    }
    for (int i = 0; i < 5; i++) {
        assert_in_range(fifth[i], 6, 22);
    }
    for (int i = 0; i < 3; i++) {
        assert_in_range(shape[i], 12, 32);
    }
    cop_strategy_destroy(strategy);
}

// Without strata each level of each axis is taken equally often, as far as it goes.
static void stratified_points_cover_levels(void **state)
{
    const cop_strategy_options options = {.objectives = 1, .population = 2, .seed = 1};
    cop_strategy *strategy = NULL;
    static int32_t genomes[30 * 60];
    int64_t count = 0;
    toy domain;

    (void)state;
    toy_init(&domain, TOY_HUGE);
    assert_int_equal(
        cop_strategy_create(&strategy, &cop_strategy_stratified, &domain.domain, &options, NULL),
        COP_OK);
    assert_int_equal(cop_strategy_ask(strategy, genomes, 30, &count, NULL), COP_OK);
    for (int axis = 0; axis < 60; axis++) {
        int64_t taken[10] = {0};
        for (int i = 0; i < 30; i++) {
            taken[genomes[i * 60 + axis]]++;
        }
        for (int level = 0; level < 10; level++) {
            assert_int_equal(taken[level], 3);
        }
    }
    cop_strategy_destroy(strategy);
}

// --- NSGA-II --------------------------------------------------------------------------------------

static cop_nsga2_result result_of(int64_t index, double first, double second, double violation)
{
    return (cop_nsga2_result){.point = {.value = {first, second}, .index = index},
                              .violation = violation};
}

static void selects_feasible_points_first(void **state)
{
    cop_nsga2_result result[] = {
        result_of(0, 0, 0, 2.0),              // infeasible, however good
        result_of(1, 5, 5, 0),                // second front
        result_of(2, 1, 4, 0),                // first front
        result_of(3, 4, 1, 0),                // first front
        result_of(4, 9, 9, (double)INFINITY), // failed
        result_of(5, 9, 9, 0.5),              // less infeasible
        result_of(6, 6, 6, 0),                // third front
    };
    static const int64_t expected[] = {2, 3, 1, 6, 5, 0, 4};
    cop_nsga2_selection selection = {.objectives = 2};

    (void)state;
    for (int64_t limit = 1; limit <= 7; limit++) {
        int64_t index[] = {0, 1, 2, 3, 4, 5, 6};
        int64_t count = 7;
        assert_int_equal(cop_nsga2_select(&selection, result, index, &count, limit, NULL), COP_OK);
        assert_int_equal(count, limit);
        if (limit >= 2) { // of two on one front either may be left
            assert_memory_equal(index, expected, (size_t)limit * sizeof *index);
        }
    }
    assert_int_equal(result[1].rank, 1);
    cop_nsga2_selection_release(&selection);
}

static void removes_the_most_crowded_one_by_one(void **state)
{
    // On a line; 4, 5 and 6 are crowded. Removed at once by their first distances all three would go.
    static const double at[] = {0, 10, 20, 30, 31, 32, 33, 43, 53};
    cop_nsga2_result result[9];
    int64_t index[9];
    int64_t count = 9;
    cop_nsga2_selection selection = {.objectives = 2};

    (void)state;
    for (int64_t i = 0; i < 9; i++) {
        result[i] = result_of(i, at[i], -at[i], 0);
        index[i] = i;
    }
    assert_int_equal(cop_nsga2_select(&selection, result, index, &count, 6, NULL), COP_OK);
    assert_int_equal(count, 6);
    int64_t kept = 0;
    for (int64_t i = 0; i < count; i++) {
        kept |= INT64_C(1) << index[i];
    }
    assert_int_equal(kept & 0x187, 0x187); // 0, 1, 2, 7 and 8
    assert_true((kept & 0x78) != 0);       // and one of the crowd
    cop_nsga2_selection_release(&selection);
}

static void operators_stay_within_their_levels(void **state)
{
    enum { AXES = 6 };

    static const int32_t levels[AXES] = {1, 2, 3, 9, 1001, INT32_MAX};
    static const bool is_ordered[2][AXES] = {{true, true, true, true, true, true}, {false}};
    cop_rng *rng = NULL;

    (void)state;
    assert_int_equal(cop_rng_create(&rng, 1, COP_RNG_TEST, 0, NULL), COP_OK);
    for (int i = 0; i < 20000; i++) {
        const cop_domain domain = {.axes = AXES, .levels = levels, .is_ordered = is_ordered[i % 2]};
        int32_t a[AXES];
        int32_t b[AXES];
        int32_t child[AXES];
        cop_domain_draw_tilted(&domain, rng, cop_rng_uniform(rng), a);
        cop_domain_draw(&domain, rng, b);
        memcpy(child, a, sizeof child);
        cop_nsga2_cross(&domain, rng, b, child);
        for (int axis = 0; axis < AXES; axis++) {
            assert_in_range(child[axis], 0, levels[axis] - 1);
        }
        memcpy(child, a, sizeof child);
        cop_nsga2_mutate(&domain, rng, 1.0, child);
        for (int axis = 0; axis < AXES; axis++) {
            assert_in_range(child[axis], 0, levels[axis] - 1);
            assert_true(levels[axis] == 1 || child[axis] != a[axis]);
        }
    }
    cop_rng_destroy(rng);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_set_knows_its_genomes),
        cmocka_unit_test(a_set_survives_every_failed_allocation),
        cmocka_unit_test(a_walk_keeps_the_order),
        cmocka_unit_test(a_walk_skips_what_no_longer_matters),
        cmocka_unit_test(random_points_are_uniform),
        cmocka_unit_test(stratified_points_cover_sizes_and_shapes),
        cmocka_unit_test(stratified_points_cover_levels),
        cmocka_unit_test(selects_feasible_points_first),
        cmocka_unit_test(removes_the_most_crowded_one_by_one),
        cmocka_unit_test(operators_stay_within_their_levels),
    };
    return cmocka_run_group_tests_name("strategy parts", tests, NULL, NULL);
}
