// Who is stopped by its learning curve, and who must not be, on curves whose end is known.

#include "search/hopeless.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "tests/search/synthetic.h"
#include "tests/support.h"

enum { SEQUENCES = 16, MOST = 12, POINTS = 40, RUNG_1 = 40000, RUNG_2 = 120000, RUNG_3 = 360000 };

// A study after its first rung: candidate i ends near floor[i].
typedef struct table {
    cop_study_file study;
    cop_snapshot snapshot;
    cop_snapshot_candidate candidate[MOST];
    cop_curve_point curve[MOST][2 * POINTS];
    double values[MOST][SEQUENCES];
    cop_ranking ranking;
    char decision[MOST];
    cop_hopeless_verdict verdict[MOST];
} table;

static double loss_at(double floor, double tokens)
{
    return floor + 40 * pow(tokens, -0.4);
}

static void fill(table *t, int count, const double *floors, const double *measured)
{
    cop_rng *rng = NULL;
    cop_error err = {0};
    *t = (table){.study = {.objective = {COP_OBJECTIVE_LOSS, COP_OBJECTIVE_PARAMS},
                           .objectives = 1,
                           .rungs = 3,
                           .rung_tokens = {RUNG_1, RUNG_2, RUNG_3},
                           .keep = 0.5,
                           .seed = 1,
                           .batch_tokens = 100},
                 .snapshot = {.candidate = t->candidate, .count = count}};
    must_succeed(cop_rng_create(&rng, 1, COP_RNG_TEST, 7, &err), &err);
    for (int i = 0; i < count; i++) {
        cop_snapshot_candidate *c = &t->candidate[i];
        cop_stage_record *record = &c->stage[1].record;
        (void)snprintf(c->candidate.id, sizeof c->candidate.id, "c%d", i);
        c->candidate.cost.params = 1000 + 100 * i;
        synthetic_losses(t->values[i], SEQUENCES, measured[i], 0.001, (uint64_t)i);
        c->stage[1].is_done = true;
        *record = (cop_stage_record){.stage = 1, .evaluation = {.sequences = SEQUENCES}};
        record->evaluation.cross_entropy = t->values[i];
        record->evaluation.kl = t->values[i];
        for (int p = 0; p < POINTS; p++) {
            const int64_t tokens = RUNG_1 / POINTS * (p + 1);
            const double middle = (double)tokens - RUNG_1 / POINTS / 2.0;
            t->curve[i][p] =
                (cop_curve_point){tokens, loss_at(floors[i], middle) + 0.005 * cop_rng_normal(rng)};
        }
        c->curve = t->curve[i];
        c->curve_points = POINTS;
    }
    cop_rng_destroy(rng);
}

// Ranks the rung, promotes `places` (`rescue` of them by lot) and looks for hopeless ones; in the order of the
// candidates. Returns their number.
static int find(table *t, int64_t places, double rescue, cop_hopeless_verdict *by_candidate)
{
    cop_error err = {0};
    const cop_study_file *study = &t->study;
    int count = 0;
    must_succeed(cop_ranking_make(&t->ranking, &t->snapshot, study->objective, study->objectives, 1,
                                  places, study->seed, &err),
                 &err);
    must_succeed(cop_ranking_promote(t->decision, &t->ranking, places, rescue, study->seed, &err),
                 &err);
    must_succeed(
        cop_hopeless_find(t->verdict, &t->snapshot, study, &t->ranking, t->decision, places, &err),
        &err);
    for (int64_t i = 0; i < t->ranking.count; i++) {
        by_candidate[t->ranking.entry[i].index] = t->verdict[i];
        count += t->verdict[i].is_hopeless ? 1 : 0;
    }
    cop_ranking_release(&t->ranking);
    return count;
}

static const double two_groups[] = {0.2, 0.21, 0.22, 0.23, 0.8, 0.81, 0.82, 0.83};
static const double by_group[] = {1, 1.01, 1.02, 1.03, 1.4, 1.41, 1.42, 1.43};

static void those_far_behind_are_stopped(void **state)
{
    (void)state;
    static table t;
    cop_hopeless_verdict v[MOST];
    char text[COP_REASON_BYTES];
    fill(&t, 8, two_groups, by_group);
    // All eight go on; the later rungs keep four, two of them would be kept after the last.
    assert_int_equal(cop_hopeless_keep(0.5, 2, 8), 2);
    assert_int_equal(find(&t, 8, 0, v), 4);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(v[i].is_hopeless, i >= 4);
        assert_true(fabs(v[i].loss.value - loss_at(two_groups[i], RUNG_3)) < 0.1);
        assert_true(i < 4 || v[i].probability < 0.025);
    }
    cop_hopeless_text(text, sizeof text, &v[7], &t.study, 2);
    assert_non_null(strstr(text, "its training loss after rung 3 is predicted as "));
    assert_non_null(strstr(text, ", that of place 2 as "));
    assert_non_null(strstr(text, "of being among the best 2"));
    t.study.keep = 1; // all will be kept
    assert_int_equal(find(&t, 8, 0, v), 0);
}

static void close_ones_go_on(void **state)
{
    (void)state;
    static table t;
    cop_hopeless_verdict v[MOST];
    const double floors[] = {0.2, 0.201, 0.202, 0.203, 0.204, 0.205, 0.206, 0.207};
    fill(&t, 8, floors, by_group);
    assert_int_equal(find(&t, 8, 0, v), 0);
}

static void the_good_of_today_and_the_rescued_go_on(void **state)
{
    (void)state;
    static table t;
    cop_hopeless_verdict v[MOST];
    double measured[8];
    memcpy(measured, by_group, sizeof measured);
    measured[7] = 0.5; // the best by its held-out loss, whatever its curve says
    fill(&t, 8, two_groups, measured);
    assert_int_equal(find(&t, 8, 0, v), 3);
    assert_false(v[7].is_hopeless);
    // Six places, three of them by lot: only those with an ordinary promotion can be stopped.
    fill(&t, 8, two_groups, by_group);
    (void)find(&t, 6, 0.5, v);
    int rescued = 0;
    for (int i = 0; i < 8; i++) {
        rescued += t.decision[i] == 'r';
        assert_true(t.decision[i] == 'p' || !t.verdict[i].is_hopeless);
    }
    assert_int_equal(rescued, 3);
}

static void curves_that_tell_nothing_stop_nobody(void **state)
{
    (void)state;
    static table t;
    cop_hopeless_verdict v[MOST];
    fill(&t, 8, two_groups, by_group);
    t.candidate[4].curve_points = COP_HOPELESS_POINTS_MIN - 1;
    t.candidate[5].curve_points = 0;
    for (int p = 0; p < POINTS; p++) {
        t.curve[6][p].loss = 1.2; // flat
        t.curve[7][p].loss = p % 2 ? (double)NAN : t.curve[7][p].loss;
    }
    (void)find(&t, 8, 0, v);
    for (int i = 4; i < 7; i++) {
        assert_false(v[i].is_hopeless);
    }
    for (int i = 0; i < 4; i++) {
        assert_false(v[i].is_hopeless);
    }
}

static void what_all_curves_share_does_not_hide_who_is_behind(void **state)
{
    (void)state;
    static table t;
    cop_hopeless_verdict v[MOST];
    cop_rng *rng = NULL;
    cop_error err = {0};
    const double floors[] = {0.5, 0.501, 0.502, 0.503, 0.7, 0.71, 0.72, 0.73};
    fill(&t, 8, floors, by_group);
    must_succeed(cop_rng_create(&rng, 1, COP_RNG_TEST, 8, &err), &err);
    for (int p = 0; p < POINTS;
         p++) { // batches that are hard for all, by more than the groups differ
        const double batch = 0.3 * cop_rng_normal(rng);
        for (int i = 0; i < 8; i++) {
            t.curve[i][p].loss += batch;
        }
    }
    cop_rng_destroy(rng);
    assert_int_equal(find(&t, 8, 0, v), 4);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(v[i].is_hopeless, i >= 4);
    }
}

static void curves_that_lead_below_zero_keep_nobody_out(void **state)
{
    (void)state;
    static table t;
    cop_hopeless_verdict v[MOST];
    const double floors[] = {-0.5, -0.5, 0.4, 0.401, 0.402, 0.403, 0.404, 0.405};
    fill(&t, 8, floors, by_group);
    (void)find(&t, 8, 0, v);
    for (int i = 0; i < 8; i++) {
        assert_false(v[i].is_hopeless);
        assert_true(i >= 2 || isnan(v[i].probability));
    }
}

static void later_points_and_the_warm_up_are_not_used(void **state)
{
    (void)state;
    static table t;
    cop_hopeless_verdict v[MOST];
    cop_hopeless_verdict again[MOST];
    fill(&t, 8, two_groups, by_group);
    t.study.trainer.schedule.warmup_steps = 2 * RUNG_1 / POINTS / 100;
    (void)find(&t, 8, 0, v);
    for (int i = 0; i < 8; i++) { // what a study that was extended knows of the next rung
        for (int p = 0; p < POINTS; p++) {
            t.curve[i][POINTS + p] = (cop_curve_point){RUNG_1 + 2000 * (p + 1), 9};
        }
        t.curve[i][0].loss = 50;
        t.curve[i][1].loss = 50;
        t.candidate[i].curve_points = 2 * POINTS;
    }
    (void)find(&t, 8, 0, again);
    for (int i = 0; i < 8; i++) {
        assert_true(v[i].probability == again[i].probability);
        assert_true(v[i].loss.value == again[i].loss.value);
    }
}

static void nobody_is_stopped_too_early_or_too_late(void **state)
{
    (void)state;
    static table t;
    cop_hopeless_verdict v[MOST];
    fill(&t, 8, two_groups, by_group);
    t.study.freeze_vocabulary = 1;
    assert_int_equal(find(&t, 8, 0, v), 0);
    t.study.freeze_vocabulary = 0;
    t.study.rung_tokens[2] = RUNG_1 * 10 + 1; // beyond what a curve predicts
    assert_int_equal(find(&t, 8, 0, v), 0);
    t.study.rung_tokens[2] = RUNG_3;
    t.study.rungs = 1;
    assert_int_equal(find(&t, 8, 0, v), 0);
    t.study.rungs = 3;
    assert_int_equal(find(&t, 8, 0, v), 4);
}

static void the_front_goes_on_with_several_objectives(void **state)
{
    (void)state;
    static table t;
    cop_hopeless_verdict v[MOST];
    char text[COP_REASON_BYTES];
    fill(&t, 8, two_groups, by_group);
    t.study.objectives = 2;
    // Behind by its loss, but nothing is smaller.
    t.candidate[6].candidate.cost.params = 10;
    (void)find(&t, 8, 0, v);
    assert_false(v[6].is_hopeless);
    assert_true(v[6].front_probability == 1);
    assert_true(v[4].is_hopeless && v[5].is_hopeless && v[7].is_hopeless);
    cop_hopeless_text(text, sizeof text, &v[7], &t.study, 2);
    assert_non_null(strstr(text, " of being on the front"));
}

static void draws_repeat(void **state)
{
    (void)state;
    static table t;
    cop_hopeless_verdict v[MOST] = {{0}};
    cop_hopeless_verdict again[MOST] = {{0}};
    const double floors[] = {0.2, 0.22, 0.24, 0.26, 0.28, 0.3, 0.32, 0.34};
    fill(&t, 8, floors, by_group);
    (void)find(&t, 8, 0, v);
    (void)find(&t, 8, 0, again);
    double sum = 0;
    for (int i = 0; i < 8; i++) {
        assert_true(v[i].probability == again[i].probability);
        sum += v[i].probability;
    }
    assert_true(sum > 1.5 && sum < 4); // two places, each by the more favourable of two curves
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    static table t;
    cop_error err = {0};
    fill(&t, 4, two_groups, by_group);
    must_succeed(cop_ranking_make(&t.ranking, &t.snapshot, t.study.objective, 1, 1, 4, 1, &err),
                 &err);
    memset(t.decision, 'p', 4);
    const size_t blocks = cop_alloc_live_blocks();
    for (size_t n = 0;; n++) {
        cop_alloc_fail_after(n);
        const cop_status status =
            cop_hopeless_find(t.verdict, &t.snapshot, &t.study, &t.ranking, t.decision, 4, &err);
        cop_alloc_fail_after(SIZE_MAX);
        assert_int_equal(cop_alloc_live_blocks(), blocks);
        if (status == COP_OK) {
            assert_true(n > 10);
            break;
        }
        assert_int_equal(status, COP_ERR_NOMEM);
    }
    cop_ranking_release(&t.ranking);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(those_far_behind_are_stopped),
        cmocka_unit_test(close_ones_go_on),
        cmocka_unit_test(the_good_of_today_and_the_rescued_go_on),
        cmocka_unit_test(curves_that_tell_nothing_stop_nobody),
        cmocka_unit_test(what_all_curves_share_does_not_hide_who_is_behind),
        cmocka_unit_test(curves_that_lead_below_zero_keep_nobody_out),
        cmocka_unit_test(later_points_and_the_warm_up_are_not_used),
        cmocka_unit_test(nobody_is_stopped_too_early_or_too_late),
        cmocka_unit_test(the_front_goes_on_with_several_objectives),
        cmocka_unit_test(draws_repeat),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
