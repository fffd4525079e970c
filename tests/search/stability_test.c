// When another rung does not change the order: on figures whose order is known.

#include "search/stability.h"

#include <math.h>
#include <stdio.h>

#include "base/alloc.h"
#include "tests/search/synthetic.h"
#include "tests/support.h"

enum { SEQUENCES = 40, MOST = 12 };

static const cop_objective loss_only[] = {COP_OBJECTIVE_LOSS};
static const cop_objective both[] = {COP_OBJECTIVE_LOSS, COP_OBJECTIVE_PARAMS};

typedef struct table {
    cop_snapshot snapshot;
    cop_snapshot_candidate candidate[MOST];
    double values[MOST][COP_SNAPSHOT_STAGES_MAX][SEQUENCES];
} table;

static void put(table *t, int i, int64_t params, int stage, double mean)
{
    cop_snapshot_candidate *c = &t->candidate[i];
    cop_stage_record *record = &c->stage[stage].record;
    (void)snprintf(c->candidate.id, sizeof c->candidate.id, "c%d", i);
    c->candidate.cost.params = params;
    synthetic_losses(t->values[i][stage], SEQUENCES, mean, 0.01, (uint64_t)(i + 100 * stage));
    c->stage[stage].is_done = true;
    *record = (cop_stage_record){.stage = stage, .evaluation = {.sequences = SEQUENCES}};
    record->evaluation.cross_entropy = t->values[i][stage];
    record->evaluation.kl = t->values[i][stage];
    t->snapshot.candidate = t->candidate;
    t->snapshot.count = i >= t->snapshot.count ? i + 1 : t->snapshot.count;
}

// Eight candidates 0.1 apart, larger ones better, the same at `stages` rungs.
static void fill(table *t, int stages)
{
    *t = (table){0};
    for (int i = 0; i < 8; i++) {
        for (int s = 1; s <= stages; s++) {
            put(t, i, 800 - 100 * i, s, 0.5 + 0.1 * i - 0.01 * s);
        }
    }
}

static cop_stability judge(const table *t, const cop_objective *objectives, int count, int stage,
                           int64_t keep)
{
    cop_stability out;
    cop_error err = {0};
    must_succeed(cop_stability_judge(&out, &t->snapshot, objectives, count, stage, keep, 1, &err),
                 &err);
    return out;
}

static void an_order_that_stays_is_stable_at_any_rung(void **state)
{
    (void)state;
    static table t;
    fill(&t, 12);
    for (int stage = 3; stage <= 12; stage++) {
        const cop_stability s = judge(&t, loss_only, 1, stage, 3);
        assert_true(s.is_stable);
        assert_int_equal(s.survivors, 8);
        assert_int_equal(s.best, 3);
        assert_true(s.agreement[0].tau.low >= 0.8 && s.agreement[1].tau.low >= 0.8);
        assert_true(judge(&t, both, 2, stage, 3).is_stable);
    }
}

static void epsilon_is_twice_the_noise_of_an_evaluation(void **state)
{
    (void)state;
    static table t;
    fill(&t, 3);
    const cop_stability s = judge(&t, loss_only, 1, 3, 3);
    // The difficulty of sequences, 0.1, is common; 0.01 is each candidate's own.
    const double want = 2 * 0.01 / sqrt(SEQUENCES);
    for (int r = 0; r < 3; r++) {
        assert_true(fabs(s.epsilon[r] - want) < 0.15 * want);
    }
}

static void a_change_at_either_step_is_not_stable(void **state)
{
    (void)state;
    static table t;
    for (int changed = 1; changed <= 3;
         changed += 2) { // before the older step; after the newer one
        fill(&t, 3);
        for (int i = 0; i < 8; i++) {
            put(&t, i, 100, changed, 1.2 - 0.1 * i);
        }
        const cop_stability s = judge(&t, loss_only, 1, 3, 3);
        assert_false(s.is_stable);
        assert_true(s.agreement[changed == 1 ? 0 : 1].tau.value < -0.9);
        assert_true(s.agreement[changed == 1 ? 1 : 0].tau.value > 0.9);
    }
}

static void the_best_may_change_within_ties_only(void **state)
{
    (void)state;
    static table t;
    for (int is_tie = 0; is_tie < 2; is_tie++) {
        fill(&t, 3);
        // Places 3 and 4 swap at the last rung, by less or by more than epsilon; tau stays high.
        put(&t, 2, 600, 3, 0.75);
        put(&t, 3, 500, 3, 0.75);
        for (int s = 0; s < SEQUENCES; s++) {
            t.values[3][3][s] = t.values[2][3][s] - (is_tie ? 0.0005 : 0.05);
        }
        const cop_stability s = judge(&t, loss_only, 1, 3, 3);
        assert_true(s.agreement[1].tau.value > 0.8);
        assert_true(s.is_same_best[0]);
        assert_int_equal(s.is_same_best[1], is_tie);
        // Among the best two nothing changed.
        assert_true(judge(&t, loss_only, 1, 3, 2).is_same_best[1]);
        // When all go on, the best one must stay.
        assert_int_equal(judge(&t, loss_only, 1, 3, 8).best, 1);
        assert_true(judge(&t, loss_only, 1, 3, 8).is_same_best[1]);
    }
}

static void the_front_must_stay_with_several_objectives(void **state)
{
    (void)state;
    static table t;
    fill(&t, 3);
    // All are on the front until the second smallest comes out behind the smallest.
    assert_true(judge(&t, both, 2, 3, 2).is_same_front[1]);
    put(&t, 6, 200, 3, 1.3);
    const cop_stability s = judge(&t, both, 2, 3, 2);
    assert_true(s.is_same_front[0]);
    assert_false(s.is_same_front[1]);
    assert_true(s.is_same_best[1]);
    assert_false(s.is_stable);
    assert_true(judge(&t, loss_only, 1, 3, 2).is_same_front[1]); // has no say
}

static void only_survivors_count(void **state)
{
    (void)state;
    static table t;
    fill(&t, 3);
    for (int i = 5; i < 8; i++) { // went out after the second rung, at which they turned round
        put(&t, i, 100, 1, 0.4 - 0.01 * i);
        t.candidate[i].stage[3].is_done = false;
    }
    cop_stability s = judge(&t, loss_only, 1, 3, 2);
    assert_int_equal(s.survivors, 5);
    assert_int_equal(s.agreement[0].shared, 5);
    assert_true(s.is_stable);
    for (int i = 2; i < 5; i++) {
        t.candidate[i].stage[3].is_done = false;
    }
    s = judge(&t, loss_only, 1, 3, 1);
    assert_int_equal(s.survivors, 2);
    assert_false(s.is_stable); // too few to have an order
}

static void figures_that_are_not_finite_are_never_stable(void **state)
{
    (void)state;
    static table t;
    fill(&t, 3);
    t.values[1][3][0] = (double)NAN;
    assert_false(judge(&t, loss_only, 1, 3, 3).is_stable);
}

static void refuses_too_early_a_rung(void **state)
{
    (void)state;
    static table t;
    cop_stability s;
    cop_error err = {0};
    fill(&t, 3);
    assert_int_equal(cop_stability_judge(&s, &t.snapshot, loss_only, 1, 2, 3, 1, &err),
                     COP_ERR_CONFIG);
    assert_string_equal(err.message, "stability: stage is 2 (allowed: 3..12)");
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    static table t;
    cop_error err = {0};
    fill(&t, 3);
    const size_t blocks = cop_alloc_live_blocks();
    for (size_t n = 0;; n++) {
        cop_stability s;
        cop_alloc_fail_after(n);
        const cop_status status = cop_stability_judge(&s, &t.snapshot, both, 2, 3, 3, 1, &err);
        cop_alloc_fail_after(SIZE_MAX);
        assert_int_equal(cop_alloc_live_blocks(), blocks);
        if (status == COP_OK) {
            assert_true(n > 10);
            break;
        }
        assert_int_equal(status, COP_ERR_NOMEM);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_order_that_stays_is_stable_at_any_rung),
        cmocka_unit_test(epsilon_is_twice_the_noise_of_an_evaluation),
        cmocka_unit_test(a_change_at_either_step_is_not_stable),
        cmocka_unit_test(the_best_may_change_within_ties_only),
        cmocka_unit_test(the_front_must_stay_with_several_objectives),
        cmocka_unit_test(only_survivors_count),
        cmocka_unit_test(figures_that_are_not_finite_are_never_stable),
        cmocka_unit_test(refuses_too_early_a_rung),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
