// The surrogate-assisted strategy on small problems: what it promises, and that it finds more than chance.
//
// Longer than the aim: one test file for one source, whose cases share what is above them.

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "base/system.h"
#include "search/strategy_surrogate.h"
#include "tests/support.h"

enum { AXES_MOST = 8, POINTS_MOST = 400, BATCH_MOST = 64 };

// --- Problems ---------------------------------------------------------------------------------------

typedef void evaluate_fn(const int32_t *genome, cop_trial *trial);

// Two axes of six levels: a loss that falls with both, of which the second soon has no more effect,
// against a size known by formula. 1 % of noise, the same whenever a point is measured again.
static const int32_t levels6[2] = {6, 6};

static double noise6[36];

static void draw_noise(void)
{
    cop_error err;
    cop_rng *rng = NULL;
    must_succeed(cop_rng_create(&rng, 9, COP_RNG_TEST, 0, &err), &err);
    for (int i = 0; i < 36; i++) {
        noise6[i] = cop_rng_normal(rng);
    }
    cop_rng_destroy(rng);
}

static double true_loss(const int32_t *genome)
{
    return 1 + 2 * exp(-0.5 * genome[0]) + exp(-1.2 * genome[1]);
}

static double size_of(const int32_t *genome)
{
    return (2 + genome[0]) * (1 + 0.5 * genome[1]);
}

static void know_size(const void *context, const int32_t *genome, double *objective)
{
    (void)context;
    objective[0] = (double)NAN;
    objective[1] = size_of(genome);
}

static void measure6(const int32_t *genome, cop_trial *trial)
{
    trial->objective[0] = true_loss(genome) * (1 + 0.01 * noise6[genome[0] * 6 + genome[1]]);
    trial->objective[1] = size_of(genome);
}

static const cop_domain tiny = {.axes = 2, .levels = levels6, .known = know_size};

// Eight axes of four levels: too many points to list.
static const int32_t levels4[8] = {4, 4, 4, 4, 4, 4, 4, 4};
static const bool ordered4[8] = {true, true, true, true, true, true, false, true};

// The last axis means nothing while the first is 0.
static void shorten(const void *context, int32_t *genome)
{
    (void)context;
    genome[7] = genome[0] == 0 ? 0 : genome[7];
}

static double too_large(const void *context, const int32_t *genome)
{
    (void)context;
    const int sum = genome[0] + genome[1] + genome[2] + genome[3];
    return sum > 9 ? (sum - 9) / 9.0 : 0;
}

static void describe(const void *context, const int32_t *genome, double *features)
{
    (void)context;
    features[0] = genome[0] * genome[1];
    features[1] = genome[5] == 3 ? (double)NAN : 1e6 * genome[5];
}

static const cop_domain wide = {.axes = 8,
                                .levels = levels4,
                                .is_ordered = ordered4,
                                .canonicalize = shorten,
                                .violation = too_large,
                                .features = 2,
                                .describe = describe};

static void measure8(const int32_t *genome, cop_trial *trial)
{
    double cost = 0;
    double loss = 0;
    for (int axis = 0; axis < 8; axis++) {
        cost += (axis + 1) * genome[axis];
        loss += axis == 6 ? (genome[6] == 2 ? 0 : 1) : (3 - genome[axis]) * (3 - genome[axis]);
    }
    trial->objective[0] = 10 + loss;
    trial->objective[1] = cost;
    trial->objective[2] = fabs(cost - loss);
}

static void measure8_badly(const int32_t *genome, cop_trial *trial)
{
    measure8(genome, trial);
    const int kind = genome[1] + genome[2] + genome[4];
    trial->is_failed = kind == 3;
    trial->objective[0] = kind == 4 ? (double)NAN : trial->objective[0];
    trial->objective[1] = kind == 5 ? (double)INFINITY : trial->objective[1];
}

static void measure_constant(const int32_t *genome, cop_trial *trial)
{
    (void)genome;
    trial->objective[0] = 3;
    trial->objective[1] = 0;
}

static void fail_always(const int32_t *genome, cop_trial *trial)
{
    (void)genome;
    trial->is_failed = true;
}

// Points of a first axis above 1 exceed a bound that only an evaluation tells.
static void measure_bounded(const int32_t *genome, cop_trial *trial)
{
    measure8(genome, trial);
    trial->violation = genome[0] > 1 ? 0.2 * (genome[0] - 1) : 0;
}

// --- Runs -------------------------------------------------------------------------------------------

typedef struct run {
    int32_t genome[POINTS_MOST][AXES_MOST];
    cop_trial trial[POINTS_MOST];
    int64_t batch[POINTS_MOST]; // sizes
    int64_t batches;
    int64_t count;
} run;

static cop_strategy *strategy_of(const cop_domain *domain, const cop_strategy_options *options)
{
    cop_error err;
    cop_strategy *strategy = NULL;
    must_succeed(cop_strategy_create(&strategy, &cop_strategy_surrogate, domain, options, &err),
                 &err);
    return strategy;
}

// Asks and tells until `most` points, or the strategy has no more.
static cop_status go(cop_strategy *strategy, const cop_domain *domain, evaluate_fn *evaluate,
                     int64_t most, run *out, cop_error *err)
{
    cop_status status = COP_OK;
    int32_t genomes[BATCH_MOST * AXES_MOST];
    while (out->count < most) {
        const int64_t left = most - out->count;
        int64_t count = 0;
        COP_TRY(status, cop_strategy_ask(strategy, genomes, left < BATCH_MOST ? left : BATCH_MOST,
                                         &count, err));
        if (count == 0) {
            break;
        }
        cop_trial *trial = &out->trial[out->count];
        for (int64_t i = 0; i < count; i++) {
            int32_t *genome = out->genome[out->count + i];
            memcpy(genome, genomes + i * domain->axes, (size_t)domain->axes * sizeof *genome);
            trial[i] = (cop_trial){.genome = genome};
            evaluate(genome, &trial[i]);
        }
        COP_TRY(status, cop_strategy_tell(strategy, trial, count, err));
        out->batch[out->batches++] = count;
        out->count += count;
    }

done:
    return status;
}

static run *run_of(const cop_domain *domain, const cop_strategy_options *options,
                   evaluate_fn *evaluate, int64_t most)
{
    cop_error err;
    run *out = cop_alloc(1, sizeof *out);
    assert_non_null(out);
    cop_strategy *strategy = strategy_of(domain, options);
    must_succeed(go(strategy, domain, evaluate, most, out, &err), &err);
    cop_strategy_destroy(strategy);
    return out;
}

static void check_points(const cop_domain *domain, const run *r)
{
    const size_t bytes = (size_t)domain->axes * sizeof(int32_t);
    for (int64_t i = 0; i < r->count; i++) {
        int32_t canonical[AXES_MOST];
        memcpy(canonical, r->genome[i], bytes);
        if (domain->canonicalize != NULL) {
            domain->canonicalize(NULL, canonical);
        }
        assert_memory_equal(canonical, r->genome[i], bytes);
        assert_true(domain->violation == NULL || domain->violation(NULL, r->genome[i]) == 0);
        for (int64_t j = 0; j < i; j++) {
            assert_memory_not_equal(r->genome[i], r->genome[j], bytes);
        }
    }
}

// Area within the reference that the true values of the first `count` points dominate.
static double area_of(const run *r, int64_t count)
{
    const double reference[2] = {4.1, 25};
    double area = 0;
    double ceiling = reference[0];
    bool is_used[POINTS_MOST] = {false};
    for (int64_t i = 0; i < count; i++) {
        int64_t next = -1; // smallest size left
        for (int64_t j = 0; j < count; j++) {
            const bool is_smaller = next < 0 || size_of(r->genome[j]) < size_of(r->genome[next]);
            next = !is_used[j] && is_smaller ? j : next;
        }
        is_used[next] = true;
        const double loss = true_loss(r->genome[next]);
        const double size = size_of(r->genome[next]);
        if (loss < ceiling && size < reference[1]) {
            area += (ceiling - loss) * (reference[1] - size);
            ceiling = loss;
        }
    }
    return area;
}

// --- Tests ------------------------------------------------------------------------------------------

static void finds_more_than_chance_in_twelve_evaluations(void **state)
{
    (void)state;

    enum { SEEDS = 20 };

    cop_strategy_options options = COP_STRATEGY_OPTIONS_DEFAULT;
    options.population = 4;
    run *all = cop_alloc(1, sizeof *all);
    assert_non_null(all);
    for (int i = 0; i < 36; i++) {
        all->genome[i][0] = i / 6;
        all->genome[i][1] = i % 6;
    }
    const double best = area_of(all, 36);
    double own = 0;
    double chance = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        options.seed = seed;
        run *r = run_of(&tiny, &options, measure6, 12);
        assert_int_equal(r->count, 12);
        check_points(&tiny, r);
        own += area_of(r, 12) / best / SEEDS;
        cop_free(r);
        cop_error err;
        cop_rng *rng = NULL;
        must_succeed(cop_rng_create(&rng, seed, COP_RNG_TEST, 7, &err), &err);
        int64_t order[36];
        for (int i = 0; i < 36; i++) {
            order[i] = i;
        }
        cop_rng_shuffle(rng, order, 36);
        for (int i = 0; i < 12; i++) {
            all->genome[i][0] = (int32_t)(order[i] / 6);
            all->genome[i][1] = (int32_t)(order[i] % 6);
        }
        chance += area_of(all, 12) / best / SEEDS;
        cop_rng_destroy(rng);
    }
    cop_free(all);
    print_message("share of the whole front's area: %.4f, by chance %.4f\n", own, chance);
    // Twelve points cannot hold all fifteen of the front; 0.998 is the most.
    assert_true(1 - own < 0.6 * (1 - chance));
}

static void repeats_itself_and_goes_on_from_results_alone(void **state)
{
    (void)state;
    cop_strategy_options options = COP_STRATEGY_OPTIONS_DEFAULT;
    options.population = 12;
    options.batch = 7;
    run *first = run_of(&wide, &options, measure8, 40);
    run *second = run_of(&wide, &options, measure8, 40);
    assert_memory_equal(first->genome, second->genome, sizeof first->genome);
    check_points(&wide, first);

    // A new process is told what was finished, and never asked for it.
    cop_error err;
    cop_strategy *strategy = strategy_of(&wide, &options);
    memset(second, 0, sizeof *second);
    int64_t told = 0;
    for (int i = 0; i < 3; i++) {
        must_succeed(cop_strategy_tell(strategy, &first->trial[told], first->batch[i], &err), &err);
        memcpy(second->genome[told], first->genome[told],
               (size_t)first->batch[i] * sizeof first->genome[0]);
        told += first->batch[i];
    }
    second->count = told;
    must_succeed(go(strategy, &wide, measure8, 40, second, &err), &err);
    assert_memory_equal(first->genome, second->genome, sizeof first->genome);
    cop_strategy_destroy(strategy);

    options.seed = 2;
    cop_free(second);
    second = run_of(&wide, &options, measure8, 40);
    assert_memory_not_equal(first->genome, second->genome, sizeof first->genome);
    cop_free(first);
    cop_free(second);
}

static void proposes_the_same_until_it_is_told(void **state)
{
    (void)state;
    cop_error err;
    cop_strategy_options options = COP_STRATEGY_OPTIONS_DEFAULT;
    options.population = 10;
    options.batch = 6;
    run *r = cop_alloc(1, sizeof *r);
    assert_non_null(r);
    cop_strategy *strategy = strategy_of(&wide, &options);
    must_succeed(go(strategy, &wide, measure8, 10, r, &err), &err);
    int32_t whole[BATCH_MOST * AXES_MOST];
    int32_t part[BATCH_MOST * AXES_MOST];
    int64_t count = 0;
    must_succeed(cop_strategy_ask(strategy, part, 2, &count, &err), &err);
    assert_int_equal(count, 2);
    must_succeed(cop_strategy_ask(strategy, whole, BATCH_MOST, &count, &err), &err);
    assert_int_equal(count, 6);
    assert_memory_equal(part, whole, 2 * 8 * sizeof *whole);
    cop_strategy_destroy(strategy);
    cop_free(r);
}

static void lists_a_small_space_to_its_end(void **state)
{
    (void)state;
    cop_strategy_options options = COP_STRATEGY_OPTIONS_DEFAULT;
    options.population = 5;
    run *r = run_of(&tiny, &options, measure6, 100);
    assert_int_equal(r->count, 36);
    check_points(&tiny, r);
    cop_free(r);
    const int32_t one[2] = {1, 1};
    const cop_domain single = {.axes = 2, .levels = one};
    r = run_of(&single, &options, measure_constant, 100);
    assert_int_equal(r->count, 1);
    cop_free(r);
}

static void goes_on_with_whatever_results(void **state)
{
    (void)state;

    static const struct {
        evaluate_fn *evaluate;
        int objectives;
        bool has_features;
    } cases[] = {
        {measure8_badly, 2, true},  {measure_constant, 2, true}, {fail_always, 2, true},
        {measure_bounded, 2, true}, {measure8, 1, true},         {measure8, 3, true},
        {measure8_badly, 3, false},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cop_domain domain = wide;
        domain.features = cases[i].has_features ? 2 : 0;
        cop_strategy_options options = COP_STRATEGY_OPTIONS_DEFAULT;
        options.objectives = cases[i].objectives;
        options.population = 10;
        options.batch = 9;
        run *r = run_of(&domain, &options, cases[i].evaluate, 46);
        assert_int_equal(r->count, 46);
        check_points(&domain, r);
        cop_free(r);
    }
}

static void avoids_what_was_measured_to_exceed_bounds(void **state)
{
    (void)state;
    cop_strategy_options options = COP_STRATEGY_OPTIONS_DEFAULT;
    options.population = 20;
    options.batch = 10;
    run *r = run_of(&wide, &options, measure_bounded, 100);
    int64_t early = 0;
    int64_t late = 0;
    for (int64_t i = 0; i < 100; i++) {
        early += i < 20 && r->trial[i].violation > 0 ? 1 : 0;
        late += i >= 60 && r->trial[i].violation > 0 ? 1 : 0;
    }
    assert_true(early >= 4);
    assert_true(late <= 4); // of 40: a tenth explores
    cop_free(r);
}

static void shows_its_calibration(void **state)
{
    (void)state;
    cop_error err;
    cop_surrogate_calibration shown;
    cop_strategy_options options = COP_STRATEGY_OPTIONS_DEFAULT;
    options.population = 30;
    options.batch = 10;
    run *r = cop_alloc(1, sizeof *r);
    assert_non_null(r);
    cop_domain domain = wide;
    cop_strategy *strategy = strategy_of(&domain, &options);
    must_succeed(cop_strategy_surrogate_calibration(&shown, strategy, 0, &err), &err);
    assert_int_equal(shown.n, 0);
    assert_true(isnan(shown.coverage50) && isnan(shown.rmse) && isnan(shown.tau));
    must_succeed(go(strategy, &domain, measure8, 200, r, &err), &err);
    for (int j = 0; j < 2; j++) {
        must_succeed(cop_strategy_surrogate_calibration(&shown, strategy, j, &err), &err);
        assert_int_equal(shown.n, 170);
        assert_false(shown.is_exact);
        // No more than a sanity check: functions without noise are not draws of the model's prior.
        assert_true(shown.coverage90 > 0.7 && shown.coverage50 > 0.3);
        assert_true(shown.coverage50 <= shown.coverage90);
        assert_true(shown.tau > 0.7);
        assert_true(shown.rmse < 4);
    }
    assert_int_equal(cop_strategy_surrogate_calibration(&shown, strategy, 2, &err), COP_ERR_CONFIG);
    assert_string_equal(err.message, "strategy: objective is 2 (allowed: 0..1)");
    cop_strategy_destroy(strategy);
    strategy = strategy_of(&tiny, &options);
    must_succeed(cop_strategy_surrogate_calibration(&shown, strategy, 1, &err), &err);
    assert_true(shown.is_exact);
    cop_strategy_destroy(strategy);
    cop_free(r);
}

static cop_status try_run(const cop_domain *domain, evaluate_fn *evaluate, int64_t most, run *r,
                          cop_error *err)
{
    cop_status status = COP_OK;
    cop_strategy *strategy = NULL;
    cop_surrogate_calibration shown;
    cop_strategy_options options = COP_STRATEGY_OPTIONS_DEFAULT;
    options.population = 6;
    options.batch = 2;
    memset(r, 0, sizeof *r);
    COP_TRY(status, cop_strategy_create(&strategy, &cop_strategy_surrogate, domain, &options, err));
    COP_TRY(status, go(strategy, domain, evaluate, most, r, err));
    COP_TRY(status, cop_strategy_surrogate_calibration(&shown, strategy, 0, err));

done:
    cop_strategy_destroy(strategy);
    return status;
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;

    static const struct {
        const cop_domain *domain;
        evaluate_fn *evaluate;
        int64_t points;
    } cases[] = {{&tiny, measure6, 10}, {&wide, measure_bounded, 8}};

    run *r = cop_alloc(1, sizeof *r);
    assert_non_null(r);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const size_t blocks = cop_alloc_live_blocks();
        for (size_t n = 0;; n++) {
            cop_error err;
            cop_alloc_fail_after(n);
            const cop_status status =
                try_run(cases[i].domain, cases[i].evaluate, cases[i].points, r, &err);
            cop_alloc_fail_after(SIZE_MAX);
            assert_int_equal(cop_alloc_live_blocks(), blocks);
            if (status == COP_OK) {
                assert_true(n > 40);
                break;
            }
            assert_int_equal(status, COP_ERR_NOMEM);
        }
    }
    cop_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_more_than_chance_in_twelve_evaluations),
        cmocka_unit_test(repeats_itself_and_goes_on_from_results_alone),
        cmocka_unit_test(proposes_the_same_until_it_is_told),
        cmocka_unit_test(lists_a_small_space_to_its_end),
        cmocka_unit_test(goes_on_with_whatever_results),
        cmocka_unit_test(avoids_what_was_measured_to_exceed_bounds),
        cmocka_unit_test(shows_its_calibration),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    cop_system_silence_libraries();
    draw_noise();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
