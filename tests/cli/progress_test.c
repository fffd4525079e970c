// status of studies in the middle of a search by a strategy: what is still going to be proposed counts.

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "search/store.h"
#include "tests/cli/program.h"
#include "tests/search/synthetic.h"
#include "tests/support.h"

enum { SEQUENCES = 8 };

static void must(cop_status status, const cop_error *err)
{
    if (status != COP_OK) {
        fail_msg("%s", err->message);
    }
}

static void finish(cop_store *store, const cop_candidate *c, int stage, int64_t tokens, int index)
{
    double values[SEQUENCES];
    cop_error err = {0};
    for (int i = 0; i < SEQUENCES; i++) {
        values[i] = 1 + 0.1 * index + 0.01 * i - 0.2 * stage;
    }
    cop_stage_record record = synthetic_record(stage, tokens, values, SEQUENCES);
    must(cop_store_finish_stage(store, c->id, &record, NULL, 0, &err), &err);
    cop_evaluation_release(&record.evaluation);
}

// Two batches of four: the first went through rung 1; of the second two are pruned, one failed, one waits. An
// evaluation takes 2.5 s.
static cop_store *half_a_study(const char *directory, const char *feasible)
{
    const char *const facts[][2] = {
        {"setting.search.strategy", "nsga2"},
        {"setting.search.evaluations", "12"},
        {"setting.search.fidelity", "1"},
        {"feasible", feasible},
        {"rungs", "1000,3000"},
        {"keep", "0.5"},
        {"objectives", "loss,params"},
        {"seed", "1"},
    };
    cop_candidate c[8];
    cop_error err = {0};
    cop_store *store = synthetic_store(directory);
    for (int i = 0; i < 8; i++) {
        c[i] = synthetic_candidate(i, 2 + i, 64, 256);
    }
    must(cop_store_propose(store, c, 4, 0, 0, &err), &err);
    must(cop_store_propose(store, c + 4, 4, 1, 0, &err), &err);
    for (int i = 0; i < 6; i++) {
        finish(store, &c[i], 0, 0, i);
    }
    for (int i = 0; i < 4; i++) {
        finish(store, &c[i], 1, 1000, i);
    }
    must(cop_store_state(store, c[6].id, COP_STATE_FAILED, "not finite", &err), &err);
    for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++) {
        must(cop_store_set(store, facts[i][0], facts[i][1], &err), &err);
    }
    return store;
}

static json_t *status_of(const char *directory)
{
    char line[96];
    json_t *value = NULL;
    cop_error err = {0};
    (void)snprintf(line, sizeof line, "$coppice status %s --json", directory);
    program_result result = program_run(line);
    assert_int_equal(result.exit_code, 0);
    must(cop_json_parse(&value, line, result.out, strlen(result.out), &err), &err);
    program_release(&result);
    return value;
}

static json_int_t integer_at(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_integer(value));
    return json_integer_value(value);
}

static const json_t *stage_at(const json_t *status, size_t stage)
{
    return json_array_get(json_object_get(status, "stages"), stage);
}

static void totals_are_of_what_is_planned(void **state)
{
    (void)state;
    cop_store_destroy(half_a_study("half", "9223372036854775807"));
    json_t *status = status_of("half");
    const json_t *search = json_object_get(status, "search");
    assert_string_equal(json_string_value(json_object_get(search, "strategy")), "nsga2");
    assert_int_equal(integer_at(search, "batches"), 2);
    assert_int_equal(integer_at(search, "planned"), 12);
    assert_int_equal(integer_at(search, "evaluated"), 5); // at rung 1, and the one that failed
    assert_true(json_is_null(json_object_get(search, "surrogate")));
    assert_int_equal(integer_at(status, "stage"), 0); // one of the batch waits there
    assert_int_equal(integer_at(stage_at(status, 0), "total"), 12);
    assert_int_equal(integer_at(stage_at(status, 0), "done"), 6);
    assert_int_equal(integer_at(stage_at(status, 0), "failed"), 1);
    assert_int_equal(integer_at(stage_at(status, 1), "total"), 11); // all but the failed one
    assert_int_equal(integer_at(stage_at(status, 1), "done"), 4);
    assert_true(json_is_null(json_object_get(stage_at(status, 2), "total")));
    assert_int_equal(integer_at(status, "front"), 1); // the smallest has the lowest loss
    // Ahead: 5 untrained evaluations of 2.5 s; 7 x 1000 and 6 x 2000 tokens at 4000 in 10 s.
    const double eta = json_number_value(json_object_get(status, "eta_seconds"));
    assert_true(fabs(eta - (12.5 + 47.5)) < 1e-9);
    json_decref(status);
    program_expect("$coppice status half", 0,
                   "half: stopped\nstage *\npruned *6/12 *<- now\nrung 1 *4/11 *\nrung 2 *-*\n"
                   "search   nsga2, batch 2, 5 of 12 candidates evaluated\nbest *\n"
                   "front    1 of 4 candidates of that stage\nfailed *\nspent *\nleft     about *",
                   "");
}

static void a_small_space_is_proposed_whole(void **state)
{
    (void)state;
    cop_store_destroy(half_a_study("half", "9"));
    json_t *status = status_of("half");
    assert_int_equal(integer_at(json_object_get(status, "search"), "planned"), 9);
    assert_int_equal(integer_at(stage_at(status, 0), "total"), 9);
    json_decref(status);
}

static void the_end_of_the_proposals_is_seen(void **state)
{
    (void)state;
    cop_error err = {0};
    cop_store *store = half_a_study("half", "36");
    must(cop_store_set(store, "stage.1", "done", &err), &err);
    cop_store_destroy(store);
    json_t *status = status_of("half");
    assert_int_equal(integer_at(json_object_get(status, "search"), "planned"), 8);
    assert_int_equal(integer_at(stage_at(status, 1), "total"), 7);
    json_decref(status);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(totals_are_of_what_is_planned),
        cmocka_unit_test(a_small_space_is_proposed_whole),
        cmocka_unit_test(the_end_of_the_proposals_is_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
