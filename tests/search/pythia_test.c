// Published learning curves of the Pythia models: how soon their order settles, and how well their ends are
// foreseen. Skipped without the reference data.

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "benchmarks/curves.h"
#include "search/curve_fit.h"
#include "search/kendall.h"
#include "tests/support.h"

enum { MODELS = 15, STEPS = 27 };

static const double step_tokens = 2097152;
static curves pythia;

static void reads_all_curves(void **state)
{
    (void)state;
    assert_int_equal(pythia.count, MODELS);
    assert_int_equal(pythia.points, STEPS);
    assert_int_equal(pythia.left_out, 0);
    assert_true(pythia.tokens[STEPS - 1] == 143000 * step_tokens);
    for (int i = 0; i < MODELS; i++) {
        for (int p = 0; p < STEPS; p++) {
            assert_true(isfinite(pythia.curve[i].loss[p]));
        }
    }
}

static double tau_to_the_end(double step)
{
    cop_kendall_pair pairs[MODELS];
    cop_kendall_pair scratch[MODELS];
    for (int p = 0; p < STEPS; p++) {
        if (pythia.tokens[p] == step * step_tokens) {
            for (int i = 0; i < MODELS; i++) {
                pairs[i].x = pythia.curve[i].loss[p];
                pairs[i].y = pythia.curve[i].loss[STEPS - 1];
            }
            return cop_kendall_tau_b(pairs, scratch, MODELS);
        }
    }
    return (double)NAN;
}

// Values computed independently from the same rows, given to two digits.
static void orders_settle_as_published(void **state)
{
    (void)state;
    const double expected[][2] = {{512, -0.29},  {1000, -0.15}, {3000, 0.62}, {13000, 0.85},
                                  {23000, 0.96}, {33000, 0.94}, {43000, 1},   {63000, 0.905}};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        const double tau = tau_to_the_end(expected[i][0]);
        print_message("step %6.0f: tau %.3f\n", expected[i][0], tau);
        assert_true(fabs(tau - expected[i][1]) <= 0.005 + 1e-9);
    }
    for (int step = 83000; step < 143000; step += 10000) {
        const double tau = tau_to_the_end(step);
        print_message("step %6d: tau %.3f\n", step, tau);
        assert_true(tau > 0.935 && tau < 0.985);
    }
}

// From the first third (steps 1000 to 43,000: 6 points), the end is 3.3 times further. The curves are no pure
// power laws: the learning rate decays meanwhile, which lets the large models fall further, and the
// smallest two sizes get worse again on this task. So intervals cover less than 95 %; the order holds.
static void foresees_the_end_from_the_first_third(void **state)
{
    (void)state;
    int covered = 0;
    double worst = 0;
    double sum = 0;
    cop_kendall_pair pairs[MODELS];
    cop_kendall_pair scratch[MODELS];
    for (int i = 0; i < MODELS; i++) {
        cop_curve_fit fit;
        cop_error err = {0};
        const curve *c = &pythia.curve[i];
        int first = 0;
        int last = 0;
        for (int p = 0; p < STEPS; p++) {
            first += pythia.tokens[p] < 1000 * step_tokens;
            last += pythia.tokens[p] <= 43000 * step_tokens;
        }
        must_succeed(cop_curve_fit_make(&fit, pythia.tokens + first, c->loss + first, NULL,
                                        last - first, &err),
                     &err);
        const cop_curve_prediction at = cop_curve_predict(&fit, pythia.tokens[STEPS - 1]);
        const double end = c->loss[STEPS - 1];
        assert_true(fit.is_converged);
        covered += end >= at.low && end <= at.high;
        worst = fmax(worst, fabs(at.value - end));
        sum += at.value - end;
        pairs[i] = (cop_kendall_pair){at.value, end};
        print_message("%-14s end %.3f, foreseen %.3f (%.3f .. %.3f), exponent %.2f\n", c->id, end,
                      at.value, at.low, at.high, fit.exponent);
    }
    const double tau = cop_kendall_tau_b(pairs, scratch, MODELS);
    print_message("covered %d of %d, mean error %.3f, worst %.3f, tau %.2f\n", covered, MODELS,
                  sum / MODELS, worst, tau);
    assert_true(worst < 0.8); // the losses span 3.6
    assert_true(fabs(sum / MODELS) < 0.3);
    assert_true(covered >= MODELS / 2);
    assert_true(tau > 0.75);
}

static void refuses_files_of_another_form(void **state)
{
    (void)state;
    const char *const bad[][2] = {
        {"id,loss\na,1\n",
         "bad.csv:1: columns: some are absent (allowed: id, tokens, loss, and others)"},
        {"id,tokens,loss\na,x,1\n", "bad.csv:2: tokens: x (allowed: numbers >= 0)"},
        {"id,tokens,loss\na,1,y\n", "bad.csv:2: loss: y (allowed: numbers)"},
        {"id,tokens,loss\na,1\n", "bad.csv:2: fields: 2 (allowed: as in the header)"},
        {"id,tokens,loss\na,1,2\na,1,3\n", "bad.csv:3: a at 1 tokens: a second row (allowed: one)"},
        {"id,tokens,loss\na,1,\n", "bad.csv: rows with a loss: 0 (allowed: 1 or more)"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        curves read;
        cop_error err = {0};
        (void)scratch_file("bad.csv", bad[i][0], strlen(bad[i][0]));
        assert_int_equal(curves_read(&read, "bad.csv", &err), COP_ERR_FORMAT);
        assert_string_equal(err.message, bad[i][1]);
    }
    const char good[] =
        "rank,loss,tokens,id\r\n1,0.5,200,\"a,b\"\r\n,0.7,100,\"a,b\"\r\n,3,100,c\r\n";
    curves read;
    cop_error err = {0};
    (void)scratch_file("good.csv", good, sizeof good - 1);
    must_succeed(curves_read(&read, "good.csv", &err), &err);
    assert_int_equal(read.count, 1);
    assert_int_equal(read.left_out, 1);
    assert_string_equal(read.curve[0].id, "a,b");
    assert_true(read.curve[0].loss[0] == 0.7 && read.curve[0].loss[1] == 0.5);
    curves_release(&read);
}

int main(void)
{
    cop_error err = {0};
    if (!cop_file_exists(COP_REFERENCE_DATA "/pythia/pythia_checkpoint_curves.csv")) {
        return 77;
    }
    if (curves_read_pythia(&pythia, COP_REFERENCE_DATA, &err) != COP_OK) {
        print_error("%s\n", err.message);
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_all_curves),
        cmocka_unit_test(orders_settle_as_published),
        cmocka_unit_test(foresees_the_end_from_the_first_third),
        cmocka_unit_test(refuses_files_of_another_form),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    curves_release(&pythia);
    return failed;
}
