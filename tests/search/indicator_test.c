// Quality indicators: by hand, and what must hold for any set.

#include "search/indicator.h"

#include <math.h>
#include <string.h>

#include "tests/search/reference.h"
#include "tests/support.h"

static const double inf = (double)INFINITY;

typedef struct indicators {
    double igd;
    double igd_plus;
    double epsilon;
} indicators;

static indicators of(const double *values, int64_t count, const double *front, int64_t front_count,
                     int d)
{
    indicators r = {-1, -1, -1};
    cop_error err = {0};
    assert_int_equal(cop_indicator_igd(&r.igd, values, count, front, front_count, d, &err), COP_OK);
    assert_int_equal(
        cop_indicator_igd_plus(&r.igd_plus, values, count, front, front_count, d, &err), COP_OK);
    assert_int_equal(cop_indicator_epsilon(&r.epsilon, values, count, front, front_count, d, &err),
                     COP_OK);
    return r;
}

static void assert_near(double value, double want)
{
    if (!(fabs(value - want) <= 1e-14 * (1 + fabs(want)))) {
        print_error("%.17g is not %.17g\n", value, want);
        fail();
    }
}

static void small_sets_come_out_as_by_hand(void **state)
{
    (void)state;

    const struct {
        int64_t count;
        int64_t front_count;
        int d;
        double values[6];
        double front[6];
        indicators want;
    } cases[] = {
        // One point 3 and 4 away in the two objectives, then better by 4 in the second.
        {1, 1, 2, {3, 4}, {0, 0}, {5, 5, 4}},
        {1, 1, 2, {3, -4}, {0, 0}, {5, 3, 3}},
        {1, 1, 2, {-3, -4}, {0, 0}, {5, 0, -3}},
        // The nearest is another one for each reference point.
        {2, 2, 2, {0, 2, 2, 0}, {0, 1, 1, 0}, {1, 1, 1}},
        {2, 3, 1, {5, 2}, {0, 2, 4}, {1, 2.0 / 3, 2}},
        {2, 1, 3, {1, 2, 2, 9, 9, 9}, {0, 0, 0}, {3, 3, 2}},
        // A NaN or infinite point is nowhere near; nothing is infinitely far.
        {2, 1, 2, {(double)NAN, 0, 1, 0}, {0, 0}, {1, 1, 1}},
        {2, 1, 2, {(double)INFINITY, 0, 1, 0}, {0, 0}, {1, 1, 1}},
        {0, 1, 2, {0}, {0, 0}, {(double)INFINITY, (double)INFINITY, (double)INFINITY}},
        {1, 1, 1, {(double)NAN}, {0}, {(double)INFINITY, (double)INFINITY, (double)INFINITY}},
    };

    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        const indicators r =
            of(cases[c].values, cases[c].count, cases[c].front, cases[c].front_count, cases[c].d);
        if (isinf(cases[c].want.igd)) {
            assert_true(r.igd == inf && r.igd_plus == inf && r.epsilon == inf);
        } else {
            assert_near(r.igd, cases[c].want.igd);
            assert_near(r.igd_plus, cases[c].want.igd_plus);
            assert_near(r.epsilon, cases[c].want.epsilon);
        }
    }
}

// A front is at distance 0 from itself; worse by 1/8 in all objectives it is that far in each sense.
static void a_published_front_stands_for_itself(void **state)
{
    (void)state;
    static double front[3000];
    static double worse[3000];

    const struct {
        const char *name;
        int d;
    } files[] = {{"moea_pf/pf/ZDT1.pf", 2}, {"moea_pf/pf/DTLZ2.3D.pf", 3}};

    for (size_t f = 0; f < sizeof files / sizeof *files; f++) {
        const int d = files[f].d;
        const int64_t count = reference_numbers(front, 3000, files[f].name) / d;
        for (int64_t i = 0; i < count * d; i++) {
            worse[i] = front[i] + 0.125;
        }
        indicators r = of(front, count, front, count, d);
        assert_true(r.igd == 0 && r.igd_plus == 0 && r.epsilon == 0);
        r = of(worse, count, front, count, d);
        assert_near(r.epsilon, 0.125);
        assert_true(r.igd_plus <= r.igd && r.igd <= 0.125 * sqrt(d) && r.igd_plus > 0);
        r = of(front, count, worse, count, d);
        assert_near(r.epsilon, -0.125);
        assert_true(r.igd_plus == 0 && r.igd > 0);
    }
}

static void what_is_out_of_range_is_refused(void **state)
{
    (void)state;
    const double values[9] = {0};
    const double bad[4] = {0, 0, 0, (double)INFINITY};
    double out = 7;
    cop_error err = {0};
    assert_int_equal(cop_indicator_igd(&out, values, 1, values, 1, 9, &err), COP_ERR_CONFIG);
    assert_string_equal(err.message, "indicator: objectives: 9 (allowed: 1..8)");
    assert_int_equal(cop_indicator_igd_plus(&out, values, 1, values, 0, 2, &err), COP_ERR_CONFIG);
    assert_string_equal(err.message, "indicator: points: 1, of the reference front: 0 (allowed: at "
                                     "least 0, at least 1)");
    assert_int_equal(cop_indicator_epsilon(&out, values, 1, bad, 2, 2, &err), COP_ERR_CONFIG);
    assert_string_equal(err.message, "indicator: reference front: objective 1 of point 1: inf "
                                     "(allowed: finite numbers)");
    assert_true(out == 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_sets_come_out_as_by_hand),
        cmocka_unit_test(a_published_front_stands_for_itself),
        cmocka_unit_test(what_is_out_of_range_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
