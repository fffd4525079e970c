// Reports of made-up studies with an evaluator: every figure is known.

#include "report/trial_report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "search/facts.h"
#include "tests/support.h"

// The study: a point of each `a`, at two fidelities, half of them go on.
static const char study_text[] = "evaluator: {command: \"true\"}\n"
                                 "space: {a: [0, 1, 2, 3, 4, 5], 'b': ['x,y', z]}\n"
                                 "objectives: [e, c]\n"
                                 "budget: {m: {max: 10}}\n"
                                 "probe: {rungs: [10, 100], keep: 0.5, rescue: 0}\n"
                                 "search: {seed: 3}\n";

enum { TRIALS = 6 };

// e, c, m at the first fidelity. The last one failed.
static const double first[TRIALS - 1][3] = {{5, 1, 1}, {3, 3, 1}, {1, 5, 1}, {4, 4, 1}, {0, 0, 20}};
// At the second: those that went on, and one that an earlier form of the study let go on.
static const double second[4][3] = {{5, 1, 1}, {3, 2, 1}, {1, 2, 1}, {0.1, 0.1, 1}};

typedef struct made {
    cop_store *store;
    cop_trial_report report;
    json_t *document;
} made;

static void set_result(cop_trial_entry *entry, int stage, const double *values, double seconds)
{
    static const char *const names[] = {"e", "c", "m"};
    cop_trial_result *result = &entry->result[stage];
    *result = (cop_trial_result){.is_done = true,
                                 .fidelity = stage == 0 ? 10 : 100,
                                 .seconds = seconds,
                                 .metric = cop_alloc(3, sizeof *result->metric),
                                 .metrics = 3};
    for (int k = 0; k < 3; k++) {
        (void)snprintf(result->metric[k].name, sizeof result->metric[k].name, "%s", names[k]);
        result->metric[k].value = values[k];
    }
}

static void begin_study(const char *directory, const char *text, cop_store **store)
{
    char path[128];
    cop_error err = {0};
    must_succeed(cop_file_remove_tree(directory, &err), &err);
    must_succeed(cop_file_make_directory(directory, &err), &err);
    (void)snprintf(path, sizeof path, "%s/study.yaml", directory);
    must_succeed(cop_file_write(path, text, strlen(text), &err), &err);
    must_succeed(cop_store_open(store, directory, COP_STORE_OWN, &err), &err);
    must_succeed(cop_store_set(*store, COP_FACT_KIND, "evaluator", &err), &err);
    must_succeed(cop_store_set(*store, COP_FACT_STUDY, "/somewhere/made<up>.yaml", &err), &err);
}

// `is_other`: the same results, in another order, after other times and attempts, by another process.
static void fill_study(const char *directory, bool is_other, int stages)
{
    cop_store *store = NULL;
    cop_trials trials = {0};
    cop_error err = {0};
    begin_study(directory, study_text, &store);
    for (int i = 0; i < TRIALS; i++) {
        char id[32];
        char values[64];
        (void)snprintf(id, sizeof id, i == 5 ? "p-5,\"" : "p-%d", i);
        (void)snprintf(values, sizeof values, "{\"a\":%d,\"b\":\"x,y\"}", i);
        assert_non_null(cop_trials_append(&trials, i / 3, id, values));
    }
    must_succeed(cop_store_add_trials(store, &trials, 0, TRIALS, &err), &err);
    for (int i = 0; stages > 0 && i < TRIALS - 1; i++) {
        set_result(&trials.entry[i], 0, first[i], is_other ? 7 : 2);
    }
    for (int i = 0; stages > 1 && i < 4; i++) {
        set_result(&trials.entry[i], 1, second[i], 3);
    }
    trials.entry[5].is_failed = stages > 0;
    trials.entry[5].failures = is_other ? 2 : 1;
    (void)snprintf(trials.entry[5].reason, sizeof trials.entry[5].reason,
                   "evaluator %d: says \"no\",\nloudly", is_other ? 12 : 3);
    for (int64_t i = 0; i < TRIALS; i++) {
        const int64_t list[] = {is_other ? TRIALS - 1 - i : i};
        must_succeed(cop_store_finish_trials(store, &trials, list, 1, 0, &err), &err);
        must_succeed(cop_store_finish_trials(store, &trials, list, 1, 1, &err), &err);
    }
    if (stages > 1) {
        must_succeed(cop_store_set(store, COP_FACT_FINISHED, is_other ? "2001" : "2002", &err),
                     &err);
    }
    cop_trials_release(&trials);
    cop_store_destroy(store);
}

static void make(made *m, const char *directory)
{
    cop_error err = {0};
    *m = (made){0};
    must_succeed(cop_store_open(&m->store, directory, COP_STORE_READ, &err), &err);
    must_succeed(cop_trial_report_create(&m->report, m->store, directory, &err), &err);
    must_succeed(cop_trial_json(&m->document, &m->report, &err), &err);
}

static void release(made *m)
{
    json_decref(m->document);
    cop_trial_report_release(&m->report);
    cop_store_destroy(m->store);
}

static const json_t *candidate(const made *m, size_t index)
{
    return json_array_get(json_object_get(m->document, "candidates"), index);
}

static void assert_text(const json_t *object, const char *key, const char *text)
{
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_string(value));
    assert_string_equal(json_string_value(value), text);
}

static void assert_number(const json_t *object, const char *key, double number)
{
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_number(value));
    assert_true(fabs(json_number_value(value) - number) < 1e-12);
}

// --- Figures --------------------------------------------------------------------------------------

static void every_promised_key_is_there(void **state)
{
    (void)state;
    static const char *const keys[] = {"study",  "objectives",  "candidates", "front",     "pick",
                                       "stages", "evaluations", "tokens",     "provenance"};
    static const char *const study_keys[] = {"name",     "kind",       "seed",
                                             "strategy", "candidates", "stages",
                                             "failures", "space",      "hypervolume"};
    static const char *const candidate_keys[] = {
        "id",       "values",    "stage",    "tokens", "metrics", "status", "reason",
        "feasible", "violation", "on_front", "rank",   "front",   "batch",  "number"};
    made m;
    fill_study("made", false, 2);
    make(&m, "made");
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        assert_non_null(json_object_get(m.document, keys[i]));
    }
    const json_t *study = json_object_get(m.document, "study");
    for (size_t i = 0; i < sizeof study_keys / sizeof study_keys[0]; i++) {
        assert_non_null(json_object_get(study, study_keys[i]));
    }
    for (size_t i = 0; i < TRIALS; i++) {
        for (size_t k = 0; k < sizeof candidate_keys / sizeof candidate_keys[0]; k++) {
            assert_non_null(json_object_get(candidate(&m, i), candidate_keys[k]));
        }
    }
    assert_text(study, "name", "made<up>");
    assert_text(study, "kind", "evaluator");
    assert_number(json_object_get(study, "space"), "size", 12);
    assert_number(m.document, "evaluations", 5 + 3);
    assert_number(m.document, "tokens", 5 * 10 + 3 * 100);
    release(&m);
}

static void places_follow_from_the_results(void **state)
{
    (void)state;
    static const char *const states[] = {"finished",   "finished",   "finished",
                                         "eliminated", "eliminated", "failed"};
    static const int ranks[] = {1, 2, 1, 2, 3};
    made m;
    make(&m, "made");
    for (size_t i = 0; i < TRIALS; i++) {
        assert_text(candidate(&m, i), "status", states[i]);
        if (i < TRIALS - 1) {
            assert_number(candidate(&m, i), "rank", ranks[i]);
            assert_number(candidate(&m, i), "tokens", i < 3 ? 100 : 10);
        }
    }
    const json_t *front = json_object_get(m.document, "front");
    assert_int_equal(json_array_size(front), 2);
    assert_string_equal(json_string_value(json_array_get(front, 0)), "p-2");
    assert_string_equal(json_string_value(json_array_get(front, 1)), "p-0");
    assert_true(json_is_false(json_object_get(candidate(&m, 4), "feasible")));
    assert_number(candidate(&m, 4), "violation", 1);
    assert_true(json_is_null(json_object_get(candidate(&m, 5), "rank")));
    assert_text(candidate(&m, 5), "reason", "says \"no\",\nloudly");
    const json_t *metrics = json_object_get(candidate(&m, 1), "metrics");
    assert_number(json_object_get(metrics, "c"), "value", 2);
    assert_number(json_object_get(metrics, "c"), "tokens", 100);
    assert_true(json_is_null(json_object_get(json_object_get(metrics, "c"), "low")));

    const json_t *stages = json_object_get(m.document, "stages");
    assert_number(json_array_get(stages, 0), "entered", 6);
    assert_number(json_array_get(stages, 0), "finished", 5);
    assert_number(json_array_get(stages, 0), "failed", 1);
    assert_number(json_array_get(stages, 0), "promoted", 3);
    assert_number(json_array_get(stages, 1), "entered", 3);
    assert_number(json_array_get(stages, 1), "fidelity", 100);
    release(&m);
}

static void the_hypervolume_is_that_of_the_front(void **state)
{
    (void)state;
    made m;
    make(&m, "made");
    const json_t *volume = json_object_get(json_object_get(m.document, "study"), "hypervolume");
    // (1, 2) and (5, 1) lie at (0, 1) and (1, 0) of the range.
    assert_number(volume, "value", 0.21);
    assert_number(volume, "reference", 1.1);
    // Of the first fidelity: (5, 1), (3, 3) and (1, 5) in turn, then (4, 4) changes nothing.
    const json_t *history = json_object_get(volume, "history");
    static const double wanted[][2] = {{1, 0.11}, {2, 0.41}, {3, 0.46}, {6, 0.46}};
    assert_int_equal(json_array_size(history), 4);
    for (size_t i = 0; i < 4; i++) {
        const json_t *point = json_array_get(history, i);
        assert_true(json_number_value(json_array_get(point, 0)) == wanted[i][0]);
        assert_true(fabs(json_number_value(json_array_get(point, 1)) - wanted[i][1]) < 1e-12);
    }
    release(&m);
}

static void nothing_but_provenance_knows_how_it_was_run(void **state)
{
    (void)state;
    made a;
    made b;
    cop_text csv_a = {0};
    cop_text csv_b = {0};
    cop_error err = {0};
    fill_study("again", true, 2);
    make(&a, "made");
    make(&b, "again");
    (void)json_object_del(a.document, "provenance");
    (void)json_object_del(b.document, "provenance");
    assert_true(json_equal(a.document, b.document));
    must_succeed(cop_trial_csv(&csv_a, &a.report, &err), &err);
    must_succeed(cop_trial_csv(&csv_b, &b.report, &err), &err);
    assert_string_equal(cop_text_view(&csv_a), cop_text_view(&csv_b));
    cop_text_release(&csv_a);
    cop_text_release(&csv_b);
    release(&a);
    release(&b);
}

static void an_unfinished_study_has_a_report(void **state)
{
    (void)state;
    made m;
    cop_text html = {0};
    cop_error err = {0};
    for (int stages = 0; stages < 2; stages++) {
        fill_study("begun", false, stages);
        make(&m, "begun");
        assert_text(candidate(&m, 0), "status", "pending");
        assert_int_equal(m.report.deepest, stages - 1);
        assert_int_equal(json_array_size(json_object_get(m.document, "front")), stages * 3);
        assert_int_equal(m.report.has_pick, stages == 1);
        must_succeed(cop_trial_html(&html, &m.report, &err), &err);
        cop_text_release(&html);
        release(&m);
    }
}

// --- Pick -----------------------------------------------------------------------------------------

static void the_pick_is_the_lowest_within_the_limits(void **state)
{
    (void)state;

    static const struct {
        cop_pick_limit limit;
        int64_t index;
        int64_t runner_up;
        const char *message;
    } cases[] = {
        {{"c", 100}, 2, 1, NULL},
        {{"c", 1}, 0, -1, NULL},
        {{"m", 1}, 2, 1, NULL},
        {{"c", 0.5}, -1, -1, "pick: no candidate meets the limits; the nearest is p-0 with c = 1"},
        {{"cc", 1}, -1, -1, "limit: unknown metric: cc; did you mean c? (allowed: e, c, m)"},
        {{"far-off", 1}, -1, -1, "limit: unknown metric: far-off (allowed: e, c, m)"},
        {{"c", (double)NAN}, -1, -1, "limit: c is not a number"},
    };

    made m;
    make(&m, "made");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cop_trial_pick pick;
        cop_error err = {0};
        const cop_status status = cop_trial_pick_make(&pick, &m.report, &cases[i].limit, 1, &err);
        assert_int_equal(status, cases[i].message == NULL ? COP_OK : COP_ERR_CONFIG);
        assert_int_equal(pick.index, cases[i].index);
        assert_int_equal(pick.runner_up, cases[i].runner_up);
        assert_string_equal(err.message, cases[i].message == NULL ? "" : cases[i].message);
    }
    assert_string_equal(m.report.pick.reason,
                        "lowest e, 1, of 3 candidates within all bounds at fidelity 100");
    release(&m);

    cop_trial_pick pick;
    cop_error err = {0};
    fill_study("begun", false, 0);
    make(&m, "begun");
    assert_int_equal(cop_trial_pick_make(&pick, &m.report, NULL, 0, &err), COP_ERR_CONFIG);
    assert_string_equal(err.message,
                        "pick: no candidate has a result yet (allowed: after the first "
                        "results of `coppice search`)");
    release(&m);
}

// --- Files ----------------------------------------------------------------------------------------

static void the_table_is_rfc_4180(void **state)
{
    (void)state;
    made m;
    cop_text csv = {0};
    cop_error err = {0};
    make(&m, "made");
    must_succeed(cop_trial_csv(&csv, &m.report, &err), &err);
    assert_string_equal(
        cop_text_view(&csv),
        "id,number,batch,status,feasible,on_front,rank,a,b,e,c,m,fidelity,reason\r\n"
        "p-0,0,0,finished,true,true,1,0,\"x,y\",5,1,1,100,\r\n"
        "p-1,1,0,finished,true,false,2,1,\"x,y\",3,2,1,100,\r\n"
        "p-2,2,0,finished,true,true,1,2,\"x,y\",1,2,1,100,\r\n"
        "p-3,3,1,eliminated,true,false,2,3,\"x,y\",4,4,1,10,\r\n"
        "p-4,4,1,eliminated,false,false,3,4,\"x,y\",0,0,20,10,\r\n"
        "\"p-5,\"\"\",5,1,failed,,false,,5,\"x,y\",,,,,\"says \"\"no\"\",\nloudly\"\r\n");
    cop_text_release(&csv);
    release(&m);
}

static void the_page_stands_alone(void **state)
{
    (void)state;
    made m;
    cop_text html = {0};
    cop_error err = {0};
    make(&m, "made");
    must_succeed(cop_trial_html(&html, &m.report, &err), &err);
    const char *text = cop_text_view(&html);
    assert_non_null(strstr(text, "<title>made&lt;up&gt; "));
    assert_non_null(strstr(text, "<svg viewBox=\"0 0 900 400\""));
    assert_non_null(strstr(text, "says &quot;no&quot;"));
    assert_null(strstr(text, "http://"));
    assert_null(strstr(text, "https://"));
    assert_null(strstr(text, "<script"));
    assert_null(strstr(text, ">nan"));
    cop_text_release(&html);
    must_succeed(cop_trial_report_write(&m.report, "made", &err), &err);
    assert_true(cop_file_exists("made/report.html"));
    assert_true(cop_file_exists("made/report.json"));
    assert_true(cop_file_exists("made/candidates.csv"));
    release(&m);
}

static void other_studies_are_refused(void **state)
{
    (void)state;
    cop_store *store = NULL;
    cop_trial_report report;
    cop_error err = {0};
    begin_study("teacher", "teacher: t\n", &store);
    assert_int_equal(cop_trial_report_create(&report, store, "teacher", &err), COP_ERR_FORMAT);
    assert_string_equal(err.message, "teacher/study.yaml: names no evaluator, though the study "
                                     "beside it has one");
    cop_trial_report_release(&report);
    cop_store_destroy(store);
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    made m;
    cop_error err = {0};
    make(&m, "made");
    const size_t blocks = cop_alloc_live_blocks();
    cop_status status = COP_ERR_NOMEM;
    for (size_t n = 0; status != COP_OK; n++) {
        cop_trial_report report;
        cop_alloc_fail_after(n);
        status = cop_trial_report_create(&report, m.store, "made", &err);
        cop_alloc_fail_after(SIZE_MAX);
        cop_trial_report_release(&report);
        assert_int_equal(cop_alloc_live_blocks(), blocks);
        assert_true(status == COP_ERR_NOMEM || (status == COP_OK && n > 50));
    }
    for (int what = 0; what < 3; what++) {
        status = COP_ERR_NOMEM;
        for (size_t n = 0; status != COP_OK; n++) {
            cop_text text = {0};
            cop_trial_pick pick;
            const cop_pick_limit limit = {"cc", 1};
            cop_alloc_fail_after(n);
            status = what == 0   ? cop_trial_csv(&text, &m.report, &err)
                     : what == 1 ? cop_trial_html(&text, &m.report, &err)
                                 : cop_trial_pick_make(&pick, &m.report, &limit, 1, &err);
            cop_alloc_fail_after(SIZE_MAX);
            cop_text_release(&text);
            assert_int_equal(cop_alloc_live_blocks(), blocks);
            status = status == COP_ERR_CONFIG ? COP_OK : status;
            assert_true(status == COP_ERR_NOMEM || status == COP_OK);
        }
    }
    release(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_promised_key_is_there),
        cmocka_unit_test(places_follow_from_the_results),
        cmocka_unit_test(the_hypervolume_is_that_of_the_front),
        cmocka_unit_test(nothing_but_provenance_knows_how_it_was_run),
        cmocka_unit_test(an_unfinished_study_has_a_report),
        cmocka_unit_test(the_pick_is_the_lowest_within_the_limits),
        cmocka_unit_test(the_table_is_rfc_4180),
        cmocka_unit_test(the_page_stands_alone),
        cmocka_unit_test(other_studies_are_refused),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
