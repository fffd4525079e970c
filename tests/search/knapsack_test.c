// The knapsack solver against exhaustive search: every score must be equal bit for bit, since both add in the
// order of the layers.

#include "search/knapsack.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "tests/support.h"

enum { LAYERS_MAX = 8, TABLE_MAX = 64, ALL_MAX = 20000, R_MAX = COP_KNAPSACK_RESOURCES_MAX };

typedef struct instance {
    cop_knapsack_problem problem;
    int options[LAYERS_MAX];
    double score[TABLE_MAX];
    int64_t cost[TABLE_MAX * R_MAX];
} instance;

// Every feasible assignment, by exhaustive search.
typedef struct truth {
    int64_t count;
    double score[ALL_MAX];
    int64_t cost[ALL_MAX]; // of resource 0
    int64_t nearest_above; // least total of resource 0 above its maximum, other bounds kept
} truth;

static truth all;

static void list_all(const cop_knapsack_problem *p)
{
    int32_t choice[LAYERS_MAX] = {0};
    int64_t cost[R_MAX];
    all.count = 0;
    all.nearest_above = INT64_MAX;
    for (;;) {
        const double score = cop_knapsack_evaluate(cost, p, choice);
        bool is_feasible = true;
        bool holds_others = cost[0] >= p->min[0];
        for (int r = 0; r < p->resources; r++) {
            const bool holds = cost[r] >= p->min[r] && cost[r] <= p->max[r];
            is_feasible = is_feasible && holds;
            holds_others = holds_others && (r == 0 || holds);
        }
        if (is_feasible) {
            assert_true(all.count < ALL_MAX);
            all.score[all.count] = score;
            all.cost[all.count++] = cost[0];
        } else if (holds_others && cost[0] < all.nearest_above) {
            all.nearest_above = cost[0];
        }
        int l = 0;
        while (l < p->layers && ++choice[l] == p->options[l]) {
            choice[l++] = 0;
        }
        if (l == p->layers) {
            return;
        }
    }
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

// Ties, zero and equal costs, single options and negative scores are frequent; `huge` costs lie near the
// end of int64.
static void draw(instance *in, cop_rng *rng, bool huge)
{
    *in = (instance){0};
    cop_knapsack_problem *p = &in->problem;
    p->layers = 1 + (int)cop_rng_below(rng, 5);
    p->resources = 1 + (int)cop_rng_below(rng, R_MAX);
    p->options = in->options;
    p->score = in->score;
    p->cost = in->cost;
    const uint64_t grain = 2 + cop_rng_below(rng, 40); // few different values: many ties
    const bool is_real = cop_rng_below(rng, 2) == 0;
    int64_t total = 0;
    for (int l = 0; l < p->layers; l++) {
        in->options[l] = 1 + (int)cop_rng_below(rng, 6);
        total += in->options[l];
    }
    const int64_t unit = huge ? (INT64_MAX / p->layers - 64) / (int64_t)grain : 1;
    for (int64_t j = 0; j < total; j++) {
        in->score[j] = is_real ? cop_rng_normal(rng) : (double)cop_rng_below(rng, 7) - 3;
        for (int r = 0; r < p->resources; r++) {
            in->cost[j * p->resources + r] = (int64_t)cop_rng_below(rng, grain) * unit +
                                             (huge ? (int64_t)cop_rng_below(rng, 3) : 0);
        }
    }
    for (int r = 0; r < p->resources; r++) {
        const double most = (double)unit * (double)grain * p->layers * 0.99;
        const int64_t a = (int64_t)(most * cop_rng_uniform(rng));
        const int64_t b = (int64_t)(most * cop_rng_uniform(rng));
        const uint64_t kind = cop_rng_below(rng, 4);
        p->min[r] = kind == 0 ? (a < b ? a : b) : kind == 1 ? a / 2 : 0;
        p->max[r] = kind == 1 ? INT64_MAX : kind == 0 ? (a < b ? b : a) : a;
    }
}

static void check_solutions(const cop_knapsack_result *result, const cop_knapsack_problem *p)
{
    for (int64_t i = 0; i < result->count; i++) {
        int64_t cost[R_MAX];
        const int32_t *choice = result->choice + i * p->layers;
        const double score = cop_knapsack_evaluate(cost, p, choice);
        assert_true(score == result->score[i]);
        for (int r = 0; r < p->resources; r++) {
            assert_true(cost[r] == result->cost[i * p->resources + r]);
            assert_true(cost[r] >= p->min[r] && cost[r] <= p->max[r]);
        }
        for (int64_t k = 0; k < i; k++) { // all different
            assert_memory_not_equal(choice, result->choice + k * p->layers,
                                    (size_t)p->layers * sizeof *choice);
        }
    }
}

static void compare(const instance *in, int64_t solutions)
{
    cop_knapsack_result result = {0};
    cop_error err = {0};
    cop_knapsack_options options = COP_KNAPSACK_OPTIONS_DEFAULT;
    options.solutions = solutions;
    list_all(&in->problem);
    qsort(all.score, (size_t)all.count, sizeof *all.score, by_value);
    must_succeed(cop_knapsack_solve(&result, &in->problem, &options, &err), &err);
    const int64_t expected = all.count < solutions ? all.count : solutions;
    assert_int_equal(result.state, all.count == 0 ? COP_KNAPSACK_INFEASIBLE : COP_KNAPSACK_OPTIMAL);
    assert_int_equal(result.count, expected);
    for (int64_t i = 0; i < expected; i++) {
        assert_true(result.score[i] == all.score[i]);
    }
    assert_true(expected == 0 || result.bound == all.score[expected - 1]);
    assert_int_equal(result.reason[0] != '\0', all.count == 0);
    check_solutions(&result, &in->problem);
    if (all.count == 0 && result.resource == 0 && in->problem.resources == 1 &&
        result.nearest > in->problem.max[0] && strstr(result.reason, "or nearer") == NULL) {
        assert_true(result.nearest == all.nearest_above);
    }
    cop_knapsack_result_release(&result);
}

static void finds_what_exhaustive_search_finds(void **state)
{
    (void)state;
    cop_rng *rng = NULL;
    cop_error err = {0};
    int64_t infeasible = 0;
    must_succeed(cop_rng_create(&rng, 7, COP_RNG_TEST, 0, &err), &err);
    for (int i = 0; i < 4000; i++) {
        instance in;
        draw(&in, rng, i % 4 == 3);
        compare(&in, i % 3 == 0 ? 1 : 1 + (int64_t)cop_rng_below(rng, 12));
        infeasible += all.count == 0;
    }
    assert_in_range(infeasible, 300, 3000); // both kinds were seen
    cop_rng_destroy(rng);
}

static void draws_the_whole_trade_off_curve(void **state)
{
    (void)state;
    cop_rng *rng = NULL;
    cop_error err = {0};
    const cop_knapsack_options options = COP_KNAPSACK_OPTIONS_DEFAULT;
    must_succeed(cop_rng_create(&rng, 8, COP_RNG_TEST, 0, &err), &err);
    for (int i = 0; i < 600; i++) {
        instance in;
        cop_knapsack_result front = {0};
        draw(&in, rng, i % 5 == 4);
        list_all(&in.problem);
        must_succeed(cop_knapsack_front(&front, &in.problem, 0, 1, ALL_MAX, &options, &err), &err);
        int64_t points = 0;
        for (int64_t a = 0; a < all.count; a++) { // not dominated, and the first of its equals
            bool is_on_front = true;
            for (int64_t b = 0; b < all.count && is_on_front; b++) {
                const bool is_no_worse = all.score[b] <= all.score[a] && all.cost[b] <= all.cost[a];
                const bool is_equal = all.score[b] == all.score[a] && all.cost[b] == all.cost[a];
                is_on_front = !(is_no_worse && (!is_equal || b < a));
            }
            bool is_listed = false;
            for (int64_t n = 0; n < front.count; n++) {
                is_listed = is_listed || (front.score[n] == all.score[a] &&
                                          front.cost[n * front.resources] == all.cost[a]);
            }
            assert_true(!is_on_front || is_listed);
            points += is_on_front;
        }
        assert_int_equal(front.count, points);
        assert_int_equal(front.state, points == 0 ? COP_KNAPSACK_INFEASIBLE : COP_KNAPSACK_OPTIMAL);
        check_solutions(&front, &in.problem);
        cop_knapsack_result_release(&front);
    }
    cop_rng_destroy(rng);
}

// A model of `layers` layers: dearer options score better, with diminishing returns and noise.
typedef struct large {
    cop_knapsack_problem problem;
    int options[64];
    double score[64 * 20];
    int64_t cost[64 * 20 * R_MAX];
} large;

static void make_large(large *in, int layers, int resources, uint64_t seed)
{
    cop_rng *rng = NULL;
    cop_error err = {0};
    *in = (large){.problem = {.layers = layers, .resources = resources}};
    in->problem.options = in->options;
    in->problem.score = in->score;
    in->problem.cost = in->cost;
    must_succeed(cop_rng_create(&rng, seed, COP_RNG_TEST, 1, &err), &err);
    for (int l = 0; l < layers; l++) {
        in->options[l] = 20;
        for (int j = 0; j < 20; j++) {
            const double size = (j + cop_rng_uniform(rng)) / 20;
            in->score[l * 20 + j] = (1 + cop_rng_uniform(rng)) * exp(-3 * size);
            for (int r = 0; r < resources; r++) {
                const double spread = r == 0 ? 1 : 0.5 + cop_rng_uniform(rng);
                in->cost[(l * 20 + j) * resources + r] = (int64_t)(2.5e8 * size * spread);
            }
        }
    }
    for (int r = 0; r < resources; r++) {
        in->problem.max[r] = (int64_t)(2.5e8 * 0.45 * layers);
    }
    cop_rng_destroy(rng);
}

static large big;

static void proves_a_model_of_32_layers(void **state)
{
    (void)state;
    const cop_knapsack_options options = COP_KNAPSACK_OPTIONS_DEFAULT;
    cop_knapsack_result result = {0};
    cop_error err = {0};
    for (uint64_t seed = 1; seed <= 4; seed++) {
        make_large(&big, 32, 1, seed);
        must_succeed(cop_knapsack_solve(&result, &big.problem, &options, &err), &err);
        assert_int_equal(result.state, COP_KNAPSACK_OPTIMAL);
        const double best = result.score[0];
        check_solutions(&result, &big.problem);
        cop_knapsack_result_release(&result);
        // The same with a minimum that the best choice holds, and with one that forbids it.
        big.problem.min[0] = big.problem.max[0] - 1000000;
        must_succeed(cop_knapsack_solve(&result, &big.problem, &options, &err), &err);
        assert_int_equal(result.state, COP_KNAPSACK_OPTIMAL);
        assert_true(result.score[0] >= best);
        cop_knapsack_result_release(&result);
    }
}

static void admits_what_it_could_not_prove(void **state)
{
    (void)state;
    cop_knapsack_options options = COP_KNAPSACK_OPTIONS_DEFAULT;
    cop_knapsack_result result = {0};
    cop_error err = {0};
    make_large(&big, 32, 2, 5);
    must_succeed(cop_knapsack_solve(&result, &big.problem, &options, &err), &err);
    assert_int_equal(result.state, COP_KNAPSACK_OPTIMAL);
    const double best = result.score[0];
    cop_knapsack_result_release(&result);
    options.states_max = 2;
    must_succeed(cop_knapsack_solve(&result, &big.problem, &options, &err), &err);
    assert_int_equal(result.state, COP_KNAPSACK_UNPROVEN);
    assert_true(result.bound <= best && best <= result.score[0]);
    assert_true(result.score[0] - result.bound < 0.5 * best);
    check_solutions(&result, &big.problem);
    cop_knapsack_result_release(&result);
}

static void says_which_bound_cannot_be_met(void **state)
{
    (void)state;
    const int options[] = {2, 2};
    const double score[] = {3, 1, 3, 1};
    const int64_t cost[] = {10, 8, 20, 1, 10, 8, 20, 1};
    cop_knapsack_problem p = {.layers = 2,
                              .resources = 2,
                              .options = options,
                              .score = score,
                              .cost = cost,
                              .max = {19, INT64_MAX},
                              .name = {"params", "kv_bytes"}};
    const cop_knapsack_options defaults = COP_KNAPSACK_OPTIONS_DEFAULT;
    cop_knapsack_result result = {0};
    cop_error err = {0};
    must_succeed(cop_knapsack_solve(&result, &p, &defaults, &err), &err);
    assert_int_equal(result.state, COP_KNAPSACK_INFEASIBLE);
    assert_string_equal(result.reason, "params is at least 20 whatever is chosen (maximum: 19)");
    assert_int_equal(result.nearest, 20);
    p.max[0] = 100;
    p.min[0] = 41;
    must_succeed(cop_knapsack_solve(&result, &p, &defaults, &err), &err);
    assert_string_equal(result.reason, "params is at most 40 whatever is chosen (minimum: 41)");
    // Each alone can be had, not both.
    p.min[0] = 0;
    p.max[0] = 29;
    p.max[1] = 15;
    must_succeed(cop_knapsack_solve(&result, &p, &defaults, &err), &err);
    assert_int_equal(result.state, COP_KNAPSACK_INFEASIBLE);
    assert_string_equal(result.reason,
                        "no assignment meets all bounds at once; with the others kept, "
                        "params comes down to 30 (maximum: 29)");
    assert_int_equal(result.resource, 0);
    // A window between two totals.
    p.min[0] = 31;
    p.max[0] = 39;
    p.max[1] = INT64_MAX;
    must_succeed(cop_knapsack_solve(&result, &p, &defaults, &err), &err);
    assert_string_equal(result.reason,
                        "no assignment meets all bounds at once; with the others kept, "
                        "params comes down to 40 (maximum: 39)");
}

static void refuses_what_it_cannot_add(void **state)
{
    (void)state;
    const int options[] = {1, 1};
    double score[] = {0, 0};
    int64_t cost[] = {INT64_MAX / 2 + 1, INT64_MAX / 2 + 1};
    cop_knapsack_problem p = {.layers = 2,
                              .resources = 1,
                              .options = options,
                              .score = score,
                              .cost = cost,
                              .max = {INT64_MAX}};
    cop_knapsack_options o = COP_KNAPSACK_OPTIONS_DEFAULT;
    cop_knapsack_result result = {0};
    cop_error err = {0};
    assert_int_equal(cop_knapsack_solve(&result, &p, &o, &err), COP_ERR_CONFIG);
    assert_string_equal(err.message,
                        "knapsack: total resource 0 of the dearest options up to layer 1: "
                        "above 9223372036854775807 (allowed: totals within int64)");
    cost[0]--;
    p.min[0] = INT64_MIN;
    must_succeed(cop_knapsack_solve(&result, &p, &o, &err), &err); // exactly INT64_MAX
    assert_true(result.cost[0] == INT64_MAX);
    cop_knapsack_result_release(&result);
    p.max[0] = INT64_MIN;
    must_succeed(cop_knapsack_solve(&result, &p, &o, &err), &err);
    assert_int_equal(result.state, COP_KNAPSACK_INFEASIBLE);
    p.max[0] = 5;
    p.min[0] = 6;
    assert_int_equal(cop_knapsack_solve(&result, &p, &o, &err), COP_ERR_CONFIG);
    assert_string_equal(err.message, "knapsack: resource 0: min is 6 (allowed: up to max, 5)");
    p.min[0] = 0;
    score[1] = (double)NAN;
    assert_int_equal(cop_knapsack_solve(&result, &p, &o, &err), COP_ERR_CONFIG);
    assert_string_equal(err.message, "knapsack: score of layer 1, option 0: nan (allowed: finite)");
    score[1] = 0;
    cost[1] = -1;
    assert_int_equal(cop_knapsack_solve(&result, &p, &o, &err), COP_ERR_CONFIG);
    assert_string_equal(err.message, "knapsack: cost of layer 1, option 0: -1 (allowed: >= 0)");
    o.states_max = 0;
    assert_int_equal(cop_knapsack_solve(&result, &p, &o, &err), COP_ERR_CONFIG);
    assert_int_equal(cop_knapsack_front(&result, &p, 1, 1, 1, &o, &err), COP_ERR_CONFIG);
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    cop_knapsack_options o = COP_KNAPSACK_OPTIONS_DEFAULT;
    cop_error err = {0};
    o.states_max = 64;
    for (int kind = 0; kind < 3; kind++) {
        make_large(&big, 3, 2, 3);
        if (kind == 2) { // a hole between two totals: the explanation runs
            big.problem.layers = 1;
            big.problem.min[0] = big.cost[0] + 1;
            big.problem.max[0] = big.cost[0] + 1;
        }
        cop_status status = COP_ERR_NOMEM;
        const size_t blocks = cop_alloc_live_blocks();
        size_t n = 0;
        for (; status != COP_OK; n++) {
            cop_knapsack_result result = {0};
            cop_alloc_fail_after(n);
            status = kind == 1
                         ? cop_knapsack_front(&result, &big.problem, 0, 100000000, 100, &o, &err)
                         : cop_knapsack_solve(&result, &big.problem, &o, &err);
            cop_alloc_fail_after(SIZE_MAX);
            assert_true(status == COP_OK || status == COP_ERR_NOMEM);
            if (status != COP_OK) {
                assert_null(result.choice);
            }
            cop_knapsack_result_release(&result);
            assert_int_equal(cop_alloc_live_blocks(), blocks);
        }
        assert_true(n > 8);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_what_exhaustive_search_finds),
        cmocka_unit_test(draws_the_whole_trade_off_curve),
        cmocka_unit_test(proves_a_model_of_32_layers),
        cmocka_unit_test(admits_what_it_could_not_prove),
        cmocka_unit_test(says_which_bound_cannot_be_met),
        cmocka_unit_test(refuses_what_it_cannot_add),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
