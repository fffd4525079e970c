// A study with an evaluator as users see it: space, plan, search, status, report and pick.

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "tests/cli/program.h"
#include "tests/support.h"

// <folder>/study.yaml: the same name everywhere, as reports name it.
static void write_study(const char *folder, const char *axes, const char *more, int processes)
{
    char path[128];
    char text[1024];
    cop_error err = {0};
    const int bytes = snprintf(text, sizeof text,
                               "evaluator: {command: \"%s\", processes: %d, attempts: 1}\n"
                               "space: {%s}\nobjectives: [f1, f2]\nbudget: {g: {max: 9}}\n%s",
                               COP_ZDT1_EVALUATOR, processes, axes, more);
    assert_true(bytes > 0 && (size_t)bytes < sizeof text);
    assert_int_equal(cop_file_make_directory(folder, &err), COP_OK);
    (void)snprintf(path, sizeof path, "%s/study.yaml", folder);
    assert_int_equal(cop_file_write(path, text, (size_t)bytes, &err), COP_OK);
}

#define AXES  "x1: {from: 0, to: 1, step: 0.1}, x2: {from: 0, to: 1, step: 0.25}, x3: [0, 0.5, 1]"
#define RUNGS "probe: {rungs: [10, 50, 100], keep: 0.4}\n"

static int run_studies(void **state)
{
    (void)state;
    static const char *const folders[] = {"zdt",    "alone",    "grown",
                                          "broken", "modelled", "modelled2"};
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        cop_error err = {0};
        assert_int_equal(cop_file_remove_tree(folders[i], &err), COP_OK);
    }
    write_study("zdt", AXES, RUNGS "search: {strategy: nsga2, population: 12, evaluations: 80}\n",
                3);
    program_expect("$coppice plan zdt/study.yaml", 0,
                   "stage  fidelity  evaluations     each     time\n"
                   "    0        10           80  unknown  unknown\n"
                   "    1        50           32  unknown  unknown\n"
                   "    2       100           13  unknown  unknown\n"
                   "nsga2: 125 evaluations by 3 processes, seconds unknown: *",
                   "");
    program_expect("$coppice search -q zdt/study.yaml", 0,
                   "rank  candidate *\nstage 2, fidelity 100\n125 evaluations, * on the front, 0 "
                   "failures\nzdt/study.study: finished",
                   "");
    return 0;
}

static json_t *run_json(const char *line)
{
    json_t *value = NULL;
    cop_error err = {0};
    program_result result = program_run(line);
    assert_string_equal(result.err, "");
    assert_int_equal(result.exit_code, 0);
    assert_int_equal(cop_json_parse(&value, line, result.out, strlen(result.out), &err), COP_OK);
    program_release(&result);
    return value;
}

static void assert_keys(const json_t *object, const char *const *keys, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (json_object_get(object, keys[i]) == NULL) {
            fail_msg("the key %s is missing", keys[i]);
        }
    }
}

static int64_t integer(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_integer(value));
    return json_integer_value(value);
}

// The report of a study without its provenance.
static json_t *report_of(const char *directory)
{
    char line[128];
    (void)snprintf(line, sizeof line, "$coppice report %s --json", directory);
    json_t *report = run_json(line);
    assert_int_equal(json_object_del(report, "provenance"), 0);
    return report;
}

static void space_says_what_there_is(void **state)
{
    (void)state;
    program_expect("$coppice space zdt/study.yaml", 0,
                   "axis  values  \n"
                   "x1        11  0, 0.1, 0.2, 0.3, 0.4, ..., 1\n"
                   "x2         5  0, 0.25, 0.5, 0.75, 1\n"
                   "x3         3  0, 0.5, 1\n"
                   "165 grid points\nminimised: f1, f2\n"
                   "bound: g <= 9, known once a point is evaluated",
                   "");
    json_t *space = run_json("$coppice space zdt/study.yaml --json");
    static const char *const keys[] = {"size", "axes", "bounds", "objectives"};
    assert_keys(space, keys, 4);
    assert_int_equal(integer(space, "size"), 165);
    assert_int_equal(json_array_size(json_object_get(space, "axes")), 3);
    json_decref(space);
}

static void search_ends_with_its_promised_keys(void **state)
{
    (void)state;
    static const char *const keys[] = {"study",  "status", "candidates", "stage",
                                       "tokens", "front",  "ranking"};
    json_t *result = run_json("$coppice search -q zdt/study.yaml --json");
    assert_keys(result, keys, sizeof keys / sizeof keys[0]);
    assert_int_equal(integer(result, "candidates"), 80);
    assert_int_equal(integer(result, "stage"), 2);
    assert_int_equal(integer(result, "tokens"), 100);
    assert_int_equal(json_array_size(json_object_get(result, "ranking")), 13);
    json_decref(result);
}

static void the_report_is_written(void **state)
{
    (void)state;
    program_expect("$coppice report zdt/study.study", 0,
                   "stage 2, fidelity 100\nrank  candidate *\npick  *: lowest f1, *\n"
                   "125 evaluations, *\nhypervolume *\n"
                   "written: zdt/study.study/report.html, report.json, candidates.csv",
                   "");
    json_t *report = NULL;
    cop_error err = {0};
    assert_int_equal(cop_json_read(&report, "zdt/study.study/report.json", 1 << 24, &err), COP_OK);
    static const char *const keys[] = {"study",  "objectives",  "candidates", "front",     "pick",
                                       "stages", "evaluations", "tokens",     "provenance"};
    assert_keys(report, keys, sizeof keys / sizeof keys[0]);
    assert_int_equal(integer(report, "evaluations"), 125);
    json_decref(report);
    assert_true(cop_file_exists("zdt/study.study/report.html"));
    assert_true(cop_file_exists("zdt/study.study/candidates.csv"));
}

static void workers_do_not_change_the_report(void **state)
{
    (void)state;
    write_study("alone", AXES, RUNGS "search: {strategy: nsga2, population: 12, evaluations: 80}\n",
                1);
    program_expect("$coppice search -q alone/study.yaml > /dev/null", 0, "", "");
    json_t *many = report_of("zdt/study.study");
    json_t *one = report_of("alone/study.study");
    assert_true(json_equal(many, one));
    json_decref(many);
    json_decref(one);
}

static void an_extended_study_is_as_if_begun_so(void **state)
{
    (void)state;
    write_study("grown", AXES, RUNGS "search: {strategy: nsga2, population: 12, evaluations: 30}\n",
                2);
    program_expect("$coppice search -q grown/study.yaml > /dev/null", 0, "", "");
    write_study("grown", AXES, RUNGS "search: {strategy: nsga2, population: 12, evaluations: 80}\n",
                2);
    program_expect("$coppice search -q grown/study.yaml", 1, "",
                   "coppice: grown/study.study: is another study: *--extend*");
    program_expect("$coppice search -q --extend grown/study.yaml > /dev/null", 0, "", "");
    json_t *grown = report_of("grown/study.study");
    json_t *whole = report_of("zdt/study.study");
    assert_true(json_equal(grown, whole));
    json_decref(grown);
    json_decref(whole);
}

static void pick_takes_limits_of_any_metric(void **state)
{
    (void)state;
    static const char *const keys[] = {"id", "values", "metrics", "reason", "runner_up"};
    json_t *pick = run_json("$coppice pick zdt/study.study --under f2=0.6 --under g=9 --json");
    assert_keys(pick, keys, sizeof keys / sizeof keys[0]);
    const json_t *f2 = json_object_get(json_object_get(pick, "metrics"), "f2");
    assert_true(json_number_value(json_object_get(f2, "value")) <= 0.6);
    json_decref(pick);
    program_expect("$coppice pick zdt/study.study", 0,
                   "x1=*\n  values: {\"x1\":*}\n  metrics: f1 *, f2 *, g *\n  why: lowest f1, *\n"
                   "  runner-up: *",
                   "");
    program_expect("$coppice pick zdt/study.study --under f1=-5", 1, "",
                   "coppice: pick: no candidate meets the limits; the nearest is * with f1 = *");
    program_expect("$coppice pick zdt/study.study --under f3=1", 1, "",
                   "coppice: limit: unknown metric: f3; did you mean f1? (allowed: f1, f2, g)");
    program_expect("$coppice pick zdt/study.study -o picked", 1, "",
                   "coppice: zdt/study.study: -o writes a pruned teacher, and this study has an "
                   "evaluator instead of a teacher (allowed: no -o)");
}

static void status_watches_until_the_end(void **state)
{
    (void)state;
    static const char table[] =
        "zdt/study.study: finished\nstage  fidelity   done  failed *\n"
        "    0        10  80/80       0 *\n    1        50  32/32       0 *\n"
        "    2       100  13/13       0 *\nbest     x1=*: f1 *, f2 *\n"
        "front    * of 80 candidates\nspent    125 evaluations, * of the evaluator";
    program_expect("$coppice status zdt/study.study", 0, table, "");
    program_expect("$coppice status --watch zdt/study.study", 0, table, "");
    program_expect("$coppice status --watch 0.5 zdt/study.study", 0, table, "");
    program_expect("$coppice status zdt/study.study --watch=5", 0, table, "");
    program_expect("$coppice status zdt/study.study --watch=0", 2, "", "coppice status: --watch *");
    program_expect("$coppice status zdt/study.study --watch --json", 2, "",
                   "coppice status: --watch and --json exclude each other*");
    static const char *const keys[] = {"directory", "state", "owner",    "stage",
                                       "stages",    "best",  "failures", "eta_seconds"};
    json_t *status = run_json("$coppice status zdt/study.study --json");
    assert_keys(status, keys, sizeof keys / sizeof keys[0]);
    assert_string_equal(json_string_value(json_object_get(status, "state")), "finished");
    json_decref(status);
}

static void a_plan_knows_the_time_of_what_is_done(void **state)
{
    (void)state;
    json_t *plan = run_json("$coppice plan zdt/study.yaml --json");
    assert_int_equal(integer(plan, "evaluations"), 125);
    assert_true(json_is_real(json_object_get(plan, "seconds")));
    json_decref(plan);
    program_expect("$coppice plan zdt/study.yaml", 0, "*about * at the mean of those done", "");
}

static void failures_are_told_and_counted(void **state)
{
    (void)state;
    write_study("broken", "x1: [0, 0.5, 1], x2: [0, 1], kind: [whole, broken]", "", 2);
    program_expect("$coppice search -q broken/study.yaml 2> /dev/null", 0,
                   "rank  candidate *\n6 evaluations, * on the front, 6 failures\n"
                   "broken/study.study: finished",
                   "");
    json_t *report = report_of("broken/study.study");
    assert_int_equal(integer(json_object_get(report, "study"), "failures"), 6);
    size_t failed = 0;
    size_t index = 0;
    const json_t *candidate = NULL;
    json_array_foreach(json_object_get(report, "candidates"), index, candidate)
    {
        const char *status = json_string_value(json_object_get(candidate, "status"));
        if (strcmp(status, "failed") == 0) {
            const char *reason = json_string_value(json_object_get(candidate, "reason"));
            assert_non_null(reason);
            assert_non_null(strstr(reason, "is broken"));
            assert_null(strstr(reason, "evaluator 0"));
            failed++;
        }
    }
    assert_int_equal(failed, 6);
    json_decref(report);
}

// How well the surrogate predicted is a result: workers and extensions do not change it.
static void a_surrogate_shows_its_calibration(void **state)
{
    (void)state;
    static const char *const more[] = {
        "search: {strategy: surrogate, population: 8, batch: 4, evaluations: 12}\n",
        "search: {strategy: surrogate, population: 8, batch: 4, evaluations: 24}\n"};
    write_study("modelled", AXES, more[1], 3);
    program_expect("$coppice search -q modelled/study.yaml >/dev/null", 0, "", "");
    write_study("modelled2", AXES, more[0], 1);
    program_expect("$coppice search -q modelled2/study.yaml >/dev/null", 0, "", "");
    write_study("modelled2", AXES, more[1], 1);
    program_expect("$coppice search -q --extend modelled2/study.yaml >/dev/null", 0, "", "");
    json_t *report = report_of("modelled/study.study");
    json_t *other = report_of("modelled2/study.study");
    json_t *status = run_json("$coppice status modelled/study.study --json");
    const json_t *surrogate = json_object_get(json_object_get(report, "study"), "surrogate");
    static const char *const objectives[] = {"f1", "f2"};
    assert_keys(surrogate, objectives, 2);
    assert_int_equal(integer(json_object_get(surrogate, "f1"), "n"), 16);
    assert_true(json_is_number(json_object_get(json_object_get(surrogate, "f2"), "coverage90")));
    assert_true(
        json_equal(surrogate, json_object_get(json_object_get(other, "study"), "surrogate")));
    assert_true(json_equal(surrogate, json_object_get(status, "surrogate")));
    program_expect("$coppice status modelled/study.study", 0,
                   "*\nmodel    f1: 16 predictions, *\nmodel    f2: 16 predictions, *\nfront *",
                   "");
    program_expect("grep -c '^<p>Before each point was measured: f1: 16 "
                   "predictions' modelled/study.study/report.html",
                   0, "1", "");
    json_decref(report);
    json_decref(other);
    json_decref(status);
}

static void options_for_other_studies_are_refused(void **state)
{
    (void)state;
    program_expect("$coppice search --give-up 9 zdt/study.yaml", 1, "",
                   "coppice: --give-up: has no use for a study with an evaluator (allowed: "
                   "evaluator.timeout_seconds in zdt/study.yaml)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(space_says_what_there_is),
        cmocka_unit_test(search_ends_with_its_promised_keys),
        cmocka_unit_test(the_report_is_written),
        cmocka_unit_test(workers_do_not_change_the_report),
        cmocka_unit_test(an_extended_study_is_as_if_begun_so),
        cmocka_unit_test(pick_takes_limits_of_any_metric),
        cmocka_unit_test(status_watches_until_the_end),
        cmocka_unit_test(a_plan_knows_the_time_of_what_is_done),
        cmocka_unit_test(failures_are_told_and_counted),
        cmocka_unit_test(a_surrogate_shows_its_calibration),
        cmocka_unit_test(options_for_other_studies_are_refused),
    };
    return cmocka_run_group_tests(tests, run_studies, NULL);
}
