// The published problems are the published ones, and strategies find their fronts. Skipped without the data.

#include "tests/search/problems.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/search/problem_run.h"
#include "tests/support.h"

enum { VECTORS = 100, EVALUATIONS = 3000 };

// Sums of other orders differ in the last digits only.
static void check_close(double found, double expected, double relative)
{
    assert_true(fabs(found - expected) <= relative * fmax(1, fabs(expected)));
}

static void agree_with_published_vectors(void **state)
{
    static const struct {
        problem_kind kind;
        const char *name;
        int variables;
        bool has_violation;
    } cases[] = {
        {PROBLEM_ZDT1, "ZDT1", 10, false}, {PROBLEM_ZDT2, "ZDT2", 10, false},
        {PROBLEM_ZDT3, "ZDT3", 10, false}, {PROBLEM_OSY, "OSY", 6, true},
        {PROBLEM_TNK, "TNK", 2, true},     {PROBLEM_BNH, "BNH", 2, true},
    };

    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        static double x[VECTORS * 10];
        static double f[VECTORS * 2];
        static double cv[VECTORS];
        char name[64];
        (void)snprintf(name, sizeof name, "pymoo_pf/tests/%s.x", cases[c].name);
        assert_int_equal(problem_read_table(name, cases[c].variables, x, VECTORS), VECTORS);
        (void)snprintf(name, sizeof name, "pymoo_pf/tests/%s.f", cases[c].name);
        assert_int_equal(problem_read_table(name, 2, f, VECTORS), VECTORS);
        (void)snprintf(name, sizeof name, "pymoo_pf/tests/%s.cv", cases[c].name);
        if (cases[c].has_violation) {
            assert_int_equal(problem_read_table(name, 1, cv, VECTORS), VECTORS);
        }
        for (int64_t i = 0; i < VECTORS; i++) {
            double objective[2];
            double violation = 0;
            problem_evaluate_real(cases[c].kind, &x[i * cases[c].variables], cases[c].variables,
                                  objective, &violation);
            check_close(objective[0], f[2 * i], 1e-14);
            check_close(objective[1], f[2 * i + 1], 1e-14);
            check_close(violation, cases[c].has_violation ? cv[i] : 0, 1e-14);
        }
    }
}

// Levels of one field of per-layer entries, "12-4-…", into every second axis from `first` on.
static void parse_layers(const char *text, int first, int offset, int step, int32_t *genome)
{
    char *end = NULL;
    for (int axis = first; *text != '\0'; axis += 2, text = *end == '-' ? end + 1 : end) {
        genome[axis] = ((int32_t)strtol(text, &end, 10) - offset) / step;
    }
}

static void agree_with_the_published_predictor(void **state)
{
    static problem p;
    char line[512];
    int64_t rows = 0;

    (void)state;
    assert_true(problem_init(&p, PROBLEM_HWGPT));
    FILE *file = fopen(COP_REFERENCE_DATA "/hwgpt/ppl_mlp_s_check.csv", "r");
    assert_non_null(file);
    assert_non_null(fgets(line, sizeof line, file)); // names of columns
    for (; fgets(line, sizeof line, file) != NULL; rows++) {
        int embed = 0;
        int layers = 0;
        int bias = 0;
        char heads[64];
        char ratios[64];
        double expected = 0;
        double objective[2];
        double violation = 0;
        int32_t genome[HWGPT_AXES] = {0};
        assert_int_equal(sscanf(line, "%d,%d,%d,%63[^,],%63[^,],%lf", &embed, &layers, &bias, heads,
                                ratios, &expected),
                         6);
        genome[0] = embed == 192 ? 0 : embed == 384 ? 1 : 2;
        genome[1] = layers - 10;
        genome[2] = bias;
        parse_layers(ratios, 3, 2, 1, genome);
        parse_layers(heads, 4, 4, 4, genome);
        problem_evaluate(&p, genome, objective, &violation);
        assert_true(fabs(objective[0] - expected) <= 5e-6);
        assert_true(violation == 0);
    }
    assert_int_equal(rows, 100);
    (void)fclose(file);
    problem_release(&p);
}

// The median of three runs after few evaluations. Repeatable: bounds leave room for other libraries' last digits.
static double median_hypervolume(problem_kind kind, const char *strategy, int64_t population)
{
    static problem p;
    static problem_point points[EVALUATIONS];
    double found[3];

    assert_true(problem_init(&p, kind));
    for (int i = 0; i < 3; i++) {
        const cop_strategy_options options = {
            .objectives = 2, .population = population, .seed = (uint64_t)i + 1};
        int64_t count = 0;
        double seconds = 0;
        assert_int_equal(problem_run(&p, cop_strategy_find(strategy), &options, EVALUATIONS, points,
                                     &count, &seconds, NULL),
                         COP_OK);
        assert_int_equal(count, EVALUATIONS);
        found[i] = problem_hypervolume(&p, points, problem_front(points, count));
    }
    problem_release(&p);
    return fmax(fmin(found[0], found[1]), fmin(fmax(found[0], found[1]), found[2]));
}

static void nsga2_approaches_fronts(void **state)
{
    static const struct {
        problem_kind kind;
        int64_t population;
        double share; // of the hypervolume of the reference front
    } cases[] = {
        {PROBLEM_ZDT1, 20, 0.95}, {PROBLEM_ZDT2, 20, 0.90}, {PROBLEM_ZDT3, 20, 0.95},
        {PROBLEM_OSY, 20, 0.80},  {PROBLEM_TNK, 20, 0.90},  {PROBLEM_BNH, 20, 0.995},
    };

    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        static problem p;
        assert_true(problem_init(&p, cases[c].kind));
        const double best = problem_reference_hypervolume(&p);
        problem_release(&p);
        const double found = median_hypervolume(cases[c].kind, "nsga2", cases[c].population);
        if (found < cases[c].share * best) {
            fail_msg("%s: %.4f of the front's hypervolume", problem_name(cases[c].kind),
                     found / best);
        }
    }
}

// 0.8273 is the best hypervolume known.
static void searches_of_transformers_beat_chance(void **state)
{
    (void)state;
    const double by_chance = median_hypervolume(PROBLEM_HWGPT, "random", 50);
    const double spread = median_hypervolume(PROBLEM_HWGPT, "stratified", 50);
    const double bred = median_hypervolume(PROBLEM_HWGPT, "nsga2", 50);
    assert_true(by_chance > 0.90 * 0.8273);
    assert_true(spread > by_chance + 0.02);
    assert_true(bred > spread);
    assert_true(bred > 0.985 * 0.8273);
}

int main(void)
{
    static problem p;
    const bool has_data = problem_init(&p, PROBLEM_HWGPT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agree_with_published_vectors),
        cmocka_unit_test(agree_with_the_published_predictor),
        cmocka_unit_test(nsga2_approaches_fronts),
        cmocka_unit_test(searches_of_transformers_beat_chance),
    };
    problem_release(&p);
    return has_data ? cmocka_run_group_tests_name("search problems", tests, NULL, NULL) : 77;
}
