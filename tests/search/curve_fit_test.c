// Learning curves whose continuation is known.

#include "search/curve_fit.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "tests/support.h"

enum { MOST = 64 };

static cop_curve_fit fit(const double *tokens, const double *loss, int64_t n)
{
    cop_curve_fit out;
    cop_error err = {0};
    must_succeed(cop_curve_fit_make(&out, tokens, loss, NULL, n, &err), &err);
    return out;
}

static double truth(double a, double b, double c, double t)
{
    return a + b * pow(t, -c);
}

static void recovers_exact_curves(void **state)
{
    (void)state;
    const double cases[][3] = {
        {2, 50, 0.3}, {0, 10, 0.5}, {1.5, 1e6, 1.2}, {3, 4, 0.05}, {-1, 8, 0.2}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        const double *p = cases[k];
        double tokens[12];
        double loss[12];
        for (int i = 0; i < 12; i++) { // in no order
            tokens[i] = 1e4 * pow(1.6, (i * 5) % 12);
            loss[i] = truth(p[0], p[1], p[2], tokens[i]);
        }
        const cop_curve_fit f = fit(tokens, loss, 12);
        assert_int_equal(f.form, COP_CURVE_FLOOR);
        assert_true(f.is_converged && f.is_identifiable);
        assert_true(f.freedom == 9);
        // The minimum is flat: parameters hold to the square root of rounding, times the condition.
        assert_true(fabs(f.exponent - p[2]) < 1e-4 * p[2]);
        assert_true(fabs(f.scale - p[1]) < 1e-3 * p[1]);
        assert_true(fabs(f.floor - p[0]) < 1e-3);
        const cop_curve_prediction at = cop_curve_predict(&f, 1e7);
        assert_true(fabs(at.value - truth(p[0], p[1], p[2], 1e7)) < 1e-5);
        assert_true(at.low <= at.value && at.value <= at.high && at.high - at.low < 1e-4);
    }
}

// 200 noisy curves, each with a measurement at 4 times the last point: it must lie in the 95 % interval in
// 190 of them but for chance. Five standard deviations of the binomial are 15; the form is nonlinear, so
// its coverage is nominal only to first order.
static void covers_what_comes_as_often_as_it_says(void **state)
{
    (void)state;
    cop_rng *rng = NULL;
    cop_error err = {0};
    must_succeed(cop_rng_create(&rng, 11, COP_RNG_TEST, 0, &err), &err);
    const double noises[] = {0.003, 0.02};
    for (int k = 0; k < 2; k++) {
        int covered = 0;
        int below = 0;
        int converged = 0;
        for (int i = 0; i < 200; i++) {
            const double a = 1 + 2 * cop_rng_uniform(rng);
            const double b = 20 + 60 * cop_rng_uniform(rng);
            const double c = 0.25 + 0.4 * cop_rng_uniform(rng);
            double tokens[14];
            double loss[14];
            for (int n = 0; n < 14; n++) {
                tokens[n] = 1e3 * pow(1.5, n);
                loss[n] = truth(a, b, c, tokens[n]) + noises[k] * cop_rng_normal(rng);
            }
            const double target = 4 * tokens[13];
            const double value = truth(a, b, c, target) + noises[k] * cop_rng_normal(rng);
            const cop_curve_fit f = fit(tokens, loss, 14);
            const cop_curve_prediction at = cop_curve_predict(&f, target);
            covered += value >= at.low && value <= at.high;
            below += value < at.value;
            converged += f.is_converged;
        }
        print_message("noise %g: covered %d, below %d, converged %d of 200\n", noises[k], covered,
                      below, converged);
        assert_in_range(covered, 175, 200);
        assert_in_range(below, 65, 135); // no bias: 100, five standard deviations
        assert_in_range(converged, 195, 200);
    }
    cop_rng_destroy(rng);
}

static void weighs_points(void **state)
{
    (void)state;
    double tokens[10];
    double loss[10];
    double weight[10];
    cop_curve_fit f;
    cop_error err = {0};
    for (int i = 0; i < 10; i++) {
        tokens[i] = 1000 * pow(2, i);
        loss[i] = truth(2, 30, 0.4, tokens[i]) + (i < 3 ? 5 : 0); // a warm-up that is no power law
        weight[i] = i < 3 ? 1e-12 : 1;
    }
    must_succeed(cop_curve_fit_make(&f, tokens, loss, weight, 10, &err), &err);
    assert_true(fabs(f.exponent - 0.4) < 1e-3);
    weight[0] = weight[1] = weight[2] = 0; // left out
    must_succeed(cop_curve_fit_make(&f, tokens, loss, weight, 10, &err), &err);
    assert_int_equal(f.points, 7);
    assert_int_equal(f.ignored, 3);
    assert_true(fabs(f.exponent - 0.4) < 1e-4);
    // Weights count in proportion only.
    cop_curve_fit g;
    for (int i = 0; i < 10; i++) {
        loss[i] += 0.01 * (i % 2);
        weight[i] *= 1000;
    }
    must_succeed(cop_curve_fit_make(&g, tokens, loss, weight, 10, &err), &err);
    f = fit(tokens + 3, loss + 3, 7);
    assert_true(fabs(f.exponent - g.exponent) < 1e-6);
    assert_true(fabs(f.scatter - g.scatter) < 1e-9);
}

static void takes_poor_data_as_they_are(void **state)
{
    (void)state;
    const double nan = (double)NAN;
    const double t[] = {1000, 2000, 4000, 8000, 16000, 32000};
    const double falling[] = {5, 4, 3.4, 3.1, 2.9, 2.8};
    const double flat[] = {3, 3, 3, 3, 3, 3};
    const double rising[] = {2, 2.5, 3, 3.4, 3.9, 4.6};
    const double broken[] = {nan, 4, (double)INFINITY, 3.1, 2.9, 2.8};
    const double same[] = {7, 7, 7, 7, 7, 7};

    cop_curve_fit f = fit(t, falling, 0);
    assert_int_equal(f.form, COP_CURVE_NONE);
    assert_true(isnan(cop_curve_predict(&f, 1e5).value));
    f = fit(t, falling, 1);
    assert_int_equal(f.form, COP_CURVE_CONSTANT);
    cop_curve_prediction at = cop_curve_predict(&f, 1e5);
    assert_true(at.value == 5 && isinf(at.low) && isinf(at.high));
    f = fit(t, falling, 2);
    assert_int_equal(f.form, COP_CURVE_POWER);
    assert_false(f.is_identifiable);
    at = cop_curve_predict(&f, 4000);
    assert_true(fabs(at.value - 3.2) < 1e-6 && isinf(at.low)); // 5 * 0.8^2
    f = fit(t, falling, 3);
    assert_int_equal(f.form, COP_CURVE_POWER);
    assert_true(f.freedom == 1);
    at = cop_curve_predict(&f, 8000);
    assert_true(at.low < 3.1 && 3.1 < at.high);
    f = fit(t, falling, 4);
    assert_int_equal(f.form, COP_CURVE_FLOOR);
    f = fit(t, flat, 6);
    assert_int_equal(f.form, COP_CURVE_CONSTANT);
    at = cop_curve_predict(&f, 1e6);
    assert_true(at.value == 3 && at.low == 3 && at.high == 3);
    f = fit(t, rising, 6);
    assert_int_equal(f.form, COP_CURVE_CONSTANT);
    assert_false(f.is_identifiable);
    f = fit(t, broken, 6);
    assert_int_equal(f.points, 4);
    assert_int_equal(f.ignored, 2);
    assert_int_equal(f.form, COP_CURVE_FLOOR);
    f = fit(same, falling, 6); // one place: no curve
    assert_int_equal(f.form, COP_CURVE_CONSTANT);
    const double none[] = {0, -1, nan};
    f = fit(none, falling, 3);
    assert_int_equal(f.form, COP_CURVE_NONE);
    assert_int_equal(f.ignored, 3);
}

static void finds_the_hopeless_only(void **state)
{
    (void)state;
    cop_rng *rng = NULL;
    cop_error err = {0};
    must_succeed(cop_rng_create(&rng, 12, COP_RNG_TEST, 0, &err), &err);
    const double floors[] = {2, 2.002, 2.5, 3};
    cop_curve_fit f[5] = {{0}};
    for (int k = 0; k < 4; k++) {
        double tokens[12];
        double loss[12];
        for (int i = 0; i < 12; i++) {
            tokens[i] = 1000 * pow(1.7, i);
            loss[i] = truth(floors[k], 30, 0.4, tokens[i]) + 0.005 * cop_rng_normal(rng);
        }
        f[k] = fit(tokens, loss, 12);
    }
    cop_rng_destroy(rng);
    const double target = 2e6;
    assert_false(cop_curve_is_hopeless(&f[0], &f[1], target));
    assert_false(cop_curve_is_hopeless(&f[1], &f[0], target)); // 0.002 apart, noise 0.005
    assert_true(cop_curve_is_hopeless(&f[2], &f[0], target));
    assert_true(cop_curve_is_hopeless(&f[3], &f[1], target));
    assert_false(cop_curve_is_hopeless(&f[0], &f[3], target));
    assert_true(cop_curve_probability(&f[0], &f[0], target) == 0.5);
    const double p = cop_curve_probability(&f[0], &f[1], target);
    assert_true(fabs(p + cop_curve_probability(&f[1], &f[0], target) - 1) < 1e-12);
    // Against a measurement, and against nothing.
    const cop_curve_fit reached = cop_curve_measured(2.2, 0.01);
    assert_true(cop_curve_is_hopeless(&f[2], &reached, target));
    assert_false(cop_curve_is_hopeless(&f[0], &reached, target));
    assert_false(cop_curve_is_hopeless(&f[3], &f[4], target));
    const cop_curve_fit exact = cop_curve_measured(2.2, 0);
    assert_true(cop_curve_probability(&exact, &exact, 1) == 0.5);
    int64_t index = 0;
    must_succeed(cop_curve_kth(&index, f, 5, 3, target, &err), &err);
    assert_int_equal(index, 2);
    must_succeed(cop_curve_kth(&index, f, 5, 5, target, &err), &err);
    assert_int_equal(index, -1); // four have a curve
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    const double t[] = {1000, 2000, 4000, 8000, 16000};
    const double loss[] = {5, 4, 3.4, 3.1, 2.9};
    const size_t blocks = cop_alloc_live_blocks();
    cop_curve_fit f;
    int64_t index = 0;
    cop_error err = {0};
    cop_alloc_fail_after(0);
    assert_int_equal(cop_curve_fit_make(&f, t, loss, NULL, 5, &err), COP_ERR_NOMEM);
    assert_string_equal(err.message, "learning curve: out of memory for 5 points");
    assert_int_equal(f.form, COP_CURVE_NONE);
    assert_int_equal(cop_curve_kth(&index, &f, 1, 1, 1, &err), COP_ERR_NOMEM);
    cop_alloc_fail_after(1);
    must_succeed(cop_curve_fit_make(&f, t, loss, NULL, 5, &err), &err);
    cop_alloc_fail_after(SIZE_MAX);
    assert_int_equal(cop_alloc_live_blocks(), blocks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recovers_exact_curves),
        cmocka_unit_test(covers_what_comes_as_often_as_it_says),
        cmocka_unit_test(weighs_points),
        cmocka_unit_test(takes_poor_data_as_they_are),
        cmocka_unit_test(finds_the_hopeless_only),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
