// Gaussian processes and expected hypervolume improvement against what can be worked out by hand.

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "base/system.h"
#include "search/improvement.h"
#include "search/regression.h"
#include "tests/support.h"

static cop_rng *rng_of(uint64_t index)
{
    cop_error err;
    cop_rng *rng = NULL;
    must_succeed(cop_rng_create(&rng, 4, COP_RNG_TEST, index, &err), &err);
    return rng;
}

// --- Gaussian process -------------------------------------------------------------------------------

static double determinant(const double m[3][3])
{
    return m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) -
           m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0]) +
           m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0]);
}

// Cramer's rule.
static void solve(const double m[3][3], const double b[3], double out[3])
{
    for (int column = 0; column < 3; column++) {
        double copy[3][3];
        memcpy(copy, m, sizeof copy);
        for (int row = 0; row < 3; row++) {
            copy[row][column] = b[row];
        }
        out[column] = determinant((const double(*)[3])copy) / determinant(m);
    }
}

static void predicts_three_points_as_by_hand(void **state)
{
    (void)state;
    const double x[3] = {0.1, 0.4, 0.9};
    const double y[3] = {-1.0, 0.25, 0.75};
    const double weight = 3.0;
    const double signal = 2.0;
    const double noise = 0.05;
    const double floor = 1e-8 * (signal + 1.0); // as documented: a share of the kernel's diagonal
    const double at = 0.6;
    double k[3][3];
    double with[3];
    for (int i = 0; i < 3; i++) {
        for (int j = 0; j < 3; j++) {
            k[i][j] = 1 + signal * exp(-0.5 * weight * (x[i] - x[j]) * (x[i] - x[j]));
            k[i][j] += i == j ? noise + floor : 0;
        }
        with[i] = 1 + signal * exp(-0.5 * weight * (x[i] - at) * (x[i] - at));
    }
    double alpha[3];
    double beta[3];
    solve((const double(*)[3])k, y, alpha);
    solve((const double(*)[3])k, with, beta);

    cop_error err;
    cop_gaussian *model = NULL;
    must_succeed(cop_gaussian_create(&model, 1, NULL, &err), &err);
    must_succeed(cop_gaussian_set(model, x, y, 3, &err), &err);
    cop_gaussian_parameters *parameters = cop_gaussian_view_parameters(model);
    parameters->log_weight[0] = log(weight);
    parameters->log_signal = log(signal);
    parameters->log_noise = log(noise);
    must_succeed(cop_gaussian_condition(model, NULL, &err), &err);
    double root[3];
    double variance = 0;
    const double mean = cop_gaussian_predict(model, &at, root, &variance);
    const double by_hand = with[0] * alpha[0] + with[1] * alpha[1] + with[2] * alpha[2];
    const double explained = with[0] * beta[0] + with[1] * beta[1] + with[2] * beta[2];
    // 1e-12: a matrix of three of condition below 1e3, in double precision.
    assert_true(fabs(mean - by_hand) < 1e-12);
    assert_true(fabs(cop_gaussian_mean(model, &at) - by_hand) < 1e-12);
    assert_true(fabs(variance - (1 + signal - explained)) < 1e-12);
    assert_true(fabs(cop_gaussian_mean_at(model, 1) - cop_gaussian_mean(model, &x[1])) < 1e-12);
    cop_gaussian_destroy(model);
}

// y = sin(4 a) + 0.3 b + noise; column 2 is idle, column 3 repeats column 0.
enum { COLUMNS = 4 };

static double wave(const double *x)
{
    return sin(4 * x[0]) + 0.3 * x[1];
}

static void fill(cop_rng *rng, double *x, double *y, int64_t count, double noise)
{
    for (int64_t i = 0; i < count; i++) {
        double *row = x + i * COLUMNS;
        for (int d = 0; d < 3; d++) {
            row[d] = cop_rng_uniform(rng);
        }
        row[3] = row[0];
        y[i] = wave(row) + noise * cop_rng_normal(rng);
    }
}

static double log_posterior(cop_gaussian *model)
{
    cop_error err;
    double evidence = 0;
    must_succeed(cop_gaussian_condition(model, &evidence, &err), &err);
    return evidence;
}

static void learns_parameters_that_no_small_step_improves(void **state)
{
    (void)state;

    enum { COUNT = 60 };

    double x[COUNT * COLUMNS];
    double y[COUNT];
    cop_error err;
    cop_rng *rng = rng_of(1);
    fill(rng, x, y, COUNT, 0.1);
    cop_gaussian *model = NULL;
    must_succeed(cop_gaussian_create(&model, COLUMNS, NULL, &err), &err);
    must_succeed(cop_gaussian_set(model, x, y, COUNT, &err), &err);
    const double before = log_posterior(model);
    must_succeed(cop_gaussian_learn(model, 200, &err), &err);
    const double best = log_posterior(model);
    assert_true(best > before + 10);
    cop_gaussian_parameters *p = cop_gaussian_view_parameters(model);
    double *all[COLUMNS + 2] = {&p->log_weight[0], &p->log_weight[1], &p->log_weight[2],
                                &p->log_weight[3], &p->log_signal,    &p->log_noise};
    for (int i = 0; i < COLUMNS + 2; i++) {
        for (int sign = -1; sign <= 1; sign += 2) {
            const double held = *all[i];
            *all[i] = held + 0.2 * sign;
            // The search ends when a step gains less than 0.01.
            assert_true(log_posterior(model) < best + 0.02);
            *all[i] = held;
        }
    }
    assert_true(fabs(exp(p->log_noise) - 0.01) <
                0.006); // of 60 points: within three standard errors
    cop_gaussian_destroy(model);
    cop_rng_destroy(rng);
}

static void is_calibrated_where_its_assumptions_hold(void **state)
{
    (void)state;

    enum { LEARNED = 80, ASKED = 400 };

    static double x[(LEARNED + ASKED) * COLUMNS];
    static double y[LEARNED + ASKED];
    double root[LEARNED];
    cop_error err;
    cop_rng *rng = rng_of(2);
    fill(rng, x, y, LEARNED + ASKED, 0.1);
    cop_regression *model = NULL;
    must_succeed(cop_regression_create(&model, COLUMNS, NULL, true, &err), &err);
    must_succeed(cop_regression_fit(model, x, y, LEARNED, LEARNED, &err), &err);
    assert_false(cop_regression_is_logarithmic(model));
    cop_gaussian *gaussian = cop_regression_view_gaussian(model);
    int inside50 = 0;
    int inside90 = 0;
    for (int i = LEARNED; i < LEARNED + ASKED; i++) {
        double variance = 0;
        const double mean = cop_gaussian_predict(gaussian, x + i * COLUMNS, root, &variance);
        const double z = (cop_regression_latent(model, y[i]) - mean) /
                         sqrt(variance + cop_gaussian_noise(gaussian));
        inside50 += fabs(z) < 0.67449 ? 1 : 0;
        inside90 += fabs(z) < 1.64485 ? 1 : 0;
    }
    // Four standard errors of the shares, and as much again for a noise learned from 80 points.
    assert_true(fabs((double)inside50 / ASKED - 0.5) < 0.2);
    assert_true(fabs((double)inside90 / ASKED - 0.9) < 0.12);
    cop_regression_destroy(model);
    cop_rng_destroy(rng);
}

static void takes_the_logarithm_of_what_grows_exponentially(void **state)
{
    (void)state;

    enum { COUNT = 40 };

    double x[COUNT * COLUMNS];
    double y[COUNT];
    cop_error err;
    cop_rng *rng = rng_of(3);
    fill(rng, x, y, COUNT, 0.0);
    for (int i = 0; i < COUNT; i++) {
        y[i] = exp(6 * x[i * COLUMNS] + 3 * x[i * COLUMNS + 1]);
    }
    cop_regression *model = NULL;
    must_succeed(cop_regression_create(&model, COLUMNS, NULL, true, &err), &err);
    must_succeed(cop_regression_fit(model, x, y, COUNT, COUNT, &err), &err);
    assert_true(cop_regression_is_logarithmic(model));
    const double at[COLUMNS] = {0.5, 0.5, 0.5, 0.5};
    cop_gaussian *gaussian = cop_regression_view_gaussian(model);
    const double found = cop_regression_median(model, cop_gaussian_mean(gaussian, at));
    assert_true(fabs(log(found) - 4.5) < 0.05); // of a range of 9
    double mean = 0;
    double deviation = 0;
    cop_regression_moments(model, 0.0, 0.0, &mean, &deviation);
    assert_true(deviation == 0);
    assert_true(fabs(mean - cop_regression_median(model, 0.0)) < 1e-9 * mean);
    y[0] = -1; // no logarithm any more
    must_succeed(cop_regression_fit(model, x, y, COUNT, COUNT, &err), &err);
    assert_false(cop_regression_is_logarithmic(model));
    cop_regression_destroy(model);
    cop_rng_destroy(rng);
}

static void survives_points_that_say_nothing(void **state)
{
    (void)state;
    const double x[6 * 2] = {0.5, 0, 0.5, 0, 0.5, 1, 0.5, 1, 0.5, 1, 0.5, 1};
    const double y[6] = {3, 3, 3, 3, 3, 3};
    const bool is_word[2] = {false, true};
    for (int count = 1; count <= 6; count++) {
        cop_error err;
        cop_regression *model = NULL;
        must_succeed(cop_regression_create(&model, 2, is_word, true, &err), &err);
        must_succeed(cop_regression_fit(model, x, y, count, count, &err), &err);
        const double at[2] = {0.5, 2};
        double root[6];
        double variance = -1;
        cop_gaussian *gaussian = cop_regression_view_gaussian(model);
        const double mean = cop_gaussian_predict(gaussian, at, root, &variance);
        assert_true(fabs(cop_regression_median(model, mean) - 3) < 1e-6);
        assert_true(isfinite(variance) && variance > 0);
        cop_regression_destroy(model);
    }
}

// --- Expected hypervolume improvement ------------------------------------------------------------------

static cop_improvement *front_of(int objectives, const double *reference, const double *points,
                                 int count)
{
    cop_error err;
    cop_improvement *front = NULL;
    must_succeed(cop_improvement_create(&front, objectives, reference, &err), &err);
    for (int i = 0; i < count; i++) {
        must_succeed(cop_improvement_add(front, points + i * objectives, &err), &err);
    }
    return front;
}

// What a certain point adds to a front of two objectives, by inclusion on the grid of all coordinates.
static double exact_gain(const double *points, int count, const double *reference, const double *y)
{
    enum { MOST = 64 };

    double cut[2][MOST];
    int cuts[2] = {0, 0};
    for (int j = 0; j < 2; j++) {
        cut[j][cuts[j]++] = y[j];
        cut[j][cuts[j]++] = reference[j];
        for (int i = 0; i < count; i++) {
            if (points[2 * i + j] > y[j] && points[2 * i + j] < reference[j]) {
                cut[j][cuts[j]++] = points[2 * i + j];
            }
        }
        for (int i = 1; i < cuts[j]; i++) {
            for (int k = i; k > 0 && cut[j][k - 1] > cut[j][k]; k--) {
                const double held = cut[j][k];
                cut[j][k] = cut[j][k - 1];
                cut[j][k - 1] = held;
            }
        }
    }
    double volume = 0;
    for (int a = 0; y[0] < reference[0] && y[1] < reference[1] && a + 1 < cuts[0]; a++) {
        for (int b = 0; b + 1 < cuts[1]; b++) {
            bool is_dominated = false;
            for (int i = 0; i < count; i++) {
                is_dominated =
                    is_dominated || (points[2 * i] <= cut[0][a] && points[2 * i + 1] <= cut[1][b]);
            }
            const double area = (cut[0][a + 1] - cut[0][a]) * (cut[1][b + 1] - cut[1][b]);
            volume += is_dominated ? 0 : area;
        }
    }
    return volume;
}

static void equals_the_mean_of_many_draws(void **state)
{
    (void)state;

    enum { POINTS = 7, DRAWS = 4000 };

    const double reference[2] = {1.1, 1.1};
    cop_rng *rng = rng_of(4);
    for (int round = 0; round < 12; round++) {
        double points[2 * POINTS];
        for (int i = 0; i < 2 * POINTS; i++) {
            points[i] = cop_rng_uniform(rng);
        }
        cop_improvement *front = front_of(2, reference, points, round % (POINTS + 1));
        const double mean[2] = {1.2 * cop_rng_uniform(rng), 1.2 * cop_rng_uniform(rng)};
        const double deviation[2] = {round % 3 == 0 ? 0.0 : 0.2, round % 4 == 0 ? 0.01 : 0.3};
        double sum = 0;
        double squares = 0;
        for (int i = 0; i < DRAWS; i++) {
            const double y[2] = {mean[0] + deviation[0] * cop_rng_normal(rng),
                                 mean[1] + deviation[1] * cop_rng_normal(rng)};
            const double gain = exact_gain(points, round % (POINTS + 1), reference, y);
            sum += gain;
            squares += gain * gain;
        }
        const double average = sum / DRAWS;
        const double error = sqrt((squares / DRAWS - average * average) / DRAWS);
        const double expected = cop_improvement_expected(front, mean, deviation);
        // Where gains are rarer than the draws, their scatter says nothing: 1 draw of 4000 in 5 sigma.
        assert_true(fabs(expected - average) <= 5 * error + 2e-4);
        cop_improvement_destroy(front);
    }
    cop_rng_destroy(rng);
}

static void gives_certain_points_what_they_add(void **state)
{
    (void)state;
    const double reference[2] = {4, 4};
    const double points[] = {1, 3, 3, 1, 2, 2, 3, 3};
    const double certain[2] = {0, 0};
    cop_improvement *front = front_of(2, reference, points, 4);
    assert_int_equal(cop_improvement_count(front), 3);

    const struct {
        double y[2];
        double gain;
    } cases[] = {
        {{2, 2}, 0}, {{3, 3.5}, 0}, {{5, 0}, 0},     {{4, 0}, 0},
        {{1, 1}, 3}, {{0, 0}, 10},  {{0, 3.5}, 0.5}, {{2, 1}, 1},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const double gain = cop_improvement_expected(front, cases[i].y, certain);
        assert_true(fabs(gain - cases[i].gain) < 1e-12);
        assert_true(fabs(gain - exact_gain(points, 4, reference, cases[i].y)) < 1e-12);
    }
    cop_improvement_destroy(front);
}

static void is_the_expected_improvement_of_one_objective(void **state)
{
    (void)state;
    const double reference[1] = {10};
    const double best[1] = {2};
    const double mean[1] = {2.5};
    const double deviation[1] = {0.8};
    cop_improvement *front = front_of(1, reference, best, 1);
    const double z = (2 - 2.5) / 0.8;
    const double by_formula = (2 - 2.5) * 0.5 * erfc(-z / sqrt(2.0)) +
                              0.8 * exp(-0.5 * z * z) / sqrt(2 * 3.14159265358979323846);
    assert_true(fabs(cop_improvement_expected(front, mean, deviation) - by_formula) < 1e-12);
    cop_improvement_destroy(front);
}

// One point on the front: the gain is the box of y less its part that the point dominates.
static void agrees_in_three_objectives_with_draws_of_the_point(void **state)
{
    (void)state;

    enum { REGION = 20000, DRAWS = 20000 };

    cop_error err;
    const double reference[3] = {1, 1, 1};
    const double point[3] = {0.3, 0.4, 0.5};
    const double ideal[3] = {-0.7, -0.7, -0.7}; // five deviations below the mean
    const double mean[3] = {0.35, 0.3, 0.4};
    const double deviation[3] = {0.2, 0.1, 0.2};
    cop_rng *rng = rng_of(5);
    cop_improvement *front = front_of(3, reference, point, 1);
    assert_true(cop_improvement_expected(front, mean, deviation) == 0);
    must_succeed(cop_improvement_draw(front, ideal, REGION, rng, &err), &err);
    double sum = 0;
    double squares = 0;
    for (int i = 0; i < DRAWS; i++) {
        double box = 1;
        double common = 1;
        for (int j = 0; j < 3; j++) {
            const double y = mean[j] + deviation[j] * cop_rng_normal(rng);
            box *= fmax(0, 1 - y);
            common *= fmax(0, 1 - fmax(y, point[j]));
        }
        sum += box - common;
        squares += (box - common) * (box - common);
    }
    const double average = sum / DRAWS;
    const double error = sqrt((squares / DRAWS - average * average) / DRAWS);
    const double expected = cop_improvement_expected(front, mean, deviation);
    // The region's draws: a share of about 0.02 of a volume of 4.9, from 20,000 draws.
    const double of_region = 4.9 * sqrt(0.02 / REGION);
    assert_true(fabs(expected - average) < 5 * (error + of_region));
    must_succeed(cop_improvement_add(front, ideal, &err), &err); // now everything is dominated
    assert_true(cop_improvement_expected(front, mean, deviation) == 0);
    cop_improvement_destroy(front);
    cop_rng_destroy(rng);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(predicts_three_points_as_by_hand),
        cmocka_unit_test(learns_parameters_that_no_small_step_improves),
        cmocka_unit_test(is_calibrated_where_its_assumptions_hold),
        cmocka_unit_test(takes_the_logarithm_of_what_grows_exponentially),
        cmocka_unit_test(survives_points_that_say_nothing),
        cmocka_unit_test(equals_the_mean_of_many_draws),
        cmocka_unit_test(gives_certain_points_what_they_add),
        cmocka_unit_test(is_the_expected_improvement_of_one_objective),
        cmocka_unit_test(agrees_in_three_objectives_with_draws_of_the_point),
    };
    cop_system_silence_libraries();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
