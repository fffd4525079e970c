// Ranking on figures whose answer is known: a clear winner, exact ties, noise larger than the difference.
//
// Longer than the aim: one test file for one source, whose cases share what is above them.

#include "search/ranking.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "search/front.h"
#include "search/kendall.h"
#include "tests/search/synthetic.h"
#include "tests/support.h"

enum { SEQUENCES = 40, MOST = 16 };

static const cop_objective both[] = {COP_OBJECTIVE_LOSS, COP_OBJECTIVE_PARAMS};

static void near(double found, double wanted, double tolerance)
{
    assert_true(fabs(found - wanted) <= tolerance);
}

// A study without a database: candidates with a size and a mean loss each, and the same noise.
typedef struct table {
    cop_snapshot snapshot;
    cop_snapshot_candidate candidate[MOST];
    double values[MOST][13][SEQUENCES];
} table;

static void put(table *t, int i, int64_t params, int stage, double mean, double noise)
{
    cop_snapshot_candidate *c = &t->candidate[i];
    (void)snprintf(c->candidate.id, sizeof c->candidate.id, "c%d", i);
    c->candidate.cost.params = params;
    synthetic_losses(t->values[i][stage], SEQUENCES, mean, noise, (uint64_t)(i + 100 * stage));
    c->stage[stage].is_done = true;
    c->stage[stage].record = (cop_stage_record){
        .stage = stage, .tokens = 1000 * stage, .evaluation = {.sequences = SEQUENCES}};
    c->stage[stage].record.evaluation.cross_entropy = t->values[i][stage];
    c->stage[stage].record.evaluation.kl = t->values[i][stage];
    c->last_stage = stage;
    t->snapshot.candidate = t->candidate;
    t->snapshot.count = i >= t->snapshot.count ? i + 1 : t->snapshot.count;
}

static void names_a_clear_winner(void **state)
{
    (void)state;
    table t = {0};
    cop_ranking r = {0};
    cop_error err = {0};
    put(&t, 0, 300, 1, 0.9, 0.01);
    put(&t, 1, 200, 1, 0.5, 0.01);
    put(&t, 2, 100, 1, 0.7, 0.01);
    must_succeed(cop_ranking_make(&r, &t.snapshot, both, 2, 1, 2, 1, &err), &err);
    assert_int_equal(r.count, 3);
    assert_int_equal(r.tokens, 1000);
    const int64_t order[] = {1, 2, 0};
    const bool front[] = {true, true, false};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(r.entry[i].index, order[i]);
        assert_int_equal(r.entry[i].rank, i + 1);
        assert_false(r.entry[i].is_tied_with_next);
        assert_int_equal(r.entry[i].on_front, front[i]);
        assert_true(r.entry[i].front_probability == (front[i] ? 1 : 0));
        assert_true(r.entry[i].top_probability == (front[i] ? 1 : 0));
        assert_true(r.entry[i].loss.low < r.entry[i].loss.value);
        assert_true(r.entry[i].loss.high > r.entry[i].loss.value);
    }
    // Sequences differ by 0.1, candidates on one sequence by 0.01: pairing is what makes this sharp.
    assert_true(r.entry[0].loss.high - r.entry[0].loss.low > 0.03);
    assert_true(r.entry[1].difference_to_best.high - r.entry[1].difference_to_best.low < 0.02);
    assert_true(r.entry[0].difference_to_best.value == 0 &&
                r.entry[0].difference_to_best.high == 0);
    cop_ranking_release(&r);
}

static void calls_ties_ties(void **state)
{
    (void)state;
    table t = {0};
    cop_ranking r = {0};
    cop_error err = {0};
    put(&t, 0, 300, 1, 0.5, 0);
    put(&t, 1, 200, 1, 0.5, 0);     // exactly equal
    put(&t, 2, 100, 1, 0.505, 0.1); // noise larger than the difference
    put(&t, 3, 400, 1, 0.8, 0.01);
    must_succeed(cop_ranking_make(&r, &t.snapshot, both, 2, 1, 1, 1, &err), &err);
    assert_int_equal(r.entry[3].index, 3);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(r.entry[i].rank, i < 3 ? 1 : 4);
        assert_int_equal(r.entry[i].is_tied_with_next, i < 2);
    }
    cop_ranking_release(&r);
}

static void is_repeatable_and_depends_on_the_seed(void **state)
{
    (void)state;
    table t = {0};
    cop_ranking r[3] = {{0}};
    cop_error err = {0};
    for (int i = 0; i < 6; i++) {
        put(&t, i, 100 + i, 2, 0.5 + 0.003 * i, 0.02);
    }
    for (int i = 0; i < 3; i++) {
        must_succeed(cop_ranking_make(&r[i], &t.snapshot, both, 2, 2, 3, i == 2 ? 2 : 1, &err),
                     &err);
    }
    assert_memory_equal(r[0].entry, r[1].entry, 6 * sizeof *r[0].entry);
    assert_true(r[0].entry[0].loss.low != r[2].entry[0].loss.low);
    double top = 0; // exactly three belong to the top in each resample
    for (int i = 0; i < 6; i++) {
        top += r[0].entry[i].top_probability;
    }
    assert_true(fabs(top - 3) < 1e-9); // a sum of six counts over 2000
    for (int i = 0; i < 3; i++) {
        cop_ranking_release(&r[i]);
    }
}

static void puts_what_is_not_finite_last(void **state)
{
    (void)state;
    table t = {0};
    cop_ranking r = {0};
    cop_pick pick = {0};
    cop_error err = {0};
    char decision[MOST];
    put(&t, 0, 100, 1, 0.5, 0.01);
    put(&t, 1, 100, 1, 0.4, 0.01);
    put(&t, 2, 50, 1, 0.4, 0.01);
    t.values[1][1][3] = (double)NAN;
    t.values[2][1][3] = (double)INFINITY;
    must_succeed(cop_ranking_make(&r, &t.snapshot, both, 2, 1, 3, 1, &err), &err);
    assert_int_equal(r.entry[0].index, 0);
    assert_true(r.entry[0].on_front);
    assert_false(r.entry[1].on_front);
    assert_true(isnan(r.entry[1].loss.low));
    assert_true(r.entry[1].top_probability == 0);
    must_succeed(cop_ranking_promote(decision, &r, 3, 0.5, 1, &err), &err);
    assert_memory_equal(decision, "pee", 3);
    must_succeed(cop_pick_make(&pick, &t.snapshot, NULL, 0, 1, &err), &err);
    assert_int_equal(pick.index, 0);
    assert_int_equal(pick.runner_up, -1);
    cop_ranking_release(&r);
}

static void ranks_one_stage_only(void **state)
{
    (void)state;
    table t = {0};
    cop_ranking r = {0};
    cop_error err = {0};
    put(&t, 0, 100, 0, 2, 0.01);
    put(&t, 1, 100, 0, 3, 0.01);
    put(&t, 1, 100, 1, 1, 0.01);
    must_succeed(cop_ranking_make(&r, &t.snapshot, both, 1, 0, 1, 1, &err), &err);
    assert_int_equal(r.count, 2);
    assert_int_equal(r.entry[0].index, 0);
    cop_ranking_release(&r);
    must_succeed(cop_ranking_make(&r, &t.snapshot, both, 1, 1, 1, 1, &err), &err);
    assert_int_equal(r.count, 1);
    cop_ranking_release(&r);
    must_succeed(cop_ranking_make(&r, &t.snapshot, both, 1, 2, 1, 1, &err), &err);
    assert_int_equal(r.count, 0);
    cop_ranking_release(&r);
    assert_int_equal(cop_ranking_make(&r, &t.snapshot, both, 1, 13, 1, 1, &err), COP_ERR_CONFIG);
    assert_string_equal(err.message, "ranking: stage is 13 (allowed: 0..12)");
    t.candidate[1].stage[0].record.evaluation.sequences = 7;
    assert_int_equal(cop_ranking_make(&r, &t.snapshot, both, 1, 0, 1, 1, &err), COP_ERR_SHAPE);
    assert_string_equal(err.message,
                        "ranking: c1 was judged on 7 sequences at stage 0, others on 40");
}

static void promotes_the_probable_and_rescues_by_lot(void **state)
{
    (void)state;
    table t = {0};
    cop_ranking r = {0};
    cop_error err = {0};
    char decision[MOST] = {0};
    char again[MOST] = {0};
    for (int i = 0; i < 10; i++) {
        put(&t, i, 100 + i, 1, 0.5 + 0.1 * i, 0.01);
    }
    must_succeed(cop_ranking_make(&r, &t.snapshot, both, 1, 1, 5, 1, &err), &err);

    const struct {
        int64_t keep;
        double rescue;
        int promoted;
        int rescued;
    } rows[] = {{5, 0, 5, 0},     {5, 0.2, 4, 1}, {5, 0.5, 3, 2}, {5, 0.1, 5, 0},
                {10, 0.5, 10, 0}, {20, 0, 10, 0}, {0, 0.5, 0, 0}, {5, 1, 0, 5}};

    for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++) {
        int promoted = 0;
        int rescued = 0;
        must_succeed(cop_ranking_promote(decision, &r, rows[k].keep, rows[k].rescue, 3, &err),
                     &err);
        must_succeed(cop_ranking_promote(again, &r, rows[k].keep, rows[k].rescue, 3, &err), &err);
        assert_memory_equal(decision, again, 10);
        for (int i = 0; i < 10; i++) {
            promoted += decision[i] == 'p';
            rescued += decision[i] == 'r';
            assert_true(decision[i] != 'p' || i < rows[k].promoted); // the best ones
        }
        assert_int_equal(promoted, rows[k].promoted);
        assert_int_equal(rescued, rows[k].rescued);
    }
    cop_ranking_release(&r);
}

// tau-b by its definition, over all pairs.
static double tau_of_pairs(const cop_kendall_pair *p, int64_t n)
{
    double s = 0;
    double x = 0;
    double y = 0;
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < i; j++) {
            const int u = (p[i].x > p[j].x) - (p[i].x < p[j].x);
            const int v = (p[i].y > p[j].y) - (p[i].y < p[j].y);
            s += u * v;
            x += u * u;
            y += v * v;
        }
    }
    return s / sqrt(x * y);
}

static void agrees_with_tau_b_by_hand(void **state)
{
    (void)state;

    const struct {
        cop_kendall_pair pair[6];
        int64_t count;
        double want;
    } rows[] = {
        {{{1, 1}, {2, 2}, {3, 3}, {4, 4}}, 4, 1},
        {{{1, 4}, {2, 3}, {3, 2}, {4, 1}}, 4, -1},
        {{{1, 1}, {2, 3}, {3, 2}, {4, 4}}, 4, 4.0 / 6}, // one of six pairs is discordant
        {{{1, 1}, {1, 2}, {2, 3}, {3, 4}}, 4, 5 / 5.477225575051661}, // 5 / sqrt(5 * 6)
        {{{1, 2}, {1, 2}, {2, 1}, {3, 3}, {3, 3}}, 5, 4 / 8.0},       // (6 - 2) / sqrt(8 * 8)
        {{{1, 1}, {2, 1}, {3, 1}}, 3, (double)NAN},                   // one side constant
        {{{1, 1}}, 1, (double)NAN},
        {{{1, (double)NAN}, {2, 1}}, 2, (double)NAN},
    };

    cop_kendall_pair pairs[64];
    cop_kendall_pair scratch[64];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        memcpy(pairs, rows[i].pair, sizeof rows[i].pair);
        const double tau = cop_kendall_tau_b(pairs, scratch, rows[i].count);
        assert_true(isnan(rows[i].want) ? isnan(tau) : fabs(tau - rows[i].want) < 1e-15);
    }
    cop_rng *rng = NULL;
    cop_error err = {0};
    must_succeed(cop_rng_create(&rng, 1, COP_RNG_TEST, 0, &err), &err);
    for (int round = 0; round < 200; round++) { // few distinct values: many ties
        const int64_t n = 2 + (int64_t)cop_rng_below(rng, 60);
        for (int64_t i = 0; i < n; i++) {
            pairs[i] =
                (cop_kendall_pair){(double)cop_rng_below(rng, 9), (double)cop_rng_below(rng, 9)};
        }
        const double want = tau_of_pairs(pairs, n);
        const double tau = cop_kendall_tau_b(pairs, scratch, n);
        assert_true(isnan(want) ? isnan(tau) : fabs(tau - want) < 1e-12); // sums of small integers
    }
    cop_rng_destroy(rng);
}

static void measures_agreement_of_rungs(void **state)
{
    (void)state;
    table t = {0};
    cop_rank_agreement a = {0};
    cop_error err = {0};
    for (int i = 0; i < 6; i++) {
        put(&t, i, 100, 1, 0.5 + 0.1 * i, 0.01);
        if (i > 0) {
            put(&t, i, 100, 2, 0.3 + 0.1 * i, 0.01);
        }
        if (i < 2) {
            put(&t, i, 100, 3, 0.3, 0.01);
        }
    }
    must_succeed(cop_ranking_agreement(&a, &t.snapshot, 1, 2, 1, &err), &err);
    assert_int_equal(a.shared, 5);
    assert_true(a.tau.value == 1 && a.tau.low == 1 && a.tau.high == 1);
    must_succeed(cop_ranking_agreement(&a, &t.snapshot, 1, 3, 1, &err), &err);
    assert_int_equal(a.shared, 2);
    assert_true(isnan(a.tau.value));
    for (int i = 1; i < 6; i++) {
        put(&t, i, 100, 4, 0.5 + 0.001 * i, 0.05); // order within the noise
    }
    must_succeed(cop_ranking_agreement(&a, &t.snapshot, 2, 4, 1, &err), &err);
    assert_true(a.tau.high - a.tau.low > 0.3);
    assert_true(a.tau.low <= a.tau.value && a.tau.value <= a.tau.high);
}

static void agreement_of_sizes_is_no_agreement_within_them(void **state)
{
    (void)state;
    // Three sizes of four shapes. Size decides the loss at either stage; shapes are in order, in reverse, and in
    // order but for one pair.
    static const int later[3][4] = {{0, 1, 2, 3}, {3, 2, 1, 0}, {1, 0, 2, 3}};
    table t = {0};
    cop_rank_agreement a = {0};
    cop_error err = {0};
    for (int i = 0; i < 12; i++) {
        const int size = i / 4;
        put(&t, i, 100 * (size + 1), 1, 3.0 - size + 0.1 * (i % 4), 0);
        put(&t, i, 100 * (size + 1), 2, 2.0 - 0.5 * size + 0.05 * later[size][i % 4], 0);
    }
    must_succeed(cop_ranking_agreement(&a, &t.snapshot, 1, 2, 1, &err), &err);
    assert_int_equal(a.shared, 12);
    for (int k = 0; k < COP_SIZE_STRATA; k++) {
        assert_int_equal(a.stratum[k].count, 4);
        assert_int_equal(a.stratum[k].params_min, 100 * (k + 1));
        assert_int_equal(a.stratum[k].params_max, 100 * (k + 1));
    }
    assert_true(a.stratum[0].tau == 1 && a.stratum[1].tau == -1);
    near(a.stratum[2].tau, 4.0 / 6, 1e-12);
    near(a.within.value, (1 - 1 + 4.0 / 6) / 3, 1e-12);
    near(a.within.low, a.within.value, 1e-12); // no noise: every resample says the same
    near(a.within.high, a.within.value, 1e-12);
    near(a.tau.value, (66 - 2 * (6 + 1)) / 66.0, 1e-12); // 7 of 66 pairs are in another order
}

static void sizes_with_few_candidates_have_no_agreement_of_their_own(void **state)
{
    (void)state;
    table t = {0};
    cop_rank_agreement a = {0};
    cop_error err = {0};
    for (int i = 0; i < 8; i++) { // thirds of two, three and three
        put(&t, i, 100 + i, 1, 1 + 0.1 * i, 0);
        put(&t, i, 100 + i, 2, i < 2 ? 1 - i : 2 + 0.1 * i, 0);
    }
    must_succeed(cop_ranking_agreement(&a, &t.snapshot, 1, 2, 1, &err), &err);
    assert_int_equal(a.stratum[0].count, 2);
    assert_true(isnan(a.stratum[0].tau));
    assert_true(a.stratum[1].tau == 1 && a.stratum[2].tau == 1);
    assert_true(a.within.value == 1 && a.tau.value < 1);

    // All of one size: one stratum, the whole of them.
    table same = {0};
    for (int i = 0; i < 5; i++) {
        put(&same, i, 100, 1, 1 + 0.1 * i, 0);
        put(&same, i, 100, 2, i == 0 ? 9 : 1 + 0.1 * i, 0);
    }
    must_succeed(cop_ranking_agreement(&a, &same.snapshot, 1, 2, 1, &err), &err);
    assert_int_equal(a.stratum[COP_SIZE_STRATA - 1].count, 5);
    assert_true(a.within.value == a.tau.value);

    // Two candidates for each third: nothing to say.
    table few = {0};
    for (int i = 0; i < 6; i++) {
        put(&few, i, 100 + i, 1, 1 + 0.1 * i, 0);
        put(&few, i, 100 + i, 2, 1 + 0.1 * i, 0);
    }
    must_succeed(cop_ranking_agreement(&a, &few.snapshot, 1, 2, 1, &err), &err);
    assert_true(isnan(a.within.value) && isnan(a.within.low) && a.tau.value == 1);
}

static void sorts_fronts_as_the_definition_says(void **state)
{
    (void)state;

    enum { N = 60 };

    cop_rng *rng = NULL;
    cop_error err = {0};
    must_succeed(cop_rng_create(&rng, 1, COP_RNG_TEST, 7, &err), &err);
    for (int round = 0; round < 120; round++) {
        cop_front_point p[N];
        cop_front_point scratch[N];
        int64_t work[N];
        const int d = 1 + round % 4;
        const uint64_t grain = round % 3 == 0 ? 5 : 1000; // duplicates and ties
        for (int i = 0; i < N; i++) {
            p[i] = (cop_front_point){.index = i};
            for (int k = 0; k < d; k++) {
                p[i].value[k] = (double)cop_rng_below(rng, grain);
            }
        }
        p[0].value[0] = (double)NAN;
        p[1].value[0] = (double)INFINITY;
        cop_front_sort(p, N, d, scratch, work);
        for (int i = 0; i < N; i++) {
            int64_t want = 0; // one behind the last front that dominates it
            assert_true(i == 0 || p[i].front >= p[i - 1].front);
            for (int j = 0; j < N; j++) {
                if (cop_front_dominates(&p[j], &p[i], d) && p[j].front + 1 > want) {
                    want = p[j].front + 1;
                }
            }
            assert_int_equal(p[i].front, want);
        }
    }
    cop_rng_destroy(rng);
}

static void picks_the_smallest_of_the_tied(void **state)
{
    (void)state;
    table t = {0};
    cop_pick p = {0};
    cop_error err = {0};
    put(&t, 0, 5000000, 1, 0.500, 0.02);
    put(&t, 1, 4000000, 1, 0.510, 0.02);
    put(&t, 2, 3000000, 1, 0.700, 0.02);
    put(&t, 3, 2000000, 0, 0.1, 0.02); // a lower loss at an earlier stage says nothing
    must_succeed(cop_pick_make(&p, &t.snapshot, NULL, 0, 1, &err), &err);
    assert_int_equal(p.index, 1);
    assert_int_equal(p.runner_up, 0);
    assert_int_equal(p.stage, 1);
    assert_true(p.is_tie);
    assert_true(p.difference.low <= 0 && p.difference.high >= 0);
    assert_non_null(strstr(p.reason, "fewest parameters (4"));
    assert_non_null(strstr(p.reason, "among 2 tied for the lowest KL to the teacher"));

    const cop_pick_limit below = {"params", 3.5e6};
    must_succeed(cop_pick_make(&p, &t.snapshot, &below, 1, 1, &err), &err);
    assert_int_equal(p.index, 2);
    assert_int_equal(p.runner_up, -1);
    assert_false(p.is_tie);

    const cop_pick_limit far = {"params", 2.5e6}; // only an earlier stage has one
    must_succeed(cop_pick_make(&p, &t.snapshot, &far, 1, 1, &err), &err);
    assert_int_equal(p.index, 3);
    assert_int_equal(p.stage, 0);
    assert_non_null(strstr(p.reason, "after pruning, without training"));

    t.candidate[0].state = COP_STATE_FAILED;
    must_succeed(cop_pick_make(&p, &t.snapshot, NULL, 0, 1, &err), &err);
    assert_int_equal(p.index, 1);
    assert_int_equal(p.runner_up, 2);
    assert_false(p.is_tie);
}

static void says_why_nothing_can_be_picked(void **state)
{
    (void)state;
    table t = {0};
    cop_pick p = {0};
    cop_error err = {0};
    put(&t, 0, 5000000, 1, 0.5, 0.02);
    put(&t, 1, 4000000, 1, 0.6, 0.02);

    const struct {
        cop_pick_limit limit;
        const char *want;
    } rows[] = {
        {{"params", 1e6}, "pick: no candidate has params <= 1000000 (nearest: c1 with 4000000)"},
        {{"loss", -1}, "pick: no candidate has loss <= -1 (nearest: c0 with "},
        {{"parms", 1e6}, "limit: unknown quantity: parms; did you mean params? (allowed: params, "},
        {{"params", (double)NAN}, "limit: params is not a number"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(cop_pick_make(&p, &t.snapshot, &rows[i].limit, 1, 1, &err),
                         COP_ERR_CONFIG);
        assert_memory_equal(err.message, rows[i].want, strlen(rows[i].want));
        assert_int_equal(p.index, -1);
    }
    const cop_snapshot empty = {0};
    assert_int_equal(cop_pick_make(&p, &empty, NULL, 0, 1, &err), COP_ERR_CONFIG);
    assert_memory_equal(err.message, "pick: no candidate has a finished stage yet", 43);
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    static table t;
    cop_error err = {0};
    for (int i = 0; i < 4; i++) {
        put(&t, i, 100 + i, 1, 0.5 + 0.1 * i, 0.01);
        put(&t, i, 100 + i, 2, 0.5 + 0.1 * i, 0.01);
    }
    const size_t blocks = cop_alloc_live_blocks();
    for (int what = 0; what < 4; what++) {
        for (size_t n = 0;; n++) {
            cop_ranking r = {0};
            cop_pick p = {0};
            cop_rank_agreement a = {0};
            char decision[MOST];
            cop_status status = COP_OK;
            if (what == 1) {
                must_succeed(cop_ranking_make(&r, &t.snapshot, both, 2, 1, 2, 1, &err), &err);
            }
            cop_alloc_fail_after(n);
            switch (what) {
            case 0: status = cop_ranking_make(&r, &t.snapshot, both, 2, 1, 2, 1, &err); break;
            case 1: status = cop_ranking_promote(decision, &r, 2, 0.5, 1, &err); break;
            case 2: status = cop_ranking_agreement(&a, &t.snapshot, 1, 2, 1, &err); break;
            default: status = cop_pick_make(&p, &t.snapshot, NULL, 0, 1, &err); break;
            }
            cop_alloc_fail_after(SIZE_MAX);
            cop_ranking_release(&r);
            assert_int_equal(cop_alloc_live_blocks(), blocks);
            if (status == COP_OK) {
                assert_true(n >= 2);
                break;
            }
            assert_int_equal(status, COP_ERR_NOMEM);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_a_clear_winner),
        cmocka_unit_test(calls_ties_ties),
        cmocka_unit_test(is_repeatable_and_depends_on_the_seed),
        cmocka_unit_test(puts_what_is_not_finite_last),
        cmocka_unit_test(ranks_one_stage_only),
        cmocka_unit_test(promotes_the_probable_and_rescues_by_lot),
        cmocka_unit_test(agrees_with_tau_b_by_hand),
        cmocka_unit_test(measures_agreement_of_rungs),
        cmocka_unit_test(agreement_of_sizes_is_no_agreement_within_them),
        cmocka_unit_test(sizes_with_few_candidates_have_no_agreement_of_their_own),
        cmocka_unit_test(sorts_fronts_as_the_definition_says),
        cmocka_unit_test(picks_the_smallest_of_the_tied),
        cmocka_unit_test(says_why_nothing_can_be_picked),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
