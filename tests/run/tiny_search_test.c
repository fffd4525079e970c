// A whole search on configs/studies/tiny.yaml: what it records, that it is repeatable, that it can be
// stopped anywhere.

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/system.h"
#include "tests/run/figures.h"
#include "tests/run/runner.h"
#include "tests/run/tiny_study.h"
#include "tests/support.h"

#define LLAMA    "llama"
#define NEMOTRON "nemotron"

static double mean_kl(const cop_snapshot_candidate *c, int stage)
{
    const cop_evaluation *e = &c->stage[stage].record.evaluation;
    double sum = 0.0;
    for (int64_t i = 0; i < e->sequences; i++) {
        sum += e->kl[i];
    }
    return sum / (double)e->sequences;
}

// --- What is recorded ---------------------------------------------------------------------------

static void check_record(const cop_snapshot *snapshot, const char *folder)
{
    int64_t done[3] = {0};
    double sum[3] = {0.0};
    int64_t finished = 0;
    const cop_evaluation *first = &snapshot->candidate[0].stage[0].record.evaluation;

    for (int64_t i = 0; i < snapshot->count; i++) {
        const cop_snapshot_candidate *c = &snapshot->candidate[i];
        char path[256];
        for (int s = 0; s < 3; s++) {
            const cop_evaluation *e = &c->stage[s].record.evaluation;
            if (!c->stage[s].is_done) {
                continue;
            }
            done[s]++;
            // The same sequences for all: comparisons are paired.
            assert_int_equal(e->sequences, 16);
            assert_int_equal(e->sequence_tokens, 32);
            assert_memory_equal(e->teacher_cross_entropy, first->teacher_cross_entropy,
                                16 * sizeof(double));
            assert_int_equal(c->stage[s].record.tokens, s == 0 ? 0 : s == 1 ? 2048 : 6144);
            sum[s] += c->last_stage == 2 ? mean_kl(c, s) : 0.0;
        }
        (void)snprintf(path, sizeof path, "%s/a/checkpoints/%s", folder, c->candidate.id);
        assert_int_equal(cop_file_is_directory(path), c->state == COP_STATE_FINISHED);
        assert_true(c->state == COP_STATE_FINISHED || c->state == COP_STATE_ELIMINATED);
        finished += c->state == COP_STATE_FINISHED ? 1 : 0;
        if (c->last_stage == 2) {
            assert_int_equal(c->curve_points, 24); // a point for each of 8 and 16 steps
            assert_int_equal(c->curve[23].tokens, 6144);
        }
    }
    assert_true(snapshot->count >= 12);
    assert_int_equal(done[0], snapshot->count);
    assert_int_equal(done[1], 8);
    assert_int_equal(done[2], 4); // 0.4 of 8, rounded up
    assert_int_equal(finished, 4);
    assert_true(sum[1] < sum[0] && sum[2] < sum[1]); // survivors learn
}

static void both_families_run_to_the_end(void **state)
{
    (void)state;
    static const char *const folders[] = {LLAMA, NEMOTRON};
    for (int i = 0; i < 2; i++) {
        char directory[64];
        cop_store *store = NULL;
        cop_snapshot snapshot = {0};
        runner_must_run(folders[i], "a");
        (void)snprintf(directory, sizeof directory, "%s/a", folders[i]);
        figures_read(directory, &store, &snapshot);
        check_record(&snapshot, folders[i]);
        assert_string_equal(cop_snapshot_fact(&snapshot, "precision"), "f32");
        assert_string_equal(cop_snapshot_fact(&snapshot, "objectives"), "loss,params");
        assert_string_equal(cop_snapshot_fact(&snapshot, "resumes"), "0");
        assert_non_null(cop_snapshot_fact(&snapshot, "finished"));
        cop_snapshot_release(&snapshot);
        cop_store_destroy(store);
    }
}

// --- Repeatable, and stoppable ------------------------------------------------------------------

static void the_same_study_gives_the_same_figures(void **state)
{
    (void)state;
    runner_result result;
    cop_error err = {0};
    assert_int_equal(runner_run(LLAMA, "b", NULL, &result, &err), COP_OK);
    char *a = runner_figures(LLAMA, "a");
    char *b = runner_figures(LLAMA, "b");
    assert_string_equal(a, b);
    assert_true(result.ticks > 8 * 8 + 4 * 16); // training steps, and evaluations on top

    // A finished study has nothing left to do.
    assert_int_equal(runner_run(LLAMA, "b", NULL, &result, &err), COP_OK);
    assert_int_equal(result.ticks, 0);
    cop_free(b);
    b = runner_figures(LLAMA, "b");
    assert_string_equal(a, b);
    cop_free(a);
    cop_free(b);
}

static void a_study_stopped_anywhere_ends_the_same(void **state)
{
    (void)state;
    // From one stop per candidate to stops in the middle of an interval of the curve.
    static const int strides[] = {7, 23, 61};
    char *wanted = runner_figures(LLAMA, "a");

    for (size_t i = 0; i < sizeof strides / sizeof strides[0]; i++) {
        cop_error err = {0};
        runner_result result = {.was_stopped = true};
        const runner_options options = {.stop_at = strides[i]};
        int runs = 0;
        assert_int_equal(cop_file_remove_tree(LLAMA "/c", &err), COP_OK);
        for (; result.was_stopped && runs < 200; runs++) {
            if (runner_run(LLAMA, "c", &options, &result, &err) != COP_OK) {
                fail_msg("%s", err.message);
            }
        }
        assert_true(runs > 2 && runs < 200);
        char *found = runner_figures(LLAMA, "c");
        assert_string_equal(found, wanted);
        cop_free(found);
    }
    cop_free(wanted);
}

static void curves_do_not_depend_on_stops_between_their_points(void **state)
{
    (void)state;
    cop_error err = {0};
    runner_result result = {.was_stopped = true};
    const runner_options options = {.stop_at = 17};
    // 40 points of a rung of 100 steps: three steps each.
    tiny_study_write(NEMOTRON, "rungs: [2048, 6144]\n  keep: 0.4\n  keep_pruned: 8",
                     "rungs: [25600]\n  keep: 0.4\n  keep_pruned: 1");
    runner_must_run(NEMOTRON, "long");
    for (int runs = 0; result.was_stopped && runs < 100; runs++) {
        assert_int_equal(runner_run(NEMOTRON, "stops", &options, &result, &err), COP_OK);
    }
    char *wanted = runner_figures(NEMOTRON, "long");
    char *found = runner_figures(NEMOTRON, "stops");
    assert_string_equal(found, wanted);
    cop_free(wanted);
    cop_free(found);
    tiny_study_write(NEMOTRON, NULL, NULL);
}

static void the_teacher_online_gives_the_same_figures_as_its_cache(void **state)
{
    (void)state;
    tiny_study_write(LLAMA, "micro_batch: 4", "micro_batch: 4\n  teacher_cache_bytes: 0");
    runner_must_run(LLAMA, "online");
    char *wanted = runner_figures(LLAMA, "a");
    char *found = runner_figures(LLAMA, "online");
    assert_string_equal(found, wanted);
    cop_free(wanted);
    cop_free(found);
    tiny_study_write(LLAMA, NULL, NULL);
}

static void samples_of_the_teacher_give_the_same_figures_cached_online_and_continued(void **state)
{
    (void)state;
    cop_error err = {0};
    runner_result result;
    const runner_options options = {.stop_at = 32 + 8 * 9 + 20}; // in rung 2
    tiny_study_write(LLAMA, "micro_batch: 4", "micro_batch: 4\n  targets: samples\n  draws: 20");
    runner_must_run(LLAMA, "samples");
    assert_int_equal(runner_run(LLAMA, "samples-stopped", &options, &result, &err), COP_OK);
    assert_true(result.was_stopped);
    runner_must_run(LLAMA, "samples-stopped");
    tiny_study_write(LLAMA, "micro_batch: 4",
                     "micro_batch: 4\n  targets: samples\n  draws: 20\n  teacher_cache_bytes: 0");
    runner_must_run(LLAMA, "samples-online");
    char *wanted = runner_figures(LLAMA, "samples");
    char *continued = runner_figures(LLAMA, "samples-stopped");
    char *online = runner_figures(LLAMA, "samples-online");
    char *exact = runner_figures(LLAMA, "a");
    assert_string_equal(continued, wanted);
    assert_string_equal(online, wanted);
    assert_string_not_equal(exact, wanted);
    cop_free(wanted);
    cop_free(continued);
    cop_free(online);
    cop_free(exact);
    tiny_study_write(LLAMA, NULL, NULL);
}

static void a_lost_state_costs_time_only(void **state)
{
    (void)state;
    cop_error err = {0};
    runner_result result;
    const runner_options options = {.stop_at = 32 + 8 * 9 + 20}; // in rung 2
    char *wanted = runner_figures(LLAMA, "a");
    assert_int_equal(runner_run(LLAMA, "lost", &options, &result, &err), COP_OK);
    assert_true(result.was_stopped);
    assert_int_equal(cop_file_remove_tree(LLAMA "/lost/checkpoints", &err), COP_OK);
    runner_must_run(LLAMA, "lost");
    char *found = runner_figures(LLAMA, "lost");
    // Times apart, nothing tells.
    assert_string_equal(found, wanted);
    cop_free(wanted);
    cop_free(found);
}

static void a_full_disk_stops_the_study_and_loses_nothing(void **state)
{
    (void)state;
    static const int moments[] = {3, 40, 45, 120}; // pruned loss, twice in rung 1, rung 2
    char *wanted = runner_figures(LLAMA, "a");
    for (size_t i = 0; i < sizeof moments / sizeof moments[0]; i++) {
        cop_error err = {0};
        char name[16];
        char where[32];
        (void)snprintf(name, sizeof name, "full%zu", i);
        (void)snprintf(where, sizeof where, LLAMA "/%s/", name);
        const runner_options options = {.full_disk_at = moments[i]};
        assert_int_equal(runner_run(LLAMA, name, &options, NULL, &err), COP_ERR_IO);
        assert_non_null(strstr(err.message, where));

        runner_must_run(LLAMA, name);
        char *found = runner_figures(LLAMA, name);
        assert_string_equal(found, wanted);
        cop_free(found);
    }
    cop_free(wanted);
}

static void the_other_losses_train_too(void **state)
{
    (void)state;
    static const char *const losses[] = {"loss: ce", "loss: mixed"};
    for (int i = 0; i < 2; i++) {
        char setting[64];
        char name[16];
        char directory[64];
        cop_store *store = NULL;
        cop_snapshot snapshot = {0};
        (void)snprintf(setting, sizeof setting, "keep_pruned: 2\n  %s", losses[i]);
        (void)snprintf(name, sizeof name, "loss%d", i);
        (void)snprintf(directory, sizeof directory, LLAMA "/%s", name);
        tiny_study_write(LLAMA, "keep_pruned: 8", setting);
        runner_must_run(LLAMA, name);
        figures_read(directory, &store, &snapshot);
        int64_t finished = 0;
        for (int64_t k = 0; k < snapshot.count; k++) {
            const cop_snapshot_candidate *c = &snapshot.candidate[k];
            finished += c->state == COP_STATE_FINISHED ? 1 : 0;
            // Cross-entropy of the text is in the loss: it lies above the KL alone.
            assert_true(c->curve_points == 0 || c->curve[0].loss > 0.5);
        }
        assert_int_equal(finished, 1);
        cop_snapshot_release(&snapshot);
        cop_store_destroy(store);
    }
    tiny_study_write(LLAMA, NULL, NULL);
}

static void a_stable_ranking_ends_the_search(void **state)
{
    (void)state;
    cop_store *store = NULL;
    cop_snapshot snapshot = {0};
    // Everybody goes on; after the third rung nothing changes any more among such different sizes.
    tiny_study_write(LLAMA, "rungs: [2048, 6144]\n  keep: 0.4\n  keep_pruned: 8",
                     "rungs: [256, 512, 768, 1024, 1280]\n  keep: 1\n  keep_pruned: 0\n"
                     "  stop_when_stable: true");
    runner_must_run(LLAMA, "stable");
    figures_read(LLAMA "/stable", &store, &snapshot);
    const char *why = cop_snapshot_fact(&snapshot, "stopped_early");
    assert_non_null(why);
    assert_non_null(strstr(why, "the ranking is stable after rung "));
    for (int64_t i = 0; i < snapshot.count; i++) {
        assert_int_equal(snapshot.candidate[i].state, COP_STATE_FINISHED);
        assert_true(snapshot.candidate[i].last_stage < 5);
    }
    cop_snapshot_release(&snapshot);
    cop_store_destroy(store);
    runner_must_run(LLAMA, "stable"); // and again does nothing
    tiny_study_write(LLAMA, NULL, NULL);
}

// --- Candidates that fail -----------------------------------------------------------------------

static void candidates_that_diverge_are_tried_twice_and_marked(void **state)
{
    (void)state;
    cop_error err = {0};
    cop_store *store = NULL;
    cop_snapshot snapshot = {0};
    tiny_study_write(LLAMA, "learning_rate: 3e-3",
                     "learning_rate: 10\n  clip_norm: 0\n  weight_decay: 10\n  schedule: constant");
    const cop_status status = runner_run(LLAMA, "diverging", NULL, NULL, &err);
    figures_read(LLAMA "/diverging", &store, &snapshot);
    int64_t failed = 0;
    for (int64_t i = 0; i < snapshot.count; i++) {
        const cop_snapshot_candidate *c = &snapshot.candidate[i];
        if (c->state == COP_STATE_FAILED) {
            assert_non_null(strstr(c->reason, "training: step "));
            failed++;
        }
    }
    assert_true(failed > 0);
    assert_int_equal(failed == 8, status != COP_OK);
    if (status != COP_OK) {
        assert_int_equal(status, COP_ERR_CONFIG);
        assert_non_null(strstr(err.message, "llama/diverging: no candidate finished stage 1; the "
                                            "first is L"));
    }
    cop_snapshot_release(&snapshot);
    cop_store_destroy(store);
    tiny_study_write(LLAMA, NULL, NULL);
}

static void a_latency_budget_that_nothing_meets_is_said(void **state)
{
    (void)state;
    cop_error err = {0};
    tiny_study_write(LLAMA, "budget:\n",
                     "budget:\n  latency_ms: {max: 1e-6, batch: 1, sequence: 8}\n");
    assert_int_equal(runner_run(LLAMA, "slow", NULL, NULL, &err), COP_ERR_CONFIG);
    assert_non_null(
        strstr(err.message, "llama/slow: no candidate finished stage 0; the first is L2-C16-"));
    assert_non_null(strstr(err.message, ": latency is "));
    assert_non_null(strstr(err.message, " ms (budget: at most 1e-06 ms)"));
    tiny_study_write(LLAMA, NULL, NULL);
}

static void a_workload_that_nothing_meets_is_named(void **state)
{
    (void)state;
    cop_error err = {0};
    tiny_study_write(LLAMA, "budget:\n",
                     "budget:\n  latency_ms: {max: 1e9, batch: 1, sequence: 8}\n"
                     "  workloads: {chat: {latency_ms: {max: 1e-6}, sequence: 8}}\n");
    assert_int_equal(runner_run(LLAMA, "chat", NULL, NULL, &err), COP_ERR_CONFIG);
    assert_non_null(strstr(err.message, ": chat.latency is "));
    tiny_study_write(LLAMA, NULL, NULL);
}

static void layers_that_differ_are_searched_to_the_end(void **state)
{
    (void)state;
    cop_error err = {0};
    cop_store *store = NULL;
    cop_snapshot snapshot = {0};
    int64_t uneven = 0;
    int64_t finished = 0;

    tiny_study_write(LLAMA, "  layers: [2, 3, 4]\n  heads: [4, 8]\n  ffn: [32, 64]\n",
                     "  layers: [2, 3]\n  keep_layers: [1]\n  ffn@layer: [32, 64]\n");
    assert_int_equal(runner_run(LLAMA, "uneven", NULL, NULL, &err), COP_OK);
    figures_read(LLAMA "/uneven", &store, &snapshot);
    for (int64_t i = 0; i < snapshot.count; i++) {
        const cop_snapshot_candidate *c = &snapshot.candidate[i];
        uneven += c->candidate.layer != NULL ? 1 : 0;
        finished += c->state == COP_STATE_FINISHED ? 1 : 0;
        assert_true(c->state != COP_STATE_FAILED);
    }
    assert_true(uneven > 0 && finished > 0);
    cop_snapshot_release(&snapshot);
    cop_store_destroy(store);
    tiny_study_write(LLAMA, NULL, NULL);
}

static void knapsack_proposes_layers_that_differ_and_can_be_stopped(void **state)
{
    (void)state;
    cop_error err = {0};
    cop_store *store = NULL;
    cop_snapshot snapshot = {0};
    runner_result result;
    const runner_options options = {.stop_at = 6}; // in the second batch
    int64_t uneven = 0;
    int64_t finished = 0;

    tiny_study_write(LLAMA,
                     "  layers: [2, 3, 4]\n  heads: [4, 8]\n  ffn: [32, 64]\n"
                     "  hidden: [16, 24, 32]\nbudget:\n  params: {min: 8e3, max: 4e4}\n"
                     "objectives: [loss, params]\nsearch: {strategy: grid, seed: 3}\n",
                     "  layers: [2, 3, 4]\n  heads@layer: [4, 8]\n  ffn@layer: [16, 32, 48, 64]\n"
                     "  hidden: [24, 32]\nbudget:\n  params: {min: 1e4, max: 3e4}\n"
                     "objectives: [loss, params]\n"
                     "search: {strategy: knapsack, population: 4, evaluations: 10, fidelity: 0}\n");
    runner_must_run(LLAMA, "knapsack");
    figures_read(LLAMA "/knapsack", &store, &snapshot);
    assert_int_equal(snapshot.count, 10);
    for (int64_t i = 0; i < snapshot.count; i++) {
        const cop_snapshot_candidate *c = &snapshot.candidate[i];
        uneven += c->candidate.layer != NULL ? 1 : 0;
        finished += c->state == COP_STATE_FINISHED ? 1 : 0;
        assert_true(c->batch >= 0 && c->batch < 3);
        assert_true(c->candidate.cost.params >= 10000 && c->candidate.cost.params <= 30000);
    }
    assert_true(uneven > 0 && finished > 0);
    cop_snapshot_release(&snapshot);
    cop_store_destroy(store);
    assert_int_equal(runner_run(LLAMA, "knapsack-stopped", &options, &result, &err), COP_OK);
    assert_true(result.was_stopped);
    runner_must_run(LLAMA, "knapsack-stopped");
    char *wanted = runner_figures(LLAMA, "knapsack");
    char *found = runner_figures(LLAMA, "knapsack-stopped");
    assert_string_equal(found, wanted);
    cop_free(wanted);
    cop_free(found);
    tiny_study_write(LLAMA, NULL, NULL);
}

static int make_teachers(void **state)
{
    (void)state;
    tiny_study_make(LLAMA, COP_FAMILY_LLAMA, 1);
    tiny_study_make(NEMOTRON, COP_FAMILY_NEMOTRON, 2);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_families_run_to_the_end),
        cmocka_unit_test(the_same_study_gives_the_same_figures),
        cmocka_unit_test(a_study_stopped_anywhere_ends_the_same),
        cmocka_unit_test(curves_do_not_depend_on_stops_between_their_points),
        cmocka_unit_test(the_teacher_online_gives_the_same_figures_as_its_cache),
        cmocka_unit_test(samples_of_the_teacher_give_the_same_figures_cached_online_and_continued),
        cmocka_unit_test(a_lost_state_costs_time_only),
        cmocka_unit_test(a_full_disk_stops_the_study_and_loses_nothing),
        cmocka_unit_test(the_other_losses_train_too),
        cmocka_unit_test(a_stable_ranking_ends_the_search),
        cmocka_unit_test(candidates_that_diverge_are_tried_twice_and_marked),
        cmocka_unit_test(a_latency_budget_that_nothing_meets_is_said),
        cmocka_unit_test(a_workload_that_nothing_meets_is_named),
        cmocka_unit_test(layers_that_differ_are_searched_to_the_end),
        cmocka_unit_test(knapsack_proposes_layers_that_differ_and_can_be_stopped),
    };
    cop_system_silence_libraries();
    return cmocka_run_group_tests(tests, make_teachers, NULL);
}
