// A search that stops hopeless probes: who goes out and why, how many go on, and that interruptions change
// nothing.

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/system.h"
#include "tests/run/figures.h"
#include "tests/run/runner.h"
#include "tests/run/tiny_study.h"
#include "tests/support.h"

#define FOLDER "hopeless"
#define HEAD \
    "space:\n  layers: [2, 3, 4]\n  heads: [4, 8]\n  ffn: [32, 64]\n  hidden: [16, 24, 32]\n"
#define PLAIN                                                                    \
    HEAD "budget:\n  params: {min: 8e3, max: 4e4}\nobjectives: [loss, params]\n" \
         "search: {strategy: grid, seed: 3}\n"                                   \
         "probe:\n  rungs: [2048, 6144]\n  keep: 0.4\n  keep_pruned: 8\n  rescue: 0.2"
#define RUNGS                                                                                  \
    "space:\n  layers: [2, 4]\n  heads: [8]\n  ffn: [32, 64]\n  hidden: [8, 32]\nobjectives: " \
    "[loss]\n"                                                                                 \
    "search: {strategy: grid, seed: 3}\n"                                                      \
    "probe:\n  rungs: [10240, 20480, 30720]\n  keep: 0.75\n  keep_pruned: 0\n  rescue: 0\n"    \
    "  loss: ce\n  warmup_steps: 4"

static int64_t count_decided(const cop_snapshot *snapshot, int stage, const char *decision)
{
    int64_t count = 0;
    for (int64_t i = 0; i < snapshot->count; i++) {
        count += strcmp(snapshot->candidate[i].stage[stage].decision, decision) == 0 ? 1 : 0;
    }
    return count;
}

static int64_t count_hopeless(const cop_snapshot *snapshot)
{
    int64_t count = 0;
    for (int64_t i = 0; i < snapshot->count; i++) {
        const cop_snapshot_candidate *c = &snapshot->candidate[i];
        if (strstr(c->reason, "its training loss after rung 3 is predicted as ") != NULL) {
            assert_int_equal(c->state, COP_STATE_ELIMINATED);
            assert_non_null(strstr(c->reason, " of being among the best "));
            assert_true(c->last_stage == 1 || c->last_stage == 2);
            assert_string_equal(c->stage[c->last_stage].decision, "eliminated");
            count++;
        }
    }
    return count;
}

static void the_hopeless_go_out_with_their_reason(void **state)
{
    (void)state;
    cop_store *store = NULL;
    cop_store *plain_store = NULL;
    cop_snapshot snapshot = {0};
    cop_snapshot plain = {0};
    tiny_study_write(FOLDER, PLAIN, RUNGS);
    runner_must_run(FOLDER, "plain");
    tiny_study_write(FOLDER, PLAIN, RUNGS "\n  stop_hopeless: true");
    runner_must_run(FOLDER, "a");
    figures_read(FOLDER "/plain", &plain_store, &plain);
    figures_read(FOLDER "/a", &store, &snapshot);
    assert_int_equal(count_hopeless(&plain), 0);
    assert_true(count_hopeless(&snapshot) > 0);
    assert_true(count_decided(&snapshot, 1, "promoted") < count_decided(&plain, 1, "promoted"));
    assert_true(count_decided(&snapshot, 3, "finished") > 0);
    int64_t best = -1;
    for (int64_t i = 0; i < snapshot.count; i++) {
        const cop_snapshot_candidate *with = &snapshot.candidate[i];
        const cop_snapshot_candidate *without = &plain.candidate[i];
        // Whoever ends where it ended before ends with the same figures; nobody goes out for the
        // places of the stopped.
        if (with->last_stage == 3) {
            assert_true(without->last_stage < 3 ||
                        memcmp(with->stage[3].record.evaluation.kl,
                               without->stage[3].record.evaluation.kl, 16 * sizeof(double)) == 0);
        } else if (without->last_stage == 3) {
            assert_non_null(strstr(with->reason, "its training loss"));
        }
        if (without->last_stage == 3 &&
            (best < 0 ||
             without->stage[3].probability > plain.candidate[best].stage[3].probability)) {
            best = i;
        }
    }
    assert_true(best >= 0);
    assert_int_equal(snapshot.candidate[best].state, COP_STATE_FINISHED); // the pick was kept
    cop_snapshot_release(&snapshot);
    cop_snapshot_release(&plain);
    cop_store_destroy(store);
    cop_store_destroy(plain_store);
}

static void interruptions_change_nothing(void **state)
{
    (void)state;
    cop_error err = {0};
    runner_result result = {.was_stopped = true};
    const runner_options options = {.stop_at = 97};
    int runs = 0;
    for (; result.was_stopped && runs < 200; runs++) {
        if (runner_run(FOLDER, "b", &options, &result, &err) != COP_OK) {
            fail_msg("%s", err.message);
        }
    }
    assert_true(runs > 3 && runs < 200);
    char *wanted = runner_figures(FOLDER, "a");
    char *found = runner_figures(FOLDER, "b");
    assert_string_equal(found, wanted);
    cop_free(wanted);
    cop_free(found);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_hopeless_go_out_with_their_reason),
        cmocka_unit_test(interruptions_change_nothing),
    };
    cop_system_silence_libraries();
    tiny_study_make(FOLDER, COP_FAMILY_LLAMA, 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
