// Studies of a teacher whose candidates a strategy proposes: killed, stopped, run by several processes or extended,
// they end with the figures of an undisturbed study of the same file. COP_LAUNCHER is mpirun, or empty.

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/rng.h"
#include "base/system.h"
#include "tests/cli/program.h"
#include "tests/run/figures.h"
#include "tests/run/tiny_study.h"
#include "tests/support.h"

#define RANKS COP_LAUNCHER " --oversubscribe --bind-to none -n "

static const char nsga2[] = "nsga2, population: 6, evaluations: 15, fidelity: 0";
static const char nsga2_probed[] = "nsga2, population: 4, evaluations: 10, fidelity: 1";
static const char surrogate[] = "surrogate, batch: 4, evaluations: 14, fidelity: 0";
static const char surrogate_probed[] = "surrogate, batch: 4, evaluations: 10, fidelity: 1";

// study/study.yaml with another strategy, and changed by a script of sed.
static void write_study(const char *strategy, const char *change)
{
    char line[1024];
    tiny_study_write("study", "strategy: grid", "strategy: STRATEGY");
    (void)snprintf(line, sizeof line, "sed -i 's/STRATEGY/%s/; %s' study/study.yaml", strategy,
                   change);
    program_expect(line, 0, "", "");
}

static void search(const char *name, const char *option)
{
    char line[256];
    (void)snprintf(line, sizeof line,
                   "$coppice search -q %s study/study.yaml -o study/%s >/dev/null", option, name);
    program_expect(line, 0, "", NULL);
}

static void drop_key(json_t *value, const char *key)
{
    size_t i = 0;
    const char *name = NULL;
    json_t *child = NULL;
    (void)json_object_del(value, key);
    json_object_foreach(value, name, child)
    {
        drop_key(child, key);
    }
    json_array_foreach(value, i, child)
    {
        drop_key(child, key);
    }
}

// report.json without what tells of the run itself.
static char *report_of(const char *name)
{
    static const char *const keys[] = {"provenance", "seconds", "directory"};
    char line[128];
    char *text = NULL;
    json_t *report = NULL;
    cop_error err = {0};
    (void)snprintf(line, sizeof line, "$coppice report study/%s --json", name);
    program_result result = program_run(line);
    if (cop_json_parse(&report, line, result.out, strlen(result.out), &err) != COP_OK) {
        fail_msg("%s: %s", line, result.err);
    }
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        drop_key(report, keys[i]);
    }
    assert_int_equal(cop_json_text(&text, report, 2, &err), COP_OK);
    json_decref(report);
    program_release(&result);
    return text;
}

static void check_text(const char *name, const char *wanted_name, const char *found,
                       const char *wanted)
{
    size_t at = 0;
    while (found[at] != '\0' && found[at] == wanted[at]) {
        at++;
    }
    if (found[at] != wanted[at]) {
        const size_t from = at > 300 ? at - 300 : 0;
        fail_msg("%s is not as %s: ...%.500s\n--- is, wanted ---\n...%.500s", name, wanted_name,
                 found + from, wanted + from);
    }
}

static void check_reports(const char *name, const char *wanted_name)
{
    char *found = report_of(name);
    char *wanted = report_of(wanted_name);
    check_text(name, wanted_name, found, wanted);
    cop_free(found);
    cop_free(wanted);
}

static void check_same(const char *name, const char *wanted_name)
{
    char path[64];
    (void)snprintf(path, sizeof path, "study/%s", name);
    char *found = figures_of(path);
    (void)snprintf(path, sizeof path, "study/%s", wanted_name);
    char *wanted = figures_of(path);
    check_text(name, wanted_name, found, wanted);
    cop_free(found);
    cop_free(wanted);
    check_reports(name, wanted_name);
}

// --- Kills and ranks ----------------------------------------------------------------------------

// Later and later, so that it gets through on any machine; every third time an interrupt.
static void kill_until_finished(const char *name, uint64_t seed)
{
    cop_error err = {0};
    cop_rng *rng = NULL;
    int kills = 0;
    bool is_finished = false;
    assert_int_equal(cop_rng_create(&rng, seed, COP_RNG_TEST, 1, &err), COP_OK);
    for (int i = 0; !is_finished; i++) {
        char line[256];
        const int milliseconds = 60 + i * 40 + (int)cop_rng_below(rng, 120);
        (void)snprintf(line, sizeof line,
                       "timeout -s %s %d.%03d $coppice search -q study/study.yaml -o study/%s",
                       i % 3 == 2 ? "INT" : "KILL", milliseconds / 1000, milliseconds % 1000, name);
        program_result result = program_run(line);
        is_finished = strstr(result.out, ": finished") != NULL;
        if (result.exit_code == 1) {
            fail_msg("%s", result.err);
        }
        kills += is_finished ? 0 : 1;
        program_release(&result);
    }
    print_message("%s: %d kills\n", name, kills);
    assert_true(kills > 3);
    cop_rng_destroy(rng);
}

// Under mpirun with `first` to 2 processes.
static void check_strategy(const char *strategy, const char *name, int first)
{
    char killed[64];
    char ranks[64];
    write_study(strategy, "");
    search(name, "");
    (void)snprintf(killed, sizeof killed, "%s-killed", name);
    kill_until_finished(killed, 3);
    check_same(killed, name);
    for (int count = first; count <= 2 && COP_LAUNCHER[0] != '\0'; count++) {
        char line[512];
        (void)snprintf(ranks, sizeof ranks, "%s-%d", name, count);
        (void)snprintf(line, sizeof line,
                       RANKS "%d $coppice search -q study/study.yaml -o study/%s >/dev/null", count,
                       ranks);
        program_expect(line, 0, "", NULL);
        check_same(ranks, name);
    }
}

static void nsga2_on_pruned_losses(void **state)
{
    (void)state;
    check_strategy(nsga2, "nsga2", 1);
}

static void nsga2_on_probes(void **state)
{
    (void)state;
    check_strategy(nsga2_probed, "probed", 2);
}

static void surrogate_on_pruned_losses(void **state)
{
    (void)state;
    check_strategy(surrogate, "surrogate", 2);
}

static void surrogate_on_probes(void **state)
{
    (void)state;
    check_strategy(surrogate_probed, "surrogate-probed", 2);
}

// --- Extensions ---------------------------------------------------------------------------------

static int count_lines(const char *name, const char *pattern)
{
    char line[256];
    int count = 0;
    (void)snprintf(line, sizeof line, "grep -c '%s' study/%s/log", pattern, name);
    program_result result = program_run(line);
    assert_int_equal(sscanf(result.out, "%d", &count), 1);
    program_release(&result);
    return count;
}

// As begun with the new file. `before` and `after` are scripts of sed.
static void check_extension(const char *name, const char *old_strategy, const char *before,
                            const char *strategy, const char *after)
{
    char line[256];
    char fresh[64];
    write_study(old_strategy, before);
    search(name, "");
    write_study(strategy, after);
    (void)snprintf(line, sizeof line, "$coppice search -q study/study.yaml -o study/%s", name);
    program_expect(line, 1, "", "coppice: study/*: is another study: *--extend)");
    search(name, "--extend");
    search(name, ""); // nothing is left to do
    (void)snprintf(fresh, sizeof fresh, "%s-fresh", name);
    search(fresh, "");
    check_reports(name, fresh);
}

static void a_grid_with_a_larger_space(void **state)
{
    (void)state;
    check_extension("grid", "grid", "s/layers: .2, 3, 4./layers: [2, 4]/", "grid", "");
}

static void a_grid_with_a_smaller_space(void **state)
{
    (void)state;
    check_extension("smaller", "grid", "", "grid", "s/layers: .2, 3, 4./layers: [2, 4]/");
}

static void a_grid_with_a_larger_budget(void **state)
{
    (void)state;
    check_extension("budget", "grid", "s/max: 4e4/max: 2e4/", "grid", "");
}

static void more_evaluations(void **state)
{
    (void)state;
    check_extension("evaluations", "nsga2, population: 6, evaluations: 8, fidelity: 0", "", nsga2,
                    "");
    check_extension("probes", "nsga2, population: 4, evaluations: 6, fidelity: 1", "", nsga2_probed,
                    "");
    check_extension("learned", "surrogate, batch: 4, evaluations: 7, fidelity: 0", "", surrogate,
                    "");
}

static void a_strategy_with_a_larger_space(void **state)
{
    (void)state;
    check_extension("space", nsga2, "s/layers: .2, 3, 4./layers: [2, 4]/", nsga2, "");
    check_extension("space-probed", nsga2_probed, "s/max: 4e4/max: 3e4/", nsga2_probed, "");
}

static void a_rung_behind_a_constant_rate(void **state)
{
    (void)state;
    static const char constant[] = "s/learning_rate: 3e-3/&\\n  schedule: constant/";
    char longer[128];
    (void)snprintf(longer, sizeof longer, "%s; s/6144./6144, 12288]/", constant);
    check_extension("constant", "grid", constant, "grid", longer);
    assert_int_equal(count_lines("constant", "all probes begin again"), 0);
}

static void a_rung_behind_a_cosine(void **state)
{
    (void)state;
    check_extension("cosine", "grid", "", "grid", "s/6144./6144, 12288]/");
    assert_int_equal(count_lines("cosine", "all probes begin again"), 1);
}

// A budget of latency that comes late judges those, too, that were measured by all else before.
static void a_late_budget_of_latency(void **state)
{
    (void)state;
    static const char few[] = "s/layers: .*/layers: [2]/; s/heads: .*/heads: [4]/; "
                              "s/hidden: .*/hidden: [32]/; s/ffn: .*/ffn: [32, 64]/";
    char bounded[512];
    write_study("grid", few);
    search("timely", "");
    (void)snprintf(bounded, sizeof bounded,
                   "%s; s/^budget:/&\\n  latency_ms: {max: 1e-6, batch: 1, sequence: 8}/", few);
    write_study("grid", bounded);
    program_expect("$coppice search -q --extend study/study.yaml -o study/timely", 1, "",
                   "*coppice: study/timely: no candidate finished stage 0; the first is *: latency "
                   "is * ms (budget: at most 1e-06 ms)");
    (void)snprintf(bounded, sizeof bounded,
                   "%s; s/^budget:/&\\n  latency_ms: {max: 1e6, batch: 1, sequence: 8}/", few);
    write_study("grid", bounded);
    search("timely", "--extend");
    assert_int_equal(count_lines("timely", "the study is finished"), 2);
}

static int make_study(void **state)
{
    (void)state;
    tiny_study_make("study", COP_FAMILY_LLAMA, 1);
    return 0;
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(nsga2_on_pruned_losses),
        cmocka_unit_test(nsga2_on_probes),
        cmocka_unit_test(surrogate_on_pruned_losses),
        cmocka_unit_test(surrogate_on_probes),
        cmocka_unit_test(a_grid_with_a_larger_space),
        cmocka_unit_test(a_grid_with_a_smaller_space),
        cmocka_unit_test(a_grid_with_a_larger_budget),
        cmocka_unit_test(more_evaluations),
        cmocka_unit_test(a_strategy_with_a_larger_space),
        cmocka_unit_test(a_rung_behind_a_constant_rate),
        cmocka_unit_test(a_rung_behind_a_cosine),
        cmocka_unit_test(a_late_budget_of_latency),
    };
    cop_system_silence_libraries();
    return cmocka_run_group_tests(tests, make_study, NULL);
}
